"""The one reader of videos: what a player shows, counted as it decodes, for `read_video` and `prepare` alike."""

from __future__ import annotations

import os
import re
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features

import syncdraw.video
from making_clips import FORMATS, Track, levels, set_display, textures, write_clip, write_tracks, write_video
from syncdraw.datasets.decode import DecodedSequence, content_hash, read_frames, read_sequence
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.sources import Source
from syncdraw.errors import UserError
from syncdraw.fitting import Unreadable
from syncdraw.media import save_video
from syncdraw.video import Damaged, decode, kind_of, read_video

Pixels = NDArray[np.uint8]
WHITE, RED = (255, 255, 255), (255, 0, 0)


def as_pixels(video: torch.Tensor) -> Pixels:
    pixels: Pixels = (video * 255).round().to(torch.uint8).numpy()
    return pixels


def as_prepared(path: Path, config: ClipConfig) -> Pixels:
    """All frames, as `prepare` sees them."""
    return np.stack([image for _, image in read_frames(path, config) if image is not None])


def count_frames(path: Path) -> tuple[int, list[str]]:
    """How many frames `prepare` finds, and what it says of them."""
    count, said = 0, []
    for found in read_sequence(Source(path.name, path), ClipConfig(height=12, width=16)):
        if isinstance(found, DecodedSequence):
            count += sum(1 for _ in found.frames)
        else:
            said.append(found.reason)
    return count, said


def assert_whole(path: Path, count: int) -> None:
    """Both ways of reading find so many frames, no damage, and the grey levels that tell each frame's number."""
    assert count_frames(path) == (count, [])
    video, _ = read_video(path)
    np.testing.assert_allclose(as_pixels(video).mean((1, 2, 3)), np.arange(count) * 8, atol=4)


# ---- which frames there are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
def test_metadata_in_another_code_page(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"clip{suffix}", levels(12), suffix, title="Zürich, Straße")
    data = path.read_bytes()
    assert data.count("ü".encode()) == data.count("ß".encode()) == 1
    path.write_bytes(data.replace("ü".encode(), b"\xfc\xfe").replace("ß".encode(), b"\xdf\xff"))
    assert_whole(path, 12)


@pytest.mark.parametrize("seconds", [0.2, 3.0])
@pytest.mark.parametrize(("suffix", "film", "sound"), [
    (".mp4", "libx264", "aac"), (".mkv", "libx264", "aac"), (".avi", "mpeg4", "aac"), (".webm", "libvpx", "libopus"),
])  # fmt: skip
def test_films_with_sound_of_another_length(tmp_path: Path, suffix: str, film: str, sound: str, seconds: float) -> None:
    path = write_tracks(tmp_path / f"clip{suffix}", Track(film, levels(12)), Track(sound, seconds))
    assert_whole(path, 12)


def test_frames_that_are_not_in_the_edit_list_are_not_counted(tmp_path: Path) -> None:
    # Shown from the seventh frame on.
    path = write_video(tmp_path / "clip.mp4", levels(24)[[0] * 6 + list(range(18))], ".mp4")
    with av.open(str(path)) as container:
        ticks = int(1 / (25 * (container.streams.video[0].time_base or 1)))
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12
    duration, start = struct.unpack(">Ii", data[place : place + 8])
    data[place : place + 8] = struct.pack(">Ii", duration * 18 // 24, start + 6 * ticks)
    path.write_bytes(data)
    assert_whole(path, 18)


def test_dropped_frames_are_not_counted(tmp_path: Path) -> None:
    times = np.cumsum([0, 1, 3, 1, 1, 5, 2, 5, 1, 1, 4, 3]).tolist()
    path = write_video(tmp_path / "clip.avi", levels(12), ".avi", times=times)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 28  # what the header says
    assert_whole(path, 12)


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".mp4", "libx264"), (".mkv", "libx264")])
def test_reordered_frames(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_tracks(tmp_path / f"clip{suffix}", Track(codec, levels(24), options={"bf": "2"}))
    assert_whole(path, 24)


def test_a_missing_index_is_no_damage(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", levels(24), ".avi")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"idx1") + 20])
    assert_whole(path, 24)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_film_is_read_beside_other_pictures(tmp_path: Path, suffix: str) -> None:
    art = np.full((1, 200, 200, 3), 250, np.uint8)
    film, poster = Track("libx264", levels(12)), Track("mjpeg", art, "yuvj420p")
    cover = poster._replace(disposition=Disposition.attached_pic)
    preview = Track("libx264", textures(12, 0, 16, 16))
    for number, other in enumerate((cover, poster, preview)):
        assert_whole(write_tracks(tmp_path / f"{number}{suffix}", other, film), 12)


def test_a_cover_alone_is_no_film(tmp_path: Path) -> None:
    cover = Track("mjpeg", textures(1), "yuvj420p", Disposition.attached_pic)
    path = write_tracks(tmp_path / "song.mp4", cover, Track("aac", 0.5))
    with pytest.raises(UserError, match=r"cannot read .*song\.mp4: it has no video stream"):
        read_video(path)


# ---- what they look like ---------------------------------------------------------------------------------------------

TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[Pixels], Pixels]]] = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "hflip": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "vflip": ((1, 0, 0, -1), lambda image: image[::-1]),
    "upside down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "counterclockwise": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "transpose": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transverse": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_turned_and_mirrored_films(tmp_path: Path, turn: str) -> None:
    matrix, turned = TURNS[turn]
    sensor = np.zeros((2, 32, 64, 3), np.uint8)
    sensor[:, :16, :32], sensor[:, 16:, :16] = 255, 128
    path = write_video(tmp_path / "clip.mp4", sensor, ".mp4")
    set_display(path, *matrix)
    expected = turned(sensor[0, :, :, 0])
    (seen, _), (height, width) = read_video(path), expected.shape
    assert seen.shape == (2, 1, height, width)
    assert abs(as_pixels(seen)[0, 0].astype(int) - expected).mean() < 2
    prepared = as_prepared(path, ClipConfig(height=height // 2, width=width // 2))
    assert abs(prepared[0, 0].astype(int) - expected[::2, ::2]).mean() < 4


@pytest.mark.parametrize("kind", FORMATS)
def test_both_ways_of_reading_see_the_same_pixels(tmp_path: Path, kind: str) -> None:
    path = write_clip(tmp_path / (f"clip{kind}" if kind[0] == "." else "clip"), textures(6), kind)
    config = ClipConfig(channels=3, height=48, width=64)
    np.testing.assert_array_equal(as_pixels(read_video(path)[0]), as_prepared(path, config))
    fitted, _ = read_video(path, frames=4, shape=(1, 10, 20), fit="crop")
    smaller = replace(config, channels=1, height=10, width=20, fit="crop")
    np.testing.assert_array_equal(as_pixels(fitted), as_prepared(path, smaller)[:4])


def test_pixels_that_are_not_square_are_read_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", levels(2, 32, 32), ".mp4", aspect=Fraction(2, 1))
    assert read_video(path)[0].shape == (2, 1, 32, 64)


def write_see_through(path: Path, picture: Pixels) -> Path:
    """Two frames with transparent parts, in the format of the suffix."""
    films = {".webm": ("libvpx-vp9", "yuva420p"), ".mov": ("qtrle", "argb"), ".mkv": ("ffv1", "bgra")}
    if path.suffix in films:
        codec, layout = films[path.suffix]
        options = {"lossless": "1", "auto-alt-ref": "0"} if path.suffix == ".webm" else {}
        return write_tracks(path, Track(codec, np.stack([picture] * 2), layout, options=options))
    images = [Image.fromarray(picture), Image.fromarray(picture[::-1].copy())]
    if not path.suffix:
        path.mkdir()
        images[0].save(path / "1.png")
        images[1].save(path / "2.webp", lossless=True)
    elif path.suffix == ".gif":
        images[0].save(path, save_all=True, append_images=images[1:], disposal=2)
    else:
        lossless = {"lossless": True} if path.suffix == ".webp" else {"quality": 100} if path.suffix == ".avif" else {}
        images[0].save(path, save_all=True, append_images=images[1:], **lossless)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif", "a.webm", "a.mov", "a.mkv", "a"])
def test_what_is_transparent_lies_on_white(tmp_path: Path, name: str) -> None:
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., 0] = 255  # red, also where nobody sees it
    picture[:, 16:, 3] = 255
    if name != "a.gif":
        picture[:16, :16, 3] = 128
    path = write_see_through(tmp_path / name, picture)
    if name == "a.webm" and "libvpx-vp9" not in av.codecs_available:
        pytest.skip("this FFmpeg decodes no transparency in VP9")
    video = as_pixels(read_video(path)[0])[0]
    prepared = as_prepared(path, ClipConfig(channels=3, height=16, width=16))[0]
    for frame, scale in ((video, 2), (prepared, 1)):
        np.testing.assert_allclose(frame[:, 12 * scale, 3 * scale], WHITE, atol=4)
        np.testing.assert_allclose(frame[:, 12 * scale, 12 * scale], RED, atol=4)
        half = WHITE if name == "a.gif" else (255, 127, 127)
        np.testing.assert_allclose(frame[:, 3 * scale, 3 * scale], half, atol=4)


def test_the_fourth_byte_of_an_uncompressed_avi_means_nothing(tmp_path: Path) -> None:
    frames = np.zeros((2, 32, 32, 4), np.uint8)
    frames[..., 1] = 200
    path = write_tracks(tmp_path / "clip.avi", Track("rawvideo", frames, "bgra"))
    np.testing.assert_allclose(as_pixels(read_video(path)[0])[0, :, 5, 5], (0, 200, 0), atol=1)


# ---- formats of pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.apng", "a.avif"])
def test_animated_pictures(tmp_path: Path, name: str) -> None:
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / name
    images = [Image.fromarray(frame) for frame in levels(12)]
    images[0].save(
        path, "AVIF" if name == "a.avif" else "PNG", save_all=True, append_images=images[1:], duration=[40] * 11 + [400]
    )
    assert kind_of(path) == "clip"
    assert_whole(path, 12)
    frames = list(decode(path))
    assert [frame.start for frame in frames] == pytest.approx(np.arange(12) * 0.04)
    assert frames[-1].end == pytest.approx(0.84)


def test_the_picture_for_those_who_cannot_show_an_animation_is_no_frame(tmp_path: Path) -> None:
    images = [Image.fromarray(frame) for frame in levels(12)]
    images[9].save(tmp_path / "a.png", save_all=True, append_images=images, default_image=True)
    assert_whole(tmp_path / "a.png", 12)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_an_animated_png_that_is_cut_short(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.png"
    images = [Image.fromarray(frame) for frame in textures(12)]
    images[0].save(path, save_all=True, append_images=images[1:])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    count, (damage,) = count_frames(path)
    assert 0.2 < count / 12 < 1
    assert damage == f"damaged (it breaks off after {count} of 12 frames)"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp", "tif", "tiff"])
def test_folders_are_read_in_the_order_of_their_numbers(tmp_path: Path, kind: str) -> None:
    for number in (10, 9, 1, 0, 2):
        Image.new("RGB", (16, 16), (number * 20, 0, 0)).save(tmp_path / f"frame{number}.{kind}", quality=100)
    (tmp_path / "labels.txt").touch()
    (tmp_path / f".hidden.{kind}").touch()
    video, rate = read_video(tmp_path)
    np.testing.assert_allclose(as_pixels(video)[:, 0].mean((1, 2)), [0, 20, 40, 180, 200], atol=2)
    assert rate == 5
    assert kind_of(tmp_path / f"frame9.{kind}") == "frame"


def test_content_tells_moving_pictures_from_single_ones(tmp_path: Path) -> None:
    write_clip(tmp_path / "moving.webp", textures(3))
    Image.new("L", (4, 4)).save(tmp_path / "still.webp")
    (tmp_path / "nonsense.webp").write_text("hello")
    kinds = {name: kind_of(tmp_path / name) for name in ("moving.webp", "still.webp", "nonsense.webp")}
    assert kinds == {"moving.webp": "clip", "still.webp": "frame", "nonsense.webp": "clip"}
    assert [kind_of(Path(name)) for name in ("a.MP4", "a.tif", "a.txt")] == ["clip", "frame", "other"]


# ---- what is no video ------------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "empty.gif").touch()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "notes.mp4").write_text("hello")
    (tmp_path / "page.gif").write_text("\n<html><body>Not found")
    Image.new("L", (4, 4)).save(tmp_path / "photo.gif", "JPEG")
    Image.new("L", (4, 4)).save(tmp_path / "single.png")
    (tmp_path / "sizes").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "sizes" / "1.png")
    Image.new("L", (4, 5)).save(tmp_path / "sizes" / "2.png")
    for name, message in {
        "absent.mp4": r"there is no video .*absent\.mp4",
        "empty folder": r"empty folder: it holds no frames: expected pictures such as frame_0001\.png",
        "empty.mp4": r"cannot read .*empty\.mp4",
        "empty.gif": r"cannot read .*empty\.gif",
        "notes.txt": r"cannot read .*notes\.txt: .* kind that cannot be decoded; give .* \.gif, \.webp or \.mp4",
        "notes.mp4": r"cannot read .*notes\.mp4: it is damaged, cut short, or of a kind that cannot be decoded",
        "page.gif": r"cannot read .*page\.gif: it is a web page, not a video",
        "photo.gif": r"cannot read .*photo\.gif: it is a JPEG picture, not a video",
        "single.png": r"cannot read .*single\.png: it is a PNG picture, not a video",
        "sizes": r"frame 2 is 5 x 4 pixels and the first one 4 x 4",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            read_video(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        '<?xml version="1.0"?><MPD><BaseURL>{}</BaseURL></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_no_other_file_or_host_is_opened(tmp_path: Path, text: str) -> None:
    hidden = write_clip(tmp_path / "hidden.mp4", levels(24))
    for name in ("list.mp4", "list.mkv", "list.sdp"):
        (tmp_path / name).write_text(text.format(hidden))
        with pytest.raises(UserError, match="cannot read"):
            read_video(tmp_path / name)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Else a pipe would wait for ever, and a device give for ever."""
    (tmp_path / "frames").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "frames" / "1.png")
    (tmp_path / "device.gif").symlink_to("/dev/zero")
    for name in ("pipe.mp4", "pipe.png", "device.gif", "frames"):
        with pytest.raises(UserError, match="not a regular file"):
            read_video(tmp_path / name)
        with pytest.raises(Unreadable, match="not a regular file"):
            content_hash(tmp_path / name)
        kind_of(tmp_path / name)


def test_an_index_that_promises_too_much_is_not_opened(tmp_path: Path) -> None:
    """FFmpeg makes room for each frame of it: 5 GB for 80 million, from a file of 3 kB."""
    path = write_video(tmp_path / "clip.mp4", levels(12), ".mp4")
    data = bytearray(path.read_bytes())
    place = data.index(b"stsz") + 8
    data[place : place + 8] = struct.pack(">II", 1, 80_000_000)
    path.write_bytes(data)
    with pytest.raises(UserError, match="its index promises more frames than any film has"):
        read_video(path)
    fragments = tmp_path / "fragments.mp4"
    write_video(fragments, levels(12), ".mp4", options={"movflags": "frag_keyframe+empty_moov"})
    assert_whole(fragments, 12)
    data = bytearray(fragments.read_bytes())
    place = data.index(b"trun") + 8
    data[place : place + 4] = struct.pack(">I", 80_000_000)
    fragments.write_bytes(data)
    with pytest.raises(UserError, match="its index promises more frames than any film has"):
        read_video(fragments)


# ---- no further than needed ------------------------------------------------------------------------------------------


def test_reading_stops_where_it_was_asked_to(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", textures(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(UserError, match=r"cannot read .*clip\.mkv: it breaks off after \d+ frames, at .* of 2\.40 sec"):
        read_video(path)
    video, rate = read_video(path, frames=5)
    assert video.shape == (5, 3, 48, 64)
    assert rate == pytest.approx(25)
    assert len(list(islice(decode(path), 5))) == 5


def test_a_clip_in_the_shape_of_a_model(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", textures(12))
    video, _ = read_video(path, frames=10, shape=(1, 32, 32))
    assert video.shape == (10, 1, 32, 32)
    assert not video[:, :, :4].any()  # padded: the clip is wider than high
    assert read_video(path, frames=10, shape=(3, 32, 32), fit="crop")[0].min(dim=0).values[:, 0].max() > 0
    with pytest.raises(UserError, match=r"clip\.mp4 has 12 frames; 13 are needed"):
        read_video(path, frames=13)
    for options, message in (
        ({"frames": 0}, "frames is 0; it must be 1 or more"),
        ({"shape": (2, 8, 8)}, r"shape is \(2, 8, 8\); it must be 1 or 3 channels, a height and a width"),
        ({"shape": (1, 0, 8)}, "a height and a width"),
        ({"fit": "squash"}, "fit is 'squash'; it must be one of pad, crop, stretch"),
    ):
        with pytest.raises(UserError, match=message):
            read_video(path, **options)  # type: ignore[arg-type]


def test_a_video_too_long_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.gif", textures(12))
    monkeypatch.setattr(syncdraw.video, "_MOST_VALUES", 10 * 48 * 64 * 3)
    with pytest.raises(UserError, match=r"too long to be read whole at 48 x 64 pixels; ask for at most 10 frames"):
        read_video(path)
    assert len(read_video(path, frames=10)[0]) == 10
    assert len(read_video(path, shape=(3, 8, 8))[0]) == 12


# ---- damage ----------------------------------------------------------------------------------------------------------


def grey_noise(count: int, size: int = 32) -> Pixels:
    grey = np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    return grey.repeat(3, axis=3)


def write_fine(path: Path, frames: Pixels) -> Path:
    """A film or animation of high quality, grey where its frames are."""
    if path.suffix in (".gif", ".webp", ".mp4"):
        save_video(torch.from_numpy(frames[..., :1]).movedim(-1, 1) / 255, path)
        return path
    codec = {".avi": "mpeg4", ".mkv": "libx264", ".webm": "libvpx"}[path.suffix]
    quality = {"qscale": "1"} if codec == "mpeg4" else {"crf": "4"}
    return write_tracks(path, Track(codec, frames, options={**quality, "b": "4000000"}))


@pytest.mark.parametrize("name", ["video.gif", "video.webp", "video.mp4", "video.avi", "video.mkv", "video.webm"])
def test_a_file_cut_short_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    path = write_fine(tmp_path / name, grey_noise(12))
    assert read_video(path)[0].shape == (12, 1, 32, 32)
    data = path.read_bytes()
    # What a Matroska or AVI file has in its last tenth is partly an index, which nobody misses.
    ends = (
        np.linspace(0, len(data) - 1, 60) if path.suffix in (".gif", ".webp") else np.linspace(0, len(data) * 0.7, 20)
    )
    for end in ends.astype(int):
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match=re.escape(name)):
            read_video(path)


def test_frames_that_do_not_decode_are_reported(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", textures(12), ".avi")
    with av.open(str(path)) as container:
        place, size = next((p.pos or 0, p.size) for number, p in enumerate(container.demux(video=0)) if number == 6)
    data = bytearray(path.read_bytes())
    data[place + 8 : place + 8 + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"clip\.avi: \d of its frames cannot be decoded, \d+ can"):
        read_video(path)
    count, (reason,) = count_frames(path)
    assert 4 <= count < 12
    assert "damaged" in reason


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("intact")
    for name in ("video.gif", "video.webp", "video.mp4", "video.avi", "video.mkv"):
        write_fine(folder / name, grey_noise(3, 12))
    Image.fromarray(grey_noise(1)[0]).save(folder / "frame.png")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_bytes_give_a_clear_error_or_a_video(data: st.DataObject, intact: dict[str, bytes]) -> None:
    name = data.draw(st.sampled_from(sorted(intact)))
    damaged = bytearray(intact[name])
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=6)):
        damaged[position] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) if name == "frame.png" else Path(folder, name)
        Path(folder, name).write_bytes(damaged)
        try:
            video, rate = read_video(path)
        except UserError as error:
            message = str(error)
        else:
            message = f"{path} lasts {len(video) / rate} s"
        assert str(path) in message
        assert "\n" not in message


def test_damage_is_told_after_what_decodes(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.gif", textures(12))
    path.write_bytes(path.read_bytes()[:-400])
    decoded, count = decode(path), count_frames(path)[0]
    assert 1 < count < 12
    assert [frame.pixels().shape for frame in islice(decoded, count)] == [(3, 48, 64)] * count
    with pytest.raises(Damaged):
        next(decoded)
