"""Memory of a training run over time: python benchmarks/memory.py [--recipe mnist1-captions] [--steps 600]

Trains in this process, in a folder that is thrown away, and prints its resident memory at every validation.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from syncdraw.devices import start_torch
from syncdraw.training import read_recipe, train
from syncdraw.training.loop import VideoModel


def resident_megabytes() -> float:
    """Of this process, as Linux counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="ours", help="whose first stage is trained")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=20)
    arguments = parser.parse_args()
    length = {"max_steps": arguments.steps, "every": arguments.every, "batch_size": arguments.batch_size}
    config = read_recipe(arguments.recipe, {"train": length}).stages[0].config
    started = time.perf_counter()

    def memory(model: VideoModel) -> dict[str, float]:
        print(f"\n{time.perf_counter() - started:7.0f} s  {resident_megabytes():8.0f} MB", flush=True)
        return {"megabytes": resident_megabytes()}

    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "run", device=start_torch("cpu"), evaluators=[memory])


if __name__ == "__main__":
    main()
