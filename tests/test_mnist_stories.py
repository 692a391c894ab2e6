"""MNIST stories: what a caption says is what the pixels show, the split keeps what it keeps, and the judge reads it."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from syncdraw import SyncDraw, UserError, cards, pretrained
from syncdraw.building import build
from syncdraw.captions import clauses
from syncdraw.config import CaptionConfig, SyncDrawConfig
from syncdraw.datasets import open_dataset
from syncdraw.datasets.bouncing_mnist import DIAGONAL, STILL, BouncingMNISTConfig, caption
from syncdraw.datasets.mnist_stories import PLANS, MNISTStories, StoryClips, all_stories, is_unseen, words_of
from syncdraw.datasets.story_captions import (
    FAST,
    SIDES,
    SIDEWAYS,
    SLOW,
    SPEEDS,
    UPRIGHT,
    USUAL,
    WORDINGS,
    Story,
    Wording,
    parse_story,
    tell,
)
from syncdraw.evaluation.captions import caption_report
from syncdraw.evaluation.comparison import comparison_report
from syncdraw.evaluation.distance_report import distance_report
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.scorer import Scorer
from syncdraw.evaluation.stories import measure_motions, search_for, story_fidelity
from syncdraw.training import run
from syncdraw.vocabulary import Vocabulary
from syncdraw.wordings import sentences_for, suited_model, understood_story
from syncdraw.words import normalise
from training_runs import ALIGNED, RUN, changed, go, metrics, quick


def clips(count: int = 200, split: Any = "train", **settings: Any) -> StoryClips:
    return MNISTStories(BouncingMNISTConfig(**settings), split).take(np.arange(count))


def said(drawn: StoryClips) -> list[str]:
    assert drawn.captions is not None
    return drawn.captions


# --- Captions and pixels ---------------------------------------------------------------------------------------------


def moved(video: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Rows and columns `[frame - 1, 2]` by which the intensity's centre moves, of one clip."""
    grey = video[:, 0].astype(float)
    total = grey.sum((-1, -2))
    rows = (grey.sum(-1) @ np.arange(grey.shape[-2])) / total
    columns = (grey.sum(-2) @ np.arange(grey.shape[-1])) / total
    steps: NDArray[np.float64] = np.diff(np.stack([rows, columns], -1), axis=0)
    return steps


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_what_captions_say_is_what_the_pixels_show(split: str) -> None:
    drawn = clips(700, split)
    counted = {"speed": 0, "start": 0, "then": 0, "diagonal": 0, "still": 0}
    lengths: dict[tuple[int, bool], list[float]] = {}
    for video, text, path in zip(drawn.videos, said(drawn), drawn.positions[:, 0], strict=True):
        (story,) = parse_story(text)
        steps = moved(video)
        np.testing.assert_allclose(steps, np.diff(path, axis=0), atol=1e-9)  # positions are those drawn
        if story.start is not None:  # the glyph's 28 x 28 touches that border, and leaves it
            axis, end = {"left": (1, 0), "right": (1, 36), "top": (0, 0), "bottom": (0, 36)}[SIDES[story.start]]
            row, column = path[0]
            assert video[0, 0, row : row + 28, column : column + 28].sum() == video[0].sum()
            assert path[0, axis] == end
            assert (steps[0, axis] > 0) == (end == 0)
            counted["start"] += 1
        counted["speed"] += story.speed != USUAL
        if story.motions is None:
            continue
        if story.motions == ():
            assert (video == video[:1]).all()
            counted["still"] += 1
            continue
        counted["then"] += len(story.motions) == 2
        # Ten frames have nine steps: five of the first motion, and four of the second.
        for motion, part, at in zip(
            (story.motions * 2)[:2], (steps[:5], steps[5:]), (path[:5], path[5:9]), strict=True
        ):
            if motion == DIAGONAL:
                counted["diagonal"] += 1
                pixels, axes = SPEEDS[story.speed] / 2**0.5, (0, 1)
            else:
                pixels, axes = SPEEDS[story.speed], (1 - motion,)
                np.testing.assert_allclose(part[:, motion], 0, atol=1e-9)  # the other axis
            for axis in axes:
                assert abs(np.abs(part[:, axis]).max() - pixels) < 1
                # Where no reflection is possible, a step has its full length, to the nearest pixel at both ends.
                free = (at[:, axis] > pixels + 1) & (at[:, axis] < 35 - pixels)
                lengths.setdefault((story.speed, motion == DIAGONAL), []).extend(np.abs(part[free, axis]))
    for (speed, diagonal), found in lengths.items():
        assert np.mean(found) == pytest.approx(SPEEDS[speed] / 2 ** (0.5 * diagonal), abs=0.15), (speed, diagonal)
    assert len(lengths) == 6
    assert min(counted.values()) > 40  # every case was tested


def test_captions_say_no_more_than_is_drawn_and_leave_things_out() -> None:
    for digits in (1, 2, 3):
        drawn = clips(600, digits=digits)
        left_out = {"label": 0, "motions": 0}
        for text, stories in zip(said(drawn), drawn.stories, strict=True):
            told = parse_story(text)
            assert len(told) == len(stories) == digits
            assert len(clauses(text)) == digits  # as a model with layers reads them
            for one, story in zip(told, stories, strict=True):
                assert one.label in (story.label, None)
                assert one.motions in (story.motions, None)
                assert (one.speed, one.start) == (story.speed, story.start)
                left_out["label"] += one.label is None
                left_out["motions"] += one.motions is None
        shares = np.array(list(left_out.values())) / (600 * digits)
        np.testing.assert_allclose(shares, [0.1, 0.15 * 0.9], atol=0.04)


def test_what_is_open_is_drawn_freely() -> None:
    drawn = clips(3000)
    told = [parse_story(text)[0] for text in said(drawn)]
    nameless = [row[0].label for row, one in zip(drawn.stories, told, strict=True) if one.label is None]
    aimless = [row[0].motions for row, one in zip(drawn.stories, told, strict=True) if one.motions is None]
    assert set(nameless) == set(range(10))
    assert set(aimless) == set(PLANS)
    begin = np.array([
        path[0, 0] for path, one in zip(drawn.positions, told, strict=True) if one.start is None and one.motions
    ])  # fmt: skip
    assert np.unique(begin[:, 0]).tolist() == np.unique(begin[:, 1]).tolist() == list(range(37))


def test_several_glyphs_are_added_and_show_the_right_digits() -> None:
    drawn = clips(60, digits=3, shape=(7, 3, 48, 72))
    data = MNISTStories(BouncingMNISTConfig(digits=3, shape=(7, 3, 48, 72)))
    known = [
        {data.glyphs.images[number].tobytes() for number in data.glyphs.order[start : start + count]}
        for start, count in zip(data.glyphs.starts, data.glyphs.counts, strict=True)
    ]
    assert drawn.videos.shape == (60, 7, 3, 48, 72)
    alone = 0
    for video, path, stories in zip(drawn.videos, drawn.positions, drawn.stories, strict=True):
        assert (video == video[:, :1]).all()
        assert (path >= 0).all()
        assert (path <= [20, 44]).all()
        for glyph, story in enumerate(stories):
            for frame, (row, column) in enumerate(path[glyph]):
                others = np.delete(path[:, frame], glyph, axis=0)
                if (np.abs(others - (row, column)).max(axis=-1) >= 28).all():
                    assert story.label is not None
                    assert video[frame, 0, row : row + 28, column : column + 28].tobytes() in known[story.label]
                    alone += 1
    assert alone > 20


# --- Numbers and splits ----------------------------------------------------------------------------------------------


def test_a_clip_depends_on_its_number_alone() -> None:
    data = MNISTStories(BouncingMNISTConfig(digits=2, clips=0))
    alone, among = data.take(np.array([5])), data.take(np.array([2**40, 5, 11_999, 5]))
    for row in (1, 3):
        np.testing.assert_array_equal(alone.videos[0], among.videos[row])
        assert said(alone)[0] == said(among)[row]
    assert len(data.take(np.array([], np.int64))) == 0
    other = clips(50, "validation", digits=2)
    assert (other.videos == data.take(np.arange(50)).videos).all((1, 2, 3, 4)).sum() == 0
    assert [len(open_dataset("mnist_stories", data.config, split)) for split in ("train", "test")] == [0, 10_000]
    with pytest.raises(IndexError, match="0 to 9999"):
        MNISTStories(data.config, "test").take(np.array([10_000]))


def test_every_digit_and_every_word_is_seen_and_some_never_together() -> None:
    seen, unseen = (all_stories(kind)[0] for kind in ("seen", "unseen"))
    assert not set(seen) & set(unseen)
    assert set(seen) | set(unseen) == set(all_stories("all")[0])
    together = {(story.label, word) for story in seen for word in words_of(story)}
    kept = {(label, word) for label in range(10) for word in range(15)} - together
    for label in range(10):
        assert sum(pair[0] == label for pair in kept) == 3
    for word in range(15):
        assert sum(pair[1] == word for pair in kept) == 2
    assert all(any((story.label, word) in kept for word in words_of(story)) for story in unseen)
    assert all(abs(all_stories(kind)[1].sum() - 1) < 1e-9 for kind in ("all", "seen", "unseen"))


@pytest.mark.parametrize("digits", [1, 2])
def test_no_clip_leaks_over_the_split(digits: int) -> None:
    drawn = {kind: clips(1500, digits=digits, combinations=kind) for kind in ("seen", "unseen")}
    for kind, of_kind in drawn.items():
        assert all(is_unseen(story) == (kind == "unseen") for row in of_kind.stories for story in row)
    told = [story for text in said(drawn["unseen"]) for story in parse_story(text)]
    assert all(is_unseen(story) for story in told)  # nothing that makes them unseen is left out
    assert not set(said(drawn["seen"])) & set(said(drawn["unseen"]))
    words = [{word for text in said(of_kind) for word in normalise(text)} for of_kind in drawn.values()]
    assert words[1] <= words[0]


def test_wordings_hold_every_word_and_the_longest_caption() -> None:
    for digits in (1, 3):
        data = MNISTStories(BouncingMNISTConfig(digits=digits), "test")
        vocabulary = Vocabulary.from_captions(data.wordings())
        longest = vocabulary.encode(data.wordings()).shape[1]
        for split in ("train", "test"):
            assert vocabulary.encode(said(clips(1500, split, digits=digits))).shape[1] <= longest


def test_a_bad_setting_is_named() -> None:
    for change, message in [
        ({"digits": 4}, "bouncing.digits must be 1 to 3 in mnist_stories, not 4"),
        ({"shape": (5, 1, 64, 64)}, "frames of bouncing.shape must be at least 6 in mnist_stories, not 5"),
        ({"extra_motions": 0.5}, "bouncing.extra_motions must be 0 in mnist_stories"),
    ]:
        with pytest.raises(UserError, match=message):
            MNISTStories(BouncingMNISTConfig(**change))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="combinations must be all where digits is 3"):
        BouncingMNISTConfig(digits=3, combinations="seen")
    with pytest.raises(UserError, match="train, validation, test, not 'dev'"):
        MNISTStories(BouncingMNISTConfig(), "dev")  # type: ignore[arg-type]


# --- Sentences -------------------------------------------------------------------------------------------------------

STORIES = st.builds(
    Story,
    st.none() | st.integers(0, 9),
    st.none() | st.just(()) | st.sampled_from(PLANS),
    st.integers(0, 2),
    st.none() | st.integers(0, 3),
).filter(lambda story: story.possible)
WORDED = st.builds(Wording, *(st.integers(0, count - 1) for count in WORDINGS))


@given(st.lists(STORIES, min_size=1, max_size=3), WORDED)
@settings(max_examples=300)
def test_every_wording_of_a_story_is_read_as_that_story(stories: list[Story], wording: Wording) -> None:
    text = tell(stories, wording)
    assert parse_story(text) == tuple(stories)
    assert parse_story(f" {text.title()}. ") == tuple(stories)
    assert [tell(stories)] == [understood_story(text)]
    assert len(clauses(text)) == len(stories)


def test_sentences_of_bouncing_mnist_mean_the_same() -> None:
    for motion in (STILL, SIDEWAYS, UPRIGHT, DIAGONAL):
        expected = Story(3, () if motion == STILL else (motion,))
        assert parse_story(caption([3, 3], [motion, motion])) == (expected, expected)
        assert tell([expected] * 2) == caption([3, 3], [motion, motion])


@pytest.mark.parametrize(
    ("text", "story"),
    [
        ("digit 3 is moving left and right then up and down", Story(3, (SIDEWAYS, UPRIGHT))),
        ("The digit 3 is slowly moving left and right.", Story(3, (SIDEWAYS,), SLOW)),
        ("quickly, from the top, an eight goes vertically", Story(8, (UPRIGHT,), FAST, 2)),
        ("a digit goes diagonally and then sideways from the right", Story(None, (DIAGONAL, SIDEWAYS), USUAL, 1)),
        ("a seven moves fast and from the left", Story(7, None, FAST, 0)),
        ("seven", Story(7, ())),
    ],
)
def test_sentences(text: str, story: Story) -> None:
    assert parse_story(text) == (story,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digit 3 flies", "has the unknown word 'flies'"),
        ("is moving fast", "names no digit"),
        ("", "names no digit"),
        ("digit 3 is moving from", "is not understood"),
        ("digit 3 is moving slowly fast", "says two things of one digit at once"),
        ("digit 3 is moving left and right and up and down", "says two things of one digit at once"),
        ("digit 3 is moving up and down from the left", "says what no digit can do"),
    ],
)
def test_sentences_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_story(text)


@settings(max_examples=200)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from([*"03,.", "from", "then", "fast", "and", "left", "a"])).map(" ".join))
)
def test_any_text_is_understood_or_refused_in_one_sentence(text: str) -> None:
    for read in (parse_story, understood_story):
        with suppress(UserError):
            assert len(read(text)) > 0


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("digt 3 is movin slwly left and rigth", "digit 3 is moving slowly left and right"),
        ("fast, from the left, seven goes diagonal and the 2 from top",
         "digit 7 is moving fast diagonally from the left and digit 2 is moving from the top"),
        ("a thre quikly", "digit 3 is moving fast"),
    ],
)  # fmt: skip
def test_mistyped_and_reordered_sentences(typed: str, meant: str) -> None:
    assert understood_story(typed) == meant


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("digit 3 glides slowly", "digit 3 is moving slowly"),
        ("digit 12", "a digit"),
        ("nonsense", "digit 3 is moving left and right"),
    ],
)
def test_sentences_that_mean_nothing_known(typed: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{nearest}'"):
        understood_story(typed)


# --- The judge -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_the_judge_reads_stories_of_real_clips_and_not_those_of_others(judge: Judge, kind: Any) -> None:
    drawn = clips(200, "test", combinations=kind)
    reading = judge.read(torch.from_numpy(drawn.videos) / 255, 1)
    measured = story_fidelity(reading, said(drawn), (64, 64))
    assert measured.keys() == {"caption_match", "digit", "motion", "then", "speed", "start"}
    assert min(measured.values()) >= 0.98
    floor = story_fidelity(reading, said(drawn)[1:] + said(drawn)[:1], (64, 64))
    assert floor["caption_match"] < 0.1
    assert floor["digit"] < 0.25
    assert floor["speed"] < 0.6
    assert max(floor["motion"], floor["then"]) < 0.5


@pytest.mark.parametrize(("digits", "count"), [(2, 16), (3, 8)])
def test_the_judge_finds_glyphs_that_overlap(judge: Judge, digits: int, count: int) -> None:
    drawn = clips(count, "test", digits=digits)
    reading = judge.read(torch.from_numpy(drawn.videos) / 255, digits, search=search_for(drawn))
    gaps = np.abs(drawn.positions[:, 0] - drawn.positions[:, 1]).max(-1)
    assert (gaps < 14).any(-1).mean() > 0.3  # the case is common
    measured = story_fidelity(reading, said(drawn), (64, 64))
    assert min(share for name, share in measured.items() if name != "caption_match") >= 0.9
    # The search of Bouncing MNIST looks along other paths.
    plain = story_fidelity(judge.read(torch.from_numpy(drawn.videos) / 255, digits), said(drawn), (64, 64))
    assert plain["caption_match"] < 0.5
    assert measured["caption_match"] >= 0.85


def test_motions_by_hand() -> None:
    def path(rows: list[float], columns: list[float]) -> Any:
        found = measure_motions(torch.tensor([rows, columns]).T[None, None], (64, 64))
        starts = [SIDES[number] for number in range(4) if found.starts[0, 0, number]]
        return found.halves[0, 0].tolist(), found.speed.item(), starts

    still, right = [5.0] * 10, [0.0, 7, 14, 21, 29, 36, 29, 22, 15, 8]
    left = [36.0, 29, 22, 14, 7, 0, 7, 14, 22, 29]
    assert path(still, right) == ([SIDEWAYS, SIDEWAYS], USUAL, ["left"])
    assert path(still, left) == ([SIDEWAYS, SIDEWAYS], USUAL, ["right"])
    assert path(left, still) == ([UPRIGHT, UPRIGHT], USUAL, ["bottom"])
    assert path(still, still) == ([STILL, STILL], SLOW, [])
    slow = [10.0, 14, 17, 21, 24, 28, 28, 28, 28, 28]
    assert path(still, [*slow[:6], 32, 35, 33, 30]) == ([SIDEWAYS, SIDEWAYS], SLOW, [])
    assert path([20.0] * 6 + [9, 0, 11, 22], [0.0, 11, 22, 32, 29, 18, 18, 18, 18, 18]) == (
        [SIDEWAYS, UPRIGHT], FAST, ["left"],
    )  # fmt: skip
    diagonal = [0.0, 5, 10, 15, 20, 25, 31, 36, 31, 26]
    assert path(diagonal, [20.0, 15, 10, 5, 0, 5, 10, 16, 21, 26]) == ([DIAGONAL, DIAGONAL], USUAL, ["top"])


def test_glyphs_and_clauses_are_matched_whatever_their_order(judge: Judge) -> None:
    drawn = clips(2, "test", combinations="seen")
    reading = judge.read(torch.from_numpy(drawn.videos) / 255, 1)
    both = dataclasses.replace(
        reading,
        **{field.name: getattr(reading, field.name).transpose(0, 1) for field in dataclasses.fields(reading)},
    )
    first, second = said(drawn)
    for text in (f"{first} and {second}", f"{second} and {first}"):
        assert story_fidelity(both, [text], (64, 64))["caption_match"] == 1
    with pytest.raises(UserError, match="names 1 digits, where 2 were read"):
        story_fidelity(both, [first], (64, 64))
    with pytest.raises(UserError, match="there are 2 captions for 1 clips"):
        story_fidelity(both, [first, second], (64, 64))


# --- Models of these data --------------------------------------------------------------------------------------------

CONFIG = BouncingMNISTConfig(combinations="seen", clips=10)
CARD = {"data": "mnist_stories", "bouncing": dataclasses.asdict(CONFIG)}


def model() -> SyncDraw:
    words = Vocabulary.from_captions(MNISTStories(CONFIG).wordings()).words
    captions = CaptionConfig("alignment", 4, words)
    return build(SyncDrawConfig(draw_steps=1, grid_size=2, hidden_size=2, latent_size=1, captions=captions))


class Recorded:
    """Draws clips that there are already, in their order."""

    shape, captioned = CONFIG.shape, True

    def __init__(self, *of: StoryClips) -> None:
        self.videos = torch.cat([torch.from_numpy(each.videos) for each in of]).float() / 255

    def generate(self, what: list[str], **_: Any) -> torch.Tensor:
        drawn, self.videos = self.videos[: len(what)], self.videos[len(what) :]
        return drawn

    def parameters(self) -> list[torch.Tensor]:
        return []


def test_distances_are_in_the_judges_features() -> None:
    """Twice, as of Bouncing MNIST on the hard split; real clips in the place of samples are 0 away."""
    model = Recorded(*(clips(8, "test", combinations=kind) for kind in ("seen", "unseen")))
    report = distance_report(model, CARD, data=None, samples=8, seed=0)
    for kind in ("seen", "unseen"):
        rows = report.values[f"{kind} captions"]
        assert rows["Frechet distance, digits and motion"]["samples"] < 1e-6
        assert rows["Frechet distance, digits and motion"]["real"] > 1
        assert rows["nearest training glyph"]["ratio"] == 1
    assert "in the judge's features: no FVD" in report.text


def test_models_of_stories_are_compared_by_digits_and_captions() -> None:
    """Two digits, which are found along the paths of stories alone."""
    card = {"data": "mnist_stories", "bouncing": dataclasses.asdict(dataclasses.replace(CONFIG, digits=2))}
    drawn = clips(6, "test", combinations="seen", digits=2)
    others = dataclasses.replace(drawn, videos=drawn.videos[::-1].copy())
    models: Any = {"told": (Recorded(drawn), card), "mistaken": (Recorded(others), card)}
    rows = comparison_report(models, data=None, samples=6, seed=0).values
    assert rows["real"]["caption match"] >= 0.8
    assert rows["mistaken"]["caption match"] <= 0.2
    for key in ("readable", "identity", "Frechet", "caption match"):
        assert rows["told"][key] == rows["real"][key]
    assert "one axis" not in rows["told"]  # a story may go on along the other one


def test_caption_report_of_a_perfect_model_and_of_one_that_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    perfect, truth = model(), {}
    for kind in ("seen", "unseen"):
        drawn = clips(60, "test", combinations=kind)
        truth |= dict(zip(said(drawn), torch.from_numpy(drawn.videos).float() / 255, strict=True))
    monkeypatch.setattr(perfect, "generate", lambda what, **_: torch.stack([truth[text] for text in what]))
    report = caption_report(perfect, CARD, samples=60, seed=0)
    for kind in ("seen", "unseen"):
        measured = report.values[f"samples, {kind} captions"]
        assert min(measured[name] for name in ("caption_match", "digit", "motion", "then", "speed", "start")) > 0.9
        assert report.values[f"samples, {kind} captions dealt anew"]["caption_match"] < 0.25
    assert "one axis" not in report.text
    json.dumps(report.values)
    monkeypatch.setattr(perfect, "generate", lambda what, **_: torch.zeros(len(what), 10, 1, 64, 64))
    nothing = caption_report(perfect, CARD, samples=20, seed=0).values["samples, seen captions"]
    assert nothing["caption_match"] <= 0.1  # a still one may be named right by chance
    assert nothing["then"] == nothing["start"] == 0


def test_what_is_scored_in_training_is_the_match_of_stories(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = clips(40, "validation")
    perfect = model()
    monkeypatch.setattr(perfect, "generate", lambda what, **_: torch.from_numpy(drawn.videos).float() / 255)
    assert Scorer(drawn, CONFIG).scores(perfect)["caption_match"] > 0.9


def test_captions_are_read_as_stories_where_the_model_knows_them() -> None:
    assert sentences_for(model(), ["slwly a three goes sideways"], CARD, "mine") == [
        "digit 3 is moving slowly left and right"
    ]
    with pytest.raises(UserError, match="model mine draws from captions: give one, such as 'digit 3 is moving left"):
        sentences_for(model(), [], CARD, "mine")


def test_a_model_learns_from_stories_in_layers_and_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two glyphs, each drawn from its own clause, begun from a model that knows fewer words."""
    quick(monkeypatch)
    monkeypatch.setattr(run, "Scorer", Scorer)
    model = dataclasses.replace(ALIGNED, frames=6, draw_steps=4)
    begun = go(changed(RUN, {"model": model, "bouncing.shape": (6, 1, 32, 32), "train.max_steps": 1}), tmp_path / "one")
    config = changed(RUN, {
        "data": "mnist_stories", "model": dataclasses.replace(model, layers=2), "train.max_steps": 2,
        "bouncing": BouncingMNISTConfig(digits=2, shape=(6, 1, 32, 32), combinations="seen", clips=20),
        "train.start.model": str(begun),
    })  # fmt: skip
    out = go(config, tmp_path / "run")
    assert metrics(out)[-1]["caption_match"] < 0.5
    learned = pretrained.load(out)
    assert {"slowly", "then", "from", "a", "eight"} <= set(learned.config.captions.vocabulary)
    report = caption_report(learned, pretrained.load_card(out), samples=3, seed=0)
    assert {"samples, seen captions", "samples, unseen captions"} <= report.values.keys()


@pytest.mark.parametrize(
    ("captions", "model"),
    [
        ([], "mnist1"),
        (["digit 3 is moving left and right", "seven"], "mnist1-captions"),
        (["3 left and right and 5 up and down"], "mnist2-captions"),
        (["digit 3 is moving fast up and down"], "mnist-stories"),
        (["a three goes sideways then vertically"], "mnist-stories"),
        (["from the left digit 3 is moving slowly diagonally", "digit 4 is moving up and down"], "mnist-stories"),
        (["a digit is moving left and right"], "mnist-stories"),
        (["a 3 goes fsat up"], "mnist-stories"),
    ],
)
def test_the_model_that_suits_captions(captions: list[str], model: str) -> None:
    assert suited_model(captions) == model


def test_captions_of_somebodys_clips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The model that knows all of their words, if one ships; of digits, others know more."""
    for name, data, words in (
        ("stories", "mnist_stories", ["a", "dog", "runs"]),
        ("cats", "cats", ["a", "cat", "runs", "digit", "3"]),
        ("dogs", "dogs", ["a", "dog", "runs", "the", "park"]),
    ):
        card = {"data": data, "model": {"captions": {"vocabulary": words}}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(card))
    monkeypatch.setattr(cards, "SHIPPED", tmp_path)
    assert suited_model(["A dog runs.", "the dog"]) == "dogs"
    assert suited_model(["digit 3"]) == "mnist1-captions"
    assert suited_model(["a dog runs fast, park"]) == "dogs"  # which can say that it does not know 'fast'
    with pytest.raises(UserError, match="is not understood"):
        suited_model(["a dog runs", "a cat runs"])  # no model knows both


def test_a_caption_of_nothing_that_is_known_is_answered_with_all_that_is() -> None:
    with pytest.raises(UserError, match=r"did you mean 'digit 3 .+' or 'a woman .+' or 'a man .+ in' or 'a green"):
        suited_model(["someone walks"])  # and "someone" is not the number


@pytest.mark.parametrize(
    "caption", ["digit -1", "digit 3 is movng left", "a dog", "a dog is moving fast", "digit 3 fast and digit 4 slowly"]
)
def test_captions_that_suit_no_model(caption: str) -> None:
    with pytest.raises(UserError, match="is not understood; did you mean 'digit"):
        suited_model([caption])
