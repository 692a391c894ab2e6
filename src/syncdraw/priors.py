"""P(Z^t), from which z^t is drawn when there is no video to encode.

A prior is a distribution for each drawing step, trained with the model. `NoiseFlow` is fitted afterwards.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from syncdraw.attention import at_least_float32


def normal(mean: Tensor, log_deviation: Tensor) -> Normal:
    """A diagonal Gaussian from its mean and the logarithm of its standard deviation."""
    # exp(+-10) is beyond any use; the limit keeps a diverging run from producing NaN.
    deviation = at_least_float32(log_deviation).clamp(-10, 10).exp()
    return Normal(at_least_float32(mean), deviation, validate_args=False)


class StandardPrior(nn.Module):
    """N(0, I) at every drawing step (v2 section 3.1.5)."""

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]) -> Normal:
        zeros = h_dec.new_zeros(len(h_dec), self.latent_size)
        return normal(zeros, zeros)


class CaptionPrior(nn.Module):
    """mu = tanh(W_mu h_dec^{t-1}), sigma = exp(tanh(W_sigma h_dec^{t-1})) (v1 section 3.3)."""

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        self.mean = nn.Linear(hidden_size, latent_size, bias=False)
        self.log_deviation = nn.Linear(hidden_size, latent_size, bias=False)

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]) -> Normal:
        return normal(self.mean(h_dec).tanh(), self.log_deviation(h_dec).tanh())


class NetworkPrior(nn.Module):
    """A small network of h_dec^{t-1} and the caption, begun at N(0, I) (ours).

    Its mean and deviation are not bounded as v1's are, so it can follow the posterior wherever that goes.
    """

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(hidden_size + caption_size, 512), nn.SiLU(), nn.Linear(512, 2 * latent_size)
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]) -> Normal:
        mean, log_deviation = self.layers(torch.cat([h_dec, caption], dim=1)).chunk(2, dim=1)
        return normal(mean, log_deviation)


PRIORS = {"standard": StandardPrior, "caption": CaptionPrior, "network": NetworkPrior}


class NoiseFlow(nn.Module):
    """Bends standard normal noise into the noise that draws videos like those of the training data (ours).

    The posterior of a real video gives z^1..z^T. Seen from the prior, each is loc + scale * e^t, and were the prior
    perfect, the e's of all videos would be standard normal. They are not quite, over the steps together, and samples
    suffer from it. This is a rectified flow (Liu, Gong and Liu 2023) from normal noise to those e's, fitted when the
    model is trained. It begins as the identity.

    Args:
        size: draw_steps x latent_size.
        width: of its three hidden layers.
    """

    steps = 25
    """Of Heun's method from noise to noise."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(size + 32, width)
        self.hidden = nn.ModuleList(nn.Linear(width + 32, width) for _ in range(2))
        self.last = nn.Linear(width, size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def velocity(self, x: Float[Tensor, "batch size"], time: Float[Tensor, " batch"]) -> Float[Tensor, "batch size"]:
        """Where the noise x moves to at this time, 0 to 1."""
        frequencies = torch.arange(1, 17, device=x.device, dtype=x.dtype) * (math.pi / 2)
        angles = time[:, None] * frequencies
        clock = torch.cat([angles.sin(), angles.cos()], dim=1)
        h = nn.functional.silu(self.first(torch.cat([x, clock], dim=1)))
        for layer in self.hidden:
            h = h + nn.functional.silu(layer(torch.cat([h, clock], dim=1)))
        out: Tensor = self.last(h)
        return out

    def loss(
        self, target: Float[Tensor, "batch size"], noise: Float[Tensor, "batch size"], time: Float[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Mean squared error of the velocity on the straight line from noise to target."""
        between = torch.lerp(noise, target, time[:, None])
        return (self.velocity(between, time) - (target - noise)).square().mean()

    def forward(self, noise: Float[Tensor, "batch draw_step latent"]) -> Float[Tensor, "batch draw_step latent"]:
        """Follow the flow from time 0 to 1."""
        x = noise.flatten(1)
        for step in range(self.steps):
            now = x.new_full((len(x),), step / self.steps)
            slope = self.velocity(x, now)
            later = self.velocity(x + slope / self.steps, now + 1 / self.steps)
            x = x + (slope + later) / (2 * self.steps)
        return x.view_as(noise)
