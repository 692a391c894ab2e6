"""Table 1 of v2 (section 4.6), trained and measured again: Sync-DRAW, Global and Baseline, with the paper's figures.

All cells are trained in the same way on the same clips, for the same number of them; methods differ in their attention
alone. Every cell is a run folder, so that what is finished is not trained again, and what was broken off goes on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from syncdraw.devices import start_torch
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.options import Budget, Computer, Count, Out
from syncdraw.training.recipes import read_recipe
from syncdraw.training.settings import RunConfig

Protocol = Literal["binary", "grey"]

METHODS: dict[Literal["frame", "global", "cuboid"], str] = {
    "frame": "Sync-DRAW", "global": "Global", "cuboid": "Baseline"
}  # fmt: skip

COLUMNS = [(1, False), (1, True), (2, False), (2, True)]
"""Digits, and whether there are captions: the order of the paper's columns."""

PAPER = {
    (attention, digits, captions): nats
    for attention, row in (
        ("frame", (340.39, 327.11, 639.71, 524.41)),
        ("global", (500.01, 512.46, 899.06, 860.54)),
        ("cuboid", (3561.23, 3478.26, 5240.65, 5167.94)),
    )
    for (digits, captions), nats in zip(COLUMNS, row, strict=True)
}
"""v2's Table 1, nats per video, by attention, digits and captions."""

BUDGETS: dict[Literal["smoke", "full"], tuple[int, int, int]] = {
    "smoke": (2_000, 20, 200),
    "full": (5_000_000, 100, 10_000),
}
"""Training clips for each cell, clips a step, and test clips; `full` is what the authors' script asks for."""


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    attention: Literal["frame", "global", "cuboid"]
    digits: int
    captions: bool
    protocol: Protocol
    seed: int

    @property
    def name(self) -> str:
        """Of the run folder."""
        captions = "-captions" if self.captions else ""
        return f"{self.attention}-{self.digits}{captions}-{self.protocol}-seed{self.seed}"

    def __str__(self) -> str:
        digits = "one digit" if self.digits == 1 else "two digits"
        captions = "with captions" if self.captions else "without captions"
        return f"{METHODS[self.attention]}, {digits}, {captions}, {self.protocol}, seed {self.seed}"


def cells(seeds: int) -> list[Cell]:
    """The twelve cells of the table under `binary`, and Sync-DRAW's four under `grey`, for each seed."""
    rows: list[tuple[Literal["frame", "global", "cuboid"], Protocol]] = [(m, "binary") for m in METHODS]
    rows.append(("frame", "grey"))
    return [
        Cell(attention, digits, captions, protocol, seed)
        for seed in range(seeds)
        for digits, captions in COLUMNS
        for attention, protocol in rows
    ]


def run_config(cell: Cell, clips: int, batch_size: int, paper_start: bool) -> RunConfig:
    """What a cell is trained by: the recipe paper/mnist1, which has v1's K and T, the released script's LSTM and latent
    sizes, and Adam (v2 section 4.2); with captions, v2's sentence vectors from an encoder that is trained along."""
    steps = math.ceil(clips / batch_size)
    changes = {
        "model": {
            "attention": {"kind": cell.attention, "smooth_start": not paper_start},
            "canvas": "zero" if paper_start else "learned",
            "captions": {"route": "recurrent" if cell.captions else "none"},
            "protocol": cell.protocol,
        },
        # Both columns of a data set have the same clips: all combinations of digits and motions.
        "bouncing": {"digits": cell.digits},
        "train": {
            "max_steps": steps,
            "batch_size": batch_size,
            "seed": cell.seed,
            "every": max(1, min(steps // 4, 2000)),
            "optimizer": {"ema": 0.99},
        },
    }
    return read_recipe("paper/mnist1", changes).stages[0].config


def table1(
    *,
    out: Out = Path("runs/table1"),
    budget: Budget = "smoke",
    batch_size: Count | None = None,
    test_clips: Count | None = None,
    seeds: Count = 1,
    paper_start: bool = False,
    device: Computer = "auto",
) -> None:
    """Train and measure the cells of v2's Table 1, and write them beside the paper's figures.

    Stop it with Ctrl-C at any time; the same command goes on, and with a larger budget it trains the cells further.

    Args:
        out: the folder of the runs, of table1.md and of table1.json.
        budget: training clips for each cell: a number, or smoke (2,000; ten minutes or so on two cores), or full
            (5,000,000, as in the authors' script; for a GPU).
        batch_size: clips a step; 100 with full, else 20, which learns faster by the clip.
        test_clips: measured in each cell; 200 with smoke, 10,000 with full, else 1,000.
        seeds: runs of each cell. The table shows their mean and standard deviation.
        paper_start: begin with the papers' black-and-white canvas of zero and filters of 1 pixel, not with a learned
            canvas and smooth filters, which learn many times faster.

    Raises:
        UserError: a number is below 1, or a run has been trained for longer than the budget asks for.
    """
    from syncdraw.training.stages import one_of_several

    place = start_torch(device)
    clips, usual_batch, usual_test = BUDGETS[budget] if isinstance(budget, str) else (budget, 20, 1_000)
    batch_size = usual_batch if batch_size is None else batch_size
    test_clips = usual_test if test_clips is None else test_clips
    if min(clips, batch_size, test_clips, seeds) < 1:
        raise UserError("--budget, --batch_size, --test_clips and --seeds must be 1 or more")
    written = [out / "table1.md", out / "table1.json"]
    results: list[dict[str, Any]] = []
    todo = cells(seeds)
    for number, cell in enumerate(todo, start=1):
        config = run_config(cell, clips, batch_size, paper_start)
        run = out / cell.name
        print(f"[{number}/{len(todo)}] {cell}: {config.train.max_steps:,} steps of {batch_size}", flush=True)
        with one_of_several(f"stopped in cell {number} of {len(todo)}; the same command goes on"):
            _train(config, run, place)
        results.append(_measured(cell, run, test_clips, place))
        values = {"clips": clips, "batch_size": batch_size, "paper_start": paper_start, "cells": results}
        for path, text in zip(written, (_markdown(results), json.dumps(values, indent=1)), strict=True):
            with atomic_path(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
    print("\n" + _markdown(results) + "\n")
    print(f"wrote {written[0]} and {written[1]}")


def _train(config: RunConfig, path: Path, device: str) -> None:
    """Train a run for as long as the config says; one that has been trained for longer is refused."""
    from syncdraw import pretrained
    from syncdraw.training.run import train
    from syncdraw.training.run_folder import RunFolder

    card = pretrained.load_card(path) if (path / pretrained.CARD_FILE).is_file() else {}
    steps = card.get("trained", {}).get("steps", 0)
    if steps > config.train.max_steps:
        raise UserError(
            f"{path} has been trained for {steps:,} steps, longer than this budget's {config.train.max_steps:,}; "
            "raise --budget, or choose another --out"
        )
    if steps < config.train.max_steps:
        train(config, path, resume=RunFolder(path).holds_run, device=device)


def _measured(cell: Cell, run: Path, clips: int, device: str) -> dict[str, Any]:
    """What the JSON file says of a cell; measured once, and again where other clips are asked for."""
    from syncdraw import pretrained
    from syncdraw.evaluation.bounds import bound
    from syncdraw.evaluation.reports import data_of

    card = pretrained.load_card(run)
    kept = run / "test.json"
    asked = {"sha256": card["sha256"], "test_clips": clips}
    values: dict[str, Any] = {}
    with suppress(OSError, ValueError, AttributeError):  # what is missing or damaged is measured again
        values = json.loads(kept.read_text(encoding="utf-8"))
        if asked.items() <= values.items():
            return values
    test = data_of(card, None, "test")
    result = bound(pretrained.load(run, device=device), test, protocol=cell.protocol, clips=clips, progress=True)
    paper = PAPER[cell.attention, cell.digits, cell.captions]
    values = {
        **dataclasses.asdict(cell), **asked, **card["trained"], "hardware": hardware(device), "paper": paper,
        "bound": dataclasses.asdict(result),
    }  # fmt: skip
    with atomic_path(kept) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return values


def hardware(device: str) -> str:
    """What a device is, in words."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} thread(s) of a {os.cpu_count()}-core {platform.machine()} CPU"


def _markdown(results: Sequence[dict[str, Any]]) -> str:
    """The table as the paper prints it, ours beside its figures, and what went into each cell."""
    rows = [(attention, "binary") for attention in METHODS] + [("frame", "grey")]
    first = results[0]
    lines = [
        f"-ELBO in nats per video (lower is better) on {first['test_clips']:,} test clips after "
        f"{first['clips_seen']:,} training clips; in brackets the paper's Table 1. * = with captions.",
        "",
        "| | one digit | one digit* | two digits | two digits* |",
        "|---|---|---|---|---|",
    ]
    for attention, protocol in rows:
        shown = []
        for digits, captions in COLUMNS:
            found = [r for r in results if (r["attention"], r["protocol"], r["digits"], r["captions"])
                     == (attention, protocol, digits, captions)]  # fmt: skip
            shown.append(_shown(found, protocol))
        lines.append(f"| {METHODS[attention]}, `{protocol}` | {' | '.join(shown)} |")
    lines += [
        "",
        "+-: standard error over test clips, or standard deviation over seeds where there are several. Floor: the",
        "entropy of soft targets, which no model undercuts; the paper's figures lie below it: they are not `grey`.",
        "",
        "| cell | L_X | L_Z | steps | minutes | hardware |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        cell = Cell(**{field.name: r[field.name] for field in dataclasses.fields(Cell)})
        lines.append(
            f"| {cell} | {r['bound']['reconstruction']:,.1f} | {r['bound']['divergence']:,.1f} | {r['steps']:,} | "
            f"{r['minutes']} | {r['hardware']} |"
        )
    return "\n".join(lines)


def _shown(found: list[dict[str, Any]], protocol: str) -> str:
    if not found:
        return "not yet"
    bounds = [r["bound"]["negative_elbo"] for r in found]
    # Over seeds where there are several, over clips where there is one.
    error = statistics.stdev(bounds) if len(bounds) > 1 else found[0]["bound"]["standard_error"]
    beside = f"{found[0]['paper']:,.1f}"
    if protocol == "grey":
        beside = f"floor {found[0]['bound']['entropy_floor']:,.1f}"
    return f"{statistics.mean(bounds):,.1f} +- {error:.1f} ({beside})"
