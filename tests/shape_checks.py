"""Calls into the model's modules are held to their annotations by jaxtyping and beartype, each kind of call once.

Tiny models make the same few calls many thousand times, and checking takes longer than computing.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Hashable, Iterable
from types import FunctionType
from typing import Any

import jaxtyping
import numpy as np
import torch
from torch import nn

_SIZED = (torch.Tensor, nn.Parameter, np.ndarray)  # and no classes made of them, whose shapes may be unknown
_NAMED = (type(None), bool, int, str)
_jaxtyped = jaxtyping.jaxtyped


def install(modules: Iterable[str]) -> None:
    """Before they are imported. Jaxtyping's hook puts `jaxtyping.jaxtyped` before all that they define."""
    jaxtyping.jaxtyped = remembering  # type: ignore[assignment]
    jaxtyping.install_import_hook(list(modules), "beartype.beartype")


def remembering(*, typechecker: Any) -> Callable[[Any], Any]:
    """`jaxtyped`, which does not look again at a call that looks like one that it has found right, result and all.

    What it finds depends on nothing that `_looks` leaves out.
    """
    decorate = _jaxtyped(typechecker=typechecker)

    def decorated(function: Any) -> Any:
        checked = decorate(function)
        if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
            return checked
        held = threading.local()

        def give(*_: Any, **__: Any) -> Any:
            return held.result

        same = FunctionType(give.__code__, function.__globals__, closure=give.__closure__)
        checked_given = decorate(functools.update_wrapper(same, function))
        right: dict[Hashable, set[Hashable]] = {}

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                asked = (*map(_looks, arguments), *named, *map(_looks, named.values()))
            except _UnknownError:
                return checked(*arguments, **named)
            results = right.get(asked)
            if results is None:  # what is wrong with arguments is said before anything is computed
                result = checked(*arguments, **named)
                right[asked] = set()
                return result
            result = function(*arguments, **named)
            try:
                answer = _looks(result)
            except _UnknownError:
                answer = None
            if answer is None or answer not in results:
                held.result = result
                try:
                    checked_given(*arguments, **named)
                finally:
                    del held.result
                if answer is not None:
                    results.add(answer)
            return result

        return call

    return decorated


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
