"""Q refined for each video: what the model does with corrections, and what the steps that make them leave alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from making_models import randomised
from syncdraw import SyncDraw, SyncDrawConfig
from syncdraw.config import CaptionConfig, FirstLookConfig, PriorConfig
from syncdraw.extensions.refinement import corrected, refine
from syncdraw.gaussian import Gaussian
from syncdraw.model import Adjust

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
    videos, noise = some_videos(4), model.noise(4)
    corrections = torch.randn(4, 2, 6)
    with torch.no_grad():
        plain, adjusted = model(videos, noise=noise), model(videos, noise=noise, adjust=corrected(corrections))
    first, moved = plain.steps[0], adjusted.steps[0]
    expected = Normal(
        first.posterior.mean + first.posterior.deviation * corrections[:, 0, :3],
        first.posterior.deviation * corrections[:, 0, 3:].exp(),
    )
    torch.testing.assert_close(moved.posterior.mean, expected.mean)
    torch.testing.assert_close(moved.posterior.deviation, expected.stddev)
    torch.testing.assert_close(moved.z, expected.mean + expected.stddev * noise.latents[:, 0])
    standard = Normal(torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(adjusted.divergence_by_step[:, 0], kl_divergence(expected, standard).sum(dim=1))
    assert not torch.equal(plain.steps[1].posterior.mean, adjusted.steps[1].posterior.mean)
    later = torch.cat([torch.zeros(4, 1, 6), corrections[:, 1:]], dim=1)
    with torch.no_grad():
        second = model(videos, noise=noise, adjust=corrected(later)).steps
        zero = model(videos, noise=noise, adjust=corrected(torch.zeros(4, 2, 6)))
    torch.testing.assert_close(second[0].z, first.z)
    own = plain.steps[1].posterior
    torch.testing.assert_close(second[1].posterior.mean, own.mean + own.deviation * later[:, 1, :3])
    torch.testing.assert_close(zero.negative_elbo, plain.negative_elbo)


def repeated(adjust: Adjust, count: int) -> Adjust:
    """The same for so many videos that follow one another again and again."""

    def of_all(t: int, posterior: Gaussian) -> Gaussian:
        rounds = zip(*(part.split(count) for part in posterior), strict=True)
        return Gaussian(*map(torch.cat, zip(*(adjust(t, Gaussian(*each)) for each in rounds), strict=True)))

    return of_all


CONFIGS = {
    "plain": TINY,
    "mixture": dataclasses.replace(TINY, prior=PriorConfig("network", components=3)),
    "layers": dataclasses.replace(TINY, layers=2),
    "a first look": dataclasses.replace(TINY, layers=2, first_look=FirstLookConfig(2)),
    "categories": dataclasses.replace(TINY, prior=PriorConfig("network", categories=3)),
    "captions": dataclasses.replace(TINY, captions=CaptionConfig("alignment", 4, WORDS)),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_refining_lowers_the_bound_at_noise_that_it_has_not_seen(name: str) -> None:
    model, videos = randomised(CONFIGS[name]), some_videos(6)
    tokens = model.tokenise(["digit one", "digit two"] * 3 if name == "captions" else None, 6)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    adjust = refine(model, videos, tokens, steps=60, generators=generators(6))
    many, tokens = (
        videos.repeat(100, 1, 1, 1, 1),
        None if tokens is None else tokens.repeat(100, *[1] * (tokens.ndim - 1)),
    )
    with torch.no_grad():
        plain, better = (
            model(many, tokens, noise=model.noise(600, seed=77), adjust=used).negative_elbo.view(100, 6).mean(dim=0)
            for used in (None, repeated(adjust, 6))
        )
    assert (better < plain).all()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert all(parameter.grad is None for parameter in model.parameters())


def refined(model: SyncDraw, videos: Tensor, adjust: Adjust) -> Tensor:
    """The means and deviations of the first step's Q, `[batch, 2 x latent]`."""
    with torch.no_grad():
        posterior = model(videos, noise=model.noise(len(videos)), adjust=adjust).steps[0].posterior
    assert posterior is not None
    assert not posterior.mean.requires_grad
    return torch.cat(posterior, dim=1)


def test_a_correction_depends_on_its_own_video_and_generator_alone() -> None:
    model, videos = randomised(TINY), some_videos(5)
    state = torch.get_rng_state()
    together = refined(model, videos, refine(model, videos, None, steps=4, generators=generators(5)))
    alone = refined(model, videos[3:], refine(model, videos[3:], None, steps=4, generators=generators(5)[3:]))
    torch.testing.assert_close(together[3:], alone, rtol=1e-3, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)
    again = refined(model, videos, refine(model, videos, None, steps=4, generators=generators(5)))
    assert torch.equal(together, again)
    others = refined(model, videos, refine(model, videos, None, steps=4, generators=generators(6)[1:]))
    assert not torch.equal(together, others)


def test_each_step_is_reported() -> None:
    done: list[int] = []
    refine(randomised(TINY), some_videos(2), None, steps=3, generators=generators(2), after_step=lambda: done.append(1))
    assert len(done) == 3
