"""Kills training runs at every place where they write, and at random moments, and compares what they end in.

    PYTHONPATH=src:tests python tests/killing.py --random 150 --saves 150

A tiny run is trained without a break. Then it is killed (SIGKILL: nothing can be caught or tidied up) and resumed, over
and over, until it ends; it must end in the same weights, optimiser state, metrics, samples and settings, bit for bit.
Killed are runs before and after each file takes its place, at random moments while they save (every second time in the
last save), and at random moments of all: up to three times each. The processes are forked from this one, in which
everything is imported already. It prints a count for each kind, also when it is stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from syncdraw import UserError
from syncdraw.training.run_folder import RunFolder
from training_runs import RUN, VARIANTS, assert_same_run, changed, go, metrics, quick

SAVES = 3
CONFIG = changed(RUN, {**VARIANTS["Muon, held gradients"], "train.optimizer.ema": 0.9, "train.every": 4})


class Kill:
    """Kills this process at the `number`th file that takes its place, before or after it does.

    Args:
        number: counted from 1; 0 for never.
    """

    def __init__(self, number: int, after: bool) -> None:
        self.number, self.after, self.count, self.replace = number, after, 0, os.replace

    def __call__(self, source: str | Path, target: str | Path) -> None:
        self.count += 1
        if self.count == self.number and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.replace(source, target)
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(out: Path, kill: Kill | None = None, delay: float | None = None, save: int = 0) -> bool:
    """Begin the run, or go on with it, in a process of its own. False where it was killed.

    Args:
        delay: seconds after which it is killed, whatever it does.
        save: they are counted from the beginning of this save of the process, not from that of the process.
    """
    child = os.fork()
    if not child:
        try:
            if kill is not None:
                os.replace = kill  # type: ignore[assignment]
            if delay is not None:
                timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
                _start_in_save(timer, save) if save else timer.start()
            go(CONFIG, out, resume=RunFolder(out).holds_run)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.waitstatus_to_exitcode(status):
        raise AssertionError(f"the run in {out} failed")
    return True


def _start_in_save(timer: threading.Timer, number: int) -> None:
    original, count = RunFolder.save_state, [0]

    def counting(self: RunFolder, state: dict[str, Any]) -> None:
        count[0] += 1
        if count[0] == number:
            timer.start()
        original(self, state)

    RunFolder.save_state = counting  # type: ignore[method-assign]


def whole_run(out: Path) -> tuple[int, float]:
    """Train without a break: how many files take their place, and how many seconds the last save takes."""
    kill, saves, save_state = Kill(0, after=False), list[float](), RunFolder.save_state

    def timed(self: RunFolder, state: dict[str, Any]) -> None:
        saves.append(time.monotonic())
        save_state(self, state)

    with mock.patch("os.replace", kill), mock.patch.object(RunFolder, "save_state", timed):
        go(CONFIG, out)
    assert len(saves) == SAVES
    return kill.count, time.monotonic() - saves[-1]


def same(one: Path, other: Path) -> str:
    """Nothing, or how two runs differ."""
    try:
        assert_same_run(one, other)
    except (AssertionError, UserError, OSError) as error:
        return f"{type(error).__name__} {error}"
    return ""


def killed_in_a_place(out: Path, number: int, after: bool) -> int:
    """The run, killed once where a file takes its place. How often it was killed."""
    assert not attempt(out, Kill(number, after)), f"there is no file {number}"
    assert attempt(out)
    return 1


def killed_at_random(out: Path, chance: random.Random, longest: float, save: int = 0) -> int:
    """The run, killed up to three times at random moments of it, or of one of its saves. How often it was killed."""
    kills = 0
    while kills < 3 and not attempt(out, delay=longest * chance.random(), save=save):
        kills, save = kills + 1, min(save, 1)  # what is left to do has fewer saves
    if kills == 3:
        assert attempt(out)
    return kills


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where all runs end equally."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--random", type=int, default=30, help="runs that are killed at random moments")
    parser.add_argument("--saves", type=int, default=30, help="runs that are killed at random moments of their saves")
    parser.add_argument(
        "--places", type=int, help="only so many of the places where files are written, from the last on"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    quick()
    torch.set_num_threads(1)
    chance, counts = random.Random(options.seed), Counter[str]()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / "whole", Path(folder) / "killed"
        writes, save_takes = whole_run(whole)
        began = time.monotonic()
        assert attempt(out)
        run_takes = time.monotonic() - began
        places = [(number, after) for number in range(writes, 0, -1) for after in (True, False)][: options.places]
        kinds: dict[str, list[Callable[[], int]]] = {
            "as a file takes its place": [partial(killed_in_a_place, out, *place) for place in places],
            "while it saves": [
                partial(killed_at_random, out, chance, save_takes, (SAVES, 1 + n // 2 % SAVES)[n % 2])
                for n in range(options.saves)
            ],
            "at random": [partial(killed_at_random, out, chance, run_takes) for _ in range(options.random)],
        }
        try:
            for kind, runs in kinds.items():
                for number, killed in enumerate(runs):
                    shutil.rmtree(out, ignore_errors=True)
                    kills = killed()
                    difference = same(out, whole)
                    counts[f"runs, {kind}"] += 1
                    counts[f"kills, {kind}"] += kills
                    counts["runs that ended otherwise"] += bool(difference)
                    if difference:
                        print(f"{kind}, {number}: {difference}", file=sys.stderr)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
        lines = len(metrics(whole))
    print(json.dumps({**counts, "files written by a run": writes, "lines of metrics": lines}))
    return int(counts["runs that ended otherwise"] > 0)


if __name__ == "__main__":
    sys.exit(main())
