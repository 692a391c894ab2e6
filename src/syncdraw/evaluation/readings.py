"""What the judge sees in clips, and what can be measured of it: captions kept, digits readable, features to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

from syncdraw.datasets.bouncing_mnist import Combination, parse_caption
from syncdraw.errors import UserError

NO_MOTION = -1
"""A glyph that stands still, or moves along both axes: neither of the two motions."""


@dataclass(frozen=True)
class Reading:
    """What the judge sees in clips. The glyphs of a clip come in no particular order.

    Attributes:
        log_probabilities: `[batch, glyph, frame, 10]`, nats: the digits that each frame shows.
        positions: `[batch, glyph, frame, 2]`: row and column in pixels of the top left corner of the glyph's 28 x 28.
        motions: int64 `[batch, glyph]`, 0 for left and right, 1 for up and down (as in `bouncing_mnist.MOTIONS`), or
            NO_MOTION where the glyph moves less than a pixel a frame, or not at least twice as far along one axis as
            along the other.
        speed: `[batch, glyph]`, pixels a frame along the longer axis, not counting the frames around a turn.
        drift: `[batch, glyph]`, pixels between the outermost positions across the motion.
        features: `[batch, glyph, frame, 64]`, the digit reader's last hidden layer.
    """

    log_probabilities: Tensor
    positions: Tensor
    motions: Tensor
    speed: Tensor
    drift: Tensor
    features: Tensor

    @property
    def digits(self) -> Tensor:
        """int64 `[batch, glyph]`: the digit that the frames together show (their probabilities multiplied)."""
        return self.log_probabilities.mean(2).argmax(-1)

    @property
    def digits_by_frame(self) -> Tensor:
        """int64 `[batch, glyph, frame]`: the digit that each frame shows on its own."""
        return self.log_probabilities.argmax(-1)


def together(readings: Sequence[Reading]) -> Reading:
    """What is seen in the clips of all of these, one after the other."""
    return Reading(**{f.name: torch.cat([getattr(one, f.name) for one in readings]) for f in fields(Reading)})


def caption_fidelity(reading: Reading, captions: Sequence[str | Combination]) -> dict[str, float]:
    """How well clips show what their captions say: shares in 0 to 1, over all clips.

    The glyphs of a clip are matched to those of its caption in the order that agrees best, so the caption's order does
    not count. For the floor, pass the captions shuffled; for the ceiling, read real test clips.

    Returns:
        digit_accuracy_by_frame: frames in which the glyph reads as its digit.
        digit_accuracy: glyphs whose frames together read as their digit.
        motion_accuracy: glyphs that move as said.
        caption_match: clips in which all digits and all motions are as said.
        identity_kept: clips in which each glyph reads as the same digit in all frames, whatever the caption.

    Raises:
        UserError: a caption is not understood, there is not one for each clip, or it names more or fewer digits than
            were read.
    """
    batch, glyphs = reading.motions.shape
    combinations = [parse_caption(text) if isinstance(text, str) else text for text in captions]
    if len(combinations) != batch:
        raise UserError(f"there are {len(combinations)} captions for {batch} clips, where each clip needs one")
    for said, combination in zip(captions, combinations, strict=True):
        if len(combination) != glyphs:
            raise UserError(f"the caption {said!r} names {len(combination)} digits, where {glyphs} were read")
    wanted = torch.tensor(combinations, dtype=torch.int64).view(batch, glyphs, 2)

    orders = torch.tensor(list(permutations(range(glyphs))))
    labels, motions = wanted[:, orders].unbind(-1)  # [batch, order, glyph]
    by_frame = (reading.digits_by_frame[:, None] == labels[..., None]).float().mean(-1)
    digit_right = reading.digits[:, None] == labels
    motion_right = reading.motions[:, None] == motions
    agreement = (digit_right.float() + motion_right.float() + 0.1 * by_frame).sum(-1)
    best = agreement.argmax(1)
    rows = torch.arange(batch)
    digit_right, motion_right = digit_right[rows, best], motion_right[rows, best]
    return {
        "digit_accuracy_by_frame": by_frame[rows, best].mean().item(),
        "digit_accuracy": digit_right.float().mean().item(),
        "motion_accuracy": motion_right.float().mean().item(),
        "caption_match": (digit_right & motion_right).all(1).float().mean().item(),
        "identity_kept": identity_kept(reading).float().mean().item(),
    }


def readable_share(reading: Reading, confidence: float = 0.9) -> float:
    """The share of clips whose glyphs read as the same digit in all frames, with a mean confidence above `confidence`.

    The confidence is the probability of the digit that a frame shows, averaged over the glyph's frames.
    """
    mean = reading.log_probabilities.amax(-1).exp().mean(2)
    return (identity_kept(reading) & (mean > confidence).all(1)).float().mean().item()


def glyph_features(reading: Reading) -> Tensor:
    """What a Frechet distance compares: one row for each glyph of each clip, `[batch * glyph, 68]`.

    A row holds the digit reader's features averaged over the frames (64), how much they change from frame to frame
    (root mean square), the distance in pixels a frame over rows and over columns, and the drift in pixels. A distance
    in these features is not an FVD: say "Frechet distance in the judge's features".
    """
    mean = reading.features.mean(2)
    change = (reading.features - mean[:, :, None]).square().mean((2, 3)).sqrt()
    steps = reading.positions.diff(dim=2).abs().sum(2) / max(1, reading.positions.shape[2] - 1)
    return torch.cat([mean, change[..., None], steps, reading.drift[..., None]], -1).flatten(0, 1)


Part = Literal["digits and motion", "digits", "motion"]


def clip_features(reading: Reading, part: Part = "digits and motion") -> Tensor:
    """One row for each clip: the judge's `glyph_features`, one glyph after the other, `[clip, glyph * (68, 65 or 3)]`.

    The glyphs come in ascending order of the digit that they show (its mean, so that it has hardly ever ties), whatever
    the order in which the judge found them, and each keeps its own motion.
    """
    shown = (reading.log_probabilities.double().exp() @ torch.arange(10.0, dtype=torch.float64)).mean(dim=2)
    batch, glyphs = shown.shape
    rows = glyph_features(reading).view(batch, glyphs, -1)
    rows = rows[torch.arange(batch)[:, None], shown.argsort(dim=1)]
    digits = reading.features.shape[-1] + 1  # and how much they change
    columns = {"digits and motion": slice(None), "digits": slice(digits), "motion": slice(digits, None)}
    return rows[..., columns[part]].flatten(1)


def identity_kept(reading: Reading) -> Tensor:
    """Whether each glyph reads as the same digit in all frames, bool `[batch]`."""
    digits = reading.digits_by_frame
    return (digits == digits[:, :, :1]).all(2).all(1)
