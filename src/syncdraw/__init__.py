"""Sync-DRAW: videos drawn from nothing, or from a caption.

>>> model = syncdraw.load("mnist1-captions")
>>> videos = model.generate(["digit 3 is moving left and right"], seed=0)  # [1, 10, 1, 64, 64] in [0, 1]
>>> syncdraw.save_video(videos[0], "three.gif")
"""

from typing import Any

from syncdraw.errors import UserError
from syncdraw.media import read_video, save_video
from syncdraw.model import Drawing, SyncDraw, SyncDrawConfig
from syncdraw.pretrained import load, save, shipped_models

__all__ = [
    "Drawing",
    "SyncDraw",
    "SyncDrawConfig",
    "UserError",
    "load",
    "read_video",
    "save",
    "save_video",
    "shipped_models",
    "train",
]


def __getattr__(name: str) -> Any:
    """`train` is imported when it is asked for: drawing does without what it needs."""
    if name == "train":
        from syncdraw.training import train

        return train
    raise AttributeError(f"module 'syncdraw' has no attribute {name!r}")
