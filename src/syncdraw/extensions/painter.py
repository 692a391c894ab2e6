"""What is written, from a small network in place of one matrix (ours): shapes, each painted in one colour.

The papers' write(h_dec) takes its patch from h_dec by one linear layer. That layer cannot multiply: a shirt of the same
cut in another colour is another patch, which has to be learned anew. Here convolutions make shapes for each frame, and
a patch is the sum of shapes times colours.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from syncdraw.config import PAINTED

SHAPES = 8
"""How many are added up."""

_FRAME, _POINT, _BETWEEN = 128, 48, 32  # numbers for a frame, for a point of the coarse grid, and of the next one


class Painter(nn.Module):
    """From h_dec to a patch for each frame.

    Args:
        hidden_size: width of h_dec.
        frames, channels: of the video.
        grid_size: K of the patches, a multiple of 4: convolutions make 4 x 4 points of one.
    """

    def __init__(self, hidden_size: int, frames: int, channels: int, grid_size: int) -> None:
        super().__init__()
        self.frames, self.channels = frames, channels
        self.coarse = grid_size // PAINTED
        self.of_frames = nn.Linear(hidden_size, frames * _FRAME)
        self.of_points = nn.Linear(_FRAME, _POINT * self.coarse**2)
        self.shared = nn.Linear(hidden_size, _POINT * self.coarse**2)
        self.finer = nn.ConvTranspose2d(_POINT, _BETWEEN, 4, 2, 1)
        self.finest = nn.ConvTranspose2d(_BETWEEN, SHAPES, 4, 2, 1)
        self.colours = nn.Linear(hidden_size, SHAPES * channels)
        # So that patches begin about as large as those of a linear layer.
        for linear in (self.of_frames, self.of_points, self.shared, self.colours):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        for convolution in (self.finer, self.finest):  # four of its sixteen weights reach a point
            nn.init.normal_(convolution.weight, std=(2 / (4 * convolution.in_channels)) ** 0.5)

    def forward(self, h_dec: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch patch"]:
        """All frames' patches, flattened: w[i, c] = sum over s of shape[i, s] colour[s, c]."""
        of_frames = functional.silu(self.of_frames(h_dec).unflatten(1, (self.frames, _FRAME)))
        points = functional.silu(self.of_points(of_frames) + self.shared(h_dec)[:, None])
        points = points.reshape(-1, _POINT, self.coarse, self.coarse)
        shapes = self.finest(functional.silu(self.finer(points))).unflatten(0, (-1, self.frames))
        colours = self.colours(h_dec).unflatten(1, (SHAPES, self.channels))
        return torch.einsum("bisuv,bsc->bicuv", shapes, colours).flatten(1)
