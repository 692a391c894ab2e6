"""Models side by side, and beside real clips: where v2 section 4.7 had figures to look at, numbers.

A model may be of any kind, also one without a bound. `syncdraw evaluate compare` prints it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from syncdraw.datasets.bouncing_mnist import SPEED
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.mnist_stories import MNISTStories
from syncdraw.errors import UserError
from syncdraw.evaluation.distances import frechet_distance, unit
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.looks import motion, sharpness, still_part
from syncdraw.evaluation.models import DrawingModel
from syncdraw.evaluation.readings import NO_MOTION, Reading, clip_features, identity_kept, readable_share, together
from syncdraw.evaluation.reports import Report, data_of
from syncdraw.evaluation.samples import sample_batches
from syncdraw.evaluation.stories import Digits, fidelity_to, search_for

LEVELS = 255
"""From black to white, the unit of what changes from pixel to pixel and from frame to frame."""


class SizedModel(DrawingModel, Protocol):
    """A model whose weights can be counted."""

    def parameters(self) -> Any: ...


def comparison_report(
    models: Mapping[str, tuple[SizedModel, dict[str, Any]]], *, data: str | None, samples: int, seed: int
) -> Report:
    """Samples of each model, and as many real test clips, measured in the same way.

    - readable: one digit a glyph in all frames, read with 90 % confidence; identity: one digit in all frames, whatever
      the confidence (Bouncing MNIST and MNIST stories); one axis: all glyphs move along one axis (Bouncing MNIST)
    - Frechet: distance to other real test clips in the judge's features (both)
    - caption match: all is as the caption says, where a model draws from captions (both)
    - sharpness: the mean absolute difference of neighbouring pixels, in levels of 255; motion: of a pixel in one frame
      and in the next; still part: the same of the half of a clip's pixels that change least, which in a real clip of
      digits is nothing
    - parameters, milliseconds a clip where this runs, and minutes of training as the model's card has them

    Args:
        models: by their names, each with its card. The first one's data are taken.
        data: the data set, where it is not that one.
        samples: of each model; and as many real clips, as far as there are any.

    Raises:
        UserError: the models draw clips of different shapes, or there are too few test clips for a Frechet distance.
    """
    first = next(iter(models.values()))
    test = data_of(first[1], data, "test")
    for name, (model, _) in models.items():
        if model.shape != test.shape:
            raise UserError(f"{name} draws clips of shape {model.shape}, and the test clips have {test.shape}")
    digits = test if isinstance(test, Digits) and test.config.glyphs is None else None
    if digits is not None and samples > len(test) // 2:
        raise UserError(f"samples is {samples}; with {len(test)} test clips, no more than half of them can be compared")
    clips = test.take(np.arange(min(samples, len(test)) if digits is None else 2 * samples))
    real = unit(torch.from_numpy(clips.videos))
    measured = _looks if digits is None else _judged(digits, clips, real[samples:])
    count = min(samples, len(real))
    real, texts = real[:count], (clips.captions or [""] * count)[:count]
    captions = [texts[number % count] for number in range(samples)]
    told = any(model.captioned for model, _ in models.values())
    rows = {"real": measured(real, texts if told else None)}
    for name, (model, card) in models.items():
        begun = time.perf_counter()
        videos = torch.cat(list(sample_batches(model, captions, seed)))
        milliseconds = 1000 * (time.perf_counter() - begun) / samples
        rows[name] = measured(videos, captions if model.captioned else None) | {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "milliseconds a clip": milliseconds,
            "minutes of training": card.get("trained", {}).get("minutes"),
        }
    beside = "as many real test clips" if count == samples else f"{count:,} real test clips, all that there are"
    text = f"{samples:,} samples of each, and {beside}, seed {seed}\n\n" + table(rows)
    return Report(text, {"samples": samples, "seed": seed, **rows})


def _looks(videos: Tensor, captions: Sequence[str] | None) -> dict[str, float | None]:
    """What can be measured of any videos, in levels of 255."""
    return {
        "sharpness": LEVELS * sharpness(videos).mean().item(),
        "motion": LEVELS * motion(videos).mean().item(),
        "still part": LEVELS * still_part(videos).mean().item(),
    }


def _judged(
    test: Digits, clips: Clips, reference: Tensor
) -> Callable[[Tensor, Sequence[str] | None], dict[str, float | None]]:
    """What the judge reads in videos that were drawn from captions, beside `reference`, test clips all; and how they
    look."""
    judge, digits, search, fidelity = Judge.load(), test.config.digits, search_for(clips), fidelity_to(clips)

    def read(videos: Tensor) -> Reading:
        return together([judge.read(part, digits, SPEED, search) for part in videos.split(100)])

    real = clip_features(read(reference))

    def judged(videos: Tensor, captions: Sequence[str] | None) -> dict[str, float | None]:
        reading = read(videos)
        row: dict[str, float | None] = {
            "readable": readable_share(reading),
            "identity": identity_kept(reading).float().mean().item(),
        }
        if not isinstance(test, MNISTStories):  # whose digits may move diagonally, or turn
            row["one axis"] = (reading.motions != NO_MOTION).all(1).float().mean().item()
        row["Frechet"] = frechet_distance(real, clip_features(reading))
        if captions is not None:
            row["caption match"] = fidelity(reading, captions)["caption_match"]
        return row | _looks(videos, captions)

    return judged


def table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """Rows by their names, a column for each number."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [["", *columns], *([name, *(_cell(row.get(c), c) for c in columns)] for name, row in rows.items())]
    widths = [max(len(row[number]) for row in cells) for number in range(len(cells[0]))]

    def line(row: Sequence[str]) -> str:
        label, *numbers = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        return "  ".join([label.strip().ljust(widths[0]), *numbers]).rstrip()

    return "\n".join(map(line, cells))


def _cell(value: float | None, column: str) -> str:
    if value is None:
        return "-"
    if column in ("readable", "identity", "one axis", "caption match"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
