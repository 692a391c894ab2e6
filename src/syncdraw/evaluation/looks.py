"""How sharp drawn videos are and how much moves in them, beside real ones: for clips that no judge can read."""

from __future__ import annotations

import torch
from torch import Tensor

from syncdraw.datasets.clips import Clips
from syncdraw.evaluation.distances import unit
from syncdraw.evaluation.models import ALONE, DrawingModel, Sharing
from syncdraw.evaluation.samples import sample_batches


def sharpness(videos: Tensor) -> Tensor:
    """The mean absolute difference of neighbouring pixels, over both directions of a frame: `[batch]`, 0 to 1.

    Args:
        videos: `[batch, frame, channel, height, width]` in [0, 1].
    """
    down, right = videos.diff(dim=3).abs().flatten(1), videos.diff(dim=4).abs().flatten(1)
    return torch.cat([down, right], dim=1).mean(dim=1)


def motion(videos: Tensor) -> Tensor:
    """The mean absolute difference of a pixel in one frame and in the next: `[batch]`, 0 to 1.

    Args:
        videos: `[batch, frame, channel, height, width]` in [0, 1], of two frames or more.
    """
    return videos.diff(dim=1).abs().flatten(1).mean(dim=1)


def still_part(videos: Tensor) -> Tensor:
    """`motion` of the half of a clip's pixels that change least: `[batch]`, 0 to 1. What stands still should be 0."""
    changes = videos.diff(dim=1).abs().mean(dim=1).flatten(1)  # [batch, pixel]
    return changes.sort(dim=1).values[:, : changes.shape[1] // 2].mean(dim=1)


class Looks:
    """How sharp samples are and how much moves in them: they are drawn for the captions of held-out clips.

    Args:
        clips: one or more, of two frames or more, with captions where the models to be measured need some.
        sharing: processes of which each draws and measures a part, and gets the numbers of all.
    """

    def __init__(self, clips: Clips, sharing: Sharing = ALONE) -> None:
        self.captions, self.sharing = clips.captions or [""] * len(clips), sharing
        self.part = sharing.part(len(clips))
        self.real = self._measured([unit(torch.from_numpy(clips.videos[self.part]))])

    def scores(self, model: DrawingModel, seed: int = 0) -> dict[str, float]:
        """The samples' sharpness and motion, as shares of the clips': 1 is what is wanted. Of stills, no motion."""
        drawn = self._measured(list(sample_batches(model, self.captions, seed, part=self.part)))
        return {
            name: (found / real).item()
            for name, found, real in zip(("sample_sharpness", "sample_motion"), drawn, self.real, strict=True)
            if real > 0
        }

    def _measured(self, videos: list[Tensor]) -> Tensor:
        """Means over all processes' videos."""
        parts = [torch.stack([sharpness(some), motion(some)], dim=1) for some in videos if len(some)]
        return torch.cat(self.sharing.collect(parts)).mean(dim=0)
