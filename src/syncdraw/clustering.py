"""How the components of a mixture prior, or categories, come by what they stand for: clusters of what a trained model
encodes.

The likelihood alone does not find them. The first latents of a clip say where it is and how it moves, along a
continuum; the later ones say what it is, which is one thing or another. Components that begin at random share out the
former, and one Gaussian is left for the latter, which then draws what lies between two digits. So the latents of the
later steps are clustered first, and each component is fitted to its cluster. Training goes on from there by the bound.
Beside categories, which say what it is, components are fitted to clusters of the first latents: between motions along
one axis or the other there lies what is neither, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional
from tqdm import tqdm

from syncdraw.categories import CategoryVector
from syncdraw.datasets.clips import Dataset
from syncdraw.errors import UserError
from syncdraw.model import SyncDraw, SyncDrawConfig
from syncdraw.priors import NetworkPrior

CLIPS, FIT_STEPS, LAYER_STEPS, BATCH_SIZE = 24_000, 1_200, 400, 256


def cluster_prior(model: SyncDraw, dataset: Dataset, *, from_step: int, seed: int = 0, progress: bool = True) -> None:
    """Fit the components of the model's prior to clusters of its latents.

    Args:
        model: trained, with a network prior of several components.
        dataset: whose clips are encoded, the first 24,000 of them.
        from_step: the latents of a layer's drawing steps from this one on, counted from 1, are clustered; where
            categories already say what is drawn, those of the steps before it, which say where.
        seed: of the noise, and of where the clusters begin.

    Raises:
        UserError: the model has no mixture prior or fewer drawing steps, or there are fewer clips than components.
    """
    config = model.config
    if config.prior_components == 1 and config.categories:
        raise UserError(
            "train.cluster_from has nothing to begin: train.start_from has these categories already, and "
            "model.prior_components is 1"
        )
    if config.prior_components == 1:
        raise UserError(
            "train.cluster_from needs a mixture prior or categories: set model.prior_components or model.categories "
            "to 2 or more"
        )
    _check_step(from_step, config)
    if config.categories and from_step == 1:
        raise UserError("train.cluster_from is 1; for a mixture prior beside categories it must be 2 or more")
    generator = torch.Generator().manual_seed(seed)
    latents = _encoded(model, dataset, generator, progress)
    steps = slice(from_step - 1) if config.categories else slice(from_step - 1, None)
    _fit(model, latents, _clusters(latents, config.prior_components, steps, generator), generator, progress)


def find_categories(
    model: SyncDraw, source: SyncDraw, dataset: Dataset, *, from_step: int, seed: int = 0, progress: bool = True
) -> float:
    """Let a model's categories be clusters of what another model encodes, and teach its recogniser to tell them apart.

    Args:
        model: with categories.
        source: trained.
        dataset, from_step, seed: as in `cluster_prior`.

    Returns:
        The share of the last fifth of the clips, which the recogniser was not shown, that it puts into their cluster.

    Raises:
        UserError: a step that source does not have, or the model has several layers.
    """
    assert model.recogniser is not None
    if model.config.layers > 1:
        raise UserError(
            f"model.layers is {model.config.layers}: a model of several layers has the categories of a model of one; "
            "name such a model with train.start_from"
        )
    _check_step(from_step, source.config)
    generator = torch.Generator().manual_seed(seed)
    latents = _encoded(source, dataset, generator, progress)
    members = _clusters(latents, model.config.categories, slice(from_step - 1, None), generator)
    recogniser, shown = model.recogniser.train().requires_grad_(True), len(members) * 4 // 5
    optimizer = torch.optim.Adam(recogniser.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT_STEPS)

    def logits(chosen: Int[Tensor, " clip"]) -> Float[Tensor, "clip category"]:
        videos = dataset.take(chosen.numpy()).videos
        frame = int(torch.randint(videos.shape[1], (1,), generator=generator))
        frames = videos[:, frame : frame + 1] if recogniser.training else videos
        found: Tensor = recogniser(model.targets(torch.from_numpy(frames)))
        return found

    for _ in tqdm(range(FIT_STEPS), desc="learning categories", unit="step", disable=not progress, leave=False):
        chosen = torch.randint(shown, (100,), generator=generator).sort().values
        loss = functional.cross_entropy(logits(chosen), members[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    recogniser.eval().requires_grad_(False)
    with torch.no_grad():
        found = torch.cat([logits(some).argmax(dim=1) for some in torch.arange(len(members)).split(100)])
    counts = found.bincount(minlength=model.config.categories) + 0.5  # none is impossible
    assert isinstance(model.conditioner, CategoryVector)
    model.conditioner.log_shares.copy_((counts / counts.sum()).log())
    return (found == members)[shown:].float().mean().item()


def recognise_layers(model: SyncDraw, *, seed: int = 0, progress: bool = True) -> float:
    """Teach a recogniser that knows things alone to find a layer's category where another lies on top of it.

    Of what the model draws itself, what each layer shows is known; so it learns from its own samples, and no others.

    Args:
        model: of several layers, with the weights of a model of one that has these categories.
        seed: of the samples.

    Returns:
        The share of layers that it finds in the last tenth of the samples, before it learns from them. Which of several
        things a first layer drew it can't tell: any of them counts.
    """
    assert model.recogniser is not None
    config, recogniser, device = model.config, model.recogniser.requires_grad_(True), model.first_canvas.device
    generator = torch.Generator().manual_seed(seed)
    still_there = torch.ones(config.layers, config.layers, device=device).triu().bool()
    optimizer = torch.optim.Adam(recogniser.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, LAYER_STEPS)
    model.eval()
    right = []
    for step in tqdm(range(LAYER_STEPS), desc="learning layers", unit="step", disable=not progress, leave=False):
        left, categories = _drawn_layers(model, torch.randn(50, *config.noise_shape, generator=generator).to(device))
        if step >= LAYER_STEPS * 9 // 10:
            with torch.no_grad():
                found = recogniser(left.flatten(0, 1)).argmax(dim=1).view_as(categories)
            right.append(((found[:, :, None] == categories[:, None]) & still_there).any(dim=2).float().mean())
        frame = int(torch.randint(config.frames, (1,), generator=generator))
        loss = functional.cross_entropy(recogniser(left[:, :, frame : frame + 1].flatten(0, 1)), categories.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    recogniser.requires_grad_(False)
    return torch.stack(right).mean().item()


@torch.no_grad()
def _drawn_layers(
    model: SyncDraw, noise: Float[Tensor, "batch draw_step noise"]
) -> tuple[Float[Tensor, "batch layer frame channel height width"], Int[Tensor, "batch layer"]]:
    """Of new videos: what there is of each when a layer begins and those below it are taken away, and the categories of
    the layers."""
    assert isinstance(model.conditioner, CategoryVector)
    categories, videos, state = [], [], model.start(len(noise))
    steps = model.config.draw_steps // model.config.layers
    for first in range(0, model.config.draw_steps, steps):
        categories.append(model.conditioner.draw(noise[:, first, -1]))
        state, _, _ = model.several_steps(state, [], noise[:, first : first + steps], first, None, 0.0, None, False)
        videos.append(state.video)
    whole = model.targets((255 * videos[-1]).round().to(torch.uint8))
    left = [whole, *((whole - below).clamp(min=0) for below in videos[:-1])]
    return torch.stack(left, dim=1), torch.stack(categories, dim=1)


def _check_step(from_step: int, config: SyncDrawConfig) -> None:
    steps = config.draw_steps // config.layers
    if not 1 <= from_step <= steps:
        raise UserError(f"train.cluster_from is {from_step}; it must be one of a layer's drawing steps, 1 to {steps}")


def _clusters(latents: _Latents, count: int, steps: slice, generator: torch.Generator) -> Int[Tensor, " layer"]:
    """Which cluster each layer of a clip falls into, by its latents of some steps."""
    means = latents.means[:, steps] / latents.deviations[:, steps].mean(dim=0)
    return k_means(means.flatten(1), count, generator)


class _Latents(NamedTuple):
    """What clips were encoded as, and what the prior knows of them beforehand. Each layer of a clip is a row."""

    z: Float[Tensor, "layer step latent"]
    means: Float[Tensor, "layer step latent"]
    deviations: Float[Tensor, "layer step latent"]
    h_dec: Float[Tensor, "layer step hidden"]
    captions: Float[Tensor, "layer step caption"]


@torch.no_grad()
def _encoded(model: SyncDraw, dataset: Dataset, generator: torch.Generator, progress: bool) -> _Latents:
    config, device = model.config, model.first_canvas.device
    count = min(len(dataset) or CLIPS, CLIPS)
    found = []
    model.eval()
    for first in tqdm(range(0, count, 100), desc="encoding", unit="batch", disable=not progress, leave=False):
        clips = dataset.take(np.arange(first, min(first + 100, count), dtype=np.int64))
        noise = torch.randn(len(clips.videos), *config.noise_shape, generator=generator).to(device)
        captions = clips.captions if config.captions != "none" else None
        by_step = [
            _Latents(step.z, step.posterior.loc, step.posterior.scale, step.h_dec, step.caption)
            for step in model(model.targets(torch.from_numpy(clips.videos)), captions, noise=noise).steps
            if step.posterior is not None
        ]
        found.append([
            torch.stack(part, dim=1).unflatten(1, (config.layers, -1)).flatten(0, 1)
            for part in zip(*by_step, strict=True)
        ])  # fmt: skip
    return _Latents(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def k_means(
    points: Float[Tensor, "point size"], clusters: int, generator: torch.Generator, rounds: int = 30
) -> Int[Tensor, " point"]:
    """The cluster of each point, by Lloyd's algorithm from randomly chosen points.

    Raises:
        UserError: there are fewer points than clusters.
    """
    if len(points) < clusters:
        raise UserError(f"{len(points)} clips do not fall into {clusters} clusters; ask for fewer")
    centres = points[torch.randperm(len(points), generator=generator)[:clusters].to(points.device)]
    for _ in range(rounds):
        members = torch.cat([torch.cdist(some, centres).argmin(dim=1) for some in points.split(4096)])
        counts = members.bincount(minlength=clusters)[:, None]
        means = torch.zeros_like(centres).index_add_(0, members, points) / counts.clamp(min=1)
        centres = torch.where(counts > 0, means, centres)
    return members


def _fit(model: SyncDraw, latents: _Latents, members: Tensor, generator: torch.Generator, progress: bool) -> None:
    """Train the prior alone by log P(z, component), with the component known."""
    model.train()
    prior = model.prior
    assert isinstance(prior, NetworkPrior)
    assert prior.choice is not None
    shares = members.bincount(minlength=prior.choice.out_features) / len(members)
    with torch.no_grad():
        prior.choice.bias.copy_(shares.clamp(min=1 / len(members)).log())
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT_STEPS)
    for _ in tqdm(range(FIT_STEPS), desc="fitting clusters", unit="step", disable=not progress, leave=False):
        chosen = torch.randint(len(members), (BATCH_SIZE,), generator=generator).to(members.device)
        z, h_dec, captions = (part[chosen] for part in (latents.z, latents.h_dec, latents.captions))
        member = members[chosen]
        choice = prior.log_weights(h_dec[:, 0], captions[:, 0]).gather(1, member[:, None]).mean()
        components = prior(h_dec.flatten(0, 1), captions.flatten(0, 1))
        rows, member = torch.arange(z.shape[0] * z.shape[1], device=z.device), member.repeat_interleave(z.shape[1])
        own = Normal(components.loc[rows, member], components.scale[rows, member], validate_args=False)
        loss = -choice - own.log_prob(z.flatten(0, 1)).sum() / len(chosen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
