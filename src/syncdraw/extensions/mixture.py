"""A prior of several Gaussians.

The digits of a data set lie apart, which one Gaussian cannot follow: between them it draws what is no digit. The
mixture is one over a whole canvas: a canvas belongs to one component at all of its steps. Nothing chooses that
component in advance. The steps so far tell it apart, by Bayes' rule, and the next z is drawn accordingly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from syncdraw.gaussian import Gaussian, at_least_float32, choose, gaussian
from syncdraw.priors import Prior


class Mixture(NamedTuple):
    """P(Z^t | z^1..z^{t-1}).

    Attributes:
        log_weights: logarithms of the components' probabilities, given the steps so far.
        components: Gaussians, `[batch, component, latent]`.
    """

    log_weights: Float[Tensor, "batch component"]
    components: Gaussian

    def draw(
        self, noise: Float[Tensor, "batch latent"], choice: Float[Tensor, "batch 1"]
    ) -> Float[Tensor, "batch latent"]:
        """z: `choice` chooses the component."""
        chosen = choose(self.log_weights, choice[:, 0])
        rows = torch.arange(noise.shape[0], device=noise.device)
        return Gaussian(self.components.mean[rows, chosen], self.components.deviation[rows, chosen]).at(noise)

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """Nats."""
        return self._joint(z).logsumexp(dim=1)

    def divergence_of(self, posterior: Gaussian, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """An unbiased estimate of KL(posterior || self) from the z drawn from it, nats; it may be negative.

        There is no closed form. Bounds on it, such as Hershey and Olsen's (2007), let the components fall into one in
        training: they look at one step at a time, at which the components differ little.
        """
        return posterior.log_prob(z).sum(dim=1) - self.log_prob(z)

    def given(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch component"]:
        """`log_weights` for the next step (Bayes' rule)."""
        return self._joint(z).log_softmax(dim=1)

    def _joint(self, z: Tensor) -> Float[Tensor, "batch component"]:
        return self.log_weights + self.components.log_prob(z[:, None]).sum(dim=2)


class MixturePrior(Prior):
    """`NetworkPrior` with several components, each a shift and a scaling of the first.

    clustering.py says what the components come to stand for.
    """

    noise_size = 1
    offset_size = 64  # of the layer between the network and the components, which keeps hundreds of them small

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int, components: int) -> None:
        super().__init__()
        last = nn.Linear(512, 2 * latent_size)
        self.layers = nn.Sequential(nn.Linear(hidden_size + caption_size, 512), nn.SiLU(), last)
        self.choice = nn.Linear(hidden_size + caption_size, components)
        each = nn.Linear(self.offset_size, components * 2 * latent_size)
        for zero in (last.weight, last.bias, self.choice.weight, self.choice.bias, each.bias):
            nn.init.zeros_(zero)
        with torch.no_grad():  # apart from the start: equal components would stay equal
            each.bias.view(components, 2, latent_size)[:, 0].normal_(std=0.3)
        self.offsets = nn.Sequential(nn.Linear(512, self.offset_size), nn.SiLU(), each)

    def start(
        self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]
    ) -> Float[Tensor, "batch component"]:
        """The components' log-probabilities before a canvas's first step."""
        return at_least_float32(self.choice(torch.cat([h_dec, caption], dim=1))).log_softmax(dim=1)

    def forward(
        self,
        h_dec: Float[Tensor, "batch hidden"],
        caption: Float[Tensor, "batch caption"],
        belief: Float[Tensor, "batch component"],
    ) -> Mixture:
        return Mixture(belief, self.components(h_dec, caption))

    def components(self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]) -> Gaussian:
        """`[batch, component, latent]`."""
        hidden = self.layers[:-1](torch.cat([h_dec, caption], dim=1))
        mean, log_deviation = self.layers[-1](hidden)[:, None].chunk(2, dim=2)
        shift, scaling = self.offsets(hidden).unflatten(1, (-1, 2, mean.shape[2])).unbind(dim=2)
        return gaussian(mean + log_deviation.exp() * shift, log_deviation + scaling)
