"""The judge: reads digits and motions off clips of Bouncing MNIST, real or generated, to measure captions and samples.

It sees videos only: no model, no caption. First each glyph is found in each frame (finding.py); then a small
convolutional network, trained on MNIST's training digits alone (judge_training.py), reads it there; and its path gives
the motion. readings.py says what can be measured of what it reads.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from syncdraw.datasets.idx import GLYPH_SIZE
from syncdraw.errors import UserError
from syncdraw.evaluation.finding import Search, follow
from syncdraw.evaluation.frozen import load_frozen
from syncdraw.evaluation.readings import NO_MOTION, Reading, together

JUDGE_FOLDER = Path(__file__).parents[1] / "weights" / "judge"
"""The shipped judge: config.json (how it was trained, what it measures) and model.safetensors."""


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
        reader = DigitReader()
        load_frozen(reader, Path(folder), "judge")
        return cls(reader)

    @torch.no_grad()
    def read(self, videos: Tensor, digits: int, speed: float = 7.2, search: type[Search] = Search) -> Reading:
        """Find and read so many glyphs in each clip.

        Args:
            videos: `[batch, frame, channel, height, width]` in [0, 1]; channels are averaged.
            digits: glyphs in each clip.
            speed: pixels a frame: where to begin looking for the paths of two or more glyphs. Positions are measured
                in each frame, so the clips may stray from it.
            search: looks for two or more glyphs, along the paths that it knows.

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
        find = follow if digits == 1 else search(grey.shape[1:], digits, speed).find
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
                    **measure_motion(positions),
                )
            )
        return together(parts)


def measure_motion(positions: Tensor) -> dict[str, Tensor]:
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
