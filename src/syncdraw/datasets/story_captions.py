"""What captions of MNIST stories say of each glyph: which digit, how it moves, how fast, and from where.

A sentence has a clause for each glyph: 'digit 3 is moving slowly left and right from the left then up and down'. What
it does not say is open, but for the speed, which is then the usual one; a glyph that is only named stands still. So
the sentences of `bouncing_mnist.caption` mean here what they mean there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from syncdraw.datasets.bouncing_mnist import DIAGONAL, MOTIONS, SPEED
from syncdraw.errors import UserError
from syncdraw.words import normalise

SIDEWAYS, UPRIGHT = range(len(MOTIONS))
MOVING = (SIDEWAYS, UPRIGHT, DIAGONAL)

SPEEDS = (0.5 * SPEED, SPEED, 1.5 * SPEED)
"""Pixels a frame; elsewhere a speed is an index into this tuple."""

SLOW, USUAL, FAST = range(3)

SIDES = ("left", "right", "top", "bottom")
"""Where a glyph may come from; elsewhere a side is an index into this tuple."""

SIDES_OF = {SIDEWAYS: (0, 1), UPRIGHT: (2, 3), DIAGONAL: (0, 1, 2, 3)}
"""The sides that a glyph with a motion may come from."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Story:
    """What a caption says of one glyph.

    Attributes:
        label: the digit, or None where it is open.
        motions: `SIDEWAYS`, `UPRIGHT` or `DIAGONAL`; two of them, where it goes one way in the first half of the
            frames and then another; none, where it stands still; or None where the motion is open.
        speed: `SLOW`, `USUAL` or `FAST`, throughout.
        start: the side at which it begins, as an index into `SIDES`, or None where it begins anywhere.
    """

    label: int | None = None
    motions: tuple[int, ...] | None = None
    speed: int = USUAL
    start: int | None = None

    @property
    def possible(self) -> bool:
        """Whether a glyph can do this: what moves up and down does not come from the left."""
        if self.motions == ():
            return self.speed == USUAL and self.start is None
        return self.start is None or self.motions is None or self.start in SIDES_OF[self.motions[0]]


class Wording(NamedTuple):
    """Which of the wordings a sentence has, each from 0 on; see `WORDINGS`, which says how many there are."""

    subject: int = 0
    verb: int = 0
    synonym: int = 0
    order: int = 0


_VERBS = ("is moving", "moves", "goes")
_WAYS: dict[int, tuple[str, ...]] = {
    SIDEWAYS: ("left and right", "sideways"), UPRIGHT: ("up and down", "vertically"),
    DIAGONAL: ("diagonally", "diagonally"),
}  # fmt: skip
_PACES: dict[int, tuple[str, ...]] = {SLOW: ("slowly", "slowly"), USUAL: ("", ""), FAST: ("fast", "quickly")}

WORDINGS = Wording(subject=3, verb=len(_VERBS), synonym=2, order=4)
"""How many wordings there are of each part."""


def tell(stories: Sequence[Story], wording: Wording = Wording()) -> str:  # noqa: B008 (a constant)
    """The sentence for a clip, one clause for each glyph.

    All clauses begin with the same word, which is how a model with layers knows where the next one begins.
    """
    open_label = any(story.label is None for story in stories)
    subjects = [_subject(story.label, 1 if open_label else wording.subject) for story in stories]
    parts = [_parts(story, wording) for story in stories]
    order = wording.order
    # What stands before the subject is the clause's first word, so it has to be the same one in all clauses.
    if order >= 2 and len({(start if order == 2 else pace).split(" ")[0] for _, pace, start, _ in parts}) > 1:
        order -= 2
    clauses = []
    for story, subject, (way, pace, start, then) in zip(stories, subjects, parts, strict=True):
        verb = "" if story.motions == () else _VERBS[wording.verb]
        ordered = (
            (subject, verb, pace, way, start, then),
            (subject, verb, way, pace, start, then),
            (start, subject, verb, pace, way, then),
            (pace, subject, verb, way, start, then),
        )[order]
        clauses.append(" ".join(part for part in ordered if part))
    return " and ".join(clauses)


def _subject(label: int | None, kind: int) -> str:
    if label is None:
        return "a digit"
    return (f"digit {label}", f"{'an' if label == 8 else 'a'} {NUMBERS[label]}", f"number {label}")[kind]


def _parts(story: Story, wording: Wording) -> tuple[str, str, str, str]:
    """The way, the pace, the start, and what comes then; empty where nothing is said."""
    ways = [_WAYS[motion][wording.synonym] for motion in story.motions or ()]
    start = "" if story.start is None else f"from the {SIDES[story.start]}"
    then = f"then {ways[1]}" if len(ways) > 1 else ""
    return ways[0] if ways else "", _PACES[story.speed][wording.synonym], start, then


# --- Reading ---------------------------------------------------------------------------------------------------------

_SAID: list[tuple[str, int, tuple[str, ...]]] = [
    ("motion", SIDEWAYS, ("left and right", "right and left", "left", "right", "sideways", "horizontally")),
    ("motion", UPRIGHT, ("up and down", "down and up", "up", "down", "vertically")),
    ("motion", DIAGONAL, ("diagonally", "diagonal")),
    ("speed", SLOW, ("slowly", "slow")),
    ("speed", FAST, ("fast", "quickly", "quick")),
    *(("start", number, (f"from {side}", f"starting from {side}")) for number, side in enumerate(SIDES)),
    *(("label", label, (f"{noun}{label}", f"{noun}{NUMBERS[label]}"))
      for label in range(10) for noun in ("", "digit ", "number ")),
    ("label", -1, ("digit", "number")),
    ("verb", 0, ("is", "that", "moving", "moves", "going", "goes", "bouncing")),
    ("then", 0, ("then",)), ("and", 0, ("and",)), ("filler", 0, ("a", "an")),
]  # fmt: skip
_PHRASES = {phrase: (kind, value) for kind, value, phrases in _SAID for phrase in phrases}
_PHRASE = re.compile(r"\b(?:" + "|".join(sorted(_PHRASES, key=len, reverse=True)) + r")\b")
KNOWN_WORDS = frozenset(word for phrase in _PHRASES for word in phrase.split()) | {"the"}
"""Every word that a sentence may have."""


def parse_story(text: str) -> tuple[Story, ...]:
    """What a sentence says of each of the glyphs that it names, in its order.

    Clauses are joined by 'and', by commas, or by both. What is said of a glyph may come in any order.

    Raises:
        UserError: a word is unknown, or a clause names no digit, or says what no glyph can do.
    """
    words = [word for part in text.split(",") for word in (*normalise(part), "and")]
    unknown = [word for word in words if word not in KNOWN_WORDS]
    if unknown:
        raise UserError(f"the caption {text!r} has the unknown word {unknown[0]!r}")
    found = _PHRASE.findall(" ".join(words))
    if " ".join(found).split() != words:  # such as 'from' without more
        raise UserError(f"the caption {text!r} is not understood")
    clauses: list[list[tuple[str, int]]] = []
    piece: list[tuple[str, int]] = []
    before: list[tuple[str, int]] = []
    for phrase in map(_PHRASES.__getitem__, found):
        if phrase[0] != "and":
            piece.append(phrase)
        elif any(kind == "label" for kind, _ in piece):
            clauses.append([*before, *piece])
            before, piece = [], []
        elif clauses:  # 'and then up and down', 'and from the left'
            clauses[-1] += piece
            piece = []
        else:  # 'from the left, digit 3 ...'
            before, piece = [*before, *piece], []
    if not clauses:
        raise UserError(f"the caption {text!r} names no digit")
    return tuple(_clause(clause, text) for clause in clauses)


def _clause(phrases: list[tuple[str, int]], text: str) -> Story:
    said = {kind: [value for each, value in phrases if each == kind] for kind in ("label", "speed", "start")}
    ways = [phrase for phrase in phrases if phrase[0] in ("motion", "then")]
    if any(len(values) > 1 for values in said.values()) or [kind for kind, _ in ways] not in (
        [], ["motion"], ["motion", "then", "motion"],
    ):  # fmt: skip
        raise UserError(f"the caption {text!r} says two things of one digit at once")
    motions: tuple[int, ...] | None = tuple(dict.fromkeys(value for kind, value in ways if kind == "motion"))
    if not motions and any(kind in ("verb", "speed", "start") for kind, _ in phrases):
        motions = None
    (label,) = said["label"]
    speed, start = (said[kind][0] if said[kind] else None for kind in ("speed", "start"))
    story = Story(None if label < 0 else label, motions, USUAL if speed is None else speed, start)
    if not story.possible:
        raise UserError(f"the caption {text!r} says what no digit can do: {tell([story])!r}")
    return story
