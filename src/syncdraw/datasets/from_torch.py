"""Data sets of yours as torch has them, for `syncdraw.train`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from syncdraw.datasets.clips import Clips, Dataset
from syncdraw.errors import UserError


class TorchClips:
    """The clips of a torch Dataset.

    Args:
        items: has a length, and gives by number a video, or a tuple that begins with a video and a caption. A video is
            a tensor or array `[frame, channel, height, width]`, uint8, or floating point in [0, 1].

    Raises:
        UserError: it has no length, or gives something else.
    """

    def __init__(self, items: Any) -> None:
        if not hasattr(items, "__getitem__") or not hasattr(items, "__len__") or not len(items):
            raise UserError("a data set must have clips, a length, and give each by its number (no IterableDataset)")
        self.items = items
        video, self._caption = self._item(0)
        frames, channels, height, width = video.shape
        self.shape = (frames, channels, height, width)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, indices: NDArray[np.int64]) -> Clips:
        """The clips with these numbers, in this order."""
        found = [self._item(int(index)) for index in indices]
        for index, (video, _) in zip(indices, found, strict=True):
            if video.shape != self.shape:
                raise UserError(f"item {index} of the data set is {list(video.shape)}, item 0 {list(self.shape)}")
        captions = [caption for _, caption in found if caption is not None]
        videos = np.stack([video for video, _ in found]) if found else np.zeros((0, *self.shape), np.uint8)
        return Clips(videos, captions if self._caption is not None and len(captions) == len(found) else None)

    def wordings(self) -> list[str]:
        """All captions. Every item is fetched once."""
        return sorted({caption for number in range(len(self)) if (caption := self._item(number)[1]) is not None})

    def _item(self, number: int) -> tuple[NDArray[np.uint8], str | None]:
        item = self.items[number]
        parts: Sequence[Any] = item if isinstance(item, (tuple, list)) else (item,)
        video = torch.as_tensor(parts[0])
        if video.ndim != 4 or not (video.dtype == torch.uint8 or video.is_floating_point()):
            raise UserError(
                f"item {number} of the data set is {video.dtype} {list(video.shape)}; it must be [frame, channel, "
                "height, width], uint8, or floating point in [0, 1]"
            )
        if video.is_floating_point():
            if not (video.min() >= 0 and video.max() <= 1):
                raise UserError(f"item {number} of the data set has pixels outside of [0, 1]")
            video = (255 * video).round().to(torch.uint8)
        caption = parts[1] if len(parts) > 1 and isinstance(parts[1], str) else None
        return video.cpu().numpy(), caption


def as_clips(dataset: Any) -> Dataset:
    """A data set as training takes it: one of ours as it is, a torch Dataset, or the one behind a DataLoader."""
    if hasattr(dataset, "take") and hasattr(dataset, "wordings"):
        return dataset
    return TorchClips(dataset.dataset if isinstance(dataset, DataLoader) else dataset)


class AsTorch(torch.utils.data.Dataset[tuple[torch.Tensor, str]]):
    """A data set of ours for torch's DataLoader: videos, uint8, with their captions, empty where there are none."""

    def __init__(self, clips: Dataset) -> None:
        if not len(clips):
            raise UserError("this data set is endless; a torch Dataset has a length: set bouncing.clips")
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        clips = self.clips.take(np.array([index]))
        return torch.from_numpy(clips.videos[0]), (clips.captions or [""])[0]
