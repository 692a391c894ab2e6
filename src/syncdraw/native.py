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
    _fields_ = (
        *((name, ctypes.c_int) for name in ("count", "each", "height", "width", "grid", "threads")),
        ("tail", ctypes.c_float),
    )


def _sizes(images: Tensor, windows: Tensor, grid: int, tail: float) -> _Sizes:
    count, (height, width) = windows[0].numel(), images.shape[-2:]
    each = images.shape[:-2].numel() // count
    return _Sizes(count, each, height, width, grid, torch.get_num_threads(), tail)


class Read(torch.autograd.Function):
    """F_p x F_q^T of images, and F_p sigma(x) F_q^T of logits: both, or one and None.

    Windows are `[4, *lead]`, the centres of rows and of columns, the stride and the variance; images and logits
    `[*lead, *each, height, width]`.
    """

    @staticmethod
    def forward(
        ctx: Any, images: Tensor | None, logits: Tensor | None, windows: Tensor, grid: int, tail: float
    ) -> tuple[Tensor | None, Tensor | None]:
        images, logits = (None if given is None else given.contiguous() for given in (images, logits))
        windows, some = windows.contiguous(), logits if images is None else images
        assert some is not None
        lead, width = some.shape[:-2], some.shape[-1]
        ctx.sizes = _sizes(some, windows, grid, tail)
        patches, halves = (
            [None if given is None else windows.new_empty(*lead, grid, size) for given in (images, logits)]
            for size in (grid, width)
        )
        _call("read_forward", ctx.sizes, windows, images, logits, patches[0], halves[0], patches[1], halves[1])
        ctx.save_for_backward(windows, images, logits, *halves)
        return patches[0], patches[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor, None, None]:
        windows, images, logits, *halves = ctx.saved_tensors
        of_patches = (None if gradient is None else gradient.contiguous() for gradient in gradients)
        of_images = torch.empty_like(images) if ctx.needs_input_grad[0] else None
        of_logits = torch.empty_like(logits) if ctx.needs_input_grad[1] else None
        of_windows = torch.empty_like(windows)
        found = of_images, of_logits, of_windows
        _call("read_backward", ctx.sizes, windows, images, logits, *halves, *of_patches, *found)
        return *found, None, None


class Write(torch.autograd.Function):
    """x + F_p^T w F_q, through windows as `Read` takes them."""

    @staticmethod
    def forward(ctx: Any, below: Tensor, patches: Tensor, windows: Tensor, tail: float) -> Tensor:
        below, patches, windows = (given.contiguous() for given in (below, patches, windows))
        grid = patches.shape[-1]
        ctx.sizes = _sizes(below, windows, grid, tail)
        images, halves = torch.empty_like(below), below.new_empty(*below.shape[:-2], grid, below.shape[-1])
        _call("write_forward", ctx.sizes, windows, below, patches, images, halves)
        ctx.save_for_backward(windows, patches, halves)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        windows, patches, halves = ctx.saved_tensors
        of_patches, of_windows = torch.empty_like(patches), torch.empty_like(windows)
        _call("write_backward", ctx.sizes, windows, patches, halves, gradient.contiguous(), of_patches, of_windows)
        return gradient, of_patches, of_windows, None


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
