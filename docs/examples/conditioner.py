"""A conditioner of your own. Here: one learned vector for each name of a class, with no language behind it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from syncdraw import SyncDraw, SyncDrawConfig
from syncdraw.captions import Caption, Words


class ClassVector(nn.Module):
    """Both LSTMs are given the vector of the video's class at every drawing step."""

    def __init__(self, names: Sequence[str], size: int) -> None:
        super().__init__()
        self.names = list(names)
        self.vectors = nn.Embedding(len(names), size)
        self.encoder_size = self.decoder_size = size

    def prepare(self, captions: Sequence[str] | None, batch: int) -> Words:
        """Once for each batch."""
        assert captions is not None
        numbers = torch.tensor([self.names.index(caption) for caption in captions])
        vectors = self.vectors(numbers.to(self.vectors.weight.device))[:, None]
        return Words(vectors, vectors, torch.ones(vectors.shape[:2], dtype=torch.bool))

    def attend(self, words: Words, h_dec: Tensor) -> Caption:
        """At every drawing step."""
        vector = words.states[:, 0]
        return Caption(encoder=vector, decoder=vector)


config = SyncDrawConfig(frames=6, height=16, width=16, draw_steps=2, grid_size=4, hidden_size=16, latent_size=4)
model = SyncDraw(config, conditioner=ClassVector(["walking", "running", "waving"], size=8))
drawing = model(torch.rand(2, *config.shape), ["walking", "waving"])
drawing.negative_elbo.mean().backward()
videos = model.generate(["running", "waving", "running"], seed=0)
