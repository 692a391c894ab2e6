"""How time and memory of a training step grow with the work: python benchmarks/scaling.py

From the papers' settings and a batch of 8, one size at a time. Each point is measured in a process of its own, so that
its peak memory is its own: seconds that the processor worked for a step (one thread, the least of three), and what the
process took beyond what it had before it made the model. Beside it stands what `syncdraw.training.memory` estimates.
Writes docs/measured/scaling.json and docs/images/scaling.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
BASE = {"batch_size": 8, "frames": 10, "draw_steps": 10, "size": 64, "grid_size": 8, "channels": 1}
GROWN: dict[str, tuple[int, ...]] = {
    "frames": (10, 20, 40, 80),
    "draw_steps": (5, 10, 32, 64),
    "size": (32, 64, 128, 256),
    "grid_size": (4, 8, 16, 32),
    "channels": (1, 3),
    "batch_size": (4, 8, 32, 100),
}


def measure(sizes: dict[str, int]) -> dict[str, float]:
    """Seconds of a step, and gigabytes: measured, and estimated."""
    import torch

    from syncdraw.building import build
    from syncdraw.training import read_recipe
    from syncdraw.training.memory import resident, training_memory
    from syncdraw.training.optimization import Optimization
    from syncdraw.training.processes import Processes
    from syncdraw.training.step import eager

    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    config = read_recipe("paper/mnist1").stages[0].config
    size = sizes.pop("size")
    batch_size = sizes.pop("batch_size")
    before = resident()
    model = build(dataclasses.replace(config.model, height=size, width=size, **sizes))
    optimization = Optimization(model, config.train.optimizer, 10, Processes.join("cpu"))
    step = eager(model, optimization, 1.0)
    videos = torch.randint(256, (batch_size, *model.shape), dtype=torch.uint8).numpy()
    batch = model.prepare(videos, None, torch.Generator().manual_seed(0))
    optimization.begin(0)
    seconds = []
    for _ in range(4):
        start = time.process_time()
        step(batch)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": round(min(seconds[1:]), 3),
        "gigabytes": round((peak - before) / 1e9, 3),
        "estimated_gigabytes": round(training_memory(model.config, batch_size) / 1e9, 3),
    }


def plot(points: dict[str, list[dict[str, Any]]]) -> None:
    """Both on doubly logarithmic axes, where what is linear rises as the dashed line does."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(points), figsize=(2.4 * len(points), 4.6), sharey="row", layout="constrained")
    for column, (name, grown) in enumerate(points.items()):
        at = [point[name] for point in grown]
        for row, quantity in enumerate(("seconds", "gigabytes")):
            axis = axes[row, column]
            values = [point[quantity] for point in grown]
            axis.loglog(at, values, "o-", label="measured")
            if quantity == "gigabytes":
                axis.loglog(at, [point["estimated_gigabytes"] for point in grown], "x", label="estimated")
            axis.loglog(at, [values[-1] * n / at[-1] for n in at], "k--", linewidth=0.7, label="linear")
            axis.set_xticks(at, [str(n) for n in at])
            axis.minorticks_off()
            if row:
                axis.set_xlabel(name)
            if not column:
                axis.set_ylabel(quantity)
    axes[1, -1].legend(fontsize=7)
    figure.savefig(DOCS / "images" / "scaling.png", dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=json.loads, help="sizes, to be measured in this process")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only)))
        return
    points: dict[str, list[dict[str, Any]]] = {}
    known: dict[str, dict[str, float]] = {}
    for name, values in GROWN.items():
        points[name] = []
        for value in values:
            sizes = {**BASE, name: value}
            key = json.dumps(sizes)
            if key not in known:
                command = [sys.executable, __file__, "--only", key]
                output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                known[key] = json.loads(output)
            points[name].append({**sizes, **known[key]})
            print(name, value, known[key], flush=True)
    (DOCS / "measured" / "scaling.json").write_text(json.dumps(points, indent=1) + "\n")
    plot(points)


if __name__ == "__main__":
    main()
