"""The judge: reads digits and motions off clips of Bouncing MNIST, real or generated, to measure captions and samples.

It sees videos only: no model, no caption. First each glyph is found in each frame; then a small convolutional network,
trained on MNIST's training digits alone, reads it there; and its path gives the motion.

Finding one glyph needs no assumption: it is where the intensity is. Two glyphs may overlap in any number of frames, so
they are found together: a glyph of Bouncing MNIST is rigid and moves along one axis, so along its true path the pixels
stay the same, and along any other path they do not. The paths whose pixels stay bright are searched for one after the
other, each in what the others leave unexplained; then each glyph is registered to each frame on its own, so that
positions are measured, not assumed, and a generated clip may stray from the perfect path by some pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from syncdraw.datasets.bouncing_mnist import (
    MNIST_FOLDER,
    BouncingMNIST,
    BouncingMNISTConfig,
    Combination,
    parse_caption,
)
from syncdraw.datasets.idx import GLYPH_SIZE, read_glyphs
from syncdraw.errors import UserError
from syncdraw.files import atomic_path

JUDGE_FOLDER = Path(__file__).parents[1] / "weights" / "judge"
"""The shipped judge: config.json (how it was trained, what it measures) and model.safetensors."""

NO_MOTION = -1
"""A glyph that stands still, or moves along both axes: neither of the two motions."""


# --- What the judge says ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What the judge sees in clips. The glyphs of a clip come in no particular order.

    Attributes:
        log_probabilities: `[batch, glyph, frame, 10]`, nats: the digits that each frame shows.
        positions: `[batch, glyph, frame, 2]`: row and column in pixels of the top left corner of the glyph's 28 x 28.
        motions: int64 `[batch, glyph]`, 0 for left and right, 1 for up and down (as in `bouncing_mnist.MOTIONS`), or
            NO_MOTION where the glyph moves less than a pixel a frame, or not at least twice as far along one axis as
            along the other.
        speed: `[batch, glyph]`, pixels a frame along the longer axis, not counting the frames around a turn.
        drift: `[batch, glyph]`, pixels between the outermost positions across the motion.
        features: `[batch, glyph, frame, 64]`, the digit reader's last hidden layer.
    """

    log_probabilities: Tensor
    positions: Tensor
    motions: Tensor
    speed: Tensor
    drift: Tensor
    features: Tensor

    @property
    def digits(self) -> Tensor:
        """int64 `[batch, glyph]`: the digit that the frames together show (their probabilities multiplied)."""
        return self.log_probabilities.mean(2).argmax(-1)

    @property
    def digits_by_frame(self) -> Tensor:
        """int64 `[batch, glyph, frame]`: the digit that each frame shows on its own."""
        return self.log_probabilities.argmax(-1)


def caption_fidelity(reading: Reading, captions: Sequence[str | Combination]) -> dict[str, float]:
    """How well clips show what their captions say: shares in 0 to 1, over all clips.

    The glyphs of a clip are matched to those of its caption in the order that agrees best, so the caption's order does
    not count. For the floor, pass the captions shuffled; for the ceiling, read real test clips.

    Returns:
        digit_accuracy_by_frame: frames in which the glyph reads as its digit.
        digit_accuracy: glyphs whose frames together read as their digit.
        motion_accuracy: glyphs that move as said.
        caption_match: clips in which all digits and all motions are as said.
        identity_kept: clips in which each glyph reads as the same digit in all frames, whatever the caption.

    Raises:
        UserError: a caption is not understood, there is not one for each clip, or it names more or fewer digits than
            were read.
    """
    batch, glyphs = reading.motions.shape
    combinations = [parse_caption(text) if isinstance(text, str) else text for text in captions]
    if len(combinations) != batch:
        raise UserError(f"there are {len(combinations)} captions for {batch} clips, where each clip needs one")
    for said, combination in zip(captions, combinations, strict=True):
        if len(combination) != glyphs:
            raise UserError(f"the caption {said!r} names {len(combination)} digits, where {glyphs} were read")
    wanted = torch.tensor(combinations, dtype=torch.int64).view(batch, glyphs, 2)

    orders = torch.tensor(list(permutations(range(glyphs))))
    labels, motions = wanted[:, orders].unbind(-1)  # [batch, order, glyph]
    by_frame = (reading.digits_by_frame[:, None] == labels[..., None]).float().mean(-1)
    digit_right = reading.digits[:, None] == labels
    motion_right = reading.motions[:, None] == motions
    agreement = (digit_right.float() + motion_right.float() + 0.1 * by_frame).sum(-1)
    best = agreement.argmax(1)
    rows = torch.arange(batch)
    digit_right, motion_right = digit_right[rows, best], motion_right[rows, best]
    return {
        "digit_accuracy_by_frame": by_frame[rows, best].mean().item(),
        "digit_accuracy": digit_right.float().mean().item(),
        "motion_accuracy": motion_right.float().mean().item(),
        "caption_match": (digit_right & motion_right).all(1).float().mean().item(),
        "identity_kept": _identity_kept(reading).float().mean().item(),
    }


def readable_share(reading: Reading, confidence: float = 0.9) -> float:
    """The share of clips whose glyphs read as the same digit in all frames, with a mean confidence above `confidence`.

    The confidence is the probability of the digit that a frame shows, averaged over the glyph's frames.
    """
    mean = reading.log_probabilities.amax(-1).exp().mean(2)
    return (_identity_kept(reading) & (mean > confidence).all(1)).float().mean().item()


def glyph_features(reading: Reading) -> Tensor:
    """What a Frechet distance compares: one row for each glyph of each clip, `[batch * glyph, 68]`.

    A row holds the digit reader's features averaged over the frames (64), how much they change from frame to frame
    (root mean square), the distance in pixels a frame over rows and over columns, and the drift in pixels. A distance
    in these features is not an FVD: say "Frechet distance in the judge's features".
    """
    mean = reading.features.mean(2)
    change = (reading.features - mean[:, :, None]).square().mean((2, 3)).sqrt()
    steps = reading.positions.diff(dim=2).abs().sum(2) / max(1, reading.positions.shape[2] - 1)
    return torch.cat([mean, change[..., None], steps, reading.drift[..., None]], -1).flatten(0, 1)


def _identity_kept(reading: Reading) -> Tensor:
    """bool `[batch]`."""
    digits = reading.digits_by_frame
    return (digits == digits[:, :, :1]).all(2).all(1)


# --- The judge -------------------------------------------------------------------------------------------------------


class DigitReader(nn.Module):
    """A small convolutional network: what digit a 28 x 28 crop shows."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

        self.describe = nn.Sequential(
            block(1, 32, 5, stride=2),
            block(32, 48, 3),
            block(48, 96, 3, stride=2),
            block(96, 96, 3),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(96 * 3 * 3, 64),
            nn.ReLU(),
        )
        self.classify = nn.Linear(64, 10)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities `[crop, 10]` and features `[crop, 64]` of crops `[crop, 1, 28, 28]` in [0, 1]."""
        features = self.describe(crops.contiguous(memory_format=torch.channels_last))
        return self.classify(features).log_softmax(-1), features


class Judge:
    """Finds glyphs in clips, reads them and measures how they move.

    Args:
        reader: the network that reads a crop, in evaluation mode from here on.
    """

    def __init__(self, reader: DigitReader) -> None:
        self.reader = reader.eval()

    @classmethod
    def load(cls, folder: str | Path = JUDGE_FOLDER) -> Judge:
        """The shipped judge, or one that `train_judge` has written.

        Raises:
            UserError: a file is missing, or is not the one that config.json names by its checksum.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            weights = (folder / "model.safetensors").read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the judge's {error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{folder / 'config.json'} is not JSON ({error}), so fetch it again") from error
        reader = DigitReader()
        try:
            if hashlib.sha256(weights).hexdigest() != config["sha256"]:
                raise UserError(
                    f"{folder / 'model.safetensors'} is damaged: its checksum is not the one in config.json"
                )
            reader.load_state_dict(safetensors.torch.load(weights))  # half precision on disk, single here
        except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder} does not hold a judge that this version can load, so train it again") from error
        return cls(reader)

    @torch.no_grad()
    def read(self, videos: Tensor, digits: int, speed: float = 7.2) -> Reading:
        """Find and read so many glyphs in each clip.

        Args:
            videos: `[batch, frame, channel, height, width]` in [0, 1]; channels are averaged.
            digits: glyphs in each clip.
            speed: pixels a frame: where to begin looking for the paths of two or more glyphs. Positions are measured
                in each frame, so the clips may stray from it.

        Raises:
            UserError: the videos have another shape, are smaller than a glyph, or hold values outside [0, 1].
        """
        if videos.ndim != 5 or min(videos.shape[1:3]) < 1 or min(videos.shape[3:]) < GLYPH_SIZE:
            raise UserError(
                "the judge reads videos [batch, frame, channel, height, width] of at least 28 x 28 pixels, "
                f"not {list(videos.shape)}"
            )
        if not len(videos) or digits < 1:
            raise UserError(f"the judge reads 1 or more digits in 1 or more clips, not {digits} in {len(videos)}")
        if not (videos.min() >= 0 and videos.max() <= 1):  # false for NaN, too
            raise UserError("the judge reads videos in [0, 1], and these have other values")
        grey = videos.float().mean(2).cpu()
        find = _follow if digits == 1 else _Search(grey.shape[1:], digits, speed).find
        parts: list[Reading] = []
        # Few clips at a time: the search's maps of 8 clips fit a core's cache.
        for clips in grey.split(8):
            positions, crops = find(clips)
            log_probabilities, features = self.reader(crops.reshape(-1, 1, GLYPH_SIZE, GLYPH_SIZE))
            shape = positions.shape[:3]
            parts.append(
                Reading(
                    log_probabilities=log_probabilities.view(*shape, -1),
                    positions=positions,
                    features=features.view(*shape, -1),
                    **_measure_motion(positions),
                )
            )
        return Reading(
            **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Reading)}
        )


def _measure_motion(positions: Tensor) -> dict[str, Tensor]:
    """Motions, speed and drift `[batch, glyph]` of paths `[batch, glyph, frame, 2]`."""
    steps = positions.diff(dim=2)
    travelled = steps.abs().sum(2)
    axis = travelled.argmax(-1)  # 0 rows, 1 columns
    far = travelled.amax(-1) >= max(1, steps.shape[2])
    straight = travelled.amax(-1) >= 2 * travelled.amin(-1)
    along = steps.gather(-1, axis[..., None, None].expand(*steps.shape[:3], 1))[..., 0]
    across = positions.gather(-1, (1 - axis)[..., None, None].expand(*positions.shape[:3], 1))[..., 0]
    # Where the direction changes, the bounce lies in one of the two steps around the change and makes it shorter.
    turn = along[..., 1:] * along[..., :-1] <= 0
    counted = ~(functional.pad(turn, (1, 0)) | functional.pad(turn, (0, 1))) if along.shape[-1] else along.bool()
    counted |= ~counted.any(-1, keepdim=True)
    return {
        "motions": torch.where(far & straight, 1 - axis, NO_MOTION),
        "speed": (along.abs() * counted).sum(-1) / counted.sum(-1).clamp(min=1),
        "drift": across.amax(-1) - across.amin(-1),
    }


# --- Finding glyphs --------------------------------------------------------------------------------------------------

_FAINT = 0.1  # intensities below this do not count for a centre of mass: a generated clip's black is not quite black
_FLOOR = 0.2  # intensity that counts as none where intensities are multiplied over the frames
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


def _follow(grey: Tensor) -> tuple[Tensor, Tensor]:
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


class _Search:
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
            logs = (_half_resolution(residual, motion) / _FLOOR + 1).log() * weights
            # Indexing by the pixel along the motion copies whole rows of [across, batch]: the search's speed is this.
            kept = logs[0].index_select(0, pixels[0])
            weight = weights[0].index_select(0, pixels[0])
            for frame in range(1, len(pixels)):
                kept += logs[frame].index_select(0, pixels[frame])
                weight += weights[frame].index_select(0, pixels[frame])
            steady = _floored_exp(kept / (weight + _DOUBT)).unflatten(0, (-1, GLYPH_SIZE // 2))
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


_DOUBT = 0.5  # frames: a pixel that the other glyphs hide in every frame counts as black


def _half_resolution(video: Tensor, motion: int) -> Tensor:
    """`[frame, along the motion, across it, batch]` of `[batch, frame, height, width]`.

    Pixels are averaged 2 x 2; across the motion every second one is kept, along it all.
    """
    turned = video.permute(1, 3, 2, 0) if motion == 0 else video.permute(1, 2, 3, 0)
    lanes = turned.shape[2] // 2 * 2
    pairs = turned[:, :, 0:lanes:2] + turned[:, :, 1:lanes:2]
    return ((pairs[:, :-1] + pairs[:, 1:]) / 4).contiguous()


def _floored_exp(mean: Tensor) -> Tensor:
    return (mean.exp() - 1) * _FLOOR


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
    logs = (_cut(residual, corners) / _FLOOR + 1).log()
    return _floored_exp((logs * seen).sum(1) / (seen.sum(1) + _DOUBT))


def _paint(glyph: Tensor, corners: Tensor, like: Tensor) -> Tensor:
    """The glyphs `[batch, 28, 28]` drawn at their corners `[batch, frame, 2]`, black elsewhere, shaped as `like`."""
    layer = torch.zeros_like(like)
    windows = layer.unfold(2, GLYPH_SIZE, 1).unfold(3, GLYPH_SIZE, 1)
    clip, frame = torch.arange(len(like))[:, None], torch.arange(like.shape[1])
    windows[clip, frame, corners[..., 0], corners[..., 1]] = glyph[:, None]
    return layer


# --- Training the judge ----------------------------------------------------------------------------------------------


def train_judge(
    folder: str | Path = JUDGE_FOLDER,
    steps: int = 5_000,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
    seed: int = 0,
) -> dict[str, Any]:
    """Train the digit reader on MNIST's training digits, measure the judge, and write both to a folder.

    The crops are spoilt as those of generated clips are: shifted, turned, scaled, crossed by another digit, blurred,
    faded, noisy. A sixteenth of them shows no digit (parts of several, or nothing), so that the judge may say so.

    Args:
        folder: where config.json and model.safetensors (half precision) go, in place of those that are there.
        steps: batches to train on.
        batch_size: crops in a batch, at least 16.
        learning_rate: the peak of a one-cycle schedule.
        seed: of everything random.

    Returns:
        What config.json holds: the arguments, the time, and what was measured on MNIST's test digits.

    Raises:
        UserError: an argument is out of range, or the folder cannot be written.
    """
    if steps < 1 or batch_size < 16 or learning_rate <= 0:
        raise UserError("the judge needs steps of at least 1, a batch_size of at least 16 and a learning_rate above 0")
    started = time.monotonic()
    images, labels = _mnist("train")
    # The last 5,000 are Bouncing MNIST's validation split: the judge has not seen what it reads there.
    images, labels = images[:55_000], labels[:55_000]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = DigitReader()
    optimizer = torch.optim.AdamW(reader.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    odd = batch_size // 16
    for _ in tqdm(range(steps), desc="judge", unit="step"):
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        crops, target = images[chosen], functional.one_hot(labels[chosen], 10).float()
        crops[:odd], target[:odd] = _no_digits(crops)[:odd], 0.1
        log_probabilities, _ = reader(_spoil(crops, generator))
        loss = -(target * log_probabilities).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in reader.state_dict().items()
    }
    weights = safetensors.torch.save(state)
    reader.load_state_dict(state)  # measure what is stored
    arguments = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    given = " ".join(f"--{name} {value}" for name, value in arguments.items())
    config = {
        "command": f"syncdraw train judge {given}",
        "hardware": f"{torch.get_num_threads()} thread(s) of a CPU with {os.cpu_count()} cores",
        "training_seconds": round(time.monotonic() - started),
        "measured": measure_judge(Judge(reader)),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    with atomic_path(Path(folder) / "model.safetensors") as path:
        path.write_bytes(weights)
    with atomic_path(Path(folder) / "config.json") as path:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config


def measure_judge(judge: Judge, clips: int = 1_000) -> dict[str, Any]:
    """The judge's accuracy on MNIST's test digits, and on real test clips: the ceiling for generated ones."""
    images, labels = _mnist("t10k")
    with torch.no_grad():
        right = [judge.reader(part)[0].argmax(-1) for part in images.split(500)]
    measured: dict[str, Any] = {"mnist_test_accuracy": round((torch.cat(right) == labels).float().mean().item(), 4)}
    for digits in (1, 2):
        real = BouncingMNIST(BouncingMNISTConfig(digits=digits), "test").take(np.arange(clips))
        reading = judge.read(torch.from_numpy(real.videos) / 255, digits)
        assert real.captions is not None
        values = caption_fidelity(reading, real.captions) | {
            "readable_share": readable_share(reading),
            "speed": reading.speed.mean().item(),
            "drift": reading.drift.mean().item(),
        }
        rounded = {name: round(value, 4) for name, value in values.items()}
        measured[f"real_test_clips_{digits}"] = {"clips": clips, **rounded}
    return measured


def _mnist(part: Literal["train", "t10k"]) -> tuple[Tensor, Tensor]:
    """Crops `[digit, 1, 28, 28]` in [0, 1] and labels `[digit]` of MNIST's training or test digits."""
    images, labels = read_glyphs(
        MNIST_FOLDER / f"{part}-images-idx3-ubyte.gz", MNIST_FOLDER / f"{part}-labels-idx1-ubyte.gz"
    )
    return torch.tensor(images)[:, None] / 255, torch.tensor(labels, dtype=torch.int64)


def _spoil(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Digits `[crop, 1, 28, 28]` as they may look in a crop of a generated clip."""
    count = len(crops)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low

    own = _warp(crops, torch.rand(count, 2, generator=generator) * 5 - 2.5, generator)
    angle, distance = uniform(0, 2 * math.pi).view(count), uniform(5, 26).view(count)
    other = _warp(crops.roll(1, 0), torch.stack([angle.cos(), angle.sin()], -1) * distance[:, None], generator)
    case = uniform()
    crossed = (own + other).clamp(max=1)
    cut = own * (1 - other)  # what is left where another glyph was explained away
    own = torch.where(case < 0.4, crossed, torch.where(case < 0.55, cut, own))
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    blurred = functional.conv2d(own, torch.outer(kernel, kernel)[None, None], padding=2)
    own = own + uniform(-1, 1).clamp(min=0) * (blurred - own)
    own = own.clamp(min=1e-4).pow(uniform(0.7, 1.5)) * uniform(0.6, 1)
    own = own + torch.randn(own.shape, generator=generator) * uniform(-0.08, 0.08).clamp(min=0)
    return own.clamp(0, 1)


def _warp(crops: Tensor, shift: Tensor, generator: torch.Generator) -> Tensor:
    """Crops `[crop, 1, 28, 28]` turned, scaled and sheared at random, and shifted by `[crop, 2]` pixels (x, y)."""
    angle, scale, shear = (torch.rand(3, len(crops), generator=generator) - 0.5) * torch.tensor([[0.5], [0.3], [0.4]])
    cosine, sine = angle.cos() / (1 + scale), angle.sin() / (1 + scale)
    linear = torch.stack([cosine, sine + shear * cosine, -sine, cosine], -1).view(-1, 2, 2)
    offset = linear @ (shift[..., None] / (-GLYPH_SIZE / 2))
    grid = functional.affine_grid(torch.cat([linear, offset], -1), list(crops.shape), align_corners=False)
    return functional.grid_sample(crops, grid, align_corners=False)


def _no_digits(crops: Tensor) -> Tensor:
    """Crops `[crop, 1, 28, 28]` of four digits' quarters; every fourth is black."""
    half = GLYPH_SIZE // 2
    mixed = crops.roll(1, 0)
    mixed[..., :half, half:] = crops.roll(2, 0)[..., :half, half:]
    mixed[..., half:, :half] = crops.roll(3, 0)[..., half:, :half]
    mixed[..., half:, half:] = crops.roll(4, 0)[..., half:, half:]
    mixed[::4] = 0
    return mixed
