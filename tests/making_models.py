"""Models that have learned nothing, and are of no special kind either."""

from __future__ import annotations

import torch

from syncdraw import SyncDraw, SyncDrawConfig
from syncdraw.building import build


def randomised(config: SyncDrawConfig, deviation: float = 0.2) -> SyncDraw:
    """A model with random weights, also where they begin at zero: its posterior is not its prior."""
    torch.manual_seed(2)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(deviation * torch.randn_like(parameter))
    return model
