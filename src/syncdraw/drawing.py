"""Videos drawn from a model and written to files, however many: a batch at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from syncdraw import exploring, media, plots
from syncdraw.containers import DEFAULT_FRAMES_PER_SECOND
from syncdraw.errors import UserError
from syncdraw.model import Drawing, SyncDraw
from syncdraw.vgan import VGAN

_VALUES_AT_ONCE = 1 << 22
"""Pixels of the videos, or of their canvases, that are drawn at once."""

_MOST_VALUES = 1 << 29
"""Pixels in one file."""

_LARGEST_SIDE, _CAPTION_HEIGHT = 16_383, 60
"""Pixels: of an animation's side, and left for a caption of some lines above each of its videos."""


def drawn(
    model: SyncDraw | VGAN,
    captions: Sequence[str] | None,
    count: int,
    *,
    seed: int,
    temperature: float,
    steps: bool = False,
    frames: int | None = None,
) -> Iterator[Tensor]:
    """The videos of a seed one after the other, under a progress bar: the same however many are asked for.

    Args:
        captions: of the model's videos; None where it draws from nothing.
        count: how many videos: for each caption, or in all.
        steps: the canvas after each drawing step, one after the other, not the finished video alone.
        frames: of each video, as many as the model draws or more; the model's unless given.

    Yields:
        `[frame, channel, height, width]` in [0, 1]; with `steps`, `draw_steps` times as many frames.
    """
    generator = torch.Generator().manual_seed(seed)
    size = _size(model, steps, frames)
    at_once = max(1, min(100, _VALUES_AT_ONCE // size))
    every: Iterator[str | None] = repeat(None, count)
    if captions is not None:
        every = (text for text in captions for _ in range(count))
    total = count * (1 if captions is None else len(captions))
    done = 0
    with tqdm(total=total, desc="drawing", unit="video", delay=2, leave=False) as bar:
        while batch := list(islice(every, at_once)):
            texts = [text for text in batch if text is not None]
            videos = model.generate(texts or len(batch), seed=generator, temperature=temperature, return_canvases=steps)
            if frames is not None and frames > model.shape[0]:
                assert isinstance(model, SyncDraw)  # `write` has seen to it
                videos = exploring.prolong(model, videos, texts or None, frames=frames, seed=seed, first=done)
            yield from (videos.flatten(1, 2) if steps else videos).cpu()
            bar.update(len(batch))
            done += len(batch)


def _size(model: SyncDraw | VGAN, steps: bool, frames: int | None) -> int:
    """Pixels of a video, and of its canvases where they are shown."""
    size = math.prod(model.shape) * (model.config.draw_steps if steps else 1)
    return size if frames is None else size * -(-frames // model.shape[0])


def write(
    model: SyncDraw | VGAN,
    captions: Sequence[str] | None,
    count: int,
    out: Path,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    steps: bool = False,
    frames: int | None = None,
    scale: int = 4,
    frames_per_second: float = DEFAULT_FRAMES_PER_SECOND,
) -> int:
    """Draw videos into one file, side by side, each with its caption, seed and number; or each into its own.

    Args:
        captions: as for `drawn`.
        count: likewise.
        out: .gif, .mp4 or .webp for one animation; .png for a sheet of frames; or a folder for a GIF of each video,
            named after its caption, seed and number: the number under which the same seed draws it again.
        names: what the captions are called in files, where that is not how the model knows them.

    Returns:
        How many videos were drawn.

    Raises:
        UserError: the file would be too large, or cannot be written.
    """
    if frames is not None:
        if frames < model.shape[0]:
            raise UserError(f"--frames is {frames}; this model draws {model.shape[0]} frames, and more are possible")
        if steps or not isinstance(model, SyncDraw):
            raise UserError("--frames is for videos of Sync-DRAW as they are when they are finished; leave it out")
    titles = [""] if captions is None else list(names or captions)
    total = count * len(titles)
    videos = drawn(model, captions, count, seed=seed, temperature=temperature, steps=steps, frames=frames)
    labels = (title for title in titles for _ in range(count))
    if not out.suffix:
        for number, (label, video) in enumerate(zip(labels, videos, strict=True), start=1):
            path = out / f"{file_name(label)}-seed{seed}-{number}.gif"
            media.save_video(video, path, frames_per_second=frames_per_second, scale=scale)
        return total
    check_room(out, total, model.shape, scale, _size(model, steps, frames) // math.prod(model.shape))
    if total == 1:
        media.save_video(next(videos), out, frames_per_second=frames_per_second, scale=scale)
        return total
    marked = [f"{label} (seed {seed}, number {n})".strip() for n, label in enumerate(labels, start=1)]
    together = torch.stack(list(videos))
    if out.suffix.lower() == ".png":
        plots.save_picture(plots.sample_sheet(together, marked, scale=scale), out)
    else:
        media.save_video(plots.labelled(together, marked, scale=scale), out, frames_per_second=frames_per_second)
    return total


def write_again(
    model: SyncDraw, video: Path, captions: list[str] | None, out: Path, *, seed: int, scale: int,
    frames_per_second: float,
) -> Drawing:  # fmt: skip
    """Read a clip and draw it again; write both side by side.

    Args:
        video: as for `exploring.read_clip`.
        captions: one, for a model with captions.

    Returns:
        What the model makes of the clip.

    Raises:
        UserError: the clip cannot be read, the caption does not fit the model, or the file cannot be written.
    """
    clip = exploring.read_clip(model, video)
    found = exploring.reconstruct(model, clip, captions, seed=seed)
    both = torch.cat([clip, found.videos]).cpu()
    media.save_video(both, out, frames_per_second=frames_per_second, scale=scale)
    return found


def write_walk(
    model: SyncDraw, captions: list[str] | None, count: int, out: Path, *, seeds: tuple[int, int], scale: int,
    frames_per_second: float,
) -> None:  # fmt: skip
    """Write the videos of `exploring.interpolate`, side by side.

    Raises:
        UserError: as there; or the file would be too large, or cannot be written.
    """
    check_room(out, count, model.shape, scale)
    videos = exploring.interpolate(model, captions, seeds=seeds, count=count)
    media.save_video(videos.cpu(), out, frames_per_second=frames_per_second, scale=scale)


def check_room(out: Path, total: int, shape: tuple[int, int, int, int], scale: int, times: int = 1) -> None:
    """Refuse more videos than one file may hold, before the first is drawn.

    Args:
        shape: `(frames, channels, height, width)` of a video.
        times: as many frames are shown so many times.

    Raises:
        UserError: they are too many.
    """
    scale = max(1, scale)  # of one that is out of range more is said where it is used
    size = math.prod(shape) * scale**2 * times
    # Formats hold 16,383 pixels a side. The grid is square; above each video, its caption takes some lines.
    side = _LARGEST_SIDE // (max(shape[2:]) * scale + _CAPTION_HEIGHT)
    most = max(1, min(_MOST_VALUES // size, side**2 if out.suffix.lower() != ".png" else _MOST_VALUES))
    if total > most:
        raise UserError(
            f"{out} would hold {total:,} videos, and has room for {most:,} of this size; name a folder (without a "
            "suffix) to get a file of each, or lower --num or --scale"
        )


def file_name(caption: str) -> str:
    """A caption as a part of a file's name."""
    return re.sub(r"\W+", "-", caption.lower()).strip("-")[:80] or "video"
