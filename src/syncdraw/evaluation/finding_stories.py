"""Where several glyphs of MNIST stories are: the search of finding.py, along more kinds of paths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from syncdraw.datasets.idx import GLYPH_SIZE
from syncdraw.datasets.mnist_stories import PACE, PLANS, turn_of
from syncdraw.datasets.story_captions import SPEEDS, USUAL
from syncdraw.evaluation.finding import DOUBT, FLOOR, Search, floored_exp

_STRIDE = 3
"""Pixels between the phases that are tried, and between the pixels of a glyph that are compared along a path."""


class StorySearch(Search):
    """Finds glyphs that overlap, and move as those of MNIST stories do.

    Those go along both axes, at three speeds, and may turn in the middle, which makes ten times as many paths. So
    their pixels are compared on a coarse grid; as in `Search`, each glyph is then registered to each frame.
    """

    def __init__(self, shape: Sequence[int], digits: int, speed: float) -> None:
        frames, height, width = shape
        self.digits = digits
        self.bounds = torch.tensor([height, width]) - GLYPH_SIZE
        later = (torch.arange(frames - 1) >= turn_of(frames)).long()
        tables = [self._paths(torch.zeros(frames, 2))]
        for plan in PLANS:
            paces = torch.tensor([PACE[motion] for motion in (plan * 2)[:2]])[later]
            for pixels in SPEEDS:
                steps = paces * (speed * pixels / SPEEDS[USUAL])
                tables.append(self._paths(functional.pad(steps.cumsum(0), (0, 0, 1, 0))))
        self.paths = torch.cat(tables)
        rows, columns = (self.bounds + 1).tolist()
        # Of each path, the corners in all frames, where the corners of all frames are numbered one after the other.
        self._cells = self.paths @ torch.tensor([columns, 1]) + rows * columns * torch.arange(frames)

    def _paths(self, travelled: Tensor) -> Tensor:
        """Corners `[path, frame, 2]` of all glyphs that travel so many pixels `[frame, 2]`, if none is reflected."""
        axes = []
        for free, along in zip(self.bounds.tolist(), travelled.unbind(-1), strict=True):
            phases = torch.arange(0, 2 * free if along.any() else free + 1, _STRIDE)
            axes.append((free - (torch.remainder(phases[:, None] + along, 2 * free) - free).abs() + 0.5).long())
        rows, columns = torch.broadcast_tensors(axes[0][:, None], axes[1][None])
        return torch.stack([rows, columns], dim=-1).flatten(0, 1)

    def _score(self, residual: Tensor, visible: Tensor) -> Tensor:
        """How bright the pixels stay along each path, `[batch, path]`."""
        kept = self._along(visible * (functional.avg_pool2d(residual, 3, 1, 1) / FLOOR + 1).log())
        return floored_exp(kept / (self._along(visible) + DOUBT)).sum(-1).T

    def _along(self, video: Tensor) -> Tensor:
        """Sums over the frames along each path, `[path, batch, point]`, of `[batch, frame, height, width]`."""
        corners = self._grid(video).permute(1, 2, 0, 3).flatten(0, 1)  # of all frames: [corner, batch, point]
        sums = functional.embedding_bag(self._cells, corners.flatten(1), mode="sum")
        return sums.unflatten(1, corners.shape[1:])

    def _grid(self, video: Tensor) -> Tensor:
        """`[batch, frame, corner, point]` of `[batch, frame, height, width]`: of each window, the points compared."""
        rows, columns = (self.bounds + 1).tolist()
        points = range(4, GLYPH_SIZE - 4, _STRIDE)  # strokes lie in the middle 20 pixels of a glyph's 28
        windows = [video[..., row : row + rows, column : column + columns] for row in points for column in points]
        return torch.stack(windows, dim=-1).flatten(2, 3)
