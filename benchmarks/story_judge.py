"""How well the judge reads MNIST stories: its accuracy on real test clips, the ceiling of what a model can reach.

python benchmarks/story_judge.py writes docs/measured/story-judge.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig, Combinations
from syncdraw.datasets.mnist_stories import MNISTStories
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.stories import search_for, story_fidelity
from syncdraw.files import atomic_path

CLIPS = {1: 1_000, 2: 300, 3: 100}
"""How many clips, by the number of digits: overlapping glyphs take longer to find."""


def measure(digits: int, kind: Combinations, clips: int) -> dict[str, Any]:
    """Shares of what captions say that the judge reads in real test clips, and of whole captions."""
    dataset = MNISTStories(BouncingMNISTConfig(digits=digits, combinations=kind), "test")
    real = dataset.take(np.arange(clips))
    assert real.captions is not None
    reading = Judge.load().read(torch.from_numpy(real.videos).float() / 255, digits, search=search_for(real))
    shares = story_fidelity(reading, real.captions, dataset.shape[2:])
    return {"digits": digits, "captions": kind, "clips": clips} | {name: round(v, 4) for name, v in shares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/measured/story-judge.json"))
    out = parser.parse_args().out
    rows = []
    for digits, clips in CLIPS.items():
        kinds: tuple[Combinations, ...] = ("seen", "unseen") if digits < 3 else ("all",)
        for kind in kinds:
            rows.append(measure(digits, kind, clips))
            print(json.dumps(rows[-1]), flush=True)
    with atomic_path(out) as path:
        path.write_text(json.dumps({"command": "python benchmarks/story_judge.py", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
