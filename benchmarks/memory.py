"""Memory of a training run over time: python benchmarks/memory.py [--recipe best/mnist1-captions] [--steps 600]

Trains in this process, in a folder that is thrown away, and prints its resident memory at every validation.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from syncdraw import cli, evaluate


def resident_megabytes() -> float:
    """Of this process, as Linux counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="best/warmup")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--every", type=int, default=100)
    arguments = parser.parse_args()
    measured, started = evaluate.bound, time.perf_counter()

    def bound(*args: Any, **options: Any) -> evaluate.Bound:
        print(f"\n{time.perf_counter() - started:7.0f} s  {resident_megabytes():8.0f} MB", flush=True)
        return measured(*args, **options)

    evaluate.bound = bound
    with tempfile.TemporaryDirectory() as folder:
        options = {"max_steps": arguments.steps, "validate_every": arguments.every, "save_every": arguments.every,
                   "sample_every": arguments.every, "validation_clips": 100}  # fmt: skip
        settings = [f"--train.{name}={value}" for name, value in options.items()]
        cli.train([arguments.recipe, "--out", f"{folder}/run", *settings])


if __name__ == "__main__":
    main()
