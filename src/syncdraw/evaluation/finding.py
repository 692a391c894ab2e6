"""Where the glyphs of a clip are, in each frame, found in its pixels alone.

Finding one glyph needs no assumption: it is where the intensity is. Two glyphs may overlap in any number of frames, so
they are found together: a glyph of Bouncing MNIST is rigid and moves along one axis, so along its true path the pixels
stay the same, and along any other path they do not. The paths whose pixels stay bright are searched for one after the
other, each in what the others leave unexplained; then each glyph is registered to each frame on its own, so that
positions are measured, not assumed, and a generated clip may stray from the perfect path by some pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from syncdraw.datasets.idx import GLYPH_SIZE

_FAINT = 0.1  # intensities below this do not count for a centre of mass: a generated clip's black is not quite black
FLOOR = 0.2  # intensity that counts as none where intensities are multiplied over the frames
_CENTRE = 14.0  # MNIST's glyphs have their centre of mass here, in pixels from the corner of their 28 x 28


def _cut(video: Tensor, corners: Tensor, margin: int = 0) -> Tensor:
    """Crops `[batch, frame, 28 + 2 margin, 28 + 2 margin]` of `[batch, frame, height, width]`.

    `corners` int64 `[batch, frame, 2]` are those of the 28 x 28 inside the margin, which must lie within the video; the
    margin may reach over its edge, where it is black.
    """
    size = GLYPH_SIZE + 2 * margin
    wide = functional.pad(video, (margin,) * 4) if margin else video
    windows = wide.unfold(2, size, 1).unfold(3, size, 1)
    clip, frame = torch.arange(len(video))[:, None], torch.arange(video.shape[1])
    return windows[clip, frame, corners[..., 0], corners[..., 1]]


def _centre_of_mass(images: Tensor) -> Tensor:
    """Row and column `[..., 2]` of images `[..., height, width]`; their middle where they are black."""
    bright = (images - _FAINT).clamp(min=0) + 1e-6
    rows = bright.sum(-1) @ torch.arange(images.shape[-2], dtype=images.dtype)
    columns = bright.sum(-2) @ torch.arange(images.shape[-1], dtype=images.dtype)
    return torch.stack([rows, columns], -1) / bright.sum((-1, -2))[..., None]


def follow(grey: Tensor) -> tuple[Tensor, Tensor]:
    """The one glyph of each clip `[batch, frame, height, width]`: in each frame, where most of the intensity is.

    Returns positions `[batch, 1, frame, 2]` and crops `[batch, 1, frame, 28, 28]`.
    """
    edge = GLYPH_SIZE // 2  # a generated glyph may be half out of the frame
    wide = functional.pad(grey, (edge,) * 4)
    inside = (wide - _FAINT).clamp(min=0)
    for axis in (2, 3):
        inside = inside.unfold(axis, GLYPH_SIZE, 1).sum(-1)
    brightest = inside.flatten(2).argmax(-1)
    corners = torch.stack([brightest // inside.shape[-1], brightest % inside.shape[-1]], -1)
    for _ in range(3):
        positions = corners + _centre_of_mass(_cut(wide, corners)) - _CENTRE
        corners = torch.minimum(positions.round().long().clamp(min=0), torch.tensor(inside.shape[2:]) - 1)
    return positions[:, None] - edge, _cut(wide, corners)[:, None]


class Search:
    """Finds glyphs that overlap, as paths along which the pixels stay the same.

    The search runs at half resolution, over the rows or columns that a glyph may keep (every second pixel) and the
    phases of its bounce (every pixel); then each glyph is registered to each frame at full resolution.
    """

    def __init__(self, shape: Sequence[int], digits: int, speed: float) -> None:
        frames, height, width = shape
        self.digits = digits
        self.bounds = torch.tensor([height, width]) - GLYPH_SIZE
        # Strokes lie in the middle 20 pixels of a glyph's 28: a window that cuts a glyph in two must not score well.
        middle = torch.arange(GLYPH_SIZE // 2) + 0.5
        self.profile = (torch.minimum(middle, GLYPH_SIZE // 2 - middle) / 3).clamp(max=1)
        self.pixels: list[Tensor] = []  # for each motion: the pixels that each phase shows, [frame, phase * 14]
        tables = []  # for each motion: the corners along each path, [phase * lane, frame, 2]
        for motion, (across, along) in enumerate([(height, width), (width, height)]):
            free = along - GLYPH_SIZE
            phase = torch.arange(max(1, 2 * free), dtype=torch.float64)
            travelled = torch.remainder(phase[:, None] + speed * torch.arange(frames), max(1, 2 * free))
            moving = (free - (travelled - free).abs() + 0.5).long()
            pixels = moving.T[..., None] + 2 * torch.arange(GLYPH_SIZE // 2)
            self.pixels.append(pixels.flatten(1))
            lanes = 2 * torch.arange((across - GLYPH_SIZE) // 2 + 1)
            grid = torch.broadcast_tensors(lanes[None, :, None], moving[:, None])
            tables.append(torch.stack(grid if motion == 0 else grid[::-1], -1).flatten(0, 1))
        self.paths = torch.cat(tables)

    def find(self, grey: Tensor, starts: int = 4) -> tuple[Tensor, Tensor]:
        """Positions `[batch, glyph, frame, 2]` and crops `[batch, glyph, frame, 28, 28]` for `[batch, frame, h, w]`.

        The brightest path may be a mixture of two glyphs. So several paths start a set, each set is completed by the
        paths that explain most of the rest, and the set that leaves the least unexplained is refined.
        """
        unexplained, sets = [], []
        for path in self._brightest(self._score(*_rest(grey, [])), starts):
            corners, layers = list[Tensor](), list[Tensor]()
            for glyph in range(self.digits):
                residual, visible = _rest(grey, layers)
                if glyph > 0:
                    (path,) = self._brightest(self._score(residual, visible), 1)
                corners.append(self._centre(residual, visible, self.paths[path]))
                layers.append(_paint(_steady(residual, visible, corners[-1]), corners[-1], grey))
            unexplained.append((grey - torch.stack(layers).sum(0).clamp(max=1)).abs().sum((1, 2, 3)))
            sets.append(torch.stack(corners, 1))
        best = torch.stack(unexplained, 1).argmin(1)
        return self._refine(grey, torch.stack(sets, 1)[torch.arange(len(grey)), best])

    def _score(self, residual: Tensor, visible: Tensor) -> Tensor:
        """How bright the pixels stay along each path, `[batch, path]`."""
        scores = []
        for motion, pixels in enumerate(self.pixels):
            weights = _half_resolution(visible, motion)
            logs = (_half_resolution(residual, motion) / FLOOR + 1).log() * weights
            # Indexing by the pixel along the motion copies whole rows of [across, batch]: the search's speed is this.
            kept = logs[0].index_select(0, pixels[0])
            weight = weights[0].index_select(0, pixels[0])
            for frame in range(1, len(pixels)):
                kept += logs[frame].index_select(0, pixels[frame])
                weight += weights[frame].index_select(0, pixels[frame])
            steady = floored_exp(kept / (weight + DOUBT)).unflatten(0, (-1, GLYPH_SIZE // 2))
            along = (self.profile @ steady.flatten(2)).unflatten(1, steady.shape[2:])  # [phase, across, batch]
            both = along.unfold(1, GLYPH_SIZE // 2, 1) @ self.profile  # [phase, lane, batch]
            scores.append(both.permute(2, 0, 1).flatten(1))
        return torch.cat(scores, 1)

    def _brightest(self, scores: Tensor, count: int) -> list[Tensor]:
        """The best paths `[batch]`, best first, each at least 6 pixels (on average over the frames) from the others."""
        chosen = []
        for _ in range(count):
            chosen.append(scores.argmax(1))
            apart = (self.paths - self.paths[chosen[-1]][:, None]).abs().amax(-1).float().mean(-1)
            scores = scores.masked_fill(apart < 6, -1.0)
        return chosen

    def _centre(self, residual: Tensor, visible: Tensor, corners: Tensor) -> Tensor:
        """Corners `[batch, frame, 2]` moved together, so that the glyph seen along them is centred."""
        shift = (_centre_of_mass(_steady(residual, visible, corners)) - _CENTRE).round().long()
        return torch.minimum((corners + shift[:, None]).clamp(min=0), self.bounds)

    def _register(self, residual: Tensor, visible: Tensor, glyph: Tensor, corners: Tensor, reach: int = 3) -> Tensor:
        """Corners moved in each frame, by up to so many pixels, to where the glyph explains the residual best."""
        size = 2 * reach + 1
        seen = _cut(residual * visible, corners, reach).unfold(2, GLYPH_SIZE, 1).unfold(3, GLYPH_SIZE, 1)
        weight = _cut(visible, corners, reach).unfold(2, GLYPH_SIZE, 1).unfold(3, GLYPH_SIZE, 1)
        # The squared error over the visible pixels, without the term that no shift changes.
        gain = 2 * torch.einsum("bfuvyx,byx->bfuv", seen, glyph) - torch.einsum("bfuvyx,byx->bfuv", weight, glyph**2)
        shifts = torch.cartesian_prod(torch.arange(size), torch.arange(size)) - reach
        moved = corners[:, :, None] + shifts
        gain = gain.flatten(2) - 0.05 * shifts.square().sum(-1)  # where a glyph is hidden, it stays on its path
        gain = gain.masked_fill(((moved < 0) | (moved > self.bounds)).any(-1), -torch.inf)
        return corners + shifts[gain.argmax(-1)]

    def _refine(self, grey: Tensor, start: Tensor, rounds: int = 2) -> tuple[Tensor, Tensor]:
        """Register each glyph to each frame, given the others, in turns; the result is that of `find`."""
        corners, glyphs, layers = list(start.unbind(1)), list[Tensor](), list[Tensor]()
        for glyph in range(self.digits):
            residual, visible = _rest(grey, layers)
            glyphs.append(_steady(residual, visible, corners[glyph]))
            layers.append(_paint(glyphs[glyph], corners[glyph], grey))
        for _ in range(rounds):
            for glyph in range(self.digits):
                residual, visible = _rest(grey, layers[:glyph] + layers[glyph + 1 :])
                corners[glyph] = self._centre(residual, visible, corners[glyph])
                image = _steady(residual, visible, corners[glyph])
                corners[glyph] = self._register(residual, visible, image, corners[glyph])
                glyphs[glyph] = _steady(residual, visible, corners[glyph])
                layers[glyph] = _paint(glyphs[glyph], corners[glyph], grey)
        crops = []
        for glyph in range(self.digits):
            residual, visible = _rest(grey, layers[:glyph] + layers[glyph + 1 :])
            seen = _cut(visible, corners[glyph])
            # Pixels hidden under another glyph are filled in from the frames that show them.
            crops.append(seen * _cut(residual, corners[glyph]) + (1 - seen) * glyphs[glyph][:, None])
        return torch.stack(corners, 1).float(), torch.stack(crops, 1)


DOUBT = 0.5  # frames: a pixel that the other glyphs hide in every frame counts as black


def _half_resolution(video: Tensor, motion: int) -> Tensor:
    """`[frame, along the motion, across it, batch]` of `[batch, frame, height, width]`.

    Pixels are averaged 2 x 2; across the motion every second one is kept, along it all.
    """
    turned = video.permute(1, 3, 2, 0) if motion == 0 else video.permute(1, 2, 3, 0)
    lanes = turned.shape[2] // 2 * 2
    pairs = turned[:, :, 0:lanes:2] + turned[:, :, 1:lanes:2]
    return ((pairs[:, :-1] + pairs[:, 1:]) / 4).contiguous()


def floored_exp(mean: Tensor) -> Tensor:
    return (mean.exp() - 1) * FLOOR


def _rest(grey: Tensor, layers: list[Tensor]) -> tuple[Tensor, Tensor]:
    """What the layers leave unexplained, and how visible it is: both `[batch, frame, height, width]`, 0 to 1."""
    if not layers:
        return grey, torch.ones_like(grey)
    explained = torch.stack(layers).sum(0).clamp(max=1)  # sum and clip, as the glyphs were drawn
    return (grey - explained).clamp(min=0), 1 - explained


def _steady(residual: Tensor, visible: Tensor, corners: Tensor) -> Tensor:
    """The glyph `[batch, 28, 28]` that stays the same along a path: a geometric mean over the frames that show it.

    A geometric mean is bright only where nearly all frames are, so what merely passes by leaves no trace.
    """
    seen = _cut(visible, corners)
    logs = (_cut(residual, corners) / FLOOR + 1).log()
    return floored_exp((logs * seen).sum(1) / (seen.sum(1) + DOUBT))


def _paint(glyph: Tensor, corners: Tensor, like: Tensor) -> Tensor:
    """The glyphs `[batch, 28, 28]` drawn at their corners `[batch, frame, 2]`, black elsewhere, shaped as `like`."""
    layer = torch.zeros_like(like)
    windows = layer.unfold(2, GLYPH_SIZE, 1).unfold(3, GLYPH_SIZE, 1)
    clip, frame = torch.arange(len(like))[:, None], torch.arange(like.shape[1])
    windows[clip, frame, corners[..., 0], corners[..., 1]] = glyph[:, None]
    return layer
