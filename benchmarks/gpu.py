"""Training and drawing on one GPU: a captured step against an eager one, and what compiling parts of it adds.

    python benchmarks/gpu.py --out gpu.json        # under five minutes, captures checked against eager first

Needs torch, numpy, jaxtyping, safetensors, pydantic, tqdm, Pillow and PyYAML, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncdraw.building import build
from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.model import SyncDraw
from syncdraw.training.batches import Batches
from syncdraw.training.optimization import Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.recipes import read_recipe
from syncdraw.training.settings import RunConfig, complete
from syncdraw.training.step import Captured, compiled_attention, eager, nothing_compiled


def prepared(recipe: str, batch_size: int, stage: int = -1) -> tuple[RunConfig, SyncDraw, Optimization, Batches]:
    """A fresh model of a recipe's stage, ready to be trained."""
    changes = {"train": {"batch_size": batch_size}, "model": {"grid_size": 10}} if recipe.startswith("paper") else {
        "train": {"batch_size": batch_size}}  # fmt: skip
    config = read_recipe(recipe, changes).stages[stage].config
    dataset = BouncingMNIST(config.bouncing, "train")
    config, processes = complete(config, dataset), Processes.join()
    torch.manual_seed(0)
    model = build(config.model).to(processes.device)
    optimization = Optimization(model, config.train.optimizer, config.train.max_steps, processes)
    length = 0
    if model.captioned:
        tokens = model.tokenise(dataset.wordings(), len(dataset.wordings()))
        length = 0 if tokens is None else tokens.shape[-1]
    return config, model, optimization, Batches(model, dataset, batch_size, 0, processes, length)


def steps(
    step: Callable[[Any], torch.Tensor], optimization: Optimization, batches: Batches, count: int
) -> list[list[float]]:
    """L_X, L_Z and gradient norm of so many steps."""
    measured = []
    for number, batch in batches.ahead(0, count):
        optimization.begin(number)
        measured.append(step(batch))
    return torch.stack(measured).tolist()


def check(recipe: str) -> float:
    """The largest relative difference of the loss over 20 steps, captured against eager."""
    found = []
    for captured in (False, True):
        config, model, optimization, batches = prepared(recipe, 25)
        step = eager(model, optimization, config.train.divergence_weight)
        found.append(steps(Captured(step, optimization, model.device) if captured else step, optimization, batches, 20))
    first, second = np.array(found)[:, :, :2].sum(axis=2)
    return float(np.abs(first / second - 1).max())


def speed(recipe: str, batch_size: int, how: str, count: int) -> dict[str, Any]:
    """Seconds a step, clips ready on the device and fetched ahead."""
    config, model, optimization, batches = prepared(recipe, batch_size)
    start = time.perf_counter()
    step = eager(model, optimization, config.train.divergence_weight)
    optimization.begin(0)
    batch = batches.at(0)
    if how != "eager":
        step = Captured(step, optimization, model.device)
        with (compiled_attention if how == "compiled attention" else nothing_compiled)(model):
            step.capture(batch)
    step(batch)
    torch.cuda.synchronize()
    ready = time.perf_counter() - start
    start = time.perf_counter()
    for number in range(count):
        optimization.begin(number)
        step(batch)
    torch.cuda.synchronize()
    alone = (time.perf_counter() - start) / count
    start = time.perf_counter()
    steps(step, optimization, batches, count)
    fed = (time.perf_counter() - start) / count
    memory = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    row = {"recipe": recipe, "batch_size": batch_size, "how": how, "ms": 1000 * alone, "ms_fed": 1000 * fed,
           "clips_per_second": batch_size / fed, "ready_s": ready, "gib": memory}  # fmt: skip
    print(f"{recipe:<18} batch {batch_size:<5} {how:<20} {row['ms']:7.2f} ms, fed {row['ms_fed']:7.2f} ms, "
          f"{row['clips_per_second']:8.0f} clips/s, ready after {ready:5.1f} s, {memory:.1f} GiB",
          flush=True)  # fmt: skip
    return row


def drawing(recipe: str, count: int) -> dict[str, Any]:
    """Clips drawn from nothing a second."""
    _, model, _, _ = prepared(recipe, 100)
    model.generate(count, seed=0)
    torch.cuda.synchronize()
    start = time.perf_counter()
    noise = model.noise(count, 0)
    torch.cuda.synchronize()
    made = time.perf_counter() - start
    start = time.perf_counter()
    with torch.no_grad():
        model(None, None, noise=noise)
    torch.cuda.synchronize()
    rate = count / (time.perf_counter() - start)
    print(f"{recipe}: {rate:.0f} clips/s drawn, {count} at once (their noise took {made:.2f} s)", flush=True)
    return {"recipe": recipe, "count": count, "clips_per_second": rate, "noise_s": made}


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--budget", type=float, default=240, help="seconds after which no more is begun")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this benchmark needs a CUDA device")
    began = time.perf_counter()
    result: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": []}

    def run(function: Callable[..., Any], *values: Any) -> None:
        if time.perf_counter() - began < arguments.budget:
            try:
                result["rows"].append(function(*values))
            except Exception as error:  # the other rows are worth having
                print(f"{function.__name__}{values}: {type(error).__name__}: {str(error)[:500]}", flush=True)
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")

    for recipe in ("paper/mnist1", "mnist1-captions", "mnist1"):
        try:
            difference = check(recipe)
            result[f"captured against eager, {recipe}"] = difference
            print(f"{recipe}: captured against eager, 20 steps: losses differ by {difference:.1e} at most", flush=True)
        except Exception as error:
            print(f"check {recipe}: {type(error).__name__}: {str(error)[:800]}", flush=True)
    run(speed, "paper/mnist1", 100, "eager", 5)
    run(speed, "paper/mnist1", 100, "captured", 100)
    run(speed, "paper/mnist1", 1000, "captured", 20)
    run(speed, "mnist1-captions", 50, "captured", 100)
    run(speed, "mnist1-captions", 100, "captured", 100)
    run(speed, "paper/mnist1", 100, "compiled attention", 100)
    run(speed, "mnist1-captions", 50, "compiled attention", 100)
    run(drawing, "paper/mnist1", 2000)
    run(speed, "paper/mnist1", 1000, "compiled attention", 50)
    print(f"wrote {arguments.out} after {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
