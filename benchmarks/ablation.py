"""What each of our choices is worth: python benchmarks/ablation.py [--minutes 6] [--jobs 2] [--out runs/ablation]

Trains one-digit models from nothing, each for the same time on one thread: by the papers' settings, by ours, and by
ours with one of the papers' put back. Then measures their bounds and their samples. Variants that are done are not
done again, so it can be stopped and started.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from syncdraw import figures, pretrained
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.evaluation.bounds import bound
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.readings import NO_MOTION, readable_share
from syncdraw.evaluation.samples import sample_batches
from syncdraw.training import read_recipe, train
from syncdraw.training.recipes import merged

RECIPE = "paper/mnist1"
OURS: dict[str, Any] = {
    "model.canvas": "learned", "model.attention.smooth_start": True, "model.attention.content": "shared",
    "model.attention.write_grid_size": 16, "model.prior.kind": "network", "model.latent_size": 16,
    "model.draw_steps": 8, "bouncing.clips": 0, "train.batch_size": 20, "train.divergence_weight": 3.0,
    "train.optimizer.warmup_steps": 100, "train.optimizer.ema": 0.998, "train.optimizer.matrix_learning_rate": 3e-3,
}  # fmt: skip
PAPER: dict[str, Any] = {
    "model.canvas": "zero", "model.attention.smooth_start": False, "model.attention.content": "per_frame",
    "model.attention.write_grid_size": 8, "model.prior.kind": "standard", "model.latent_size": 100,
    "model.draw_steps": 10, "bouncing.clips": 12_000, "train.batch_size": 100, "train.divergence_weight": 1.0,
    "train.optimizer.warmup_steps": 0, "train.optimizer.ema": 0.0, "train.optimizer.matrix_learning_rate": None,
}  # fmt: skip
# By the names that the tables show.
PUT_BACK = {
    "Adam alone": "train.optimizer.matrix_learning_rate", "canvas zero": "model.canvas",
    "window_start paper": "model.attention.smooth_start", "content per_frame": "model.attention.content",
    "write_grid_size 8": "model.attention.write_grid_size", "prior standard": "model.prior.kind",
    "latent_size 100": "model.latent_size", "batch_size 100": "train.batch_size", "ema 0": "train.optimizer.ema",
    "divergence_weight 1": "train.divergence_weight",
}  # fmt: skip
OTHER = {
    "divergence_weight 8": {"train.divergence_weight": 8.0}, "draw_steps 12": {"model.draw_steps": 12},
    "grid_size 12": {"model.grid_size": 12}, "hidden_size 512": {"model.hidden_size": 512},
}  # fmt: skip
MUON = "train.optimizer.matrix_learning_rate"
VARIANTS: dict[str, dict[str, Any]] = {
    "the papers' settings": PAPER,
    "ours": OURS,
    **{f"ours, but {name}": OURS | {setting: PAPER[setting]} for name, setting in PUT_BACK.items()},
    **{f"ours, but {name}": OURS | change for name, change in OTHER.items()},
    "the papers' settings, but Muon": PAPER | {MUON: OURS[MUON]},
}
ENDLESS = {"model.protocol": "grey", "train.max_steps": 10_000_000, "train.every": 10_000_000}
TEST_CLIPS, SAMPLES = 1_000, 500


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Dotted settings as a recipe's YAML holds them."""
    each = (reduce(lambda inside, name: {name: inside}, reversed(path.split(".")), v) for path, v in settings.items())
    return reduce(merged, each, {})


def folder_of(out: Path, name: str) -> Path:
    return out / "".join(c if c.isalnum() else "-" for c in name)


def train_variant(out: Path, name: str) -> None:
    """Until Ctrl-C, which saves."""
    (stage,) = read_recipe(RECIPE, nested(VARIANTS[name] | ENDLESS)).stages
    with suppress(KeyboardInterrupt):
        train(stage.config, folder_of(out, name), progress=False, device="cpu")


def train_for(out: Path, name: str, minutes: float) -> None:
    """In a process of its own, until the time is up."""
    run = folder_of(out, name)
    if (run / pretrained.CARD_FILE).is_file():
        if pretrained.load_card(run)["trained"]["minutes"] > minutes - 0.5:  # less the start of the process
            return
        shutil.rmtree(run)
    command = [sys.executable, __file__, "--out", str(out), "--train", name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (out / f"{run.name}.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            process.wait(60 * minutes)
            raise RuntimeError(f"{name} ended early; see {log.name}")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
    print(f"trained: {name}", flush=True)


def measure(run: Path) -> dict[str, Any]:
    kept = run / "measured.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    model, test = pretrained.load(run), BouncingMNIST(BouncingMNISTConfig(), "test")
    values: dict[str, Any] = dict(pretrained.load_card(run)["trained"])
    for protocol in ("grey", "binary"):
        measured = bound(model, test, protocol=protocol, clips=TEST_CLIPS)
        values |= {protocol: measured.negative_elbo, f"{protocol}_standard_error": measured.standard_error}
    reading = Judge.load().read(torch.cat(list(sample_batches(model, [""] * SAMPLES, 0))), 1)
    values["readable_share"] = readable_share(reading)
    values["one_axis"] = (reading.motions != NO_MOTION).all(dim=1).float().mean().item()
    kept.write_text(json.dumps(values))
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--record", type=Path, default=Path("docs/measured/ablation.json"))
    parser.add_argument("--train", choices=VARIANTS, help="only train this one, until Ctrl-C")
    arguments = parser.parse_args()
    if arguments.train is not None:
        train_variant(arguments.out, arguments.train)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda name: train_for(arguments.out, name, arguments.minutes), arguments.variants))
    results = {name: measure(folder_of(arguments.out, name)) for name in arguments.variants}
    print("| | clips seen | -ELBO `grey` | -ELBO `binary` | one axis | readable |\n|---|---|---|---|---|---|")
    for name, values in results.items():
        bounds = " | ".join(f"{values[p]:,.0f} +- {values[f'{p}_standard_error']:.0f}" for p in ("grey", "binary"))
        shares = f"{values['one_axis']:.1%} | {values['readable_share']:.1%}"
        print(f"| {name} | {values['clips_seen']:,} | {bounds} | {shares} |")
    shown_as = {"the papers' settings": "paper", "ours": "ours"}
    for name, shown in shown_as.items() if shown_as.keys() <= results.keys() else ():
        out = Path("docs/images") / f"equal-time-{shown}.png"
        figures.picture(str(folder_of(arguments.out, name)), "samples", num=32, scale=1, out=out)
    values = {"minutes": arguments.minutes, "jobs": arguments.jobs, "test_clips": TEST_CLIPS, "samples": SAMPLES,
              "settings": {name: VARIANTS[name] for name in arguments.variants}, "results": results}  # fmt: skip
    arguments.record.write_text(json.dumps(values, indent=1) + "\n")
    print(f"wrote {arguments.record}")


if __name__ == "__main__":
    main()
