"""What it takes to make training's batches on the host: python benchmarks/feed.py --out docs/measured/feed.json

A GPU that trains on 1,000 clips in 40 ms waits for its clips unless they are made as fast. With --beside FOLDER, the
source of another version (its `src`), both are measured by turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cpu import processor

RECIPES = ("paper/mnist1", "mnist1-captions", "mnist2-captions")
HERE = Path(__file__).parents[1] / "src"


def made(recipe: str, batch_size: int, threads: int, count: int) -> tuple[float, float]:
    """Milliseconds a batch, fetched ahead by so many threads: by the clock, and of all threads' work."""
    import torch

    from syncdraw.building import build
    from syncdraw.datasets.bouncing_mnist import BouncingMNIST
    from syncdraw.training.batches import Batches
    from syncdraw.training.processes import Processes
    from syncdraw.training.recipes import read_recipe
    from syncdraw.training.settings import complete

    torch.set_num_threads(1)
    config = read_recipe(recipe, {"train": {"batch_size": batch_size}}).stages[-1].config
    dataset = BouncingMNIST(config.bouncing, "train")
    model = build(complete(config, dataset).model)
    batches = Batches(model, dataset, batch_size, 0, Processes(0, 1, torch.device("cpu")), 20)
    batches.threads = threads
    batches.at(0)
    start, worked = time.perf_counter(), time.process_time()
    for _ in batches.ahead(1, 1 + count):
        pass
    return 1000 * (time.perf_counter() - start) / count, 1000 * (time.process_time() - worked) / count


def alone(arguments: argparse.Namespace) -> None:
    """All cases of one version, as JSON."""
    cases = [(recipe, threads) for recipe in RECIPES for threads in (1, 4)]
    print(json.dumps([made(recipe, arguments.batch_size, threads, arguments.count) for recipe, threads in cases]))


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--beside", type=Path, help="the src folder of another version")
    parser.add_argument("--batch_size", type=int, default=1000)
    parser.add_argument("--count", type=int, default=20, help="batches of each case and turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        return alone(arguments)
    versions = {"now": HERE} | ({"before": arguments.beside} if arguments.beside else {})
    best: dict[str, list[list[float]]] = {}
    for _ in range(arguments.turns):
        for name, source in versions.items():
            command = [sys.executable, __file__, "--alone", "--batch_size", str(arguments.batch_size),
                       "--count", str(arguments.count)]  # fmt: skip
            environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
            found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
            pairs = zip(found, best.get(name, found), strict=True)
            best[name] = [[min(times) for times in zip(*pair, strict=True)] for pair in pairs]
    rows: list[dict[str, Any]] = []
    for number, (recipe, threads) in enumerate((recipe, threads) for recipe in RECIPES for threads in (1, 4)):
        times = {
            f"{kind}_{name}": round(values[number][place], 1)
            for place, kind in enumerate(("ms", "worked_ms"))
            for name, values in best.items()
        }
        rows.append({"recipe": recipe, "threads": threads, **times})
        print(rows[-1])
    if arguments.out:
        about = {"processor": processor(), "cores": os.cpu_count(), "batch_size": arguments.batch_size}
        arguments.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
