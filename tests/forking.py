"""Functions in processes of their own, which check no shapes and have computed nothing yet.

Each is forked from one process that has imported torch and the package, once for all tests: importing takes seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    ["torch._dynamo", "syncdraw.training", "syncdraw.datasets.preparing", "hypothesis", "pytest"]
)


class Ended(NamedTuple):
    """How a process ended, and what it said; as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


class Forked:
    """A process that calls a function of a module, and ends with what that returns as its exit status.

    Args:
        function: with the `arguments`; all of them can be pickled.
    """

    def __init__(self, function: Callable[..., int | None], *arguments: Any) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        self.process: ForkServerProcess = _FORKED.Process(target=_call, args=(function, arguments, self._said))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def end(self, timeout: float) -> Ended:
        """Wait until it has ended.

        Args:
            timeout: seconds after which it is killed, and the test fails.
        """
        self.process.join(timeout)
        late = self.process.is_alive()
        self.process.kill()
        self.process.join()
        said = [path.read_text() if path.exists() else "" for path in self._said]
        self._folder.cleanup()
        assert not late, f"it did not end within {timeout} s: {said}"
        assert self.process.exitcode is not None
        return Ended(self.process.exitcode, *said)


def run(function: Callable[..., int | None], *arguments: Any, timeout: float = 300) -> Ended:
    """Call a function in a process of its own."""
    return Forked(function, *arguments).end(timeout)


def _call(function: Callable[..., int | None], arguments: tuple[Any, ...], said: list[Path]) -> None:
    for number, path in enumerate(said, 1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    torch.set_num_threads(1)
    sys.exit(function(*arguments))
