"""What takes most of a training step on a CPU, in C++ (native.cpp), which is built at its first use.

A library's matrix products are made for large matrices; on some processors, batches of small ones run at a quarter of
the speed (docs/speed.md). attention.py and model.py have the same in PyTorch. That is the reference, and it computes
wherever `suits` says no: without gradients, so that drawing never waits for a compiler; on other devices; in other
types than float32; inside torch.compile; and where there is no compiler. `CXX= syncdraw train` trains without one.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from syncdraw.errors import UserError
from syncdraw.files import atomic_path

SOURCE = Path(__file__).with_name("native.cpp")
FLAGS = (
    *("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    *("-std=c++17", "-fopenmp", "-fPIC", "-shared"),
)

_wanted = True


@contextlib.contextmanager
def switched(on: bool) -> Iterator[None]:
    """Inside, `suits` says no unless `on`: to compare with PyTorch."""
    global _wanted
    before, _wanted = _wanted, on
    try:
        yield
    finally:
        _wanted = before


def suits(*tensors: Tensor) -> bool:
    """Whether these are computed with in C++."""
    return (
        _wanted
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
        and _library() is not None
    )


def share(images: Tensor, rows: Tensor, columns: Tensor) -> bool:
    """Whether images (or patches) `[*lead, *each, .., ..]` have filters `[*lead, 1.., K, ..]`, as C++ takes them."""
    lead = rows.shape[:-2]
    while lead and lead[-1] == 1:
        lead = lead[:-1]
    return rows.dim() == images.dim() and columns.shape[:-2] == rows.shape[:-2] and images.shape[: len(lead)] == lead


@functools.cache
def _library() -> ctypes.CDLL | None:
    """Built by this machine's compiler and kept in the user's cache; None where that is not possible."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    key = hashlib.sha256("\n".join([SOURCE.read_text(), compiler, *FLAGS, _processor()]).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "syncdraw"
    library = cache / f"native-{key}.so"
    try:
        if not library.exists():
            with atomic_path(library) as temporary:
                command = [compiler, *FLAGS, "-o", str(temporary), str(SOURCE)]
                subprocess.run(command, check=True, capture_output=True, timeout=300)
        return ctypes.CDLL(str(library))
    except (OSError, UserError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    """What it is called and can do: a home folder may be shared by several."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return f"{platform.machine()} {platform.processor()}"


def _call(name: str, *arguments: Tensor | int | float | ctypes.Structure | None) -> None:
    """Call a function of the library: tensors are given by their addresses."""
    given = [
        ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else ctypes.c_float(a) if isinstance(a, float) else a
        for a in arguments
    ]
    function = getattr(_library(), name)
    function.restype = None
    function(*(ctypes.byref(a) if isinstance(a, ctypes.Structure) else a for a in given))


class _Sizes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in ("count", "each", "height", "width", "grid", "threads"))


def _sizes(images: Tensor, rows: Tensor, columns: Tensor) -> _Sizes:
    count, number = rows.shape[:-2].numel(), images.shape[:-2].numel()
    return _Sizes(count, number // count, rows.shape[-1], columns.shape[-1], rows.shape[-2], torch.get_num_threads())


class Read(torch.autograd.Function):
    """F_p x F_q^T, or, where x is `drawn`, F_p sigma(x) F_q^T."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, rows: Tensor, columns: Tensor, drawn: bool = False) -> Tensor:
        images, rows, columns = images.contiguous(), rows.contiguous(), columns.contiguous()
        lead, grid = images.shape[:-2], rows.shape[-2]
        ctx.sizes, ctx.drawn = _sizes(images, rows, columns), int(drawn)
        patches, halves = images.new_empty(*lead, grid, grid), images.new_empty(*lead, grid, columns.shape[-1])
        _call("read_forward", ctx.sizes, ctx.drawn, images, rows, columns, patches, halves)
        ctx.save_for_backward(images, rows, columns, halves)
        return patches

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        images, rows, columns, halves = ctx.saved_tensors
        of_images = torch.empty_like(images) if ctx.needs_input_grad[0] else None
        of_rows, of_columns = torch.empty_like(rows), torch.empty_like(columns)
        known = images, rows, columns, halves, gradient.contiguous()
        _call("read_backward", ctx.sizes, ctx.drawn, *known, of_images, of_rows, of_columns)
        return of_images, of_rows, of_columns, None


class Write(torch.autograd.Function):
    """x + F_p^T w F_q."""

    @staticmethod
    def forward(ctx: Any, below: Tensor, patches: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        below, patches, rows, columns = (given.contiguous() for given in (below, patches, rows, columns))
        lead, (grid, height), width = patches.shape[:-2], rows.shape[-2:], columns.shape[-1]
        ctx.sizes = _sizes(patches, rows, columns)
        images, halves = patches.new_empty(*lead, height, width), patches.new_empty(*lead, grid, width)
        _call("write_forward", ctx.sizes, below, patches, rows, columns, images, halves)
        ctx.save_for_backward(patches, rows, columns, halves)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        patches, rows, columns, halves = ctx.saved_tensors
        found = torch.empty_like(patches), torch.empty_like(rows), torch.empty_like(columns)
        _call("write_backward", ctx.sizes, patches, rows, columns, halves, gradient.contiguous(), *found)
        return gradient, *found


class GaussianRows(torch.autograd.Function):
    """softmax over a = 1..length of -precision (a - mean)^2, cut to zero `tail` below its peak."""

    @staticmethod
    def forward(ctx: Any, means: Tensor, precisions: Tensor, length: int, tail: float) -> Tensor:
        means, precisions = means.contiguous(), precisions.contiguous()
        filters = means.new_empty(*means.shape, length)
        ctx.sizes = means.numel(), length, torch.get_num_threads()
        _call("filters_forward", *ctx.sizes, tail, means, precisions, filters)
        ctx.save_for_backward(means, precisions, filters)
        return filters

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        means, precisions, filters = ctx.saved_tensors
        found = torch.empty_like(means), torch.empty_like(means)
        _call("filters_backward", *ctx.sizes, means, precisions, filters, gradient.contiguous(), *found)
        return *found, None, None


class CrossEntropy(torch.autograd.Function):
    """Of logits and targets `[batch, ...]`, the sum for each of the batch."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        logits, targets = logits.contiguous(), targets.contiguous()
        costs = logits.new_empty(len(logits))
        ctx.sizes = len(logits), logits[0].numel(), torch.get_num_threads()
        _call("cost_forward", *ctx.sizes, logits, targets, costs)
        ctx.save_for_backward(logits, targets)
        return costs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, targets = ctx.saved_tensors
        of_logits = torch.empty_like(logits)
        _call("cost_backward", *ctx.sizes, logits, targets, gradient.contiguous(), of_logits)
        return of_logits, None
