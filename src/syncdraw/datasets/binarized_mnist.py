"""Binarised MNIST, as clips of one frame: the data on which DRAW itself is measured.

A pixel of brightness p is white with probability p (Salakhutdinov and Murray 2008), so that likelihoods compare with
those in the literature; thresholding gives smoother digits, and other numbers. The split is the usual one: 50,000
digits for training, 10,000 for validation, and MNIST's 10,000 test digits, each drawn once for all. Training digits are
drawn anew every time they are shown (Burda et al. 2016).
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.bouncing_mnist import MNIST_FOLDER
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.idx import GLYPH_SIZE, read_glyphs

Split = Literal["train", "validation", "test"]


class BinarizedMNIST:
    """A split of binarised MNIST. The training split is endless; its digits come in a fresh order in every epoch.

    Args:
        split: train, validation or test.
        seed: of the training digits' order, and of all pixels.
    """

    shape = (1, 1, GLYPH_SIZE, GLYPH_SIZE)

    def __init__(self, split: Split, seed: int = 0) -> None:
        self.split: Split = split
        self.seed = seed
        self._images, self._labels = _digits(split)

    def __len__(self) -> int:
        """The number of clips; 0 for the endless training split."""
        return 0 if self.split == "train" else len(self._images)

    def take(self, indices: NDArray[np.int64]) -> Clips:
        """The clips with these numbers, captioned 'digit 3'; uint8 `[batch, 1, 1, 28, 28]`, 0 or 255."""
        digits = indices
        if self.split == "train":
            epochs, places = np.divmod(indices, len(self._images))
            digits = np.empty_like(indices)
            for epoch in np.unique(epochs):
                inside = epochs == epoch
                order = _order(self.seed, int(epoch), len(self._images))
                digits[inside] = order[places[inside]]
        images = self._images[digits]
        # A generator for each clip, so that clip number i does not depend on its batch.
        shape = (GLYPH_SIZE, GLYPH_SIZE)
        generators = (np.random.default_rng((self.seed, len(self.split), int(i))) for i in indices)
        white = np.stack([generator.random(shape, np.float32) for generator in generators]) * 255 < images
        return Clips(
            videos=(white * np.uint8(255))[:, None, None],
            captions=[f"digit {label}" for label in self._labels[digits]],
        )

    def wordings(self) -> list[str]:
        """Captions that hold every word that any split's captions may hold."""
        return [f"digit {label}" for label in range(10)]


@cache
def _digits(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    name = "t10k" if split == "test" else "train"
    images, labels = read_glyphs(
        MNIST_FOLDER / f"{name}-images-idx3-ubyte.gz", MNIST_FOLDER / f"{name}-labels-idx1-ubyte.gz"
    )
    part = {"train": slice(50_000), "validation": slice(50_000, None), "test": slice(None)}[split]
    return images[part], labels[part]


@cache
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)
