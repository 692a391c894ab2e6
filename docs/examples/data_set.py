"""A data set of your own. Here: a bright square that slides to the right, in a row of its own in each clip."""

import numpy as np
import torch
from numpy.typing import NDArray

from syncdraw import SyncDrawConfig
from syncdraw.building import build
from syncdraw.datasets.clips import Clips, shuffled


class SlidingSquares:
    """Twelve clips, each a function of its number."""

    shape = (6, 1, 16, 16)  # frames, channels, height, width

    def __len__(self) -> int:
        return 12

    def take(self, indices: NDArray[np.int64]) -> Clips:
        videos = np.zeros((len(indices), *self.shape), np.uint8)
        for video, row in zip(videos, indices, strict=True):
            for number, frame in enumerate(video[:, 0]):
                frame[row : row + 4, 2 * number : 2 * number + 4] = 255
        return Clips(videos, captions=[f"a square slides along row {row}" for row in indices])

    def wordings(self) -> list[str]:
        return self.take(np.arange(len(self))).captions or []


squares, noise = SlidingSquares(), torch.Generator().manual_seed(0)
model = build(SyncDrawConfig(frames=6, height=16, width=16, draw_steps=2, grid_size=4, hidden_size=16, latent_size=4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
losses = []
for step in range(20):
    clips = squares.take(shuffled(len(squares), start=6 * step, count=6, seed=0))
    loss = model.bound(model.prepare(clips.videos, clips.captions, noise)).negative_elbo.mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
