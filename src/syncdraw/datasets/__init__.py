"""Data sets: each clip is fetched by its number, as uint8, with its caption."""

from __future__ import annotations

from typing import Literal

from syncdraw.datasets.binarized_mnist import BinarizedMNIST
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.mnist_stories import MNISTStories
from syncdraw.datasets.prepared import PreparedClips
from syncdraw.datasets.sprites import Sprites

BUILT_IN = ("bouncing_mnist", "binarized_mnist", "mnist_stories", "sprites")
"""The data sets that come with the package; all others are folders."""


def open_dataset(
    data: str,
    bouncing: BouncingMNISTConfig,
    split: Literal["train", "validation", "test"],
    *,
    captions: bool | None = None,
) -> BouncingMNIST | BinarizedMNIST | MNISTStories | Sprites | PreparedClips:
    """A data set by what a run's config says of it.

    Args:
        data: bouncing_mnist, binarized_mnist, mnist_stories, sprites, or a folder made by `syncdraw prepare`.
        bouncing: settings of bouncing_mnist and mnist_stories; of sprites, `combinations`.
        captions: True leaves out clips without a caption.
    """
    if data == BUILT_IN[0]:
        return BouncingMNIST(bouncing, split)
    if data == BUILT_IN[1]:
        return BinarizedMNIST(split)
    if data == BUILT_IN[2]:
        return MNISTStories(bouncing, split)
    if data == BUILT_IN[3]:
        return Sprites(split, bouncing.combinations)
    return PreparedClips(data, split, captions=captions)
