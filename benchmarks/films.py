"""Measure a run on a folder of captioned clips, and draw a sample beside a real clip for each of its captions:
python benchmarks/films.py RUN NAME --command "syncdraw train ..." --hardware "..."

Writes docs/measured/NAME.json and docs/images/NAME.webp. Nothing is curated: the real clip is the first of its caption,
the sample that of the first seed. Captions that no training clip has are marked.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import syncdraw
from syncdraw import plots, pretrained
from syncdraw.datasets.clips import spread
from syncdraw.datasets.prepared import PreparedClips
from syncdraw.evaluation.bounds import bits_per_dimension, bound
from syncdraw.evaluation.captions import clips_report
from syncdraw.evaluation.looks import Looks
from syncdraw.likelihoods import DiscretisedLogistic
from syncdraw.training.run_folder import RunFolder
from syncdraw.training.settings import as_dict
from syncdraw.training.telling import Yardstick


def picture(models: dict[str, syncdraw.SyncDraw], data: str, out: Path, seed: int, scale: int) -> None:
    """A row for each caption: a real clip, and a sample of each model."""
    real: dict[str, tuple[bool, np.ndarray[Any, Any]]] = {}
    for split in ("train", "validation", "test"):
        clips = PreparedClips(data, split).take(np.arange(len(PreparedClips(data, split))))
        for video, caption in zip(clips.videos, clips.captions or [], strict=True):
            real.setdefault(caption, (split == "train", video))
    captions = sorted(real)
    clips = torch.stack([torch.from_numpy(real[caption][1]) / 255 for caption in captions])
    rows = torch.stack([clips, *(model.generate(captions, seed=seed).cpu() for model in models.values())], dim=1)
    names = []
    for caption in captions:
        unseen = "" if real[caption][0] else ", not in training"
        names += [f"real: {caption}", *(f"{name}{unseen}" for name in models)]
    plots.save_picture(plots.sample_sheet(rows.flatten(0, 1), names, columns=rows.shape[1], scale=scale), out)


def costs(model: syncdraw.SyncDraw, splits: dict[str, PreparedClips], seed: int) -> dict[str, dict[str, float]]:
    """The bound of each split, between the mean image of training and the floor."""
    values = {}
    for split, clips in splits.items():
        result = bound(model, clips, protocol=model.config.protocol, seed=seed)
        yardstick = Yardstick.of(splits["train"], clips, model.config.protocol, len(clips))
        values[split] = {
            "L_X": result.reconstruction, "L_Z": result.divergence, "negative_elbo": result.negative_elbo,
            "standard_error": result.standard_error, "mean_image": yardstick.mean_image, "floor": yardstick.floor,
            "explained": yardstick.explained(result.reconstruction),
        }  # fmt: skip
    return values


def splits_of(data: str) -> dict[str, PreparedClips]:
    return {split: PreparedClips(data, split) for split in ("train", "validation", "test")}


def measure(model: syncdraw.SyncDraw, run: Path, card: dict[str, Any], samples: int, seed: int) -> dict[str, Any]:
    """The bound on held-out clips between its anchors, what a reader of captions sees, and how samples look."""
    protocol, splits = model.config.protocol, splits_of(card["data"])
    values: dict[str, Any] = {"clips": {split: len(clips) for split, clips in splits.items()}, "protocol": protocol}
    values |= costs(model, splits, seed)
    held = splits["validation"].take(np.arange(len(splits["validation"])))
    if protocol == "levels":
        bits = {name: bits_per_dimension(values[name]["negative_elbo"], clips.shape) for name, clips in splits.items()}
    else:
        bits = in_bits(model, splits, seed)
    values["bits_per_dimension"] = bits
    values["looks"] = Looks(held).scores(model, seed)
    report = clips_report(model, card, data=None, samples=samples, seed=seed, temperature=1.0)
    print(report.text)
    values["captions"] = report.values
    curve = [line for line in RunFolder(run).metrics() if "L_X" in line]
    values["curve"] = [{name: line[name] for name in ("step", "seconds", "L_X", "L_Z")} for line in curve]
    return values


def in_bits(model: syncdraw.SyncDraw, splits: dict[str, PreparedClips], seed: int) -> dict[str, float]:
    """-ELBO of each split in bits per dimension, for a model that has learned no scale: it gets the one that suits what
    it draws of training clips best."""
    model = copy.deepcopy(model)
    model.config = dataclasses.replace(model.config, protocol="levels")
    some = splits["train"].take(spread(len(splits["train"]), 40))
    model.generator.likelihood = DiscretisedLogistic(model.config.channels)
    with torch.no_grad():
        drawn = model.bound(model.prepare(some.videos, some.captions, seed)).videos
    model.generator.likelihood.fit(drawn, torch.from_numpy(some.videos) / 255)
    return {
        split: bits_per_dimension(bound(model, clips, protocol="levels", seed=seed).negative_elbo, clips.shape)
        for split, clips in splits.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--command", required=True)
    parser.add_argument("--hardware", required=True)
    parser.add_argument("--beside", action="append", default=[], metavar="LABEL=RUN",
                        help="draw samples of another run beside this one's")  # fmt: skip
    parser.add_argument("--label", default="drawn", help="what the picture calls this run's samples")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    model, card = pretrained.load(arguments.run), pretrained.load_card(arguments.run)
    values = {
        "command": arguments.command, "hardware": arguments.hardware, "seed": arguments.seed,
        "trained": {key: card["trained"][key] for key in ("steps", "clips_seen", "minutes")},
        "settings": {**as_dict(RunFolder(arguments.run).config()), "data": Path(card["data"]).parent.name},
        **measure(model, arguments.run, card, arguments.samples, arguments.seed),
    }  # fmt: skip
    out = arguments.docs / "measured" / f"{arguments.name}.json"
    out.write_text(json.dumps(values, indent=1) + "\n")
    image = arguments.docs / "images" / f"{arguments.name}.webp"
    others = {label: pretrained.load(Path(run)) for label, _, run in (text.partition("=") for text in arguments.beside)}
    picture({arguments.label: model, **others}, card["data"], image, arguments.seed, arguments.scale)
    print(f"wrote {out} and {image}")


if __name__ == "__main__":
    main()
