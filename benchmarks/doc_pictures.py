"""Draw the pictures of README.md and docs/: python benchmarks/doc_pictures.py

Nothing is curated: samples are those of seed 0, in order. Pictures of the cells of Table 1 are drawn where the runs of
`syncdraw reproduce table1` are at hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import syncdraw
from emoji_folder import clips
from syncdraw import cli, figures, plots
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig, all_combinations, caption, unseen_combinations
from syncdraw.datasets.mnist_stories import MNISTStories

FOLDER = Path("docs/images")
CELLS = {"cuboid-1-binary-seed0": "baseline1", "cuboid-2-binary-seed0": "baseline2"}
"""Runs of `syncdraw reproduce table1`, and the names of their pictures."""


def captions_of(combinations: list[tuple[tuple[int, int], ...]]) -> list[str]:
    return [caption(*zip(*states, strict=True)) for states in combinations]


def caption_sheet(name: str, captions: list[str], picture: str | None = None, columns: int = 2) -> None:
    """One sample for each caption, seed 0."""
    videos = syncdraw.load(name).generate(captions, seed=0)
    plots.save_picture(plots.sample_sheet(videos, captions, columns=columns), FOLDER / f"{picture or name}.png")


def moving_sample() -> None:
    """README's first picture: nine of the ten captions that `mnist1-captions` never saw in training."""
    unseen = captions_of(unseen_combinations(1))[:9]
    cli.main(["generate", *unseen, "--scale", "2", "-o", str(FOLDER / "unseen-captions.gif")])


def moving_emoji() -> None:
    """README's second picture: every thirteenth caption that `emoji-captions` never saw in training."""
    unseen = [caption for split, caption, _, _ in clips() if split != "train"][::13]
    out = FOLDER / "emoji.webp"
    cli.main(["generate", *unseen, "--model", "emoji-captions", "--fps", "8", "--scale", "2", "-o", str(out)])


def of_models() -> None:
    caption_sheet("mnist1-captions", captions_of(all_combinations(1)))
    caption_sheet("mnist2-captions", captions_of(unseen_combinations(2))[::2][:20])
    three = "digit 3 is moving left and right"
    figures.picture("mnist1-captions", "alignment", caption=three, out=FOLDER / "mnist1-captions-alignment.png")
    figures.picture("mnist1-captions", "canvases", caption=three, out=FOLDER / "mnist1-captions-canvases.png")
    both = "digit 3 is moving left and right and digit 7 is moving up and down"
    figures.picture("mnist2-captions", "alignment", caption=both, out=FOLDER / "mnist2-captions-alignment.png")
    kept = MNISTStories(BouncingMNISTConfig(combinations="unseen"), "test").take(np.arange(20)).captions or []
    caption_sheet("mnist-stories", kept)
    three_digits = [caption([1, 4, 7], [1, 0, 1]), caption([9, 0, 5], [0, 1, 0])]
    caption_sheet("mnist2-captions", three_digits, "three-digits", columns=1)
    for kind in ("canvases", "write_windows", "read_windows", "divergence"):
        figures.picture("mnist1", kind, out=FOLDER / f"mnist1-{kind.replace('_', '-')}.png")  # type: ignore[arg-type]
    for model in ("mnist1", "mnist1-binary", "mnist2"):
        for kind in ("samples", "real"):
            out = FOLDER / f"{model}-{kind}.png"
            figures.picture(model, kind, num=64, scale=1, out=out)  # type: ignore[arg-type]


def of_table1(runs: Path) -> None:
    for cell, name in CELLS.items():
        if (runs / cell).is_dir():
            figures.picture(str(runs / cell), "samples", num=8, scale=1, out=FOLDER / f"{name}-samples.png")
        else:
            print(f"{runs / cell} is not there, so {name}-samples.png stays as it is")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/table1"), help="of syncdraw reproduce table1")
    arguments = parser.parse_args()
    moving_sample()
    moving_emoji()
    of_models()
    of_table1(arguments.runs)


if __name__ == "__main__":
    main()
