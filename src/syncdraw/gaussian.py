"""Diagonal Gaussians as a pair of tensors, so that a drawing step takes and gives tensors alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Pixel coordinates, divergences and losses need float32 also where autocast works in bfloat16."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class Gaussian(NamedTuple):
    """N(mean, deviation^2), each number for itself."""

    mean: Float[Tensor, "*shape"]
    deviation: Float[Tensor, "*shape"]

    def at(self, noise: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sample that standard normal noise makes."""
        return self.mean + self.deviation * noise

    def log_prob(self, value: Float[Tensor, "*value"]) -> Float[Tensor, "*broadcast"]:
        """Of each number, nats."""
        scaled = (value - self.mean) / self.deviation
        return -0.5 * scaled.square() - self.deviation.log() - 0.5 * math.log(2 * math.pi)

    def divergence_from(self, other: Gaussian) -> Float[Tensor, "*shape"]:
        """KL(self || other) of each number, nats."""
        ratio = (self.deviation / other.deviation).square()
        apart = ((self.mean - other.mean) / other.deviation).square()
        return 0.5 * (ratio + apart - 1 - ratio.log())


def gaussian(mean: Tensor, log_deviation: Tensor) -> Gaussian:
    """From the mean and the logarithm of the standard deviation."""
    # exp(+-10) is beyond any use; the limit keeps a diverging run from producing NaN.
    return Gaussian(at_least_float32(mean), at_least_float32(log_deviation).clamp(-10, 10).exp())


def choose(log_weights: Float[Tensor, "*batch choice"], noise: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """One of several things for each of a batch, by their probabilities, from standard normal noise."""
    uniform = torch.special.ndtr(noise)
    passed = (log_weights.exp().cumsum(dim=-1) < uniform[:, None]).sum(dim=1)
    return passed.clamp(max=log_weights.shape[-1] - 1)  # where rounding leaves the sum below 1


NEIGHBOURS = 16
"""Items whose numbers are drawn at once. One by one, threads that draw would wait for each other all the time; all at
once, each of several processes would draw everybody's numbers."""


def normal_numbers(seed: int, first: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers for some items of a long row, `[count, *shape]`.

    An item's numbers depend on the seed and its place alone, and not on which others are asked for.

    Args:
        first: the place of the first item.
    """
    groups = range(first // NEIGHBOURS, -(-(first + count) // NEIGHBOURS))
    drawn = []
    for group in groups:
        mixed = np.random.SeedSequence((seed, group)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0] >> np.uint64(1)))
        drawn.append(torch.randn(NEIGHBOURS, *shape, generator=generator))
    before = first - groups.start * NEIGHBOURS
    return torch.cat(drawn)[before : before + count]
