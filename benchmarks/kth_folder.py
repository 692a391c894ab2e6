"""A folder of captioned clips from some videos of KTH: python benchmarks/kth_folder.py KTH FOLDER

`syncdraw prepare kth` splits people as KTH's authors do, so that of one person's videos nothing is left to train on.
Here each sub-sequence becomes a file of its own, a folder of frames, and is split as anybody's own clips are.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

from PIL import Image

from syncdraw.datasets.kth import list_kth
from syncdraw.datasets.sources import Problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kth", type=Path, help="videos and 00sequences.txt")
    parser.add_argument("folder", type=Path, help="a new folder")
    arguments = parser.parse_args()
    listing = list_kth(arguments.kth)
    config = replace(listing.config, height=120, width=160)
    arguments.folder.mkdir(parents=True)
    rows = []
    for source in listing.sources:
        for number, sequence in enumerate(listing.decoder(source, config), 1):
            if isinstance(sequence, Problem):
                print(f"{sequence.name}: {sequence.reason}")
                continue
            place = arguments.folder / f"{Path(source.name).stem}-{number}"
            place.mkdir()
            for index, frame in enumerate(sequence.frames):
                Image.fromarray(frame[0]).save(place / f"{index:04d}.png")
            rows.append((place.name, f"{source.captions[0]} {sequence.measured}".strip()))
    with (arguments.folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])
    print(f"wrote {len(rows)} clips and captions.csv to {arguments.folder}")


if __name__ == "__main__":
    main()
