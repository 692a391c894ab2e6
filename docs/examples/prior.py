"""A prior of your own. Here: one Gaussian for all drawing steps, whose mean and deviations are learned."""

import torch
from torch import Tensor, nn

from syncdraw import SyncDrawConfig
from syncdraw.building import build
from syncdraw.gaussian import gaussian
from syncdraw.priors import Prior, Single


class LearnedGaussian(Prior):
    """P(Z^t) = N(mean, deviation^2), the same at every drawing step; it begins at N(0, I)."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latent_size))
        self.log_deviation = nn.Parameter(torch.zeros(latent_size))

    def forward(self, h_dec: Tensor, caption: Tensor, belief: Tensor) -> Single:
        """A single Gaussian, which remembers nothing: it hands its belief on as it is."""
        shape = len(h_dec), -1
        return Single(gaussian(self.mean.expand(shape), self.log_deviation.expand(shape)), belief)


config = SyncDrawConfig(frames=6, height=16, width=16, draw_steps=2, grid_size=4, hidden_size=16, latent_size=4)
model = build(config, prior=LearnedGaussian(config.latent_size))
drawing = model(torch.rand(2, *config.shape))
drawing.negative_elbo.mean().backward()
