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
from pathlib import Path
from typing import Any

import torch

from syncdraw import evaluate, figures, pretrained
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.judge import NO_MOTION, Judge, readable_share

OURS: dict[str, Any] = {
    "model.canvas": "learned", "model.window_start": "smooth", "model.content": "shared", "model.write_grid_size": 16,
    "model.prior": "network", "model.latent_size": 16, "model.draw_steps": 8, "bouncing.clips": 0,
    "train.batch_size": 20, "train.warmup_steps": 100, "train.ema": 0.998, "train.divergence_weight": 3,
    "train.matrix_learning_rate": 3e-3,
}  # fmt: skip
PAPER: dict[str, Any] = {
    "model.canvas": "zero", "model.window_start": "paper", "model.content": "per_frame", "model.write_grid_size": 8,
    "model.prior": "standard", "model.latent_size": 100, "model.draw_steps": 10, "bouncing.clips": 12_000,
    "train.batch_size": 100, "train.warmup_steps": 0, "train.ema": 0, "train.divergence_weight": 1,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "the papers' settings": PAPER,
    "ours": OURS,
    "ours, but Adam alone": {name: value for name, value in OURS.items() if name != "train.matrix_learning_rate"},
    **{f"ours, but {name.partition('.')[2]} {PAPER[name]}": OURS | {name: PAPER[name]} for name in (
        "model.canvas", "model.window_start", "model.content", "model.write_grid_size", "model.prior",
        "model.latent_size", "train.batch_size", "train.ema", "train.divergence_weight",
    )},
    **{f"ours, but {name.partition('.')[2]} {value}": OURS | {name: value} for name, value in {
        "train.divergence_weight": 8, "model.draw_steps": 12, "model.grid_size": 12, "model.hidden_size": 512,
    }.items()},
    "the papers' settings, but Muon": PAPER | {"train.matrix_learning_rate": OURS["train.matrix_learning_rate"]},
}  # fmt: skip
TEST_CLIPS, SAMPLES = 1_000, 500


def folder_of(out: Path, name: str) -> Path:
    return out / "".join(c if c.isalnum() else "-" for c in name)


def train(out: Path, name: str, minutes: float) -> None:
    """Until the time is up; then as if by Ctrl-C, which saves."""
    run = folder_of(out, name)
    if (run / pretrained.CARD_FILE).is_file():
        if pretrained.load_card(run)["trained"]["minutes"] > minutes - 0.5:  # less the start of the process
            return
        shutil.rmtree(run)
    settings = [f"--{option}={value}" for option, value in VARIANTS[name].items()]
    endless = ["--train.max_steps=10000000", "--train.validate_every=10000000", "--train.sample_every=10000000"]
    command = [sys.executable, "-m", "syncdraw", "train", "paper/mnist1", f"--out={run}", "--model.protocol=grey"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (out / f"{run.name}.log").open("w") as log:
        process = subprocess.Popen([*command, *endless, *settings], env=environment, stdout=log, stderr=log)
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
        bound = evaluate.bound(model, test, protocol=protocol, clips=TEST_CLIPS)
        values |= {protocol: bound.negative_elbo, f"{protocol}_standard_error": bound.standard_error}
    reading = Judge.load().read(torch.cat(list(evaluate.sample_batches(model, [""] * SAMPLES, 0))), 1)
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
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda name: train(arguments.out, name, arguments.minutes), arguments.variants))
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
