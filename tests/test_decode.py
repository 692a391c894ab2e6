"""How a file becomes frames: every format, odd shapes, damage, and nonsense."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from making_clips import FORMATS, levels, set_display, textures, write_clip, write_video
from syncdraw.datasets.decode import DecodedSequence, content_hash, missing_frames, read_frames, read_sequence
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.sources import Problem, Source
from syncdraw.datasets.windows import choose_frames
from syncdraw.errors import UserError
from syncdraw.fitting import Unreadable

SMALL = ClipConfig(frames=5, channels=1, height=12, width=16)


def decode(path, config=SMALL):
    """The frames of a file, and the problems."""
    frames, problems = [], []
    for found in read_sequence(Source(path.name, path), config):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            assert found.first == len(frames)
            frames += found.frames
    return np.stack(frames), problems


def all_frames(path, config=SMALL):
    return np.stack([image for _, image in read_frames(path, config)])


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_every_frame_in_order(tmp_path, kind):
    path = write_clip(tmp_path / (f"clip{kind}" if kind[0] == "." else "clip"), levels(24), kind)
    frames = all_frames(path)
    assert frames.shape == (24, 1, 12, 16)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), np.arange(24) * 8, atol=4)
    sequence, problems = decode(path)
    assert not problems
    np.testing.assert_array_equal(sequence, frames)


@pytest.mark.parametrize("kind", FORMATS)
def test_colours_are_right(tmp_path, kind):
    frames = np.zeros((3, 48, 96, 3), np.uint8)
    for third, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        frames[:, :, 32 * third : 32 * third + 32] = colour
    frames[:, 0, 0, 0] = (250, 251, 252)  # no two frames equal, or Pillow merges them
    path = write_clip(tmp_path / (f"clip{kind}" if kind[0] == "." else "clip"), frames, kind)
    config = ClipConfig(frames=3, channels=3, height=48, width=96)
    seen = all_frames(path, config)[:, :, 10:40, :]
    for third in range(3):
        middle = seen[..., 32 * third + 8 : 32 * third + 24].mean((0, 2, 3))
        np.testing.assert_allclose(middle, np.eye(3)[third] * 255, atol=16)


@pytest.mark.parametrize(
    ("content", "suffix"), [(".gif", ".mp4"), (".webp", ".gif"), (".mp4", ".avi"), (".avi", ".webp"), (".mkv", ".mp4")]
)
def test_the_content_decides_not_the_suffix(tmp_path, content, suffix):
    path = write_clip(tmp_path / f"clip{suffix}", levels(8), content)
    np.testing.assert_allclose(all_frames(path).mean((1, 2, 3)), np.arange(8) * 8, atol=4)


@pytest.mark.parametrize(
    "name", ["häuser und bäume 走.gif", "http:x.gif", "a%20b#c?d.gif", "-i.gif", "x,,y.gif", " .gif"]
)
def test_names_are_only_names(tmp_path, name):
    path = write_clip(tmp_path / name, levels(6))
    assert len(all_frames(path)) == 6


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 33), (3, 200), (200, 3)])
@pytest.mark.parametrize("kind", [".gif", ".webp", "png"])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_odd_sizes(tmp_path, kind, height, width, fit):
    path = write_clip(tmp_path / (f"clip{kind}" if kind[0] == "." else "clip"), levels(6, height, width), kind)
    frames = all_frames(path, ClipConfig(frames=5, height=13, width=9, fit=fit))
    assert frames.shape == (6, 1, 13, 9)
    assert int(frames[5].max()) == pytest.approx(40, abs=1)


def test_odd_sizes_of_video(tmp_path):
    path = write_video(tmp_path / "clip.mp4", levels(6, 35, 51), ".mp4", pixels="yuv444p")
    assert all_frames(path).shape == (6, 1, 12, 16)


def test_padding_is_zeros_around_the_whole_frame(tmp_path):
    path = write_clip(tmp_path / "clip", np.full((1, 20, 40, 3), 200, np.uint8), "png")
    frame = all_frames(path, ClipConfig(frames=1, height=16, width=16))[0, 0]
    assert (frame[4:12] == 200).all()
    assert not frame[:4].any()
    assert not frame[12:].any()


def test_crop_keeps_the_middle(tmp_path):
    frames = np.zeros((1, 16, 48, 3), np.uint8)
    frames[:, :, 16:32] = 255
    path = write_clip(tmp_path / "clip", frames, "png")
    assert all_frames(path, ClipConfig(frames=1, height=16, width=16, fit="crop")).min() == 255


def test_stretch_keeps_all(tmp_path):
    frames = np.zeros((1, 16, 64, 3), np.uint8)
    frames[:, :, 32:] = 255
    frame = all_frames(
        write_clip(tmp_path / "clip", frames, "png"), ClipConfig(frames=1, height=16, width=16, fit="stretch")
    )[0, 0]
    assert frame[:, :7].max() < 20
    assert frame[:, 9:].min() > 235


def test_video_and_picture_are_scaled_alike(tmp_path):
    frames = textures(2)
    config = ClipConfig(frames=2, channels=3, height=20, width=30)
    gif = all_frames(write_clip(tmp_path / "clip.gif", frames), config).astype(int)
    png = all_frames(write_clip(tmp_path / "clip", frames, "png"), config).astype(int)
    assert abs(gif - png).mean() < 6


def test_variable_frame_rate_gives_each_frame_once(tmp_path):
    times = np.cumsum([0, 1, 9, 1, 1, 30, 2, 5, 1, 1, 40, 3]).tolist()
    for container in (".mp4", ".mkv"):
        path = write_video(tmp_path / f"clip{container}", levels(12), container, times=times)
        np.testing.assert_allclose(all_frames(path).mean((1, 2, 3)), np.arange(12) * 8, atol=4)


def test_pixels_that_are_not_square_are_shown_square(tmp_path):
    path = write_video(tmp_path / "clip.mp4", np.full((2, 32, 32, 3), 255, np.uint8), ".mp4", aspect=Fraction(2, 1))
    frame = all_frames(path, ClipConfig(frames=2, height=16, width=16))[0, 0]
    assert frame[5:11].min() > 240  # twice as wide as high
    assert not frame[:4].any()
    assert not frame[12:].any()


def test_a_phone_held_upright_is_shown_upright(tmp_path):
    frames = np.zeros((2, 32, 64, 3), np.uint8)
    frames[:, :, :32] = 255  # white on the left; turned clockwise, on top
    path = write_video(tmp_path / "clip.mp4", frames, ".mp4")
    set_display(path, 0, 1, -1, 0)
    frame = all_frames(path, ClipConfig(frames=2, height=32, width=16))[0, 0]
    assert frame[:14].min() > 240
    assert frame[18:].max() < 15


def test_transparency_is_white(tmp_path):
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    (tmp_path / "frames").mkdir()
    clear.save(tmp_path / "frames" / "1.png")
    grey = ClipConfig(frames=1, height=20, width=20)
    assert (all_frames(tmp_path / "frames", grey) == 255).all()
    clear.save(tmp_path / "a.webp", save_all=True, append_images=[Image.new("RGBA", (20, 20), (9, 9, 9, 255))])
    assert (all_frames(tmp_path / "a.webp", grey)[0] == 255).all()
    clear.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGBA", (20, 20), (9, 9, 9, 255))])
    assert (all_frames(tmp_path / "a.gif", grey)[0] == 255).all()


def test_sixteen_bits_and_upright_pictures(tmp_path):
    (tmp_path / "frames").mkdir()
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "frames" / "1.png")
    sideways = Image.new("L", (16, 8))
    exif = sideways.getexif()
    exif[0x0112] = 6  # "turn clockwise to view"
    sideways.paste(255, (0, 0, 8, 8))
    sideways.save(tmp_path / "frames" / "2.jpg", exif=exif, quality=100)
    first, second = all_frames(tmp_path / "frames", ClipConfig(frames=1, height=16, width=8))
    assert (first[0, 4:12] == 0x80).all()
    assert second[0, :7].min() > 240
    assert second[0, 9:].max() < 15


def test_frames_follow_their_numbers(tmp_path):
    for number in (1, 2, 10, 9, 100):
        Image.new("L", (4, 4), number).save(tmp_path / f"frame{number}.png")
    Image.new("L", (4, 4), 255).save(tmp_path / ".hidden.png")
    frames = all_frames(tmp_path, ClipConfig(frames=1, height=4, width=4))
    assert frames[:, 0, 0, 0].tolist() == [1, 2, 9, 10, 100]


# ---- which frames ----------------------------------------------------------------------------------------------------


def choose(total, config, seed, anywhere=False):
    """The frames of all clips of a sequence."""
    return [
        choose_frames(total, number, config, np.random.default_rng((seed, number)), anywhere)
        for number in range(config.clips_in(total))
    ]


@given(
    st.integers(0, 300), st.integers(1, 12), st.integers(1, 4), st.integers(0, 6),
    st.sampled_from(["neighbours", "spread", "random"]), st.integers(0, 3),
)  # fmt: skip
def test_choice_of_frames(total, count, stride, clips, choice, seed):
    config = ClipConfig(
        frames=count, stride=stride if choice == "neighbours" else 1, clips_per_file=clips, choice=choice
    )
    assert bool(missing_frames(total, config)) == (total < config.span)
    if total < config.span:
        return
    chosen = choose(total, config, seed)
    fitting = total // config.span
    assert len(chosen) == (min(clips, fitting) if clips else fitting)
    everything = np.concatenate(chosen)
    assert (np.diff(everything) > 0).all()  # in order, no frame twice, no two clips in each other
    assert 0 <= everything[0] <= everything[-1] < total
    if choice == "neighbours":
        assert all((np.diff(frames) == config.stride).all() for frames in chosen)
    if choice == "spread" and len(chosen) == 1 and count > 1:
        assert (everything[0], everything[-1]) == (0, total - 1)
    again = choose(total, config, seed)
    assert all((a == b).all() for a, b in zip(chosen, again, strict=True))


def test_random_frames_depend_on_the_seed():
    config = ClipConfig(frames=10, choice="random")
    chosen = {tuple(choose(100, config, seed)[0].tolist()) for seed in range(20)}
    assert len(chosen) == 20


@pytest.mark.parametrize(
    "values",
    [
        {"frames": 0}, {"height": -1}, {"channels": 2}, {"fit": "squash"}, {"choice": "first"}, {"stride": 0},
        {"stride": 2, "choice": "random"}, {"largest_stride": 2, "choice": "spread"},
        {"loop": True, "choice": "random"},
        {"largest_stride": 2, "stride": 3}, {"largest_stride": -1}, {"mirror": "always"}, {"shift": -1}, {"shift": 64},
        {"brightness": 1.0}, {"brightness": float("nan")}, {"clips_per_file": -1}, {"seed": -1}, {"test_share": 1.0},
        {"validation_share": -0.1}, {"validation_share": 0.5, "test_share": 0.5}, {"test_share": float("nan")},
    ],
)  # fmt: skip
def test_settings_out_of_range(values):
    with pytest.raises(UserError):
        ClipConfig(**values)


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_one_frame_is_too_short(tmp_path):
    for kind in FORMATS:
        path = write_clip(tmp_path / (f"one{kind}" if kind[0] == "." else f"one {kind}"), levels(1), kind)
        frames, _ = decode(path)
        assert missing_frames(len(frames), SMALL) == "too short (it has 1 frame, a clip needs 5: 4 are missing)"


def test_too_short_at_a_stride():
    config = ClipConfig(frames=5, stride=3)
    expected = "too short (it has 12 frames, a clip needs 13 (5 at a stride of 3): 1 is missing)"
    assert missing_frames(12, config) == expected
    assert missing_frames(13, config) == ""
    assert missing_frames(1, replace(config, loop=True)) == "too short (it has 1 frame, a clip needs 2: 1 is missing)"


@pytest.mark.parametrize("kind", [".avi", ".mkv", ".webm", ".gif", "faststart.mp4"])
def test_truncated_files_are_used_as_far_as_they_go(tmp_path, kind):
    frames = textures(60)
    if kind == "faststart.mp4":
        path = write_video(tmp_path / "clip.mp4", frames, ".mp4", options={"movflags": "faststart"})
    else:
        path = write_clip(tmp_path / f"clip{kind}", frames)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    sequence, problems = decode(path, ClipConfig(frames=5, height=24, width=32, channels=3))
    assert sequence.shape[1:] == (3, 24, 32)
    assert 5 <= len(sequence) <= 45
    assert "damaged" in str(problems[0])


def test_what_follows_the_last_frame_of_a_gif_is_no_damage(tmp_path):
    path = write_clip(tmp_path / "a.gif", levels(6))
    whole = path.read_bytes()
    config = ClipConfig(frames=6, height=12, width=16)
    for end in (b"!\xfe\x05hello\0;", b"; and something after it"):
        path.write_bytes(whole[:-1] + end)
        sequence, problems = decode(path, config)
        assert len(sequence) == 6
        assert not problems
    path.write_bytes(whole[:-1])
    sequence, problems = decode(path, config)
    assert len(sequence) == 6
    assert "it breaks off after 6 whole frames" in problems[0].reason


@pytest.mark.parametrize("kind", [".mp4", ".avi", ".mkv", ".webm", ".gif", ".webp"])
@pytest.mark.parametrize("content", [b"", b"\0", b"no video at all" * 50, b"GIF89a", b"RIFF\x10\0\0\0WEBP"])
def test_nonsense_is_unreadable(tmp_path, kind, content):
    path = tmp_path / f"clip{kind}"
    path.write_bytes(content)
    with pytest.raises(Unreadable):
        decode(path)


def test_headers_that_promise_too_much(tmp_path):
    gif = bytearray(write_clip(tmp_path / "a.gif", levels(6)).read_bytes())
    gif[6:10] = b"\xff\xff\xff\xff"
    (tmp_path / "a.gif").write_bytes(gif)
    (tmp_path / "b").mkdir()
    for number in range(5):
        Image.new("1", (9000, 9000)).save(tmp_path / "b" / f"{number}.png")
    for path in (tmp_path / "a.gif", tmp_path / "b"):
        with pytest.raises(Unreadable):
            decode(path)
    for number in range(5):
        Image.new("L", (1, 30000)).save(tmp_path / "b" / f"{number}.png")
    with pytest.raises(Unreadable, match="too elongated"):
        decode(tmp_path / "b", ClipConfig(frames=5, height=64, width=6400, fit="crop"))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        '<?xml version="1.0"?><MPD><BaseURL>{}</BaseURL></MPD>',
    ],
)
def test_a_playlist_opens_no_other_file(tmp_path, text):
    hidden = write_clip(tmp_path / "hidden.mp4", levels(24))
    for name in ("list.mp4", "list.mkv", "list.gif"):
        (tmp_path / name).write_text(text.format(hidden))
        with pytest.raises(Unreadable):
            decode(tmp_path / name)


def test_a_broken_picture_is_named(tmp_path):
    path = write_clip(tmp_path / "clip", levels(6), "png")
    (path / "3.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(Unreadable, match=r"its frame 3\.png cannot be decoded"):
        decode(path, ClipConfig(frames=6))


def test_content_hash_follows_the_content(tmp_path):
    a = write_clip(tmp_path / "a", levels(3), "png")
    b = write_clip(tmp_path / "b", levels(3), "png")
    assert content_hash(a) == content_hash(b)
    (b / "1.png").rename(b / "7.png")
    assert content_hash(a) != content_hash(b)
    with pytest.raises(Unreadable):
        content_hash(tmp_path / "missing.gif")


# ---- fuzz ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    frames = textures(12, height=32, width=32)
    return {kind: write_clip(folder / f"clip{kind}", frames).read_bytes() for kind in FORMATS if kind[0] == "."}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def survives(path: Path) -> None:
    """Decoding ends, soon, in frames of the right shape, or in the error that a report can name."""

    def attempt() -> None:
        config = ClipConfig(frames=4, channels=3, height=8, width=8, clips_per_file=0)
        try:
            content_hash(path)
            for found in read_sequence(Source(path.name, path), config):
                for frame in found.frames if isinstance(found, DecodedSequence) else ():
                    assert frame.shape == config.shape[1:]
        except Unreadable as error:
            assert 0 < len(str(error)) < 300  # noqa: PT017 (both outcomes are right)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(attempt).result(timeout=60)


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.binary(max_size=600), st.sampled_from([".mp4", ".gif", ".webp"]))
def test_fuzz_arbitrary_bytes(scratch, content, suffix):
    path = scratch / f"bytes{suffix}"
    path.write_bytes(content)
    survives(path)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind[0] == "."])
@FUZZ
@given(data=st.data())
def test_fuzz_broken_files(scratch, good_files, kind, data):
    """A real file, cut anywhere, with bytes changed, and pieces taken out."""
    content = bytearray(good_files[kind])
    for _ in range(data.draw(st.integers(0, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :][: data.draw(st.integers(0, 200))]
    path = scratch / f"broken{kind}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    survives(path)


@FUZZ
@given(data=st.data())
def test_fuzz_broken_pictures(scratch, data):
    folder = scratch / "frames"
    if not folder.exists():
        write_clip(folder, textures(5), "png")
        write_clip(scratch / "jpegs", textures(5), "jpg")
    for source, name in ((folder, "2.png"), (scratch / "jpegs", "2.jpg")):
        good = (source / "1").with_suffix(name[1:]).read_bytes()
        content = bytearray(good)
        for _ in range(data.draw(st.integers(0, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (source / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
        survives(source)
