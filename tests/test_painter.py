"""The painter: patches as sums of shapes times colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from syncdraw import SyncDrawConfig
from syncdraw.building import build
from syncdraw.config import AttentionConfig
from syncdraw.errors import UserError
from syncdraw.extensions.painter import Painter

HIDDEN, FRAMES, CHANNELS, GRID = 5, 2, 3, 8
SHAPE = FRAMES, CHANNELS, GRID, GRID


def transposed_by_loops(points: NDArray[np.float64], layer: nn.ConvTranspose2d) -> NDArray[np.float64]:
    """What each point spreads over 4 x 4 points, two apart; a border of one is cut off."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    _, height, width = points.shape
    spread = np.zeros((weight.shape[1], 2 * height + 2, 2 * width + 2))
    for row in range(height):
        for column in range(width):
            for number, value in enumerate(points[:, row, column]):
                spread[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += value * weight[number]
    return spread[:, 1:-1, 1:-1] + bias[:, None, None]


def silu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / (1 + np.exp(-x))


def test_patches_are_shapes_times_colours_as_loops_make_them() -> None:
    torch.manual_seed(0)
    painter, h_dec = Painter(HIDDEN, FRAMES, CHANNELS, GRID).double(), torch.randn(2, HIDDEN, dtype=torch.float64)

    def linear(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        layer = getattr(painter, name)
        found: NDArray[np.float64] = layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()
        return found

    patches = painter(h_dec).detach().unflatten(1, SHAPE).numpy()
    for clip, h in zip(patches, h_dec.numpy(), strict=True):
        colours = linear("colours", h).reshape(-1, CHANNELS)
        for patch, of_frame in zip(clip, linear("of_frames", h).reshape(FRAMES, -1), strict=True):
            points = silu(linear("of_points", silu(of_frame)) + linear("shared", h)).reshape(-1, GRID // 4, GRID // 4)
            shapes = transposed_by_loops(silu(transposed_by_loops(points, painter.finer)), painter.finest)
            expected = np.zeros((CHANNELS, GRID, GRID))
            for shape, colour in zip(shapes, colours, strict=True):
                expected += colour[:, None, None] * shape
            np.testing.assert_allclose(patch, expected, atol=1e-12)


def test_its_gradient() -> None:
    torch.manual_seed(0)
    painter = Painter(HIDDEN, 1, 1, 4).double()
    assert torch.autograd.gradcheck(painter, torch.randn(1, HIDDEN, dtype=torch.float64, requires_grad=True))


def test_a_colour_changes_no_shape() -> None:
    torch.manual_seed(0)
    painter = Painter(HIDDEN, FRAMES, CHANNELS, GRID)
    h_dec = torch.randn(1, HIDDEN)
    before = painter(h_dec).unflatten(1, SHAPE)
    with torch.no_grad():
        for parameter in painter.colours.parameters():
            parameter.unflatten(0, (-1, CHANNELS))[:, 1] *= 3  # of green
    changed = torch.tensor([1.0, 3.0, 1.0])[:, None, None]
    torch.testing.assert_close(painter(h_dec).unflatten(1, SHAPE), before * changed)


def test_a_model_that_paints_begins_no_louder_than_another() -> None:
    """Patches of fresh weights are about as large as those of the papers' linear layer, within a factor of three."""
    h_dec = torch.randn(64, 32).tanh()
    sizes = []
    for content in ("per_frame", "painted"):
        torch.manual_seed(0)
        attention = AttentionConfig(content=content)
        model = build(SyncDrawConfig(frames=3, channels=3, height=16, width=16, hidden_size=32, attention=attention))
        sizes.append(model.generator.content(h_dec).std().item())
    assert 1 / 3 < sizes[1] / sizes[0] < 3


def test_grids_that_it_cannot_make_are_refused() -> None:
    with pytest.raises(UserError, match="write_grid_size, must be a multiple of 4; it is 10"):
        SyncDrawConfig(grid_size=10, attention=AttentionConfig(content="painted"))
    with pytest.raises(UserError, match="content painted goes with kind frame or global, not cuboid"):
        SyncDrawConfig(attention=AttentionConfig(kind="cuboid", content="painted"))
