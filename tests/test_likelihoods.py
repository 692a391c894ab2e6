"""P(X | Z) against its definition written out, and what measuring and training make of it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from making_models import randomised
from syncdraw import SyncDrawConfig, UserError
from syncdraw.building import build
from syncdraw.datasets.clips import Clips
from syncdraw.evaluation.bound_report import bits_per_dimension
from syncdraw.evaluation.bounds import anchor_costs, bound
from syncdraw.likelihoods import Bernoulli, DiscretisedLogistic, fitted_log_scale, level_costs
from syncdraw.training.telling import Yardstick, beside_the_bar, farewell
from syncdraw.training.warm_start import copy_weights

SHAPE = (3, 1, 8, 8)
TINY = SyncDrawConfig(
    frames=3, height=8, width=8, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3, protocol="levels"
)
ALL_LEVELS = torch.arange(256, dtype=torch.float64) / 255


class Noisy:
    """Clips of grey noise: means that differ from pixel to pixel, and a logistic distribution around them."""

    shape = SHAPE

    def __init__(self, scale: float, count: int = 60) -> None:
        rng = np.random.default_rng(4)
        self.means = rng.uniform(0.3, 0.7, SHAPE[1:])
        videos = self.means + rng.logistic(0, scale, (count, *SHAPE))
        self.videos = (255 * videos.clip(0, 1)).round().astype(np.uint8)

    def __len__(self) -> int:
        return len(self.videos)

    def take(self, indices: np.ndarray) -> Clips:
        return Clips(self.videos[indices], None)

    def wordings(self) -> list[str]:
        return []


def probability(mean: float, level: int, scale: float) -> float:
    """Of one level, by its definition: the logistic distribution's mass between the bin's two ends."""

    def up_to(end: float) -> float:
        return 1 / (1 + math.exp(-(end - mean) / scale))

    below = 0.0 if level == 0 else up_to((level - 0.5) / 255)
    return (1.0 if level == 255 else up_to((level + 0.5) / 255)) - below


@pytest.mark.parametrize("scale", [0.004, 0.03, 0.5])
def test_levels_by_their_definition(scale: float) -> None:
    means = np.array([0.02, 0.4, 0.71, 0.99])
    costs = level_costs(torch.from_numpy(means)[:, None], ALL_LEVELS, torch.tensor(math.log(scale))).numpy()
    literal = np.array([[probability(mean, level, scale) for level in range(256)] for mean in means])
    likely = literal > 1e-12  # below, the difference of two numbers near 1 is mere rounding
    assert likely.sum() > 100
    np.testing.assert_allclose(costs[likely], -np.log(literal[likely]), rtol=1e-4)


@pytest.mark.parametrize("log_scale", [-9.0, -4.0, 0.0, 3.0])
def test_levels_are_a_distribution(log_scale: float) -> None:
    """Also where the scale is far below a level, or far above white."""
    means = torch.tensor([1e-6, 0.3, 0.5, 1 - 1e-6], dtype=torch.float64)
    costs = level_costs(means[:, None], ALL_LEVELS, torch.tensor(log_scale))
    torch.testing.assert_close(torch.exp(-costs).sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_gradients_of_levels() -> None:
    """Of the canvas and of the scale, against finite differences; black, white and what is far off among the pixels."""
    likelihood = DiscretisedLogistic(2).double()
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 2, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    videos = torch.randint(256, logits.shape, generator=generator).double() / 255
    videos.view(-1)[:2] = torch.tensor([0.0, 1.0])

    def cost(logits: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(likelihood, {"slow_log_scale": scale}, (logits, videos))

    assert torch.autograd.gradcheck(cost, (logits, likelihood.slow_log_scale.detach().requires_grad_()))


def test_what_is_far_off_has_a_gradient() -> None:
    """In float32, white that should be black is dear, and is told so."""
    likelihood = DiscretisedLogistic(1)
    with torch.no_grad():
        likelihood.slow_log_scale.fill_(-0.8)
    logits = torch.tensor([80.0, -80.0]).view(1, 1, 1, 1, 2).requires_grad_()
    videos = torch.tensor([0.0, 1.0]).view(1, 1, 1, 1, 2)
    cost = likelihood(logits, videos)
    assert 5000 < cost.item() < 7000
    middle = torch.zeros(1, 1, 1, 1, 2, requires_grad=True)
    likelihood(middle, videos).sum().backward()
    assert middle.grad is not None
    assert (middle.grad.view(-1) * torch.tensor([1.0, -1.0]) > 100).all()


def test_the_scale_that_fits() -> None:
    clips = Noisy(scale=0.02)
    means = torch.from_numpy(clips.means)
    levels = torch.from_numpy(clips.videos).double() / 255
    assert fitted_log_scale(means, levels).exp().item() == pytest.approx(0.02, rel=0.02)
    # It is the best one: a little to either side costs more.
    best = fitted_log_scale(means, levels)
    costs = [level_costs(means, levels, best + off).sum().item() for off in (-0.01, 0.0, 0.01)]
    assert costs[1] < min(costs[0], costs[2])


def test_the_scale_is_learned() -> None:
    clips = Noisy(scale=0.02)
    likelihood = DiscretisedLogistic(1)
    logits = torch.from_numpy(clips.means).float().logit()
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.005)
    for _ in range(100):
        optimizer.zero_grad()
        likelihood(logits.expand(60, *SHAPE), torch.from_numpy(clips.videos) / 255).mean().backward()
        optimizer.step()
    assert likelihood.log_scale.exp().item() == pytest.approx(0.02, rel=0.03)


def test_bound_of_levels_is_the_sum_written_out() -> None:
    clips = Noisy(scale=0.02)
    model = randomised(TINY).eval()
    with torch.no_grad():
        model.generator.likelihood.slow_log_scale.fill_(-0.3)  # type: ignore[union-attr]
    result = bound(model, clips, protocol="levels", clips=5, seed=5)
    with torch.no_grad():
        drawing = model.bound(model.prepare(clips.videos[:5], None, torch.Generator().manual_seed(5)))
        scale = model.generator.likelihood.log_scale.exp().item()  # type: ignore[union-attr]
    means = drawing.videos.double().numpy().reshape(5, -1)
    literal = [
        -sum(
            math.log(max(probability(mean, int(level), scale), 1e-300)) for mean, level in zip(row, pixels, strict=True)
        )
        for row, pixels in zip(means, clips.videos[:5].reshape(5, -1), strict=True)
    ]
    assert result.reconstruction == pytest.approx(np.mean(literal), rel=1e-3)
    assert result.entropy_floor == 0
    assert bits_per_dimension(192 * math.log(256), SHAPE) == pytest.approx(8)


def test_a_model_of_levels_under_the_papers_protocols() -> None:
    """Its canvas is one of Bernoulli distributions, too; and a model without a scale cannot be held to levels."""
    clips = Noisy(scale=0.02)
    model = randomised(TINY)
    batch = model.prepare(clips.videos[:4], None, torch.Generator().manual_seed(0))
    for protocol in ("grey", "binary"):
        drawing = model.bound(batch, protocol)
        expected = Bernoulli()(
            drawing.logits, build(dataclasses.replace(TINY, protocol=protocol)).targets(batch.videos)
        )
        assert torch.equal(drawing.reconstruction, expected)
    grey = build(dataclasses.replace(TINY, protocol="grey"))
    with pytest.raises(
        UserError, match="this model was trained for grey, and has learned no scale for levels; take grey"
    ):
        grey.bound(batch, "levels")


def test_levels_begin_where_grey_has_arrived() -> None:
    grey, levels = randomised(dataclasses.replace(TINY, protocol="grey")), build(TINY)
    start = levels.generator.likelihood.log_scale.clone()  # type: ignore[union-attr]
    copy_weights(grey, levels, "grey")
    assert torch.equal(levels.generator.content.weight, grey.generator.content.weight)
    assert torch.equal(levels.generator.likelihood.log_scale, start)  # type: ignore[union-attr]


def test_what_levels_are_held_against() -> None:
    """The mean image with the scale that fits it: on noise around a mean, nobody does better."""
    clips = Noisy(scale=0.02, count=200)
    anchors = anchor_costs(clips, clips, "levels", np.arange(60))
    means = torch.from_numpy(clips.means)
    best = level_costs(means, torch.from_numpy(clips.videos[:60]).double() / 255, torch.tensor(math.log(0.02)))
    assert anchors["mean_pixel"] == pytest.approx(best.sum().item() / 60, rel=0.01)
    assert anchors["half"] == pytest.approx(192 * math.log(256))
    yardstick = Yardstick.of(clips, clips, "levels")
    bits = bits_per_dimension(yardstick.mean_image, SHAPE)
    assert yardstick.told().endswith(f" nats, {bits:.3f} bits per dimension")
    line: dict[str, Any] = {"L_X": yardstick.mean_image, "L_Z": 2.0}
    assert beside_the_bar(yardstick, line).endswith(f"({bits:.3f} bits per dimension), L_Z 2.0")
    said = farewell({"validation_L_X": yardstick.mean_image, "validation_L_Z": 1.0}, yardstick, "levels")
    assert said[0].endswith(f"L_X is at {bits:.3f} bits per dimension")
