"""Processes that train together end together: each tells the others that it lives, and why it ended.

Left to themselves the others would wait for one that was killed, for as long as a collective operation may take.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from syncdraw.errors import UserError

BEAT = 1.0
"""Seconds from one sign of life to the next."""

SILENCE = 30.0
"""Seconds without one after which a process counts as dead."""

GRACE = 10.0
"""Seconds that a process has to end by itself after another has."""


class Watch:
    """This process's eye on the others, and its word to them, by way of the store at which all have met.

    Args:
        rank: this process's number. count: how many there are.
    """

    def __init__(self, rank: int, count: int) -> None:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # A connection of its own: on the one that everybody shares, a long wait would hold up the signs of life.
        self.store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=SILENCE))
        self.rank, self.others = rank, [other for other in range(count) if other != rank]
        self.seen: dict[int, tuple[bytes, float]] = {}
        self.reason = ""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """From now on."""
        self._say(str(time.time()))
        self.thread.start()

    def end(self, reason: str = "") -> None:
        """No longer; with a reason, the others end, too."""
        self.over.set()
        self.thread.join()
        self._say(f"ended {reason}")
        if reason:
            time.sleep(2 * BEAT)  # the store may end with this process, and the others are to read it first

    def lost(self, silence: float) -> str:
        """What became of another process; nothing where all of them are well."""
        try:
            for other in self.others:
                said = self.store.get(f"alive/{other}") if self.store.check([f"alive/{other}"]) else b""
                if said.startswith(b"ended ") and (reason := said[6:].decode(errors="replace")):
                    return f"process {other} ended: {reason}"
                before, since = self.seen.get(other, (b"", time.monotonic()))
                self.seen[other] = said, (since if said == before else time.monotonic())
                if said and not said.startswith(b"ended") and time.monotonic() - self.seen[other][1] > silence:
                    return f"process {other} ended without a word: it was killed, or its machine is gone"
        except RuntimeError:
            return "the process at which all have met is gone: it was killed, or its machine is gone"
        return ""

    def why(self, wait: float) -> str:
        """What became of another process, where this is known within so many seconds."""
        self.over.set()
        self.thread.join()
        until = time.monotonic() + wait
        while not self.reason and time.monotonic() < until:
            self._say(str(time.time()))
            self.reason = self.lost(silence=5 * BEAT)
            time.sleep(BEAT / 4)
        return self.reason

    def _say(self, what: str) -> None:
        try:
            self.store.set(f"alive/{self.rank}", what)
        except RuntimeError:
            return  # the store is gone, and `lost` will say so

    def _run(self) -> None:
        while not self.over.wait(BEAT):
            self._say(str(time.time()))
            self.reason = self.lost(SILENCE)
            if self.reason and not self.over.wait(GRACE):
                # It hangs in an operation that it shared with the one that ended, where no exception reaches it.
                print(f"syncdraw: error: {self.reason}", file=sys.stderr, flush=True)
                os._exit(2)


_watching = threading.Event()


@contextmanager
def together(rank: int, count: int) -> Iterator[None]:
    """Inside, this process ends within a minute where another does, with its reason. One inside another is as none.

    Raises:
        UserError: another process ended.
    """
    if count == 1 or _watching.is_set():
        yield
        return
    watch = Watch(rank, count)
    watch.begin()
    _watching.set()
    try:
        yield
    except RuntimeError as error:
        # Where another process ends, an operation fails that both were to do.
        with undisturbed():
            reason = watch.why(10 * BEAT)
        if reason:
            watch.end()
            raise UserError(reason) from error
        watch.end(_line(error))
        raise
    except BaseException as error:
        watch.end("" if isinstance(error, KeyboardInterrupt) else _line(error))
        raise
    else:
        watch.end()
    finally:
        _watching.clear()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, SIGTERM is passed over: torchrun sends it as soon as one process has ended, and half a minute later it
    ends all of them without asking."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
