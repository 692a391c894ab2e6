"""The papers' figures, of a model: it draws, plots.py shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from syncdraw import plots, pretrained
from syncdraw.datasets import BUILT_IN, open_dataset
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.datasets.clips import Clips, spread
from syncdraw.datasets.prepared import ABOUT
from syncdraw.drawing import check_room, drawn
from syncdraw.errors import UserError
from syncdraw.evaluation.reports import data_of
from syncdraw.exploring import read_clip, reconstruct
from syncdraw.media import Pixels
from syncdraw.model import Drawing, SyncDraw
from syncdraw.training.run_folder import METRICS_FILE, STAGES, RunFolder
from syncdraw.vgan import VGAN
from syncdraw.wordings import sentences_for
from syncdraw.words import normalise

Kind = Literal[
    "samples", "real", "compare", "canvases", "write_windows", "read_windows", "divergence", "alignment", "curves"
]

_OF_CLIPS = ("canvases", "write_windows", "read_windows", "divergence", "alignment")
"""The figures that can be drawn of a clip that is read, not of one that is generated."""


def picture(
    model: str,
    kind: Kind,
    caption: str | None = None,
    video: Path | None = None,
    num: int = 64,
    seed: int = 0,
    out: Path | None = None,
    scale: int = 2,
    beside: Sequence[str] = (),
) -> Path:
    """Write a figure of a model, as `syncdraw picture --help` explains it.

    Returns:
        The file.

    Raises:
        UserError: the model or the clip is not there, does not fit the figure, or the picture cannot be written.
    """
    if num < 1:
        raise UserError(f"--num is {num}; it must be 1 or more")
    if video is not None and kind not in _OF_CLIPS:
        raise UserError(f"--video is for {', '.join(_OF_CLIPS)}; leave it out with {kind}")
    if beside and kind != "compare":
        raise UserError(f"--beside is for compare; leave it out with {kind}")
    out = out or Path(f"{Path(model).name}-{kind}.png")
    if kind == "curves":
        pixels = curves(Path(model))
    elif kind == "compare":
        pixels = _comparison([model, *beside], min(num, 8), seed, scale)
    elif kind == "samples":
        pixels = _samples(model, caption, num, seed, scale, out)
    elif kind == "real" and (model in BUILT_IN or (Path(model) / ABOUT).is_file()):
        pixels = _of_data(model, num, scale, out)
    else:
        network = pretrained.load(model)
        card = pretrained.load_card(model)
        if caption is not None:
            (caption,) = sentences_for(network, [caption], card, model) or [caption]
        if kind == "real":
            check_room(out, num, network.shape, scale)
            clips = _clips(card, num)
            pixels = plots.sample_sheet(network.targets(torch.from_numpy(clips.videos)), columns=2, scale=scale)
        elif kind in ("read_windows", "divergence") or video is not None:
            pixels = _reconstruction(network, card, kind, caption, video, seed, scale)
        else:
            pixels = _generation(network, card, kind, caption, seed, scale)
    plots.save_picture(pixels, out)
    return out


def _samples(model: str, caption: str | None, count: int, seed: int, scale: int, out: Path) -> Pixels:
    network = pretrained.load_any(model)
    check_room(out, count, network.shape, scale)
    captions = _captions_for(network, model, caption, count)
    videos = torch.stack(list(drawn(network, captions, 1 if captions else count, seed=seed, temperature=1.0)))
    return plots.sample_sheet(videos, captions, columns=2 if len(videos) > 1 else 1, scale=scale)


def _captions_for(network: SyncDraw | VGAN, model: str, caption: str | None, count: int) -> list[str] | None:
    """Captions for so many samples: this one, or those of test clips; None where the model draws from nothing."""
    card = pretrained.load_card(model)
    if caption is not None:
        return sentences_for(network, [caption] * count, card, model)
    return _captions(card, count) if network.config.captioned else None


def _comparison(models: list[str], count: int, seed: int, scale: int) -> Pixels:
    clips = _clips(pretrained.load_card(models[0]), count)
    sources = {"real": torch.from_numpy(clips.videos).float() / 255}
    for model in models:
        network = pretrained.load_any(model)
        if network.shape[1:] != sources["real"].shape[2:]:
            raise UserError(f"{model} draws frames of {network.shape[1:]}, and {models[0]} was trained on others")
        card = pretrained.load_card(model)
        minutes = card.get("trained", {}).get("minutes")
        title = model if minutes is None else f"{model} ({minutes:g} minutes of training)"
        sources[title] = network.generate(_captions_for(network, model, None, count) or count, seed=seed).cpu()
    return plots.side_by_side(sources, scale=scale)


@torch.no_grad()
def _generation(
    model: SyncDraw, card: dict[str, Any], kind: Kind, caption: str | None, seed: int, scale: int
) -> Pixels:
    captions = None
    if model.captioned:
        captions = [caption] if caption is not None else _captions(card, 1)
    drawing = model(None, captions, noise=model.noise(1, seed), return_canvases=True)
    return _steps(drawing, model, kind, scale, None, captions)


@torch.no_grad()
def _reconstruction(
    model: SyncDraw, card: dict[str, Any], kind: Kind, caption: str | None, video: Path | None, seed: int, scale: int
) -> Pixels:
    if video is not None:
        videos, captions = read_clip(model, video), [caption] if caption is not None else None
    elif caption is not None:
        raise UserError("a test clip has its own caption; give --caption with a --video of yours")
    else:
        clips = _clips(card, 100 if kind == "divergence" else 1, at_most=True)
        videos, captions = model.targets(torch.from_numpy(clips.videos)), clips.captions
    drawing = reconstruct(
        model, videos, captions if model.captioned else None, seed=seed, return_canvases=kind != "divergence"
    )
    if kind == "divergence":
        return plots.divergence_by_step(drawing.divergence_by_step.mean(dim=0))
    return _steps(drawing, model, kind, scale, videos, captions)


def _steps(
    drawing: Drawing, model: SyncDraw, kind: Kind, scale: int, videos: torch.Tensor | None, captions: list[str] | None
) -> Pixels:
    if kind == "alignment":
        if drawing.alignment is None or captions is None:
            raise UserError("this model does not align words; choose one with model.captions.route: alignment")
        return plots.alignment(drawing.alignment[0], normalise(captions[0]))
    assert drawing.canvases is not None
    config = model.config
    if kind == "canvases":
        return plots.canvases_over_time(drawing.canvases[0], scale=scale)
    if config.attention.kind == "cuboid":
        raise UserError("windows are drawn for models with a window on each frame; this one's is in space-time")
    reading = kind == "read_windows"
    size = config.grid_size if reading else config.write_grid_size
    frames = videos[0] if reading and videos is not None else drawing.canvases[0]
    windows = [step.read_window if reading else step.write_window for step in drawing.steps]
    return plots.windows_on_frames(frames, [window for window in windows if window], size, scale=scale)


def _of_data(data: str, count: int, scale: int, out: Path) -> Pixels:
    """Clips from all over a data set, of which no model has to be there."""
    dataset = open_dataset(data, BouncingMNISTConfig(), "train")
    check_room(out, count, dataset.shape, scale)
    videos = torch.from_numpy(dataset.take(spread(len(dataset), count)).videos) / 255
    return plots.sample_sheet(videos, columns=2 if len(videos) > 1 else 1, scale=scale)


def _clips(card: dict[str, Any], count: int, *, at_most: bool = False) -> Clips:
    """The first test clips of the model's data."""
    dataset = data_of(card, None, "test")
    if count > len(dataset) and not at_most:
        raise UserError(f"--num is {count}, but there are {len(dataset)} test clips; ask for no more")
    return dataset.take(np.arange(min(count, len(dataset))))


def _captions(card: dict[str, Any], count: int) -> list[str]:
    captions = _clips(card, count).captions
    if captions is None:
        raise UserError("the model's data set has no captions; give one with --caption")
    return list(captions)


def curves(run: Path) -> Pixels:
    """The training curves of a run.

    Raises:
        UserError: the run has no metrics yet, or they cannot be read.
    """
    try:
        return plots.training_curves(_metrics(run))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{run / METRICS_FILE} has no L_X and L_Z yet; wait for the run's first lines") from error


def stages_of(run: Path) -> list[Path]:
    """The folders of a run's stages, in their order; the run's own folder where it has but one."""
    stages = [folder for folder in run.glob(f"{STAGES}/*") if re.match(r"[0-9]{1,4}-", folder.name)]
    return sorted(stages, key=lambda folder: int(folder.name.partition("-")[0])) or [run]


def _metrics(run: Path) -> list[dict[str, float]]:
    """The metrics of a run; of one of several stages, those of all of them, one after the other."""
    lines: list[dict[str, float]] = []
    for folder in [folder for folder in stages_of(run) if (folder / METRICS_FILE).exists()] or [run]:
        before = lines[-1]["step"] if lines else 0
        lines += [{**line, "step": line["step"] + before} for line in RunFolder(folder).metrics() if "step" in line]
    return lines
