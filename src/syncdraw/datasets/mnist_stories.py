"""MNIST stories: the glyphs of Bouncing MNIST, in captions that say more (ours).

Glyphs move slowly or fast, diagonally, from a side, or one way and then another; sentences come in several wordings,
and leave things out. As in Bouncing MNIST, clip number i is a pure function of the split and i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.bouncing_mnist import (
    DIAGONAL,
    HELD_OUT_CLIPS,
    STILL,
    BouncingMNISTConfig,
    Combinations,
    Split,
    checked,
    load_glyphs,
    reflected,
    rendered,
    uniform,
)  # fmt: skip
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.idx import GLYPH_SIZE
from syncdraw.datasets.story_captions import (
    FAST,
    MOVING,
    SIDES,
    SIDES_OF,
    SIDEWAYS,
    SLOW,
    SPEEDS,
    UPRIGHT,
    USUAL,
    WORDINGS,
    Story,
    Wording,
    tell,
)  # fmt: skip
from syncdraw.errors import UserError

MOST_DIGITS, FEWEST_FRAMES = 3, 6
"""Glyphs in a clip; and frames, so that each half of one has steps enough to tell how a glyph moves."""

PLANS: tuple[tuple[int, ...], ...] = (*((motion,) for motion in MOVING), *permutations(MOVING, 2))
"""How a glyph may move: one way, or one way and then another."""

WITHOUT_LABEL, WITHOUT_MOTION = 0.1, 0.15
"""Shares of the captions' clauses that leave this out; see `MNISTStories`."""


def turn_of(frames: int) -> int:
    """The frame at which a glyph that moves one way 'then' another turns: the middle."""
    return frames // 2


# --- Which stories there are ------------------------------------------------------------------------------------------


def words_of(story: Story) -> list[int]:
    """The numbers of what is said of a digit that the split into seen and unseen stories is about.

    0 to 8 is how it moves (an index into `PLANS`), 9 slowly, 10 fast, and 11 to 14 from which side.
    """
    found = [PLANS.index(story.motions)] if story.motions else []
    found += [len(PLANS) + (story.speed == FAST)] if story.speed != USUAL else []
    return found + ([len(PLANS) + 2 + story.start] if story.start is not None else [])


def is_unseen(story: Story) -> bool:
    """Whether a story of a digit is kept for testing.

    As in the hard split of Bouncing MNIST, every digit and every word is trained, and some of them never together: a
    digit and a word (`words_of`) whose numbers sum to a multiple of 5. So each word is kept from two digits, and each
    digit from three words.
    """
    return story.label is not None and any((story.label + word) % 5 == 0 for word in words_of(story))


@cache
def all_stories(combinations: Combinations) -> tuple[tuple[Story, ...], NDArray[np.float64]]:
    """The stories that a glyph may have, and how likely each one is; as likely for each digit, as far as it has them.

    One in ten stands still, six in ten move one way and three in ten two. Half move at the usual speed, and half begin
    anywhere.
    """
    stories, weights = [], []
    for label in range(10):
        stories.append(Story(label, ()))
        weights.append(0.1)
        for plan, speed in product(PLANS, (SLOW, USUAL, FAST)):
            sides = SIDES_OF[plan[0]]
            for start in (None, *sides):
                stories.append(Story(label, plan, speed, start))
                weights.append(
                    (0.6 / len(MOVING) if len(plan) == 1 else 0.3 / (len(PLANS) - len(MOVING)))
                    * (0.5 if speed == USUAL else 0.25)
                    * (0.5 if start is None else 0.5 / len(sides))
                )
    chosen = [number for number, story in enumerate(stories) if combinations in ("all", _SIDE[is_unseen(story)])]
    kept = np.array([weights[number] for number in chosen])
    return tuple(stories[number] for number in chosen), kept / kept.sum()


_SIDE: dict[bool, Combinations] = {False: "seen", True: "unseen"}

PACE = {STILL: (0.0, 0.0), SIDEWAYS: (0.0, 1.0), UPRIGHT: (1.0, 0.0), DIAGONAL: (math.sqrt(0.5), math.sqrt(0.5))}
"""Of each motion: how much of the speed goes along rows and along columns."""


# --- The clips --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoryClips(Clips):
    """Clips with everything that was drawn.

    Attributes:
        stories: of each clip, what its glyphs do; a caption may say less.
        positions: int64 `[batch, glyph, frame, 2]`: row and column, in pixels, of the glyph's top left corner.
    """

    stories: list[tuple[Story, ...]]
    positions: NDArray[np.int64]


class MNISTStories:
    """A split of MNIST stories: glyphs and their stories, drawn independently of each other.

    A glyph that comes from a side begins at that border and moves away from it; others begin anywhere. All are
    reflected at the borders. The halves of a 'then' meet at the frame `turn_of`. One clause in ten says 'a digit', and
    of those that move three in twenty leave out how; where `combinations` is unseen, everything is said, for with less
    a sentence would be a seen one.

    Args:
        config: as for Bouncing MNIST, with the same digits in the same splits. `combinations` means `is_unseen`.

    Raises:
        UserError: a setting is not possible here, a glyph file is missing or bad, or the split is unknown.
    """

    def __init__(self, config: BouncingMNISTConfig, split: Split = "train") -> None:
        if config.digits > MOST_DIGITS:
            raise UserError(f"bouncing.digits must be 1 to {MOST_DIGITS} in mnist_stories, not {config.digits}")
        if config.shape[0] < FEWEST_FRAMES:
            raise UserError(
                f"frames of bouncing.shape must be at least {FEWEST_FRAMES} in mnist_stories, not {config.shape[0]}"
            )
        if config.extra_motions:
            raise UserError("bouncing.extra_motions must be 0 in mnist_stories, which has such motions anyway")
        self.config, self.split = config, split
        self.glyphs = load_glyphs(config, split)
        if self.glyphs.classes.tolist() != list(range(10)):
            raise UserError(f"mnist_stories need glyphs with the labels 0-9; those in {config.glyphs} have others")
        self.stories, likely = all_stories(config.combinations)
        self._until = likely.cumsum()[:-1]
        # Of each story, by its number: what its clips are drawn by.
        self._labels = np.array([story.label for story in self.stories], np.int64)
        self._sides = np.array([-1 if story.start is None else story.start for story in self.stories], np.int64)
        # Of two motions, each has its half; of one, both halves have it.
        halves = [((story.motions or (STILL,)) * 2)[:2] for story in self.stories]
        paces = np.array([[PACE[motion] for motion in both] for both in halves])  # [story, half, axis]
        speeds = np.array([SPEEDS[story.speed] for story in self.stories])
        steps = (np.arange(config.shape[0] - 1) >= turn_of(config.shape[0])).astype(np.int64)
        travelled = (speeds[:, None, None] * paces[:, steps]).cumsum(axis=1)
        self._travelled = np.concatenate([np.zeros((len(speeds), 1, 2)), travelled], axis=1)  # [story, frame, axis]

    def __len__(self) -> int:
        """The number of clips; 0 for an endless training split."""
        return HELD_OUT_CLIPS.get(self.split, self.config.clips)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of every clip."""
        return self.config.shape

    def take(self, indices: NDArray[np.int64]) -> StoryClips:
        """The clips with these numbers, in this order.

        Raises:
            IndexError: a number is negative, or not below the length of a split that has an end.
        """
        indices = checked(indices, len(self))
        chosen = np.searchsorted(self._until, self._uniform(indices, "story"), side="right")
        stories = [tuple(self.stories[number] for number in row) for row in chosen.tolist()]
        images = self.glyphs.images[self.glyphs.numbers(self._labels[chosen], self._uniform(indices, "glyph"))]
        positions = self._positions(indices, chosen)
        return StoryClips(
            videos=rendered(images, positions, self.config.shape),
            captions=self._captions(indices, stories),
            stories=stories,
            positions=positions,
        )

    def wordings(self) -> list[str]:
        """Captions that hold every word that any split's captions may hold, and one that is as long as any."""
        count = self.config.digits
        sides = [Story(None, (motion,), FAST, side) for motion in MOVING for side in SIDES_OF[motion]]
        paces = [Story(label, (SIDEWAYS, UPRIGHT), speed, SIDES.index("left"))
                 for label in range(10) for speed in (SLOW, FAST)]  # fmt: skip
        wordings = [Wording(*(min(kind, most - 1) for most in WORDINGS[:3])) for kind in range(max(WORDINGS[:3]))]
        return [tell([story] * count, wording) for story in (*paces, *sides) for wording in wordings]

    def _positions(self, indices: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows and columns `[batch, glyph, frame, 2]` of the top left corners, for stories by number."""
        free = np.array(self.config.shape[2:]) - GLYPH_SIZE
        begin = np.stack([self._uniform(indices, name) for name in ("start", "second start")], axis=-1)
        chance = np.stack([self._uniform(indices, name) for name in ("direction", "second direction")], axis=-1)
        sign = np.where(chance < 0.5, -1, 1)
        side = self._sides[chosen]
        for number, (axis, end) in enumerate([(1, 0), (1, 1), (0, 0), (0, 1)]):  # left, right, top, bottom
            begin[side == number, axis], sign[side == number, axis] = end, 1 - 2 * end
        return reflected((begin * free)[:, :, None] + sign[:, :, None] * self._travelled[chosen], free)

    def _captions(self, indices: NDArray[np.int64], stories: list[tuple[Story, ...]]) -> list[str]:
        kinds = [self._uniform(indices, name)[:, 0] * count
                 for name, count in zip(WORDINGS._fields, WORDINGS, strict=True)]  # fmt: skip
        wordings = np.stack(kinds, axis=-1).astype(np.int64).tolist()
        leaves_out = self.config.combinations != "unseen"
        no_label = leaves_out & (self._uniform(indices, "without label") < WITHOUT_LABEL)
        no_motion = leaves_out & (self._uniform(indices, "without motion") < WITHOUT_MOTION)
        captions = []
        for row, wording, nameless, aimless in zip(stories, wordings, no_label, no_motion, strict=True):
            said = [
                Story(
                    None if without_label else story.label,
                    None if without_motion and story.motions else story.motions,
                    story.speed,
                    story.start,
                )
                for story, without_label, without_motion in zip(row, nameless, aimless, strict=True)
            ]
            captions.append(tell(said, Wording(*wording)))
        return captions

    def _uniform(self, indices: NDArray[np.int64], field: str) -> NDArray[np.float64]:
        return uniform(self.split, indices, field, self.config.digits)
