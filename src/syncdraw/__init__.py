"""Sync-DRAW: videos drawn from nothing, or from a caption.

>>> model = syncdraw.load("mnist1-captions")
>>> videos = model.generate("digit 3 is moving left and right", seed=0)  # [1, 10, 1, 64, 64] in [0, 1]
>>> syncdraw.save_video(videos[0], "three.gif")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syncdraw.building import build
    from syncdraw.config import SyncDrawConfig
    from syncdraw.errors import UserError
    from syncdraw.exploring import interpolate, prolong, reconstruct
    from syncdraw.media import save_video
    from syncdraw.model import Drawing, SyncDraw
    from syncdraw.pretrained import load, save, shipped_models
    from syncdraw.training.run import train
    from syncdraw.video import read_video

_HOMES = {
    "Drawing": "model",
    "SyncDraw": "model",
    "SyncDrawConfig": "config",
    "UserError": "errors",
    "build": "building",
    "interpolate": "exploring",
    "load": "pretrained",
    "prolong": "exploring",
    "read_video": "video",
    "reconstruct": "exploring",
    "save": "pretrained",
    "save_video": "media",
    "shipped_models": "pretrained",
    "train": "training.run",
}

__all__ = [
    "Drawing",
    "SyncDraw",
    "SyncDrawConfig",
    "UserError",
    "build",
    "interpolate",
    "load",
    "prolong",
    "read_video",
    "reconstruct",
    "save",
    "save_video",
    "shipped_models",
    "train",
]


def __getattr__(name: str) -> Any:
    # torch takes two seconds to import: it comes with the first name that needs it, not with `syncdraw --help`.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
