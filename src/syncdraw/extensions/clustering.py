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

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from syncdraw.config import SyncDrawConfig
from syncdraw.datasets.clips import Dataset, spread
from syncdraw.errors import UserError
from syncdraw.extensions.categories import Categories
from syncdraw.extensions.mixture import MixturePrior
from syncdraw.gaussian import Gaussian
from syncdraw.model import Noise, SyncDraw

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
    if config.prior.components == 1:
        raise UserError(
            "train.start.cluster_from has nothing to begin: set model.prior.components or, with a train.start.model "
            "that has none, model.prior.categories to 2 or more"
        )
    _check_step(from_step, config)
    if config.prior.categories and from_step == 1:
        raise UserError("train.start.cluster_from is 1; for a mixture prior beside categories it must be 2 or more")
    generator = torch.Generator().manual_seed(seed)
    latents = _encoded(model, dataset, generator, progress)
    steps = slice(from_step - 1) if config.prior.categories else slice(from_step - 1, None)
    _fit(model, latents, _clusters(latents, config.prior.components, steps, generator), generator, progress)


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
    conditioner = _categories(model)
    if model.config.layers > 1:
        raise UserError(
            f"model.layers is {model.config.layers}: a model of several layers has the categories of a model of one; "
            "name such a model with train.start.model"
        )
    _check_step(from_step, source.config)
    generator = torch.Generator().manual_seed(seed)
    latents = _encoded(source, dataset, generator, progress)
    members = _clusters(latents, model.config.prior.categories, slice(from_step - 1, None), generator)
    numbers = spread(len(dataset), CLIPS)
    recogniser, shown = conditioner.recogniser.train().requires_grad_(True), len(members) * 4 // 5
    optimizer = torch.optim.Adam(recogniser.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT_STEPS)

    def logits(chosen: Int[Tensor, " clip"]) -> Float[Tensor, "clip category"]:
        videos = dataset.take(numbers[chosen.numpy()]).videos
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
    counts = found.bincount(minlength=model.config.prior.categories) + 0.5  # none is impossible
    conditioner.log_shares.copy_((counts / counts.sum()).log())
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
    config, recogniser, device = model.config, _categories(model).recogniser.requires_grad_(True), model.device
    generator = torch.Generator().manual_seed(seed)
    still_there = torch.ones(config.layers, config.layers, device=device).triu().bool()
    optimizer = torch.optim.Adam(recogniser.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, LAYER_STEPS)
    model.eval()
    right = []
    for step in tqdm(range(LAYER_STEPS), desc="learning layers", unit="step", disable=not progress, leave=False):
        left, categories = _drawn_layers(model, model.noise([generator] * 50))
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
    model: SyncDraw, noise: Noise
) -> tuple[Float[Tensor, "batch layer frame channel height width"], Int[Tensor, "batch layer"]]:
    """Of new videos: what there is of each when a layer begins and those below it are taken away, and the categories of
    the layers."""
    count = model.config.draw_steps // model.config.layers
    drawn: list[Tensor] = []
    model.trace(None, noise, None, None, lambda state: drawn.append(state.canvas.video))
    videos = drawn[count - 1 :: count]
    conditioner = _categories(model)
    categories = [conditioner.draw(choice[:, 0]) for choice in noise.condition[:, ::count].unbind(dim=1)]
    whole = model.targets((255 * videos[-1]).round().to(torch.uint8))
    left = [whole, *((whole - below).clamp(min=0) for below in videos[:-1])]
    return torch.stack(left, dim=1), torch.stack(categories, dim=1)


def _categories(model: SyncDraw) -> Categories:
    assert isinstance(model.conditioner, Categories)
    return model.conditioner


def _check_step(from_step: int, config: SyncDrawConfig) -> None:
    steps = config.draw_steps // config.layers
    if not 1 <= from_step <= steps:
        raise UserError(
            f"train.start.cluster_from is {from_step}; it must be one of a layer's drawing steps, 1 to {steps}"
        )


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
    chosen = spread(len(dataset), CLIPS)
    found = []
    model.eval()
    for first in tqdm(range(0, len(chosen), 100), desc="encoding", unit="batch", disable=not progress, leave=False):
        clips = dataset.take(chosen[first : first + 100])
        by_step = [
            _Latents(step.z, step.posterior.mean, step.posterior.deviation, step.h_dec, step.caption.decoder)
            for step in model.bound(model.prepare(clips.videos, clips.captions, generator)).steps
            if step.posterior is not None
        ]
        found.append([
            torch.stack(part, dim=1).unflatten(1, (model.config.layers, -1)).flatten(0, 1)
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
    prior = model.generator.prior
    assert isinstance(prior, MixturePrior)
    shares = members.bincount(minlength=prior.choice.out_features) / len(members)
    with torch.no_grad():
        prior.choice.bias.copy_(shares.clamp(min=1 / len(members)).log())
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT_STEPS)
    for _ in tqdm(range(FIT_STEPS), desc="fitting clusters", unit="step", disable=not progress, leave=False):
        chosen = torch.randint(len(members), (BATCH_SIZE,), generator=generator).to(members.device)
        z, h_dec, captions = (part[chosen] for part in (latents.z, latents.h_dec, latents.captions))
        member = members[chosen]
        choice = prior.start(h_dec[:, 0], captions[:, 0]).gather(1, member[:, None]).mean()
        components = prior.components(h_dec.flatten(0, 1), captions.flatten(0, 1))
        rows, member = torch.arange(z.shape[0] * z.shape[1], device=z.device), member.repeat_interleave(z.shape[1])
        own = Gaussian(components.mean[rows, member], components.deviation[rows, member])
        loss = -choice - own.log_prob(z.flatten(0, 1)).sum() / len(chosen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
