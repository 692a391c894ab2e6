"""Which parts of a caption do samples of emoji show: python benchmarks/emoji_parts.py RUN

A caption of `benchmarks/emoji_folder.py` names who, what and which skin. The two readers of captions that `syncdraw
evaluate captions` trains on real clips say what each sample shows, and so does the table for each part. The model draws
one sample for each caption, of training and of the others. Beside them stand the bound of each split, and how sharp
samples are.

Writes docs/measured/emoji-parts.json, and docs/images/emoji-unseen.webp: real clips above samples for captions that are
in no training clip, every fourth of them, seed 0.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import syncdraw
from films import costs, splits_of
from syncdraw import pretrained
from syncdraw.datasets.prepared import PreparedClips
from syncdraw.evaluation.caption_reader import plain
from syncdraw.evaluation.caption_readings import read_samples, trained_readers
from syncdraw.evaluation.looks import Looks

PARTS = re.compile(
    r"(?P<what>(?:an? )?(?P<who>person|woman|man)?.*?) with (?P<skin>(?:medium )?light|(?:medium )?dark|medium|yellow) "
    r"skin(?P<does>.*)"
)

EVERY, COLUMNS = 4, 8
"""Which of the unseen captions are drawn in the picture, and how many in a row."""


def parts(caption: str) -> dict[str, str]:
    """Who, what and which skin, of a caption without its punctuation; who is nobody where only a hand is shown."""
    found = PARTS.fullmatch(caption)
    assert found, caption
    who = found["who"] or ""
    what = found["does"].strip() if who else found["what"]
    return {"who": who, "what": what, "skin": found["skin"]}


def shares(found: Sequence[str], told: Sequence[str]) -> dict[str, float]:
    """How many captions are read right, whole and by part; who is counted where somebody is asked for."""
    pairs = [(parts(one), parts(other)) for one, other in zip(found, told, strict=True)]
    people = [(one, other) for one, other in pairs if other["who"]]
    return {
        "clips": len(pairs),
        "whole": float(np.mean([one == other for one, other in pairs])),
        "all but the skin": float(np.mean([{**one, "skin": ""} == {**other, "skin": ""} for one, other in pairs])),
        "what": float(np.mean([one["what"] == other["what"] for one, other in pairs])),
        "who": float(np.mean([one["who"] == other["who"] for one, other in people])),
        "skin": float(np.mean([one["skin"] == other["skin"] for one, other in pairs])),
    }


def picture(model: syncdraw.SyncDraw, data: str, captions: Sequence[str], out: Path) -> None:
    """Real clips above samples, `COLUMNS` of each in a row."""
    real = {}
    for split in ("validation", "test"):
        dataset = PreparedClips(data, split)
        clips = dataset.take(np.arange(len(dataset)))
        for video, caption in zip(clips.videos, clips.captions or [], strict=True):
            real.setdefault(plain(caption), video)
    rows = [captions[first : first + COLUMNS] for first in range(0, len(captions), COLUMNS)]
    drawn = model.generate(list(captions), seed=0).cpu()
    videos = []
    for number, row in enumerate(rows):
        videos += [torch.from_numpy(real[caption]) / 255 for caption in row]
        videos += drawn[number * COLUMNS :][: len(row)]
    syncdraw.save_video(torch.stack(videos), out, columns=COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="of the recipe emoji-captions")
    parser.add_argument("--data", help="prepared clips, if not those of the run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    model, card = pretrained.load(arguments.run), pretrained.load_card(arguments.run)
    assert isinstance(model, syncdraw.SyncDraw)
    data = arguments.data or card["data"]
    readers, told = trained_readers(card, arguments.data, arguments.seed)
    seen = sorted({plain(caption) for caption in told["train"]})
    unseen = sorted({plain(caption) for split in ("validation", "test") for caption in told[split]})
    own, captions = readers.read_real(), readers.clips.captions
    splits = splits_of(data)
    held = splits["validation"].take(np.arange(len(splits["validation"])))
    values: dict[str, Any] = {
        "seed": arguments.seed, "captions": len(readers.captions), "protocol": model.config.protocol,
        "clips": {split: len(clips) for split, clips in splits.items()}, **costs(model, splits, arguments.seed),
        "looks": Looks(held).scores(model, arguments.seed),
    }  # fmt: skip
    for kind, wanted in (("seen", seen), ("unseen", unseen)):
        pairs = [pair for pair in zip(own, captions, strict=True) if pair[1] in set(wanted)]
        values[f"real_{kind}"] = shares(*zip(*pairs, strict=True))
        values[kind] = shares(read_samples(model, readers, wanted, arguments.seed, 1.0), wanted)
    for name, row in values.items():
        print(name, row)
    out = arguments.docs / "measured" / "emoji-parts.json"
    out.write_text(json.dumps(values, indent=1) + "\n")
    image = arguments.docs / "images" / "emoji-unseen.webp"
    picture(model, data, unseen[::EVERY], image)
    print(f"wrote {out} and {image}")


if __name__ == "__main__":
    main()
