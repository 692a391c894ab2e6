"""What captions of `sprites` say of a character: who it is, what it wears, what it does, and where it faces.

'a dark-skinned woman with long blonde hair in a red tunic, white trousers and black shoes is casting a spell, facing
left'. Any of it may be left out, and is then open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from syncdraw.datasets.sprite_figures import ACTIONS, BUILDS, DIRECTIONS, HAIR_STYLES
from syncdraw.errors import UserError
from syncdraw.words import normalise

SKINS = ("light", "tan", "brown", "dark", "green", "blue")
HAIR_COLOURS = ("blonde", "brown", "black", "red", "white", "purple")
CLOTH = ("red", "blue", "green", "yellow", "purple", "white")
TOPS = (*(f"{colour} {cut}" for cut in ("shirt", "vest", "tunic") for colour in CLOTH),
        "leather armour", "plate armour", "golden armour")  # fmt: skip
BOTTOMS = tuple(
    f"{colour} {cut}" for cut in ("trousers", "shorts") for colour in ("white", "black", "brown", "blue", "red")
)
SHOES = ("black shoes", "brown shoes", "red shoes", "white shoes")


class Character(NamedTuple):
    """Numbers of what is said, or shown; None where it is open.

    Attributes:
        build: in `BUILDS`.
        skin: in `SKINS`.
        hair_style: in `HAIR_STYLES`.
        hair_colour: in `HAIR_COLOURS`.
        top: in `TOPS`.
        bottom: in `BOTTOMS`.
        shoes: in `SHOES`.
        action: in `ACTIONS`.
        direction: in `DIRECTIONS`.
    """

    build: int | None = None
    skin: int | None = None
    hair_style: int | None = None
    hair_colour: int | None = None
    top: int | None = None
    bottom: int | None = None
    shoes: int | None = None
    action: int | None = None
    direction: int | None = None


VALUES: dict[str, tuple[str, ...]] = {
    "build": BUILDS, "skin": SKINS, "hair_style": HAIR_STYLES, "hair_colour": HAIR_COLOURS, "top": TOPS,
    "bottom": BOTTOMS, "shoes": SHOES, "action": ACTIONS, "direction": DIRECTIONS,
}  # fmt: skip
"""What may be said of each attribute."""

WORDINGS = 4
"""How many ways there are to say the same."""


def tell(character: Character, wording: int = 0) -> str:
    """A sentence, in one of `WORDINGS` ways."""

    def said(name: str) -> str:
        number = getattr(character, name)
        return "" if number is None else VALUES[name][number]

    skin, hair, worn = said("skin"), f"{said('hair_style')} {said('hair_colour')}".strip(), _worn(character)
    who = said("build") or "person"
    if wording == 1:
        looks = " and ".join(part for part in (skin and f"{skin} skin", hair and f"{hair} hair") if part)
        who = f"a {who}" + (f" with {looks}" if looks else "")
    else:
        who = f"a {skin}-skinned {who}" if skin else f"a {who}"
        who += f" with {hair} hair" if hair else ""
    does, faces = said("action") and f"is {said('action')}", said("direction") and f"facing {said('direction')}"
    if wording == 2:  # what is done comes before what is worn
        parts = [" ".join(filter(None, (who, does))), faces, worn and f"in {worn}"]
        return ", ".join(filter(None, parts))
    whole = " ".join(filter(None, (who, worn and f"{'wearing' if wording == 1 else 'in'} {worn}", does)))
    if wording == 3:
        return ", ".join(filter(None, (faces, whole)))
    return ", ".join(filter(None, (whole, faces)))


def _worn(character: Character) -> str:
    worn = []
    if character.top is not None:
        top = TOPS[character.top]
        worn.append(top if top.endswith("armour") else f"a {top}")
    worn += [VALUES[name][number] for name in ("bottom", "shoes") if (number := getattr(character, name)) is not None]
    return " and ".join(filter(None, (", ".join(worn[:-1]), *worn[-1:])))


def all_words() -> list[str]:
    """Sentences that hold every word that a caption may have, and one that is as long as any."""
    count = max(map(len, VALUES.values()))
    each = (Character(*(number % len(values) for values in VALUES.values())) for number in range(count))
    sentences = [tell(character, wording) for character, wording in product(each, range(WORDINGS))]
    return [*sentences, tell(Character(top=0))]


# --- Reading ---------------------------------------------------------------------------------------------------------

# The tables are public for the page on which the generator runs in a browser; it reads captions by them.
SAME = {
    "gray": "white", "fair": "light", "pale": "light", "tanned": "tan", "blond": "blonde", "armor": "armour",
    "pants": "trousers", "wears": "wearing", "lady": "woman", "guy": "man", "front": "forward", "us": "forward",
    "back": "away", "backward": "away", "walks": "walking", "casts": "casting", "swings": "swinging",
    "thrusts": "thrusting", "shoots": "shooting",
}  # fmt: skip
"""Words that are understood as others."""

FILLERS = {"a", "an", "and", "with", "in", "is", "wearing", "person", "who", "has", "facing", "to"}
HAIR = re.compile(rf"(?:\b(?P<style>{'|'.join(HAIR_STYLES)}) )?(?:\b(?P<colour>{'|'.join(HAIR_COLOURS)}) )?\bhair\b")
_PHRASES = {"skin": r"(?P<value>{values}) skin(?:ned)?"}
"""How an attribute is said, where it is not its value alone."""

PATTERNS = {
    name: re.compile(rf"\b{_PHRASES.get(name, '(?P<value>{values})').format(values='|'.join(values))}\b")
    for name, values in VALUES.items()
    if name not in ("hair_style", "hair_colour")
}
"""How each attribute but hair is said; in this order they are looked for, and taken out."""

KNOWN_WORDS = frozenset(
    {word for values in VALUES.values() for value in values for word in value.split()} | SAME.keys() | FILLERS
    | {"hair", "skin", "skinned"}
)  # fmt: skip
"""Every word that is understood."""


EXAMPLE = tell(Character(build=0, hair_style=1, hair_colour=0, top=TOPS.index("plate armour"), action=1, direction=0))
"""A caption."""


def parse_character(text: str) -> Character:
    """What a sentence says.

    Raises:
        UserError: it says what no caption of sprites says, or two things of one attribute.
    """
    rest = " ".join(SAME.get(word, word) for word in normalise(text))
    found: dict[str, int] = {}

    def keep(name: str, value: str | None) -> None:
        if value is None:
            return
        if name in found:
            raise UserError(f"the caption {text!r} says two things of the {name.replace('_', ' ')}")
        found[name] = VALUES[name].index(value)

    for match in HAIR.finditer(rest):
        keep("hair_style", match["style"])
        keep("hair_colour", match["colour"])
    rest = HAIR.sub(" , ", rest)
    for name, phrase in PATTERNS.items():
        for match in phrase.finditer(rest):
            keep(name, match["value"])
        rest = phrase.sub(" , ", rest)
    unknown = [word for word in rest.replace(",", " ").split() if word not in FILLERS]
    if unknown or not found:
        reason = f"has {unknown[0]!r}, which is not understood there" if unknown else "says nothing of a character"
        raise UserError(f"the caption {text!r} {reason}; one says, for example, {EXAMPLE!r}")
    return Character(**found)


def shows(character: Sequence[int], said: Character) -> bool:
    """Whether a character, given by the numbers of its attributes, is as it is said."""
    return all(number is None or number == shown for shown, number in zip(character, said, strict=True))
