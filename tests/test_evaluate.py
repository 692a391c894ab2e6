"""Bounds against sums written out by hand, and caption reports of models whose samples are known."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from making_clips import textures, write_clip
from making_models import randomised
from syncdraw import SyncDraw, SyncDrawConfig, UserError, evaluate
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig, caption
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.datasets.video_folder import prepare_folder
from syncdraw.model import Drawing, Step
from syncdraw.priors import Mixture
from syncdraw.refinement import refine

TINY = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
BOUNCING = BouncingMNISTConfig(frames=3, height=32, width=32, clips=20)
CARD = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(BOUNCING)}
WORDS = (*"0123456789", "and", "digit", "down", "is", "left", "moving", "right", "up")


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


# --- The bound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["binary", "grey"])
def test_bound_is_the_sum_written_out(protocol: Any, clips: BouncingMNIST) -> None:
    """Cross-entropy by its formula in float64, the divergence by sampling log q - log p at the z that was drawn."""
    model = randomised(TINY)
    result = evaluate.bound(model, clips, protocol=protocol, clips=7, seed=5)
    pixels = clips.take(np.arange(7)).videos
    x = (pixels > 127).astype(float) if protocol == "binary" else pixels / 255
    generator = torch.Generator().manual_seed(5)
    noise = torch.stack([torch.randn(2, 3, generator=generator) for _ in range(7)])
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
    model = SyncDraw(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for protocol in ("binary", "grey"):
        result = evaluate.bound(model, BouncingMNIST(BOUNCING, "test"), protocol=protocol, clips=3)
        assert result.reconstruction == pytest.approx(3 * 32 * 32 * math.log(2), rel=1e-6)
        assert result.divergence == 0
        assert result.standard_error == pytest.approx(0, abs=1e-2)


def test_bound_is_deterministic_and_leaves_no_trace(clips: BouncingMNIST) -> None:
    model = randomised(TINY).train()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = evaluate.bound(model, clips, clips=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    torch.manual_seed(2)
    assert evaluate.bound(model, clips, clips=5) == first
    assert evaluate.bound(model, clips, clips=5, seed=1) != first


class LinearGaussian:
    """z ~ N(0, 1), x ~ N(a z, s^2), with a posterior that is off by a bit; it speaks to the bounds as SyncDraw does.

    log P(x) is known: x ~ N(0, a^2 + s^2).
    """

    config = dataclasses.replace(TINY, frames=1, height=1, width=1, draw_steps=1, latent_size=1)
    first_canvas = torch.zeros(1)
    training = False
    a, s = 1.5, 0.7

    def train(self, mode: bool) -> None: ...

    def eval(self) -> None: ...

    def __call__(
        self, videos: torch.Tensor, captions: None, *, noise: torch.Tensor, corrections: torch.Tensor | None = None
    ) -> Drawing:
        x, spread = videos.flatten(1), self.a**2 + self.s**2
        posterior = Normal(self.a * x / spread + 0.1, 1.3 * self.s / math.sqrt(spread))
        if corrections is not None:
            shift, log_factor = corrections.unbind(dim=2)
            posterior = Normal(posterior.loc + posterior.scale * shift, posterior.scale * log_factor.exp())
        z = posterior.loc + posterior.scale * noise[:, 0]
        prior = Normal(torch.zeros_like(z)[:, None], torch.ones_like(z)[:, None])
        step = Step(z, Mixture(torch.zeros_like(z), prior), posterior, None, None, None, z, z)  # type: ignore[arg-type]
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
        evaluate.importance_bound(model, data, samples=k, batch_size=500)
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
    corrections = refine(model, videos, None, steps=200, generators=generators)  # type: ignore[arg-type]
    shift, log_factor = corrections[:, 0].unbind(dim=1)
    first = Normal(true.loc + 0.1, 1.3 * true.scale)
    found = Normal(first.loc + first.scale * shift, first.scale * log_factor.exp())
    assert kl_divergence(found, true).mean() < 0.25 * kl_divergence(first, true).mean()
    data = Fixed(np.array([0, 255] * 500, np.uint8).reshape(-1, 1, 1, 1, 1))
    plain, refined = (evaluate.bound(model, data, refine_steps=steps) for steps in (0, 30))  # type: ignore[arg-type]
    assert refined.negative_elbo < plain.negative_elbo
    assert (plain.refine_steps, refined.refine_steps) == (0, 30)


def test_bounds_of_the_model_itself_against_an_integral_over_its_latent() -> None:
    """One drawing step and one latent: log P(X) by the trapezoidal rule over z."""
    torch.manual_seed(3)
    model = randomised(dataclasses.replace(TINY, draw_steps=1, latent_size=1, prior="network"))
    with torch.no_grad():
        model.decoder.weight_ih *= 8  # so that the latent matters
    data = BouncingMNIST(BOUNCING, "test")
    videos = evaluate.targets(torch.from_numpy(data.take(np.arange(4)).videos), "binary")
    grid = torch.linspace(-8, 8, 4001)
    with torch.no_grad():
        logits = model.eval()(None, noise=grid[:, None, None]).logits.flatten(1).double()
    likelihood = videos.flatten(1).double() @ logits.T - functional.softplus(logits).sum(1)
    density = Normal(0.0, 1.0).log_prob(grid).double()
    exact = -(likelihood + density + math.log(16 / 4000)).logsumexp(1).mean().item()
    k20, k2000 = (evaluate.importance_bound(model, data, samples=k, clips=4) for k in (20, 2000))
    # Against their own samples' ELBO, so that chance does not reorder them.
    assert k20.importance_weighted < k20.negative_elbo - 0.3
    assert k2000.importance_weighted < k2000.negative_elbo - 0.3
    assert k2000.importance_weighted == pytest.approx(exact, abs=0.05)
    assert k2000.negative_elbo == pytest.approx(
        evaluate.bound(model, data, protocol="binary", clips=4).negative_elbo, rel=0.01
    )


def test_importance_bound_does_not_depend_on_what_is_drawn_at_once(clips: BouncingMNIST) -> None:
    model = randomised(dataclasses.replace(TINY, captions="alignment", caption_size=4, vocabulary=WORDS))
    sizes = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    first = evaluate.importance_bound(model, clips, samples=7, clips=5, batch_size=3)
    assert max(sizes) == 3
    second = evaluate.importance_bound(model, clips, samples=7, clips=5, batch_size=100)
    for name, value in dataclasses.asdict(first).items():
        assert value == pytest.approx(getattr(second, name), rel=1e-5), name


def test_no_importance_samples(clips: BouncingMNIST) -> None:
    with pytest.raises(UserError, match=r"importance samples is 0; it must be 1 or more"):
        evaluate.importance_bound(randomised(TINY), clips, samples=0, clips=2)


def test_word_dropout_is_off(clips: BouncingMNIST) -> None:
    config = dataclasses.replace(TINY, captions="alignment", caption_size=4, vocabulary=WORDS, word_dropout=0.9)
    model = randomised(config).train()
    expected = evaluate.bound(randomised(dataclasses.replace(config, word_dropout=0.0)), clips, clips=6)
    assert evaluate.bound(model, clips, clips=6) == expected


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_batch_size_does_not_change_the_bound(batch_size: int, clips: BouncingMNIST) -> None:
    """Nor does the number of clips change what the first ones are measured with."""
    model = randomised(dataclasses.replace(TINY, latent_size=5, draw_steps=3))  # 15 numbers a clip: no block of torch's
    expected = evaluate.bound(model, clips, clips=11, batch_size=11)
    result = evaluate.bound(model, clips, clips=11, batch_size=batch_size)
    for field in ("reconstruction", "divergence", "negative_elbo", "entropy_floor"):
        assert getattr(result, field) == pytest.approx(getattr(expected, field), rel=1e-6), field
    assert result.standard_error == pytest.approx(expected.standard_error, rel=1e-3)


def test_protocol_is_the_models_own_unless_given(clips: BouncingMNIST) -> None:
    for protocol in ("binary", "grey"):
        model = randomised(dataclasses.replace(TINY, protocol=protocol))
        assert evaluate.bound(model, clips, clips=2) == evaluate.bound(model, clips, clips=2, protocol=protocol)


def test_number_of_clips(clips: BouncingMNIST) -> None:
    assert evaluate.clip_count(clips, None) == evaluate.clip_count(clips, 10**9) == len(clips) == 10_000
    endless = BouncingMNIST(dataclasses.replace(BOUNCING, clips=0), "train")
    assert evaluate.bound(randomised(TINY), endless, clips=2).clips == 2
    assert math.isnan(evaluate.bound(randomised(TINY), endless, clips=1).standard_error)
    with pytest.raises(UserError, match="endless"):
        evaluate.bound(randomised(TINY), endless)
    for wrong in (0, -1):
        with pytest.raises(UserError, match=f"clips is {wrong}; it must be 1 or more"):
            evaluate.bound(randomised(TINY), clips, clips=wrong)


# --- Floors and anchors ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_entropy_in_closed_form(pixels: list[int]) -> None:
    expected = sum(-x * math.log(x) - (1 - x) * math.log(1 - x) for x in (p / 255 for p in pixels) if 0 < x < 1)
    videos = torch.tensor(pixels, dtype=torch.float64).div(255).view(1, 1, 1, 1, -1)
    assert evaluate.entropy(videos).item() == pytest.approx(expected, abs=1e-9)


def test_entropy_is_what_no_prediction_undercuts() -> None:
    x = torch.rand(2, 3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    floor = evaluate.entropy(x)
    for q in (x, x * 0.9 + 0.05, torch.full_like(x, 0.5)):
        cost = -(x * q.log() + (1 - x) * (1 - q).log()).flatten(1).sum(1)
        assert (cost >= floor - 1e-9).all()
    assert evaluate.entropy(torch.full((1, 1, 1, 2, 3), 0.5)).item() == pytest.approx(6 * math.log(2))


def test_floor_of_a_bound(clips: BouncingMNIST) -> None:
    model = randomised(TINY)
    binary, grey = (evaluate.bound(model, clips, protocol=p, clips=4) for p in ("binary", "grey"))
    assert binary.entropy_floor == 0
    assert binary.excess == binary.reconstruction
    soft = torch.from_numpy(clips.take(np.arange(4)).videos).double() / 255
    assert grey.entropy_floor == pytest.approx(evaluate.entropy(soft).mean().item(), rel=1e-6)
    assert grey.excess == pytest.approx(grey.reconstruction - grey.entropy_floor)


@pytest.mark.parametrize("protocol", ["binary", "grey"])
def test_anchors(protocol: Any) -> None:
    random = np.random.default_rng(0)
    train = Fixed(random.integers(0, 256, (230, 2, 1, 3, 4), np.uint8))  # more than one batch
    train.videos[:, :, :, 0] = 0  # rows that are always black
    test = Fixed(random.integers(0, 256, (130, 2, 1, 3, 4), np.uint8))
    anchors = evaluate.anchor_costs(train, test, protocol, 117)
    assert anchors["half"] == pytest.approx(24 * math.log(2))
    to_target = (lambda v: (v > 127).astype(float)) if protocol == "binary" else (lambda v: v / 255)
    mean = (to_target(train.videos).sum(0) + 0.5) / 231
    x = to_target(test.videos[:117])
    expected = -(x * np.log(mean) + (1 - x) * np.log(1 - mean)).reshape(117, -1).sum(1).mean()
    assert anchors["mean_pixel"] == pytest.approx(expected, rel=1e-6)
    assert math.isfinite(anchors["mean_pixel"])


def test_mean_pixel_beats_a_half_on_digits() -> None:
    train, test = BouncingMNIST(BOUNCING, "train"), BouncingMNIST(BOUNCING, "test")
    anchors = evaluate.anchor_costs(train, test, "grey", 20)
    assert 0 < anchors["mean_pixel"] < anchors["half"]


# --- Reports ---------------------------------------------------------------------------------------------------------


def test_bound_report(clips: BouncingMNIST) -> None:
    model = randomised(TINY)
    report = evaluate.bound_report(model, CARD, data=None, split="test", clips=3, seed=4)
    for protocol in ("binary", "grey"):
        result = evaluate.bound(model, clips, protocol=protocol, clips=3, seed=4)
        values = report.values[protocol]
        assert values["negative_elbo"] == result.negative_elbo
        assert values["entropy_floor"] == result.entropy_floor
        assert values["half"] == pytest.approx(3 * 32 * 32 * math.log(2))
        (line,) = (line for line in report.text.splitlines() if line.startswith(f"{protocol} "))
        assert float(line.split()[3]) == pytest.approx(result.negative_elbo, abs=0.051)
        assert float(line.split()[5]) == pytest.approx(result.entropy_floor, abs=0.051)
    assert "test split, 3 clips, seed 4" in report.text
    json.dumps(report.values)


def test_report_of_other_data(tmp_path: Path) -> None:
    for number in range(6):
        write_clip(tmp_path / "clips" / f"{number}.gif", textures(6, number))
    shape = ClipConfig(frames=3, height=32, width=32, test_share=0.4)
    prepare_folder(tmp_path / "clips", tmp_path / "data", shape, progress=False)
    report = evaluate.bound_report(randomised(TINY), {}, data=str(tmp_path / "data"), split="test", clips=None, seed=0)
    assert report.values["clips"] == len(PreparedClips(tmp_path / "data", "test"))
    with pytest.raises(UserError, match="name it with --data"):
        evaluate.bound_report(randomised(TINY), {}, data=None, split="test", clips=None, seed=0)
    wide = randomised(dataclasses.replace(TINY, width=40))
    with pytest.raises(UserError, match="got videos of shape"):
        evaluate.bound_report(wide, {}, data=str(tmp_path / "data"), split="test", clips=None, seed=0)
    config = dataclasses.replace(TINY, captions="alignment", caption_size=4, vocabulary=WORDS)
    with pytest.raises(UserError, match="draws from captions"):
        evaluate.bound_report(randomised(config), {}, data=str(tmp_path / "data"), split="test", clips=None, seed=0)


def test_card_of_another_version() -> None:
    with pytest.raises(UserError, match=r"config\.json has data settings .*'gravity'"):
        evaluate.data_of({"data": "bouncing_mnist", "bouncing": {"gravity": 1}}, None, "test")


# --- Captions, by the judge: with real clips in the place of samples -------------------------------------------------

FULL = BouncingMNISTConfig(combinations="seen", clips=10)
FULL_CARD = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(FULL)}


def pretending(captioned: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[SyncDraw, list[Any]]:
    """A model whose samples are real clips with the captions that were asked for; and what it was asked for."""
    captions = {"captions": "alignment", "caption_size": 4, "vocabulary": WORDS} if captioned else {}
    model = SyncDraw(SyncDrawConfig(draw_steps=1, grid_size=2, hidden_size=2, latent_size=1, **captions))
    source = BouncingMNIST(dataclasses.replace(FULL, combinations="all"), "validation").take(np.arange(600))
    shown: dict[str, list[int]] = {}
    for number, text in enumerate(source.captions or []):
        shown.setdefault(text, []).append(number)
    asked: list[Any] = []

    def generate(what: Any, *, seed: int, temperature: float) -> torch.Tensor:
        asked.append((what, seed, temperature))
        if isinstance(what, int):
            numbers = list(range(what))
        else:
            numbers = [shown[text][place % len(shown[text])] for place, text in enumerate(what)]
        return torch.from_numpy(source.videos[numbers]).float() / 255

    monkeypatch.setattr(model, "generate", generate)
    return model, asked


def test_caption_report_of_a_perfect_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = pretending(True, monkeypatch)
    report = evaluate.caption_report(model, FULL_CARD, samples=110, seed=3, temperature=0.6)
    for kind in ("seen", "unseen"):
        ceiling = report.values[f"real test clips, {kind} captions"]
        measured = report.values[f"samples, {kind} captions"]
        floor = report.values[f"samples, {kind} captions dealt anew"]
        assert ceiling["caption_match"] > 0.9
        assert measured["caption_match"] > 0.9
        assert measured["one_axis"] > 0.9
        # Ten captions each, dealt out at random: one in ten is right by chance.
        assert floor["caption_match"] < 0.25
        assert floor["readable_share"] == measured["readable_share"]
    # The captions were those of the test clips, on each side of the split, each batch with noise of its own.
    assert [len(what) for what, *_ in asked] == [100, 10, 100, 10]
    assert [(seed, temperature) for _, seed, temperature in asked] == [(3, 0.6), (4, 0.6)] * 2
    assert "temperature 0.6;" in report.text.splitlines()[0]
    seen, unseen = ({text for what, *_ in part for text in what} for part in (asked[:2], asked[2:]))
    assert seen == {caption([d], [d % 2]) for d in range(10)}
    assert unseen == {caption([d], [1 - d % 2]) for d in range(10)}
    line = next(line for line in report.text.splitlines() if line.startswith("samples, unseen captions "))
    assert f"{100 * report.values['samples, unseen captions']['caption_match']:.1f}" in line.split()
    json.dumps(report.values)


def test_caption_report_of_a_model_that_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = pretending(True, monkeypatch)
    monkeypatch.setattr(model, "generate", lambda what, **_: torch.zeros(len(what), *model.config.shape))
    report = evaluate.caption_report(model, FULL_CARD, samples=20, seed=0)
    for kind in ("seen", "unseen"):
        assert report.values[f"samples, {kind} captions"]["caption_match"] == 0
        assert report.values[f"samples, {kind} captions"]["one_axis"] == 0
        assert report.values[f"samples, {kind} captions"]["readable_share"] == 0


def test_caption_report_without_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = pretending(False, monkeypatch)
    report = evaluate.caption_report(model, FULL_CARD, samples=20, seed=0)
    assert [what for what, *_ in asked] == [20]
    assert report.values["samples"]["readable_share"] > 0.8
    assert report.values["samples"].keys() == {"one_axis", "readable_share"}


def test_caption_report_of_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = pretending(False, monkeypatch)
    for samples in (0, -1, 10_001):
        with pytest.raises(UserError, match=f"samples is {samples}; it must be from 1 to 10000"):
            evaluate.caption_report(model, FULL_CARD, samples=samples, seed=0)
    with pytest.raises(UserError, match="Bouncing MNIST only"):
        evaluate.caption_report(model, {"data": "somewhere"}, samples=1, seed=0)
    assert asked == []
