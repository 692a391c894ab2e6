"""The papers' figures, of a model: it draws, plots.py shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from syncdraw import plots, pretrained
from syncdraw.datasets.clips import Clips, Dataset
from syncdraw.errors import UserError
from syncdraw.media import Pixels
from syncdraw.model import Drawing, SyncDraw
from syncdraw.vocabulary import normalise

Kind = Literal["samples", "real", "canvases", "write_windows", "read_windows", "divergence", "alignment", "curves"]

_NO_CAPTIONS = "this model draws without captions; leave --caption out"


def picture(
    model: str,
    kind: Kind,
    caption: str | None = None,
    video: Path | None = None,
    num: int = 64,
    seed: int = 0,
    out: Path | None = None,
    scale: int = 2,
) -> Path:
    """Draw a figure of a model.

    samples: uncurated clips as strips of frames. real: test clips of the model's data, to compare.
    canvases: the clip after each drawing step (v2 figure 2c).
    write_windows, read_windows: where the model writes and reads at each step. divergence: KL of each step.
    alignment: caption words by drawing steps (v1 eq 13). curves: a run's training curves.

    Args:
        model: a shipped model (see `syncdraw models`), or a run folder.
        kind: which figure.
        caption: for a model with captions.
        video: a clip to reconstruct, for read_windows and divergence; a test clip of the model's data unless given.
        num: how many samples.
        seed: of the noise.
        out: a .png, .jpg or .webp file; named after the model and the figure unless given.
        scale: each pixel of a frame becomes so many pixels wide and high.

    Raises:
        UserError: the model or the clip is not there, does not fit the figure, or the picture cannot be written.
    """
    if num < 1:
        raise UserError(f"--num is {num}; it must be 1 or more")
    out = out or Path(f"{Path(model).name}-{kind}.png")
    if kind == "curves":
        pixels = _curves(Path(model))
    else:
        network = pretrained.load(model)
        card = pretrained.load_card(model)
        if kind == "real":
            clips = _clips(card, num)
            pixels = plots.sample_sheet(network.targets(torch.from_numpy(clips.videos)), columns=2, scale=scale)
        elif kind in ("read_windows", "divergence"):
            pixels = _reconstruction(network, card, kind, caption, video, seed, scale)
        else:
            pixels = _generation(network, card, kind, caption, num, seed, scale)
    plots.save_picture(pixels, out)
    print(f"wrote {out}")
    return out


@torch.no_grad()
def _generation(
    model: SyncDraw, card: dict[str, Any], kind: Kind, caption: str | None, num: int, seed: int, scale: int
) -> Pixels:
    captions = None
    if model.config.captions != "none":
        captions = [caption] if caption is not None else None
        if captions is None:
            captions = _captions(card, num if kind == "samples" else 1)
    elif caption is not None:
        raise UserError(_NO_CAPTIONS)
    if kind == "samples":
        repeated = captions * num if captions is not None and len(captions) == 1 else captions
        videos = model.generate(repeated or num, seed=seed)
        return plots.sample_sheet(videos, repeated, columns=2 if len(videos) > 1 else 1, scale=scale)
    drawing = model(None, captions, noise=model.noise(1, seed), return_canvases=True)
    if kind == "alignment":
        if drawing.alignment is None or captions is None:
            raise UserError("this model does not align words; choose one with captions: alignment")
        return plots.alignment(drawing.alignment[0], normalise(captions[0]))
    return _steps(drawing, model, kind, scale)


@torch.no_grad()
def _reconstruction(
    model: SyncDraw, card: dict[str, Any], kind: Kind, caption: str | None, video: Path | None, seed: int, scale: int
) -> Pixels:
    if caption is not None and model.config.captions == "none":
        raise UserError(_NO_CAPTIONS)
    if video is not None:
        from syncdraw.video import read_video

        pixels = (read_video(video)[0][None] * 255).round().byte()
        if model.config.channels == 3:
            pixels = pixels.expand(-1, -1, 3, -1, -1)  # read_video gives grey clips one channel
        videos = model.targets(pixels)
        captions = [caption] if caption is not None else None
    elif caption is not None:
        raise UserError("a test clip has its own caption; give --caption with a --video of yours")
    else:
        clips = _clips(card, 100 if kind == "divergence" else 1, at_most=True)
        videos, captions = model.targets(torch.from_numpy(clips.videos)), clips.captions
    if model.config.captions == "none":
        captions = None
    generator = torch.Generator().manual_seed(seed)
    drawing = model(videos, captions, generator=generator, return_canvases=kind != "divergence")
    if kind == "divergence":
        return plots.divergence_by_step(drawing.divergence_by_step.mean(dim=0))
    return _steps(drawing, model, kind, scale, videos)


def _steps(drawing: Drawing, model: SyncDraw, kind: Kind, scale: int, videos: torch.Tensor | None = None) -> Pixels:
    assert drawing.canvases is not None
    config = model.config
    if kind == "canvases":
        return plots.canvases_over_time(drawing.canvases[0], scale=scale)
    if config.attention == "cuboid":
        raise UserError("windows are drawn for models with a window on each frame; this one's is in space-time")
    reading = kind == "read_windows"
    size = config.grid_size if reading else config.write_grid_size or config.grid_size
    frames = videos[0] if reading and videos is not None else drawing.canvases[0]
    windows = [step.read_window if reading else step.write_window for step in drawing.steps]
    return plots.windows_on_frames(frames, [window for window in windows if window], size, scale=scale)


def _dataset(card: dict[str, Any]) -> Dataset:
    from syncdraw.evaluate import data_of

    return data_of(card, None, "test")


def _clips(card: dict[str, Any], count: int, *, at_most: bool = False) -> Clips:
    """The first test clips of the model's data."""
    dataset = _dataset(card)
    if count > len(dataset) and not at_most:
        raise UserError(f"--num is {count}, but there are {len(dataset)} test clips; ask for no more")
    return dataset.take(np.arange(min(count, len(dataset))))


def _captions(card: dict[str, Any], count: int) -> list[str]:
    captions = _clips(card, count).captions
    if captions is None:
        raise UserError("the model's data set has no captions; give one with --caption")
    return list(captions)


def _curves(run: Path) -> Pixels:
    try:
        return plots.training_curves(_metrics(run))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{run / 'metrics.jsonl'} has no L_X and L_Z yet; wait for the run's first lines") from error


def _metrics(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    try:
        return [dict(json.loads(line)) for line in path.read_text().splitlines()]
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); curves need the folder of a training run") from error
