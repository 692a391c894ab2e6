"""What one training step of each recipe takes, with and without checkpointing: python benchmarks/recipe_steps.py

Each case runs in a process of its own, so that its peak memory is its own. The clips are noise of the recipe's shape.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

RECIPES = ("paper/mnist1", "kth", "kth-captions", "ucf101", "vgan-clips", "tgif")


def measure(recipe: str, batch_size: int, checkpointing: bool, steps: int) -> dict[str, float]:
    """Seconds of a step (the median) and the peak memory of the process, in GB, over what it had before the first."""
    import yaml

    from syncdraw import SyncDraw, SyncDrawConfig
    from syncdraw.cli import find_recipe

    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    settings = yaml.safe_load(find_recipe(recipe).read_text())["model"]
    captioned = settings.get("captions", "none") != "none"
    model = SyncDraw(SyncDrawConfig(**settings, vocabulary=("walking",) if captioned else ()))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    videos = torch.rand(batch_size, *model.config.shape)
    captions = ["walking"] * batch_size if captioned else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        model(videos, captions, checkpointing=checkpointing).negative_elbo.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": sorted(seconds)[len(seconds) // 2], "gigabytes": peak / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", help="recipe:checkpointing, for one case in this process")
    arguments = parser.parse_args()
    if arguments.only:
        recipe, checkpointing = arguments.only.split(":")
        print(json.dumps(measure(recipe, arguments.batch_size, checkpointing == "True", arguments.steps)))
        return
    print(f"batch of {arguments.batch_size}, {torch.get_num_threads()} threads")
    print(f"{'recipe':<14} {'s a step':>9} {'GB':>6}   checkpointing: {'s a step':>9} {'GB':>6}")
    for recipe in RECIPES:
        cells = []
        for checkpointing in (False, True):
            command = [sys.executable, __file__, "--only", f"{recipe}:{checkpointing}"]
            command += ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
            result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            cells.append(f"{result['seconds']:9.2f} {result['gigabytes']:6.2f}")
        print(f"{recipe:<14} {cells[0]}                  {cells[1]}")


if __name__ == "__main__":
    main()
