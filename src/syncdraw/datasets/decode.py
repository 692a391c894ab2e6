"""From a file to the sequence of its frames, each in the size and colours that are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.sources import Problem, Source
from syncdraw.video import Damaged, decode, frame_files, open_file, reading


@dataclass(frozen=True)
class DecodedSequence:
    """Frames that follow each other in a file.

    Attributes:
        frames: uint8 `[channel, height, width]` each. They may be decoded only as they are asked for, which must be
            before the next sequence is.
        first: the number of the first of them in the file, that of the file being 0.
        measured: what the pixels said about them, appended to their captions.
    """

    frames: Iterable[NDArray[np.uint8]]
    first: int = 0
    measured: str = ""


def content_hash(path: Path, parts: Sequence[Path] = ()) -> str:
    """BLAKE2b of a file's bytes, or of the names and bytes of its parts or a folder's frames, 32 hexadecimal digits.

    Raises:
        Unreadable: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with reading():
        several = bool(parts) or path.is_dir()
        for part in (parts or frame_files(path)) if several else [path]:
            if several:
                digest.update(part.name.encode("utf-8", "surrogateescape") + b"\0")
            with open_file(part) as file:
                digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()


def missing_frames(length: int, config: ClipConfig) -> str:
    """What is to be said of a sequence of so many frames: how many a clip lacks, or nothing if there are enough."""
    missing = config.least_frames - length
    if missing <= 0:
        return ""
    strided = config.stride > 1 and not config.loop
    needed = f"{config.least_frames}{f' ({config.frames} at a stride of {config.stride})' if strided else ''}"
    has = f"{length} frame" if length == 1 else f"{length} frames"
    return f"too short (it has {has}, a clip needs {needed}: {missing} {'is' if missing == 1 else 'are'} missing)"


def read_sequence(source: Source, config: ClipConfig) -> Iterator[DecodedSequence | Problem]:
    """All frames of one file or folder of frames, as far as they decode, and what is to be said about them.

    Raises:
        Unreadable: nothing of the file can be decoded, or a picture of a folder cannot.
    """
    damage: list[str] = []

    def frames() -> Iterator[NDArray[np.uint8]]:
        try:
            with closing(decode(source.path)) as decoded:
                for frame in decoded:
                    yield frame.pixels(config)
        except Damaged as error:
            damage.append(str(error))

    yield DecodedSequence(frames())
    if damage:
        yield Problem(source.name, f"damaged ({damage[0]})", "used as far as it goes")


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
