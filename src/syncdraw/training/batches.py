"""The clips and the noise of each step, made ahead of the model by threads.

Both are functions of the seed and the step alone, so a resumed run goes on exactly as if it had not stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from syncdraw.datasets.clips import Dataset
from syncdraw.datasets.prepared import streamed
from syncdraw.training.processes import Processes


class Prepares(Protocol):
    """What this file needs of a model."""

    def prepare(
        self,
        videos: NDArray[np.uint8],
        captions: Sequence[str] | None,
        seed: int,
        length: int = 0,
        skip: int = 0,
    ) -> Any: ...


class Batches:
    """Endless batches over a data set.

    Args:
        model: turns clips into tensors.
        dataset: of clips. batch_size: clips a step, over all processes. seed: of their order, and of the noise.
        length: to which captions are padded.
    """

    def __init__(
        self, model: Prepares, dataset: Dataset, batch_size: int, seed: int, processes: Processes, length: int = 0
    ) -> None:
        self.model, self.dataset, self.batch_size, self.seed = model, dataset, batch_size, seed
        self.processes, self.length = processes, length
        # On a GPU a step takes a few milliseconds, less than one thread needs for its clips.
        self.threads = max(1, min(8, (os.cpu_count() or 1) // 2)) if processes.device.type == "cuda" else 1

    def at(self, step: int) -> Any:
        """The batch of a step, this process's share of it."""
        share = self.processes.share(self.batch_size)
        clips = streamed(self.dataset, step * self.batch_size, self.batch_size, self.seed, share)
        noise = mix(self.seed, step)
        batch = self.model.prepare(clips.videos, clips.captions, noise, self.length, share.start)
        return mapped(batch, Tensor.pin_memory) if self.processes.device.type == "cuda" else batch

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """Steps from `first` up to `last` with their batches."""
        waiting: deque[Future[Any]] = deque()
        following = iter(range(first, last))
        with ThreadPoolExecutor(max_workers=self.threads) as pool:
            for step in range(first, last):
                while len(waiting) < 2 * self.threads and (next_step := next(following, None)) is not None:
                    waiting.append(pool.submit(self.at, next_step))
                yield step, waiting.popleft().result()


def mapped(batch: Any, function: Any) -> Any:
    """A batch, a tuple of tensors and tuples, with a function applied to each tensor."""
    if batch is None:
        return None
    if isinstance(batch, Tensor):
        return function(batch)
    parts = [mapped(part, function) for part in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)


def parts_of(batch: Any, count: int) -> list[Any]:
    """A batch in so many equal parts, clip after clip."""
    return [mapped(batch, lambda tensor, part=part: tensor.chunk(count)[part]) for part in range(count)]


def tensors_in(batch: Any) -> list[Tensor]:
    """The tensors of a batch, in order."""
    found: list[Tensor] = []
    mapped(batch, found.append)
    return found


def mix(*numbers: int) -> int:
    """One seed from several numbers; neighbours give unrelated streams."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "big")
