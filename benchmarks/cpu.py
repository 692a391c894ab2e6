"""A training step on a CPU beside what the processor could do, in one run: python benchmarks/cpu.py [--compile]

Turn by turn, on the same clips with the same weights: the equations as the papers print them (benchmarks/literal.py),
ours in PyTorch alone, and ours as it is, with what native.cpp computes. All of them do forward, backward, clipping and
Adam. The limit is the time that the matrix products of a step, counted from their shapes, take at the speed of products
of 1024 x 1024 matrices. Seconds are those that the processor worked for the process, so that other work on the machine
counts less; with two threads and two processes, which share it, seconds are those of a clock. Writes
docs/measured/cpu-avx2.json, or cpu-avx512.json where the processor has these wider vectors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from literal import losses
from syncdraw import native
from syncdraw.building import build
from syncdraw.devices import start_torch
from syncdraw.training import read_recipe
from syncdraw.training.optimization import Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.step import eager

MEASURED = Path(__file__).parents[1] / "docs" / "measured"
RECIPES = {"paper/mnist1": {"model": {"grid_size": 10}}, "ours": {}}
"""With K = 10, as the released script has it."""

PARTS = {
    "reading": ("Read", "ReadBackward"),
    "writing": ("Write", "WriteBackward"),
    "reading and writing": ("aten::bmm",),
    "filters": ("_GaussianRows", "_GaussianRowsBackward", "aten::_softmax"),
    "large matrix products": ("aten::mm", "aten::addmm"),
    "the canvas": ("aten::sigmoid", "aten::sigmoid_backward"),
    "L_X": ("CrossEntropy", "CrossEntropyBackward", "aten::log_sigmoid_forward"),
}
"""Which operations do what; what is in none of these is the rest."""


class Training:
    """A model, and a step of it on one batch."""

    def __init__(self, recipe: str, batch_size: int) -> None:
        torch.manual_seed(0)
        config = read_recipe(recipe, RECIPES[recipe]).stages[0].config
        self.model = build(config.model)
        optimization = Optimization(self.model, config.train.optimizer, 1000, Processes.join("cpu"))
        optimization.begin(0)
        step = eager(self.model, optimization, 1.0)
        videos = torch.randint(256, (batch_size, *self.model.shape), dtype=torch.uint8).numpy()
        batch = self.model.prepare(videos, None, torch.Generator().manual_seed(0))
        self.step: Callable[[], object] = lambda: step(batch)

    def literal(self, batch_size: int) -> Callable[[], object]:
        """The same step, written as the papers print it."""
        model = self.model
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, (0.5, 0.999))
        videos, latents = torch.rand(batch_size, *model.shape).round(), model.noise(batch_size).latents

        def step() -> None:
            reconstruction, divergence = losses(model, videos, latents)
            optimizer.zero_grad()
            (reconstruction + divergence).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()

        return step


def turn_by_turn(
    variants: dict[str, tuple[Callable[[], object], bool]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each, after a first turn to warm up. Each has its step, and whether native.cpp computes."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, (step, in_cpp) in variants.items():
            with native.switched(in_cpp):
                start = clock()
                step()
                if turn:
                    seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def operations(step: Callable[[], object]) -> float:
    """In the matrix products of a step, a multiplication and an addition being two."""
    with native.switched(False), FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def shares(step: Callable[[], object], in_cpp: bool) -> dict[str, float]:
    """Of a step's time, by part."""
    with native.switched(in_cpp), torch.profiler.profile() as profile:
        step()
    events = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(events.values())
    found = {part: sum(events.get(name, 0) for name in names) / total for part, names in PARTS.items()}
    return {part: round(share, 3) for part, share in found.items() if share} | {
        "rest": round(1 - sum(found.values()), 3)
    }


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure(recipe: str, batch_size: int, rounds: int, compile_too: bool) -> dict[str, Any]:
    training, matrix = Training(recipe, batch_size), torch.rand(1024, 1024)
    flops = operations(training.step)
    variants = {"PyTorch alone": (training.step, False), "as it is": (training.step, True)}
    if recipe.startswith("paper"):
        variants = {"literal": (training.literal(batch_size), False), **variants}
    if compile_too:
        compiled = Training(recipe, batch_size)
        compiled.model.step = torch.compile(compiled.model.step, dynamic=False)
        variants["one drawing step compiled"] = (compiled.step, False)
    with threads(1):
        timed = {**variants, "product of 1024 x 1024 matrices": (lambda: matrix @ matrix, False)}
        seconds = turn_by_turn(timed, rounds, time.process_time)
        by_part = {name: shares(*variant) for name, variant in variants.items() if name != "literal"}
    speed = 2 * 1024**3 / seconds.pop("product of 1024 x 1024 matrices")
    with threads(2):
        ours = {name: variants[name] for name in ("PyTorch alone", "as it is")}
        both = turn_by_turn(ours, min(rounds, 3), time.perf_counter)
    command = [sys.executable, __file__, "--only", recipe, "--batch-size", str(batch_size), "--rounds", "3"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    alone = [float(worker.communicate()[0]) for worker in workers]
    return {
        "gigaflop": round(flops / 1e9, 1),
        "gigaflop_a_second_of_large_products": round(speed / 1e9, 1),
        "limit_seconds": round(flops / speed, 3),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "share_of_limit": {name: round(flops / speed / value, 3) for name, value in seconds.items()},
        "clock_seconds_of_two_threads": {name: round(value, 3) for name, value in both.items()},
        "clock_seconds_of_two_processes": [round(value, 3) for value in alone],
        "shares_of_time": by_part,
    }


def processor() -> str:
    """Its name, and the widest vectors that it has."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in about.splitlines() if line.startswith("model name")]
    vectors = "AVX-512" if "avx512f" in about else "AVX2 without AVX-512" if "avx2" in about else platform.machine()
    return f"{names[0] if names else platform.processor()}, {vectors}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too, which takes minutes")
    parser.add_argument("--only", help="a recipe: print the seconds of a step of one thread")
    arguments = parser.parse_args()
    start_torch("cpu")
    if arguments.only:
        torch.set_num_threads(1)
        step = Training(arguments.only, arguments.batch_size).step
        print(turn_by_turn({"": (step, True)}, arguments.rounds, time.perf_counter)[""])
        return
    results: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "other_work_on_it": f"{os.getloadavg()[0]:.1f} processes in the last minute",
        "torch": torch.__version__,
        "batch_size": arguments.batch_size,
    }
    for recipe in RECIPES:
        results[recipe] = measure(recipe, arguments.batch_size, arguments.rounds, arguments.compile)
        print(recipe, json.dumps(results[recipe], indent=1), flush=True)
    out = MEASURED / ("cpu-avx512.json" if results["processor"].endswith(", AVX-512") else "cpu-avx2.json")
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
