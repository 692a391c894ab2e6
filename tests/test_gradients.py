"""A video's gradient is held to what is usual in its batch; nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from making_models import randomised
from syncdraw import SyncDraw, SyncDrawConfig
from syncdraw.config import CaptionConfig, PriorConfig
from syncdraw.extensions.held_gradients import PLACES, hold_gradients, limited
from syncdraw.model import Noise

TINY = SyncDrawConfig(
    frames=3, height=9, width=7, draw_steps=4, grid_size=3, hidden_size=6, latent_size=4, layers=2,
    prior=PriorConfig("network"), captions=CaptionConfig("alignment", 5, ("digit", "one")),
)  # fmt: skip
VIDEOS = torch.rand(5, *TINY.shape, generator=torch.Generator().manual_seed(0))
CAPTIONS = ["digit one and digit one"] * 5


def gradients(model: SyncDraw, videos: torch.Tensor, noise: Noise) -> list[torch.Tensor]:
    loss = model(videos, CAPTIONS, noise=noise).negative_elbo.sum()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [torch.zeros(()) if g is None else g for g in torch.autograd.grad(loss, parameters, allow_unused=True)]


@pytest.mark.parametrize("ratio", [1.0, 2.0, 50.0])
def test_no_row_is_longer_than_the_ratio_allows(ratio: float) -> None:
    """Against NumPy; what is short enough stays exactly as it is."""
    rows = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    given = torch.randn(7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    given *= torch.tensor([0.0, 0.1, 1, 1, 2, 30, 400], dtype=torch.float64)[:, None]
    same = limited(rows, ratio)
    assert torch.equal(same, rows)
    (found,) = torch.autograd.grad(same, rows, given)
    lengths = np.sqrt((given.numpy() ** 2).sum(axis=1))
    limit = ratio * np.median(lengths)
    expected = given.numpy() * np.minimum(1, limit / np.maximum(lengths, 1e-20))[:, None]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    short = lengths <= limit
    assert short.any()
    assert not short.all()
    assert torch.equal(found[torch.from_numpy(short)], given[torch.from_numpy(short)])


def test_gradients_that_are_all_zero_stay_so() -> None:
    rows = torch.ones(3, 2, requires_grad=True)
    (found,) = torch.autograd.grad(limited(rows, 1.0), rows, torch.zeros(3, 2))
    assert torch.equal(found, torch.zeros(3, 2))


def test_a_model_draws_the_same_and_learns_the_same_where_no_video_stands_out() -> None:
    plain, held = randomised(TINY), randomised(TINY)
    hold_gradients(held, 1e9)
    noise = plain.noise(5, seed=0)
    with torch.no_grad():
        assert torch.equal(plain(VIDEOS, CAPTIONS, noise=noise).logits, held(VIDEOS, CAPTIONS, noise=noise).logits)
    for expected, found in zip(gradients(plain, VIDEOS, noise), gradients(held, VIDEOS, noise), strict=True):
        assert torch.equal(expected, found)


def test_one_of_many_equal_videos_cannot_stand_out_and_one_odd_video_does() -> None:
    """Equal videos have equal gradients, so that a ratio of 1 changes none; behind each place an odd one is held."""
    lengths: dict[str, list[torch.Tensor]] = {}

    def noting(name: str) -> object:
        def hook(_module: object, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            tensor = output if isinstance(output, torch.Tensor) else output[0]
            if tensor.requires_grad:
                tensor.register_hook(lambda g: lengths.setdefault(name, []).append(g.norm(dim=1)))

        return hook

    odd = VIDEOS[:1].repeat(5, 1, 1, 1, 1)
    odd[-1] = 1 - odd[-1]
    for ratio in (None, 1.0):
        model = randomised(TINY)
        lengths.clear()
        for place in PLACES:  # before the limit: what is noted comes behind it on the way back
            model.get_submodule(place).register_forward_hook(noting(place))  # type: ignore[arg-type]
        if ratio is not None:
            hold_gradients(model, ratio)
        gradients(model, odd, Noise(*(torch.zeros_like(part) for part in model.noise(5))))
        assert lengths.keys() == set(PLACES)
        ratios = torch.stack([(of / of.median().clamp(min=1e-12)).max() for each in lengths.values() for of in each])
        if ratio is None:
            assert ratios.max() > 1.2
        else:
            assert ratios.max() < 1.0001
