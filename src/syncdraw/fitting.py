"""How a decoded frame becomes pixels: opaque, upright, with square pixels, in the size and colours that are asked for.

What a player would show is what is read: display matrices (turned and mirrored films) and the shape of a film's pixels
are applied, and what is transparent lies on a ground, which is white, as on a page, unless another is asked for. One
scaler does it all, in one step.
"""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageOps

# A frame of 8K film. A header can promise more pixels than there is memory for; no such frame is decoded.
MOST_PIXELS = 1 << 25

# SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND: without the last two, white comes out as 253 and greys up to two
# levels too dark.
_SCALING = 0x4 | 0x2000 | 0x40000


class Unreadable(Exception):
    """A file that cannot be decoded; the message says why."""


class Shape(Protocol):
    """What a frame is made into; `ClipConfig` is one.

    Attributes:
        channels: 1 for grey, 3 for red, green, blue.
        height: rows of pixels.
        width: columns of pixels.
        fit: `pad`, `crop` or `stretch`, as `ClipConfig` explains them.
        ground: on which transparent parts lie, by its name or as #rrggbb. `random`: the frame is made twice, on black
            and on white, and the channels of the second follow those of the first; all other grounds lie between.
        inner: height and width of what a frame is fitted into, in the middle of the rest. Around it, and wherever a
            ground other than white is asked for, what is left free is the ground; otherwise it is zeros.
    """

    @property
    def channels(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def fit(self) -> str: ...
    @property
    def ground(self) -> str: ...
    @property
    def inner(self) -> tuple[int, int]: ...


def fit_frame(
    frame: av.VideoFrame, shape: Shape | None, reformatter: VideoReformatter, aspect: Fraction | None = None
) -> NDArray[np.uint8]:
    """The pixels of a frame, uint8 `[channel, height, width]`; with a random ground there are twice as many channels.

    Args:
        frame: as it was decoded.
        shape: what to make of it; None for red, green and blue in the frame's own size.
        reformatter: the scaler. To set one up costs 25 times as much as to use it, so one should serve a whole file.
        aspect: the width of a pixel over its height.

    Raises:
        Unreadable: the frame is too large, or too elongated for a `crop`.
    """
    turned, flip_columns, flip_rows = _display(frame)
    height, width = float(frame.height), float(frame.width)
    if aspect and Fraction(1, 10) < aspect < 10:
        width *= float(aspect)
    if turned:
        height, width = width, height
    check_size(width, height)
    rows, columns = _scaled(height, width, shape) if shape else (max(1, round(height)), max(1, round(width)))
    if turned:
        rows, columns = columns, rows
    colour = "gray" if shape and shape.channels == 1 else "rgb24"
    # A film has one colour for four pixels. Left in its size, each keeps to its four: hard edges do not bleed.
    exact = colour == "rgb24" and (rows, columns) == (frame.height, frame.width)

    def on(ground: str) -> NDArray[np.uint8]:
        scaled: NDArray[Any] = reformatter.reformat(
            _opaque(frame, ground, reformatter), columns, rows, colour, interpolation=None if exact else _SCALING
        ).to_ndarray()
        if turned:
            scaled = scaled.swapaxes(0, 1)
        scaled = scaled[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        planes = scaled[None] if scaled.ndim == 2 else scaled.transpose(2, 0, 1)
        return _place(planes, shape, ground) if shape else planes

    ground = shape.ground if shape else "white"
    return np.ascontiguousarray(np.concatenate([on("black"), on("white")]) if ground == "random" else on(ground))


def picture_frame(image: Image.Image) -> av.VideoFrame:
    """A picture as a frame, upright.

    Raises:
        Unreadable: it is too large.
    """
    check_size(image.width, image.height)
    with suppress(Exception):  # metadata that makes no sense does not turn the picture
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        return av.VideoFrame.from_ndarray(np.asarray(image.convert("RGBA")), format="rgba")
    if image.mode.startswith("I;16") or image.mode == "I":
        # 16-bit grey: Pillow would clip it at 255.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    return av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")


def check_size(width: float, height: float) -> None:
    """Refuse a frame, before there is memory for it, if it has more pixels than `MOST_PIXELS`.

    Raises:
        Unreadable: it has.
    """
    if width * height > MOST_PIXELS:
        raise Unreadable(f"its frames have {width:.0f} x {height:.0f} pixels; {MOST_PIXELS:,} are the most")


def _opaque(frame: av.VideoFrame, ground: str, reformatter: VideoReformatter) -> av.VideoFrame:
    """A frame on a ground. Before it is scaled, or colours that nobody sees would bleed into the rest."""
    if not any(component.is_alpha for component in frame.format.components):
        return frame
    pixels = reformatter.reformat(frame, format="rgba").to_ndarray()
    if pixels[..., 3].min() == 255:
        return frame
    below = Image.new("RGBA", (frame.width, frame.height), ground)
    flat = Image.alpha_composite(below, Image.fromarray(pixels)).convert("RGB")
    return av.VideoFrame.from_ndarray(np.asarray(flat), format="rgb24")


def _display(frame: Any) -> tuple[bool, bool, bool]:
    """How a player shows a frame: rows and columns changed for each other, then columns, then rows reversed.

    A display matrix sends the pixel at column x and row y to column a x + c y and row b x + d y.
    """
    angle = math.radians(frame.rotation)  # counterclockwise
    a, b, c, d = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    # PyAV does not know each kind of side data that FFmpeg does, and fails at all of them where one is unknown.
    with suppress(ValueError, KeyError, struct.error):
        a, b, _, c, d = struct.unpack_from("=5i", frame.side_data["DISPLAYMATRIX"])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _scaled(height: float, width: float, shape: Shape) -> tuple[int, int]:
    """The size to scale a frame to, before padding or cropping."""
    rows, columns = shape.inner
    if shape.fit == "stretch":
        return rows, columns
    ratios = rows / height, columns / width
    if shape.fit == "pad":
        ratio = min(ratios)
        return min(rows, max(1, round(height * ratio))), min(columns, max(1, round(width * ratio)))
    ratio = max(ratios)
    scaled = max(rows, round(height * ratio)), max(columns, round(width * ratio))
    if scaled[0] * scaled[1] > MOST_PIXELS:
        raise Unreadable(f"its frames of {width:.0f} x {height:.0f} pixels are too elongated to crop")
    return scaled


def _place(planes: NDArray[np.uint8], shape: Shape, ground: str) -> NDArray[np.uint8]:
    """Keep the centre of `[channel, height, width]`, and centre it on zeros or on a ground."""
    for axis, size in enumerate(shape.inner, 1):
        spare = planes.shape[axis] - size
        if spare > 0:
            planes = planes.take(range(spare // 2, spare // 2 + size), axis)
    if planes.shape[1:] == (shape.height, shape.width):
        return planes
    around = shape.inner != (shape.height, shape.width) or shape.ground != "white"
    placed = np.empty((shape.channels, shape.height, shape.width), np.uint8)
    placed[:] = _ground_pixel(ground, shape.channels)[:, None, None] if around else 0
    top, left = (shape.height - planes.shape[1]) // 2, (shape.width - planes.shape[2]) // 2
    placed[:, top : top + planes.shape[1], left : left + planes.shape[2]] = planes
    return placed


@cache
def _ground_pixel(ground: str, channels: int) -> NDArray[np.uint8]:
    """A ground as the scaler gives it, `[channel]`."""
    frame = av.VideoFrame.from_ndarray(np.asarray(Image.new("RGB", (16, 16), ground)), format="rgb24")
    colour = "gray" if channels == 1 else "rgb24"
    pixels: NDArray[Any] = VideoReformatter().reformat(frame, 16, 16, colour, interpolation=_SCALING).to_ndarray()
    return pixels[:1, 0] if channels == 1 else pixels[0, 0]
