"""What several processes send each other in a training step: python benchmarks/communication.py

One step of each recipe is done by one process which counts what it would send to others. The result goes into
docs/measured/communication.json. In a ring of n processes each sends 2 (n - 1) / n times what is averaged, and n - 1
times its part of what is gathered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from syncdraw.building import build
from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.extensions.held_gradients import hold_gradients
from syncdraw.training.batches import Batches
from syncdraw.training.learning import BoundLearner
from syncdraw.training.optimization import Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.recipes import read_recipe
from syncdraw.training.settings import complete

OUT = Path(__file__).parents[1] / "docs" / "measured" / "communication.json"
RECIPES = ("paper/mnist1", "paper/mnist2-captions", "mnist1", "mnist2-captions")


@dataclass(frozen=True)
class Counting(Processes):
    """Does the work of one process, and notes what would be sent.

    Attributes:
        averaged, gathered: bytes of each operation of this process.
    """

    averaged: list[int] = field(default_factory=list)
    gathered: list[int] = field(default_factory=list)

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        self.averaged.append(sum(p.grad.nbytes for p in parameters if p.grad is not None))

    def average(self, values: Tensor) -> Tensor:
        self.averaged.append(values.nbytes)
        return values

    def gather(self, values: Tensor) -> Tensor:
        self.gathered.append(values.nbytes)
        return values


def sent(averaged: float, gathered: float, processes: int) -> float:
    """Bytes that each of so many processes sends in a step, in rings."""
    return 2 * (processes - 1) / processes * averaged + (processes - 1) * gathered


def counted(recipe: str, clips: int = 4) -> dict[str, Any]:
    """Of a recipe's last stage, with so many clips a process."""
    config = read_recipe(recipe, {}).stages[-1].config
    processes = Counting(0, 1, torch.device("cpu"))
    dataset = BouncingMNIST(config.bouncing, "train")
    config = complete(config, dataset)
    model = build(config.model)
    if config.train.optimizer.gradient_ratio is not None:
        hold_gradients(model, config.train.optimizer.gradient_ratio, processes.gather)
    optimization = Optimization(model, config.train.optimizer, config.train.max_steps, processes)
    learner = BoundLearner(model, optimization, config.train.divergence_weight)
    batch = Batches(model, dataset, clips, 0, processes).at(0)
    learner.ready(batch)
    learner.begin(0)
    learner.step(batch)
    processes.any(False)  # whether anybody was told to stop
    return {
        "recipe": recipe,
        "parameters": sum(p.numel() for p in optimization.trained),
        "averaged_bytes": sum(processes.averaged),
        "gathered_bytes_a_clip": sum(processes.gathered) / clips,
        "operations": len(processes.averaged) + len(processes.gathered) + 1,
    }


def main() -> None:
    """Count, print, and write JSON."""
    torch.manual_seed(0)
    rows = [counted(recipe) for recipe in RECIPES]
    for row in rows:
        of_eight = sent(row["averaged_bytes"], 100 * row["gathered_bytes_a_clip"], 8)
        print(row, f"{of_eight / 1e6:.1f} MB from each of 8 processes")
    OUT.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
