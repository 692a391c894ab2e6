"""Keeps a few videos from drowning the gradient of all others.

Where digits overlap, what an early drawing step gets wrong grows from step to step on the way back. Of two digits, 5 of
100 clips so make up two thirds of the gradient's squared norm, and the clipping of the whole gradient scales down what
the other 95 say together with them. So each video's part is held to what is usual in its batch, wherever it passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

PLACES = (
    "inference.read_parameters", "inference.lstm", "inference.posterior",
    "generator.lstm", "generator.write_parameters", "generator.content",
)  # fmt: skip
"""The layers of `SyncDraw` behind whose outputs gradients are held: what a drawing step does, and what the next one
starts from."""

Gather = Callable[[Tensor], Tensor]


class _Limit(torch.autograd.Function):
    """Nothing on the way forward. On the way back no row is longer than `ratio` times the rows' median length."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ratio: float, gather: Gather) -> Tensor:
        ctx.ratio, ctx.gather = ratio, gather
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        length = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        limit = ctx.ratio * ctx.gather(length).median()
        return gradient * (limit / length.clamp(min=1e-20)).clamp(max=1), None, None


def _alone(lengths: Tensor) -> Tensor:
    return lengths


def limited(
    rows: Float[Tensor, "batch number"], ratio: float, gather: Gather = _alone
) -> Float[Tensor, "batch number"]:
    """The same rows; the gradient of none of them is longer than `ratio` times the median of all."""
    found: Tensor = _Limit.apply(rows, ratio, gather) if rows.requires_grad else rows  # type: ignore[no-untyped-call]
    return found


def hold_gradients(model: nn.Module, ratio: float, gather: Gather = _alone) -> None:
    """From now on hold each video's gradient, behind each layer in `PLACES` and at every drawing step, to `ratio` times
    the median of its batch.

    Args:
        gather: gives, for the lengths of a part of the batch, those of the whole batch: several processes share it.
    """

    def hook(_module: nn.Module, _inputs: Any, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        if isinstance(output, Tensor):
            return limited(output, ratio, gather)
        return tuple(limited(part, ratio, gather) for part in output)

    for place in PLACES:
        model.get_submodule(place).register_forward_hook(hook)
