"""What the sizes of the model are worth on films: python benchmarks/film_settings.py CLIPS [--steps 500] [--jobs 2]

Trains the recipe `folder` on a folder of captioned clips, and again with one setting changed, for the same number of
steps each and on one thread each. Variants that are finished are not trained again, so it can be stopped and started;
what was recorded of others stays.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ablation import folder_of
from cpu import processor
from syncdraw import pretrained

VARIANTS: dict[str, dict[str, Any]] = {
    "the recipe `folder`": {},
    "6 drawing steps (12)": {"model.draw_steps": 6},
    "24 drawing steps (12)": {"model.draw_steps": 24},
    "8 x 8 filters to write with (12 x 12)": {"model.attention.write_grid_size": 8},
    "16 x 16 filters to write with (12 x 12)": {"model.attention.write_grid_size": 16},
    "painted patches": {"model.attention.content": "painted"},
    "painted patches, 24 x 24 filters to write with (12 x 12)": {
        "model.attention.content": "painted",
        "model.attention.write_grid_size": 24,
    },
    "12 x 12 filters to read with (8 x 8)": {"model.grid_size": 12},
    "8 latents (32)": {"model.latent_size": 8},
    "128 latents (32)": {"model.latent_size": 128},
}
"""By what the table shows: what is changed, with what it usually is."""

COLUMNS = "L_X", "L_Z"
HELD_OUT = "validation_L_X", "validation_L_Z", "sample_sharpness", "sample_motion"


def train_variant(clips: Path, out: Path, name: str, steps: int, shape: tuple[int, int]) -> dict[str, Any]:
    """A finished run of its own, and what it printed on its way."""
    run = folder_of(out, name)
    height, width = shape
    settings = {"model.height": height, "model.width": width, "train.max_steps": steps, "train.every": steps // 2}
    options = [part for key, value in (settings | VARIANTS[name]).items() for part in (f"--{key}", f"{value}")]
    asked = ["--resume"] if run.is_dir() else ["--data", f"{clips}", *options]
    if not (run / pretrained.CARD_FILE).is_file() or pretrained.load_card(run)["trained"]["steps"] < steps:
        command = [sys.executable, "-m", "syncdraw", "train", "--out", f"{run}", *asked]
        with run.with_suffix(".log").open("a") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
        print(f"trained: {name}", flush=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = {line["step"]: {key: line[key] for key in COLUMNS} for line in lines if "L_X" in line}
    held_out = {line["step"]: {key: line[key] for key in HELD_OUT} for line in lines if "validation_L_X" in line}
    card = pretrained.load_card(run)
    return {
        "changed": VARIANTS[name],
        "processor": processor(),
        "training": trained,
        "held_out": held_out,
        "trained": card["trained"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, help="a folder of captioned clips, such as that of kth_folder.py")
    parser.add_argument("--steps", type=int, default=500, help="of each run")
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--out", type=Path, default=Path("runs/film_settings"))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--about", default="", help="what the clips are, for the record")
    parser.add_argument("--record", type=Path, default=Path("docs/measured/films-sizes.json"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    shape = arguments.height, arguments.width
    with ThreadPoolExecutor(arguments.jobs) as pool:
        train = partial(train_variant, arguments.clips, arguments.out, steps=arguments.steps, shape=shape)
        results = dict(zip(arguments.variants, pool.map(train, arguments.variants), strict=True))
    values = {"about": arguments.about, "steps": arguments.steps, "shape": shape}
    before = json.loads(arguments.record.read_text()) if arguments.record.exists() else {}
    if before.get("steps") == arguments.steps and before.get("shape") == list(shape):
        values = {key: value for key, value in before.items() if key != "results"}
        results = before["results"] | results
    values["results"] = results
    arguments.record.write_text(json.dumps(values, indent=1) + "\n")
    print(f"wrote {arguments.record}")


if __name__ == "__main__":
    main()
