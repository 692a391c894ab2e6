"""How near a model of sprites comes to clips that it has never seen: python benchmarks/sprites.py MODEL

Test clips are read and drawn again, and compared pixel by pixel (PSNR, the mean over clips); samples for their captions
are compared in sharpness and motion. `syncdraw evaluate captions` says whether samples show what their captions say.

Writes docs/measured/sprites-looks.json; docs/images/sprites-unseen.webp: real clips above samples for captions that
training kept, those of the first 24 test clips, seed 0.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import syncdraw
from syncdraw import exploring, pretrained
from syncdraw.datasets.sprites import Sprites
from syncdraw.evaluation.looks import Looks

CLIPS, PICTURES, COLUMNS = 500, 24, 8


def psnr(drawn: Tensor, real: Tensor) -> Tensor:
    """Peak signal to noise of clips in [0, 1], in decibels `[batch]`."""
    return -10 * (drawn - real).square().flatten(1).mean(dim=1).log10()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="sprites-captions")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    model = pretrained.load(arguments.model)
    values: dict[str, Any] = {"clips": arguments.clips, "seed": arguments.seed, "protocol": model.config.protocol}
    for kind in ("seen", "unseen"):
        clips = Sprites("test", kind).take(np.arange(arguments.clips))
        real = torch.from_numpy(clips.videos).float() / 255
        found = []
        for some, texts in zip(
            real.split(100), np.array_split(clips.captions or [], -(-len(real) // 100)), strict=True
        ):
            with torch.no_grad():
                found.append(psnr(exploring.reconstruct(model, some, list(texts), seed=arguments.seed).videos, some))
        decibels = torch.cat(found)
        values[kind] = {
            "psnr": decibels.mean().item(), "standard_error": (decibels.std() / len(decibels) ** 0.5).item(),
            **Looks(clips).scores(model, arguments.seed),
        }  # fmt: skip
        print(kind, values[kind], flush=True)
    kept = Sprites("test", "unseen").take(np.arange(PICTURES))
    drawn = model.generate(kept.captions or [], seed=arguments.seed).cpu()
    rows: list[Tensor] = []
    for first in range(0, PICTURES, COLUMNS):
        rows += [torch.from_numpy(kept.videos[first : first + COLUMNS]).float() / 255, drawn[first : first + COLUMNS]]
    images = arguments.docs / "images"
    syncdraw.save_video(torch.cat(rows), images / "sprites-unseen.webp", columns=COLUMNS)
    out = arguments.docs / "measured" / "sprites-looks.json"
    out.write_text(json.dumps(values, indent=1) + "\n")
    print(f"wrote {out} and {images / 'sprites-unseen.webp'}")


if __name__ == "__main__":
    main()
