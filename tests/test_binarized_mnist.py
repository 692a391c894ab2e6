"""Binarised MNIST: every digit where it should be, and pixels that are white as often as they are bright."""

from __future__ import annotations

import numpy as np
import pytest

from syncdraw.datasets import open_dataset
from syncdraw.datasets.binarized_mnist import BinarizedMNIST
from syncdraw.datasets.bouncing_mnist import MNIST_FOLDER, BouncingMNISTConfig
from syncdraw.datasets.idx import read_glyphs


def glyphs(name: str) -> tuple[np.ndarray, np.ndarray]:
    return read_glyphs(MNIST_FOLDER / f"{name}-images-idx3-ubyte.gz", MNIST_FOLDER / f"{name}-labels-idx1-ubyte.gz")


def test_the_test_split_is_mnists_in_its_order() -> None:
    images, labels = glyphs("t10k")
    data = open_dataset("binarized_mnist", BouncingMNISTConfig(), "test")
    assert len(data) == 10_000
    assert data.shape == (1, 1, 28, 28)
    clips = data.take(np.arange(300))
    assert clips.captions == [f"digit {label}" for label in labels[:300]]
    assert set(np.unique(clips.videos)) == {0, 255}
    shown = clips.videos[:, 0, 0]
    # Black stays black and white white; what lies between is white now and then.
    assert not shown[images[:300] == 0].any()
    assert shown[images[:300] == 255].all()
    assert np.array_equal(clips.videos[7:9], data.take(np.array([7, 8])).videos)


def test_a_pixel_is_white_as_often_as_it_is_bright() -> None:
    images, _ = glyphs("train")
    data = BinarizedMNIST("train")
    # Digit 0 of the first epoch's order is shown again in every epoch, each time drawn anew.
    order = [np.random.default_rng((0, epoch)).permutation(50_000) for epoch in range(400)]
    places = np.array([epoch * 50_000 + int(np.flatnonzero(order[epoch] == 5)[0]) for epoch in range(400)])
    mean = data.take(places).videos[:, 0, 0].mean(axis=0) / 255
    expected = images[5] / 255
    error = np.sqrt(expected * (1 - expected) / 400)
    assert np.all(np.abs(mean - expected) <= 5 * error + 1e-9)


def test_an_epoch_shows_every_training_digit_once_and_none_of_validation() -> None:
    data = BinarizedMNIST("train")
    assert len(data) == 0
    images, labels = glyphs("train")
    shown = data.take(np.arange(49_990, 50_010))
    assert shown.captions is not None
    for clip, caption in zip(shown.videos[:, 0, 0] > 0, shown.captions, strict=True):
        always = images[:50_000][labels[:50_000] == int(caption[-1])] == 255
        assert (always <= clip).all(axis=(1, 2)).any()
    captions = data.take(np.arange(50_000)).captions
    assert captions is not None
    assert sorted(captions) == sorted(f"digit {label}" for label in labels[:50_000])
    validation = BinarizedMNIST("validation")
    assert len(validation) == 10_000
    assert validation.take(np.arange(3)).captions == [f"digit {label}" for label in labels[50_000:50_003]]


@pytest.mark.parametrize("split", ["train", "test"])
def test_another_seed_gives_other_pixels(split: str) -> None:
    indices = np.arange(10)
    first = BinarizedMNIST(split).take(indices).videos  # type: ignore[arg-type]
    assert np.array_equal(first, BinarizedMNIST(split).take(indices).videos)  # type: ignore[arg-type]
    assert not np.array_equal(first, BinarizedMNIST(split, seed=1).take(indices).videos)  # type: ignore[arg-type]
