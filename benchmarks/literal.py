"""Sync-DRAW written down the way the papers print it: the oracle of the tests, and the thing to beat in benchmarks.

Nothing here is clever. Filters are exp, sum, divide (with the epsilon that the division needs); the error image is
formed and read; every product is an einsum; the LSTM is its four gates. It takes its weights from a `SyncDraw`, so
that both can be run on the same numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from syncdraw import SyncDraw


def filters_by_loops(
    centre: float, stride: float, variance: float, grid_size: int, length: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Eqs 1-4 for one window along one axis, number by number, in float64: `[K, length]`."""
    bank = np.zeros((grid_size, length))
    for u in range(1, grid_size + 1):
        mean = centre + (u - grid_size / 2 - 0.5) * stride
        for a in range(1, length + 1):
            bank[u - 1, a - 1] = np.exp(-((a - mean) ** 2) / (2 * variance))
        bank[u - 1] /= bank[u - 1].sum()
    return bank


def filters(centre: Tensor, stride: Tensor, variance: Tensor, grid_size: int, length: int) -> Tensor:
    """Eqs 1-4 for `[batch, frame]` windows: `[batch, frame, K, length]`."""
    u = torch.arange(1, grid_size + 1, dtype=centre.dtype)
    a = torch.arange(1, length + 1, dtype=centre.dtype)
    means = centre[..., None] + (u - grid_size / 2 - 0.5) * stride[..., None]
    bank = torch.exp(-((a - means[..., None]) ** 2) / (2 * variance[..., None, None]))
    return bank / (bank.sum(dim=-1, keepdim=True) + 1e-8)


def window(numbers: Tensor, config: object, grid_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """F_p, F_q and beta of every frame, from the linear layer's output."""
    height, width, frames = config.height, config.width, config.frames  # type: ignore[attr-defined]
    row, column, log_variance, log_stride, log_intensity = numbers.reshape(-1, frames, 5).unbind(-1)
    stride = (max(height, width) - 1) / (grid_size - 1) * torch.exp(log_stride)
    row_filters = filters((height + 1) / 2 * (row + 1), stride, torch.exp(log_variance), grid_size, height)
    column_filters = filters((width + 1) / 2 * (column + 1), stride, torch.exp(log_variance), grid_size, width)
    return row_filters, column_filters, torch.exp(log_intensity)


def lstm(weights: object, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One step of an LSTM, gate by gate."""
    hidden, cell = state
    gates = x @ weights.weight_ih.T + weights.bias_ih + hidden @ weights.weight_hh.T + weights.bias_hh  # type: ignore[attr-defined]
    i, f, g, o = gates.chunk(4, dim=1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def losses(model: SyncDraw, videos: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """L_X and L_Z `[batch]` of the uncaptioned model of v2 section 3.1, with a prior N(0, I)."""
    config = model.config
    batch, grid = len(videos), config.grid_size
    canvas = torch.zeros_like(videos)
    h_enc = c_enc = h_dec = c_dec = videos.new_zeros(batch, config.hidden_size)
    divergence = videos.new_zeros(batch)
    for t in range(config.draw_steps):
        error = videos - torch.sigmoid(canvas)  # eq 6
        row, column, beta = window(model.inference.read_parameters(h_dec), config, grid)
        read = beta[..., None, None, None] * torch.einsum("bnuh,bnchw,bnvw->bncuv", row, videos, column)  # eq 5
        read_error = beta[..., None, None, None] * torch.einsum("bnuh,bnchw,bnvw->bncuv", row, error, column)
        r = torch.cat([read.flatten(1), read_error.flatten(1)], dim=1)
        h_enc, c_enc = lstm(model.inference.lstm, torch.cat([r, h_dec], dim=1), (h_enc, c_enc))  # eq 7
        mean, log_deviation = model.inference.posterior(h_enc).chunk(2, dim=1)
        deviation = torch.exp(log_deviation)
        z = mean + deviation * noise[:, t]
        # Eq 14, with the half for each of the latent's numbers.
        divergence = divergence + 0.5 * (mean**2 + deviation**2 - torch.log(deviation**2) - 1).sum(dim=1)
        h_dec, c_dec = lstm(model.generator.lstm, z, (h_dec, c_dec))  # eq 8
        row, column, beta = window(model.generator.write_parameters(h_dec), config, grid)
        w = model.generator.content(h_dec).reshape(batch, config.frames, config.channels, grid, grid)
        canvas = canvas + torch.einsum("bnuh,bncuv,bnvw->bnchw", row, w, column) / beta[..., None, None, None]  # 9, 10
    output = torch.sigmoid(canvas)
    # The epsilon of a literal cross-entropy.
    likelihood = videos * torch.log(output + 1e-8) + (1 - videos) * torch.log(1 - output + 1e-8)
    return -likelihood.flatten(1).sum(dim=1), divergence
