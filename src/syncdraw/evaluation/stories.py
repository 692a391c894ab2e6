"""MNIST stories as the judge sees them: which way, how fast and from where each glyph moves, and what captions said.

All of it is measured on the paths that the judge finds. One glyph is found without knowing how it may move
(finding.py); of several, the search is told which kinds of paths there are (finding_stories.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations

import torch
from torch import Tensor

from syncdraw.datasets.bouncing_mnist import DIAGONAL, STILL, BouncingMNIST
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.idx import GLYPH_SIZE
from syncdraw.datasets.mnist_stories import MNISTStories, StoryClips, turn_of
from syncdraw.datasets.story_captions import SIDEWAYS, SPEEDS, UPRIGHT, Story, parse_story
from syncdraw.errors import UserError
from syncdraw.evaluation.finding import Search
from syncdraw.evaluation.finding_stories import StorySearch
from syncdraw.evaluation.readings import Reading, caption_fidelity

Digits = BouncingMNIST | MNISTStories
"""The data sets that the judge can read."""

_NEAR = 0.2
"""A glyph comes from a side if it begins within this share of the free pixels from there, and moves away from it."""

ATTRIBUTES = ("digit", "motion", "then", "speed", "start")


@dataclass(frozen=True)
class Motions:
    """How glyphs move.

    Attributes:
        halves: int64 `[batch, glyph, 2]`: the motion before and after the middle frame.
        pace: `[batch, glyph]`, pixels a frame, not counting steps that a reflection cuts short.
        speed: int64 `[batch, glyph]`, the nearest of `SPEEDS`, as an index.
        starts: bool `[batch, glyph, 4]`: whether it comes from each of the sides; of a diagonal two may be true.
    """

    halves: Tensor
    pace: Tensor
    speed: Tensor
    starts: Tensor


def measure_motions(positions: Tensor, size: tuple[int, int]) -> Motions:
    """How glyphs move along paths `[batch, glyph, frame, 2]`, in frames of this height and width.

    A half is still if the glyph moves less than a pixel a frame, and diagonal if it moves at least half as far along
    one axis as along the other.
    """
    steps = positions.float().diff(dim=2)
    turn = turn_of(positions.shape[2])
    halves, paces = [], []
    for part in (steps[:, :, :turn], steps[:, :, turn:]):
        travelled = part.abs().sum(2)  # [batch, glyph, axis]
        far = travelled.amax(-1) >= part.shape[2]
        straight = travelled.amax(-1) > 2 * travelled.amin(-1)
        along = torch.where(travelled.argmax(-1) == 1, SIDEWAYS, UPRIGHT)
        motion = torch.where(far, torch.where(straight, along, DIAGONAL), STILL)
        # A reflection makes a step shorter, never longer: the two longest are whole ones.
        longest = part.abs().topk(min(2, part.shape[2]), dim=2).values.mean(2)
        paces.append(torch.where(motion == DIAGONAL, longest.norm(dim=-1), longest.amax(-1)))
        halves.append(motion)
    both = torch.stack(halves, dim=-1)
    moving = (both != STILL).float()
    pace = (torch.stack(paces, dim=-1) * moving).sum(-1) / moving.sum(-1).clamp(min=1)
    free = torch.tensor(size) - GLYPH_SIZE
    begin = positions[:, :, 0].float() / free  # [batch, glyph, axis]
    away = steps[:, :, : max(1, turn // 2)].sum(2)
    near = torch.stack([begin < _NEAR, begin > 1 - _NEAR], dim=-1)  # [batch, glyph, axis, end]
    starts = near & torch.stack([away > 0, away < 0], dim=-1)
    return Motions(
        halves=both,
        pace=pace,
        speed=(pace[..., None] - torch.tensor(SPEEDS)).abs().argmin(-1),
        starts=starts.flip(2).flatten(2),  # left, right, top, bottom
    )


def fidelity_to(clips: Clips) -> Callable[[Reading, Sequence[str]], dict[str, float]]:
    """How well captions of such clips are kept, as the judge reads it: of stories or of Bouncing MNIST."""
    if isinstance(clips, StoryClips):
        return partial(story_fidelity, size=clips.videos.shape[3:])
    return caption_fidelity


def search_for(clips: Clips) -> type[Search]:
    """What finds several glyphs in such clips, for `Judge.read`."""
    return StorySearch if isinstance(clips, StoryClips) else Search


def story_fidelity(reading: Reading, captions: Sequence[str], size: tuple[int, int]) -> dict[str, float]:
    """How well clips show what their captions say: shares in 0 to 1, over all clips.

    The glyphs of a clip are matched to the clauses of its caption in the order that agrees best. What a caption leaves
    open is right whatever is shown, and does not count.

    Args:
        size: height and width of a frame.

    Returns:
        caption_match: clips in which everything is as said.
        digit, motion, then, speed, start: of the glyphs of which it is said, those in which it is so; `motion` is of
            those that move one way or stand still, `then` of those that move one way and then another. A glyph that
            moves has a speed, said or not. What no caption says is not listed.

    Raises:
        UserError: a caption is not understood, there is not one for each clip, or it names more or fewer digits than
            were read.
    """
    told = [parse_story(text) for text in captions]
    seen = measure_motions(reading.positions, size)
    batch, glyphs = seen.speed.shape
    if len(told) != batch:
        raise UserError(f"there are {len(told)} captions for {batch} clips, where each clip needs one")
    digits, halves, speeds = reading.digits.tolist(), seen.halves.tolist(), seen.speed.tolist()
    starts, orders = seen.starts.tolist(), list(permutations(range(glyphs)))
    counts = {name: [0, 0] for name in ATTRIBUTES}
    matched = 0
    for clip, (text, stories) in enumerate(zip(captions, told, strict=True)):
        if len(stories) != glyphs:
            raise UserError(f"the caption {text!r} names {len(stories)} digits, where {glyphs} were read")
        shown = list(zip(digits[clip], halves[clip], speeds[clip], starts[clip], strict=True))
        table = [[_agreement(story, *glyph) for glyph in shown] for story in stories]
        arrangements = [[table[clause][glyph] for clause, glyph in enumerate(order)] for order in orders]
        found = max(arrangements, key=lambda arrangement: sum(sum(each.values()) for each in arrangement))
        matched += all(all(each.values()) for each in found)
        for each in found:
            for name, right in each.items():
                counts[name][0] += right
                counts[name][1] += 1
    shares = {name: right / all_of_them for name, (right, all_of_them) in counts.items() if all_of_them}
    return {"caption_match": matched / batch, **shares}


def _agreement(story: Story, digit: int, halves: list[int], speed: int, starts: list[bool]) -> dict[str, bool]:
    """Of what a story says, whether a glyph shows it."""
    found: dict[str, bool] = {}
    if story.label is not None:
        found["digit"] = digit == story.label
    if story.motions is not None:
        wanted = ((story.motions or (STILL,)) * 2)[:2]
        found["then" if len(story.motions) == 2 else "motion"] = halves == list(wanted)
    if story.motions != ():
        found["speed"] = speed == story.speed
    if story.start is not None:
        found["start"] = starts[story.start]
    return found
