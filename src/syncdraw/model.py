"""Sync-DRAW: a recurrent variational autoencoder that draws all frames of a video together (v2 section 3.1).

The equation numbers are those of the second paper (ACM MM 2017); those of the first are marked v1. Where the papers
are silent or wrong, the line says what is done instead, and docs/fidelity.md collects it.

| paper | here | | paper | here |
|---|---|---|---|---|
| N | frames | | h_enc, h_dec | first of `State.encoder`, of `State.decoder` |
| K | grid_size | | z, w, S | z, content, caption |
| T | draw_steps | | L_X | reconstruction, nats per video |
| c, C | canvas (logits) | | L_Z | divergence, nats per video |

`Inference` is Q(Z | X), `Generator` is P(X, Z), `SyncDraw` the loop that both of them share. building.py makes all
three from a config; interface.py has what is called from outside, such as `generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from syncdraw.attention import Attention, Videos, Window
from syncdraw.captions import Caption, Condition, Conditioner
from syncdraw.config import SyncDrawConfig
from syncdraw.gaussian import Gaussian, at_least_float32, gaussian
from syncdraw.interface import Batch, Interface, Noise, targets
from syncdraw.likelihoods import Likelihood
from syncdraw.priors import Distribution, Prior

__all__ = ["Batch", "Drawing", "Generator", "Inference", "Noise", "SyncDraw", "SyncDrawConfig", "Videos", "targets"]

Hidden = tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]
"""h and the cell of an LSTM."""


@runtime_checkable  # for the type checks in the tests
class Surface(Protocol):
    """What is drawn on: a `Canvas`, or another that does as much."""

    @property
    def logits(self) -> Videos: ...
    @property
    def video(self) -> Videos: ...
    def read(self, attention: Attention, videos: Videos, window: Window) -> tuple[Tensor, Tensor]: ...
    def write(self, attention: Attention, patch: Tensor, window: Window) -> Surface: ...


class Canvas(NamedTuple):
    """What has been drawn so far, c^t."""

    logits: Videos

    @property
    def video(self) -> Videos:
        """The pixels' probabilities, sigma(c^t)."""
        return self.logits.sigmoid()

    def read(self, attention: Attention, videos: Videos, window: Window) -> tuple[Tensor, Tensor]:
        """read(x) and read(sigma(c^t)) (eq 5)."""
        return attention.read_both(videos, self.logits, window)

    def write(self, attention: Attention, patch: Float[Tensor, "batch patch"], window: Window) -> Canvas:
        """c^t = c^{t-1} + write(h_dec^t) (eqs 9-10)."""
        return self._replace(logits=attention.write_onto(self.logits, patch, window))


class State(NamedTuple):
    """What one drawing step hands to the next."""

    canvas: Surface
    encoder: Hidden
    decoder: Hidden
    belief: Float[Tensor, "batch belief"]
    """What the prior remembers of the steps so far; nothing, for the papers' priors."""


class Video(NamedTuple):
    """Videos that are to be encoded, and what the reading windows take from them at every step."""

    pixels: Videos
    window_parameters: Float[Tensor, "batch numbers"] | None


class Inference(nn.Module):
    """Q(Z^t | X, Z^1..Z^{t-1}): looks at the video through windows (eqs 1-7).

    Args:
        attention: to read with.
        caption_size: width of what the encoder LSTM is told of the caption.
        video_size: numbers in a video, where windows depend on the video (v2), or None, where they do not (v1).
    """

    def __init__(
        self, attention: Attention, hidden_size: int, latent_size: int, caption_size: int, video_size: int | None
    ) -> None:
        super().__init__()
        self.attention = attention
        self.read_parameters = to_window(hidden_size, attention)
        self.video_parameters = None
        if video_size is not None:
            self.video_parameters = nn.Linear(video_size, attention.parameter_size, bias=False)
        self.lstm = nn.LSTMCell(2 * attention.patch_size + hidden_size + caption_size, hidden_size)
        self.posterior = nn.Linear(hidden_size, 2 * latent_size)

    def look(self, videos: Videos) -> Video:
        """What is the same at every step."""
        return Video(videos, None if self.video_parameters is None else self.video_parameters(videos.flatten(1)))

    def forward(self, video: Video, state: State, caption: Caption) -> tuple[Gaussian, Hidden, Window]:
        """Q(Z^t), the encoder's new state, and the window that was read through."""
        h_dec, _ = state.decoder
        parameters = self.read_parameters(h_dec)
        if video.window_parameters is not None:
            parameters = parameters + video.window_parameters
        window = self.attention.window(parameters)  # eqs 1-4
        read, drawn = state.canvas.read(self.attention, video.pixels, window)  # eq 5
        # Reading is linear, so read(x^) = read(x) - read(sigma(c)) (eq 6) needs no error image.
        encoder = self.lstm(torch.cat([read, read - drawn, h_dec, caption.encoder], dim=1), state.encoder)  # eqs 7, 12
        mean, log_deviation = self.posterior(encoder[0]).chunk(2, dim=1)
        return gaussian(mean, log_deviation), encoder, window


class Generator(nn.Module):
    """P(Z) and P(X | Z): draws through windows (eqs 8-10, 13; v1 eq 14).

    Args:
        attention: to write with.
        prior: P(Z^t).
        caption_size: width of what the decoder LSTM is told of the caption.
        first_canvas: c^0, logits that broadcast to a video; a parameter where it is learned.
        likelihood: P(X | Z), of the last canvas.
        content: from h_dec to the patch that is written; `nn.Linear` unless given.
    """

    first_canvas: Tensor

    def __init__(
        self, attention: Attention, prior: Prior, hidden_size: int, latent_size: int, caption_size: int,
        first_canvas: Tensor | nn.Parameter, likelihood: Likelihood, content: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.attention = attention
        self.prior = prior
        self.lstm = nn.LSTMCell(latent_size + caption_size, hidden_size)
        self.write_parameters = to_window(hidden_size, attention)
        self.content = content or nn.Linear(hidden_size, attention.patch_size)
        self.likelihood = likelihood
        if isinstance(first_canvas, nn.Parameter):
            self.first_canvas = first_canvas
        else:
            self.register_buffer("first_canvas", first_canvas)

    def forward(
        self, z: Float[Tensor, "batch latent"], state: State, caption: Caption
    ) -> tuple[Surface, Hidden, Window]:
        """The next canvas, the decoder's new state, and the window that was written through."""
        decoder = self.lstm(torch.cat([z, caption.decoder], dim=1), state.decoder)  # eqs 8, 13
        window = self.attention.window(self.write_parameters(decoder[0]))
        canvas = state.canvas.write(self.attention, self.content(decoder[0]), window)  # eqs 9-10
        return canvas, decoder, window


def to_window(hidden_size: int, attention: Attention) -> nn.Linear:
    """From h_dec to an attention's parameters, begun at the attention's first window."""
    linear = nn.Linear(hidden_size, attention.parameter_size)
    with torch.no_grad():
        linear.bias.copy_(attention.window_start)
    return linear


class Step(NamedTuple):
    """What can be seen of one drawing step. Without videos there is no posterior: z comes from the prior.

    `h_dec` is the one that the prior was made from, h_dec^{t-1}. `cost` is what it cost to know the canvas's
    condition, nats: at a canvas's first step, and None where that is for nothing.
    """

    z: Float[Tensor, "batch latent"]
    prior: Distribution
    posterior: Gaussian | None
    read_window: Window | None
    write_window: Window
    caption: Caption
    h_dec: Float[Tensor, "batch hidden"]
    cost: Float[Tensor, " batch"] | None = None

    @property
    def divergence(self) -> Float[Tensor, " batch"]:
        """KL(Q(Z^t) || P(Z^t)), nats, and the cost of the condition."""
        if self.posterior is None:
            return self.z.new_zeros(len(self.z))
        divergence = self.prior.divergence_of(self.posterior, self.z)
        return divergence if self.cost is None else divergence + self.cost

    @property
    def log_ratio(self) -> Float[Tensor, " batch"]:
        """log P(z^t) - log Q(z^t), nats: what importance weighting needs in place of the divergence."""
        if self.posterior is None:
            return self.z.new_zeros(len(self.z))
        ratio = self.prior.log_prob(self.z) - self.posterior.log_prob(self.z).sum(dim=1)
        return ratio if self.cost is None else ratio - self.cost


@dataclass(frozen=True)
class Drawing:
    """A batch of drawn videos, and how they came about.

    Attributes:
        logits: C^T `[batch, frame, channel, height, width]`; `logits.sigmoid()` is the video.
        reconstruction: L_X, nats, `[batch]`; zero where nothing was to be reconstructed.
        divergence_by_step: KL(Q(Z^t) || P(Z^t)), nats, `[batch, draw_step]`; its sum over steps is L_Z.
        canvases: sigma(C^1) to sigma(C^T) `[batch, draw_step, frame, channel, height, width]`, when asked for.
        steps: the windows, alignments and latents of every drawing step.
    """

    logits: Tensor
    reconstruction: Tensor
    divergence_by_step: Tensor
    canvases: Tensor | None
    steps: list[Step]

    @property
    def divergence(self) -> Tensor:
        """L_Z, nats, `[batch]`."""
        return self.divergence_by_step.sum(dim=1)

    @property
    def negative_elbo(self) -> Tensor:
        """L_X + L_Z, nats per video, `[batch]`: an upper bound on the negative log-likelihood."""
        return self.reconstruction + self.divergence

    @property
    def log_weight(self) -> Tensor:
        """log P(X, Z) - log Q(Z | X) of the latents that were drawn, nats, `[batch]` (Burda et al. 2016, eq 7)."""
        return torch.stack([step.log_ratio for step in self.steps]).sum(dim=0) - self.reconstruction

    @property
    def videos(self) -> Tensor:
        """Emission probabilities sigma(C^T), `[batch, frame, channel, height, width]` in [0, 1]."""
        return self.logits.sigmoid()

    @property
    def alignment(self) -> Tensor | None:
        """alpha `[batch, draw_step, word]` of the word-alignment route, else None."""
        weights = [step.caption.alignment for step in self.steps if step.caption.alignment is not None]
        return torch.stack(weights, dim=1) if weights else None


Adjust = Callable[[int, Gaussian], Gaussian]
"""Takes t and the encoder's Q(Z^t), gives the Q to draw from."""
Watch = Callable[[State], object]
"""Is given the state after each drawing step."""


class SyncDraw(Interface):
    """The model of v2 section 3.1, and of v1 section 3 where the conditioner aligns words.

    Args:
        config: what it was built from.
        inference: Q.
        generator: P.
        conditioner: what tells both of them what to draw.
    """

    def __init__(
        self, config: SyncDrawConfig, inference: Inference, generator: Generator, conditioner: Conditioner
    ) -> None:
        super().__init__()
        self.config = config
        self.inference = inference
        self.generator = generator
        self.conditioner: Conditioner = conditioner

    def start(self, condition: Condition) -> State:
        """The state before the first drawing step: c^0, and zeros."""
        batch = condition.states.shape[0]
        canvas = self.generator.first_canvas.expand(batch, *self.config.shape).contiguous()
        zeros = canvas.new_zeros(batch, self.config.hidden_size)
        belief = self.generator.prior.start(zeros, self.conditioner.attend(condition, zeros).decoder)
        return State(Canvas(canvas), (zeros, zeros), (zeros, zeros), belief)

    def step(
        self,
        state: State,
        condition: Condition,
        noise: Float[Tensor, "batch latent"],
        choice: Float[Tensor, "batch choice"],
        video: Video | None,
        adjust: Callable[[Gaussian], Gaussian] | None = None,
    ) -> tuple[State, Step]:
        """One of T steps. With a video z^t comes from Q, without from P; all else is the same."""
        canvas, encoder, (h_dec, _), belief = state
        caption = self.conditioner.attend(condition, h_dec)  # S (eq 11), or s_t (v1 eqs 12-13)
        prior = self.generator.prior(h_dec, caption.decoder, belief)  # P(Z^t)
        posterior, read_window = None, None
        if video is None:
            z = prior.draw(noise, choice)
        else:
            posterior, encoder, read_window = self.inference(video, state, caption)  # Q(Z^t | h_enc^t), eqs 1-7
            posterior = adjust(posterior) if adjust else posterior
            z = posterior.at(noise)
        canvas, decoder, write_window = self.generator(z, state, caption)  # eqs 8-10
        seen = Step(z, prior, posterior, read_window, write_window, caption, h_dec)
        return State(canvas, encoder, decoder, prior.given(z)), seen

    def draw(
        self, state: State, condition: Condition, noise: Noise, video: Video | None, adjust: Adjust | None, watch: Watch
    ) -> tuple[State, list[Step]]:
        """All steps of a canvas: the state after them, and what can be seen of each."""
        steps = []
        for t, (latents, choice) in enumerate(zip(noise.latents.unbind(1), noise.prior.unbind(1), strict=True)):
            state, step = self.step(state, condition, latents, choice, video, partial(adjust, t) if adjust else None)
            steps.append(step)
            watch(state)
        steps[0] = steps[0]._replace(cost=condition.cost)
        return state, steps

    def trace(
        self, tokens: Tensor | None, noise: Noise, video: Video | None, adjust: Adjust | None, watch: Watch
    ) -> tuple[State, list[Step]]:
        """From the captions' tokens to the finished canvas."""
        condition = self.conditioner.prepare(tokens, None if video is None else video.pixels, noise.condition[:, 0])
        return self.draw(self.start(condition), condition, noise, video, adjust, watch)

    def forward(
        self,
        videos: Videos | None,
        captions: Sequence[str] | Tensor | None = None,
        *,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
        adjust: Adjust | None = None,
        return_canvases: bool = False,
        likelihood: Likelihood | None = None,
    ) -> Drawing:
        """Draw videos over T steps: reconstructions of `videos`, or new ones where `videos` is None.

        Args:
            videos: targets in [0, 1]; `targets` makes them from uint8 by the model's protocol.
            captions: one for each video, for a model with captions, or their `tokenise`d numbers.
            noise: from which z^1..z^T are made; drawn from `generator` when absent.
            adjust: changes the encoder's Q, step by step.
            return_canvases: keep the canvas after each drawing step.
            likelihood: P(X | Z) in place of the generator's own, for videos as targets of another protocol.

        Raises:
            UserError: the videos do not have the model's shape, or the captions do not fit the model.
        """
        if videos is not None:
            self.check(videos)
            noise = noise or self.noise([generator] * len(videos))
        elif noise is None:
            raise ValueError("forward needs videos to reconstruct, or noise to draw new ones from; see generate()")
        tokens = self.tokenise(captions, len(noise.latents)) if not isinstance(captions, Tensor) else captions
        video = None if videos is None else self.inference.look(videos)
        canvases: list[Tensor] = []
        watch: Watch = (lambda state: canvases.append(state.canvas.video)) if return_canvases else lambda state: None
        state, steps = self.trace(None if tokens is None else tokens.to(self.device), noise, video, adjust, watch)
        logits = at_least_float32(state.canvas.logits)
        reconstruction = logits.new_zeros(len(logits))
        if videos is not None:
            reconstruction = (likelihood or self.generator.likelihood)(logits, videos)  # L_X
        return Drawing(
            logits=logits,
            reconstruction=reconstruction,
            divergence_by_step=torch.stack([step.divergence for step in steps], dim=1),  # L_Z
            canvases=torch.stack(canvases, dim=1) if return_canvases else None,
            steps=steps,
        )
