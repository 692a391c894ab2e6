"""How a frame of any size and format becomes a frame of the clip: scaled in one step, then padded or cropped."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageOps

from syncdraw.datasets.prepared import ClipConfig

# A header can promise more pixels than there is memory for; no video of this size is meant for training.
MOST_PIXELS = 1 << 26

# SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND: without the last two, white comes out as 253 and greys up to two
# levels too dark.
_SCALING = 0x4 | 0x2000 | 0x40000


class Unreadable(Exception):
    """A file that cannot be decoded; the message says why."""


def fit_frame(
    frame: av.VideoFrame, reformatter: VideoReformatter, aspect: Fraction | None, config: ClipConfig
) -> NDArray[np.uint8]:
    """Scale and recolour in one step, upright and with square pixels as a player shows the frame."""
    height, width = float(frame.height), float(frame.width)
    if aspect and Fraction(1, 10) < aspect < 10:
        width *= float(aspect)
    quarters = round(frame.rotation / 90) % 4
    if quarters % 2:
        width, height = _scaled(width, height, config)
    else:
        height, width = _scaled(height, width, config)
    scaled = reformatter.reformat(
        frame, width=int(width), height=int(height), format="gray" if config.channels == 1 else "rgb24",
        interpolation=_SCALING,
    )  # fmt: skip
    return _place(np.rot90(scaled.to_ndarray(), quarters), config)


def fit_picture(image: Image.Image, config: ClipConfig) -> NDArray[np.uint8]:
    """One still picture, uint8 `[channel, height, width]`; what is transparent in it becomes white, as on a page.

    Raises:
        Unreadable: the picture is larger than any that is meant for training.
    """
    if image.width * image.height > MOST_PIXELS:
        raise Unreadable(f"its frames have {image.width} x {image.height} pixels")
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if upright.mode.startswith("I;16") or upright.mode == "I":
        # 16-bit grey: Pillow would clip it at 255.
        upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
    plain = upright.convert("L" if config.channels == 1 else "RGB")
    height, width = _scaled(plain.height, plain.width, config)
    return _place(np.asarray(plain.resize((width, height), Image.Resampling.BICUBIC)), config)


def _scaled(height: float, width: float, config: ClipConfig) -> tuple[int, int]:
    """The size to scale a frame to, before padding or cropping."""
    if config.fit == "stretch":
        return config.height, config.width
    ratios = config.height / height, config.width / width
    if config.fit == "pad":
        ratio = min(ratios)
        scaled = min(config.height, max(1, round(height * ratio))), min(config.width, max(1, round(width * ratio)))
    else:
        ratio = max(ratios)
        scaled = max(config.height, round(height * ratio)), max(config.width, round(width * ratio))
    if scaled[0] * scaled[1] > MOST_PIXELS:
        raise Unreadable(f"its frames of {width:.0f} x {height:.0f} pixels are too elongated to crop")
    return scaled


def _place(image: NDArray[np.uint8], config: ClipConfig) -> NDArray[np.uint8]:
    """Centre an image `[height, width(, 3)]` on zeros, or keep its centre; `[channel, height, width]`."""
    planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    for axis, size in ((1, config.height), (2, config.width)):
        spare = size - planes.shape[axis]
        if spare > 0:
            before = spare // 2
            planes = np.pad(planes, [(before, spare - before) if a == axis else (0, 0) for a in range(3)])
        elif spare < 0:
            planes = planes.take(range(-spare // 2, -spare // 2 + size), axis)
    return np.ascontiguousarray(planes)
