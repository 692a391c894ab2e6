"""What each look at two things on top of each other brings:

    python benchmarks/looking.py MODEL --out docs/measured/looking.json

MODEL takes a first look (model.first_look). Its clips are mixtures of two clips of one thing each, from the test split,
so that it is known what each layer should have. For each way to look: the bound, and the share of lit pixels that are
given to the wrong layer; last, the bound where the layers' shares are told. What other models have in the file stays.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncdraw import pretrained
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.devices import start_torch
from syncdraw.extensions import looking
from syncdraw.files import atomic_path
from syncdraw.interface import targets
from syncdraw.reading import read_settings

BATCH = 50
LOOKS = {
    "first look, then the last": (1, 0), "one look between": (1, 1), "two looks between": (1, 2),
    "four looks between": (1, 4), "the best of two first looks, two between": (2, 2), "of four": (4, 2),
    "of eight": (8, 2),
}  # fmt: skip
"""How many first looks, and how many looks between the first and the last one."""


def mixtures(config: BouncingMNISTConfig, first: int, count: int) -> tuple[Tensor, Tensor, list[str]]:
    """uint8 videos `[clip, frame, channel, height, width]`, their parts `[clip, layer, ...]`, and captions."""
    layers = config.digits
    alone = BouncingMNIST(dataclasses.replace(config, digits=1), "test")
    clips = alone.take(np.arange(first * layers, (first + count) * layers))
    parts = torch.from_numpy(clips.videos).unflatten(0, (count, layers))
    whole = parts.sum(dim=1, dtype=torch.int32).clamp(max=255).to(torch.uint8)
    assert clips.captions is not None
    texts = [" and ".join(clips.captions[at : at + layers]) for at in range(0, count * layers, layers)]
    return whole, parts, texts


def measure(model: looking.LookingSyncDraw, config: BouncingMNISTConfig, clips: int) -> dict[str, Any]:
    """The rows of a model."""
    noise = torch.Generator().manual_seed(0)
    found: dict[str, list[Tensor]] = {}
    wrong: dict[str, list[Tensor]] = {}
    shares_of = model._shares
    for first in range(0, clips, BATCH):
        whole, parts, texts = mixtures(config, first, min(BATCH, clips - first))
        batch = model.prepare(whole.numpy(), texts, noise)
        seen, alone = targets(whole, model.config.protocol), targets(parts, model.config.protocol)
        for name, (looking.STARTS, looking.BETWEEN) in LOOKS.items():
            shares = shares_of(seen, batch.tokens)
            wrong.setdefault(name, []).append(misplaced(shares, alone, model.captioned))
            model.shares = lambda *_, shares=shares: shares  # type: ignore[method-assign]
            found.setdefault(name, []).append(model.bound(batch).negative_elbo)
        model.shares = lambda *_, alone=alone: alone  # type: ignore[method-assign]
        found.setdefault("told", []).append(model.bound(batch).negative_elbo)
    rows = []
    for name, values in found.items():
        nats = torch.cat(values).double()
        row = {"looks": name, "negative_elbo": nats.mean().item(), "median": nats.median().item()}
        row["standard_error"] = nats.std().item() / len(nats) ** 0.5
        if name in wrong:
            row["misplaced"] = torch.cat(wrong[name]).mean().item()
        rows.append(row)
    return {"protocol": model.config.protocol, "clips": clips, "rows": rows}


def misplaced(shares: Tensor, parts: Tensor, ordered: bool) -> Tensor:
    """The share of each clip's light that is not where it belongs; layers without clauses may come in any order."""
    layers = range(parts.shape[1])
    orders = [list(order) for order in permutations(layers)] if not ordered else [list(layers)]
    apart = torch.stack([(shares - parts[:, order]).abs().flatten(1).sum(dim=1) for order in orders])
    return apart.min(dim=0).values / parts.flatten(1).sum(dim=1)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    start_torch("cpu")
    model, card = pretrained.load(arguments.model), pretrained.load_card(arguments.model)
    if not isinstance(model, looking.LookingSyncDraw):
        raise SystemExit(f"{arguments.model} takes no first look")
    config = read_settings(BouncingMNISTConfig, card["bouncing"], arguments.model)
    measured = measure(model, config, arguments.clips)
    for row in measured["rows"]:
        share = f"{100 * row['misplaced']:5.1f} %" if "misplaced" in row else ""
        print(f"{row['looks']:40} {row['negative_elbo']:8.1f} +- {row['standard_error']:.1f}  {share}")
    if arguments.out:
        known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        with atomic_path(arguments.out) as path:
            path.write_text(json.dumps({**known, Path(arguments.model).name: measured}, indent=1) + "\n")
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
