"""Does a model heed its captions? By samples, read by the judge, or by its bound, whatever the clips show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from syncdraw.datasets.clips import Dataset
from syncdraw.datasets.mnist_stories import MNISTStories
from syncdraw.errors import UserError
from syncdraw.evaluation.bounds import batches, clip_costs, clip_count
from syncdraw.evaluation.caption_readings import reading_report
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.models import BoundedModel, DrawingModel
from syncdraw.evaluation.readings import NO_MOTION, readable_share
from syncdraw.evaluation.reports import Report, data_of
from syncdraw.evaluation.samples import sample_batches
from syncdraw.evaluation.sprite_report import sprite_report
from syncdraw.evaluation.stories import Digits, fidelity_to, search_for
from syncdraw.model import SyncDraw

JUDGED = ("bouncing_mnist", "mnist_stories")
"""The data sets whose captions the judge can compare with clips."""


def caption_report(
    model: DrawingModel, card: dict[str, Any], *, samples: int, seed: int, temperature: float = 1.0
) -> Report:
    """What the judge sees in samples: for captions seen in training and unseen ones, beside real clips and a floor.

    The ceiling is the judge's reading of as many real test clips with the same captions. The floor is the samples
    against captions that were dealt out anew. A model without captions is measured by its readable share alone.
    """
    if card.get("data") not in JUDGED:
        raise UserError("the judge reads digits; it measures models of MNIST stories and Bouncing MNIST only")
    dataset = data_of(card, None, "test")
    assert isinstance(dataset, Digits)
    config, told = dataset.config, isinstance(dataset, MNISTStories)
    if not 1 <= samples <= len(dataset):
        raise UserError(f"samples is {samples}; it must be from 1 to {len(dataset)}, the number of test clips")
    judge, digits = Judge.load(), config.digits
    kinds = ["seen", "unseen"] if model.captioned and config.combinations == "seen" else ["all"]
    values: dict[str, Any] = {"samples": samples, "seed": seed, "temperature": temperature, "digits": digits}
    rows: list[tuple[str, dict[str, float]]] = []
    for kind in tqdm(kinds, unit="set of captions", leave=False):
        clips = data_of(card, None, "test", combinations=kind).take(np.arange(samples))
        captions, search = clips.captions or [], search_for(clips)
        real = judge.read(torch.from_numpy(clips.videos).float() / 255, digits, search=search)
        drawn = judge.read(torch.cat(list(sample_batches(model, captions, seed, temperature))), digits, search=search)
        measured = {f"real test clips, {kind} captions": (real, captions)}
        if model.captioned:
            dealt = [captions[i] for i in np.random.default_rng(seed).permutation(samples)]
            measured[f"samples, {kind} captions"] = (drawn, captions)
            measured[f"samples, {kind} captions dealt anew"] = (drawn, dealt)
        else:
            measured["samples"] = (drawn, captions)
        for name, (reading, texts) in measured.items():
            numbers: dict[str, float] = {}
            if model.captioned:
                numbers = fidelity_to(clips)(reading, texts)
            if not told:
                numbers["one_axis"] = (reading.motions != NO_MOTION).all(dim=1).float().mean().item()
            numbers["readable_share"] = readable_share(reading)
            rows.append((name, numbers))
            values[name] = numbers
    columns = list(dict.fromkeys(name for _, numbers in rows for name in numbers))
    names = [name.replace("_", " ") for name in columns]
    drawn_at = f"{samples} clips for each row, seed {seed}, temperature {temperature:g}"
    lines = [f"{drawn_at}; shares in percent, read by the judge", ""]
    lines.append(" " * 36 + "  ".join(names))
    for name, numbers in rows:
        cells = (
            f"{100 * numbers[c]:{len(n)}.1f}" if c in numbers else " " * len(n)
            for c, n in zip(columns, names, strict=True)
        )
        lines.append(f"{name:<36}" + "  ".join(cells).rstrip())
    meanings = (
        [
            "caption match: all that is said is shown. The others: of the glyphs of which it is said, those that show",
            "it; motion: of those that move one way, then: of those that then move another way. readable share:",
        ]
        if told
        else [
            "caption match: all digits and motions as said. one axis: every glyph moves along one axis. readable share:"
        ]
    )
    lines += [
        "",
        *meanings,
        "each glyph reads as the same digit in all frames with a mean confidence above 0.9.",
    ]
    return Report("\n".join(lines), values)


MOST_CLIPS = 1_000
"""By which a caption gap is measured: its standard error is then small, for both bounds share their noise."""


@dataclass(frozen=True)
class CaptionGap:
    """Means over clips under the model's own protocol, in nats per video.

    Attributes:
        clips: how many were measured.
        right: -ELBO with the clips' own captions.
        wrong: -ELBO with captions of other clips that say something else.
        gap: `wrong` - `right`: what a wrong caption costs. Near 0, captions are not heeded.
        standard_error: of `gap`.
    """

    clips: int
    right: float
    wrong: float
    gap: float
    standard_error: float


@torch.no_grad()
def caption_gap(
    model: BoundedModel,
    dataset: Dataset,
    *,
    clips: int | None = None,
    batch_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> CaptionGap:
    """The bound with right captions and with wrong ones, on the same clips and with the same noise.

    It needs nothing that reads the clips, so it measures models of any data. The more alike captions are, the smaller
    the gap; and a model that trusts its captions more pays more for a wrong one. So it tells whether captions are
    heeded, and compares models of the same data alone.

    Args:
        model: one that draws from captions.
        clips: only the first so many, and at most 1,000.

    Raises:
        UserError: the clips have no captions, or all the same one.
    """
    count = min(MOST_CLIPS, clip_count(dataset, clips if clips or len(dataset) else MOST_CLIPS))
    captions = [text for batch in batches(dataset, count, batch_size) for text in batch.captions or []]
    if len(captions) < count:
        raise UserError("these clips have no captions, so what captions tell of them cannot be measured")

    def total(texts: Sequence[str]) -> Tensor:
        costs = clip_costs(model, dataset, None, slice(0, count), batch_size, seed, progress, texts)
        return torch.cat([of_batch.sum(dim=1) for _, of_batch in costs])

    right, wrong = total(captions), total(other_captions(captions, seed))
    apart = wrong - right
    return CaptionGap(
        clips=count,
        right=right.mean().item(),
        wrong=wrong.mean().item(),
        gap=apart.mean().item(),
        standard_error=(apart.std() / count**0.5).item(),
    )


def gap_report(model: BoundedModel, card: dict[str, Any], *, data: str | None, clips: int, seed: int) -> Report:
    """What captions tell a model of any data, as `caption_gap` measures it on test clips.

    Raises:
        UserError: the model draws without captions, or the clips have none.
    """
    if card["model"]["captions"]["route"] == "none":
        raise UserError("this model draws without captions, so there is nothing to measure of them")
    found = caption_gap(model, data_of(card, data, "test"), clips=clips, seed=seed, progress=True)
    lines = [
        f"{found.clips} test clips, seed {seed}; -ELBO in nats per video",
        f"with their own captions {found.right:.1f}, with those of other clips {found.wrong:.1f}: "
        f"captions tell {found.gap:.1f} +- {found.standard_error:.1f}",
    ]
    return Report("\n".join(lines), {"seed": seed, **dataclasses.asdict(found)})


def clips_report(
    model: SyncDraw, card: dict[str, Any], *, data: str | None, samples: int, seed: int, temperature: float
) -> Report:
    """What captions do in a model of any clips: what a reader of captions sees in samples, and `gap_report`."""
    gap = gap_report(model, card, data=data, clips=samples, seed=seed)
    reading = reading_report(model, card, data=data, samples=samples, seed=seed, temperature=temperature)
    return Report(f"{reading.text}\n\n{gap.text}", {**gap.values, "reading": reading.values})


def suited_report(
    model: SyncDraw, card: dict[str, Any], *, data: str | None, samples: int, seed: int, temperature: float
) -> Report:
    """`caption_report` where the judge reads the data that the model's card names, `sprite_report` of sprites, and
    `clips_report` of all others."""
    if data is None and card.get("data") in JUDGED:
        return caption_report(model, card, samples=samples, seed=seed, temperature=temperature)
    if (data or card.get("data")) == "sprites":
        return sprite_report(model, samples=samples, seed=seed, temperature=temperature)
    return clips_report(model, card, data=data, samples=samples, seed=seed, temperature=temperature)


def other_captions(captions: Sequence[str], seed: int) -> list[str]:
    """For each caption, one that is drawn from those of the others that say something else.

    Raises:
        UserError: all say the same.
    """
    numbers = np.unique(captions, return_inverse=True)[1]
    counts = np.bincount(numbers)
    if len(counts) < 2:
        raise UserError(f"all clips have the caption {captions[0]!r}, so there is no other one to compare with")
    order, before = np.argsort(numbers, kind="stable"), np.cumsum(counts) - counts
    # A place among those of the sorted captions that are not one's own.
    places = np.random.default_rng(seed).integers(len(captions) - counts[numbers])
    places += np.where(places >= before[numbers], counts[numbers], 0)
    return [captions[row] for row in order[places]]
