"""What a model begins from: another model's weights, the clusters of what that one encodes, or the data's mean."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from syncdraw import pretrained
from syncdraw.building import build
from syncdraw.config import CaptionConfig, SyncDrawConfig
from syncdraw.datasets.clips import Dataset, spread
from syncdraw.errors import UserError
from syncdraw.extensions.clustering import cluster_prior, find_categories, recognise_layers
from syncdraw.extensions.layers import LayeredSyncDraw
from syncdraw.extensions.looking import LookingSyncDraw
from syncdraw.likelihoods import DiscretisedLogistic
from syncdraw.model import SyncDraw
from syncdraw.training.settings import RunConfig


def begin(
    model: SyncDraw, config: RunConfig, dataset: Dataset, progress: bool,
    build_model: Callable[[SyncDrawConfig], SyncDraw] = build,
) -> None:  # fmt: skip
    """Fill a fresh model with what is known before its first step.

    Args:
        build_model: makes the model that it begins from, too.

    Raises:
        UserError: the model that it is to begin from is not there, or differs in a size that decides what the numbers
            in a layer stand for.
    """
    start, seed = config.train.start, config.train.seed
    categories, from_step = model.config.prior.categories, start.cluster_from
    if start.model is None:
        if categories or from_step is not None:
            raise UserError(
                "clusters are those of what a trained model encodes; name it with train.start.model, or leave out "
                "model.prior.categories and train.start.cluster_from"
            )
        if start.only_inference:
            raise UserError("train.start.only_inference needs a trained model: name it with train.start.model")
        if start.first_look is not None:
            raise UserError("train.start.first_look needs a model to go with it: name it with train.start.model")
        mean = mean_frame(model, dataset)
        model.set_first_canvas(mean)
        if isinstance(model.generator.likelihood, DiscretisedLogistic):
            some = dataset.take(spread(len(dataset), 16)).videos
            model.generator.likelihood.fit(mean, model.targets(torch.from_numpy(some)))
        return
    source = starting_model(start.model, build_model).to(model.device)
    copy_weights(source, model, start.model)
    if start.first_look is not None:
        take_first_look(model, first_look_model(start.first_look, build_model).to(model.device), start.first_look)
    kept = categories and _same_captions(source.config, model.config)
    if categories and not kept and from_step is None:
        raise UserError(
            f"model.prior.categories is {categories}: they are clusters of what {start.model} encodes; say from which "
            "drawing step on with train.start.cluster_from"
        )
    alone = isinstance(model, LookingSyncDraw)  # then what a recogniser is shown is a thing alone, too
    if kept and model.config.layers > source.config.layers and not alone:
        right = recognise_layers(model, seed=seed, progress=progress)
        print(f"{categories} categories; {right:.1%} of its own layers are recognised", file=sys.stderr)
    if from_step is None:
        return
    if kept or not categories:
        cluster_prior(model, dataset, from_step=from_step, seed=seed, progress=progress)
        return
    right = find_categories(model, source, dataset, from_step=from_step, seed=seed, progress=progress)
    print(f"{categories} categories; {right:.1%} of clips not shown are recognised", file=sys.stderr)


def starting_model(name: str, build_model: Callable[[SyncDrawConfig], SyncDraw] = build) -> SyncDraw:
    """The model that a run begins from."""
    try:
        return pretrained.load(name, build_model=build_model)
    except UserError as error:
        raise UserError(f"train.start.model: {error}") from error


def first_look_model(name: str, build_model: Callable[[SyncDrawConfig], SyncDraw] = build) -> LayeredSyncDraw:
    """The model that takes the first look, or whose first look is taken over.

    Raises:
        UserError: it is not there, or has one layer.
    """
    try:
        source = pretrained.load(name, build_model=build_model)
    except UserError as error:
        raise UserError(f"train.start.first_look: {error}") from error
    if isinstance(source, LookingSyncDraw):
        return source.glance
    if not isinstance(source, LayeredSyncDraw):
        raise UserError(
            f"train.start.first_look: {name} has one layer; a first look is at several, as that of mnist2 is"
        )
    return source


def take_first_look(model: SyncDraw, source: LayeredSyncDraw, name: str) -> None:
    """Let a model take its first look as another does.

    Raises:
        UserError: they differ in their layers, in the shape of their videos, or in the words that they know.
    """
    assert isinstance(model, LookingSyncDraw)  # by its config, which knows of the first look
    theirs, ours = _seen(source.config), _seen(model.config)
    for size, value in theirs.items():
        if value != ours[size]:
            raise UserError(
                f"train.start.first_look: {name} has model.{size} {value}, this model {ours[size]}; they must be equal"
            )
    if source.captioned and source.config.captions != model.config.captions:
        raise UserError(f"train.start.first_look: {name} reads captions in another way, or knows other words")
    tensors = source.state_dict()
    model.glance.load_state_dict({key: tensors[key] for key in model.glance.state_dict()})


def _seen(config: SyncDrawConfig) -> dict[str, object]:
    return {"layers": config.layers, "height": config.height, "width": config.width, **_sizes(config)}


def mean_frame(model: SyncDraw, dataset: Dataset) -> Tensor:
    """The mean of 256 clips' frames, `[channel, height, width]` in [0, 1]."""
    sample = model.targets(torch.from_numpy(dataset.take(spread(len(dataset), 256)).videos))
    return sample.mean(dim=(0, 1))


def copy_weights(source: SyncDraw, model: SyncDraw, name: str) -> None:
    """Copy a trained model's weights into another, where their layers have the same meaning.

    Captions come last in every layer's input, so that a layer which gains or loses them keeps what it has learned of
    the rest. Words are compared by their text: caption layers are copied only where both models know the same words,
    by the same encoder, and categories only where both models have as many.

    Raises:
        UserError: they differ in a size that decides what the numbers in a layer stand for.
    """
    for size, theirs in _sizes(source.config).items():
        ours = _sizes(model.config)[size]
        if theirs != ours:
            raise UserError(
                f"train.start.model: {name} has model.{size} {theirs}, this model {ours}; they must be equal"
            )
    if not _same_captions(source.config, model.config):
        without = dataclasses.replace(source.config.prior, categories=0)
        plain = build(dataclasses.replace(source.config, captions=CaptionConfig(), prior=without)).to(model.device)
        _copy_overlap(source, plain)
        source = plain
    _copy_overlap(source, model)


def _sizes(config: SyncDrawConfig) -> dict[str, object]:
    """Where one of these differs, the parts of a layer's input or output do not lie where they lie in the other
    model."""
    return {
        "frames": config.frames, "channels": config.channels, "grid_size": config.grid_size,
        "hidden_size": config.hidden_size, "latent_size": config.latent_size,
        "attention.kind": config.attention.kind, "attention.write_grid_size": config.write_grid_size,
        "attention.content": config.attention.content,
    }  # fmt: skip


def _same_captions(source: SyncDrawConfig, target: SyncDrawConfig) -> bool:
    return source.captions == target.captions and source.prior.categories == target.prior.categories


@torch.no_grad()
def _copy_overlap(source: SyncDraw, target: SyncDraw) -> None:
    """Copy what tensors of the same name have in common."""
    tensors = source.state_dict()
    for name, theirs in target.state_dict().items():
        ours = tensors.get(name)
        if ours is None or ours.ndim != theirs.ndim:
            continue
        if name == "generator.first_canvas":
            if target.config.canvas != "zero":  # what that promises, whatever the other has learned
                theirs.copy_(ours if ours.shape[1:] in (theirs.shape[1:], (1, 1)) else ours.mean((1, 2), keepdim=True))
            continue
        if name == "inference.video_parameters.weight" and ours.shape != theirs.shape:
            continue  # other pixels
        overlap = tuple(slice(min(a, b)) for a, b in zip(ours.shape, theirs.shape, strict=True))
        theirs[overlap] = ours[overlap]
