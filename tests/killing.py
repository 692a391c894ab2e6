"""Kills training runs at every place where they write, and at random moments, and compares what they end in.

    PYTHONPATH=src:tests python tests/killing.py --random 100

A tiny run is trained without a break. Then it is killed (SIGKILL: nothing can be caught or tidied up) and resumed, over
and over, until it ends; it must end in the same weights, optimiser state, metrics, samples and settings, bit for bit.
Killed are runs before and after each file takes its place, the last save's included, and at random moments. The
processes are forked from this one, in which everything is imported already. It prints a count for each kind.
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
from pathlib import Path

import torch

from syncdraw import UserError
from syncdraw.training.run_folder import RunFolder
from training_runs import RUN, VARIANTS, assert_same_run, changed, go, metrics, quick

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


def attempt(out: Path, kill: Kill, delay: float = 0.0) -> bool:
    """Begin the run, or go on with it, in a process of its own. False where it was killed.

    Args:
        delay: seconds after which it is killed, whatever it does; 0 for not.
    """
    child = os.fork()
    if not child:
        try:
            os.replace = kill  # type: ignore[assignment]
            if delay:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
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


def count_writes(out: Path) -> int:
    """How many files take their place in a whole run."""
    kill = Kill(0, after=False)
    original, os.replace = os.replace, kill  # type: ignore[assignment]
    try:
        go(CONFIG, out)
    finally:
        os.replace = original
    return kill.count


def same(one: Path, other: Path) -> str:
    """Nothing, or how two runs differ."""
    try:
        assert_same_run(one, other)
    except (AssertionError, UserError, OSError) as error:
        return f"{type(error).__name__} {error}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where all runs end equally."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--random", type=int, default=30, help="runs that are killed at random moments")
    parser.add_argument(
        "--places", type=int, help="only so many of the places where files are written, from the last on"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    quick()
    torch.set_num_threads(1)
    chance, counts = random.Random(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / "whole", Path(folder) / "killed"
        writes = count_writes(whole)
        began = time.monotonic()
        attempt(out, Kill(0, after=False))
        duration = time.monotonic() - began
        places = [(number, after) for number in range(writes, 0, -1) for after in (True, False)][: options.places]
        plans = [("while a file is written", place, 0.0) for place in places]
        plans += [("at random", (0, False), duration * chance.uniform(0.02, 1.0)) for _ in range(options.random)]
        for kind, (number, after), delay in plans:
            shutil.rmtree(out, ignore_errors=True)
            kills = 0
            while not attempt(out, Kill(number, after) if not kills else Kill(0, False), delay if kills < 3 else 0.0):
                kills += 1
                delay *= chance.uniform(0.3, 1.5)
            difference = same(out, whole)
            counts.update({f"runs, {kind}": 1, f"kills, {kind}": kills, "runs that ended otherwise": bool(difference)})
            if difference:
                print(f"killed at {number} {after} {delay}: {difference}", file=sys.stderr)
        lines = len(metrics(whole))
    print(json.dumps({**counts, "files written by a run": writes, "lines of metrics": lines}))
    return int(counts["runs that ended otherwise"] > 0)


if __name__ == "__main__":
    sys.exit(main())
