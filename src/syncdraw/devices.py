"""Where torch computes."""

from __future__ import annotations

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
    if device == "auto":
        return fastest()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {device} cannot be used here ({reason}); cpu always can") from None
    return device


def fastest() -> str:
    """The fastest device that there is: cuda, mps or cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
