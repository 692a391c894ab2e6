"""Which frames of a sequence make a clip, and how a clip for training is varied.

A sequence of many frames gives as many clips as windows fit into it. For evaluation, and wherever the same clip is
asked for again, each clip is a window of its own share of the sequence. For training, each epoch draws the windows
anew: then few files are as many clips as they have frames.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from syncdraw.datasets.prepared import ClipConfig

ROUTES: dict[str, tuple[int, int]] = {
    "": (0, 0),
    "moving left to right": (0, 1),
    "moving right to left": (0, -1),
    "moving down": (1, 0),
    "moving up": (-1, 0),
}
"""Which ways a picture crosses a frame, as captions say it: down, and to the right. It stays where nothing is said."""

_SIDE = re.compile(r"\b(left|right)(?=(?:wards?|most|hand(?:ed)?)?\b)", re.IGNORECASE)
_TURN = re.compile(r"clockwise", re.IGNORECASE)  # also counterclockwise and anticlockwise


def choose_frames(
    length: int, number: int, config: ClipConfig, random: np.random.Generator, anywhere: bool = False
) -> NDArray[np.int64]:
    """The frames of one clip.

    Args:
        length: frames of the sequence; `config.least_frames` or more.
        number: which of its `config.clips_in(length)` clips.
        config: how frames are chosen.
        random: decides on all that is left to chance.
        anywhere: windows of neighbours may begin at any frame, and have any of the strides that fit. The clips of a
            sequence then begin in order, each in its own equal part of all the places where a window can begin, so that
            together they cover it evenly. Otherwise each clip lies in its own equal share of the frames, and no two
            have a frame in common.

    Returns:
        their numbers, the sequence's first frame being 0, `[config.frames]`.
    """
    clips = config.clips_in(length)
    steps = np.arange(config.frames, dtype=np.int64)
    if anywhere and config.choice == "neighbours":
        strides = range(config.stride, max(config.stride, config.largest_stride) + 1)
        fitting = [stride for stride in strides if config.loop or (config.frames - 1) * stride < length]
        stride = fitting[random.integers(len(fitting))]
        places = length if config.loop else length - (config.frames - 1) * stride
        begin = min(int(places * (number + random.random()) / clips), places - 1)
        return (begin + stride * steps) % length
    first, last = length * number // clips, length * (number + 1) // clips
    if config.choice == "spread":
        return np.linspace(first, last - 1, config.frames).round().astype(np.int64)
    if config.choice == "random":
        return np.sort(first + random.choice(last - first, config.frames, replace=False)).astype(np.int64)
    # A loop may be shorter than a window, and then goes round.
    begin = int(random.integers(first, max(first, last - config.span), endpoint=True))
    return (begin + config.stride * steps) % length


@dataclass(frozen=True)
class Window:
    """What is shown of a sequence in one clip.

    Attributes:
        frames: their numbers, the sequence's first frame being 0, `[frame]`.
        mirrored: left and right are exchanged, in the picture and in the caption.
        shift: pixels by which the picture is moved down, and to the right; its edge is repeated behind it.
        brightness: by which each value is multiplied.
        route: one of `ROUTES`, on which the picture crosses the frame, once, at an even speed.
        room: pixels above and below the picture, and at its sides, in which it may move.
        ground: of frames that are stored on black and on white, the colour that they lie on, a value for each channel.
    """

    frames: NDArray[np.int64]
    mirrored: bool = False
    shift: tuple[int, int] = (0, 0)
    brightness: float = 1.0
    route: str = ""
    room: tuple[int, int] = (0, 0)
    ground: tuple[int, ...] | None = None

    def show(self, video: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The clip, given its frames as they are stored: both uint8 `[frame, channel, height, width]`."""
        if self.ground is not None:
            video = on_ground(video, self.ground)
        if self.mirrored:
            video = video[..., ::-1]
        if self.shift != (0, 0) or self.route:
            offsets = np.linspace(-1, 1, len(video))[:, None] * ROUTES[self.route] * self.room
            moved = (self.shift + offsets.round().astype(np.int64))[..., None]  # [frame, axis, 1]
            rows, columns = (
                np.clip(np.arange(size) - moved[:, axis], 0, size - 1) for axis, size in enumerate(video.shape[2:])
            )
            frame, channel = np.ogrid[: video.shape[0], : video.shape[1]]
            video = video[
                frame[..., None, None], channel[..., None, None], rows[:, None, :, None], columns[:, None, None]
            ]
        if self.brightness != 1:
            video = np.clip(np.rint(video * self.brightness), 0, 255).astype(np.uint8)
        return video

    def caption(self, caption: str) -> str:
        """A caption of the sequence, as it is true of this clip."""
        caption = exchange_sides(caption) if self.mirrored else caption
        return with_route(caption, self.route)


def vary(frames: NDArray[np.int64], captions: list[str], config: ClipConfig, random: np.random.Generator) -> Window:
    """A window of these frames, mirrored, moved and brightened as `config` allows and chance decides.

    Args:
        captions: of the sequence; they decide whether it may be mirrored.
    """
    mirrored = bool(random.integers(2)) and may_be_mirrored(captions, config)
    down, right = random.integers(-config.shift, config.shift, 2, endpoint=True).tolist()
    brightness = 1 + config.brightness * random.uniform(-1, 1)
    ground = tuple(random.integers(0, 256, config.channels).tolist()) if config.ground == "random" else None
    return Window(frames, mirrored, (down, right), brightness, choose_route(config, random), config.room, ground)


def plain_window(frames: NDArray[np.int64], config: ClipConfig, random: np.random.Generator) -> Window:
    """A window of these frames, as they are; where their ground is random, on white.

    Args:
        random: decides on which way the picture crosses the frame, where it does.
    """
    ground = (255,) * config.channels if config.ground == "random" else None
    return Window(frames, route=choose_route(config, random), room=config.room, ground=ground)


def choose_route(config: ClipConfig, random: np.random.Generator) -> str:
    """One of `ROUTES`, where pictures are smaller than the frame; else they stay."""
    return list(ROUTES)[random.integers(len(ROUTES))] if config.travel else ""


def with_route(caption: str, route: str) -> str:
    """A caption that says, too, which way the picture crosses the frame."""
    return f"{caption.rstrip(' .')}, {route}" if caption and route else caption


def on_ground(stored: NDArray[np.uint8], ground: tuple[int, ...]) -> NDArray[np.uint8]:
    """Frames on a ground of one colour.

    What a ground adds to a transparent pixel grows evenly from black to white.

    Args:
        stored: `[frame, 2 * channel, height, width]`, on black and then on white.
        ground: a value from 0 to 255 for each channel.

    Returns:
        `[frame, channel, height, width]`.
    """
    on_black, on_white = np.split(stored.astype(np.int32), 2, axis=1)
    added = (on_white - on_black) * np.array(ground, np.int32)[:, None, None]
    return np.clip(on_black + (added + 127) // 255, 0, 255).astype(np.uint8)


def may_be_mirrored(captions: list[str], config: ClipConfig) -> bool:
    """Whether a sequence's captions can be made true of its mirror image, in the way that `config.mirror` says."""
    if config.mirror == "never" or any(_TURN.search(caption) for caption in captions):
        return False
    return config.mirror == "exchanged" or not any(_SIDE.search(caption) for caption in captions)


def exchange_sides(caption: str) -> str:
    """The caption with the English words 'left' and 'right' exchanged; leftward and right-handed too, bright not."""

    def other(match: re.Match[str]) -> str:
        side = match[0]
        opposite = "right" if side.lower() == "left" else "left"
        return opposite.upper() if side.isupper() else opposite.capitalize() if side[0].isupper() else opposite

    return _SIDE.sub(other, caption)
