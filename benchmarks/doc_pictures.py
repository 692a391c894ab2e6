"""Draw every picture of docs/models.md from the shipped models, nothing curated: python benchmarks/doc_pictures.py"""

from __future__ import annotations

from pathlib import Path

import syncdraw
from syncdraw import figures, plots
from syncdraw.datasets.bouncing_mnist import all_combinations, caption, unseen_combinations

FOLDER = Path("docs/images")


def caption_sheet(name: str, captions: list[str], picture: str | None = None, columns: int = 2) -> None:
    """One sample for each caption, seed 0."""
    videos = syncdraw.load(name).generate(captions, seed=0)
    plots.save_picture(plots.sample_sheet(videos, captions, columns=columns), FOLDER / f"{picture or name}.png")


def main() -> None:
    one = [caption(*zip(*states, strict=True)) for states in all_combinations(1)]
    two = [caption(*zip(*states, strict=True)) for states in unseen_combinations(2)[::2]][:20]
    caption_sheet("mnist1-captions", one)
    caption_sheet("mnist2-captions", two)
    three = "digit 3 is moving left and right"
    figures.picture("mnist1-captions", "alignment", caption=three, out=FOLDER / "mnist1-captions-alignment.png")
    figures.picture("mnist1-captions", "canvases", caption=three, out=FOLDER / "mnist1-captions-canvases.png")
    both = "digit 3 is moving left and right and digit 7 is moving up and down"
    figures.picture("mnist2-captions", "alignment", caption=both, out=FOLDER / "mnist2-captions-alignment.png")
    three_digits = [caption([1, 4, 7], [1, 0, 1]), caption([9, 0, 5], [0, 1, 0])]
    caption_sheet("mnist2-captions", three_digits, "three-digits", columns=1)
    for kind in ("canvases", "write_windows", "divergence"):
        figures.picture("mnist1", kind, out=FOLDER / f"mnist1-{kind.replace('_', '-')}.png")  # type: ignore[arg-type]
    for model in ("mnist1", "mnist1-binary", "mnist2"):
        for kind in ("samples", "real"):
            out = FOLDER / f"{model}-{kind}.png"
            figures.picture(model, kind, num=64, scale=1, out=out)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
