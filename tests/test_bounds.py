"""Bounds against sums written out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from making_clips import textures, write_clip
from making_models import randomised
from syncdraw import SyncDraw, UserError
from syncdraw.building import build
from syncdraw.config import CaptionConfig, PriorConfig, SyncDrawConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.evaluation.bound_report import bound_report
from syncdraw.evaluation.bounds import anchor_costs, bound, clip_count, entropy
from syncdraw.evaluation.captions import caption_gap
from syncdraw.evaluation.reports import data_of
from syncdraw.evaluation.tighter_bounds import importance_bound, refined_bound
from syncdraw.extensions.refinement import refine
from syncdraw.gaussian import Gaussian
from syncdraw.model import Batch, Drawing, Noise, Step, targets
from syncdraw.priors import Single

TINY = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
BOUNCING = BouncingMNISTConfig(shape=(3, 1, 32, 32), clips=20)
CARD = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(BOUNCING)}
WORDS = (*"0123456789", "and", "digit", "down", "is", "left", "moving", "right", "up")
CAPTIONED = dataclasses.replace(TINY, captions=CaptionConfig("alignment", 4, WORDS))


@pytest.fixture
def clips() -> BouncingMNIST:
    return BouncingMNIST(BOUNCING, "test")


class Fixed:
    """A data set of given clips."""

    def __init__(self, videos: np.ndarray) -> None:
        self.videos = videos

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def shape(self) -> Any:
        return self.videos.shape[1:]

    def take(self, indices: np.ndarray) -> Clips:
        return Clips(self.videos[indices], None)

    def wordings(self) -> list[str]:
        return []


# --- The bound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["binary", "grey"])
def test_bound_is_the_sum_written_out(protocol: Any, clips: BouncingMNIST) -> None:
    """Cross-entropy by its formula in float64, the divergence by sampling log q - log p at the z that was drawn."""
    model = randomised(TINY)
    result = bound(model, clips, protocol=protocol, clips=7, seed=5)
    pixels = clips.take(np.arange(7)).videos
    x = (pixels > 127).astype(float) if protocol == "binary" else pixels / 255
    generator = torch.Generator().manual_seed(5)
    latents = torch.stack([torch.randn(2, 3, generator=generator) for _ in range(7)])
    noise = Noise(latents, latents[..., :0], latents[..., :0])
    with torch.no_grad():
        drawing = model.eval()(torch.from_numpy(x).float(), noise=noise)
    p = 1 / (1 + np.exp(-drawing.logits.double().numpy()))
    reconstruction = -(x * np.log(p) + (1 - x) * np.log(1 - p)).reshape(7, -1).sum(1)
    divergence = drawing.divergence.double().numpy()
    assert result.reconstruction == pytest.approx(reconstruction.mean(), rel=1e-5)
    assert result.divergence == pytest.approx(divergence.mean(), rel=1e-5)
    assert result.divergence > 0.01
    assert result.divergence_by_step == pytest.approx(drawing.divergence_by_step.mean(0).tolist(), rel=1e-5)
    total = reconstruction + divergence
    assert result.negative_elbo == pytest.approx(total.mean(), rel=1e-5)
    assert result.standard_error == pytest.approx(total.std(ddof=1) / math.sqrt(7), rel=1e-4)
    assert (result.protocol, result.clips) == (protocol, 7)


def test_bound_of_a_model_that_predicts_a_half() -> None:
    """Without weights the canvas stays at zero and the posterior is N(0, I): L_X = pixels x log 2, and L_Z = 0."""
    model = build(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for protocol in ("binary", "grey"):
        result = bound(model, BouncingMNIST(BOUNCING, "test"), protocol=protocol, clips=3)
        assert result.reconstruction == pytest.approx(3 * 32 * 32 * math.log(2), rel=1e-6)
        assert result.divergence == 0
        assert result.standard_error == pytest.approx(0, abs=1e-2)


def test_bound_is_deterministic_and_leaves_no_trace(clips: BouncingMNIST) -> None:
    model = randomised(TINY).train()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = bound(model, clips, protocol="grey", clips=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    torch.manual_seed(2)
    assert bound(model, clips, protocol="grey", clips=5) == first
    assert bound(model, clips, protocol="grey", clips=5, seed=1) != first


class LinearGaussian(SyncDraw):
    """z ~ N(0, 1), x ~ N(a z, s^2), with a posterior that is off by a bit; it speaks to the bounds as SyncDraw does.

    log P(x) is known: x ~ N(0, a^2 + s^2).
    """

    config = dataclasses.replace(TINY, frames=1, height=1, width=1, draw_steps=1, latent_size=1)
    device = torch.device("cpu")
    captioned = False
    a, s = 1.5, 0.7

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def noise(self, generators: Sequence[torch.Generator]) -> Noise:
        runs = [(generator, len(list(run))) for generator, run in groupby(generators)]
        latents = torch.cat([torch.randn(count, 1, 1, generator=generator) for generator, count in runs])
        return Noise(latents, latents[..., :0], latents[..., :0])

    def prepare(self, videos: np.ndarray, captions: None, generator: torch.Generator) -> Batch:
        return Batch(torch.from_numpy(videos), None, self.noise([generator] * len(videos)))

    def bound(self, batch: Batch, protocol: Any = "grey") -> Drawing:
        return self(targets(batch.videos, protocol), None, noise=batch.noise)

    def targets(self, videos: torch.Tensor) -> torch.Tensor:
        return targets(videos, "grey")

    def __call__(self, videos: torch.Tensor, captions: None, *, noise: Noise, adjust: Any = None) -> Drawing:
        x, spread = videos.flatten(1), self.a**2 + self.s**2
        deviation = torch.full_like(x, 1.3 * self.s / math.sqrt(spread))
        posterior = Gaussian(self.a * x / spread + 0.1, deviation)
        posterior = adjust(0, posterior) if adjust else posterior
        z = posterior.at(noise.latents[:, 0])
        prior = Single(Gaussian(torch.zeros_like(z), torch.ones_like(z)), z[:, :0])
        step = Step(z, prior, posterior, None, None, None, z)  # type: ignore[arg-type]
        return Drawing(
            logits=z,
            reconstruction=-Normal(self.a * z, self.s).log_prob(x).sum(1),
            divergence_by_step=step.divergence[:, None],
            canvases=None,
            steps=[step],
        )


def test_bounds_of_a_linear_gaussian_model_close_in_on_its_exact_likelihood() -> None:
    """ELBO <= IWAE-k <= log P(x), each nearer with more samples; and the ELBO is off by just KL(Q || posterior)."""
    model, data = LinearGaussian(), Fixed(np.array([0, 255] * 1000, np.uint8).reshape(-1, 1, 1, 1, 1))
    spread = model.a**2 + model.s**2
    x = torch.tensor([0.0, 1.0])
    exact = -Normal(0.0, math.sqrt(spread)).log_prob(x).mean().item()
    one, ten, many = (
        importance_bound(model, data, samples=k, batch_size=20_000)
        for k in (1, 10, 1000)  # type: ignore[arg-type]
    )
    assert exact < many.importance_weighted + 3 * many.standard_error
    assert many.importance_weighted < ten.importance_weighted < one.importance_weighted
    assert many.importance_weighted == pytest.approx(exact, abs=1e-3)
    assert one.importance_weighted == pytest.approx(one.negative_elbo, abs=1e-6)
    true = Normal(model.a * x / spread, model.s / math.sqrt(spread))
    gap = kl_divergence(Normal(true.loc + 0.1, 1.3 * true.scale), true).mean().item()
    assert many.negative_elbo == pytest.approx(exact + gap, abs=2e-3)
    assert 500 < many.effective_samples < 1000
    assert one.effective_samples == pytest.approx(1)


def test_refining_finds_the_true_posterior_where_it_is_a_gaussian() -> None:
    model = LinearGaussian()
    x = torch.tensor([0.0, 1.0]).repeat(50)
    deviation = model.s / math.hypot(model.a, model.s)
    true = Normal(model.a * x / (model.a**2 + model.s**2), deviation)
    videos = x.view(-1, 1, 1, 1, 1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(100)]
    adjust = refine(model, videos, None, steps=200, generators=generators)  # type: ignore[arg-type]
    first = Gaussian(true.loc + 0.1, 1.3 * true.scale)
    found = adjust(0, Gaussian(first.mean[:, None], first.deviation[:, None]))
    found = Normal(found.mean[:, 0], found.deviation[:, 0])
    assert kl_divergence(found, true).mean() < 0.25 * kl_divergence(Normal(*first), true).mean()
    data = Fixed(np.array([0, 255] * 500, np.uint8).reshape(-1, 1, 1, 1, 1))
    plain = bound(model, data, protocol="grey")
    refined = refined_bound(model, data, steps=30, batch_size=1000)  # type: ignore[arg-type]
    assert refined.negative_elbo < plain.negative_elbo
    assert (plain.refine_steps, refined.refine_steps) == (0, 30)


def test_bounds_of_the_model_itself_against_an_integral_over_its_latent() -> None:
    """One drawing step and one latent: log P(X) by the trapezoidal rule over z."""
    torch.manual_seed(3)
    model = randomised(dataclasses.replace(TINY, draw_steps=1, latent_size=1, prior=PriorConfig("network")))
    with torch.no_grad():
        model.generator.lstm.weight_ih *= 8  # so that the latent matters
        model.generator.content.weight *= 4
    data = BouncingMNIST(BOUNCING, "test")
    videos = targets(torch.from_numpy(data.take(np.arange(4)).videos), "binary")
    grid = torch.linspace(-8, 8, 4001)
    with torch.no_grad():
        nothing = torch.empty(len(grid), 1, 0)
        logits = model.eval()(None, noise=Noise(grid[:, None, None], nothing, nothing)).logits.flatten(1).double()
    likelihood = videos.flatten(1).double() @ logits.T - functional.softplus(logits).sum(1)
    density = Normal(0.0, 1.0).log_prob(grid).double()
    exact = -(likelihood + density + math.log(16 / 4000)).logsumexp(1).mean().item()
    k20, *of_seeds = (
        importance_bound(model, data, samples=k, clips=4, batch_size=1000, seed=seed)
        for k, seed in [(20, 0), *((2000, s) for s in range(4))]
    )
    k2000 = of_seeds[0]
    # Against their own samples' ELBO, so that chance does not reorder them.
    assert k20.importance_weighted < k20.negative_elbo - 0.3
    assert k2000.importance_weighted < k2000.negative_elbo - 0.3
    weighted = np.array([of_seed.importance_weighted for of_seed in of_seeds])
    error = weighted.std(ddof=1) / len(weighted) ** 0.5
    assert error < 0.1
    assert abs(weighted.mean() - exact) < 4 * error
    assert k2000.negative_elbo == pytest.approx(bound(model, data, protocol="binary", clips=4).negative_elbo, rel=0.01)


def test_importance_bound_does_not_depend_on_what_is_drawn_at_once(clips: BouncingMNIST) -> None:
    model = randomised(CAPTIONED)
    sizes = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    first = importance_bound(model, clips, samples=7, clips=5, batch_size=3)
    assert max(sizes) == 3
    second = importance_bound(model, clips, samples=7, clips=5, batch_size=100)
    for name, value in dataclasses.asdict(first).items():
        assert value == pytest.approx(getattr(second, name), rel=1e-5), name


def test_no_importance_samples(clips: BouncingMNIST) -> None:
    with pytest.raises(UserError, match=r"importance samples is 0; it must be 1 or more"):
        importance_bound(randomised(TINY), clips, samples=0, clips=2)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_batch_size_does_not_change_the_bound(batch_size: int, clips: BouncingMNIST) -> None:
    """Nor does the number of clips change what the first ones are measured with."""
    model = randomised(dataclasses.replace(TINY, latent_size=5, draw_steps=3))  # 15 numbers a clip: no block of torch's
    expected = bound(model, clips, protocol="grey", clips=11, batch_size=11)
    result = bound(model, clips, protocol="grey", clips=11, batch_size=batch_size)
    for field in ("reconstruction", "divergence", "negative_elbo", "entropy_floor"):
        assert getattr(result, field) == pytest.approx(getattr(expected, field), rel=1e-6), field
    assert result.standard_error == pytest.approx(expected.standard_error, rel=1e-3)


def test_protocol_is_the_models_own_unless_given(clips: BouncingMNIST) -> None:
    """For refining, too, which asks for none."""
    videos = clips.take(np.arange(2)).videos
    for protocol, other in (("binary", "grey"), ("grey", "binary")):
        model = randomised(dataclasses.replace(TINY, protocol=protocol))
        batch = model.prepare(videos, None, torch.Generator().manual_seed(0))
        assert torch.equal(model.bound(batch).reconstruction, model.bound(batch, protocol).reconstruction)
        assert not torch.equal(model.bound(batch).reconstruction, model.bound(batch, other).reconstruction)
        assert refined_bound(model, clips, steps=1, clips=2).protocol == protocol


def test_refining_by_no_steps(clips: BouncingMNIST) -> None:
    with pytest.raises(UserError, match="refine_steps is 0; it must be 1 or more"):
        refined_bound(randomised(TINY), clips, steps=0, clips=2)


def test_number_of_clips(clips: BouncingMNIST) -> None:
    assert clip_count(clips, None) == clip_count(clips, 10**9) == len(clips) == 10_000
    endless = BouncingMNIST(dataclasses.replace(BOUNCING, clips=0), "train")
    assert bound(randomised(TINY), endless, protocol="grey", clips=2).clips == 2
    assert math.isnan(bound(randomised(TINY), endless, protocol="grey", clips=1).standard_error)
    with pytest.raises(UserError, match="endless"):
        bound(randomised(TINY), endless, protocol="grey")
    for wrong in (0, -1):
        with pytest.raises(UserError, match=f"clips is {wrong}; it must be 1 or more"):
            bound(randomised(TINY), clips, protocol="grey", clips=wrong)


# --- Floors and anchors ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_entropy_in_closed_form(pixels: list[int]) -> None:
    expected = sum(-x * math.log(x) - (1 - x) * math.log(1 - x) for x in (p / 255 for p in pixels) if 0 < x < 1)
    videos = torch.tensor(pixels, dtype=torch.float64).div(255).view(1, 1, 1, 1, -1)
    assert entropy(videos).item() == pytest.approx(expected, abs=1e-9)


def test_entropy_is_what_no_prediction_undercuts() -> None:
    x = torch.rand(2, 3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    floor = entropy(x)
    for q in (x, x * 0.9 + 0.05, torch.full_like(x, 0.5)):
        cost = -(x * q.log() + (1 - x) * (1 - q).log()).flatten(1).sum(1)
        assert (cost >= floor - 1e-9).all()
    assert entropy(torch.full((1, 1, 1, 2, 3), 0.5)).item() == pytest.approx(6 * math.log(2))


def test_floor_of_a_bound(clips: BouncingMNIST) -> None:
    model = randomised(TINY)
    binary, grey = (bound(model, clips, protocol=p, clips=4) for p in ("binary", "grey"))
    assert binary.entropy_floor == 0
    assert binary.excess == binary.reconstruction
    soft = torch.from_numpy(clips.take(np.arange(4)).videos).double() / 255
    assert grey.entropy_floor == pytest.approx(entropy(soft).mean().item(), rel=1e-6)
    assert grey.excess == pytest.approx(grey.reconstruction - grey.entropy_floor)


@pytest.mark.parametrize("protocol", ["binary", "grey"])
def test_anchors(protocol: Any) -> None:
    random = np.random.default_rng(0)
    train = Fixed(random.integers(0, 256, (230, 2, 1, 3, 4), np.uint8))  # more than one batch
    train.videos[:, :, :, 0] = 0  # rows that are always black
    test = Fixed(random.integers(0, 256, (130, 2, 1, 3, 4), np.uint8))
    anchors = anchor_costs(train, test, protocol, np.arange(117))
    assert anchors["half"] == pytest.approx(24 * math.log(2))
    to_target = (lambda v: (v > 127).astype(float)) if protocol == "binary" else (lambda v: v / 255)
    mean = (to_target(train.videos).sum(0) + 0.5) / 231
    x = to_target(test.videos[:117])
    expected = -(x * np.log(mean) + (1 - x) * np.log(1 - mean)).reshape(117, -1).sum(1).mean()
    assert anchors["mean_pixel"] == pytest.approx(expected, rel=1e-6)
    assert math.isfinite(anchors["mean_pixel"])


def test_mean_pixel_beats_a_half_on_digits() -> None:
    train, test = BouncingMNIST(BOUNCING, "train"), BouncingMNIST(BOUNCING, "test")
    anchors = anchor_costs(train, test, "grey", np.arange(20))
    assert 0 < anchors["mean_pixel"] < anchors["half"]


# --- Reports ---------------------------------------------------------------------------------------------------------


def test_bound_report(clips: BouncingMNIST) -> None:
    model = randomised(TINY)
    report = bound_report(model, CARD, data=None, split="test", clips=3, seed=4)
    for protocol in ("binary", "grey"):
        result = bound(model, clips, protocol=protocol, clips=3, seed=4)
        values = report.values[protocol]
        assert values["negative_elbo"] == result.negative_elbo
        assert values["entropy_floor"] == result.entropy_floor
        assert values["half"] == pytest.approx(3 * 32 * 32 * math.log(2))
        (line,) = (line for line in report.text.splitlines() if line.startswith(f"{protocol} "))
        assert float(line.split()[3]) == pytest.approx(result.negative_elbo, abs=0.051)
        assert float(line.split()[5]) == pytest.approx(result.entropy_floor, abs=0.051)
    assert "test split, 3 clips, seed 4" in report.text
    json.dumps(report.values)


def test_bound_report_of_a_model_with_captions(clips: BouncingMNIST) -> None:
    model = randomised(CAPTIONED)
    report = bound_report(model, CARD, data=None, split="test", clips=6, seed=4)
    gap = caption_gap(model, clips, clips=6, seed=4)
    assert report.values["caption_gap"] == dataclasses.asdict(gap)
    assert report.values["caption_gap"]["right"] == pytest.approx(report.values["grey"]["negative_elbo"], rel=1e-6)
    assert f"{gap.gap:.1f} +- {gap.standard_error:.1f} nats a clip" in report.text
    json.dumps(report.values)
    alone = bound_report(model, CARD, data=None, split="test", clips=1, seed=4)  # nothing to compare its caption with
    assert "caption_gap" not in alone.values
    assert "all clips have the caption" in alone.text
    assert "caption" not in bound_report(randomised(TINY), CARD, data=None, split="test", clips=6, seed=4).text


def test_report_of_other_data(tmp_path: Path) -> None:
    for number in range(6):
        write_clip(tmp_path / "clips" / f"{number}.gif", textures(6, number))
    shape = ClipConfig(frames=3, height=32, width=32, test_share=0.4)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "data", shape, progress=False)
    report = bound_report(randomised(TINY), {}, data=str(tmp_path / "data"), split="test", clips=None, seed=0)
    assert report.values["clips"] == len(PreparedClips(tmp_path / "data", "test"))
    with pytest.raises(UserError, match="name it with --data"):
        bound_report(randomised(TINY), {}, data=None, split="test", clips=None, seed=0)
    wide = randomised(dataclasses.replace(TINY, width=40))
    with pytest.raises(UserError, match="got videos of shape"):
        bound_report(wide, {}, data=str(tmp_path / "data"), split="test", clips=None, seed=0)
    with pytest.raises(UserError, match="draws from captions"):
        bound_report(randomised(CAPTIONED), {}, data=str(tmp_path / "data"), split="test", clips=None, seed=0)


def test_card_of_another_version() -> None:
    with pytest.raises(UserError, match=r"config\.json, bouncing: gravity is no setting"):
        data_of({"data": "bouncing_mnist", "bouncing": {"gravity": 1}}, None, "test")
