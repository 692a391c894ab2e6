"""What jaxtyping is told to check calls with: beartype, which looks at each kind of call once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from beartype import beartype
from torch import nn

_SIZED = (torch.Tensor, nn.Parameter, np.ndarray)  # and no classes made of them, whose shapes may be unknown
_NAMED = (type(None), bool, int, str)


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`beartype`, which is not asked again about a call that looks like one that it has found right.

    Jaxtyping hands over functions of arguments, and of arguments and a result, that do nothing but be checked. What
    beartype and jaxtyping say of a call depends on nothing that `_looks` leaves out, and tiny models make the same few
    calls many thousand times.
    """
    checked = beartype(function)
    right: set[Hashable] = set()

    @functools.wraps(function)
    def check(*arguments: Any, **named: Any) -> None:
        try:
            call = (*map(_looks, arguments), *named, *map(_looks, named.values()))
        except _UnknownError:
            checked(*arguments, **named)
            return
        if call not in right:
            checked(*arguments, **named)
            right.add(call)

    return check


class _UnknownError(Exception):
    """More must be known of a value than its type, and is not."""


def _looks(value: Any) -> Hashable:
    """Types, types of numbers, shapes, and what names something, down to the last part of a tuple."""
    kind = type(value)
    if kind in _SIZED:
        return kind, value.dtype, value.shape
    if kind in _NAMED:
        return kind, value
    if isinstance(value, tuple):
        return (kind, *map(_looks, value))
    if isinstance(value, type) or hasattr(kind, "shape") or hasattr(kind, "__getitem__") or hasattr(kind, "__next__"):
        raise _UnknownError
    return kind
