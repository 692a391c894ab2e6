"""What measuring sees of a model. Any model that has these methods can be measured, whatever it is inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from syncdraw.config import Protocol as Pixels


class Bounds(Protocol):
    """L_X `[batch]`, and L_Z `[batch]` and `[batch, step]`, of a batch, nats."""

    @property
    def reconstruction(self) -> Tensor: ...
    @property
    def divergence(self) -> Tensor: ...
    @property
    def divergence_by_step(self) -> Tensor: ...


class Sharing(Protocol):
    """Several processes that measure a model together, such as `training.processes.Processes`."""

    def part(self, count: int) -> slice:
        """Which of so many clips are this process's; there may be none."""

    def collect(self, items: list[Any]) -> list[Any]:
        """The items of all processes, in the order of the clips."""


class Alone:
    """One process that measures everything."""

    def part(self, count: int) -> slice:
        """All of them."""
        return slice(0, count)

    def collect(self, items: list[Any]) -> list[Any]:
        """The same."""
        return items


ALONE = Alone()


class BoundedModel(Protocol):
    """What a bound needs: `SyncDraw.prepare` and `SyncDraw.bound` say what they take."""

    def prepare(self, videos: Any, captions: Any, seed: Any) -> Any: ...
    def bound(self, batch: Any, protocol: Pixels | None = None) -> Bounds: ...


class DrawingModel(Protocol):
    """What measuring samples needs: `SyncDraw.generate` says what it takes."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def captioned(self) -> bool: ...
    def generate(self, what: int | Sequence[str], *, seed: Any = 0, temperature: float = 1.0) -> Tensor: ...
    def noise(self, which: Any, seed: int = 0) -> Any: ...


def drawn(model: DrawingModel, what: int | Sequence[str], seed: int, part: slice, temperature: float = 1.0) -> Tensor:
    """Some of the videos that `model.generate` draws under a seed, one or more, and no others."""
    generator: int | torch.Generator = seed
    if part.start:
        generator = torch.Generator().manual_seed(seed)
        model.noise([generator] * part.start)  # that of those before
    some = part.stop - part.start if isinstance(what, int) else what[part]
    return model.generate(some, seed=generator, temperature=temperature)
