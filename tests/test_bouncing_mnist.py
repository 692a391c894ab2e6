"""Bouncing MNIST: what is drawn is what the labels, motions, positions and captions say, measured in the pixels."""

from __future__ import annotations

import gzip
import math
import struct
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from syncdraw.datasets import bouncing_mnist
from syncdraw.datasets.bouncing_mnist import (
    DIAGONAL,
    MOTIONS,
    STILL,
    BouncingClips,
    BouncingMNIST,
    BouncingMNISTConfig,
    Split,
    all_combinations,
    caption,
    parse_caption,
    seen_combinations,
    unseen_combinations,
)
from syncdraw.datasets.idx import read_glyphs
from syncdraw.errors import UserError


def clips(count: int = 200, split: Any = "train", **settings: Any) -> BouncingClips:
    return BouncingMNIST(BouncingMNISTConfig(**settings), split).take(np.arange(count))


def centres_of_mass(videos: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Row and column `[batch, frame, 2]` of the intensity's centre."""
    grey = videos[:, :, 0].astype(float)
    total = grey.sum((-1, -2))
    rows = (grey.sum(-1) @ np.arange(grey.shape[-2])) / total
    columns = (grey.sum(-2) @ np.arange(grey.shape[-1])) / total
    return np.stack([rows, columns], -1)


# --- Motion, measured in pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_centre_of_mass_moves_along_the_captions_axis_at_the_papers_speed(split: str) -> None:
    batch = clips(500, split)
    assert batch.captions is not None
    steps = np.diff(centres_of_mass(batch.videos), axis=1)
    for text, step, positions in zip(batch.captions, steps, batch.positions[:, 0], strict=True):
        along, across = (1, 0) if "left and right" in text else (0, 1)
        np.testing.assert_allclose(step[:, across], 0, atol=1e-9)
        np.testing.assert_allclose(step, np.diff(positions, axis=0), atol=1e-9)  # positions are those drawn
        # A step without a bounce is 7.2 pixels, drawn to the nearest pixel at both ends; a bounce shortens it.
        lengths = np.abs(step[:, along])
        assert lengths.max() <= 8 + 1e-9
        path = positions[:, along]
        inside = (path[:-1] >= 8) & (path[:-1] <= 28) & (lengths > 6.5)
        assert set(np.round(lengths[inside]).tolist()) <= {7.0, 8.0}
        assert len(np.unique(positions[:, across])) == 1


def test_the_mean_step_away_from_the_borders_is_7_point_2_pixels() -> None:
    path = np.take_along_axis(clips(2000).positions[:, 0], 1 - clips(2000).motions[:, :, None], -1)[..., 0]
    lengths = np.abs(np.diff(path, axis=1))
    no_bounce_possible = (path[:, :-1] >= 8) & (path[:, :-1] <= 28)
    assert lengths[no_bounce_possible].mean() == pytest.approx(7.2, abs=0.01)


def test_positions_cover_the_free_pixels_and_nothing_else() -> None:
    positions = clips(3000, shape=(10, 1, 48, 80)).positions
    assert np.unique(positions[..., 0]).tolist() == list(range(21))
    assert np.unique(positions[..., 1]).tolist() == list(range(53))


@pytest.mark.parametrize(("height", "width", "speed"), [(64, 64, 7.2), (29, 90, 7.2), (40, 40, 100.0)])
def test_the_path_is_that_of_a_step_by_step_bounce(
    height: int, width: int, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bouncing_mnist, "SPEED", speed)
    data = BouncingMNIST(BouncingMNISTConfig(digits=2, shape=(30, 1, height, width)))
    numbers = np.arange(50)
    batch = data.take(numbers)
    start, direction = data._uniform(numbers, "start"), data._uniform(numbers, "direction")
    for clip, digit in product(range(50), range(2)):
        axis = 1 - batch.motions[clip, digit]
        limit = (height - 28, width - 28)[axis]
        position, step = start[clip, digit] * limit, -speed if direction[clip, digit] < 0.5 else speed
        for drawn in batch.positions[clip, digit, :, axis]:
            assert abs(position - drawn) <= 0.5 + 1e-9
            position += step
            while not 0 <= position <= limit:
                position = -position if position < 0 else 2 * limit - position
                step = -step


def test_both_first_directions_and_both_motions_are_equally_frequent() -> None:
    batch = clips(4000)
    path = np.take_along_axis(batch.positions[:, 0], 1 - batch.motions[:, :, None], -1)[..., 0]
    start = path[:, 0]
    middle = (start >= 8) & (start <= 28)
    assert (path[middle, 1] > start[middle]).mean() == pytest.approx(0.5, abs=0.04)
    assert batch.motions.mean() == pytest.approx(0.5, abs=0.03)
    assert np.bincount(batch.labels[:, 0], minlength=10) / 4000 == pytest.approx(0.1, abs=0.02)


# --- Drawing ---------------------------------------------------------------------------------------------------------


def draw_slowly(batch: BouncingClips, glyphs: list[list[NDArray[np.uint8]]], shape: tuple[int, ...]) -> NDArray[Any]:
    """The clips again, one pixel block at a time, from what the batch says it has drawn."""
    frames, channels, height, width = shape
    videos = np.zeros((len(batch), frames, channels, height, width), int)
    for clip, digit, frame in product(range(len(batch)), range(batch.labels.shape[1]), range(frames)):
        row, column = batch.positions[clip, digit, frame]
        videos[clip, frame, :, row : row + 28, column : column + 28] += glyphs[clip][digit]
    return videos.clip(0, 255)


@pytest.mark.parametrize(("digits", "channels", "height", "width"), [(1, 1, 64, 64), (2, 3, 40, 72), (4, 1, 64, 29)])
def test_equal_to_a_slow_renderer(digits: int, channels: int, height: int, width: int) -> None:
    config = BouncingMNISTConfig(digits=digits, shape=(12, channels, height, width))
    data = BouncingMNIST(config)
    numbers = np.arange(30)
    batch = data.take(numbers)
    _, _, chosen = data._draw_glyphs(numbers)
    glyphs = [[data.glyphs.images[number] for number in row] for row in chosen]
    expected = draw_slowly(batch, glyphs, data.shape)
    assert batch.videos.dtype == np.uint8
    assert batch.videos.shape == (30, *data.shape)
    np.testing.assert_array_equal(batch.videos, expected)
    if digits > 1:
        unclipped = sum(int(glyph.sum()) for row in glyphs for glyph in row) * channels * 12
        assert expected.sum() < unclipped  # some sums were clipped: the case was tested


def test_glyphs_of_the_splits_are_disjoint_and_carry_their_labels() -> None:
    folder = Path(bouncing_mnist.__file__).parent / "mnist"
    train = read_glyphs(folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz")
    test = read_glyphs(folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz")
    splits: dict[Split, tuple[NDArray[np.uint8], ...]] = {
        "train": tuple(part[:55_000] for part in train),
        "validation": tuple(part[55_000:] for part in train),
        "test": test,
    }
    for split, (images, labels) in splits.items():
        source = BouncingMNIST(BouncingMNISTConfig(), split).glyphs
        for label in range(10):
            drawn = source.order[source.starts[label] : source.starts[label] + source.counts[label]]
            np.testing.assert_array_equal(source.images[drawn], images[labels == label])
    known = [{image.tobytes() for image in images} for images, _ in splits.values()]
    assert len(set.union(*known)) == sum(map(len, known))


def test_rgb_is_the_grey_clip_repeated() -> None:
    grey, colour = clips(20), clips(20, shape=(10, 3, 64, 64))
    np.testing.assert_array_equal(colour.videos, grey.videos.repeat(3, axis=2))


def test_the_shape_of_vgan() -> None:
    assert clips(2, shape=(32, 3, 64, 64)).videos.shape == (2, 32, 3, 64, 64)


# --- Numbers, seeds, splits ------------------------------------------------------------------------------------------


def same(left: BouncingClips, right: BouncingClips) -> bool:
    return left.captions == right.captions and all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("videos", "labels", "motions", "positions")
    )


def test_a_clip_depends_on_its_number_alone() -> None:
    data = BouncingMNIST(BouncingMNISTConfig(digits=2))
    alone, among = data.take(np.array([5])), data.take(np.array([3, 5, 11_999, 5]))
    np.testing.assert_array_equal(alone.videos[0], among.videos[1])
    np.testing.assert_array_equal(alone.videos[0], among.videos[3])
    assert same(alone, BouncingMNIST(BouncingMNISTConfig(digits=2)).take(np.array([5])))


def test_no_clips_at_all() -> None:
    assert len(BouncingMNIST(BouncingMNISTConfig()).take(np.array([], np.int64))) == 0


def test_another_split_gives_other_clips() -> None:
    here, there = clips(50), clips(50, "validation")
    assert (here.positions == there.positions).all((1, 2, 3)).sum() <= 1


def test_a_longer_data_set_begins_with_the_same_clips() -> None:
    assert same(clips(20), clips(20, clips=0))


def test_the_endless_data_set_does_not_repeat_and_has_no_end() -> None:
    data = BouncingMNIST(BouncingMNISTConfig(clips=0))
    assert len(data) == 0
    far = np.concatenate([np.arange(3000), np.arange(3000) + 12_000, np.arange(3000) + 2**40, [2**63 - 1]])
    videos = data.take(far).videos
    assert len({video.tobytes() for video in videos}) == len(far)


def test_lengths_and_the_ends_of_the_splits() -> None:
    config = BouncingMNISTConfig(clips=0)
    assert [len(BouncingMNIST(config, split)) for split in ("train", "validation", "test")] == [0, 1_000, 10_000]
    with pytest.raises(IndexError, match="0 to 999"):
        BouncingMNIST(config, "validation").take(np.array([1000]))
    with pytest.raises(IndexError, match="0 to infinity"):
        BouncingMNIST(config).take(np.array([-1]))


# --- The hard split --------------------------------------------------------------------------------------------------


def test_one_digit_each_digit_trains_with_one_motion_and_is_tested_with_the_other() -> None:
    seen, unseen = seen_combinations(1), unseen_combinations(1)
    assert len(seen) == len(unseen) == 10
    assert sorted(label for ((label, _),) in seen) == list(range(10))
    assert sum(motion for ((_, motion),) in seen) == 5
    assert {((label, 1 - motion),) for ((label, motion),) in seen} == set(unseen)
    assert sorted(seen + unseen) == sorted(all_combinations(1))


def test_two_digits_no_unseen_pair_is_seen_in_either_order() -> None:
    seen, unseen = seen_combinations(2), unseen_combinations(2)
    assert (len(seen), len(unseen)) == (168, 42)
    assert len(set(map(frozenset, seen + unseen))) == len(seen + unseen) == 210
    assert not {order for pair in seen for order in (pair, pair[::-1])} & {
        order for pair in unseen for order in (pair, pair[::-1])
    }
    states = {(label, motion) for label in range(10) for motion in range(2)}
    assert {state for pair in seen for state in pair} == states
    assert {state for pair in unseen for state in pair} == states


@pytest.mark.parametrize("digits", [1, 2])
def test_no_clip_leaks_over_the_split(digits: int) -> None:
    said = {}
    for part in ("seen", "unseen"):
        captions = clips(6000, digits=digits, combinations=part).captions
        assert captions is not None
        said[part] = {tuple(sorted(parse_caption(text))) for text in captions}
        ordered = {parse_caption(text) for text in captions}
        assert digits == 1 or any(pair[0] > pair[1] for pair in ordered)  # both orders are said
    assert not said["seen"] & said["unseen"]
    assert said["seen"] == set(seen_combinations(digits))
    assert said["unseen"] == set(unseen_combinations(digits))


def test_the_split_of_more_digits_is_not_defined() -> None:
    with pytest.raises(UserError, match="1 or 2 digits, not 3"):
        seen_combinations(3)
    with pytest.raises(UserError, match="combinations must be all where digits is 3"):
        BouncingMNISTConfig(digits=3, combinations="seen")


# --- Captions --------------------------------------------------------------------------------------------------------


def test_the_papers_own_captions() -> None:
    assert caption([9], [1]) == "digit 9 is moving up and down"
    assert caption([0, 1], [1, 0]) == "digit 0 is moving up and down and digit 1 is moving left and right"
    v1 = "The digit 0 is moving up and down, and digit 1 is moving left and right"  # v1, section 4.5
    assert parse_caption(v1) == ((0, 1), (1, 0))


WORDS = ("the", "digit", "is", "moving", "left", "and", "right", "up", "down", ".", ",")


@given(
    st.lists(st.tuples(st.integers(0, 999), st.integers(0, 1)), min_size=1, max_size=5),
    st.sampled_from([str, lambda text: "The " + text.replace(" and digit", ", and digit")]),  # v2's wording, and v1's
    st.sampled_from(
        [str.lower, str.upper, str.title, lambda text: f"  {text} . ", lambda text: text.replace(" ", "\n ")]
    ),
)
def test_captions_are_understood(states: list[tuple[int, int]], wording: Any, change: Any) -> None:
    text = caption([label for label, _ in states], [motion for _, motion in states])
    assert parse_caption(change(wording(text))) == tuple(states)


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from([*WORDS, "3", "07", "٣"])).map(" ".join),
    )
)
def test_any_text_is_understood_or_refused_in_one_sentence(text: str) -> None:
    with suppress(UserError):
        assert len(parse_caption(text)) > 0


def test_an_unknown_word_is_named_with_the_vocabulary() -> None:
    with pytest.raises(UserError, match="unknown word 'sideways'; known are the, digit, is, moving, left, and, right"):
        parse_caption("digit 3 is moving sideways")
    with pytest.raises(UserError, match="not understood, where one like 'digit 0 is moving left and right'"):
        parse_caption("digit is moving 3 left and right")
    with pytest.raises(UserError, match="not understood"):
        parse_caption("")


def test_the_clips_captions_say_their_labels_and_motions_in_order() -> None:
    batch = clips(100, digits=3)
    assert batch.captions is not None
    for text, labels, motions in zip(batch.captions, batch.labels, batch.motions, strict=True):
        assert parse_caption(text) == tuple(zip(labels.tolist(), motions.tolist(), strict=True))
        assert text.startswith("digit")
        assert MOTIONS[motions[0]] in text


# --- Other glyphs, bad settings --------------------------------------------------------------------------------------


def write_glyphs(folder: Path, prefix: str, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    header = struct.pack(">4I", 0x803, *images.shape)
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    header = struct.pack(">2I", 0x801, len(labels))
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))


@pytest.mark.parametrize("names", [("train", "t10k"), ("emnist-letters-train", "emnist-letters-test")])
def test_a_folder_of_other_glyphs(tmp_path: Path, names: tuple[str, str]) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([3, 26, 11] * 8, np.uint8)  # not from 0, not contiguous, as EMNIST's letters
    for name in names:
        images = rng.integers(1, 256, (24, 28, 28), np.uint8)
        images[:, 0, 27] = labels  # a corner that tells the label
        write_glyphs(tmp_path, name, images, labels)
    corner = (27, 0) if names[0].startswith("emnist") else (0, 27)  # EMNIST's files are transposed
    for split in ("train", "validation", "test"):
        batch = clips(60, split, glyphs=str(tmp_path))
        assert set(batch.labels.ravel().tolist()) <= {3, 11, 26}
        for video, label, positions in zip(batch.videos, batch.labels[:, 0], batch.positions[:, 0], strict=True):
            row, column = positions[0] + corner
            assert video[0, 0, row, column] == label
    with pytest.raises(UserError, match="their labels are not 0-9"):
        BouncingMNIST(BouncingMNISTConfig(glyphs=str(tmp_path), combinations="seen"))


def test_a_bad_glyph_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere, which does not exist"):
        BouncingMNIST(BouncingMNISTConfig(glyphs=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"one file named train-images-idx3-ubyte\.gz, but has none"):
        BouncingMNIST(BouncingMNISTConfig(glyphs=str(tmp_path)))
    write_glyphs(tmp_path, "train", np.ones((1, 28, 28), np.uint8), np.zeros(1, np.uint8))
    with pytest.raises(UserError, match="at least two are needed"):
        BouncingMNIST(BouncingMNISTConfig(glyphs=str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digits": 0}, "digits must be a whole number of at least 1, not 0"),
        ({"shape": (0, 1, 64, 64)}, "frames of shape must be a whole number of at least 1, not 0"),
        ({"shape": (10, 1, 28, 64)}, "height of shape must be a whole number of at least 29, not 28"),
        ({"shape": (10, 1, 64, 6.5)}, "width of shape must"),
        ({"shape": (10, 2, 64, 64)}, "channels of shape must be 1 or 3, not 2"),
        ({"shape": (10, 64, 64)}, r"shape is \[10, 64, 64\]; it must be frames, channels, height and width"),
        ({"clips": -1}, "clips must"),
        ({"combinations": "hard"}, "combinations must be all or seen or unseen, not 'hard'"),
    ],
)
def test_a_bad_setting_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BouncingMNISTConfig(**change)


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(UserError, match="train, validation, test, not 'dev'"):
        BouncingMNIST(BouncingMNISTConfig(), "dev")  # type: ignore[arg-type]


# --- Ours: motions that all digits share ------------------------------------------------------------------------------


def test_stills_stand_still_and_are_only_named() -> None:
    drawn = clips(400, extra_motions=0.6, combinations="seen")
    still = drawn.motions[:, 0] == STILL
    assert 0.18 < still.mean() < 0.3  # two in five of the share
    for clip in np.flatnonzero(still):
        assert (drawn.videos[clip] == drawn.videos[clip, :1]).all()
        assert drawn.captions[clip] == f"digit {drawn.labels[clip, 0]}"
    for clip in np.flatnonzero(drawn.motions[:, 0] >= 0):
        assert (drawn.videos[clip] != drawn.videos[clip, :1]).any()
        assert ((int(drawn.labels[clip, 0]), int(drawn.motions[clip, 0])),) in seen_combinations(1)


def test_diagonals_move_as_fast_along_both_axes_and_say_so() -> None:
    drawn = clips(400, extra_motions=0.6, combinations="seen", digits=1)
    diagonal = drawn.motions[:, 0] == DIAGONAL
    assert 0.3 < diagonal.mean() < 0.45  # three in five of the share
    centres = centres_of_mass(drawn.videos)
    steps = np.abs(np.diff(centres, axis=1))
    for clip in np.flatnonzero(diagonal):
        assert drawn.captions[clip] == f"digit {drawn.labels[clip, 0]} is moving diagonally"
        # 7.2 pixels a frame along a diagonal, rounded to whole pixels, and less where it is reflected.
        assert np.median(steps[clip], axis=0) == pytest.approx(7.2 / math.sqrt(2), abs=0.6)
    # All digits do, whatever motion the hard split gives them; and no clip moves in a way that is kept for testing.
    assert set(drawn.labels[diagonal, 0]) == set(range(10))
    for clip in np.flatnonzero(drawn.motions[:, 0] >= 0):
        assert ((int(drawn.labels[clip, 0]), int(drawn.motions[clip, 0])),) in seen_combinations(1)
        assert steps[clip].min(axis=1).max() < 0.3


def test_both_directions_of_both_axes_occur_in_diagonals() -> None:
    drawn = clips(200, extra_motions=1.0)
    drawn_diagonally = drawn.positions[drawn.motions[:, 0] == DIAGONAL, 0]
    first = np.sign(np.diff(drawn_diagonally, axis=1)[:, 0])
    assert len(np.unique(first[(first != 0).all(axis=1)], axis=0)) == 4


def test_wordings_hold_every_word_of_every_split() -> None:
    config = BouncingMNISTConfig(digits=2, extra_motions=0.6)
    words = {word for text in BouncingMNIST(config, "test").wordings() for word in text.split()}
    for split in ("train", "validation", "test"):
        for text in BouncingMNIST(config, split).take(np.arange(300)).captions or []:
            assert set(text.split()) <= words
    assert "diagonally" in words
    plain = BouncingMNIST(BouncingMNISTConfig(), "train").wordings()
    assert not any("diagonally" in text for text in plain)


def test_a_clip_does_not_depend_on_what_is_shown_beside_it() -> None:
    """The glyph, label and start of clip number i stay, whatever share of clips has other motions."""
    plain, spiced = clips(100, digits=2), clips(100, digits=2, extra_motions=0.6)
    assert (plain.labels == spiced.labels).all()
    moving = (spiced.motions >= 0).all(axis=1)
    assert 20 < moving.sum() < 60
    assert (plain.videos[moving] == spiced.videos[moving]).all()


def test_held_out_splits_have_no_stills() -> None:
    for split in ("validation", "test"):
        plain, spiced = clips(50, split), clips(50, split, extra_motions=1.0)
        assert (plain.videos == spiced.videos).all()
        assert plain.captions == spiced.captions


@pytest.mark.parametrize("value", [-0.1, 1.1, "often"])
def test_extra_motions_are_a_share(value: Any) -> None:
    with pytest.raises(UserError, match="extra_motions must be a share from 0 to 1"):
        BouncingMNISTConfig(extra_motions=value)
