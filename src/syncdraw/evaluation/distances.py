"""How far samples are from real clips: Frechet and kernel distances, precision and recall, the nearest training clip.

The distances on features take one row for each clip, `[clip, feature]`, from whatever network; their sums run in
float64. `distance_report` measures a model with them, in the judge's features (which does not give an FVD), in pixels,
and, where its weights are at hand, in those of I3D (which does).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from syncdraw.datasets.bouncing_mnist import SPEED, BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.clips import Clips, Dataset
from syncdraw.datasets.idx import GLYPH_SIZE
from syncdraw.errors import UserError
from syncdraw.evaluation.bounds import batches
from syncdraw.evaluation.captions import sample_batches
from syncdraw.evaluation.reports import Report, data_of
from syncdraw.evaluation.judge import Judge, Reading, caption_fidelity, glyph_features, readable_share
from syncdraw.model import SyncDraw

ENOUGH = 2_000
"""Clips in each set below which a Frechet distance says as much about their number as about the model."""

_ROWS = 1_000  # of a matrix of pairs that are in memory at once
_NEIGHBOURS = 5  # as Naeem et al. 2020


# --- Distances between features --------------------------------------------------------------------------------------


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """The Frechet distance (squared, as is the custom) of Gaussians fitted to features `[clip, feature]`.

    It is biased upwards, the more so the fewer clips there are: compare at equal counts. There may be fewer clips than
    features. Heusel et al. 2017 (FID), Unterthiner et al. 2018 (FVD).

    Raises:
        UserError: a set has fewer than 2 clips, or the two have other features.
    """
    first, second = _checked(first, second, 2)
    covariances = (torch.atleast_2d(features.T.cov()) for features in (first, second))
    return gaussian_distance(first.mean(dim=0), next(covariances), second.mean(dim=0), next(covariances))


def gaussian_distance(first_mean: Tensor, first: Tensor, second_mean: Tensor, second: Tensor) -> float:
    """The squared Frechet distance of two Gaussians: means `[feature]`, covariances `[feature, feature]`.

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2 (Dowson and Landau 1982, eq 16).
    """
    first, second = first.double(), second.double()
    # With R the symmetric roots, R1 S2 R1 = (R1 R2)(R1 R2)': the roots of its eigenvalues are the singular values of
    # R1 R2, which rounding errors harm less, for no small number is squared and its root taken again.
    between = torch.linalg.svdvals(_root(first) @ _root(second)).sum()
    distance = (first_mean.double() - second_mean.double()).square().sum()
    return (distance + first.trace() + second.trace() - 2 * between).clamp(min=0).item()


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    standard_error: float


def kernel_distance(first: Tensor, second: Tensor) -> Estimate:
    """The squared maximum mean discrepancy of features `[clip, feature]`, for the kernel (x.y / features + 1)^3.

    The unbiased estimate over all pairs: 0 on average where both sets have the same distribution, so it may be
    negative. KID of Binkowski et al. 2018, in other features. The standard error is that of the estimate's linear part
    (Hoeffding), which is all of it for large sets.

    Raises:
        UserError: a set has fewer than 2 clips, or the two have other features.
    """
    first, second = _checked(first, second, 2)
    pulls = []  # each clip's mean kernel to its own set less that to the other
    value = 0.0
    for own, other in ((first, second), (second, first)):
        own_sum = _kernel_sums(own, own) - (own.square().mean(dim=1) + 1) ** 3
        pulls.append(own_sum / (len(own) - 1) - _kernel_sums(own, other) / len(other))
        value += pulls[-1].mean().item()
    variance = sum(4 * pull.var().item() / len(pull) for pull in pulls)
    return Estimate(value, variance**0.5)


def _kernel_sums(rows: Tensor, columns: Tensor) -> Tensor:
    """The sum of the kernel of each row with all columns, `[row]`."""
    return torch.cat([((x @ columns.T / columns.shape[1] + 1) ** 3).sum(dim=1) for x in rows.split(_ROWS)])


class Neighbourhoods(NamedTuple):
    """Shares of samples and of real clips that lie near each other; all but `density` from 0 to 1.

    Attributes:
        precision: samples in the neighbourhood of some real clip: are samples like real clips?
        recall: real clips in the neighbourhood of some sample: are all kinds of real clips drawn? (Both: Kynkaanniemi
            et al. 2019.)
        density: in how many real neighbourhoods a sample lies, over `neighbours`; 1 on average for real clips. One real
            clip far from the others does not spoil it.
        coverage: real clips with a sample in their neighbourhood; 1 - 2^-neighbours or so for real clips. (Both: Naeem
            et al. 2020.)
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(real: Tensor, samples: Tensor, neighbours: int = _NEIGHBOURS) -> Neighbourhoods:
    """Precision, recall, density and coverage of samples in features `[clip, feature]`.

    The neighbourhood of a clip is the ball that reaches to the nearest but `neighbours` - 1 of its own set, itself not
    counted.

    Raises:
        UserError: a set has no more clips than `neighbours`, or the two have other features.
    """
    real, samples = _checked(real, samples, neighbours + 1)
    real_radius, sample_radius = _radius(real, neighbours), _radius(samples, neighbours)
    surrounding = torch.cat([(_pairs(x, real) <= real_radius).sum(dim=1) for x in samples.split(_ROWS)])
    to_samples = [_pairs(x, samples) for x in real.split(_ROWS)]
    return Neighbourhoods(
        precision=(surrounding > 0).double().mean().item(),
        recall=torch.cat([(x <= sample_radius).any(dim=1) for x in to_samples]).double().mean().item(),
        density=surrounding.double().mean().item() / neighbours,
        coverage=(torch.cat([x.amin(dim=1) for x in to_samples]) <= real_radius).double().mean().item(),
    )


def _pairs(rows: Tensor, columns: Tensor) -> Tensor:
    # By differences, not by products: equal rows are exactly 0 apart, and the order of a pair does not count.
    return torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist")


def _radius(features: Tensor, neighbours: int) -> Tensor:
    return torch.cat([_pairs(x, features).kthvalue(neighbours + 1, dim=1).values for x in features.split(_ROWS)])


def _checked(first: Tensor, second: Tensor, least: int) -> tuple[Tensor, Tensor]:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise UserError(
            f"features must be [clip, feature], as many in both sets, not {list(first.shape)} and {list(second.shape)}"
        )
    if min(len(first), len(second)) < least:
        raise UserError(f"there are {len(first)} and {len(second)} clips, where this distance needs {least} or more")
    return first.double(), second.double()


# --- The nearest training clip ---------------------------------------------------------------------------------------


@torch.no_grad()
def nearest(queries: Tensor, others: Iterable[Tensor]) -> Tensor:
    """From each query to the nearest of the others: the root mean square difference of pixels in [0, 1], `[query]`.

    Args:
        queries: `[query, ...]`: clips or glyphs, uint8, or floats in [0, 1].
        others: batches of `[batch, ...]`, one in memory at a time.
    """
    best = torch.full((len(queries),), torch.inf)
    for batch in others:
        other = _unit(batch).flatten(1)
        for rows, found in zip(queries.split(_ROWS // 2), best.split(_ROWS // 2), strict=True):
            query = _unit(rows).flatten(1)
            # Products find the nearest quickly, and roughly; its distance is then taken exactly.
            rough = torch.addmm(other.square().sum(dim=1), query, other.T, alpha=-2)
            square, which = rough.min(dim=1)
            nearer = (square + query.square().sum(dim=1)) / query.shape[1] < found
            exact = (query[nearer] - other[which[nearer]]).square().mean(dim=1)
            found[nearer] = torch.minimum(found[nearer], exact)  # `found` is a view of `best`
    return best.sqrt()


def _unit(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


# --- What is compared ------------------------------------------------------------------------------------------------


Part = Literal["digits and motion", "digits", "motion"]


def clip_features(reading: Reading, part: Part = "digits and motion") -> Tensor:
    """One row for each clip: the judge's `glyph_features`, one glyph after the other, `[clip, glyph * (68, 65 or 3)]`.

    The glyphs come in ascending order of the digit that they show (its mean, so that it has hardly ever ties), whatever
    the order in which the judge found them, and each keeps its own motion.
    """
    shown = (reading.log_probabilities.double().exp() @ torch.arange(10.0, dtype=torch.float64)).mean(dim=2)
    batch, glyphs = shown.shape
    rows = glyph_features(reading).view(batch, glyphs, -1)
    rows = rows[torch.arange(batch)[:, None], shown.argsort(dim=1)]
    digits = reading.features.shape[-1] + 1  # and how much they change
    columns = {"digits and motion": slice(None), "digits": slice(digits), "motion": slice(digits, None)}
    return rows[..., columns[part]].flatten(1)


def steady_glyphs(videos: Tensor, reading: Reading) -> Tensor:
    """The glyphs that the judge found, `[clip, glyph, 28, 28]` in [0, 1]: each pixel's median over the frames.

    The crops move with the glyph, so where it was does not matter, and what passes by does not stay.

    Args:
        videos: `[clip, frame, channel, height, width]`, uint8 or in [0, 1], of which `reading` is the judge's.
    """
    edge = GLYPH_SIZE // 2  # a generated glyph may be half out of the frame
    wide = functional.pad(_unit(videos).mean(dim=2), (edge,) * 4)
    windows = wide.unfold(2, GLYPH_SIZE, 1).unfold(3, GLYPH_SIZE, 1)
    limits = torch.tensor(windows.shape[2:4]) - 1
    corners = torch.minimum((reading.positions.round().long() + edge).clamp(min=0), limits)
    clip, frame = torch.arange(len(wide))[:, None, None], torch.arange(wide.shape[1])
    return windows[clip, frame, corners[..., 0], corners[..., 1]].median(dim=2).values


# --- FVD, with I3D from a file ---------------------------------------------------------------------------------------

I3D_SIZE = 224


class I3D:
    """The network whose features make a Frechet distance an FVD, as a TorchScript file: `i3d_torchscript.pt`, say.

    It is called with videos `[batch, 3, frame, 224, 224]` in [-1, 1], and, as far as it has such arguments, with
    rescale=False, resize=False and return_features=True (as StyleGAN-V, Skorokhodov et al. 2022, does).

    Args:
        path: the file.

    Attributes:
        checksum: the first 12 digits of the file's SHA-256, for there are several I3D.

    Raises:
        UserError: the file is missing, or is not TorchScript.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self.checksum = hashlib.file_digest(file, "sha256").hexdigest()[:12]
            self.network = torch.jit.load(str(path), map_location="cpu").eval()
            known = {argument.name for argument in self.network.forward.schema.arguments}
        except OSError as error:
            raise UserError(f"--i3d {path} cannot be read: {error.strerror or error}") from None
        except (RuntimeError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"--i3d {path} is not a network in TorchScript ({reason})") from None
        self.path = path
        wanted = {"rescale": False, "resize": False, "return_features": True}
        self.options = {name: value for name, value in wanted.items() if name in known}

    @torch.no_grad()
    def features(self, videos: Tensor) -> Tensor:
        """Features `[clip, feature]` of `[clip, frame, channel, height, width]`, uint8 or in [0, 1].

        Frames are resized to 224 x 224, bilinearly, and grey is repeated to three channels; frames are neither repeated
        nor left out.

        Raises:
            UserError: the network cannot be called so, or gives anything but finite numbers `[clip, feature]`.
        """
        batch, frames, channels, *size = videos.shape
        flat = _unit(videos).reshape(batch * frames, channels, *size)
        resized = functional.interpolate(flat, (I3D_SIZE, I3D_SIZE), mode="bilinear", align_corners=False)
        seen = (2 * resized - 1).expand(-1, 3, -1, -1).unflatten(0, (batch, frames)).transpose(1, 2)
        try:
            features = self.network(seen, **self.options)
        except (RuntimeError, torch.jit.Error) as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"--i3d {self.path} cannot look at videos {list(seen.shape)} ({reason})") from None
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != batch:
            got = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UserError(f"--i3d {self.path} must give features [clip, feature] of {batch} clips, not {got}")
        if not features.isfinite().all():
            raise UserError(f"--i3d {self.path} gives features that are not finite")
        return features


# --- What `syncdraw evaluate --distances` prints ---------------------------------------------------------------------


def distance_report(
    model: SyncDraw,
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
    captions. Models of Bouncing MNIST are measured in the judge's features, too, and those that draw from captions and
    were trained on the hard split twice: for seen captions and for unseen ones.

    Args:
        samples: clips in each set; 2,000 unless given, or half of the test split where that is less.
        temperature: of the samples, as in `SyncDraw.generate`.
        i3d: I3D as a TorchScript file, for FVD.

    Raises:
        UserError: there are too few clips, the data do not suit the model, or the file is not I3D.
    """
    network = I3D(i3d) if i3d is not None else None
    test, train = data_of(card, data, "test"), data_of(card, data, "train")
    least, most = _NEIGHBOURS + 1, len(test) // 2
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
    if isinstance(test, BouncingMNIST):
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
        if isinstance(train, BouncingMNIST):
            rows |= _judge(sets, train)
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
    if isinstance(test, BouncingMNIST):
        lines += [
            "Frechet and kernel distances are squared, and in the judge's features: no FVD. A kernel distance is 0 on",
            "average for real clips, so its ratio is to the standard error (+-) of real. precision, recall, density,",
            f"coverage: of neighbourhoods that reach to {_NEIGHBOURS} others of the same set.",
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


class Scorer:
    """What the judge sees in samples while a model is trained: they are drawn for the captions of held-out clips.

    Args:
        clips: two or more, with captions.
        config: of the data set that they are from.
    """

    def __init__(self, clips: Clips, config: BouncingMNISTConfig) -> None:
        self.judge, self.config = Judge.load(), config
        self.captions = clips.captions or []
        self.real = clip_features(self._read(_unit(torch.from_numpy(clips.videos))))

    def scores(self, model: SyncDraw, seed: int = 0) -> dict[str, float]:
        """Their readable share, their Frechet distance to the clips, and the share that shows what the caption says.

        The distance is biased by the number of clips: compare it along a run, not with `distance_report`.
        """
        reading = self._read(torch.cat(list(sample_batches(model, self.captions, seed))))
        scores = {
            "readable_share": readable_share(reading),
            "frechet_distance": frechet_distance(self.real, clip_features(reading)),
        }
        if model.captioned:
            scores["caption_match"] = caption_fidelity(reading, self.captions)["caption_match"]
        return scores

    def _read(self, videos: Tensor) -> Reading:
        return self.judge.read(videos, self.config.digits, SPEED)


Row = dict[str, float | None]
"""What was measured of samples and of real clips, and their ratio: None where it has no meaning."""


def _judge(sets: dict[str, Tensor], train: BouncingMNIST) -> dict[str, Row]:
    """The rows that need the judge."""
    judge, config = Judge.load(), train.config
    features: dict[Part, dict[str, Tensor]] = {part: {} for part in get_args(Part)}
    glyphs: dict[str, Tensor] = {}
    for name, videos in sets.items():
        found, parts = [], []
        for part in _progress(videos.split(100), f"judging, {name}"):
            reading = judge.read(_unit(part), config.digits, SPEED)
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


def _draw(model: SyncDraw, captions: list[str], seed: int, temperature: float) -> Tensor:
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
