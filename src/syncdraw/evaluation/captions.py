"""Do samples show what their captions say? Read by the judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.errors import UserError
from syncdraw.evaluation.judge import NO_MOTION, Judge, caption_fidelity, readable_share
from syncdraw.evaluation.reports import Report, data_of
from syncdraw.model import SyncDraw


def caption_report(
    model: SyncDraw, card: dict[str, Any], *, samples: int, seed: int, temperature: float = 1.0
) -> Report:
    """What the judge sees in samples: for captions seen in training and unseen ones, beside real clips and a floor.

    The ceiling is the judge's reading of as many real test clips with the same captions. The floor is the samples
    against captions that were dealt out anew. A model without captions is measured by its readable share alone.
    """
    if card.get("data") != "bouncing_mnist":
        raise UserError("the judge reads digits; it measures models of Bouncing MNIST only")
    dataset = data_of(card, None, "test")
    assert isinstance(dataset, BouncingMNIST)
    config = dataset.config
    if not 1 <= samples <= len(dataset):
        raise UserError(f"samples is {samples}; it must be from 1 to {len(dataset)}, the number of test clips")
    judge, digits = Judge.load(), config.digits
    kinds = ["seen", "unseen"] if model.captioned and config.combinations == "seen" else ["all"]
    values: dict[str, Any] = {"samples": samples, "seed": seed, "temperature": temperature, "digits": digits}
    rows: list[tuple[str, dict[str, float]]] = []
    for kind in tqdm(kinds, unit="set of captions", leave=False):
        clips = data_of(card, None, "test", combinations=kind).take(np.arange(samples))
        captions = clips.captions or []
        real = judge.read(torch.from_numpy(clips.videos).float() / 255, digits)
        drawn = judge.read(torch.cat(list(sample_batches(model, captions, seed, temperature))), digits)
        measured = {f"real test clips, {kind} captions": (real, captions)}
        if model.captioned:
            dealt = [captions[i] for i in np.random.default_rng(seed).permutation(samples)]
            measured[f"samples, {kind} captions"] = (drawn, captions)
            measured[f"samples, {kind} captions dealt anew"] = (drawn, dealt)
        else:
            measured["samples"] = (drawn, captions)
        for name, (reading, texts) in measured.items():
            numbers = caption_fidelity(reading, texts) if model.captioned else {}
            moving = (reading.motions != NO_MOTION).all(dim=1).float().mean().item()
            numbers |= {"one_axis": moving, "readable_share": readable_share(reading)}
            rows.append((name, numbers))
            values[name] = numbers
    columns = list(rows[0][1])
    names = [name.replace("_", " ") for name in columns]
    drawn_at = f"{samples} clips for each row, seed {seed}, temperature {temperature:g}"
    lines = [f"{drawn_at}; shares in percent, read by the judge", ""]
    lines.append(" " * 36 + "  ".join(names))
    for name, numbers in rows:
        cells = (f"{100 * numbers[c]:{len(n)}.1f}" for c, n in zip(columns, names, strict=True))
        lines.append(f"{name:<36}" + "  ".join(cells))
    lines += [
        "",
        "caption match: all digits and motions as said. one axis: every glyph moves along one axis. readable share:",
        "each glyph reads as the same digit in all frames with a mean confidence above 0.9.",
    ]
    return Report("\n".join(lines), values)


def sample_batches(
    model: SyncDraw, captions: list[str], seed: int, temperature: float = 1.0, batch_size: int = 100
) -> Iterator[torch.Tensor]:
    """One sample for each caption, or as many without, `batch_size` at a time, under a progress bar.

    Raises:
        UserError: the model draws values that are not numbers.
    """
    starts = range(0, len(captions), batch_size)
    for number, start in enumerate(tqdm(starts, desc="drawing", unit="batch", delay=2, leave=False)):
        texts = captions[start : start + batch_size]
        what = texts if model.captioned else len(texts)
        videos = model.generate(what, seed=seed + number, temperature=temperature).cpu()
        if not videos.isfinite().all():
            raise UserError("the model draws values that are not numbers, so its training has diverged")
        yield videos
