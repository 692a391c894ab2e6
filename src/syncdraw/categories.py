"""What a video is of, chosen before anything is drawn, where no caption says it (ours).

A caption tells the drawing from its first step on what it will be; without one the first latents have to. So a model
can tell itself: a small network sorts a video into one of several categories, whose vector both LSTMs and the prior
are given at every step, as they are a caption's. A new video's category is drawn by how often it occurs. Given X there
is no doubt of the category, so it costs -log P(category) beside the divergences of the z^t, and the bound stays one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from syncdraw.captions import Caption, Words
from syncdraw.priors import choose


class Recogniser(nn.Module):
    """Sorts videos into categories, wherever in the frame things are. clustering.py trains it; then it stays.

    Args:
        channels: of the videos. categories: how many.
    """

    def __init__(self, channels: int, categories: int) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            nn.Conv2d(channels, 32, 5, stride=2, padding=2), nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.SiLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.category = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, categories))
        self.requires_grad_(False)

    def forward(self, videos: Float[Tensor, "batch frame channel height width"]) -> Float[Tensor, "batch category"]:
        """Logits, from the mean of what is seen in the first, the middle and the last frame."""
        frames = videos[:, sorted({0, videos.shape[1] // 2, videos.shape[1] - 1})]
        seen = self.frame(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.category(seen.mean(dim=1))


class CategoryVector(nn.Module):
    """A learned vector for each category, given to both LSTMs and the prior at every step.

    Args:
        categories: how many. size: of a vector.
    """

    log_shares: Float[Tensor, " category"]
    """log P(category)."""

    def __init__(self, categories: int, size: int) -> None:
        super().__init__()
        self.encoder_size = self.decoder_size = size
        self.vectors = nn.Embedding(categories, size)
        nn.init.normal_(self.vectors.weight, std=0.3)
        self.register_buffer("log_shares", torch.zeros(categories).log_softmax(dim=0))

    def draw(self, noise: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Categories of new videos, by their shares, from standard normal noise."""
        return choose(self.log_shares, noise)

    def prepare(self, captions: Sequence[str] | Int[Tensor, " batch"] | None, batch: int) -> Words:
        """Of categories, where other conditioners take captions."""
        if not isinstance(captions, Tensor):
            raise ValueError("categories are numbers, not captions")
        vectors = self.vectors(captions)[:, None]
        return Words(vectors, vectors, torch.ones(batch, 1, dtype=torch.bool, device=vectors.device))

    def attend(self, words: Words, h_dec: Float[Tensor, "batch hidden"]) -> Caption:
        return Caption(encoder=words.states[:, 0], decoder=words.states[:, 0])
