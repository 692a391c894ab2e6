"""P(Z^t), from which z^t is drawn when there is no video to encode.

A prior keeps one contract: `start` before the first drawing step of a canvas and `forward` at each step. What it wants
to remember of the steps so far is a tensor, `belief`, which the distribution of a step renews once z is known.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from syncdraw.gaussian import Gaussian, at_least_float32, gaussian


class Distribution(Protocol):
    """P(Z^t | z^1..z^{t-1})."""

    def draw(self, noise: Tensor, choice: Tensor) -> Tensor:
        """z `[batch, latent]` from standard normal noise, and from that of the prior's own, `[batch, noise_size]`."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Nats, `[batch]`."""
        ...

    def divergence_of(self, posterior: Gaussian, z: Tensor) -> Tensor:
        """KL(posterior || self), nats, `[batch]`; z was drawn from the posterior."""
        ...

    def given(self, z: Tensor) -> Tensor:
        """The belief with which the next step begins, once this step's z is known."""
        ...


class Single(NamedTuple):
    """One Gaussian, as the papers' priors are."""

    gaussian: Gaussian
    belief: Float[Tensor, "batch nothing"]

    def draw(self, noise: Float[Tensor, "batch latent"], choice: Tensor) -> Float[Tensor, "batch latent"]:
        return self.gaussian.at(noise)

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        return self.gaussian.log_prob(z).sum(dim=1)

    def divergence_of(self, posterior: Gaussian, z: Tensor) -> Float[Tensor, " batch"]:
        """Exact: eq 14's constant is wrong for more than one latent, and v1's eq 16 is not a divergence."""
        return posterior.divergence_from(self.gaussian).sum(dim=1)

    def given(self, z: Tensor) -> Float[Tensor, "batch nothing"]:
        return self.belief


class Prior(nn.Module):
    """What P(Z^t) is made of. `noise_size` numbers a step, beside the latents', make what it chooses."""

    noise_size = 0

    def start(
        self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]
    ) -> Float[Tensor, "batch belief"]:
        """The belief before a canvas's first step. Here there is nothing to be remembered."""
        return at_least_float32(h_dec).new_zeros(h_dec.shape[0], 0)


class StandardPrior(Prior):
    """N(0, I) at every drawing step (v2 section 3.1.5)."""

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Tensor, belief: Tensor) -> Single:
        zeros = h_dec.new_zeros(h_dec.shape[0], self.latent_size)
        return Single(gaussian(zeros, zeros), belief)


class CaptionPrior(Prior):
    """mu = tanh(W_mu h_dec^{t-1}), sigma = exp(tanh(W_sigma h_dec^{t-1})) (v1 section 3.3)."""

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        self.mean = nn.Linear(hidden_size, latent_size, bias=False)
        self.log_deviation = nn.Linear(hidden_size, latent_size, bias=False)

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Tensor, belief: Tensor) -> Single:
        return Single(gaussian(self.mean(h_dec).tanh(), self.log_deviation(h_dec).tanh()), belief)


class NetworkPrior(Prior):
    """A small network of h_dec^{t-1} and the caption, begun at N(0, I) (ours).

    Its mean and deviation are not bounded as v1's are, so it can follow the posterior wherever that goes.
    """

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        last = nn.Linear(512, 2 * latent_size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(hidden_size + caption_size, 512), nn.SiLU(), last)

    def forward(
        self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"], belief: Tensor
    ) -> Single:
        mean, log_deviation = self.layers(torch.cat([h_dec, caption], dim=1)).chunk(2, dim=1)
        return Single(gaussian(mean, log_deviation), belief)
