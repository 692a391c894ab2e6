"""What users, training and measuring call of a model: samples, bounds, noise, and what goes into them.

All of it rests on one function, `forward`, which model.py has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from syncdraw.attention import Videos
from syncdraw.captions import Conditioner
from syncdraw.config import Protocol, SyncDrawConfig
from syncdraw.errors import UserError
from syncdraw.gaussian import normal_numbers
from syncdraw.likelihoods import Bernoulli

if TYPE_CHECKING:
    from syncdraw.model import Drawing, Generator


class Noise(NamedTuple):
    """Standard normal numbers, from which everything random in a batch of videos is made."""

    latents: Float[Tensor, "batch draw_step latent"]
    prior: Float[Tensor, "batch draw_step choice"]
    """What the prior chooses at each step; nothing, for the papers' priors."""
    condition: Float[Tensor, "batch draw_step choice"]
    """What the conditioner chooses before a canvas's first step; nothing, for captions."""

    def steps(self, some: slice) -> Noise:
        """Those of some drawing steps."""
        return Noise(*(part[:, some] for part in self))

    def to(self, device: torch.device) -> Noise:
        """The same numbers on another device."""
        return Noise(*(part.to(device) for part in self))


class Batch(NamedTuple):
    """Clips as a model takes them, tensors alone, so that they can be made ahead and copied to any device."""

    videos: UInt8[Tensor, "batch frame channel height width"]
    tokens: Tensor | None
    noise: Noise


class Interface(nn.Module):
    """A model of videos, around its `forward`."""

    config: SyncDrawConfig
    conditioner: Conditioner
    generator: Generator

    def __call__(self, *values: Any, **options: Any) -> Drawing:
        drawing: Drawing = super().__call__(*values, **options)
        return drawing

    def prepare(
        self,
        videos: UInt8[np.ndarray, "batch frame channel height width"],
        captions: Sequence[str] | None,
        seed: int | torch.Generator,
        length: int = 0,
        skip: int = 0,
    ) -> Batch:
        """Clips, their captions' numbers and noise, on the host. A clip's noise does not depend on its neighbours.

        Args:
            captions: of the clips; a model without captions passes over them.
            seed: of the noise of the whole batch that these clips are from; or what draws noise clip by clip.
            length: captions' numbers are padded to so many, so that batches have one shape.
            skip: clips of the same batch that come before these, in the hands of other processes.
        """
        tokens = self.tokenise(captions if self.captioned else None, len(videos))
        if tokens is not None and not tokens.is_floating_point():
            tokens = functional.pad(tokens, (0, max(0, length - tokens.shape[-1])))
        if isinstance(seed, torch.Generator):
            noise = Noise(*(part[skip:] for part in self._noise([seed] * (skip + len(videos)))))
        else:
            noise = self._split(normal_numbers(seed, skip, len(videos), self._noise_shape))
        return Batch(torch.from_numpy(videos), tokens, noise)

    def bound(self, batch: Batch, protocol: Protocol | None = None) -> Drawing:
        """L_X and L_Z of prepared clips, under the model's own protocol unless another is given.

        Raises:
            UserError: the protocol is `levels`, and the model has not learned a scale for it.
        """
        own = self.config.protocol
        protocol = protocol or own
        if protocol == "levels" != own:
            raise UserError(f"this model was trained for {own}, and has learned no scale for levels; take {own}")
        videos = targets(batch.videos.to(self.device, non_blocking=True), protocol)
        likelihood = None if protocol == own else Bernoulli()
        return self(videos, batch.tokens, noise=batch.noise.to(self.device), likelihood=likelihood)

    @torch.no_grad()
    def generate(
        self,
        what: int | Sequence[str],
        *,
        seed: int | torch.Generator = 0,
        temperature: float = 1.0,
        return_canvases: bool = False,
    ) -> Float[Tensor, ...]:
        """New videos from the prior (v2 section 3.1.6), in [0, 1].

        Args:
            what: how many videos, or a caption for each video. One string is one caption.
            seed: of the noise behind z. The same seed with another caption keeps it. A generator goes on where it
                stopped, so that the videos of a seed can be drawn a part at a time.
            temperature: the standard deviations of every P(z^t) are multiplied by it. 1 samples the model; less gives
                clearer and less varied videos, 0 the middles of the prior's components.
            return_canvases: give the canvas after every drawing step; the last is the video.

        Returns:
            `[video, frame, channel, height, width]`, with canvases `[video, draw_step, frame, channel, height, width]`.

        Raises:
            UserError: nothing was asked for, a caption is not understood, or the temperature is out of range.
        """
        captions = [what] if isinstance(what, str) else None if isinstance(what, int) else list(what)
        count = what if isinstance(what, int) else len(captions or [])
        if count < 1:
            raise UserError("nothing to generate: ask for one video or more")
        if not (temperature >= 0 and math.isfinite(temperature)):
            raise UserError(f"temperature is {temperature}; it must be 0 or more")
        training = self.training
        self.eval()
        noise = self.noise(count, seed) if isinstance(seed, int) else self.noise([seed] * count)
        drawing = self(
            None, captions, noise=noise._replace(latents=temperature * noise.latents), return_canvases=return_canvases
        )
        self.train(training)
        return drawing.videos if drawing.canvases is None else drawing.canvases

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.generator.first_canvas.device

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of a video."""
        return self.config.shape

    @property
    def captioned(self) -> bool:
        """Whether it draws from captions."""
        return self.config.captioned

    def noise(self, which: int | Sequence[torch.Generator | None], seed: int = 0) -> Noise:
        """The noise of videos 0..which under a seed, the same on every device and for any number of videos; or of one
        video for each of some generators."""
        generators = [torch.Generator().manual_seed(seed)] * which if isinstance(which, int) else which
        return self._noise(generators).to(self.device)

    def _noise(self, generators: Sequence[torch.Generator | None]) -> Noise:
        return self._split(torch.stack([torch.randn(self._noise_shape, generator=g) for g in generators]))

    def _split(self, numbers: Float[Tensor, "batch draw_step number"]) -> Noise:
        return Noise(*numbers.split(self._noise_sizes, dim=2))

    @property
    def _noise_sizes(self) -> tuple[int, int, int]:
        return self.config.latent_size, self.generator.prior.noise_size, self.conditioner.noise_size

    @property
    def _noise_shape(self) -> tuple[int, int]:
        return self.config.draw_steps, sum(self._noise_sizes)

    def tokenise(self, captions: Sequence[str] | None, count: int) -> Tensor | None:
        """The captions as numbers, for `count` videos."""
        if captions is None:
            return None
        if len(captions) != count:
            raise UserError(f"got {len(captions)} captions for {count} videos; give one caption for each video")
        return self.conditioner.tokenise(captions)

    def targets(self, videos: UInt8[Tensor, "batch frame channel height width"]) -> Videos:
        """uint8 pixels as targets in [0, 1] under the model's protocol."""
        return targets(videos.to(self.device), self.config.protocol)

    def check(self, videos: Tensor) -> None:
        """Raise UserError unless the videos have the model's shape."""
        if videos.ndim != 5 or videos.shape[1:] != self.config.shape:
            raise UserError(
                f"got videos of shape {list(videos.shape)}; this model takes [batch, frame, channel, height, width] = "
                f"[any, {', '.join(map(str, self.config.shape))}]"
            )

    @torch.no_grad()
    def set_first_canvas(self, mean: Float[Tensor, "channel height width"]) -> None:
        """Start a learned canvas at the data's mean frame, or its mean colour, in (0, 1)."""
        first = self.generator.first_canvas
        if isinstance(first, nn.Parameter):
            mean = mean if first.shape[1:] == mean.shape[1:] else mean.mean(dim=(1, 2), keepdim=True)
            first.copy_(mean.clamp(1e-4, 1 - 1e-4).logit())


def targets(videos: UInt8[Tensor, "*shape"], protocol: Protocol) -> Float[Tensor, "*shape"]:
    """uint8 pixels as targets in [0, 1]: thresholded at 0.5 (`binary`), or divided by 255."""
    return (videos > 127).float() if protocol == "binary" else videos.float() / 255
