"""Samples against real clips: what `syncdraw evaluate --distances` prints.

Distances are in the judge's features (which does not give an FVD), in pixels, and, where its weights are at hand, in
those of I3D (which does).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from syncdraw.datasets.bouncing_mnist import SPEED
from syncdraw.datasets.clips import Dataset
from syncdraw.datasets.idx import GLYPH_SIZE
from syncdraw.errors import UserError
from syncdraw.evaluation.bounds import batches
from syncdraw.evaluation.distances import (
    NEIGHBOURS,
    Neighbourhoods,
    frechet_distance,
    kernel_distance,
    nearest,
    neighbourhoods,
    unit,
)
from syncdraw.evaluation.finding import Search
from syncdraw.evaluation.i3d import I3D, I3D_SIZE
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.models import DrawingModel
from syncdraw.evaluation.readings import Part, Reading, clip_features
from syncdraw.evaluation.reports import Report, data_of
from syncdraw.evaluation.samples import sample_batches
from syncdraw.evaluation.stories import Digits, search_for

ENOUGH = 2_000
"""Clips in each set below which a Frechet distance says as much about their number as about the model."""


def distance_report(
    model: DrawingModel,
    card: dict[str, Any],
    *,
    data: str | None,
    samples: int | None,
    seed: int,
    temperature: float = 1.0,
    i3d: Path | None = None,
) -> Report:
    """Samples against real test clips, beside other real test clips against the same ones.

    Three sets of as many clips: the first of the test split (the reference), the next, and samples for the reference's
    captions. Models of Bouncing MNIST and of MNIST stories are measured in the judge's features, too, and those that
    draw from captions and were trained on the hard split twice: for seen captions and for unseen ones.

    Args:
        samples: clips in each set; 2,000 unless given, or half of the test split where that is less.
        temperature: of the samples, as in `SyncDraw.generate`.
        i3d: I3D as a TorchScript file, for FVD.

    Raises:
        UserError: there are too few clips, the data do not suit the model, or the file is not I3D.
    """
    network = I3D(i3d) if i3d is not None else None
    test, train = data_of(card, data, "test"), data_of(card, data, "train")
    least, most = NEIGHBOURS + 1, len(test) // 2
    if most < least:
        raise UserError(f"distances need {2 * least} test clips or more, and there are {len(test)}")
    count = min(ENOUGH, most) if samples is None else samples
    if not least <= count <= most:
        raise UserError(f"samples is {count}; it must be from {least} to {most}, half of the test clips")
    if test.shape != model.shape:
        raise UserError(f"the model draws clips of shape {model.shape}, and these data have {test.shape}")
    trained_on = len(train) or 12_000
    lines = [f"{count:,} samples at temperature {temperature:g} and twice {count:,} real test clips, seed {seed}"]
    if count < ENOUGH:
        lines.append(f"fewer than {ENOUGH:,} clips: Frechet distances come out larger; compare at equal counts only")
    values: dict[str, Any] = {
        "samples": count, "seed": seed, "temperature": temperature, "training_clips": trained_on,
    }  # fmt: skip
    kinds = [""]
    if isinstance(test, Digits):
        hard = model.captioned and test.config.combinations == "seen"
        kinds = ["seen", "unseen"] if hard else [test.config.combinations]
    for kind in kinds:
        real = data_of(card, data, "test", **({"combinations": kind} if kind else {}))
        reference = real.take(np.arange(count))
        sets = {
            "samples": _draw(model, reference.captions or [""] * count, seed, temperature),
            "real": torch.from_numpy(real.take(np.arange(count, 2 * count)).videos),
            "reference": torch.from_numpy(reference.videos),
        }
        rows: dict[str, Row] = {}
        if isinstance(train, Digits):
            rows |= _judge(sets, train, search_for(reference))
        if network is not None:
            features = {
                name: torch.cat([network.features(part) for part in _progress(videos.split(8), f"I3D, {name}")])
                for name, videos in sets.items()
            }
            rows["FVD"] = _frechet_row(features)
        to_training = {
            name: nearest(sets[name], _training_videos(train, trained_on, name)) for name in ("samples", "reference")
        }
        rows["nearest training clip"] = _nearest_row(to_training)
        name = f"{kind} captions" if kind else "all clips"
        values[name] = rows
        lines += ["", f"{name:<38}  samples            real               ratio"]
        lines += [_line(label, row) for label, row in rows.items()]
    lines += [
        "",
        "real: other test clips against the same reference; for what is nearest, the reference's distance to training.",
        "ratio: of samples to real, so 1 is as good as real.",
        f"nearest: root mean square of pixels in [0, 1], to {trained_on:,} training clips; or of glyphs, wherever in a",
        "clip they are, to all training glyphs. A copy is 0 away; blur brings samples nearer than real clips, too.",
    ]
    if isinstance(test, Digits):
        lines += [
            "Frechet and kernel distances are squared, and in the judge's features: no FVD. A kernel distance is 0 on",
            "average for real clips, so its ratio is to the standard error (+-) of real. precision, recall, density,",
            f"coverage: of neighbourhoods that reach to {NEIGHBOURS} others of the same set.",
        ]
    if network is not None:
        frames, _, height, width = test.shape
        values["i3d"] = {
            "file": network.path.name,
            "sha256": network.checksum,
            "clips": count,
            "frames": frames,
            "resolution": [height, width],
            "resized_to": [I3D_SIZE, I3D_SIZE],
            "resizing": "bilinear",
        }
        lines.append(
            f"FVD: I3D from {network.path.name} (SHA-256 {network.checksum}), {count:,} clips against {count:,}, "
            f"{frames} frames of {height} x {width}, resized to {I3D_SIZE} x {I3D_SIZE} (bilinear)."
        )
    return Report("\n".join(lines), values)


Row = dict[str, float | None]
"""What was measured of samples and of real clips, and their ratio: None where it has no meaning."""


def _judge(sets: dict[str, Tensor], train: Digits, search: type[Search]) -> dict[str, Row]:
    """The rows that need the judge."""
    judge, config = Judge.load(), train.config
    features: dict[Part, dict[str, Tensor]] = {part: {} for part in get_args(Part)}
    glyphs: dict[str, Tensor] = {}
    for name, videos in sets.items():
        found, parts = [], []
        for part in _progress(videos.split(100), f"judging, {name}"):
            reading = judge.read(unit(part), config.digits, SPEED, search)
            found.append(steady_glyphs(part, reading).flatten(0, 1))
            parts.append([clip_features(reading, what) for what in features])
        if name != "real":
            glyphs[name] = torch.cat(found)
        for what, rows in zip(features, zip(*parts, strict=True), strict=True):
            features[what][name] = torch.cat(rows)
    result = {f"Frechet distance, {what}": _frechet_row(of) for what, of in features.items()}
    for what, of in features.items():
        drawn, real = (kernel_distance(of["reference"], of[name]) for name in ("samples", "real"))
        result[f"kernel distance, {what}"] = {
            "samples": drawn.value,
            "samples_standard_error": drawn.standard_error,
            "real": real.value,
            "real_standard_error": real.standard_error,
            "ratio": _ratio(drawn.value, real.standard_error),
        }
    both = features["digits and motion"]
    near, near_real = (neighbourhoods(both["reference"], both[name]) for name in ("samples", "real"))
    for field in Neighbourhoods._fields:
        result[field] = _row(getattr(near, field), getattr(near_real, field))
    images = torch.tensor(train.glyphs.images).split(5_000)
    result["nearest training glyph"] = _nearest_row({name: nearest(found, images) for name, found in glyphs.items()})
    return result


def _draw(model: DrawingModel, captions: list[str], seed: int, temperature: float) -> Tensor:
    """Samples as a file would hold them, uint8: so are the real clips, and it is a quarter of the memory."""
    drawn = sample_batches(model, captions, seed, temperature)
    return torch.cat([(255 * videos).round().to(torch.uint8) for videos in drawn])


def _training_videos(train: Dataset, count: int, name: str) -> Iterator[Tensor]:
    size = 500
    for batch in _progress(batches(train, count, size), f"nearest, {name}", math.ceil(count / size)):
        yield torch.from_numpy(batch.videos)


T = TypeVar("T")


def _progress(steps: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """The steps, under a progress bar where they take more than 2 seconds."""
    yield from tqdm(steps, desc=what, total=total, unit="batch", delay=2, leave=False)


def _frechet_row(features: dict[str, Tensor]) -> Row:
    return _row(*(frechet_distance(features["reference"], features[name]) for name in ("samples", "real")))


def _nearest_row(found: dict[str, Tensor]) -> Row:
    return _row(*(found[name].mean().item() for name in ("samples", "reference")))


def _row(samples: float, real: float) -> Row:
    return {"samples": samples, "real": real, "ratio": _ratio(samples, real)}


def _ratio(samples: float, real: float) -> float | None:
    return samples / real if real > 0 else None


def _line(label: str, row: Row) -> str:
    cells = []
    for name in ("samples", "real"):
        error = row.get(f"{name}_standard_error")
        cells.append(f"{row[name]:.4g}" + (f" +- {error:.2g}" if error is not None else ""))
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3g}"
    return f"{label:<38}  {cells[0]:<17}  {cells[1]:<17}  {ratio}"


def steady_glyphs(videos: Tensor, reading: Reading) -> Tensor:
    """The glyphs that the judge found, `[clip, glyph, 28, 28]` in [0, 1]: each pixel's median over the frames.

    The crops move with the glyph, so where it was does not matter, and what passes by does not stay.

    Args:
        videos: `[clip, frame, channel, height, width]`, uint8 or in [0, 1], of which `reading` is the judge's.
    """
    edge = GLYPH_SIZE // 2  # a generated glyph may be half out of the frame
    wide = functional.pad(unit(videos).mean(dim=2), (edge,) * 4)
    windows = wide.unfold(2, GLYPH_SIZE, 1).unfold(3, GLYPH_SIZE, 1)
    limits = torch.tensor(windows.shape[2:4]) - 1
    corners = torch.minimum((reading.positions.round().long() + edge).clamp(min=0), limits)
    clip, frame = torch.arange(len(wide))[:, None, None], torch.arange(wide.shape[1])
    return windows[clip, frame, corners[..., 0], corners[..., 1]].median(dim=2).values
