"""Where torch computes."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Literal

from syncdraw.errors import UserError

Device = Literal["auto", "cpu", "cuda", "mps"]


def start_torch(device: Device = "auto") -> str:
    """Make torch ready for a program of ours, and give the device to compute on.

    Raises:
        UserError: the device is not there.
    """
    import torch

    # Denormal numbers are 100 times slower than others; this reaches only threads that start later.
    torch.set_flush_denormal(True)
    keep_freed_memory()
    if device == "auto":
        return fastest()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {device} cannot be used here ({reason}); cpu always can") from None
    return device


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, where it is the C library, for what is made next.

    A training step frees and makes a hundred arrays of the size of its clips. Given back to the system each time, they
    are handed out anew page by page, each filled with zeros first. A process stays as large as it has once been. At its
    largest it was no larger (`ours`, 300 steps of 20 clips: 0.97 GB, and 1.10 GB without this).
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        set_option(-3, 1 << 30)  # M_MMAP_THRESHOLD: from the heap up to this size, bytes
        set_option(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: what may stay free at the heap's end


def fastest() -> str:
    """The fastest device that there is: cuda, mps or cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
