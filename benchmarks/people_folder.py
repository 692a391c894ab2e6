"""A folder of captioned clips from one film of six people: python benchmarks/people_folder.py FILM FOLDER [--whole]

The film is one-by-one-person-detection.mp4 of Intel's sample videos (github.com/intel-iot-devkit/sample-videos, CC BY
4.0): 768 x 432 at 10 frames a second. One after the other, six people come into a room, stand at a table, and leave it.

Each clip becomes a folder of frames, at 5 frames a second, with its caption in captions.csv. Four of the eighteen
things that can be said of a person and what they do are kept from training, and are all that the folder `test` has. The
folder `validation` has people standing, and the empty room, at times that are not in training: nobody comes in, or
leaves, more than once.

With --whole nothing is captioned: `train` has the film up to its fourth person's leaving, `validation` and `test` have
the fifth and the sixth.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PIL import Image

from syncdraw.video import decode

PEOPLE = {
    "a blonde woman in grey": (56, 90, 176),
    "a man in a black jacket": (222, 258, 430),
    "a blonde woman in black": (498, 536, 676),
    "a man in a black shirt": (740, 776, 845),
    "a black-haired woman in grey": (916, 952, 1178),
    "a man in a grey shirt": (1230, 1266, 1340),
}
"""The frames in which each begins to come in, to stand, and to leave."""

EMPTY = {"train": ((0, 54), (708, 738), (880, 914)), "validation": ((466, 496),)}
"""When nobody is there."""

UNSEEN = {
    ("a blonde woman in black", "is leaving"),
    ("a man in a grey shirt", "is coming in"),
    ("a man in a black shirt", "is standing at the table"),
    ("a black-haired woman in grey", "is leaving"),
}

COMING, LEAVING, STANDING, LATER = 32, 24, 60, 30
"""Frames of each clip; the last are of somebody who stands, later on, for validation."""

WHOLE = (("train", "", 0, 880), ("validation", "", 880, 1216), ("test", "", 1216, 1364))
"""Split, no caption, first frame and the one after the last, where clips are not captioned."""

SIZE = 256, 144


def clips() -> list[tuple[str, str, int, int]]:
    """Split, caption, first frame and the one after the last, of each clip."""
    found = [(split, "the room is empty", *frames) for split, places in EMPTY.items() for frames in places]
    for person, (comes, stands, leaves) in PEOPLE.items():
        for action, first, length in (
            ("is coming in", comes, COMING),
            ("is standing at the table", stands, STANDING),
            ("is leaving", leaves, LEAVING),
        ):
            split = "test" if (person, action) in UNSEEN else "train"
            found.append((split, f"{person} {action}", first, first + length))
            if action == "is standing at the table" and split == "train":
                found.append(("validation", f"{person} {action}", leaves - LATER, leaves))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--whole", action="store_true", help="three long clips, without captions")
    arguments = parser.parse_args()
    frames = [Image.fromarray(frame.pixels().transpose(1, 2, 0)).resize(SIZE, Image.Resampling.BOX)
              for frame in decode(arguments.film)]  # fmt: skip
    rows = []
    for split, caption, first, end in WHOLE if arguments.whole else clips():
        for phase in range(2):  # every other frame, and those between them
            place = arguments.folder / split / f"{caption.replace(' ', '-') or 'film'}-{first + phase:04d}"
            place.mkdir(parents=True)
            for number, frame in enumerate(frames[first + phase : end : 2]):
                frame.save(place / f"{number:02d}.png")
            rows.append((place.relative_to(arguments.folder).as_posix(), caption))
    if not arguments.whole:
        with (arguments.folder / "captions.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "caption"), *rows])
    print(f"wrote {len(rows)} clips to {arguments.folder}")


if __name__ == "__main__":
    main()
