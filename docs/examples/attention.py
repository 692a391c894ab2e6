"""An attention of your own. Here: one window that glides, by the same step from each frame to the next."""

import torch
from torch import Tensor

from syncdraw import SyncDrawConfig
from syncdraw.attention import Attention, FrameAttention, Window
from syncdraw.building import build


class GlidingAttention(Attention):
    """Seven numbers for a whole video: the five of the middle window, and how far the centre moves from there."""

    parameter_size = 7

    def __init__(self, frames: int, channels: int, height: int, width: int, grid_size: int) -> None:
        super().__init__()
        self.windows = FrameAttention(frames, channels, height, width, grid_size)
        self.patch_size = self.windows.patch_size
        self.register_buffer("window_start", torch.cat([self.windows.window_start[:5], torch.zeros(2)]))
        self.register_buffer("time", torch.linspace(-1, 1, frames)[:, None])
        self.time: Tensor

    def window(self, parameters: Tensor) -> Window:
        numbers = parameters[:, None, :5].repeat(1, len(self.time), 1)
        numbers[..., :2] += self.time * parameters[:, None, 5:]
        return self.windows.window(numbers.flatten(1))

    def read(self, videos: Tensor, window: Window) -> Tensor:
        return self.windows.read(videos, window)

    def write(self, patch: Tensor, window: Window) -> Tensor:
        return self.windows.write(patch, window)


config = SyncDrawConfig(frames=6, height=16, width=16, draw_steps=2, grid_size=4, hidden_size=16, latent_size=4)
reading, writing = GlidingAttention(*config.shape, 4), GlidingAttention(*config.shape, 4)
model = build(config, read_attention=reading, write_attention=writing)
drawing = model(torch.rand(2, *config.shape))
drawing.negative_elbo.mean().backward()
