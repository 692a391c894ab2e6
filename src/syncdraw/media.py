"""Videos to files: GIF, WebP, MP4, and folders of PNG frames; contact sheets to look at.

Inside the package a video is `float32 [frame, channel, height, width]` in [0, 1], with 1 channel (grey) or 3 (RGB).
In files it is uint8. GIF (up to 256 colours), WebP and PNG keep every one of those bytes; MP4 keeps them nearly.

Every frame reaches the file, with its duration. Pillow's own writers of animations merge a frame that equals the one
before into a longer frame, so Pillow compresses single pictures here and the containers around them are written by us.
"""

from __future__ import annotations

import io
import math
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from syncdraw.containers import DEFAULT_FRAMES_PER_SECOND, DRAWN_MARK, SHORTEST_FRAME, gif_images
from syncdraw.errors import UserError
from syncdraw.files import atomic_path

Pixels = NDArray[np.uint8]

_BORDER = 2  # pixels between tiles, after scaling
_BORDER_GREY = 128
_LARGEST_SIDE = 16383  # pixels; WebP's limit, near H.264's, and below GIF's


def save_video(
    video: Tensor, path: str | Path, *, frames_per_second: float = DEFAULT_FRAMES_PER_SECOND, scale: int = 1,
    columns: int | None = None,
) -> None:  # fmt: skip
    """Write a video, or a batch of videos as one, in the format that the suffix names.

    =============  ==================================================================================================
    `.gif`         exact for grey and for up to 256 colours in all; beyond that one adaptive palette for the video
    `.webp`        lossless, animated
    `.mp4`         H.264, yuv420p; an odd height or width grows by one, the edge pixels repeated
    `.png`         a contact sheet: frames side by side, a row a clip
    none           a folder of lossless `frame_0001.png`, `frame_0002.png`, ...; so does a folder that exists
    =============  ==================================================================================================

    A batch becomes one animation: its clips play side by side in a grid, a thin grey line between them.

    GIF counts in hundredths and WebP in thousandths of a second. Each frame ends on the tick nearest its true end, so
    the total is right to half a tick. Both show at most 50 frames a second (what browsers honour); ask for more and
    they get 50.

    Args:
        video: `[frame, channel, height, width]` or `[batch, frame, channel, height, width]` in [0, 1].
        path: the file, or the folder, to write or replace. A folder is replaced only if it holds nothing but frames.
        frames_per_second: 0.01 to 1000.
        scale: each pixel becomes `scale` x `scale` equal pixels, 1 to 64.
        columns: of the grid of a batch; as many as rows, or one more, unless given.

    Raises:
        ValueError: the tensor is not such a video (wrong shape, not finite, outside [0, 1]).
        UserError: an unknown suffix, a frame rate or scale that makes no sense, or a place that cannot be written.
    """
    path = Path(path)
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix and suffix != ".png" and suffix not in _ENCODERS:
        raise UserError(
            f"cannot write {path}: the suffix must be one of {', '.join(_ENCODERS)}, .png (a contact sheet) "
            f"or none (a folder of frames), not {suffix}"
        )
    if not 0.01 <= frames_per_second <= 1000:  # false for NaN too
        raise UserError(f"frames_per_second must be from 0.01 to 1000, not {frames_per_second}")
    clips = _scaled(_pixels(video), scale)

    if suffix == ".png":
        data = _png(_tiled(clips))
    else:
        frames = _side_by_side(clips, columns or math.ceil(math.sqrt(len(clips))))
        if not suffix:
            return _save_folder(frames, path, frames_per_second)
        height, width = frames.shape[1:3]
        if max(height, width) > _LARGEST_SIDE:
            raise UserError(f"{path} would be {height} x {width} pixels; {suffix} holds at most {_LARGEST_SIDE} a side")
        data = _ENCODERS[suffix](frames, frames_per_second)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def contact_sheet(videos: Tensor, *, scale: int = 1) -> Pixels:
    """All frames of all clips in one picture: a row a clip, a column a frame, a thin grey line between them.

    Args:
        videos: `[frame, channel, height, width]` or `[batch, frame, channel, height, width]` in [0, 1].
        scale: each pixel becomes `scale` x `scale` equal pixels, 1 to 64.

    Returns:
        uint8 RGB `[height, width, 3]`.

    Raises:
        ValueError: the tensor is not such a video.
    """
    sheet = _tiled(_scaled(_pixels(videos), scale))
    return np.repeat(sheet, 3 // sheet.shape[-1], axis=-1)


# Tensors to pixels


def _pixels(video: Tensor) -> Pixels:
    """Check, round to uint8, and move channels last: `[batch, frame, height, width, channel]`."""
    shape = tuple(video.shape)
    if video.ndim not in (4, 5) or shape[-3] not in (1, 3) or 0 in shape:
        raise ValueError(
            "a video is [frame, channel, height, width], with or without a batch axis before it, "
            f"with 1 or 3 channels and no empty axis; this one is {list(shape)}"
        )
    if not video.is_floating_point():
        raise ValueError(f"a video holds floating-point values in [0, 1]; this one holds {video.dtype}")
    video = video.detach().float().cpu()
    lowest, highest = float(video.min()), float(video.max())
    if not (lowest >= 0 and highest <= 1):  # so that NaN fails
        raise ValueError(f"a video's values must lie in [0, 1]; these run from {lowest:g} to {highest:g}")
    pixels: Pixels = (video * 255).round().to(torch.uint8).movedim(-3, -1).numpy()
    return pixels.reshape(-1, *pixels.shape[-4:])


def _scaled(clips: Pixels, scale: int) -> Pixels:
    if not isinstance(scale, int) or not 1 <= scale <= 64:
        raise UserError(f"scale must be a whole number from 1 to 64, not {scale}")
    return clips.repeat(scale, axis=2).repeat(scale, axis=3)


def _tiled(tiles: Pixels) -> Pixels:
    """`[..., row, column, height, width, channel]` to `[..., height, width, channel]`, a grey line between tiles."""
    rows, columns, height, width, channels = tiles.shape[-5:]
    before = [(0, 0)] * (tiles.ndim - 3)
    tiles = np.pad(tiles, [*before, (0, _BORDER), (0, _BORDER), (0, 0)], constant_values=_BORDER_GREY)
    sheet = tiles.swapaxes(-4, -3).reshape(
        *tiles.shape[:-5], rows * (height + _BORDER), columns * (width + _BORDER), channels
    )
    return sheet[..., :-_BORDER, :-_BORDER, :]


def _side_by_side(clips: Pixels, columns: int) -> Pixels:
    """`[batch, frame, height, width, channel]` to `[frame, height, width, channel]`, the clips in a grid."""
    rows = math.ceil(len(clips) / columns)
    empty = np.full((rows * columns - len(clips), *clips.shape[1:]), _BORDER_GREY, np.uint8)
    grid = np.concatenate([clips, empty]).reshape(rows, columns, *clips.shape[1:])
    return _tiled(np.moveaxis(grid, 2, 0))


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


# Writing


def _png(pixels: Pixels, **comments: str) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", DRAWN_MARK.decode())
    for key, value in comments.items():
        notes.add_text(key, value)
    file = io.BytesIO()
    _picture(pixels).save(file, "PNG", pnginfo=notes)
    return file.getvalue()


def _save_folder(frames: Pixels, path: Path, frames_per_second: float) -> None:
    # The folder will be replaced whole, so nothing but frames may be in it: think of `-o .` or `-o ~`.
    if path.is_dir():
        for entry in path.iterdir():
            if not re.fullmatch(r"frame_\d{4,}\.png", entry.name):
                raise UserError(f"{path} holds {entry.name}, which is no frame of ours; name a new or an empty folder")
    with atomic_path(path.resolve()) as temporary:
        temporary.mkdir()
        for number, frame in enumerate(frames, 1):
            data = _png(frame, frames_per_second=str(frames_per_second))
            (temporary / f"frame_{number:04d}.png").write_bytes(data)


def _durations(count: int, frames_per_second: float, ticks: int) -> list[int]:
    """How many ticks of 1/`ticks` s each frame lasts; every frame ends within half a tick of its true time."""
    interval = max(1 / frames_per_second, SHORTEST_FRAME)
    durations: list[int] = np.diff(np.rint(np.arange(count + 1) * (interval * ticks))).astype(int).tolist()
    return durations


def _gif(frames: Pixels, frames_per_second: float) -> bytes:
    """GIF89a: one palette for all frames, each frame whole, looping for ever."""
    height, width = frames.shape[1:3]
    palette, indices = _palette(frames)
    # 0xF7: a global palette of 256 colours, 8 bits a channel.
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0xF7, 0, 0), palette]
    parts.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
    parts.append(b"\x21\xfe" + bytes([len(DRAWN_MARK)]) + DRAWN_MARK + b"\x00")  # a comment
    for index, duration in zip(indices, _durations(len(frames), frames_per_second, 100), strict=True):
        # Graphic control: leave the frame in place (4), the delay, no transparent colour.
        parts.append(struct.pack("<4sHBB", b"\x21\xf9\x04\x04", duration, 0, 0))
        file = io.BytesIO()
        Image.fromarray(index).save(file, "GIF", optimize=False)  # optimising would renumber the colours
        picture = file.getvalue()
        parts += [picture[start:end] for start, end in gif_images(picture)[0]]
    return b"".join([*parts, b"\x3b"])


def _palette(frames: Pixels) -> tuple[bytes, Pixels]:
    """256 RGB colours, and for each pixel the number of its colour, `[frame, height, width]`."""
    if frames.shape[-1] == 1:
        return bytes(np.arange(256, dtype=np.uint8).repeat(3)), frames[..., 0]
    count, height, width, _ = frames.shape
    codes = frames.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    used = np.zeros(1 << 24, bool)
    used[codes] = True
    colours = np.flatnonzero(used)
    if len(colours) <= 256:
        numbers = np.zeros(1 << 24, np.uint8)
        numbers[colours] = np.arange(len(colours))
        palette = b"".join(int(colour).to_bytes(3, "big") for colour in colours)
        return palette.ljust(768, b"\0"), numbers[codes]
    # One palette for the video and no dithering: what stands still does not flicker.
    quantised = Image.fromarray(frames.reshape(count * height, width, 3)).quantize(256)
    return bytes(quantised.getpalette("RGB") or []).ljust(768, b"\0"), np.asarray(quantised).reshape(
        count, height, width
    )


def _webp(frames: Pixels, frames_per_second: float) -> bytes:
    """An extended WebP file: lossless frames, each whole, looping for ever."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    def three_bytes(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(3, "little") for number in numbers)

    height, width = frames.shape[1:3]
    size = three_bytes(width - 1, height - 1)
    # 2: animated, 4: XMP; loop count 0.
    chunks = [chunk(b"VP8X", b"\x06\0\0\0" + size), chunk(b"ANIM", bytes(6))]
    for frame, duration in zip(frames, _durations(len(frames), frames_per_second, 1000), strict=True):
        file = io.BytesIO()
        _picture(frame).save(file, "WEBP", lossless=True)
        picture = file.getvalue()[12:]  # without RIFF, size, WEBP: one VP8L chunk, for there is no alpha or metadata
        # At (0, 0); 2: overwrite what was there rather than blend with it.
        chunks.append(chunk(b"ANMF", three_bytes(0, 0) + size + three_bytes(duration) + b"\x02" + picture))
    chunks.append(chunk(b"XMP ", DRAWN_MARK))
    return chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def _mp4(frames: Pixels, frames_per_second: float) -> bytes:
    # yuv420p, the one layout that every player knows, halves the colour planes, so both sides must be even.
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    frames = frames.repeat(3 // frames.shape[-1], axis=-1)
    import av  # whoever writes no films needs no FFmpeg

    rate = Fraction(frames_per_second).limit_denominator(1001)
    encoder: Literal["libx264", "h264"] = "libx264" if "libx264" in av.codecs_available else "h264"
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        container.metadata["comment"] = DRAWN_MARK.decode()
        stream = container.add_stream(encoder, rate=rate, options={"crf": "12"})  # visually lossless, yet small
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.colorspace = 6  # say which: BT.601, FFmpeg's choice, where a player may guess BT.709
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()


_ENCODERS = {".gif": _gif, ".webp": _webp, ".mp4": _mp4}
