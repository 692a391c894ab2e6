"""Clips that tests make for themselves, in each format: the grey level or the colours of a frame tell its number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

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


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    container: str,
    *,
    times: list[int] | None = None,
    aspect: Fraction | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video. `times` are the moments at which frames appear, in 1/25 s; without them, one after another."""
    container_format = {".mkv": "matroska"}.get(container, container[1:])
    with av.open(str(path), "w", format=container_format, options=options or {}) as file:
        stream = file.add_stream(CODECS[container], rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.bit_rate = 2_000_000
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, pixels_of_frame in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_of_frame, format="rgb24")
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path
