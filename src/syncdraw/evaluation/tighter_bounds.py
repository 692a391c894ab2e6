"""Bounds nearer to the likelihood than the plain one, which take longer: they look into Sync-DRAW's own latents."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from syncdraw.datasets.clips import Dataset
from syncdraw.errors import UserError
from syncdraw.evaluation.bounds import Bound, batches, clip_count, entropy_floor, evaluating, mean_bound
from syncdraw.extensions.refinement import generators_of_videos, refine
from syncdraw.interface import targets
from syncdraw.model import SyncDraw


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
            generators = generators_of_videos(seed, first, len(videos))
            adjust = refine(model, videos, tokens, steps=steps, generators=generators, after_step=done)
            drawing = model(videos, tokens, noise=batch.noise.to(model.device), adjust=adjust)
            parts.append(torch.cat([drawing.reconstruction[:, None], drawing.divergence_by_step], dim=1).cpu().double())
            floors.append(entropy_floor(clip, protocol))
            done()
    return dataclasses.replace(mean_bound(parts, floors, protocol), refine_steps=steps)


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
            generators = generators_of_videos(seed, first, len(videos))
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
