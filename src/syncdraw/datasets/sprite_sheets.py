"""The sprites of Li and Mandt: characters put together from the sheets of the Liberated Pixel Cup, 64 x 64, in colour.

Y. Li, S. Mandt, "Disentangled Sequential Autoencoder", ICML 2018. Their repository, YingzhenLi/Sprites, holds the
sheets. A sheet has one layer of a character, such as its hair, in all that it does: a row of cells for each action and
direction. Sheets that are laid over each other make a character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from syncdraw.datasets.decode import DecodedSequence
from syncdraw.datasets.folders import look_under
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig, Split
from syncdraw.datasets.sources import Problem, Source, shortened
from syncdraw.datasets.sprite_figures import ACTIONS, CASTING, DIRECTIONS, SHOOTING, SLASHING, THRUSTING, WALKING
from syncdraw.errors import UserError
from syncdraw.fitting import Unreadable, fit_frame, picture_frame
from syncdraw.video import open_file, reading

# The benchmark's characters stand on black.
SPRITE_CLIPS = ClipConfig(frames=8, channels=3, height=64, width=64, ground="black")

Which = Literal["benchmark", "all"]

CHOSEN = ("body", "bottomwear", "topwear", "hair")
"""The layers that tell characters apart, from the lowest up; all wear the same shoes above them."""

SHOES = "shoes"
CELL, COLUMNS, ROWS = 64, 13, 21

CELLS = {
    WALKING: (8, (8, 1, 2, 3, 4, 5, 6, 7)),  # in cell 0 it stands
    CASTING: (0, (0, 1, 2, 3, 4, 5, 4, 6)),
    SLASHING: (12, (0, 1, 2, 3, 4, 5, 4, 0)),
    THRUSTING: (4, (0, 1, 2, 3, 4, 5, 6, 7)),
    SHOOTING: (16, (0, 2, 3, 5, 7, 9, 10, 12)),
}
"""Of each action the first of its four rows, and the cells that are the frames of a clip.

Those of the first three are the benchmark's. For the other two we take frames evenly from the first cell to the last.
"""

_ROWS_FACE = ("away", "left", "forward", "right")
_CLIPS = {"benchmark": (list(CELLS)[:3], ("left", "forward", "right")), "all": (list(CELLS), DIRECTIONS)}
_SIX, _TRAINING, _SEED = [str(number) for number in range(6)], 1000, 423


def list_sprites(source: Path, actions: Which = "benchmark") -> Listing:
    """Sprites of Li and Mandt: all characters of their sheets, in all that they do.

    Captions are of the form 'a person with body 3, bottomwear 0, topwear 2 and hair 5 is walking, facing left'. The
    numbers are the names of the sheets, which may be renamed to words.

    Characters are all that can be made of a sheet each from `body`, `bottomwear`, `topwear` and `hair`, in the shoes of
    `shoes/1.png`. Where each of the four has the sheets 0 to 5, these are taken, with the benchmark's split of their
    1,296 characters into 1,000 for training and 296 for test; validation is taken from the training characters, and
    `test_share` is not used. Otherwise all sheets are, and a hash of its name decides on the split of a character.

    Args:
        source: a checkout of the repository YingzhenLi/Sprites, with sheets of 832 x 1344 pixels in its folders.
        actions: the benchmark has walking, casting a spell and swinging a sword, facing left, forward and right; `all`
            adds thrusting a spear and shooting a bow, and facing away.

    Raises:
        UserError: a folder is missing, or has no sheet that can be used.
    """
    if actions not in get_args(Which):
        raise UserError(f"actions is {actions!r}; it must be one of {', '.join(get_args(Which))}")
    content = look_under(source)
    if missing := [layer for layer in (*CHOSEN, SHOES) if source / layer not in content.files]:
        raise UserError(
            f"{source} has no folder {', no folder '.join(missing)}; give a checkout of the repository "
            f"YingzhenLi/Sprites, with sheets in {', '.join(CHOSEN)} and {SHOES}"
        )
    named = {
        layer: {path.stem: path for path in content.files[source / layer] if path.suffix.lower() == ".png"}
        for layer in (*CHOSEN, SHOES)
    }
    remarks = content.remarks
    splits: dict[tuple[str, ...], Split] = {}
    if all(set(_SIX) <= named[layer].keys() for layer in CHOSEN):
        splits = benchmark_splits()
        if further := [f"{layer}/{stem}.png" for layer in CHOSEN for stem in named[layer] if stem not in _SIX]:
            remarks.append(f"the benchmark takes the sheets 0 to 5 of each layer; not used: {shortened(further)}")
        named |= {layer: {stem: named[layer][stem] for stem in _SIX} for layer in CHOSEN}
    else:
        remarks.append("not every layer has the sheets 0 to 5 of the benchmark: all are used, and the split is by hash")

    problems = content.problems
    usable = {layer: _usable(source, layer, sheets, problems) for layer, sheets in named.items()}
    shoes = "1" if "1" in usable[SHOES] else next(iter(usable[SHOES]))
    if shoes != "1":
        remarks.append(f"there is no {SHOES}/1.png to use, which the benchmark's characters wear: {shoes}.png instead")
    sources = []
    for stems in product(*(usable[layer] for layer in CHOSEN)):
        parts = [f"{layer} {stem}" for layer, stem in zip(CHOSEN, stems, strict=True)]
        looks = " and ".join([", ".join(parts[:-1]), parts[-1]]).replace("_", " ")
        layers = [usable[layer][stem] for layer, stem in zip((*CHOSEN, SHOES), (*stems, shoes), strict=True)]
        sources.append(
            Source(", ".join(parts), source, (f"a person with {looks}",), splits.get(stems), ", ".join(parts),
                   tuple(layers))
        )  # fmt: skip
    # Under another name, for a folder that was prepared with other actions must be decoded anew.
    kind = "sprites" if actions == "benchmark" else "sprites in all actions"
    # Those of one combination after another share most of their sheets.
    opened = lru_cache(maxsize=32)(_opened)
    return Listing(kind, sources, SPRITE_CLIPS, problems, remarks, partial(_read_character, opened, actions))


def benchmark_splits() -> dict[tuple[str, ...], Split]:
    """The split of each of the benchmark's characters, given as the names of its four sheets.

    Characters are numbered with the hair as the last digit, to the base of six; the first 1,000 of a shuffled list of
    these numbers are for training.
    """
    characters = list(product(_SIX, repeat=len(CHOSEN)))
    order = np.random.RandomState(_SEED).permutation(len(characters)).tolist()
    return {characters[number]: "train" if place < _TRAINING else "test" for place, number in enumerate(order)}


def _usable(source: Path, layer: str, sheets: dict[str, Path], problems: list[Problem]) -> dict[str, Path]:
    """The sheets that can be used, by their names; adds to `problems` what is wrong with the others.

    They are looked at now, for a bad one would else be told of with each of many characters.
    """
    if not sheets:
        raise UserError(f"{source / layer} holds no sheets; expected {layer}/0.png and so on")
    good, reasons = {}, []
    # 2.png comes before 10.png.
    for stem, path in sorted(sheets.items(), key=lambda sheet: (len(sheet[0]) if sheet[0].isdecimal() else 99, sheet)):
        try:
            _opened(path)
            good[stem] = path
        except Unreadable as error:
            reasons.append(Problem(path.relative_to(source).as_posix(), str(error)))
    if not good:
        raise UserError(f"{source / layer} has no sheet that can be used; {reasons[0].name}: {reasons[0].reason}")
    problems += reasons
    return good


def _opened(path: Path) -> Image.Image:
    """A sheet with its alpha.

    Raises:
        Unreadable: it is no sheet.
    """
    width, height = COLUMNS * CELL, ROWS * CELL
    with reading(), open_file(path) as file, Image.open(file, formats=["PNG"]) as image:
        if image.size != (width, height):
            raise Unreadable(f"it has {image.width} x {image.height} pixels; a sheet has {width} x {height}")
        if not image.has_transparency_data:
            raise Unreadable("it has no alpha channel, and would hide the layers below it")
        return image.convert("RGBA")


def _read_character(
    opened: Callable[[Path], Image.Image], actions: Which, source: Source, config: ClipConfig
) -> Iterator[DecodedSequence | Problem]:
    """A character's clips, action by action and direction by direction."""
    layers = [opened(path) for path in source.parts]
    reformatter = VideoReformatter()
    chosen, directions = _CLIPS[actions]
    for number, (action, direction) in enumerate(product(chosen, directions)):
        first, cells = CELLS[action]
        top = CELL * (first + _ROWS_FACE.index(direction))
        row = Image.new("RGBA", (COLUMNS * CELL, CELL))  # transparent: what lies below is for `config.ground` to say
        for layer in layers:
            row.alpha_composite(layer.crop((0, top, COLUMNS * CELL, top + CELL)))
        cut = [row.crop((CELL * cell, 0, CELL * (cell + 1), CELL)) for cell in cells]
        frames = [fit_frame(picture_frame(cell), config, reformatter) for cell in cut]
        yield DecodedSequence(frames, number * len(cells), f"is {ACTIONS[action]}, facing {direction}")
