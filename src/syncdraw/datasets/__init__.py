"""Data sets: each clip is fetched by its number, as uint8, with its caption."""

from __future__ import annotations

from typing import Literal

from syncdraw.datasets.binarized_mnist import BinarizedMNIST
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.prepared import PreparedClips


def open_dataset(
    data: str,
    bouncing: BouncingMNISTConfig,
    split: Literal["train", "validation", "test"],
    *,
    captions: bool | None = None,
) -> BouncingMNIST | BinarizedMNIST | PreparedClips:
    """A data set by what a run's config says of it.

    Args:
        data: bouncing_mnist, binarized_mnist, or a folder made by `syncdraw prepare`.
        bouncing: settings of bouncing_mnist.
        captions: True leaves out clips without a caption.
    """
    if data == "bouncing_mnist":
        return BouncingMNIST(bouncing, split)
    if data == "binarized_mnist":
        return BinarizedMNIST(split)
    return PreparedClips(data, split, captions=captions)
