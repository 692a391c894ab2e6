"""What every data set hands out, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clips:
    """A batch of clips as they lie on disk.

    Attributes:
        videos: uint8 `[batch, frame, channel, height, width]`, 0 to 255.
        captions: one caption a clip, or None where the data set has none.
    """

    videos: NDArray[np.uint8]
    captions: list[str] | None

    def __len__(self) -> int:
        return len(self.videos)


@runtime_checkable  # for the type checks in the tests
class Dataset(Protocol):
    """A data set: so many clips, each fetched by its number."""

    def __len__(self) -> int:
        """The number of clips; 0 for an endless data set, whose clips are numbered without end."""
        ...

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of every clip."""
        ...

    def take(self, indices: NDArray[np.int64]) -> Clips:
        """The clips with these numbers, in this order. The same number always gives the same clip."""
        ...

    def wordings(self) -> list[str]:
        """Captions that hold every word that any split's captions may hold."""
        ...


def shuffled(length: int, start: int, count: int, seed: int) -> NDArray[np.int64]:
    """Clip numbers `start` to `start + count` of the endless shuffled stream over a data set of `length` clips.

    Each epoch is a fresh permutation. The result depends on the arguments alone, so a run that is resumed needs to
    remember only how many clips it has seen. A length of 0 (an endless data set) is not shuffled.
    """
    positions = np.arange(start, start + count, dtype=np.int64)
    if length == 0:
        return positions
    epochs, offsets = np.divmod(positions, length)
    result = np.empty(count, dtype=np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1) if count else ():
        inside = epochs == epoch
        result[inside] = np.random.default_rng((seed, epoch)).permutation(length)[offsets[inside]]
    return result


def spread(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` clip numbers from all over a data set of `length` clips; the first ones of an endless one.

    Neighbouring clips of a film look alike, so the first clips of a data set say little about it.
    """
    if length == 0:
        return np.arange(count, dtype=np.int64)
    return np.linspace(0, length - 1, min(count, length)).astype(np.int64)
