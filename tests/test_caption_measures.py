"""Measures of captions, of models whose samples or bounds are known."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from making_models import randomised
from syncdraw import SyncDraw, UserError
from syncdraw.building import build
from syncdraw.config import CaptionConfig, SyncDrawConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig, caption
from syncdraw.datasets.clips import Clips
from syncdraw.evaluation import captions as measuring
from syncdraw.evaluation.bounds import bound
from syncdraw.evaluation.captions import caption_gap, caption_report, other_captions
from syncdraw.evaluation.samples import sample_batches

WORDS = (*"0123456789", "and", "digit", "down", "is", "left", "moving", "right", "up")

# --- By the bound ----------------------------------------------------------------------------------------------------


class Told:
    """Clips of one pixel; the caption says how bright it is."""

    shape = (1, 1, 1, 1)

    def __init__(self, levels: Sequence[int], captions: bool = True) -> None:
        self.levels, self.captions = np.array(levels, np.uint8), captions

    def __len__(self) -> int:
        return len(self.levels)

    def take(self, indices: np.ndarray) -> Clips:
        chosen = self.levels[indices]
        return Clips(chosen.reshape(-1, 1, 1, 1, 1), [f"level {x}" for x in chosen] if self.captions else None)

    def wordings(self) -> list[str]:
        return []


class Guessing:
    """L_X is how far a clip lies from what its caption says, times `heed`, with noise that is drawn for the clip."""

    training = False

    def __init__(self, heed: float) -> None:
        self.heed = heed

    def train(self, mode: bool = True) -> None: ...

    def eval(self) -> None: ...

    def prepare(self, videos: np.ndarray, captions: list[str], generator: torch.Generator) -> Any:
        noise = torch.stack([torch.randn((), generator=generator) for _ in captions])
        said = torch.tensor([float(text.split()[1]) for text in captions])
        return torch.from_numpy(videos).flatten().float(), said, noise

    def bound(self, batch: Any, protocol: Any = None) -> Any:
        assert protocol is None  # the model's own
        level, said, noise = batch
        return SimpleNamespace(
            reconstruction=self.heed * (level - said).abs() + 100 * noise, divergence_by_step=torch.ones(len(level), 2)
        )


def test_caption_gap_is_what_wrong_captions_cost() -> None:
    """Of three levels, a wrong caption is 10, 20 or 30 off; noise of a deviation of 100 cancels."""
    data = Told([0, 10, 30] * 200)
    gap = caption_gap(Guessing(2.0), data, batch_size=70, seed=1)
    assert gap.clips == 600
    # From 0: 10 or 30 off. From 10: 10 or 20. From 30: 30 or 20. Each is as likely: 20 on average, times 2.
    assert gap.gap == pytest.approx(40, abs=3 * gap.standard_error)
    assert gap.gap == pytest.approx(gap.wrong - gap.right, rel=1e-6)
    differences = np.array([20, 60, 20, 40, 60, 40])
    assert gap.standard_error == pytest.approx(differences.std() / math.sqrt(600), rel=0.1)
    assert caption_gap(Guessing(2.0), data, batch_size=600, seed=1) == gap  # however many at once
    assert caption_gap(Guessing(2.0), data, seed=2).gap != gap.gap


def test_caption_gap_of_a_model_that_does_not_heed_captions_is_zero() -> None:
    gap = caption_gap(Guessing(0.0), Told([0, 10, 30] * 20))
    assert (gap.gap, gap.standard_error) == (0, 0)


def test_caption_gap_of_a_model_of_its_own_kind() -> None:
    """The right half is the plain bound."""
    config = SyncDrawConfig(
        frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3,
        captions=CaptionConfig("alignment", 4, WORDS),
    )  # fmt: skip
    model, clips = randomised(config), BouncingMNIST(BouncingMNISTConfig(shape=(3, 1, 32, 32)), "test")
    gap = caption_gap(model, clips, clips=12, batch_size=5, seed=3)
    assert gap.right == pytest.approx(bound(model, clips, protocol="grey", clips=12, seed=3).negative_elbo, rel=1e-6)
    assert gap.gap != 0


def test_caption_gap_measures_so_many_clips_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MOST_CLIPS", 9)
    data = Told([0, 10] * 10)
    assert caption_gap(Guessing(1.0), data).clips == 9
    assert caption_gap(Guessing(1.0), data, clips=8).clips == 8


def test_caption_gap_of_clips_that_have_no_other_captions() -> None:
    with pytest.raises(UserError, match="all clips have the caption 'level 5', so there is no other one"):
        caption_gap(Guessing(1.0), Told([5] * 4))
    with pytest.raises(UserError, match="these clips have no captions"):
        caption_gap(Guessing(1.0), Told([0, 10], captions=False))


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=40), st.integers(0, 100))
@settings(deadline=None, max_examples=100)
def test_other_captions_are_never_ones_own(captions: list[str], seed: int) -> None:
    if len(set(captions)) == 1:
        captions[0] = "e"
    dealt = other_captions(captions, seed)
    assert all(new != own for new, own in zip(dealt, captions, strict=True))
    assert set(dealt) <= set(captions)


def test_other_captions_are_as_frequent_as_they_are_among_the_others() -> None:
    dealt = other_captions(["a"] * 3000 + ["b"] * 2000 + ["c"] * 1000, seed=0)
    assert dealt[:3000].count("b") == pytest.approx(2000, abs=100)
    assert dealt[3000:5000].count("a") == pytest.approx(1500, abs=75)
    assert dealt[5000:].count("a") == pytest.approx(600, abs=60)


# --- By the judge: with real clips in the place of samples -----------------------------------------------------------

FULL = BouncingMNISTConfig(combinations="seen", clips=10)
FULL_CARD = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(FULL)}


def pretending(captioned: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[SyncDraw, list[Any]]:
    """A model whose samples are real clips with the captions that were asked for; and what it was asked for."""
    captions = CaptionConfig("alignment", 4, WORDS) if captioned else CaptionConfig()
    model = build(SyncDrawConfig(draw_steps=1, grid_size=2, hidden_size=2, latent_size=1, captions=captions))
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
    monkeypatch.setattr(measuring, "sample_batches", partial(sample_batches, batch_size=50))
    model, asked = pretending(True, monkeypatch)
    report = caption_report(model, FULL_CARD, samples=60, seed=3, temperature=0.6)
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
    assert [len(what) for what, *_ in asked] == [50, 10, 50, 10]
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
    report = caption_report(model, FULL_CARD, samples=20, seed=0)
    for kind in ("seen", "unseen"):
        assert report.values[f"samples, {kind} captions"]["caption_match"] == 0
        assert report.values[f"samples, {kind} captions"]["one_axis"] == 0
        assert report.values[f"samples, {kind} captions"]["readable_share"] == 0


def test_caption_report_without_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = pretending(False, monkeypatch)
    report = caption_report(model, FULL_CARD, samples=20, seed=0)
    assert [what for what, *_ in asked] == [20]
    assert report.values["samples"]["readable_share"] > 0.8
    assert report.values["samples"].keys() == {"one_axis", "readable_share"}


def test_caption_report_of_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = pretending(False, monkeypatch)
    for samples in (0, -1, 10_001):
        with pytest.raises(UserError, match=f"samples is {samples}; it must be from 1 to 10000"):
            caption_report(model, FULL_CARD, samples=samples, seed=0)
    with pytest.raises(UserError, match="Bouncing MNIST only"):
        caption_report(model, {"data": "somewhere"}, samples=1, seed=0)
    assert asked == []
