"""P(X | Z): how likely a finished canvas makes a video. What that costs, in nats, is L_X (v2 section 3.1.5).

The papers' is `Bernoulli`; `DiscretisedLogistic` is ours.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from syncdraw import native

BIN = 1 / 255
"""From one of the 256 levels of a pixel to the next, where white is 1."""

Pixels = Float[Tensor, "batch frame channel height width"]


@runtime_checkable  # for the type checks in the tests
class Likelihood(Protocol):
    """A module that is called with a canvas and with the videos that it is to show."""

    def __call__(self, logits: Pixels, videos: Pixels) -> Float[Tensor, " batch"]:
        """-log P(videos | canvas), nats per video; the canvas in logits, videos in [0, 1]."""


class Bernoulli(nn.Module):
    """Each pixel is 1 with probability sigma(c), and 0 otherwise (the papers').

    A grey pixel counts as so much of the one and so much of the other. Then no canvas makes it certain: what remains is
    the entropy of the targets.
    """

    def forward(self, logits: Pixels, videos: Pixels) -> Float[Tensor, " batch"]:
        if native.suits(logits, videos):
            return native.CrossEntropy.apply(logits, videos)  # type: ignore[no-untyped-call]
        return functional.binary_cross_entropy_with_logits(logits, videos, reduction="none").flatten(1).sum(dim=1)


class DiscretisedLogistic(nn.Module):
    """Each pixel is one of 256 levels: the bins of a logistic distribution with mean sigma(c) (ours).

    The bins are those of PixelCNN++ (Salimans et al. 2017); its scale is one learned number for each channel, as in
    sigma-VAE (Rybkin et al. 2021). It grows as narrow as drawings are exact, so that L_X never stops to ask for more.

    Args:
        channels: of the video.
    """

    SPEED = 10
    """The scale has so many times the learning rate: it has to keep up with drawings that grow exact."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slow_log_scale = nn.Parameter(torch.full((channels, 1, 1), math.log(0.05) / self.SPEED))

    @property
    def log_scale(self) -> Float[Tensor, "channel 1 1"]:
        """The logarithm of the scale, in units of white."""
        return self.SPEED * self.slow_log_scale

    @torch.no_grad()
    def fit(self, means: Float[Tensor, "*any channel height width"], levels: Pixels) -> None:
        """Begin at the scales with which these means make these levels most likely."""
        for channel, slow in enumerate(self.slow_log_scale):
            slow.fill_(fitted_log_scale(means[..., channel, :, :], levels[..., channel, :, :]) / self.SPEED)

    def forward(self, logits: Pixels, videos: Pixels) -> Float[Tensor, " batch"]:
        return level_costs(logits.sigmoid(), videos, self.log_scale).flatten(1).sum(dim=1)


def level_costs(means: Tensor, levels: Tensor, log_scale: Tensor) -> Tensor:
    """-log of what a logistic distribution has in the bin of each level, nats. The outer bins have its tails, too."""
    narrowness = torch.exp(-log_scale)
    off = levels - means
    # sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - e^(b - a)), and a - b, a bin, is as wide everywhere.
    under = functional.softplus(-(off + BIN / 2) * narrowness)
    over = functional.softplus((off - BIN / 2) * narrowness)
    inside = torch.log(-torch.expm1(-BIN * narrowness))
    black, white = levels < BIN / 2, levels > 1 - BIN / 2
    return torch.where(black, under, torch.where(white, over, under + over - inside))


def fitted_log_scale(means: Tensor, levels: Tensor) -> Tensor:
    """The logarithm of the scale with which logistic distributions of these means make levels most likely."""
    low, high = math.log(1e-3), 0.0
    for _ in range(20):
        third = (high - low) / 3
        below, above = (level_costs(means, levels, means.new_tensor(end)).sum() for end in (low + third, high - third))
        low, high = (low, high - third) if below < above else (low + third, high)
    return means.new_tensor((low + high) / 2)
