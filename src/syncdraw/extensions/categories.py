"""What a video is of, chosen before anything is drawn, where no caption says it.

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

from syncdraw.captions import Caption, Condition
from syncdraw.errors import UserError
from syncdraw.gaussian import choose


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
        chosen = sorted({0, videos.shape[1] // 2, videos.shape[1] - 1})
        frames = torch.stack([videos[:, frame] for frame in chosen], dim=1)
        seen = self.frame(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.category(seen.mean(dim=1))


class Categories(nn.Module):
    """A conditioner: a learned vector for each category, given to both LSTMs and the prior at every step.

    Args:
        channels: of the videos. categories: how many. size: of a vector.
    """

    noise_size = 1
    log_shares: Float[Tensor, " category"]
    """log P(category)."""

    def __init__(self, channels: int, categories: int, size: int) -> None:
        super().__init__()
        self.encoder_size = self.decoder_size = size
        self.vectors = nn.Embedding(categories, size)
        nn.init.normal_(self.vectors.weight, std=0.3)
        self.register_buffer("log_shares", torch.zeros(categories).log_softmax(dim=0))
        self.recogniser = Recogniser(channels, categories)

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        raise UserError("this model draws without captions; leave the captions out")

    def prepare(
        self,
        tokens: Float[Tensor, "batch size"] | None,
        videos: Float[Tensor, "batch frame channel height width"] | None,
        choice: Float[Tensor, "batch 1"],
    ) -> Condition:
        """The category that a video is of, or that a new one will be of; or those whose vectors are given."""
        if tokens is not None:
            return Condition(tokens[:, None])  # known before, so it costs nothing
        category = self.draw(choice[:, 0]) if videos is None else self.recognise(videos)
        return self.of(category)

    def of(self, category: Int[Tensor, " batch"]) -> Condition:
        """What is drawn from these categories, and what choosing them costs."""
        vectors = self.vectors(category)[:, None]
        return Condition(vectors, cost=-self.log_shares[category])

    @torch.no_grad()
    def recognise(self, videos: Float[Tensor, "batch frame channel height width"]) -> Int[Tensor, " batch"]:
        found: Tensor = self.recogniser(videos).argmax(dim=1)
        return found

    def draw(self, noise: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Categories of new videos, by their shares, from standard normal noise."""
        return choose(self.log_shares, noise)

    def attend(self, condition: Condition, h_dec: Tensor) -> Caption:
        return Caption(encoder=condition.states[:, 0], decoder=condition.states[:, 0])
