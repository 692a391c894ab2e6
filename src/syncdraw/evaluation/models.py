"""What measuring sees of a model. Any model that has these methods can be measured, whatever it is inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

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


class BoundedModel(Protocol):
    """What a bound needs: `SyncDraw.prepare` and `SyncDraw.bound` say what they take."""

    def prepare(self, videos: Any, captions: Any, generator: Any) -> Any: ...
    def bound(self, batch: Any, protocol: Pixels | None = None) -> Bounds: ...


class DrawingModel(Protocol):
    """What measuring samples needs: `SyncDraw.generate` says what it takes."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def captioned(self) -> bool: ...
    def generate(self, what: int | Sequence[str], *, seed: int = 0, temperature: float = 1.0) -> Tensor: ...
