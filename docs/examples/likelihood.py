"""A likelihood of your own. Here: the continuous Bernoulli distribution (Loaiza-Ganem and Cunningham 2019)."""

import torch
from torch import Tensor, nn
from torch.distributions import ContinuousBernoulli

from syncdraw import SyncDrawConfig
from syncdraw.building import build


class Continuous(nn.Module):
    """Pixels are any numbers from 0 to 1: the papers' cost, and what makes it a density."""

    def forward(self, logits: Tensor, videos: Tensor) -> Tensor:
        """L_X `[batch]`, nats; below 0 where the density is above 1."""
        return -ContinuousBernoulli(logits=logits).log_prob(videos).flatten(1).sum(dim=1)


config = SyncDrawConfig(frames=6, height=16, width=16, draw_steps=2, grid_size=4, hidden_size=16, latent_size=4)
model = build(config, likelihood=Continuous())
drawing = model(torch.rand(2, *config.shape))
drawing.negative_elbo.mean().backward()
