"""VGAN, with which v2 section 4.7 compares Sync-DRAW: a generative adversarial network of two streams.

Vondrick, Pirsiavash and Torralba, "Generating Videos with Scene Dynamics", NIPS 2016. Where the paper is silent, the
line says what its released code does (github.com/cvondrick/videogan, main.lua); where we differ from both, it says so.

| volume, frames x height x width | foreground | background | critic, read upwards |
|---|---|---|---|
| the code z, or the verdict | 100 | 100 | 2 |
| 2 x 4 x 4 | 512 | 512 | 512 |
| 4 x 8 x 8 | 256 | 256 | 256 |
| 8 x 16 x 16 | 128 | 128 | 128 |
| 16 x 32 x 32 | 64 | 64 | 64 |
| 32 x 64 x 64 | 3, and 1 for the mask | 3 | 3 |

The background has no frames: its volumes are pictures. Kernels are 4 wide in every direction, with stride 2 and
padding 1; those next to the code and the verdict span the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from syncdraw.config import VGANConfig
from syncdraw.errors import UserError
from syncdraw.gaussian import at_least_float32, normal_numbers

MASK_SPARSITY = 0.1
"""lambda, the weight of the mask's L1 norm. As in the released code it is the norm's mean over the mask's numbers, not
their sum, which is what the paper writes and a hundred thousand times as much."""

LEARNING_RATE, BETAS = 2e-4, (0.5, 0.999)
"""Of both Adams. The second beta is the released code's default."""

REAL, FAKE = 0, 1
"""The critic's two classes. Its verdict is a pair of logits in this order."""


def compose(
    foreground: Float[Tensor, "batch frame channel height width"],
    mask: Float[Tensor, "batch frame 1 height width"],
    background: Float[Tensor, "batch 1 channel height width"],
) -> Float[Tensor, "batch frame channel height width"]:
    """m * f + (1 - m) * b: the mask is shared by the channels, the background by the frames."""
    return mask * foreground + (1 - mask) * background


class Scene(NamedTuple):
    """What a generator makes: two streams and the mask between them, all in [0, 1]."""

    foreground: Float[Tensor, "batch frame channel height width"]
    mask: Float[Tensor, "batch frame 1 height width"]
    background: Float[Tensor, "batch 1 channel height width"]

    @property
    def video(self) -> Float[Tensor, "batch frame channel height width"]:
        """The two streams, composed. In [0, 1], exactly: rounding keeps order, and m + (1 - m) rounds to 1."""
        return compose(*self)


class Generator(nn.Module):
    """From a code to a scene: fractionally strided convolutions, in space-time for what moves and in
    space for what stands still."""

    def __init__(self, config: VGANConfig) -> None:
        super().__init__()
        self.config = config
        narrowest, volume = config.filters, config.first_volume
        self.moving = nn.Sequential(
            nn.ConvTranspose3d(config.latent_size, config.widths[0], volume),
            nn.BatchNorm3d(config.widths[0]),
            nn.ReLU(inplace=True),
        )
        self.still = nn.Sequential(
            nn.ConvTranspose2d(config.latent_size, config.widths[0], volume[1:]),
            nn.BatchNorm2d(config.widths[0]),
            nn.ReLU(inplace=True),
        )
        for wide, narrow in pairwise(config.widths):
            self.moving.extend(
                [nn.ConvTranspose3d(wide, narrow, 4, 2, 1), nn.BatchNorm3d(narrow), nn.ReLU(inplace=True)]
            )
            self.still.extend(
                [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
            )
        self.foreground = nn.ConvTranspose3d(narrowest, config.channels, 4, 2, 1)
        self.mask = nn.ConvTranspose3d(narrowest, 1, 4, 2, 1)
        self.background = nn.ConvTranspose2d(narrowest, config.channels, 4, 2, 1)
        self.apply(_initialise)

    def forward(self, noise: Float[Tensor, "batch latent"]) -> Scene:
        """The scenes of codes from N(0, I). In training, batch norm makes each depend on its whole batch."""
        moving = self.moving(noise[:, :, None, None, None])
        # [batch, channel, frame, height, width] inside, as convolutions want it.
        foreground = self.foreground(moving).transpose(1, 2)
        mask = self.mask(moving).transpose(1, 2)
        background = self.background(self.still(noise[:, :, None, None])).unsqueeze(1)
        return Scene(_from_tanh(foreground), at_least_float32(mask).sigmoid(), _from_tanh(background))


class Critic(nn.Module):
    """Tells real videos from generated ones: convolutions in space-time, each of stride 2."""

    def __init__(self, config: VGANConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        # No batch norm after the first convolution. Its epsilon is the released code's, 100 times the usual one.
        self.layers = nn.Sequential(nn.Conv3d(config.channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True))
        for narrow, wide in pairwise(widths):
            self.layers.extend(
                [nn.Conv3d(narrow, wide, 4, 2, 1), nn.BatchNorm3d(wide, eps=1e-3), nn.LeakyReLU(0.2, inplace=True)]
            )
        self.layers.append(nn.Conv3d(widths[-1], 2, config.first_volume))
        self.apply(_initialise)

    def forward(self, videos: Float[Tensor, "batch frame channel height width"]) -> Float[Tensor, "batch 2"]:
        """The logits of real and of fake."""
        return self.layers(2 * videos.transpose(1, 2) - 1).flatten(1)

    def loss(self, videos: Float[Tensor, "batch frame channel height width"], label: int) -> Float[Tensor, ""]:
        """The cross entropy of these videos' verdicts with one label for all, nats, the mean over the batch."""
        verdicts = at_least_float32(self(videos))
        return functional.cross_entropy(verdicts, torch.full((len(videos),), label, device=verdicts.device))


class Losses(NamedTuple):
    """What one adversarial step found before it moved the network in question, without gradients.

    Attributes:
        critic: its cross entropy on the real batch and on the fake one, nats, added; 2 log 2 where it cannot tell.
        generator: the cross entropy of the fake batch with the label of real, nats, by the critic that has moved.
        sparsity: lambda times the mean of the mask, the other part of what the generator is trained on.
    """

    critic: Float[Tensor, ""]
    generator: Float[Tensor, ""]
    sparsity: Float[Tensor, ""]


class Batch(NamedTuple):
    """Clips and the codes that they are told from."""

    videos: UInt8[Tensor, "batch frame channel height width"]
    noise: Float[Tensor, "batch latent"]


class VGAN(nn.Module):
    """A generator and the critic that it is trained against. Drawing needs the generator alone."""

    captioned = False

    def __init__(self, config: VGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.critic = Critic(config)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of a video."""
        return self.config.shape

    @torch.no_grad()
    def losses(self, batch: Batch) -> Losses:
        """What a step would find, with the statistics gathered in training, and nothing moved."""
        was_training = self.training
        self.eval()
        scene = self.generator(batch.noise.to(self.device))
        critic = self.critic.loss(batch.videos.to(self.device).float() / 255, REAL) + self.critic.loss(
            scene.video, FAKE
        )
        found = Losses(critic, self.critic.loss(scene.video, REAL), MASK_SPARSITY * scene.mask.mean())
        self.train(was_training)
        return found

    def optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """The critic's and the generator's, as published."""
        return (
            torch.optim.Adam(self.critic.parameters(), LEARNING_RATE, BETAS),
            torch.optim.Adam(self.generator.parameters(), LEARNING_RATE, BETAS),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.generator.mask.weight.device

    def prepare(
        self,
        videos: UInt8[np.ndarray, "batch frame channel height width"],
        captions: Sequence[str] | None,
        seed: int | torch.Generator,
        length: int = 0,
        skip: int = 0,
    ) -> Batch:
        """Clips and a code for each, on the host; what captions say is not heeded."""
        if isinstance(seed, torch.Generator):
            codes = self._codes([seed] * (skip + len(videos)))[skip:]
        else:
            codes = normal_numbers(seed, skip, len(videos), (self.config.latent_size,))
        return Batch(torch.from_numpy(videos), codes)

    def noise(self, which: int | Sequence[torch.Generator | None], seed: int = 0) -> Float[Tensor, "count latent"]:
        """The codes of videos 0..which under a seed, the same on every device and for any count; or one code from each
        of some generators."""
        generators = [torch.Generator().manual_seed(seed)] * which if isinstance(which, int) else which
        return self._codes(generators).to(self.device)

    def _codes(self, generators: Sequence[torch.Generator | None]) -> Tensor:
        return torch.stack([torch.randn(self.config.latent_size, generator=one) for one in generators])

    @torch.no_grad()
    def generate(
        self,
        what: int | Sequence[str],
        *,
        seed: int | torch.Generator = 0,
        temperature: float = 1.0,
        return_canvases: bool = False,
    ) -> Float[Tensor, "video frame channel height width"]:
        """New videos, in [0, 1]. Batch norm takes the statistics gathered in training, as in the released code.

        Args:
            what: how many videos, or a caption for each video; what a caption says is not heeded.
            seed: of the codes; a generator goes on where it stopped.
            temperature: the codes' standard deviation. 1 samples the model, 0 gives the same video every time.
            return_canvases: cannot be had: a VGAN draws at once.

        Raises:
            UserError: nothing was asked for, or what cannot be had.
        """
        count = 1 if isinstance(what, str) else what if isinstance(what, int) else len(what)
        if count < 1:
            raise UserError("nothing to generate: ask for one video or more")
        if not 0 <= temperature < float("inf"):
            raise UserError(f"temperature is {temperature}; it must be 0 or more")
        if return_canvases:
            raise UserError("a VGAN draws a video at once, so there are no drawing steps to show")
        was_training = self.training
        self.eval()
        noise = self.noise(count, seed) if isinstance(seed, int) else self.noise([seed] * count)
        video = self.generator(temperature * noise).video
        self.train(was_training)
        return video

    def check(self, videos: Tensor) -> None:
        """Raise UserError unless the videos have the model's shape."""
        if videos.ndim != 5 or videos.shape[1:] != self.shape:
            raise UserError(
                f"got videos of shape {list(videos.shape)}; this model takes [batch, frame, channel, height, width] = "
                f"[any, {', '.join(map(str, self.shape))}]"
            )


def adversarial_step(
    model: VGAN,
    videos: Float[Tensor, "batch frame channel height width"],
    noise: Float[Tensor, "batch latent"],
    critic_optimizer: torch.optim.Optimizer,
    generator_optimizer: torch.optim.Optimizer,
    *,
    precision: Literal["no", "bf16"] = "no",
) -> Losses:
    """Move the critic, then the generator.

    The critic learns to call the real batch `REAL` and the fake one `FAKE`; the batches pass through it one after the
    other, each with batch statistics of its own. The generator then learns to have the same fake batch called `REAL`:
    the non-saturating loss of Goodfellow et al. (2014), as in the released code, in place of the paper's minimax.

    The released code takes the generator's gradient through the critic's new weights, but with the activations of its
    old ones. Here the critic, once moved, looks at the fake batch again, so that it is the gradient of a function.

    Nothing random is drawn here. A run goes on exactly from the model's `state_dict`, which holds the batch norms'
    statistics, and those of both optimisers.

    Args:
        videos: real ones, in [0, 1].
        noise: codes from N(0, I), one for each real video.
        precision: no, or bf16 for autocast.
    """

    model.check(videos)
    model.train()
    # Autocast would keep bfloat16 copies of the critic's weights, and go on with them after the weights have moved.
    autocast = torch.autocast(videos.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
    with autocast:
        scene = model.generator(noise)
        fake = scene.video
        critic_loss = model.critic.loss(videos, REAL) + model.critic.loss(fake.detach(), FAKE)
    critic_optimizer.zero_grad()
    critic_loss.backward()
    critic_optimizer.step()

    with autocast:
        generator_loss = model.critic.loss(fake, REAL)
    sparsity = MASK_SPARSITY * scene.mask.mean()  # a sigmoid is its own absolute value
    generator_optimizer.zero_grad()
    (generator_loss + sparsity).backward(inputs=list(model.generator.parameters()))  # the critic gets no gradient
    generator_optimizer.step()
    return Losses(critic_loss.detach(), generator_loss.detach(), sparsity.detach())


def _from_tanh(activation: Tensor) -> Tensor:
    """Pixels in [0, 1]. The paper's are in [-1, 1]; composing commutes with the change of scale."""
    return (at_least_float32(activation).tanh() + 1) / 2


def _initialise(module: nn.Module) -> None:
    """Weights with standard deviation 0.01 around 0, and, from the released code, batch norm's scales with 0.02 around
    1."""
    if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0, 0.01)
    elif isinstance(module, (nn.BatchNorm3d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1, 0.02)
    if isinstance(bias := getattr(module, "bias", None), Tensor):
        nn.init.zeros_(bias)
