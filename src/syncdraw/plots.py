"""Tensors in, pictures out: uint8 RGB arrays `[height, width, 3]`, which `save_picture` writes.

Pictures made of frames are assembled pixel by pixel. Curves need matplotlib, which is imported when a curve is drawn
(`pip install 'syncdraw[plots]'`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.media import Pixels, contact_sheet

_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_TEXT_SIZE = 14  # pixels
_LINE_HEIGHT = 18
_GAP = 8
_NARROW = 120  # pixels, of a video that has no room for words
_BLUE = (31, 85, 163)
_RED = (235, 64, 52)
_MARGIN_GREY = 0.25


class Window(Protocol):
    """Where the grid lies on each frame: `[window]` or `[batch, window]` each, one window a frame or one for all.

    The centre is in 1-based pixel coordinates, the stride in pixels, the variance in square pixels. The windows in
    `Drawing.steps` are of this kind.
    """

    @property
    def row_centre(self) -> Tensor: ...
    @property
    def column_centre(self) -> Tensor: ...
    @property
    def stride(self) -> Tensor: ...
    @property
    def variance(self) -> Tensor: ...


def save_picture(picture: Pixels, path: str | Path) -> None:
    """Write a picture, uint8 `[height, width, 3]`, as .png, .jpg or .webp.

    Raises:
        ValueError: the array is no such picture.
        UserError: another suffix, or a place that cannot be written.
    """
    path = Path(path)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is uint8 [height, width, 3]; this is {picture.dtype} {list(picture.shape)}")
    if path.suffix.lower() not in _PICTURE_SUFFIXES:
        raise UserError(f"cannot write {path}: a picture's suffix must be one of {', '.join(_PICTURE_SUFFIXES)}")
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)


def canvases_over_time(canvases: Tensor, *, scale: int = 1) -> Pixels:
    """The video as it stood after each drawing step (v2 figure 2c): rows are drawing steps, columns frames.

    Args:
        canvases: `[draw_step, frame, channel, height, width]`, probabilities: `drawing.canvases[0]`.
        scale: each pixel becomes `scale` x `scale` equal pixels.

    Raises:
        ValueError: the tensor has another shape, or values outside [0, 1].
    """
    if canvases.ndim != 5:
        raise ValueError(
            f"canvases are [draw_step, frame, channel, height, width], those of one clip; these are "
            f"{list(canvases.shape)}"
        )
    return contact_sheet(canvases, scale=scale)


def windows_on_frames(
    videos: Tensor, windows: Sequence[Window], grid_size: int, *, clip: int = 0, scale: int = 4, margin: int = 4,
    colour: tuple[int, int, int] = _RED,
) -> Pixels:  # fmt: skip
    """Frames with the read or the write window outlined on them: rows are drawing steps, columns frames.

    The outline runs through the outermost Gaussians of the grid. As in DRAW (Gregor et al. 2015, figure 5) its
    thickness shows how far each Gaussian reaches: one standard deviation, but no less than a pixel of the picture and
    no more than two pixels of the video. A window may reach past the frame, so a margin is drawn around it.

    Args:
        videos: `[draw_step, frame, channel, height, width]` in [0, 1], such as `drawing.canvases[clip]`, or
            `[frame, channel, height, width]`, shown on every row.
        windows: one for each row, such as `[step.write_window for step in drawing.steps]`.
        grid_size: K.
        clip: which clip of the windows' batch it is, where they have a batch axis.
        scale: each pixel of the video becomes `scale` x `scale` pixels of the picture.
        margin: around each frame, in pixels of the video.
        colour: of the outline.

    Raises:
        ValueError: the tensors are no videos or no windows, or there are not as many rows as windows.
    """
    if videos.ndim == 4:
        videos = videos.expand(len(windows), -1, -1, -1, -1)
    if videos.ndim != 5 or not len(windows) or len(videos) != len(windows) or videos.shape[2] not in (1, 3):
        raise ValueError(
            "videos are [draw_step, frame, channel, height, width], with 1 or 3 channels and one window a row; "
            f"these are {list(videos.shape)}, with {len(windows)} windows"
        )
    videos = nn.functional.pad(videos.detach().float().cpu(), (margin,) * 4, value=_MARGIN_GREY)
    pictures = videos.repeat_interleave(scale, -1).repeat_interleave(scale, -2).expand(-1, -1, 3, -1, -1).clone()
    rows = torch.arange(pictures.shape[-2])[:, None]
    columns = torch.arange(pictures.shape[-1])
    paint = torch.tensor(colour)[:, None, None] / 255

    for row, window in zip(pictures, windows, strict=True):
        numbers = torch.stack([window.row_centre, window.column_centre, window.stride, window.variance])
        numbers = (numbers[:, clip] if numbers.ndim == 3 else numbers).detach().float().cpu()
        if not numbers.isfinite().all():
            raise ValueError("a window's centre, stride and variance must be finite")
        row_centre, column_centre, stride, variance = numbers.expand(4, len(row))[..., None, None]
        # Pixel p of the video covers `scale` pixels of the picture, from number (margin + p - 1) * scale on.
        row_middle, column_middle = ((margin + centre - 0.5) * scale - 0.5 for centre in (row_centre, column_centre))
        # How far each pixel lies outside the rectangle, by the larger of its two distances.
        outside = torch.maximum((rows - row_middle).abs(), (columns - column_middle).abs())
        outside = outside - stride * (grid_size - 1) / 2 * scale
        half = (variance.sqrt() * scale).clamp(1, 2 * scale) / 2
        outline = (outside >= -half) & (outside < half)
        row.copy_(torch.where(outline[:, None], paint, row))
    return contact_sheet(pictures)


def sample_sheet(videos: Tensor, captions: Sequence[str] | None = None, *, columns: int = 1, scale: int = 1) -> Pixels:
    """Clips as strips of frames, on white, each under its caption.

    Args:
        videos: `[batch, frame, channel, height, width]` in [0, 1].
        captions: one a clip.
        columns: strips side by side.
        scale: each pixel becomes `scale` x `scale` equal pixels.

    Raises:
        ValueError: the tensor is no batch of videos, or there are not as many captions as clips.
    """
    if videos.ndim != 5 or columns < 1:
        raise ValueError(
            f"a sheet needs [batch, frame, channel, height, width] and a column or more, not {list(videos.shape)} "
            f"and {columns}"
        )
    if captions is not None and len(captions) != len(videos):
        raise ValueError(f"{len(captions)} captions do not go with {len(videos)} clips")
    cells = [contact_sheet(video, scale=scale) for video in videos]
    height, width, _ = cells[0].shape
    if captions is not None:
        labels = _labels(captions, width)
        cells = [np.concatenate([label, cell]) for label, cell in zip(labels, cells, strict=True)]
        height += len(labels[0])
    rows = -(-len(cells) // columns)
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        top, left = row * (height + _GAP) + _GAP, column * (width + _GAP) + _GAP
        sheet[top : top + height, left : left + width] = cell
    return sheet


def side_by_side(sources: Mapping[str, Tensor], *, frames: int = 10, scale: int = 1) -> Pixels:
    """Clips of several sources, one block below the other (v2 figures 11 to 13): the first frames of each clip, and
    beside them a frame from the middle of the first clip, magnified to the height of the block.

    Args:
        sources: clips `[clip, frame, channel, height, width]` in [0, 1] by the name that stands above them; equally
            many of one size.
        frames: at most, of a clip.
        scale: each pixel of a strip becomes `scale` x `scale` equal pixels.

    Raises:
        ValueError: there are no clips, or not equally many of one size.
    """
    shapes = {(len(videos), *videos.shape[2:]) for videos in sources.values()}
    if len(shapes) != 1 or any(videos.ndim != 5 for videos in sources.values()):
        raise ValueError(f"sources need equally many clips of one size, not {sorted(shapes)}")
    blocks = []
    for name, videos in sources.items():
        shown = videos[:, :frames]
        strips = [contact_sheet(video, scale=scale) for video in shown]
        gap = np.full((_GAP // 2, strips[0].shape[1], 3), 255, np.uint8)
        column = np.concatenate([part for strip in strips for part in (gap, strip)][1:])
        large = contact_sheet(shown[0, shown.shape[1] // 2][None])
        size = len(column) * large.shape[1] // large.shape[0]
        magnified = np.array(Image.fromarray(large).resize((size, len(column)), Image.Resampling.NEAREST))
        block = np.concatenate([column, np.full((len(column), _GAP, 3), 255, np.uint8), magnified], axis=1)
        blocks += [_label([name], block.shape[1], _LINE_HEIGHT), block]
    sheet = np.concatenate(blocks)
    return np.pad(sheet, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)


def labelled(videos: Tensor, captions: Sequence[str], *, scale: int = 1) -> Tensor:
    """Videos enlarged, each with its caption above it; without, where they are too narrow for words.

    Args:
        videos: `[batch, frame, channel, height, width]` in [0, 1].
        captions: one a video.
        scale: each pixel becomes `scale` x `scale` equal pixels.

    Returns:
        `[batch, frame, channel, height, width]` in [0, 1].
    """
    large = videos.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    width = large.shape[-1]
    if width < _NARROW:
        return large
    labels = torch.from_numpy(np.stack(_labels(captions, width))).float() / 255
    strips = labels.movedim(-1, 1)[:, None, : videos.shape[2]]
    return torch.cat([strips.expand(-1, videos.shape[1], -1, -1, -1), large], dim=-2)


def alignment(weights: Tensor, words: Sequence[str], *, cell: int = 28) -> Pixels:
    """How much each drawing step attends to each word: a row a word, a column a drawing step, dark where it attends.

    Args:
        weights: `[draw_step, word]`, 0 or more: `drawing.alignment[0]`. The largest is shown darkest.
        words: the caption's words, in order.
        cell: side of a weight's square, in pixels.

    Raises:
        ValueError: the shapes do not fit, or a weight is negative or not finite.
    """
    if weights.ndim != 2 or weights.shape[1] != len(words) or 0 in weights.shape:
        raise ValueError(f"weights [draw_step, word] are needed for {len(words)} words, not {list(weights.shape)}")
    values = weights.detach().float().cpu().numpy().T
    if not (np.isfinite(values).all() and values.min() >= 0):
        raise ValueError("alignment weights must be finite and 0 or more")
    shade = (values / max(float(values.max()), 1e-12))[..., None]
    squares = np.rint(255 + (np.array(_BLUE) - 255) * shade).astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    margin = int(max(_font().getlength(word) for word in words)) + 2 * _GAP
    names = [_label([word], margin, cell) for word in words]
    steps = [_label([str(step + 1)], cell, _LINE_HEIGHT) for step in range(len(weights))]
    corner = np.full((_LINE_HEIGHT, margin, 3), 255, np.uint8)
    return np.concatenate(
        [
            np.concatenate([corner, *steps], axis=1),
            np.concatenate([np.concatenate(names), squares], axis=1),
        ]
    )


def divergence_by_step(divergence: Tensor) -> Pixels:
    """What each drawing step adds to L_Z: a bar chart of KL in nats.

    Args:
        divergence: `[draw_step]`: `drawing.divergence_by_step[0]`, or its mean over clips.

    Raises:
        ValueError: the tensor has another shape.
        UserError: matplotlib is not installed.
    """
    if divergence.ndim != 1:
        raise ValueError(f"one number a drawing step is needed, not {list(divergence.shape)}: choose a clip or average")
    figure = _figure(6, 3.5)
    axes = figure.subplots()
    steps = np.arange(1, len(divergence) + 1)
    axes.bar(steps, divergence.detach().float().cpu().numpy(), color=np.array(_BLUE) / 255)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="drawing step", ylabel="KL (nats)", title="Divergence at each drawing step")
    return _rendered(figure)


def training_curves(metrics: Sequence[Mapping[str, float]], *, videos_per_step: int = 1) -> Pixels:
    """L_X, L_Z and their sum, while training and on held-out clips, over the videos seen; and what the judge saw in
    samples, where it was asked.

    Args:
        metrics: the lines of a run's `metrics.jsonl`: dictionaries with `step`, and `L_X`, `L_Z` or `validation_L_X`,
            `validation_L_Z`, in nats per video; other entries are passed over.
        videos_per_step: the batch size. With 1, the axis counts training steps.

    Raises:
        ValueError: no line has such entries.
        UserError: matplotlib is not installed.
    """
    curves = {
        label: np.array([(line["step"], line[f"{prefix}L_X"], line[f"{prefix}L_Z"]) for line in metrics
                         if {"step", f"{prefix}L_X", f"{prefix}L_Z"} <= line.keys()]).reshape(-1, 3)
        for label, prefix in (("training", ""), ("validation", "validation_"))
    }  # fmt: skip
    if not any(len(curve) for curve in curves.values()):
        raise ValueError("the metrics hold no L_X and L_Z: give the lines of a run's metrics.jsonl")
    judged = {
        title: np.array([(line["step"], line[name]) for line in metrics if {"step", name} <= line.keys()])
        for title, name in (
            ("samples: readable share", "readable_share"),
            ("samples: caption match", "caption_match"),
            ("samples: Frechet distance", "frechet_distance"),
        )
        if any(name in line for line in metrics)
    }
    figure = _figure(4 * (3 + len(judged)), 3.5)
    panels = figure.subplots(1, 3 + len(judged))
    colours = {"training": np.array(_BLUE) / 255, "validation": np.array(_RED) / 255}
    for label, curve in curves.items():
        seen, reconstruction, divergence = curve[:, 0] * videos_per_step, curve[:, 1], curve[:, 2]
        for panel, values in zip(panels[:3], (reconstruction, divergence, reconstruction + divergence), strict=True):
            if len(curve):
                panel.plot(seen, values, label=label, color=colours[label], marker="o" if len(curve) < 20 else None)
    for panel, values in zip(panels[3:], judged.values(), strict=True):
        panel.plot(values[:, 0] * videos_per_step, values[:, 1], color=colours["validation"], marker="o")
        panel.axhline(0, linewidth=0)  # so that the margin above is one of the whole range
        panel.set_ylim(bottom=0)
    for panel, title in zip(panels, ("L_X", "L_Z", "L_X + L_Z", *judged), strict=True):
        panel.set(title=title, xlabel="videos seen" if videos_per_step > 1 else "training step")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("nats per video")
    panels[0].legend()
    return _rendered(figure)


def _figure(width: float, height: float) -> Any:
    """A matplotlib figure of its own, `width` x `height` hundred pixels, which leaves pyplot's state alone."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("curves are drawn by matplotlib: pip install 'syncdraw[plots]'") from error
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _rendered(figure: Any) -> Pixels:
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3].copy()


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT_SIZE)


def _labels(texts: Sequence[str], width: int) -> list[Pixels]:
    """Texts, broken into lines, as pictures of one height."""
    letters = max(1, int(width / _font().getlength("n")))
    broken = [textwrap.wrap(text, letters) for text in texts]
    lines = max(len(text) for text in broken)
    return [_label([""] * (lines - len(text)) + text, width, lines * _LINE_HEIGHT) for text in broken]


def _label(lines: Sequence[str], width: int, height: int) -> Pixels:
    """Black text on white, centred from top to bottom; what does not fit is cut off."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    top = (height - len(lines) * _LINE_HEIGHT) // 2
    for number, line in enumerate(lines):
        draw.text((_GAP // 2, top + number * _LINE_HEIGHT), line, fill="black", font=_font())
    return np.array(picture)
