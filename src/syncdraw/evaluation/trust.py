"""Files that can do whatever a program can: whether one may be opened is asked before anything takes time."""

from __future__ import annotations

import sys
from pathlib import Path

from syncdraw.errors import UserError


def ask_for_trust(i3d: Path) -> None:
    """Ask whether a file of TorchScript may be run.

    Raises:
        UserError: it may not, or there is nobody to ask.
    """
    warning = f"--i3d {i3d} is a program, and can do whatever you can: read, send and delete files, say"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"{warning}; where you trust whoever made it, add --trust_i3d")
    print(f"{warning}. Do you trust whoever made it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError(f"--i3d {i3d} is not trusted, and was not opened")
