"""P(Z^t), from which z^t is drawn when there is no video to encode."""

from __future__ import annotations

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
