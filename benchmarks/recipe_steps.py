"""What one training step of each recipe takes: python benchmarks/recipe_steps.py [--batch-size 4] [--recipes kth ...]

Each recipe runs in a process of its own, so that its peak memory is its own. The clips are noise of the recipe's shape.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch

RECIPES = ("paper/mnist1", "kth", "kth-captions", "ucf101", "vgan-clips", "tgif")


def measure(recipe: str, batch_size: int, steps: int) -> dict[str, float]:
    """Seconds of a step (the median) and the peak memory of the process, in GB, over what it had before the first."""
    from syncdraw.building import build
    from syncdraw.training import read_recipe
    from syncdraw.training.optimization import Optimization
    from syncdraw.training.processes import Processes
    from syncdraw.training.step import eager

    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    config = read_recipe(recipe).stages[0].config
    captions = replace(config.model.captions, vocabulary=("walking",)) if config.model.captioned else None
    model = build(replace(config.model, captions=captions) if captions else config.model)
    optimization = Optimization(model, config.train.optimizer, steps, Processes.join("cpu"))
    step = eager(model, optimization, config.train.divergence_weight)
    videos = torch.randint(256, (batch_size, *model.shape), dtype=torch.uint8).numpy()
    batch = model.prepare(videos, ["walking"] * batch_size, torch.Generator().manual_seed(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for number in range(steps):
        start = time.perf_counter()
        optimization.begin(number)
        step(batch)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": sorted(seconds)[len(seconds) // 2], "gigabytes": peak / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--only", help="a recipe, to be measured in this process")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.batch_size, arguments.steps)))
        return
    print(f"batch of {arguments.batch_size}, {torch.get_num_threads()} threads")
    print(f"{'recipe':<14} {'s a step':>9} {'GB':>6}")
    for recipe in arguments.recipes:
        command = [sys.executable, __file__, "--only", recipe]
        command += ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{recipe:<14} {result['seconds']:9.2f} {result['gigabytes']:6.2f}", flush=True)


if __name__ == "__main__":
    main()
