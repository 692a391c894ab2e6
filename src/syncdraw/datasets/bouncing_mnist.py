"""Bouncing MNIST: glyphs that move left and right or up and down (v2, sections 4.2, 4.3 and 4.5).

Clip number i is a pure function of the split and i. So a data set needs no storage, the fixed training set is
simply the first 12,000 clips, an endless one goes on counting, and a resumed run sees the clips it would have seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from syncdraw.datasets.clips import Clips
from syncdraw.datasets.idx import GLYPH_SIZE, read_glyphs
from syncdraw.errors import UserError

Split = Literal["train", "validation", "test"]
Combinations = Literal["all", "seen", "unseen"]
Combination = tuple[tuple[int, int], ...]
"""What a caption says: a (label, motion) for each glyph."""

MOTIONS = ("left and right", "up and down")
"""The paper's two motions; elsewhere a motion is an index into this tuple."""

STILL, DIAGONAL = -1, -2
"""The motions of glyphs that stay where they are, or move along both axes at once; see `BouncingMNISTConfig`."""

SPEED = 7.2
"""Pixels a frame. The papers name none; their released scripts move 0.2 of the free 36 pixels."""

STILLS = 0.4
"""Share of the stills among the clips with extra motions."""

HELD_OUT_CLIPS = {"validation": 1_000, "test": 10_000}
"""The number of clips in the splits that are not trained on; `BouncingMNISTConfig.clips` sets the training split's."""

_SPLITS: tuple[Split, ...] = get_args(Split)
MNIST_FOLDER = Path(__file__).parent / "mnist"


# --- What the captions say -------------------------------------------------------------------------------------------


def all_combinations(digits: int) -> list[Combination]:
    """All combinations of digits and motions, each once: 20 for one digit, 210 for two (order does not count)."""
    states = [(label, motion) for label in range(10) for motion in range(len(MOTIONS))]
    return list(combinations_with_replacement(states, digits))


def unseen_combinations(digits: int) -> list[Combination]:
    """The combinations that the hard split keeps for testing (v2, section 4.5): 10 for one digit, 42 of 210 for two.

    One digit: even digits train moving left and right, odd digits up and down; the other motion is for testing.
    Two digits: number the 20 states of one digit (2 x label + motion); a pair whose numbers sum to a multiple of 5 is
    for testing. The sum does not know the order of the pair, and each state meets 4 of its 20 partners at test time
    only, so all states, and all digits, are trained equally often.

    Raises:
        UserError: for more than two digits, where the paper defines no split.
    """
    if digits not in (1, 2):
        raise UserError(f"the split into seen and unseen captions is defined for 1 or 2 digits, not {digits!r}")
    return [combination for combination in all_combinations(digits) if _is_unseen(combination)]


def seen_combinations(digits: int) -> list[Combination]:
    """The combinations that the hard split trains on: all others than `unseen_combinations`.

    Raises:
        UserError: for more than two digits, where the paper defines no split.
    """
    unseen = set(unseen_combinations(digits))
    return [combination for combination in all_combinations(digits) if combination not in unseen]


def _is_unseen(combination: Combination) -> bool:
    if len(combination) == 1:
        ((label, motion),) = combination
        return label % 2 != motion
    return sum(2 * label + motion for label, motion in combination) % 5 == 0


def caption(labels: Sequence[int], motions: Sequence[int]) -> str:
    """The sentence for a clip: one label and one motion (an index into `MOTIONS`) for each of its glyphs.

    'digit 0 is moving up and down and digit 1 is moving left and right' (v2 section 4.5.2; v1's captions have the same
    words, but for 'the' and a comma, which `vocabulary.normalise` drops). A glyph whose motion is `STILL` is only
    named: 'digit 0'. One whose motion is `DIAGONAL` 'is moving diagonally'.
    """
    phrases = {STILL: "", DIAGONAL: " is moving diagonally"}
    phrases |= {motion: f" is moving {words}" for motion, words in enumerate(MOTIONS)}
    return " and ".join(f"digit {label}{phrases[motion]}" for label, motion in zip(labels, motions, strict=True))


_WORDS = ("the", "digit", "is", "moving", "left", "and", "right", "up", "down")
_NUMBER = "0|[1-9][0-9]{0,5}"
_CLAUSE = rf"(?:the )?digit ({_NUMBER}) is moving ({'|'.join(MOTIONS)})"


def parse_caption(text: str) -> Combination:
    """The (label, motion) of each glyph that a caption names, in its order.

    Both papers' wordings are understood, for any number of glyphs, in upper or lower case, with extra blanks and with
    or without commas and a full stop.

    Raises:
        UserError: a word is unknown, or the words do not form such a sentence.
    """
    words = text.lower().replace(",", " ").strip().removesuffix(".").split()
    for word in words:
        if word not in _WORDS and not re.fullmatch(_NUMBER, word):
            vocabulary = ", ".join(_WORDS)
            raise UserError(f"the caption {text!r} has the unknown word {word!r}; known are {vocabulary} and a number")
    sentence = " ".join(words)
    if not re.fullmatch(rf"{_CLAUSE}(?: and {_CLAUSE})*", sentence):
        raise UserError(
            f"the caption {text!r} is not understood, where one like '{caption([0], [0])}' "
            f"or '{caption([0, 1], [1, 0])}' would be"
        )
    return tuple((int(label), MOTIONS.index(motion)) for label, motion in re.findall(_CLAUSE, sentence))


# --- The clips -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BouncingMNISTConfig:
    """The settings of Bouncing MNIST; the defaults are the paper's (v2, section 4.2).

    Attributes:
        digits: glyphs in each clip.
        shape: frames, channels (1, or 3 for the grey repeated), height and width (pixels, more than a glyph's 28).
        clips: clips in the training split; 0 for an endless one.
        combinations: which digits and motions occur: all, or those on one side of the hard split (v2, section 4.5).
        extra_motions: share of training clips that show motions which all digits share: two in five show their first
            frame throughout, captioned 'digit 3'; in the others glyphs move along both axes at once, captioned 'digit 3
            is moving diagonally'. In the hard split each digit has one motion, so nothing else tells a model which of
            the words stand for the digit (ours; no unseen combination is shown).
        glyphs: a folder with idx files of other 28 x 28 glyphs, named as MNIST's or EMNIST's; None for MNIST.

    Raises:
        UserError: a value is out of range.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    digits: int = 1
    shape: tuple[int, int, int, int] = (10, 1, 64, 64)
    clips: int = 12_000
    combinations: Combinations = "all"
    extra_motions: float = 0.0
    glyphs: str | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.shape)  # JSON and YAML give lists
        if len(shape) != 4:
            raise UserError(f"bouncing.shape is {list(shape)}; it must be frames, channels, height and width")
        object.__setattr__(self, "shape", shape)
        frames, channels, height, width = shape
        values = {
            "digits": (self.digits, 1),
            "frames of shape": (frames, 1),
            "height of shape": (height, GLYPH_SIZE + 1),
            "width of shape": (width, GLYPH_SIZE + 1),
            "clips": (self.clips, 0),
        }
        for name, (value, minimum) in values.items():
            if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value < 2**63:
                raise UserError(f"bouncing.{name} must be a whole number of at least {minimum}, not {value!r}")
        if channels not in (1, 3):
            raise UserError(f"bouncing.channels of shape must be 1 or 3, not {channels!r}")
        if not isinstance(self.extra_motions, (int, float)) or not 0 <= self.extra_motions <= 1:
            raise UserError(f"bouncing.extra_motions must be a share from 0 to 1, not {self.extra_motions!r}")
        if self.combinations not in get_args(Combinations):
            raise UserError(
                f"bouncing.combinations must be {' or '.join(get_args(Combinations))}, not {self.combinations!r}"
            )
        if self.combinations != "all" and self.digits > 2:
            raise UserError(
                f"bouncing.combinations must be all where digits is {self.digits}: the hard split ends at 2 digits"
            )


@dataclass(frozen=True)
class BouncingClips(Clips):
    """Clips of bouncing glyphs, with everything that was drawn.

    Attributes:
        labels: int64 `[batch, glyph]`.
        motions: int64 `[batch, glyph]`, an index into `MOTIONS`, or `STILL`.
        positions: int64 `[batch, glyph, frame, 2]`: row and column, in pixels, of the glyph's top left corner.
    """

    labels: NDArray[np.int64]
    motions: NDArray[np.int64]
    positions: NDArray[np.int64]


class BouncingMNIST:
    """A split of Bouncing MNIST: glyphs, their labels and their motions drawn independently of each other.

    Each glyph starts anywhere in the frame, in either direction, and is reflected at the borders. Where glyphs overlap
    their intensities are added, and clipped at full white (v2, section 4.3).

    The test split draws MNIST's test digits, the validation split the last twelfth (5,000) of its training digits, the
    training split the others, so no glyph occurs in two splits.

    Raises:
        UserError: a glyph file is missing or bad, the split is unknown, or the hard split is asked of glyphs whose
            labels are not 0 to 9.
    """

    def __init__(self, config: BouncingMNISTConfig, split: Split = "train") -> None:
        self.config = config
        self.split = split
        self.glyphs = load_glyphs(config, split)
        self._choices: NDArray[np.int64] | None = None
        if config.combinations != "all":
            if self.glyphs.classes.tolist() != list(range(10)):
                raise UserError(f"combinations must be all for the glyphs in {config.glyphs}: their labels are not 0-9")
            chosen = (seen_combinations if config.combinations == "seen" else unseen_combinations)(config.digits)
            # In both orders, so that a draw is one of independent labels and motions, conditioned on the split.
            ordered = sorted({order for combination in chosen for order in (combination, combination[::-1])})
            self._choices = np.array(ordered, np.int64)

    def __len__(self) -> int:
        """The number of clips; 0 for an endless training split."""
        return HELD_OUT_CLIPS.get(self.split, self.config.clips)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of every clip."""
        return self.config.shape

    def take(self, indices: NDArray[np.int64]) -> BouncingClips:
        """The clips with these numbers, in this order.

        Raises:
            IndexError: a number is negative, or not below the length of a split that has an end.
        """
        config = self.config
        indices = checked(indices, len(self))
        labels, motions, glyphs = self._draw_glyphs(indices)
        positions = self._draw_positions(indices, motions)
        if self.split == "train" and config.extra_motions:
            share = self._uniform(indices, "still")[:, 0] / config.extra_motions
            still = share < STILLS
            motions[still] = STILL
            positions[still] = positions[still][:, :, :1]
            diagonal = (share >= STILLS) & (share < 1)
            motions[diagonal] = DIAGONAL
            positions[diagonal] = self._draw_diagonals(indices[diagonal])
        return BouncingClips(
            videos=rendered(self.glyphs.images[glyphs], positions, config.shape),
            captions=[caption(label, motion) for label, motion in zip(labels.tolist(), motions.tolist(), strict=True)],
            labels=labels,
            motions=motions,
            positions=positions,
        )

    def wordings(self) -> list[str]:
        """Captions that hold every word that any split's captions may hold."""
        motions = [*range(len(MOTIONS)), *([DIAGONAL] if self.config.extra_motions else [])]
        count = self.config.digits
        return [caption([c] * count, [m] * count) for c in self.glyphs.classes.tolist() for m in motions]

    def _draw_glyphs(
        self, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Labels, motions and numbers of the glyphs, `[batch, glyph]` each."""
        digits, source = self.config.digits, self.glyphs
        if self._choices is None:
            classes = (self._uniform(indices, "label") * len(source.classes)).astype(np.int64)
            labels = source.classes[classes]
            motions = (self._uniform(indices, "motion") * len(MOTIONS)).astype(np.int64)
        else:
            chosen = (self._uniform(indices, "label")[:, 0] * len(self._choices)).astype(np.int64)
            labels, motions = np.moveaxis(self._choices[chosen].reshape(-1, digits, 2), -1, 0)
            classes = labels
        return labels, motions, source.numbers(classes, self._uniform(indices, "glyph"))

    def _draw_positions(self, indices: NDArray[np.int64], motions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows and columns `[batch, glyph, frame, 2]` of the glyphs' top left corners."""
        free = np.array(self.config.shape[2:]) - GLYPH_SIZE
        moving = 1 - motions  # the axis along which a glyph moves: 0 rows, 1 columns
        along = self._draw_path(indices, free[moving], SPEED, "start", "direction")
        across = (self._uniform(indices, "across") * (free[motions] + 1)).astype(np.int64)
        positions: NDArray[np.int64] = np.where(
            moving[..., None, None] == np.arange(2), along[..., None], across[..., None, None]
        )
        return positions

    def _draw_diagonals(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions as `_draw_positions` gives them, of glyphs that go as fast along both axes at once."""
        speed = SPEED / math.sqrt(2)
        axes = [
            self._draw_path(indices, np.array(length - GLYPH_SIZE), speed, *fields)
            for length, fields in (
                (self.config.shape[2], ("start", "direction")),
                (self.config.shape[3], ("second start", "second direction")),
            )
        ]
        return np.stack(axes, axis=-1)

    def _draw_path(
        self, indices: NDArray[np.int64], reach: NDArray[np.int64], speed: float, start: str, direction: str
    ) -> NDArray[np.int64]:
        """Where a glyph is along an axis, `[batch, glyph, frame]`, in pixels from 0 to `reach`, `[batch, glyph]`."""
        sign = np.where(self._uniform(indices, direction) < 0.5, -1.0, 1.0)
        travelled = sign[..., None] * speed * np.arange(self.config.shape[0])
        return reflected((self._uniform(indices, start) * reach)[..., None] + travelled, reach[..., None])

    def _uniform(self, indices: NDArray[np.int64], field: str) -> NDArray[np.float64]:
        return uniform(self.split, indices, field, self.config.digits)


def checked(indices: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Numbers of clips of a split of this length, 0 for an endless one.

    Raises:
        IndexError: a number is negative, or not below the length of a split that has an end.
    """
    indices = np.asarray(indices, np.int64)
    if indices.size and (indices.min() < 0 or (length and indices.max() >= length)):
        raise IndexError(f"clip numbers must lie in 0 to {length - 1 if length else 'infinity'}")
    return indices


def reflected(phase: NDArray[np.float64], reach: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole pixels from 0 to `reach` of what would be at `phase` if it were not reflected at both ends."""
    # A reflection at both borders is a triangle wave whose period is twice the free length.
    along = reach - np.abs(np.mod(phase, 2 * reach) - reach)
    return np.floor(along + 0.5).astype(np.int64)


def rendered(
    glyphs: NDArray[np.uint8], positions: NDArray[np.int64], shape: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Videos `[batch, frame, channel, height, width]` of glyphs `[batch, glyph, 28, 28]` at their positions.

    Where glyphs overlap, their intensities are added, and clipped at full white (v2, section 4.3).

    Args:
        positions: `[batch, glyph, frame, 2]`: row and column of the top left corners.
        shape: frames, channels, height and width.
    """
    frames, channels, height, width = shape
    videos = np.zeros((len(glyphs), frames, height, width), np.uint8)
    # The window of a clip and frame that begins at a row and column; writing into it draws on the video.
    windows = sliding_window_view(videos, (GLYPH_SIZE, GLYPH_SIZE), axis=(2, 3), writeable=True)
    clip, frame = np.ogrid[: len(glyphs), :frames]
    for digit in range(glyphs.shape[1]):
        where = (clip, frame, positions[:, digit, :, 0], positions[:, digit, :, 1])
        image = glyphs[:, digit, None]
        windows[where] = image if digit == 0 else np.minimum(windows[where], 255 - image) + image  # sum and clip
    videos = videos[:, :, None]
    return videos if channels == 1 else videos.repeat(channels, axis=2)


_FIELDS = (
    "label", "motion", "glyph", "start", "direction", "across", "still", "second start", "second direction",
    "story", "subject", "verb", "synonym", "order", "without label", "without motion",
    "character", "left out", "wording",
)  # fmt: skip


def uniform(split: Split, indices: NDArray[np.int64], field: str, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), `[batch, count]`: a hash of the split, the clip, the field and which of `count` it is."""
    fields = _FIELDS.index(field) + 64 * np.arange(count)  # room for 64 fields
    key = np.zeros((1, 1), np.uint64)
    for part in (np.array(_SPLITS.index(split)), indices[:, None], fields):
        key = _scramble(key) + part.astype(np.uint64)
    return (_scramble(key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): neighbouring numbers become unrelated ones."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


# --- The glyphs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Glyphs:
    """Glyphs that can be drawn by class: the j-th of the c-th class is `images[order[starts[c] + j]]`."""

    images: NDArray[np.uint8]
    classes: NDArray[np.int64]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    order: NDArray[np.int64]

    def numbers(self, classes: NDArray[np.int64], chance: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which images to show of these classes (indices), drawn by numbers in [0, 1); all of one shape."""
        return self.order[self.starts[classes] + (chance * self.counts[classes]).astype(np.int64)]


def load_glyphs(config: BouncingMNISTConfig, split: Split) -> Glyphs:
    """The glyphs of a split: MNIST's, or those in the folder that is set.

    Raises:
        UserError: a glyph file is missing or bad, or the split is unknown.
    """
    if split not in _SPLITS:
        raise UserError(f"split must be {', '.join(_SPLITS)}, not {split!r}")
    return _load_glyphs(MNIST_FOLDER if config.glyphs is None else Path(config.glyphs), split)


@cache
def _load_glyphs(folder: Path, split: Split) -> Glyphs:
    """The glyphs of a split, read once in a process."""
    if not folder.is_dir():
        raise UserError(f"glyphs names the folder {folder}, which does not exist")
    names = ("t10k", "test") if split == "test" else ("train",)
    path = _find(folder, names, "images-idx3-ubyte")
    images, labels = read_glyphs(path, _find(folder, names, "labels-idx1-ubyte"))
    if path.name.startswith("emnist-"):
        images = images.transpose(0, 2, 1)  # EMNIST's files hold their glyphs column by column
    if split != "test":
        held_out = math.ceil(len(images) / 12)
        part = slice(-held_out, None) if split == "validation" else slice(None, -held_out)
        images, labels = images[part], labels[part]
    if len(images) == 0:
        raise UserError(f"{folder} holds one training glyph, where at least two are needed: one is for validation")
    classes, counts = np.unique(labels.astype(np.int64), return_counts=True)
    order = np.argsort(labels, kind="stable")
    return Glyphs(images, classes, counts, np.cumsum(counts) - counts, order)


def _find(folder: Path, names: tuple[str, ...], kind: str) -> Path:
    """The one file of a kind in a glyph folder: 'train-images-idx3-ubyte.gz', 'emnist-letters-test-images-...'."""
    pattern = re.compile(rf"(.*-)?({'|'.join(names)})-{kind}(\.gz)?")
    found = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{folder} must hold one file named {names[0]}-{kind}.gz, but has {listed}")
    return found[0]
