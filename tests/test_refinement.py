"""Q refined for each video: what the model does with corrections, and what the steps that make them leave alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from making_models import randomised
from syncdraw import SyncDrawConfig
from syncdraw.refinement import refine

TINY = SyncDrawConfig(frames=3, height=16, width=16, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
WORDS = ("digit", "one", "two")


def some_videos(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(count, *TINY.shape, generator=generator) < 0.3).float()


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("layers", [1, 2])
def test_corrections_move_and_widen_the_posterior_of_their_step(layers: int) -> None:
    """In units of its own deviations; and z, the divergence and all later steps follow."""
    model = randomised(dataclasses.replace(TINY, layers=layers))
    videos, noise = some_videos(4), torch.randn(4, 2, 3)
    corrections = torch.randn(4, 2, 6)
    with torch.no_grad():
        plain, corrected = model(videos, noise=noise), model(videos, noise=noise, corrections=corrections)
    first, moved = plain.steps[0], corrected.steps[0]
    expected = Normal(
        first.posterior.loc + first.posterior.scale * corrections[:, 0, :3],
        first.posterior.scale * corrections[:, 0, 3:].exp(),
    )
    torch.testing.assert_close(moved.posterior.loc, expected.loc)
    torch.testing.assert_close(moved.posterior.scale, expected.scale)
    torch.testing.assert_close(moved.z, expected.loc + expected.scale * noise[:, 0])
    standard = Normal(torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(corrected.divergence_by_step[:, 0], kl_divergence(expected, standard).sum(dim=1))
    assert not torch.equal(plain.steps[1].posterior.loc, corrected.steps[1].posterior.loc)
    with torch.no_grad():
        zero = model(videos, noise=noise, corrections=torch.zeros(4, 2, 6))
    torch.testing.assert_close(zero.negative_elbo, plain.negative_elbo)


CONFIGS = {
    "plain": TINY,
    "mixture": dataclasses.replace(TINY, prior="network", prior_components=3),
    "layers": dataclasses.replace(TINY, layers=2),
    "categories": dataclasses.replace(TINY, prior="network", categories=3, caption_size=4),
    "captions": dataclasses.replace(TINY, captions="alignment", caption_size=4, vocabulary=WORDS),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_refining_lowers_the_bound_at_noise_that_it_has_not_seen(name: str) -> None:
    model, videos = randomised(CONFIGS[name]), some_videos(6)
    captions = ["digit one", "digit two"] * 3 if name == "captions" else None
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    corrections = refine(model, videos, captions, steps=30, generators=generators(6))
    assert corrections.shape == (6, 2, 6)
    assert not corrections.requires_grad
    noise = torch.randn(200, 6, *model.config.noise_shape, generator=torch.Generator().manual_seed(77))
    with torch.no_grad():
        plain, refined = (
            torch.stack([model(videos, captions, noise=each, corrections=used).negative_elbo for each in noise])
            for used in (None, corrections)
        )
    assert (refined.mean(dim=0) < plain.mean(dim=0)).all()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_correction_depends_on_its_own_video_and_generator_alone() -> None:
    model, videos = randomised(TINY), some_videos(5)
    state = torch.get_rng_state()
    together = refine(model, videos, None, steps=4, generators=generators(5))
    alone = refine(model, videos[3:4], None, steps=4, generators=generators(5)[3:4])
    torch.testing.assert_close(together[3:4], alone, rtol=1e-3, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)
    again = refine(model, videos, None, steps=4, generators=generators(5))
    assert torch.equal(together, again)


def test_each_step_is_reported() -> None:
    done: list[int] = []
    refine(randomised(TINY), some_videos(2), None, steps=3, generators=generators(2), after_step=lambda: done.append(1))
    assert len(done) == 3
