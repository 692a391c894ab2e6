"""A conditioner of your own. Here: one learned vector for each name of a class, with no language behind it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from syncdraw import SyncDrawConfig
from syncdraw.building import build
from syncdraw.captions import Caption, Condition


class ClassVector(nn.Module):
    """Both LSTMs are given the vector of the video's class at every drawing step."""

    noise_size = 0  # it chooses nothing by itself

    def __init__(self, names: Sequence[str], size: int) -> None:
        super().__init__()
        self.names = list(names)
        self.vectors = nn.Embedding(len(names), size)
        self.encoder_size = self.decoder_size = size

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        """Captions to numbers, before a batch goes to the model's device."""
        return torch.tensor([self.names.index(caption) for caption in captions])

    def prepare(self, tokens: Tensor | None, videos: Tensor | None, choice: Tensor) -> Condition:
        """Once for each batch."""
        assert tokens is not None
        return Condition(self.vectors(tokens)[:, None])

    def attend(self, condition: Condition, h_dec: Tensor) -> Caption:
        """At every drawing step."""
        vector = condition.states[:, 0]
        return Caption(encoder=vector, decoder=vector)


config = SyncDrawConfig(frames=6, height=16, width=16, draw_steps=2, grid_size=4, hidden_size=16, latent_size=4)
model = build(config, conditioner=ClassVector(["walking", "running", "waving"], size=8))
drawing = model(torch.rand(2, *config.shape), ["walking", "waving"])
drawing.negative_elbo.mean().backward()
videos = model.generate(["running", "waving", "running"], seed=0)
