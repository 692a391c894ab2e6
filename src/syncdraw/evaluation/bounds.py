"""How good a model is: bounds in nats, measured on held-out clips."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from typing import Protocol as Protocol_

import numpy as np
import torch
from tqdm import tqdm

from syncdraw.config import Protocol
from syncdraw.datasets.clips import Clips, Dataset
from syncdraw.errors import UserError
from syncdraw.evaluation.reports import Report, Split, data_of
from syncdraw.extensions.refinement import refine
from syncdraw.model import SyncDraw, targets


@dataclass(frozen=True)
class Bound:
    """Means over clips, in nats per video, with the standard error of the sum.

    Attributes:
        protocol: `binary` or `grey`.
        clips: how many were measured.
        reconstruction: L_X.
        divergence: L_Z.
        divergence_by_step: L_Z of each drawing step.
        negative_elbo: L_X + L_Z, an upper bound on the negative log-likelihood.
        standard_error: of `negative_elbo`.
        entropy_floor: what L_X cannot go below with these targets: 0 for `binary`.
        refine_steps: by how many gradient steps Q was refined for each clip.
    """

    protocol: Protocol
    clips: int
    reconstruction: float
    divergence: float
    divergence_by_step: list[float]
    negative_elbo: float
    standard_error: float
    entropy_floor: float
    refine_steps: int = 0

    @property
    def excess(self) -> float:
        """L_X above its floor."""
        return self.reconstruction - self.entropy_floor


class BoundedModel(Protocol_):
    """What measuring a bound needs of a model."""

    def prepare(self, videos: Any, captions: Any, generator: torch.Generator) -> Any: ...
    def bound(self, batch: Any, protocol: Protocol | None = None) -> Any:
        """`reconstruction` `[batch]` and `divergence_by_step` `[batch, step]`, nats."""
        ...


def batches(dataset: Dataset, count: int, batch_size: int) -> Iterator[Clips]:
    """The first `count` clips of a data set, `batch_size` at a time."""
    for start in range(0, count, batch_size):
        yield dataset.take(np.arange(start, min(start + batch_size, count), dtype=np.int64))


@torch.no_grad()
def bound(
    model: BoundedModel,
    dataset: Dataset,
    *,
    protocol: Protocol,
    clips: int | None = None,
    batch_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> Bound:
    """The evidence lower bound on a data set, one sample of z for each clip.

    Args:
        model: any that has `prepare` and `bound`.
        protocol: `binary` or `grey`.
        clips: only the first so many.

    Raises:
        UserError: `clips` is below 1, or missing where the data set is endless.
    """
    count = clip_count(dataset, clips)
    generator = torch.Generator().manual_seed(seed)
    parts, floors = [], []
    with evaluating(model), tqdm(total=count, unit="video", disable=not progress, leave=False) as bar:
        for batch in batches(dataset, count, batch_size):
            found = model.bound(model.prepare(batch.videos, batch.captions, generator), protocol)
            parts.append(torch.cat([found.reconstruction[:, None], found.divergence_by_step], dim=1).cpu().double())
            floors.append(_floor(batch, protocol))
            bar.update(len(batch))
    return _summed(parts, floors, protocol)


@torch.no_grad()
def refined_bound(
    model: SyncDraw,
    dataset: Dataset,
    *,
    steps: int,
    clips: int | None = None,
    batch_size: int = 25,
    seed: int = 0,
    progress: bool = False,
) -> Bound:
    """As `bound`, with Q refined for each clip by so many gradient steps, under the model's own protocol.

    Raises:
        UserError: `steps` is below 1.
    """
    if steps < 1:
        raise UserError(f"refine_steps is {steps}; it must be 1 or more")
    count, protocol = clip_count(dataset, clips), model.config.protocol
    generator = torch.Generator().manual_seed(seed)
    parts, floors = [], []
    with evaluating(model), tqdm(total=count * (1 + steps), unit="video", disable=not progress, leave=False) as bar:
        for first, clip in zip(range(0, count, batch_size), batches(dataset, count, batch_size), strict=True):
            batch = model.prepare(clip.videos, clip.captions, generator)
            videos = model.targets(batch.videos)
            tokens = None if batch.tokens is None else batch.tokens.to(model.device)
            done = partial(bar.update, len(videos))
            generators = generators_of_clips(seed, first, len(videos))
            adjust = refine(model, videos, tokens, steps=steps, generators=generators, after_step=done)
            drawing = model(videos, tokens, noise=batch.noise.to(model.device), adjust=adjust)
            parts.append(torch.cat([drawing.reconstruction[:, None], drawing.divergence_by_step], dim=1).cpu().double())
            floors.append(_floor(clip, protocol))
            done()
    return dataclasses.replace(_summed(parts, floors, protocol), refine_steps=steps)


def _floor(clips: Clips, protocol: Protocol) -> torch.Tensor:
    return entropy(targets(torch.from_numpy(clips.videos), protocol)).double()


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Inside, the model is not in training."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _summed(parts: Sequence[torch.Tensor], floors: Sequence[torch.Tensor], protocol: Protocol) -> Bound:
    values = torch.cat(parts)
    total = values.sum(dim=1)
    means = values.mean(dim=0).tolist()
    count = len(values)
    return Bound(
        protocol=protocol,
        clips=count,
        reconstruction=means[0],
        divergence=sum(means[1:]),
        divergence_by_step=means[1:],
        negative_elbo=total.mean().item(),
        standard_error=(total.std() / math.sqrt(count)).item() if count > 1 else math.nan,
        entropy_floor=torch.cat(floors).mean().item(),
    )


def generators_of_clips(seed: int, first: int, count: int) -> list[torch.Generator]:
    """One for each clip, so that its noise depends on neither the batch nor the other clips."""
    return [torch.Generator().manual_seed((seed << 32) + first + row) for row in range(count)]


@dataclass(frozen=True)
class ImportanceBound:
    """Means over clips under the `binary` protocol, in nats per video: -log P(X) <= `importance_weighted`.

    Attributes:
        clips: how many were measured.
        samples: k, of the latents, for each clip.
        importance_weighted: -log of the mean weight of k samples, from above -log P(X) (Burda et al. 2016, eq 8).
        standard_error: of `importance_weighted`, over clips.
        negative_elbo: the mean over the same samples of what one sample gives; never below `importance_weighted`.
        effective_samples: (sum of weights)^2 / sum of squared weights: near 1, more samples would still tighten much.
    """

    clips: int
    samples: int
    importance_weighted: float
    standard_error: float
    negative_elbo: float
    effective_samples: float


@torch.no_grad()
def importance_bound(
    model: SyncDraw,
    dataset: Dataset,
    *,
    samples: int = 100,
    clips: int | None = None,
    batch_size: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> ImportanceBound:
    """The importance-weighted bound with so many samples for each clip, pixels thresholded at 0.5.

    Soft targets have no likelihood, so there is no such bound for `grey`. No more than `batch_size` videos are drawn
    at a time, whatever `samples` is.

    Raises:
        UserError: `clips` or `samples` is below 1, or `clips` is missing where the data set is endless.
    """
    if samples < 1:
        raise UserError(f"the number of importance samples is {samples}; it must be 1 or more")
    count = clip_count(dataset, clips)
    at_once = max(1, batch_size // samples)
    bounds, plain, effective = [], [], []
    with evaluating(model), tqdm(total=count, unit="clip", disable=not progress, leave=False) as bar:
        for first, batch in zip(range(0, count, at_once), batches(dataset, count, at_once), strict=True):
            videos = targets(torch.from_numpy(batch.videos).to(model.device), "binary")
            captions = batch.captions if model.captioned else None
            generators = generators_of_clips(seed, first, len(videos))
            # Running sums over the samples: of the weights, their squares (as logarithms), and the logarithms.
            total, squares, mean = (videos.new_full((len(videos),), start, dtype=torch.float64)
                                    for start in (-torch.inf, -torch.inf, 0.0))  # fmt: skip
            for start in range(0, samples, batch_size):
                each = min(batch_size, samples - start)
                noise = model.noise([g for g in generators for _ in range(each)])
                texts = [text for text in captions for _ in range(each)] if captions else None
                drawing = model(videos.repeat_interleave(each, dim=0), texts, noise=noise)
                weights = drawing.log_weight.double().view(len(videos), each)
                total = torch.logaddexp(total, weights.logsumexp(dim=1))
                squares = torch.logaddexp(squares, (2 * weights).logsumexp(dim=1))
                mean += weights.sum(dim=1) / samples
            bounds.append(math.log(samples) - total)
            plain.append(-mean)
            effective.append((2 * total - squares).exp())
            bar.update(len(videos))
    bound_of_clips = torch.cat(bounds)
    return ImportanceBound(
        clips=count,
        samples=samples,
        importance_weighted=bound_of_clips.mean().item(),
        standard_error=(bound_of_clips.std() / math.sqrt(count)).item() if count > 1 else math.nan,
        negative_elbo=torch.cat(plain).mean().item(),
        effective_samples=torch.cat(effective).mean().item(),
    )


def clip_count(dataset: Dataset, clips: int | None) -> int:
    """How many clips to measure: `clips`, but no more than there are.

    Raises:
        UserError: `clips` is below 1, or missing where the data set is endless.
    """
    if clips is None and len(dataset) == 0:
        raise UserError("this split is endless; say how many of its clips to measure with clips")
    if clips is not None and clips < 1:
        raise UserError(f"clips is {clips}; it must be 1 or more")
    return min(clips or len(dataset), len(dataset) or sys.maxsize)


def entropy(videos: torch.Tensor) -> torch.Tensor:
    """Nats per video that soft targets cost even when predicted exactly: -sum x log x + (1 - x) log(1 - x)."""
    cost = torch.special.entr(videos) + torch.special.entr(1 - videos)
    return cost.flatten(1).sum(dim=1)


def bound_report(
    model: SyncDraw,
    card: dict[str, Any],
    *,
    data: str | None,
    split: Split,
    clips: int | None,
    seed: int,
    refine_steps: int = 0,
    importance_samples: int = 0,
) -> Report:
    """The bound under both protocols, between what a guess costs and what cannot be undercut.

    Args:
        refine_steps: adds the bound of the model's own protocol with Q refined by so many steps; 0 for none.
        importance_samples: adds the importance-weighted bound of `binary` with so many; 0 for none.
    """
    dataset = data_of(card, data, split)
    train = data_of(card, data, "train")
    count = clip_count(dataset, clips)
    lines = [f"{split} split, {count} clips, seed {seed}; nats per video; trained for {model.config.protocol}"]
    values: dict[str, Any] = {"split": split, "clips": count, "seed": seed, "trained_for": model.config.protocol}
    lines += ["", "protocol       L_X      L_Z     -ELBO    +-   floor   excess      mean      0.5"]
    for protocol in ("binary", "grey"):
        result = bound(model, dataset, protocol=protocol, clips=count, seed=seed, progress=True)
        anchors = anchor_costs(train, dataset, protocol, count)
        lines.append(
            f"{protocol:<8} {result.reconstruction:9.1f} {result.divergence:8.1f} {result.negative_elbo:9.1f} "
            f"{result.standard_error:5.1f} {result.entropy_floor:7.1f} {result.excess:8.1f} "
            f"{anchors['mean_pixel']:9.1f} {anchors['half']:8.0f}"
        )
        values[protocol] = {**dataclasses.asdict(result), "excess": result.excess, **anchors}
    steps = ", ".join(f"{nats:.1f}" for nats in values[model.config.protocol]["divergence_by_step"])
    lines += [
        "",
        f"L_Z by drawing step ({model.config.protocol}): {steps}",
        "-ELBO = L_X + L_Z bounds the negative log-likelihood from above (+-: standard error over clips); floor: the",
        "entropy of the targets, which L_X cannot undercut; excess: L_X above it; mean: predicting each pixel's mean",
        "over training clips; 0.5: predicting 0.5 everywhere.",
    ]
    if refine_steps:
        own = model.config.protocol
        refined = refined_bound(model, dataset, steps=refine_steps, clips=count, seed=seed, progress=True)
        values["refined"] = {**dataclasses.asdict(refined), "excess": refined.excess}
        lines += [
            "",
            f"with Q refined for each clip by {refine_steps} gradient steps, {own}: "
            f"-ELBO {refined.negative_elbo:.1f} +- {refined.standard_error:.1f} "
            f"(L_X {refined.reconstruction:.1f}, L_Z {refined.divergence:.1f}, excess {refined.excess:.1f})",
        ]
    if importance_samples:
        tighter = importance_bound(model, dataset, samples=importance_samples, clips=count, seed=seed, progress=True)
        values["importance_weighted"] = dataclasses.asdict(tighter)
        lines += [
            "",
            f"importance-weighted bound, binary, {tighter.samples} samples for each clip: "
            f"{tighter.importance_weighted:.1f} +- {tighter.standard_error:.1f}",
            f"(one sample: {tighter.negative_elbo:.1f}; effective samples: {tighter.effective_samples:.1f})",
        ]
    return Report("\n".join(lines), values)


def anchor_costs(train: Dataset, dataset: Dataset, protocol: Protocol, count: int) -> dict[str, float]:
    """What it costs, in nats per video, to predict 0.5 everywhere, and each pixel's mean over 2,000 training clips."""
    seen = min(len(train) or 2000, 2000)
    total = torch.zeros(1)
    for batch in batches(train, seen, 100):
        total = total + targets(torch.from_numpy(batch.videos), protocol).double().sum(dim=0)
    # One more clip of grey, so that a pixel that never changed does not cost infinitely much.
    mean = (total + 0.5) / (seen + 1)
    cost = 0.0
    for batch in batches(dataset, count, 100):
        videos = targets(torch.from_numpy(batch.videos), protocol).double()
        cost -= float((videos * mean.log() + (1 - videos) * (1 - mean).log()).sum())
    return {"mean_pixel": cost / count, "half": math.prod(dataset.shape) * math.log(2)}
