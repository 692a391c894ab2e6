"""Clips that are cut from whole sequences: which frames, mirrored or not, in which batch, in which epoch."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from making_clips import textures, write_clip
from syncdraw.datasets.clips import shuffled
from syncdraw.datasets.decode import read_frames
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.datasets.windows import Window, choose_frames, exchange_sides, may_be_mirrored
from syncdraw.errors import UserError

ALL = ClipConfig(
    frames=4, channels=3, height=12, width=16, clips_per_file=0, validation_share=0.0, test_share=0.0
)  # fmt: skip
LENGTHS = {"a.mp4": 30, "b.gif": 4, "c.webp": 9, "d.mkv": 17}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for number, (name, length) in enumerate(LENGTHS.items()):
        path = write_clip(folder / name, textures(length, number))
        path.with_suffix(".txt").write_text(f"squares {number} go to the right\nRight go squares {number}\n")
    return folder


@pytest.fixture
def opened(films, tmp_path):
    def prepared(**changes):
        config = replace(ALL, **changes)
        prepare(list_folder(films), tmp_path / "out", config, progress=False)
        return PreparedClips(tmp_path / "out")

    return prepared


def decoded(films, name, config=ALL):
    return np.stack([image for _, image in read_frames(films / name, config)])


def every(dataset):
    return np.arange(len(dataset))


# ---- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"largest_stride": 5}, {"loop": True}, {"choice": "random"}, {"choice": "spread"}, {"stride": 2, "frames": 2}],
)
def test_a_window_is_the_decoded_file_frame_by_frame(films, opened, changes):
    dataset = opened(**changes)
    files = {name: decoded(films, name) for name in LENGTHS}
    for seed, epoch in ((None, 0), (0, 0), (0, 1), (5, 3)):
        videos = dataset.take(every(dataset), seed, epoch).videos
        for index, video in enumerate(videos):
            frames = dataset.window(index, seed, epoch).frames
            np.testing.assert_array_equal(video, files[dataset.records[index].source][frames])


# ---- grounds ---------------------------------------------------------------------------------------------------------


SPRITE = np.array([[0, 255], [128, 255]], np.uint8).repeat(8, axis=0).repeat(8, axis=1)
"""How opaque it is."""


def sprites(folder, suffix=".webp"):
    """Two clips of a red square, of which a quarter is clear and a quarter half clear."""
    picture = np.zeros((16, 16, 4), np.uint8)
    picture[..., 0], picture[..., 3] = 255, SPRITE
    folder.mkdir()
    for number in range(2):
        pictures = [Image.fromarray(picture) for _ in range(4)]
        for frame, image in enumerate(pictures):
            image.putpixel((15, 15), (0, number, 60 * frame, 255))  # or equal frames are merged
        pictures[0].save(folder / f"{number}{suffix}", save_all=True, append_images=pictures[1:], lossless=True)
    return folder


def on(ground, opaque=SPRITE / 255):
    """The first frame as it should be."""
    return np.round(np.array([255, 0, 0])[:, None, None] * opaque + np.array(ground)[:, None, None] * (1 - opaque))


def grounded(folder, place, **changes):
    config = ClipConfig(frames=4, channels=3, height=16, width=16, validation_share=0.0, test_share=0.0, **changes)
    prepare(list_folder(folder), place, config, progress=False)
    return PreparedClips(place)


def assert_frames(videos, expected):
    """But for the corner that tells frames apart, and rounding twice."""
    videos, expected = (np.array(given, np.float64) for given in (videos, expected))
    videos[..., 15, 15] = expected[..., 15, 15] = 0
    np.testing.assert_allclose(videos, np.broadcast_to(expected, videos.shape), atol=1.01)


@pytest.mark.parametrize(
    ("ground", "colour"), [("white", (255, 255, 255)), ("#20c0ff", (32, 192, 255)), ("grey", (128, 128, 128))]
)
def test_what_is_transparent_lies_on_the_ground_that_was_chosen(tmp_path, ground, colour):
    dataset = grounded(sprites(tmp_path / "sprites"), tmp_path / "out", ground=ground)
    assert_frames(dataset.take(every(dataset), 0).videos, on(colour))


def test_a_random_ground_is_another_one_in_each_clip(tmp_path):
    folder = sprites(tmp_path / "sprites")
    dataset = grounded(folder, tmp_path / "out", ground="random")
    assert dataset.shape == (4, 3, 16, 16)
    assert_frames(dataset.take(every(dataset)).videos, on((255, 255, 255)))  # without a seed, on white
    seen = []
    for epoch in range(20):
        for index in every(dataset):
            (video,) = dataset.take(np.array([index]), 3, epoch).videos
            window = dataset.window(int(index), 3, epoch)
            assert_frames(video, on(window.ground))
            np.testing.assert_array_equal(video, dataset.take(np.array([index]), 3, epoch).videos[0])
            seen.append(window.ground)
    assert len(set(seen)) == 40
    assert np.abs(np.mean(seen, axis=0) - 127.5).max() < 40
    # With another ground, files are decoded anew.
    assert_frames(grounded(folder, tmp_path / "out", ground="black").take(every(dataset)).videos, on((0, 0, 0)))


def test_beside_a_picture_of_another_shape_lies_the_ground_that_was_chosen(tmp_path):
    folder = sprites(tmp_path / "sprites")
    for ground, colour in (("#20c0ff", [32, 192, 255]), ("random", [255, 255, 255])):
        config = replace(ALL, ground=ground)  # 12 x 16: two columns are free on each side
        prepare(list_folder(folder), tmp_path / ground, config, progress=False)
        dataset = PreparedClips(tmp_path / ground)
        for seed in (None, 0):
            clips = dataset.take(every(dataset), seed)
            for index, video in enumerate(clips.videos):
                beside = dataset.window(index, seed).ground or colour
                expected = np.broadcast_to(np.array(beside)[:, None, None], (4, 3, 12, 2))
                np.testing.assert_array_equal(video[..., :2], expected)
                np.testing.assert_array_equal(video[..., -2:], expected)


# ---- pictures that cross the frame -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ground", ["white", "#20c0ff", "random"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_cross_the_frame_as_their_captions_say(tmp_path, ground, channels):
    folder = sprites(tmp_path / "sprites")
    for number in range(2):
        (folder / f"{number}.txt").write_text(f"square {number} faces left.\n")
    config = replace(ALL, channels=channels, height=32, width=48, travel=0.5, ground=ground, mirror="exchanged")
    prepare(list_folder(folder), tmp_path / "out", config, progress=False)
    dataset = PreparedClips(tmp_path / "out")
    whole = None
    seen = Counter()
    for epoch in range(60):
        clips = dataset.take(every(dataset), 0, epoch)
        for index, (video, caption) in enumerate(zip(clips.videos, clips.captions, strict=True)):
            window = dataset.window(index, 0, epoch)
            colour = video[0, :, 0, 0].astype(float)  # no picture reaches the corners
            contrast = np.abs(colour - ([76] if channels == 1 else [255, 0, 0])).max()
            if contrast < 60:
                continue  # on a ground like red nobody sees it
            shown = (np.abs(video - colour[:, None, None]) > 0.7 * contrast).any(axis=1)  # [frame, row, column]
            rows, columns = (np.array([np.nonzero(one)[axis].mean() for one in shown]) for axis in (0, 1))
            down, right = (round(line[-1] - line[0]) for line in (rows, columns))
            # From one edge to the other: the picture has 16 x 24 pixels.
            way = {(0, 24): "moving left to right", (0, -24): "moving right to left",
                   (16, 0): "moving down", (-16, 0): "moving up", (0, 0): ""}[down, right]  # fmt: skip
            assert window.route == way
            side = "right" if window.mirrored else "left"
            number = dataset.records[index].source[0]
            expected = f"square {number} faces {side}"
            assert caption == (f"{expected}, {way}" if way else f"{expected}.")
            np.testing.assert_allclose(np.diff(rows if down else columns), (down or right) / 3, atol=0.9)  # evenly
            # Nothing of it is cut off, and it is always of one size.
            if ground != "random":
                whole = shown[0].sum() if whole is None else whole
                assert (shown.sum(axis=(1, 2)) == whole).all()
            seen[way] += 1
    assert len(seen) == 5
    assert min(seen.values()) > 10
    # What is fixed moves, too, and always in the same way.
    fixed = dataset.take(every(dataset))
    again = PreparedClips(tmp_path / "out", varied=False).take(every(dataset), seed=5, epochs=3)
    np.testing.assert_array_equal(fixed.videos, again.videos)
    assert fixed.captions == again.captions
    # A model learns the words of all routes.
    words = {word for caption in dataset.wordings() for word in caption.replace(",", "").split()}
    assert {"moving", "to", "down", "up", "left", "right"} <= words
    assert set(dataset.told()) == set(dataset.wordings())


@pytest.mark.parametrize("travel", [-0.1, 1.0, 0.001, 0.99, float("nan")])
def test_a_picture_that_travels_has_pixels_and_room(travel):
    with pytest.raises(UserError, match=f"^travel is {travel}; it must be 0, or a share between 0 and 1 that leaves"):
        ClipConfig(travel=travel)


def test_opaque_films_are_the_same_on_every_ground(films, tmp_path):
    plain, random = (ClipConfig(**{**asdict(ALL), "ground": ground}) for ground in ("white", "random"))
    for name, config in (("plain", plain), ("random", random)):
        prepare(list_folder(films), tmp_path / name, config, progress=False)
    one, other = PreparedClips(tmp_path / "plain"), PreparedClips(tmp_path / "random")
    for seed in (None, 4):
        np.testing.assert_array_equal(one.take(every(one), seed).videos, other.take(every(one), seed).videos)


@pytest.mark.parametrize("ground", ["blurple", "#12345", ""])
def test_a_ground_is_a_colour(ground):
    with pytest.raises(
        UserError, match=f"^ground is '{ground}'; it must be a colour by its English name, such as grey"
    ):
        ClipConfig(ground=ground)


def test_windows_begin_anywhere_with_any_stride(opened):
    dataset = opened(largest_stride=3)
    begun, strides = {name: set() for name in LENGTHS}, {name: Counter() for name in LENGTHS}
    for epoch in range(150):
        for index, record in enumerate(dataset.records):
            frames = dataset.window(index, 0, epoch).frames
            (stride,) = set(np.diff(frames).tolist())
            assert 0 <= frames[0] <= frames[-1] < LENGTHS[record.source]
            begun[record.source].add(int(frames[0]))
            strides[record.source][stride] += 1
    assert begun == {name: set(range(length - 3)) for name, length in LENGTHS.items()}
    assert {name: sorted(counted) for name, counted in strides.items()} == {
        "a.mp4": [1, 2, 3], "b.gif": [1], "c.webp": [1, 2], "d.mkv": [1, 2, 3]
    }  # fmt: skip
    assert min(strides["a.mp4"].values()) > 0.25 * strides["a.mp4"].total()


def test_loops_are_closed(films, opened):
    loops = opened(loop=True, frames=6)  # longer than b.gif
    begun = set()
    for epoch in range(100):
        index = next(index for index, record in enumerate(loops.records) if record.source == "b.gif")
        frames = loops.window(index, 0, epoch).frames
        assert set(np.diff(frames).tolist()) == {1, -3}
        begun.add(int(frames[0]))
    assert begun == {0, 1, 2, 3}
    fixed = loops.window(index).frames
    assert fixed.tolist() == [(fixed[0] + step) % 4 for step in range(6)]
    assert "b.gif" not in {record.source for record in opened(frames=6).records}


@given(
    st.integers(1, 200), st.integers(1, 9), st.integers(1, 3), st.integers(0, 4), st.integers(0, 5), st.booleans(),
    st.sampled_from(["neighbours", "spread", "random"]), st.booleans(),
)  # fmt: skip
def test_every_choice_lies_in_the_sequence(length, frames, stride, more, clips, loop, choice, anywhere):
    config = ClipConfig(frames=frames, clips_per_file=clips, choice=choice)
    if choice == "neighbours":
        config = replace(config, stride=stride, largest_stride=stride + more, loop=loop)
    if length < config.least_frames:
        return
    for number in range(config.clips_in(length)):
        chosen = choose_frames(length, number, config, np.random.default_rng(number), anywhere)
        assert chosen.shape == (frames,)
        assert 0 <= chosen.min() <= chosen.max() < length
        if not loop or choice != "neighbours":
            assert (np.diff(chosen) > 0).all()


# ---- epochs ----------------------------------------------------------------------------------------------------------


def test_an_epoch_shows_each_file_in_proportion_to_its_length(opened):
    dataset = opened()
    assert Counter(record.source for record in dataset.records) == {"a.mp4": 7, "b.gif": 1, "c.webp": 2, "d.mkv": 4}
    for epoch in range(3):
        first = shuffled(len(dataset), epoch * len(dataset), len(dataset), seed=0)
        assert {dataset.records[index].source for index in first.tolist()} == set(LENGTHS)
    assert {record.source: 1 for record in opened(clips_per_file=1).records} == dict.fromkeys(LENGTHS, 1)


def test_the_windows_of_an_epoch_cover_a_file_evenly(opened):
    dataset = opened()
    for epoch in range(20):
        begun = [int(dataset.window(index, 0, epoch).frames[0]) for index in every(dataset)[:7].tolist()]
        assert all(27 * place // 7 <= start <= 27 * (place + 1) // 7 for place, start in enumerate(begun))


def test_a_clip_is_a_function_of_seed_epoch_and_number(opened):
    dataset = opened(mirror="exchanged", largest_stride=3, shift=2, brightness=0.3)
    whole = [dataset.take(every(dataset), 7, epoch) for epoch in range(4)]
    random = np.random.default_rng(0)
    indices, epochs = random.integers(len(dataset), size=60), random.integers(4, size=60)
    mixed = dataset.take(indices, 7, epochs)
    assert mixed.captions is not None
    for place, (index, epoch) in enumerate(zip(indices.tolist(), epochs.tolist(), strict=True)):
        np.testing.assert_array_equal(mixed.videos[place], whole[epoch].videos[index])
        assert mixed.captions[place] == whole[epoch].captions[index]
        alone = dataset.take(np.array([index - len(dataset)]), 7, epoch)  # the same clip, counted from the end
        np.testing.assert_array_equal(alone.videos[0], mixed.videos[place])
    assert all((whole[0].videos != other.videos).any() for other in whole[1:])
    assert (dataset.take(every(dataset), 8, 0).videos != whole[0].videos).any()
    named = dataset.take(every(dataset), seed=7)
    np.testing.assert_array_equal(named.videos, whole[0].videos)
    assert named.captions == whole[0].captions


def test_fixed_windows(films, tmp_path, opened):
    dataset = opened(fixed=True)
    still = dataset.take(every(dataset)).videos
    for epoch in range(3):
        np.testing.assert_array_equal(dataset.take(every(dataset), 0, epoch).videos, still)
    drawn = opened()
    np.testing.assert_array_equal(drawn.take(every(drawn)).videos, still)
    assert (drawn.take(every(drawn), 0).videos != still).any()

    config = replace(ALL, validation_share=0.3, mirror="exchanged", shift=2, brightness=0.3)
    prepare(list_folder(films), tmp_path / "held out", config, progress=False)
    held = PreparedClips(tmp_path / "held out", "validation")
    np.testing.assert_array_equal(held.take(every(held), 3, 1).videos, held.take(every(held)).videos)


# ---- variations ------------------------------------------------------------------------------------------------------


def test_mirrored_clips_have_mirrored_captions(films, opened):
    dataset = opened(mirror="exchanged")
    files = {name: decoded(films, name) for name in LENGTHS}
    seen = Counter()
    for epoch in range(20):
        clips = dataset.take(every(dataset), 0, epoch)
        assert clips.captions is not None
        for index, (video, caption) in enumerate(zip(clips.videos, clips.captions, strict=True)):
            source = dataset.records[index].source
            frames = files[source][dataset.window(index, 0, epoch).frames]
            number = sorted(LENGTHS).index(source)
            side = "left" if (video == frames[..., ::-1]).all() else "right"
            if side == "right":
                np.testing.assert_array_equal(video, frames)
            assert caption in (f"squares {number} go to the {side}", f"{side.capitalize()} go squares {number}")
            seen[caption.split()[0], side] += 1
    assert len(seen) == 4
    assert min(seen.values()) > 0.15 * seen.total()
    told = [f"squares {number} go to the right" for number in range(4)]
    told += [f"Right go squares {number}" for number in range(4)]
    assert set(dataset.wordings()) == {*told, *map(exchange_sides, told)}
    # Without a seed, nothing is drawn.
    assert all("right" in caption for caption in dataset.take(every(dataset)).captions)


def test_where_a_caption_names_a_side_nothing_is_mirrored(opened):
    dataset = opened(mirror="unsided")
    assert not any(dataset.window(index, 0, epoch).mirrored for epoch in range(20) for index in range(len(dataset)))
    assert not any("left" in wording for wording in dataset.wordings())


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("a man walks from left to right", "a man walks from right to left"),
        ("LEFT, then Right", "RIGHT, then Left"),
        ("leftward, rightmost, right-handed, lefthanded", "rightward, leftmost, left-handed, righthanded"),
        ("a bright, upright copyright notice, leftover", None),
        ("", None),
    ],
)
def test_sides_in_captions(caption, mirrored):
    assert exchange_sides(caption) == (mirrored or caption)
    assert exchange_sides(exchange_sides(caption)) == caption
    assert may_be_mirrored([caption], replace(ALL, mirror="exchanged"))
    assert may_be_mirrored(["a cat", caption], replace(ALL, mirror="unsided")) == (mirrored is None)
    assert not may_be_mirrored([caption], ALL)


def test_what_turns_is_not_mirrored():
    for mirror in ("unsided", "exchanged"):
        assert not may_be_mirrored(["a wheel turns counterclockwise"], replace(ALL, mirror=mirror))


def test_shifts_and_brightness(opened):
    dataset = opened(shift=2, brightness=0.25)
    plain = opened()
    shifts, factors = set(), []
    for epoch in range(40):
        videos, before = dataset.take(every(dataset), 0, epoch).videos, plain.take(every(plain), 0, epoch).videos
        for index in range(len(dataset)):
            window = dataset.window(index, 0, epoch)
            (down, right), factor = window.shift, window.brightness
            padded = np.pad(before[index], [(0, 0), (0, 0), (2, 2), (2, 2)], "edge")
            moved = padded[..., 2 - down : 14 - down, 2 - right : 18 - right]
            np.testing.assert_array_equal(videos[index], np.clip(np.rint(moved * factor), 0, 255))
            shifts.add(window.shift)
            factors.append(factor)
    assert shifts == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    assert 0.75 <= min(factors) < 0.8 < 1.2 < max(factors) <= 1.25


def test_bright_pixels_stay_bright():
    video = np.full((1, 1, 2, 2), 200, np.uint8)
    assert Window(np.arange(1), brightness=1.5).show(video).tolist() == [[[[255, 255], [255, 255]]]]
    assert Window(np.arange(1), brightness=0.5).show(video).dtype == np.uint8
