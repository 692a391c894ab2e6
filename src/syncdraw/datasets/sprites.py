"""Sprites: small characters in clothes, who walk, fight and do magic, in captions that say all of it (ours).

Made after the benchmark of Li and Mandt (Disentangled Sequential Autoencoder, ICML 2018), which takes its characters
from the layers of the Liberated Pixel Cup; these are drawn by `sprite_figures`, so that the data set needs no download
and no credits. As in Bouncing MNIST, clip number i is a pure function of the split and i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.bouncing_mnist import HELD_OUT_CLIPS, Combinations, Split, checked, uniform
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.sprite_captions import (
    BOTTOMS,
    CLOTH,
    HAIR_COLOURS,
    SHOES,
    SKINS,
    TOPS,
    VALUES,
    WORDINGS,
    Character,
    all_words,
    tell,
)  # fmt: skip
from syncdraw.datasets.sprite_figures import (
    ACTIONS,
    BUILDS,
    CUTS,
    DIRECTIONS,
    FRAMES,
    HAIR_STYLES,
    LEGS,
    SIZE,
    Material,
    painted,
)  # fmt: skip
from syncdraw.errors import UserError

CHARACTERS = len(BUILDS) * len(SKINS) * len(HAIR_STYLES) * len(HAIR_COLOURS) * len(TOPS) * len(BOTTOMS) * len(SHOES)
"""How many there are, each with 20 clips."""

LEFT_OUT = 0.15
"""How likely it is that a caption says nothing of an attribute."""

KINDS_OF_TOPS = (
    *(TOPS.index(f"{CLOTH[0]} {cut}") for cut in ("shirt", "vest", "tunic")),
    *range(len(TOPS) - 3, len(TOPS)),
)
"""The first top of each kind: shirts, vests and tunics, and three kinds of armour."""

_INK = np.array([52, 40, 52])
_COLOURS: dict[str, tuple[int, int, int]] = {
    "light": (246, 205, 168), "tan": (219, 160, 108), "brown": (160, 104, 66), "dark": (104, 68, 50),
    "green": (126, 178, 82), "blue": (112, 158, 214),
    "hair blonde": (238, 200, 84), "hair brown": (132, 84, 46), "hair black": (62, 58, 72), "hair red": (206, 82, 40),
    "hair white": (224, 226, 232), "hair purple": (150, 86, 178),
    "cloth red": (204, 54, 58), "cloth blue": (58, 98, 196), "cloth green": (62, 146, 80),
    "cloth yellow": (232, 196, 62), "cloth purple": (140, 76, 170), "cloth white": (232, 232, 238),
    "cloth black": (62, 62, 74), "cloth brown": (134, 90, 54),
    "leather": (168, 112, 62), "plate": (168, 178, 196), "golden": (238, 186, 58),
}  # fmt: skip


def _shades(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """Outline, dark, plain and bright `[shade, 3]`."""
    plain = np.array(colour, np.float64)
    return np.stack([0.25 * plain + 0.75 * _INK, 0.78 * plain, plain, np.minimum(255, 1.08 * plain + 16)])


def _fixed_palette() -> NDArray[np.uint8]:
    """RGB `[4 x material + shade, 3]` of what is the same for all; the ground is white."""
    palette = np.full((len(Material), 4, 3), 255.0)
    palette[Material.EYE] = _INK
    for material, colour in ((Material.WOOD, (146, 98, 52)), (Material.METAL, (190, 200, 214)),
                             (Material.LIGHT, (112, 214, 246))):  # fmt: skip
        palette[material] = _shades(colour)
    return palette.astype(np.uint8)


@cache
def palette_of(attribute: str) -> NDArray[np.uint8]:
    """The colours of each value of an attribute that has a colour, RGB `[value, shade, 3]`."""
    prefix = {"skin": "", "hair_colour": "hair ", "top": "cloth ", "bottom": "cloth ", "shoes": "cloth "}[attribute]
    first = [value.split(" ")[0] for value in VALUES[attribute]]
    colours = [_COLOURS.get(f"{prefix}{word}") or _COLOURS[word] for word in first]  # armour is no cloth
    return np.stack([_shades(colour) for colour in colours]).astype(np.uint8)


_MADE_OF = {
    "skin": (Material.FACE, Material.ARM, Material.LEG), "hair_colour": (Material.HAIR,),
    "top": (Material.TOP, Material.SLEEVE), "bottom": (Material.BOTTOM,), "shoes": (Material.SHOE,),
}  # fmt: skip


def drawn(characters: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Clips `[batch, 8, 3, 64, 64]` of characters by the numbers of their attributes, `[batch, 9]`."""
    videos = np.empty((len(characters), FRAMES, 3, SIZE, SIZE), np.uint8)
    for video, row in zip(videos, characters.tolist(), strict=True):
        numbers = dict(zip(Character._fields, row, strict=True))
        palette = _fixed_palette()
        for name, materials in _MADE_OF.items():
            for material in materials:
                palette[material] = palette_of(name)[numbers[name]]
        figure = painted(numbers["build"], cut_of(numbers["top"]), numbers["bottom"] // (len(BOTTOMS) // len(LEGS)),
                         numbers["hair_style"], numbers["action"], numbers["direction"])  # fmt: skip
        np.copyto(video, palette.reshape(-1, 3)[figure].transpose(0, 3, 1, 2))
    return videos


def cut_of(top: int) -> int:
    """The cut of a top, an index into `CUTS`."""
    return min(top // len(CLOTH), CUTS.index("armour"))


def kind_of(top: int) -> int:
    """Which of `KINDS_OF_TOPS` a top is."""
    return cut_of(top) + max(0, top - KINDS_OF_TOPS[CUTS.index("armour")])


def is_unseen(kind: int, hair_colour: int, action: int, direction: int) -> bool:
    """Whether what a character wears, or its hair, is kept from what it does, or from where it faces.

    A kind of top and an action whose numbers sum to a multiple of 5 are no pair in training, and neither are a colour
    of hair and a direction whose numbers sum to a multiple of 6; so each of them is trained, with others.
    """
    return (kind + action) % 5 == 0 or (hair_colour + direction) % 6 == 0


@cache
def _pairs(combinations: Combinations) -> NDArray[np.int64]:
    """Kind of top, hair colour, action and direction `[row, 4]` of all that a split may have."""
    every = product(range(len(KINDS_OF_TOPS)), range(len(HAIR_COLOURS)), range(len(ACTIONS)), range(len(DIRECTIONS)))
    wanted = {"all": (False, True), "seen": (False,), "unseen": (True,)}[combinations]
    return np.array([row for row in every if is_unseen(*row) in wanted], np.int64)


@dataclass(frozen=True)
class SpriteClips(Clips):
    """Clips with all that they show, whatever their captions leave out.

    Attributes:
        characters: `[batch, 9]`, the attributes of `Character` in its order.
    """

    characters: NDArray[np.int64]


class Sprites:
    """A split of the sprites.

    One character in four is in no training clip: that whose numbers sum to a multiple of 4. Those of validation and
    test are all of this kind. A caption leaves out each attribute with probability `LEFT_OUT`; where `combinations` is
    unseen it says everything, for with less it could be a seen one.

    Args:
        combinations: `seen` has no clip of which `is_unseen` holds, `unseen` has no other, and `all` has both.

    Raises:
        UserError: the split is unknown.
    """

    def __init__(self, split: Split = "train", combinations: Combinations = "seen") -> None:
        if split not in get_args(Split):
            raise UserError(f"the split is {split!r}; it must be one of {', '.join(get_args(Split))}")
        self.split, self.combinations = split, combinations

    def __len__(self) -> int:
        """The number of clips; 0 for the endless training split."""
        return HELD_OUT_CLIPS.get(self.split, 0)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of every clip."""
        return FRAMES, 3, SIZE, SIZE

    def take(self, indices: NDArray[np.int64]) -> SpriteClips:
        """The clips with these numbers, in this order.

        Raises:
            IndexError: a number is negative, or not below the length of a split that has an end.
        """
        characters, captions = self.describe(indices)
        return SpriteClips(drawn(characters), captions, characters)

    def describe(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
        """What `take` draws, as `SpriteClips` has it, without drawing it; the errors are those of `take`."""
        indices = checked(indices, len(self))
        characters = self._characters(indices)
        return characters, self._captions(indices, characters)

    def wordings(self) -> list[str]:
        """Captions that hold every word that any split's captions may hold, and one that is as long as any."""
        return all_words()

    def _characters(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        pairs = _pairs(self.combinations)
        counts = np.array(
            [len(pairs), len(BUILDS), len(SKINS), len(HAIR_STYLES), len(CLOTH), len(BOTTOMS), len(SHOES) - 1]
        )
        chance = uniform(self.split, indices, "character", len(counts))
        pair, build, skin, style, cloth, bottom, other = (chance * counts).astype(np.int64).T
        kind, hair_colour, action, direction = pairs[pair].T
        top = np.where(kind < 3, len(CLOTH) * kind + cloth, KINDS_OF_TOPS[3] + kind - 3)
        # Of four characters that differ in their shoes alone, the one whose numbers sum to a multiple of 4 is kept.
        kept = -(build + skin + style + hair_colour + top + bottom) % len(SHOES)
        shoes = (kept + 1 + other) % len(SHOES) if self.split == "train" else kept
        return np.stack([build, skin, style, hair_colour, top, bottom, shoes, action, direction], axis=1)

    def _captions(self, indices: NDArray[np.int64], characters: NDArray[np.int64]) -> list[str]:
        left_out = uniform(self.split, indices, "left out", characters.shape[1]) < LEFT_OUT
        left_out &= (self.combinations != "unseen") & ~left_out.all(axis=1, keepdims=True)
        wordings = (uniform(self.split, indices, "wording", 1)[:, 0] * WORDINGS).astype(np.int64)
        return [
            tell(Character(*(None if out else number for number, out in zip(row, outs, strict=True))), wording)
            for row, outs, wording in zip(characters.tolist(), left_out.tolist(), wordings.tolist(), strict=True)
        ]
