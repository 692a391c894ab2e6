"""Which clips are cut from a file: count its frames, choose some of them, decode the file again, and fit those."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.sources import Problem, Source
from syncdraw.video import Damaged, decode, frame_files, open_file, reading


class TooShort(Exception):
    """A file with fewer frames than a clip needs; the message gives both numbers."""


@dataclass(frozen=True)
class DecodedClip:
    """One clip.

    Attributes:
        video: uint8 `[frame, channel, height, width]`.
        frames: the numbers of its frames in the file, the first being 0.
        measured: what the pixels said about it, appended to its captions.
    """

    video: NDArray[np.uint8]
    frames: list[int]
    measured: str = ""


def content_hash(path: Path) -> str:
    """BLAKE2b of a file's bytes, or of the names and bytes of a folder's frames, 32 hexadecimal digits.

    Raises:
        Unreadable: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with reading():
        for part in frame_files(path) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(part.name.encode("utf-8", "surrogateescape") + b"\0")
            with open_file(part) as file:
                digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()


def choose_frames(start: int, stop: int, config: ClipConfig, seed: Sequence[int]) -> list[NDArray[np.int64]]:
    """The frame numbers of each clip that is cut from frames `start` to `stop` (exclusive) of a file.

    Raises:
        TooShort: there are not enough frames for one clip.
    """
    total = stop - start
    if total < config.span:
        at_stride = f" ({config.frames} at a stride of {config.stride})" if config.stride > 1 else ""
        raise TooShort(f"it has {_counted(total, 'frame')}, a clip needs {config.span}{at_stride}")
    random = np.random.default_rng(list(seed))
    fitting = total // config.span
    clips = fitting if config.clips_per_file == 0 else min(fitting, config.clips_per_file)
    chosen = []
    for clip in range(clips):
        first, last = total * clip // clips, total * (clip + 1) // clips
        if config.choice == "neighbours":
            begin = random.integers(first, last - config.span, endpoint=True)
            frames = begin + config.stride * np.arange(config.frames, dtype=np.float64)
        elif config.choice == "spread":
            frames = np.linspace(first, last - 1, config.frames).round()
        else:
            frames = np.sort(first + random.choice(last - first, config.frames, replace=False))
        chosen.append(frames.astype(np.int64) + start)
    return chosen


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def read_clips(source: Source, config: ClipConfig, seed: Sequence[int]) -> Iterator[DecodedClip | Problem]:
    """The clips of one file or folder of frames, as `config` asks for them, and what is to be said about them.

    Raises:
        Unreadable: nothing of the file can be decoded.
        TooShort: fewer frames can be decoded than a clip needs.
    """
    # Twice: which frames are chosen depends on how many there are, and nothing but decoding them tells that.
    total, damage = count_frames(source.path)
    yield from gather(source.path, config, choose_frames(0, total, config, seed))
    if damage:
        yield Problem(source.name, f"damaged ({damage})", "used as far as it goes")


def gather(path: Path, config: ClipConfig, chosen: list[NDArray[np.int64]]) -> Iterator[DecodedClip]:
    """The clips with these frame numbers. Decodes the file once, up to the last frame that is needed.

    A clip is given as soon as it is whole; one whose frames do not all decode is not given.

    Raises:
        Unreadable: the file cannot be opened.
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for clip, frames in enumerate(chosen):
        for position, number in enumerate(frames.tolist()):
            places.setdefault(number, []).append((clip, position))
    videos: dict[int, NDArray[np.uint8]] = {}
    missing = [config.frames] * len(chosen)
    with closing(read_frames(path, config, places)) as frames_of_file:
        for number, image in frames_of_file:
            if image is None:
                continue
            for clip, position in places.pop(number):
                videos.setdefault(clip, np.empty(config.shape, np.uint8))[position] = image
                missing[clip] -= 1
                if missing[clip] == 0:
                    yield DecodedClip(videos.pop(clip), chosen[clip].tolist())
            if not places:
                return


def count_frames(path: Path) -> tuple[int, str]:
    """How many frames of a file or folder decode, and how it is damaged, or an empty string.

    A picture in a folder counts without being decoded.

    Raises:
        Unreadable: no frame of the file can be decoded.
    """
    total = 0
    try:
        for total, _ in enumerate(decode(path), 1):  # noqa: B007 (it is counted)
            pass
    except Damaged as error:
        return total, str(error)
    return total, ""


def read_frames(
    path: Path, config: ClipConfig, wanted: Collection[int] | None = None
) -> Generator[tuple[int, NDArray[np.uint8] | None]]:
    """The frames of a file or folder in order, as far as they decode, each with its number from 0.

    Args:
        path: a video or a folder of pictures.
        config: its size, colours and `fit`.
        wanted: the numbers of the frames to convert; None for all. The others are decoded, because later ones depend
            on them, and given as None.

    Yields:
        the number and the frame, uint8 `[channel, height, width]`.

    Raises:
        Unreadable: the file cannot be opened, or a picture of a folder cannot be read.
    """
    with suppress(Damaged), closing(decode(path)) as frames:
        for number, frame in enumerate(frames):
            yield number, frame.pixels(config) if wanted is None or number in wanted else None
