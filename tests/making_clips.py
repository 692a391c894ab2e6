"""Clips that tests make for themselves, in each format: the grey level or the colours of a frame tell its number."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CODECS = {".mp4": "libx264", ".avi": "mpeg4", ".mkv": "libx264", ".webm": "libvpx-vp9"}
FORMATS = (".mp4", ".avi", ".mkv", ".webm", ".gif", ".webp", "png", "jpg")


def levels(count: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Frames `[frame, height, width, 3]`, all of one grey: 8 times the frame's number."""
    grey = np.arange(count, dtype=np.uint8) * 8
    return np.broadcast_to(grey[:, None, None, None], (count, height, width, 3)).copy()


def textures(count: int, seed: int = 0, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Frames of coloured squares that move by two pixels a frame; different for each seed."""
    squares = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    image = squares.repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(image, 2 * number, 1) for number in range(count)])


def write_clip(path: Path, frames: NDArray[np.uint8], suffix: str | None = None) -> Path:
    """Write frames in the format that `suffix`, or else the path's own, names; `png` and `jpg` make a folder."""
    kind = suffix or path.suffix
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in CODECS:
        return write_video(path, frames, kind)
    images = [Image.fromarray(frame) for frame in frames]
    if kind == ".gif":
        # Pillow merges equal neighbours; a test that needs them apart must not have any.
        images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=40, loop=0)
    elif kind == ".webp":
        images[0].save(path, "WEBP", save_all=True, append_images=images[1:], duration=40, lossless=True)
    else:
        path.mkdir()
        for number, image in enumerate(images):
            image.save(path / f"{number}.{kind}", quality=95)  # 10 comes after 9, not after 1
    return path


class Track(NamedTuple):
    """What `write_tracks` writes: frames `[frame, height, width, 3 or 4]`, or seconds of silence."""

    codec: str
    content: NDArray[np.uint8] | float
    pixels: str = "yuv420p"
    disposition: int = 0
    options: dict[str, str] = {}  # noqa: RUF012 (read only)


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    container: str,
    *,
    times: list[int] | None = None,
    aspect: Fraction | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Write a video. `times` are the moments at which frames appear, in 1/25 s; without them, one after another."""
    track = Track(CODECS[container], frames, pixels)
    return write_tracks(path, track, container=container, times=times, aspect=aspect, options=options, title=title)


def write_tracks(
    path: Path,
    *tracks: Track,
    container: str = "",
    times: list[int] | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Write a file of several films, pictures and sounds."""
    container = container or path.suffix
    container_format = {".mkv": "matroska"}.get(container, container[1:])
    with av.open(str(path), "w", format=container_format, options=options or {}) as file:
        if title:
            file.metadata["title"] = title
        streams = [file.add_stream(t.codec, rate=16000 if isinstance(t.content, float) else 25) for t in tracks]
        for track, stream in zip(tracks, streams, strict=True):
            stream.options = track.options
            if isinstance(track.content, float):
                stream.layout = "mono"
                continue
            stream.height, stream.width = track.content.shape[1:3]
            stream.pix_fmt = track.pixels
            stream.bit_rate = 2_000_000
            if track.disposition:
                stream.disposition = track.disposition
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
        for track, stream in zip(tracks, streams, strict=True):
            if isinstance(track.content, float):
                frames = [silence(number) for number in range(round(track.content * 16000 / 1024))]
            else:
                layout = "rgb24" if track.content.shape[-1] == 3 else "rgba"
                frames = [av.VideoFrame.from_ndarray(picture, format=layout) for picture in track.content]
                for number, frame in enumerate(frames):
                    frame.pts, frame.time_base = times[number] if times else number, Fraction(1, 25)
            for frame in [*frames, None]:
                file.mux(stream.encode(frame))
    return path


def silence(number: int) -> av.AudioFrame:
    """A part of 1,024 samples, 16,000 of which last a second."""
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16000, 1024 * number, Fraction(1, 16000)
    return frame


def set_display(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Have an MP4 shown with the pixel at column x and row y sent to column a x + c y and row b x + d y."""
    data = path.read_bytes()
    header = data.index(b"tkhd")
    before, after = (
        struct.pack(">9i", *(part << 16 for part in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
        for a, b, c, d in ((1, 0, 0, 1), (a, b, c, d))
    )
    path.write_bytes(data[:header] + data[header:].replace(before, after, 1))
