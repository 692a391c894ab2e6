"""Samples of a model, to be measured."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from tqdm import tqdm

from syncdraw.errors import UserError
from syncdraw.evaluation.models import DrawingModel, drawn


def sample_batches(
    model: DrawingModel,
    captions: list[str],
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 100,
    part: slice | None = None,
) -> Iterator[torch.Tensor]:
    """One sample for each caption, or as many without, `batch_size` at a time, under a progress bar.

    Args:
        part: only these of them, and no others are drawn. What is drawn does not depend on it.

    Raises:
        UserError: the model draws values that are not numbers.
    """
    part = part or slice(0, len(captions))
    starts = range(0, len(captions), batch_size)
    for number, start in enumerate(tqdm(starts, desc="drawing", unit="batch", delay=2, leave=False)):
        texts = captions[start : start + batch_size]
        inside = slice(max(0, part.start - start), min(len(texts), part.stop - start))
        if inside.start >= inside.stop:
            continue
        what = texts if model.captioned else len(texts)
        videos = drawn(model, what, seed + number, inside, temperature).cpu()
        if not videos.isfinite().all():
            raise UserError("the model draws values that are not numbers, so its training has diverged")
        yield videos
