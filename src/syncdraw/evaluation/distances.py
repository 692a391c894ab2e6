"""How far sets of clips are from each other: Frechet and kernel distances, precision and recall, the nearest clip.

The distances on features take one row for each clip, `[clip, feature]`, from whatever network; their sums run in
float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from syncdraw.errors import UserError

NEIGHBOURS = 5
"""As Naeem et al. 2020."""

_ROWS = 1_000  # of a matrix of pairs that are in memory at once


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


def neighbourhoods(real: Tensor, samples: Tensor, neighbours: int = NEIGHBOURS) -> Neighbourhoods:
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


@torch.no_grad()
def nearest(queries: Tensor, others: Iterable[Tensor]) -> Tensor:
    """From each query to the nearest of the others: the root mean square difference of pixels in [0, 1], `[query]`.

    Args:
        queries: `[query, ...]`: clips or glyphs, uint8, or floats in [0, 1].
        others: batches of `[batch, ...]`, one in memory at a time.
    """
    best = torch.full((len(queries),), torch.inf)
    for batch in others:
        other = unit(batch).flatten(1)
        for rows, found in zip(queries.split(_ROWS // 2), best.split(_ROWS // 2), strict=True):
            query = unit(rows).flatten(1)
            # Products find the nearest quickly, and roughly; its distance is then taken exactly.
            rough = torch.addmm(other.square().sum(dim=1), query, other.T, alpha=-2)
            square, which = rough.min(dim=1)
            nearer = (square + query.square().sum(dim=1)) / query.shape[1] < found
            exact = (query[nearer] - other[which[nearer]]).square().mean(dim=1)
            found[nearer] = torch.minimum(found[nearer], exact)  # `found` is a view of `best`
    return best.sqrt()


def unit(pixels: Tensor) -> Tensor:
    """uint8 pixels, or floats in [0, 1], as floats in [0, 1]."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
