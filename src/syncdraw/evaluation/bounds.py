"""How good a model is: the evidence lower bound in nats, measured on held-out clips."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from syncdraw.config import Protocol
from syncdraw.datasets.clips import Clips, Dataset, spread
from syncdraw.errors import UserError
from syncdraw.evaluation.models import ALONE, BoundedModel, Sharing
from syncdraw.interface import targets
from syncdraw.likelihoods import DiscretisedLogistic, level_costs


@dataclass(frozen=True)
class Bound:
    """Means over clips, in nats per video, with the standard error of the sum.

    Attributes:
        protocol: `binary`, `grey` or `levels`.
        clips: how many were measured.
        reconstruction: L_X.
        divergence: L_Z.
        divergence_by_step: L_Z of each drawing step.
        negative_elbo: L_X + L_Z, an upper bound on the negative log-likelihood.
        standard_error: of `negative_elbo`.
        entropy_floor: what L_X cannot go below with these targets: 0 for `binary` and `levels`.
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
    sharing: Sharing = ALONE,
) -> Bound:
    """The evidence lower bound on a data set, one sample of z for each clip.

    Args:
        protocol: `binary`, `grey` or `levels`.
        clips: only the first so many.
        sharing: processes of which each measures a part of the clips, and gets the bound on all of them.

    Raises:
        UserError: `clips` is below 1, or missing where the data set is endless.
    """
    parts, floors = [], []
    part = sharing.part(clip_count(dataset, clips))
    for batch, costs in clip_costs(model, dataset, protocol, part, batch_size, seed, progress):
        parts.append(costs)
        floors.append(entropy_floor(batch, protocol))
    return mean_bound(sharing.collect(parts), sharing.collect(floors), protocol)


def clip_costs(
    model: BoundedModel,
    dataset: Dataset,
    protocol: Protocol | None,
    part: slice,
    batch_size: int,
    seed: int,
    progress: bool,
    captions: Sequence[str] | None = None,
) -> Iterator[tuple[Clips, Tensor]]:
    """Batches of clips, with the L_X and then the L_Z of each drawing step of each, float64 `[batch, 1 + step]`, nats.

    Args:
        protocol: None for the model's own.
        part: which clips. Their noise does not depend on it.
        captions: for each clip of the data set, in place of its own.
    """
    generator = torch.Generator().manual_seed(seed)
    start, count = part.start, part.stop - part.start
    skip = {"skip": start} if start else {}
    with evaluating(model), tqdm(total=count, unit="video", disable=not progress, leave=False) as bar:
        for batch in batches(dataset, part.stop, batch_size, start):
            texts = batch.captions if captions is None else captions[start : start + len(batch)]
            found = model.bound(model.prepare(batch.videos, texts, generator, **skip), protocol)
            yield batch, torch.cat([found.reconstruction[:, None], found.divergence_by_step], dim=1).cpu().double()
            start, skip = start + len(batch), {}
            bar.update(len(batch))


def batches(dataset: Dataset, count: int, batch_size: int, first: int = 0) -> Iterator[Clips]:
    """The first `count` clips of a data set, or those from `first` on, `batch_size` at a time."""
    return chosen(dataset, np.arange(first, count, dtype=np.int64), batch_size)


def chosen(dataset: Dataset, numbers: NDArray[np.int64], batch_size: int) -> Iterator[Clips]:
    """The clips of a data set with these numbers, `batch_size` at a time."""
    for start in range(0, len(numbers), batch_size):
        yield dataset.take(numbers[start : start + batch_size])


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Inside, the model is not in training."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def mean_bound(parts: list[Tensor], floors: list[Tensor], protocol: Protocol) -> Bound:
    """The means of what `clip_costs` gives, and of the `entropy_floor` of the same clips."""
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


def entropy_floor(clips: Clips, protocol: Protocol) -> Tensor:
    """What L_X of each clip cannot go below, float64 `[batch]`, nats."""
    if protocol == "levels":  # a level can be certain
        return torch.zeros(len(clips), dtype=torch.float64)
    return entropy(targets(torch.from_numpy(clips.videos), protocol)).double()


def entropy(videos: Tensor) -> Tensor:
    """Nats per video that soft targets cost even when predicted exactly: -sum x log x + (1 - x) log(1 - x)."""
    cost = torch.special.entr(videos) + torch.special.entr(1 - videos)
    return cost.flatten(1).sum(dim=1)


def bits_per_dimension(nats: float, shape: Sequence[int]) -> float:
    """Nats per video of that shape, as bits for each colour of each pixel: the scale of other models of 256 levels."""
    return nats / math.prod(shape) / math.log(2)


def anchor_costs(
    train: Dataset, dataset: Dataset, protocol: Protocol, numbers: NDArray[np.int64], *, seen: int = 2000
) -> dict[str, float]:
    """What it costs, in nats per video, to predict 0.5 everywhere, and each pixel's mean over `seen` training clips.

    The training clips are from all over their set; what is predicted are the clips of `dataset` with these numbers.

    For `levels`, the first is that all levels are equally likely, and the mean has the scale that fits training clips.
    """
    seen = min(len(train) or seen, seen)
    total = torch.zeros(1)
    for batch in chosen(train, spread(len(train), seen), 20):
        total = total + targets(torch.from_numpy(batch.videos), protocol).double().sum(dim=0)
    # One more clip of grey, so that a pixel that never changed does not cost infinitely much.
    mean = (total + 0.5) / (seen + 1)
    logistic = DiscretisedLogistic(dataset.shape[1]).double() if protocol == "levels" else None
    if logistic is not None:
        some = train.take(spread(len(train), 20)).videos
        logistic.fit(mean, targets(torch.from_numpy(some), protocol).double())
    cost = 0.0
    for batch in chosen(dataset, numbers, 20):
        videos = targets(torch.from_numpy(batch.videos), protocol).double()
        if logistic is not None:
            cost += level_costs(mean, videos, logistic.log_scale).sum().item()
        else:
            cost -= float((videos * mean.log() + (1 - videos) * (1 - mean).log()).sum())
    return {
        "mean_pixel": cost / len(numbers),
        "half": math.prod(dataset.shape) * math.log(2 if logistic is None else 256),
    }
