"""Samples of a model, to be measured."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from tqdm import tqdm

from syncdraw.errors import UserError
from syncdraw.evaluation.models import DrawingModel


def sample_batches(
    model: DrawingModel,
    wanted: int | list[str],
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 100,
    part: slice | None = None,
) -> Iterator[torch.Tensor]:
    """One sample for each caption, or so many without, `batch_size` at a time, under a progress bar.

    Args:
        wanted: so many, or captions; a model without captions draws as many samples.
        part: only these of them, and no others are drawn. What is drawn does not depend on it.

    Raises:
        UserError: the model draws values that are not numbers.
    """
    captions = [] if isinstance(wanted, int) else wanted
    count = wanted if isinstance(wanted, int) else len(wanted)
    part = part or slice(0, count)
    starts = range(0, count, batch_size)
    for number, start in enumerate(tqdm(starts, desc="drawing", unit="batch", delay=2, leave=False)):
        first, last = max(start, part.start), min(start + batch_size, part.stop)
        if first >= last:
            continue
        what = captions[first:last] if captions and model.captioned else last - first
        begun: int | torch.Generator = seed + number
        if first > start:
            begun = torch.Generator().manual_seed(seed + number)
            model.noise([begun] * (first - start))  # that of the batch's samples before these
        videos = model.generate(what, seed=begun, temperature=temperature).cpu()
        if not videos.isfinite().all():
            raise UserError("the model draws values that are not numbers, so its training has diverged")
        yield videos
