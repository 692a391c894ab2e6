"""P(Z^t), from which z^t is drawn when there is no video to encode.

Every prior gives a mixture of Gaussians at each drawing step; the papers' have one component. A mixture of several is
one over whole layers: a layer belongs to one component at all of its steps. Nothing chooses that component in
advance. The steps so far tell it apart, by Bayes' rule, and the next z is drawn accordingly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from syncdraw.attention import at_least_float32


def normal(mean: Tensor, log_deviation: Tensor) -> Normal:
    """A diagonal Gaussian from its mean and the logarithm of its standard deviation."""
    # exp(+-10) is beyond any use; the limit keeps a diverging run from producing NaN.
    deviation = at_least_float32(log_deviation).clamp(-10, 10).exp()
    return Normal(at_least_float32(mean), deviation, validate_args=False)


def choose(log_weights: Float[Tensor, "*batch choice"], noise: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """One of several things for each of a batch, by their probabilities, from standard normal noise."""
    uniform = torch.special.ndtr(noise)
    passed = (log_weights.exp().cumsum(dim=-1) < uniform[:, None]).sum(dim=1)
    return passed.clamp(max=log_weights.shape[-1] - 1)  # where rounding leaves the sum below 1


class Mixture(NamedTuple):
    """P(Z^t | z^1..z^{t-1}).

    Attributes:
        log_weights: logarithms of the components' probabilities, given the steps so far.
        components: Gaussians, `[batch, component, latent]`.
    """

    log_weights: Float[Tensor, "batch component"]
    components: Normal

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """Nats."""
        return (self.log_weights + self._by_component(z)).logsumexp(dim=1)

    def divergence_from(self, posterior: Normal, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """KL(Q || P) in nats for a Gaussian Q: exact for one component, for several estimated from the z drawn from Q.

        There is no closed form for several. Bounds on it, such as Hershey and Olsen's (2007), let the components fall
        into one in training: they look at one step at a time, at which the components differ little.
        """
        if self.log_weights.shape[1] > 1:
            return posterior.log_prob(z).sum(dim=1) - self.log_prob(z)
        alone = Normal(self.components.loc[:, 0], self.components.scale[:, 0], validate_args=False)
        return kl_divergence(posterior, alone).sum(dim=1)

    def given(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch component"]:
        """`log_weights` for the next step, once this step's z is known."""
        if self.log_weights.shape[1] == 1:
            return self.log_weights
        return (self.log_weights + self._by_component(z)).log_softmax(dim=1)

    def draw(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch latent"]:
        """z from standard normal noise: one number for each latent, and with several components one more, which
        chooses among them."""
        loc, scale = self.components.loc, self.components.scale
        size = loc.shape[2]
        chosen = torch.zeros(len(noise), dtype=torch.long, device=noise.device)
        if self.log_weights.shape[1] > 1:
            chosen = choose(self.log_weights, noise[:, size])
        rows = torch.arange(len(noise), device=noise.device)
        return loc[rows, chosen] + scale[rows, chosen] * noise[:, :size]

    def _by_component(self, z: Tensor) -> Float[Tensor, "batch component"]:
        return self.components.log_prob(z[:, None]).sum(dim=2)


class Prior(nn.Module):
    """What P(Z^t | z^1..z^{t-1}) is made of: called with h_dec^{t-1} and the caption, the components of a `Mixture`."""

    def log_weights(
        self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]
    ) -> Float[Tensor, "batch component"]:
        """Before a layer's first step. Here those of an only component."""
        return at_least_float32(h_dec).new_zeros(len(h_dec), 1)


class StandardPrior(Prior):
    """N(0, I) at every drawing step (v2 section 3.1.5)."""

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]) -> Normal:
        zeros = h_dec.new_zeros(len(h_dec), 1, self.latent_size)
        return normal(zeros, zeros)


class CaptionPrior(Prior):
    """mu = tanh(W_mu h_dec^{t-1}), sigma = exp(tanh(W_sigma h_dec^{t-1})) (v1 section 3.3)."""

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int) -> None:
        super().__init__()
        self.mean = nn.Linear(hidden_size, latent_size, bias=False)
        self.log_deviation = nn.Linear(hidden_size, latent_size, bias=False)

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]) -> Normal:
        return normal(self.mean(h_dec).tanh()[:, None], self.log_deviation(h_dec).tanh()[:, None])


class NetworkPrior(Prior):
    """A small network of h_dec^{t-1} and the caption, begun at N(0, I) (ours).

    Its mean and deviation are not bounded as v1's are, so it can follow the posterior wherever that goes. The digits of
    a data set lie apart, which one Gaussian cannot follow: between them it draws what is no digit. So there may be
    several components, each a shift and a scaling of the first; clustering.py says what they come to stand for.
    """

    offset_size = 64  # of the layer between the network and the components, which keeps hundreds of them small

    def __init__(self, hidden_size: int, caption_size: int, latent_size: int, components: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(hidden_size + caption_size, 512), nn.SiLU(), nn.Linear(512, 2 * latent_size)
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.offsets, self.choice = None, None
        if components > 1:
            self.choice = nn.Linear(hidden_size + caption_size, components)
            nn.init.zeros_(self.choice.weight)
            nn.init.zeros_(self.choice.bias)
            each = nn.Linear(self.offset_size, components * 2 * latent_size)
            nn.init.zeros_(each.bias)
            with torch.no_grad():  # apart from the start: equal components would stay equal
                each.bias.view(components, 2, latent_size)[:, 0].normal_(std=0.3)
            self.offsets = nn.Sequential(nn.Linear(512, self.offset_size), nn.SiLU(), each)

    def forward(self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]) -> Normal:
        hidden = self.layers[:-1](torch.cat([h_dec, caption], dim=1))
        mean, log_deviation = self.layers[-1](hidden)[:, None].chunk(2, dim=2)
        if self.offsets is None:
            return normal(mean, log_deviation)
        shift, scaling = self.offsets(hidden).unflatten(1, (-1, 2, mean.shape[2])).unbind(dim=2)
        return normal(mean + log_deviation.exp() * shift, log_deviation + scaling)

    def log_weights(
        self, h_dec: Float[Tensor, "batch hidden"], caption: Float[Tensor, "batch caption"]
    ) -> Float[Tensor, "batch component"]:
        if self.choice is None:
            return super().log_weights(h_dec, caption)
        return at_least_float32(self.choice(torch.cat([h_dec, caption], dim=1))).log_softmax(dim=1)


PRIORS: dict[str, type[Prior]] = {"standard": StandardPrior, "caption": CaptionPrior, "network": NetworkPrior}
