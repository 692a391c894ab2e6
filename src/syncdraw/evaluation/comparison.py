"""Models side by side, and beside real clips: where v2 section 4.7 had figures to look at, numbers.

A model may be of any kind, also one without a bound. `syncdraw evaluate compare` prints it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from syncdraw.datasets.bouncing_mnist import SPEED, BouncingMNIST
from syncdraw.errors import UserError
from syncdraw.evaluation.distances import frechet_distance, unit
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.models import DrawingModel
from syncdraw.evaluation.readings import NO_MOTION, Reading, clip_features, identity_kept, readable_share, together
from syncdraw.evaluation.reports import Report, data_of
from syncdraw.evaluation.samples import sample_batches

LEVELS = 255
"""Grey levels between black and white, the unit of what changes from frame to frame."""


class SizedModel(DrawingModel, Protocol):
    """A model whose weights can be counted."""

    def parameters(self) -> Any: ...


def comparison_report(
    models: Mapping[str, tuple[SizedModel, dict[str, Any]]], *, data: str | None, samples: int, seed: int
) -> Report:
    """Samples of each model, and as many real test clips, measured in the same way.

    - readable: one digit a glyph in all frames, read with 90 % confidence; identity: one digit in all frames, whatever
      the confidence; one axis: all glyphs move along one axis (Bouncing MNIST)
    - Frechet: distance to other real test clips in the judge's features (Bouncing MNIST)
    - motion: the mean absolute difference of neighbouring frames, in grey levels of 255; still part: the same of the
      half of a clip's pixels that change least, which in a real clip of digits is nothing
    - parameters, milliseconds a clip where this runs, and minutes of training as the model's card has them

    Args:
        models: by their names, each with its card. The first one's data are taken.
        data: the data set, where it is not that one.
        samples: clips of each.

    Raises:
        UserError: the models draw clips of different shapes, or there are too few test clips.
    """
    first = next(iter(models.values()))
    test = data_of(first[1], data, "test")
    for name, (model, _) in models.items():
        if model.shape != test.shape:
            raise UserError(f"{name} draws clips of shape {model.shape}, and the test clips have {test.shape}")
    if samples > len(test) // 2:
        raise UserError(f"samples is {samples}; with {len(test)} test clips, no more than half of them can be compared")
    clips = test.take(np.arange(2 * samples))
    real = unit(torch.from_numpy(clips.videos))
    judged = isinstance(test, BouncingMNIST) and test.config.glyphs is None
    digits = test.config.digits if isinstance(test, BouncingMNIST) else 0
    reference = _read(real[samples:], digits) if judged else None
    rows = {"real": _row(real[:samples], digits, reference)}
    captions = (clips.captions or [""] * samples)[:samples]
    for name, (model, card) in models.items():
        begun = time.perf_counter()
        videos = torch.cat(list(sample_batches(model, captions, seed)))
        milliseconds = 1000 * (time.perf_counter() - begun) / samples
        rows[name] = _row(videos, digits, reference) | {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "milliseconds a clip": milliseconds,
            "minutes of training": card.get("trained", {}).get("minutes"),
        }
    text = f"{samples:,} samples of each, and as many real test clips, seed {seed}\n\n" + table(rows)
    return Report(text, {"samples": samples, "seed": seed, **rows})


def _row(videos: Tensor, digits: int, reference: Reading | None) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    if reference is not None:
        reading = _read(videos, digits)
        row = {
            "readable": readable_share(reading),
            "identity": identity_kept(reading).float().mean().item(),
            "one axis": (reading.motions != NO_MOTION).all(1).float().mean().item(),
            "Frechet": frechet_distance(clip_features(reference), clip_features(reading)),
        }
    motion, still = changes(videos)
    return row | {"motion": motion, "still part": still}


def changes(videos: Tensor) -> tuple[float, float]:
    """How much pixels change from one frame to the next: the mean over a clip, and over the half that changes least.

    Args:
        videos: `[clip, frame, channel, height, width]` in [0, 1].

    Returns:
        Mean absolute differences, in grey levels of 255.
    """
    moved = LEVELS * videos.diff(dim=1).abs().mean(dim=1).flatten(1)  # [clip, pixel]
    least = moved.sort(dim=1).values[:, : moved.shape[1] // 2]
    return moved.mean().item(), least.mean().item()


def _read(videos: Tensor, digits: int) -> Reading:
    judge = Judge.load()
    return together([judge.read(part, digits, SPEED) for part in videos.split(100)])


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
    if column in ("readable", "identity", "one axis"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
