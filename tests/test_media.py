"""Videos to files and back: nothing is lost, merged, half written or read from a damaged file without a word."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from torch import Tensor

import syncdraw.media
from syncdraw.containers import DRAWN_MARK
from syncdraw.datasets.video_folder import list_folder
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.media import contact_sheet, save_video
from syncdraw.video import decode, read_video

Pixels = NDArray[np.uint8]
EXACT = ["video.gif", "video.webp", "video"]  # the last one is a folder of frames
MOVING = [*EXACT, "video.mp4"]


def to_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).float() / 255


def to_pixels(video: Tensor) -> Pixels:
    pixels: Pixels = (video * 255).round().to(torch.uint8).numpy()
    return pixels


def noise(frames: int = 6, channels: int = 1, height: int = 12, width: int = 10, seed: int = 0) -> Tensor:
    generator = np.random.default_rng(seed)
    return to_tensor(generator.integers(0, 256, (frames, channels, height, width), dtype=np.uint8))


@st.composite
def videos(draw: st.DrawFn, channels: int = 1, most: int = 7) -> Pixels:
    """Few distinct pictures in any order, so that equal neighbours are common. At most 256 colours when `most` is 7."""
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    pictures = draw(arrays(np.uint8, (draw(st.integers(1, 3)), channels, height, width)))
    order = draw(st.lists(st.integers(0, len(pictures) - 1), min_size=1, max_size=8))
    return pictures[order]


def pillow_frames(path: Path) -> list[tuple[Pixels, float]]:
    with Image.open(path) as animation:
        frames = []
        for picture in ImageSequence.Iterator(animation):
            pixels = np.asarray(picture.convert("RGB"))
            frames.append((pixels, picture.info["duration"] / 1000))
    return frames


def ffmpeg_frames(path: Path) -> list[tuple[Pixels, float]]:
    with av.open(str(path)) as container:
        return [
            (frame.to_ndarray(format="rgb24"), float(frame.duration * frame.time_base))
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=40, deadline=None)
@given(grey=videos(), colour=videos(channels=3), rate=st.floats(0.1, 50))
def test_any_video_comes_back_byte_for_byte(name: str, grey: Pixels, colour: Pixels, rate: float) -> None:
    for pixels in (grey, colour):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            save_video(to_tensor(pixels), path, frames_per_second=rate)
            video, read_rate = read_video(path)
        if video.shape[1] != pixels.shape[1]:  # RGB that happens to be grey comes back as grey
            video = video.expand(-1, 3, -1, -1)
        np.testing.assert_array_equal(to_pixels(video), pixels)
        assert video.dtype == torch.float32
        assert len(pixels) / read_rate == pytest.approx(len(pixels) / rate, abs=0.0051, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(pixels=videos(), rate=st.floats(0.1, 50))
def test_other_readers_see_every_frame_and_its_duration(pixels: Pixels, rate: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        gif, webp = Path(folder, "video.gif"), Path(folder, "video.webp")
        save_video(to_tensor(pixels), gif, frames_per_second=rate)
        save_video(to_tensor(pixels), webp, frames_per_second=rate)
        readings = [(pillow_frames(gif), 0.01), (ffmpeg_frames(gif), 0.01), (pillow_frames(webp), 0.001)]
    for frames, tick in readings:
        assert len(frames) == len(pixels)
        ends = np.cumsum([duration for _, duration in frames])
        np.testing.assert_allclose(ends, np.arange(1, len(pixels) + 1) / rate, atol=tick / 2 + 1e-6)
        for (frame, _), expected in zip(frames, pixels, strict=True):
            np.testing.assert_array_equal(frame, np.broadcast_to(expected[0, :, :, None], frame.shape))


def test_pillows_own_writers_would_merge_equal_frames() -> None:
    """The reason for writing the containers ourselves. When this fails, Pillow has changed, and that code can go."""
    picture = Image.new("L", (8, 8))
    for name in ("gif", "webp"):
        file = io.BytesIO()
        picture.save(file, name, save_all=True, append_images=[picture, picture], duration=200)
        assert getattr(Image.open(file), "n_frames", 1) == 1


@pytest.mark.parametrize("rate", [1, 5, 12.5, 30, 30000 / 1001])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (15, 33), (1, 1), (2, 64)])
def test_mp4_has_every_frame_on_time_and_nearly_its_pixels(
    rate: float, height: int, width: int, tmp_path: Path
) -> None:
    video = noise(9, 1, height, width)
    video[3:6] = video[3]
    save_video(video, tmp_path / "video.mp4", frames_per_second=rate)
    result, read_rate = read_video(tmp_path / "video.mp4")
    assert result.shape == (9, 1, height + height % 2, width + width % 2)
    assert read_rate == pytest.approx(rate, rel=1e-3)
    assert [duration for _, duration in ffmpeg_frames(tmp_path / "video.mp4")] == pytest.approx(
        [1 / rate] * 9, rel=1e-2
    )
    difference = (result[..., :height, :width] - video).abs()
    assert difference.max() < 0.1
    assert difference.mean() < 0.02
    torch.testing.assert_close(
        result[..., -1:, -1:], result[..., height - 1 : height, width - 1 : width], atol=0.1, rtol=0
    )


def test_mp4_keeps_colours(tmp_path: Path) -> None:
    video = torch.zeros(4, 3, 32, 32)
    video[:, 0, :16], video[:, 1, 16:, :16], video[:, 2, 16:, 16:] = 1, 1, 1
    save_video(video, tmp_path / "video.mp4")
    result, _ = read_video(tmp_path / "video.mp4")
    difference = (result - video).abs()
    assert difference.mean() < 0.02
    assert difference.max() < 0.25  # colours bleed over their edges: yuv420p has one for four pixels
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].pix_fmt == "yuv420p"


@pytest.mark.parametrize("name", MOVING)
def test_a_video_of_one_frame(name: str, tmp_path: Path) -> None:
    save_video(noise(1), tmp_path / name, frames_per_second=4)
    video, rate = read_video(tmp_path / name)
    assert video.shape == (1, 1, 12, 10)
    assert rate == 4


@pytest.mark.parametrize("name", MOVING)
def test_each_frame_appears_when_it_should(name: str, tmp_path: Path) -> None:
    save_video(noise(5), tmp_path / name, frames_per_second=8)
    times, ends, frames = zip(*((f.start, f.end, f.pixels()) for f in decode(tmp_path / name)), strict=True)
    assert times == pytest.approx([0, 1 / 8, 2 / 8, 3 / 8, 4 / 8], abs=0.006)
    assert ends == pytest.approx([1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8], abs=0.006)
    assert all(frame.shape == (3, 12, 10) and frame.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize("name", ["gif", "webp"])
def test_no_frame_is_shorter_than_players_honour(name: str, tmp_path: Path) -> None:
    save_video(noise(7), tmp_path / f"fast.{name}", frames_per_second=240)
    assert [duration for _, duration in pillow_frames(tmp_path / f"fast.{name}")] == [0.02] * 7


def test_a_gif_without_delays_is_read_as_players_show_it(tmp_path: Path) -> None:
    first, second = Image.new("L", (4, 4), 0), Image.new("L", (4, 4), 9)
    first.save(tmp_path / "still.gif", save_all=True, append_images=[second])
    assert read_video(tmp_path / "still.gif")[1] == 10


def test_a_gif_of_many_colours_gets_one_good_palette(tmp_path: Path) -> None:
    ramp = torch.linspace(0, 1, 32)
    picture = torch.stack([ramp.expand(32, 32), ramp.expand(32, 32).T, 1 - ramp.expand(32, 32)])
    save_video(picture.expand(3, -1, -1, -1), tmp_path / "video.gif")
    video, _ = read_video(tmp_path / "video.gif")
    assert (video - picture).abs().max() < 0.1
    torch.testing.assert_close(video[0], video[2])


@pytest.mark.parametrize("name", [*EXACT, "video.png"])
def test_scale_repeats_pixels(name: str, tmp_path: Path) -> None:
    video = noise(3)
    save_video(video, tmp_path / name, scale=3)
    expected = video.repeat_interleave(3, -1).repeat_interleave(3, -2)
    if name == "video.png":
        sheet = np.asarray(Image.open(tmp_path / name))
        assert sheet.shape == (36, 3 * 30 + 2 * 2)
        for number, frame in enumerate(to_pixels(expected)):
            np.testing.assert_array_equal(sheet[:, 32 * number : 32 * number + 30], frame[0])
    else:
        np.testing.assert_array_equal(to_pixels(read_video(tmp_path / name)[0]), to_pixels(expected))


def test_a_batch_is_one_grid_animation(tmp_path: Path) -> None:
    batch = torch.stack([noise(4, seed=seed) for seed in range(5)])
    save_video(batch, tmp_path / "batch.gif")
    pixels = to_pixels(read_video(tmp_path / "batch.gif")[0])
    assert pixels.shape == (4, 1, 2 * 12 + 2, 3 * 10 + 2 * 2)  # two rows of three
    for number, clip in enumerate(to_pixels(batch)):
        top, left = (number // 3) * 14, (number % 3) * 12
        np.testing.assert_array_equal(pixels[:, :, top : top + 12, left : left + 10], clip)
    assert (pixels[:, :, 12:14] == 128).all()
    assert (pixels[:, :, :, 10:12] == 128).all()
    assert (pixels[:, :, 14:, 24:] == 128).all()  # the place of the sixth clip


def test_a_batch_as_png_has_a_row_for_each_clip(tmp_path: Path) -> None:
    batch = torch.stack([noise(4, channels=3, seed=seed) for seed in range(3)])
    save_video(batch, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 12 + 2 * 2, 4 * 10 + 3 * 2, 3)
    np.testing.assert_array_equal(sheet, contact_sheet(batch))
    for row, clip in enumerate(to_pixels(batch)):
        for column, frame in enumerate(clip):
            tile = sheet[14 * row : 14 * row + 12, 12 * column : 12 * column + 10]
            np.testing.assert_array_equal(tile, frame.transpose(1, 2, 0))


def test_a_grey_contact_sheet_is_rgb_too() -> None:
    assert contact_sheet(noise(4), scale=2).shape == (24, 4 * 20 + 3 * 2, 3)


@pytest.mark.parametrize("name", MOVING)
def test_names_with_spaces_colons_and_letters_of_any_alphabet(name: str, tmp_path: Path) -> None:
    path = tmp_path / "цифра три" / f"数字 3: 左から%d右 é {name}"
    save_video(noise(2), path)
    assert len(read_video(str(path))[0]) == 2
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_upper_case_suffix(tmp_path: Path) -> None:
    save_video(noise(2), tmp_path / "VIDEO.GIF")
    assert (tmp_path / "VIDEO.GIF").read_bytes()[:6] == b"GIF89a"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_and_gradients_are_fine(dtype: torch.dtype, tmp_path: Path) -> None:
    save_video(torch.ones(2, 1, 4, 4, dtype=dtype, requires_grad=True), tmp_path / "video.gif")
    assert (read_video(tmp_path / "video.gif")[0] == 1).all()


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (torch.zeros(4, 4), r"a video is \[frame, channel, height, width\].*this one is \[4, 4\]"),
        (torch.zeros(2, 2, 4, 4), r"1 or 3 channels"),
        (torch.zeros(0, 1, 4, 4), r"no empty axis"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), r"floating-point values in \[0, 1\]; this one holds torch.uint8"),
        (torch.full((2, 1, 4, 4), 1.5), r"must lie in \[0, 1\]; these run from 1.5 to 1.5"),
        (torch.full((2, 1, 4, 4), -0.5), r"must lie in \[0, 1\]"),
        (torch.full((2, 1, 4, 4), float("nan")), r"must lie in \[0, 1\]; these run from nan"),
    ],
)
def test_what_is_no_video_is_refused(video: Tensor, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        save_video(video, tmp_path / "video.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("video.jpg", {}, r"video\.jpg: the suffix must be one of \.gif, \.webp, \.mp4, \.png .*, not \.jpg"),
        ("video.gif", {"frames_per_second": 0}, "frames_per_second must be from 0.01 to 1000, not 0"),
        ("video.gif", {"frames_per_second": float("nan")}, "not nan"),
        ("video.gif", {"scale": 0}, "scale must be a whole number from 1 to 64, not 0"),
        ("video.gif", {"scale": 1.5}, "not 1.5"),
        ("video.gif", {"scale": 65}, "not 65"),
    ],
)
def test_bad_arguments_are_named(name: str, options: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        save_video(noise(1), tmp_path / name, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["video.gif", "video.webp", "video.mp4"])
def test_pictures_too_large_for_their_format(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would be 1 x 20000 pixels; \.\w+ holds at most 16383 a side"):
        save_video(noise(1, height=1, width=20000), tmp_path / name)
    save_video(noise(1, height=1, width=16383), tmp_path / name)


@pytest.mark.parametrize("name", MOVING)
def test_a_place_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file is a file, not a folder"):
        save_video(noise(2), tmp_path / "file" / name)
    with pytest.raises(UserError, match="cannot write"):
        save_video(noise(2), Path("/proc") / name)


@pytest.mark.parametrize("name", MOVING)
def test_an_interrupted_save_leaves_the_old_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    save_video(noise(3), path)
    old = read_video(path)[0]

    write_bytes = Path.write_bytes

    def interrupted(self: Path, data: bytes) -> int:
        write_bytes(self, data[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_video(noise(5, seed=1), path)
    assert torch.equal(read_video(path)[0], old)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_video(noise(3), tmp_path / "video.gif")

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write .*video\.gif: No space left on device"):
        save_video(noise(5), tmp_path / "video.gif")
    assert len(read_video(tmp_path / "video.gif")[0]) == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames"
    save_video(noise(3), path)
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if Path(target) == path and (Path(source) / "frame_0005.png").exists():
            raise OSError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(UserError, match="cannot write"):
        save_video(noise(5), path)
    assert len(read_video(path)[0]) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_frames_is_replaced_and_any_other_is_kept(tmp_path: Path) -> None:
    for frames in (12, 3):
        save_video(noise(frames), tmp_path / "old")
        assert sorted(entry.name for entry in (tmp_path / "old").iterdir())[-1] == f"frame_{frames:04d}.png"
    (tmp_path / "old" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis\.tex, which is no frame of ours"):
        save_video(noise(2), tmp_path / "old")
    assert (tmp_path / "old" / "thesis.tex").exists()


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_video(noise(2), ".")
    assert len(read_video(tmp_path)[0]) == 2


def test_long_names_are_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".gif")
    save_video(noise(2), path)
    assert path.exists()
    with atomic_path(tmp_path / "old") as first:
        first.mkdir()
    with atomic_path(tmp_path / "old") as second:
        second.mkdir()
    assert (tmp_path / "old").is_dir()


def test_the_table_of_formats_is_complete() -> None:
    assert all(f"`{suffix}`" in str(save_video.__doc__) for suffix in [*syncdraw.media._ENCODERS, ".png"])


@pytest.mark.parametrize("name", ["video.gif", "video.webp", "video.mp4", "sheet.png", "frames"])
def test_what_is_drawn_bears_a_mark_and_is_no_training_clip(name: str, tmp_path: Path) -> None:
    save_video(noise(3), tmp_path / "clips" / "filmed.gif")
    marked = (tmp_path / "clips" / "filmed.gif").read_bytes()
    (tmp_path / "clips" / "filmed.gif").write_bytes(marked.replace(DRAWN_MARK, b"filmed by a lens"))
    save_video(noise(3), tmp_path / "clips" / name)
    listing = list_folder(tmp_path / "clips")
    assert [source.name for source in listing.sources] == ["filmed.gif"]
