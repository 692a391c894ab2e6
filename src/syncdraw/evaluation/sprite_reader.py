"""The reader of sprites: who a clip shows, in which clothes, and what they do, as far as pixels tell.

Like the judge of digits it sees videos only: no model, no caption. It is trained on real clips alone
(sprite_training.py), of all pairs of clothes, actions and directions, also those that no model has seen.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from syncdraw.datasets.sprite_captions import VALUES
from syncdraw.datasets.sprite_figures import FRAMES, SIZE
from syncdraw.errors import UserError
from syncdraw.evaluation.frozen import load_frozen

READER_FOLDER = Path(__file__).parents[1] / "weights" / "sprite_reader"
"""The shipped reader: config.json (how it was trained, what it measures) and model.safetensors."""

_EVERY = 2
"""Of the frames it sees every second one: that is enough to tell the actions."""


class AttributeReader(nn.Module):
    """A small convolutional network that sees frames, and what changes between them."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, size: int) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, size, 2, size // 2)
            return nn.Sequential(convolution, nn.GroupNorm(8, outputs), nn.GELU())

        seen = FRAMES // _EVERY
        self.describe = nn.Sequential(
            block(3 * (2 * seen - 1), 32, 5), block(32, 64, 3), block(64, 96, 3), block(96, 128, 3), nn.Flatten(),
        )  # fmt: skip
        self.classify = nn.Linear(128 * (SIZE // 16) ** 2, sum(map(len, VALUES.values())))

    def forward(self, videos: Tensor) -> list[Tensor]:
        """Log probabilities `[batch, value]` for each attribute of videos `[batch, 8, 3, 64, 64]` in [0, 1]."""
        frames = videos[:, ::_EVERY]
        features = self.describe(torch.cat([frames - 0.5, frames.diff(dim=1)], dim=1).flatten(1, 2))
        scores = self.classify(features).split([len(values) for values in VALUES.values()], dim=1)
        return [of_attribute.log_softmax(-1) for of_attribute in scores]


class SpriteReader:
    """Says of a clip what it shows.

    Args:
        network: in evaluation mode from here on.
    """

    def __init__(self, network: AttributeReader) -> None:
        self.network = network.eval()

    @classmethod
    def load(cls, folder: str | Path = READER_FOLDER) -> SpriteReader:
        """The shipped reader, or one that `train_sprite_reader` has written; the errors are those of `load_frozen`."""
        network = AttributeReader()
        load_frozen(network, Path(folder), "reader of sprites")
        return cls(network)

    @torch.no_grad()
    def scores(self, videos: Tensor) -> list[Tensor]:
        """Log probabilities `[batch, value]` for each attribute of videos `[batch, 8, 3, 64, 64]` in [0, 1].

        Raises:
            UserError: the videos have another shape.
        """
        if videos.shape[1:] != (FRAMES, 3, SIZE, SIZE) or not len(videos):
            raise UserError(f"the reader of sprites reads one or more videos of {[FRAMES, 3, SIZE, SIZE]}, not "
                            f"{list(videos.shape)}")  # fmt: skip
        parts = [self.network(some) for some in videos.float().split(64)]
        return [torch.cat(of_attribute) for of_attribute in zip(*parts, strict=True)]

    def read(self, videos: Tensor) -> Tensor:
        """The likeliest value of each attribute, int64 `[batch, 9]`, in the order of `Character`; errors: `scores`."""
        return torch.stack([scores.argmax(-1) for scores in self.scores(videos)], dim=1)
