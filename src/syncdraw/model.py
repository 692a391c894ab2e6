"""Sync-DRAW: a recurrent variational autoencoder that draws all frames of a video together (v2 section 3.1).

The equation numbers are those of the second paper (ACM MM 2017); those of the first are marked v1. Where the papers
are silent or wrong, the line says what is done instead, and docs/fidelity.md collects it.

| paper | here | | paper | here |
|---|---|---|---|---|
| N | frames | | h_enc, h_dec | `State.encoder`, `State.decoder`, first of each pair |
| K | grid_size | | z, w, S | z, content, caption |
| T | draw_steps | | L_X | reconstruction, nats per video |
| c, C | canvas (logits) | | L_Z | divergence, nats per video |
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from syncdraw.attention import (
    Attention,
    CuboidAttention,
    FrameAttention,
    GlobalAttention,
    Window,
    at_least_float32,
)
from syncdraw.captions import Caption, Conditioner, NoCaptions, SentenceVector, WordAlignment, Words, by_layer, clauses
from syncdraw.categories import CategoryVector, Recogniser
from syncdraw.encoders import RecurrentEncoder, WordStates, load_encoder
from syncdraw.errors import UserError
from syncdraw.priors import PRIORS, Mixture, Prior, normal
from syncdraw.vocabulary import Vocabulary


@dataclass(frozen=True)
class SyncDrawConfig:
    """Everything that shapes a model. The defaults are the papers'.

    Attributes:
        frames: number of frames, N in the papers.
        channels: 1 for grey, 3 for RGB.
        height: pixels, A.
        width: pixels, B.
        draw_steps: T, over how many steps the video is drawn.
        layers: the video is drawn in so many layers, each over an equal share of the steps and with LSTM states and a
            canvas of its own; layers add up as light does (the papers: one). A layer draws one clause of the caption,
            and whatever draws one digit draws two (ours).
        grid_size: K, the window has K x K filters.
        write_grid_size: K for writing, where it differs from reading.
        hidden_size: width of both LSTMs.
        latent_size: width of each z^t.
        attention: a window for each frame, one for all frames (Table 1's Global) or one in space-time (its Baseline).
        read_from: windows to read with come from h_dec^{t-1} (v1), or from h_dec^{t-1} and the video (v2).
        content: what is written is each frame's own (papers), or shared by all frames, each placing it (ours).
        canvas: starts at zero, probability 0.5 everywhere (papers), or at a learned logit (ours, and DRAW's code).
        window_start: filters begin 1 pixel wide (papers), or smooth, half a stride wide (ours).
        prior: N(0, I) (v2), v1's caption prior, or a network of h_dec^{t-1} and the caption (ours).
        prior_components: of which the network prior is a mixture; the papers' priors have one.
        categories: where there are no captions, a model chooses one of so many before it draws a layer (ours).
        captions: none, v1's word alignment, or v2's sentence vector.
        caption_size: width of the caption's representation, for encoders trained with the model, or of a category's.
        encoder: of the sentence route: recurrent (trained with the model), minilm, or skip-thoughts:FOLDER.
        encoder_version: which weights a frozen encoder had when the model was trained.
        vocabulary: the words a trained caption encoder knows.
        word_dropout: share of words hidden from the caption encoder in training.
        protocol: pixels are thresholded at 0.5 (binary), or soft targets (grey).
    """

    frames: int = 10
    channels: int = 1
    height: int = 64
    width: int = 64
    draw_steps: int = 10
    layers: int = 1
    grid_size: int = 8
    write_grid_size: int | None = None
    hidden_size: int = 256
    latent_size: int = 100
    attention: Literal["frame", "global", "cuboid"] = "frame"
    read_from: Literal["state", "state_and_video"] = "state"
    content: Literal["per_frame", "shared"] = "per_frame"
    canvas: Literal["zero", "learned"] = "zero"
    window_start: Literal["paper", "smooth"] = "paper"
    prior: Literal["standard", "caption", "network"] = "standard"
    prior_components: int = 1
    categories: int = 0
    captions: Literal["none", "alignment", "sentence"] = "none"
    caption_size: int = 128
    encoder: str = "recurrent"
    encoder_version: str = ""
    vocabulary: tuple[str, ...] = ()
    word_dropout: float = 0.0
    protocol: Literal["binary", "grey"] = "grey"

    def __post_init__(self) -> None:
        for name in (
            "frames", "height", "width", "draw_steps", "layers", "grid_size", "hidden_size", "latent_size",
            "prior_components",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}; it must be 1 or more")
        if self.draw_steps % self.layers:
            raise UserError(
                f"model.layers is {self.layers}; it must divide model.draw_steps, which is {self.draw_steps}"
            )
        if self.prior_components > 1 and self.prior != "network":
            raise UserError(f"model.prior is {self.prior}; with several model.prior_components it must be network")
        if self.categories < 0 or self.categories == 1:
            raise UserError(f"model.categories is {self.categories}; it must be 0 for none, or 2 or more")
        if self.categories and self.captions != "none":
            raise UserError(f"model.captions is {self.captions}; with model.categories it must be none")
        if self.channels not in (1, 3):
            raise UserError(f"model.channels is {self.channels}; it must be 1 (grey) or 3 (RGB)")
        if self.content == "shared" and self.attention == "cuboid":
            raise UserError("model.content is shared, which goes with attention frame or global, not cuboid")
        if not 0 <= self.word_dropout < 1:
            raise UserError(f"model.word_dropout is {self.word_dropout}; it must be at least 0 and below 1")
        # JSON and YAML give lists.
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of a video."""
        return self.frames, self.channels, self.height, self.width

    @property
    def noise_shape(self) -> tuple[int, int]:
        """`(draw_steps, numbers a step)` of the noise that makes a video: after the latents' one for the choice of a
        mixture's component, and one for that of a category."""
        return self.draw_steps, self.latent_size + (self.prior_components > 1) + (self.categories > 0)


INFERENCE = ("read_parameters", "video_parameters", "encoder", "posterior", "later_starts")
"""The layers of Q(Z | X) that are trained with the model. All others but `recogniser` draw: P(Z) and P(X | Z)."""


class State(NamedTuple):
    """What one drawing step hands to the next: C^t, (h, cell) of the two LSTMs, the weights of a mixture prior, what
    the layers before this one have drawn (its logits, and the probability of dark in each of its pixels), and what
    this layer is drawn from, its clause of the caption or its category."""

    canvas: Float[Tensor, "batch frame channel height width"]
    encoder: tuple[Tensor, Tensor]
    decoder: tuple[Tensor, Tensor]
    log_weights: Float[Tensor, "batch component"]
    below: Float[Tensor, "batch frame channel height width"] | None = None
    dark_below: Float[Tensor, "batch frame channel height width"] | None = None
    words: Words | None = None

    @property
    def logits(self) -> Float[Tensor, "batch frame channel height width"]:
        """All layers so far. Light adds: what none of them leaves dark, 1 - p = (1 - p_below) (1 - p_canvas)."""
        if self.below is None:
            return self.canvas
        below, canvas = at_least_float32(self.below), at_least_float32(self.canvas)
        return torch.logaddexp(torch.logaddexp(below, canvas), below + canvas)

    @property
    def video(self) -> Float[Tensor, "batch frame channel height width"]:
        """`logits.sigmoid()`."""
        if self.dark_below is None:
            return self.canvas.sigmoid()
        return 1 - self.dark_below * (-self.canvas).sigmoid()


class Step(NamedTuple):
    """What can be seen of one drawing step. Without videos there is no posterior: z comes from the prior.

    `h_dec` and `caption` are those that the prior was made from, h_dec^{t-1} and s_t. `choice` is what the choice of
    the layer's category cost, -log P(category) in nats; 0 but for a layer's first step, and without categories.
    """

    z: Float[Tensor, "batch latent"]
    prior: Mixture
    posterior: Normal | None
    write_window: Window
    read_window: Window | None
    alignment: Tensor | None
    h_dec: Float[Tensor, "batch hidden"]
    caption: Float[Tensor, "batch caption"]
    choice: Float[Tensor, " batch"] | float = 0.0

    @property
    def divergence(self) -> Float[Tensor, " batch"]:
        """KL(Q(Z^t) || P(Z^t)), nats. Exact for the papers' priors; eq 14's constant is wrong for more than one latent,
        and v1's eq 16 is not a divergence. For a mixture it is an unbiased estimate, and may be negative. The choice of
        a category, of which X leaves no doubt, is added to it."""
        if self.posterior is None:
            return self.z.new_zeros(len(self.z))
        return self.prior.divergence_from(self.posterior, self.z) + self.choice

    @property
    def log_ratio(self) -> Float[Tensor, " batch"]:
        """log P(z^t) - log Q(z^t), nats: what importance weighting needs in place of the divergence."""
        if self.posterior is None:
            return self.z.new_zeros(len(self.z))
        return self.prior.log_prob(self.z) - self.choice - self.posterior.log_prob(self.z).sum(dim=1)


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
        weights = [step.alignment for step in self.steps if step.alignment is not None]
        return torch.stack(weights, dim=1) if weights else None


ATTENTIONS = {"frame": FrameAttention, "global": GlobalAttention, "cuboid": CuboidAttention}


def build_attention(config: SyncDrawConfig, grid_size: int, shared_content: bool) -> FrameAttention:
    """The attention that a config names."""
    options: dict[str, Any] = {"smooth_start": config.window_start == "smooth"}
    if shared_content:
        options["shared_content"] = True
    return ATTENTIONS[config.attention](*config.shape, grid_size, **options)


def build_conditioner(config: SyncDrawConfig) -> NoCaptions | CategoryVector | WordAlignment | SentenceVector:
    """The conditioner that a config names."""
    if config.categories:
        return CategoryVector(config.categories, config.caption_size)
    if config.captions == "none":
        return NoCaptions()
    if config.captions == "sentence" and config.encoder != "recurrent":
        encoder = load_encoder(config.encoder)
        if config.encoder_version and encoder.version != config.encoder_version:
            raise UserError(
                f"this model was trained with caption encoder {config.encoder_version}, "
                f"but {config.encoder} is {encoder.version}; install that version"
            )
        return SentenceVector(encoder)
    if not config.vocabulary:
        raise UserError("model.vocabulary is empty; a caption encoder trained with the model needs the captions' words")
    vocabulary = Vocabulary(config.vocabulary)
    if config.captions == "sentence":
        return SentenceVector(RecurrentEncoder(vocabulary, config.caption_size, word_dropout=config.word_dropout))
    words = WordStates(vocabulary, config.caption_size, word_dropout=config.word_dropout)
    return WordAlignment(words, config.hidden_size, config.caption_size)


class SyncDraw(nn.Module):
    """The model of v2 section 3.1, and of v1 section 3 with `captions="alignment"`.

    Args:
        config: its shape.
        read_attention, write_attention, conditioner: yours, in place of those that the config names.
    """

    def __init__(
        self,
        config: SyncDrawConfig,
        *,
        read_attention: Attention | None = None,
        write_attention: Attention | None = None,
        conditioner: Conditioner | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        shared = config.content == "shared"
        self.read_attention: Attention = read_attention or build_attention(
            config, config.grid_size, shared_content=False
        )
        self.write_attention: Attention = write_attention or build_attention(
            config, config.write_grid_size or config.grid_size, shared_content=shared
        )
        self.conditioner: Conditioner = conditioner or build_conditioner(config)
        read, write, captions = self.read_attention, self.write_attention, self.conditioner

        self.read_parameters = window_layer(hidden, read)
        self.video_parameters = None
        if config.read_from == "state_and_video":
            pixels = config.frames * config.channels * config.height * config.width
            self.video_parameters = nn.Linear(pixels, read.parameter_size, bias=False)
        self.encoder = nn.LSTMCell(2 * read.patch_size + hidden + captions.encoder_size, hidden)
        self.posterior = nn.Linear(hidden, 2 * config.latent_size)
        options = {"components": config.prior_components} if config.prior_components > 1 else {}
        self.prior: Prior = PRIORS[config.prior](hidden, captions.decoder_size, config.latent_size, **options)
        self.decoder = nn.LSTMCell(config.latent_size + captions.decoder_size, hidden)
        self.write_parameters = window_layer(hidden, write)
        self.content = nn.Linear(hidden, write.patch_size)
        self.recogniser = Recogniser(config.channels, config.categories) if config.categories else None
        # What the encoder LSTM begins each further layer with, (h, cell). The decoder's begins at zero at every layer.
        self.later_starts = nn.ParameterList(torch.zeros(2, hidden) for _ in range(config.layers - 1))
        # One logit for each channel. The papers' canvas starts at zero and stays out of the optimiser's hands.
        first = torch.zeros(config.channels, 1, 1)
        if config.canvas == "learned":
            self.first_canvas = nn.Parameter(first)
        else:
            self.register_buffer("first_canvas", first)

    def start(self, batch: int) -> State:
        """The state before the first drawing step: c^0, and zeros."""
        frames, channels, height, width = self.config.shape
        canvas = self.first_canvas.expand(batch, frames, channels, height, width)
        zeros = canvas.new_zeros(batch, self.config.hidden_size)
        return State(canvas, (zeros, zeros), (zeros, zeros), at_least_float32(canvas).new_zeros(batch, 1))

    def start_layer(
        self, state: State, layer: int, captions: list[Words], noise: Tensor, videos: Tensor | None
    ) -> tuple[State, Tensor | float]:
        """The state before the first step of a layer: what is drawn stays below it, all else begins anew. And what the
        choice of the layer's category costs, -log P(category), nats."""
        if layer > 0:
            h_enc, c_enc = self.later_starts[layer - 1][:, None].expand(-1, len(state.canvas), -1)
            below = state.logits
            state = self.start(len(state.canvas))._replace(
                encoder=(h_enc, c_enc), below=below, dark_below=(-below).sigmoid()
            )
        choice: Tensor | float = 0.0
        if isinstance(self.conditioner, CategoryVector):
            category = self.choose_category(state, noise, videos)
            words = self.conditioner.prepare(category, len(category))
            choice = -self.conditioner.log_shares[category]
        else:
            words = captions[layer]
        caption = self.conditioner.attend(words, state.decoder[0])
        log_weights = self.prior.log_weights(state.decoder[0], caption.decoder)
        return state._replace(words=words, log_weights=log_weights), choice

    @torch.no_grad()
    def choose_category(self, state: State, noise: Tensor, videos: Tensor | None) -> Int[Tensor, " batch"]:
        """What the next layer of each video is of, by what the layers below have left of it; or will be of."""
        assert self.recogniser is not None
        assert isinstance(self.conditioner, CategoryVector)
        if videos is None:
            return self.conditioner.draw(noise[:, -1])
        left = videos if state.dark_below is None else (videos - (1 - state.dark_below)).clamp(min=0)
        found: Tensor = self.recogniser(left).argmax(dim=1)
        return found

    def encode(
        self, state: State, caption: Caption, videos: Tensor, video_parameters: Tensor | float
    ) -> tuple[Normal, Window, tuple[Tensor, Tensor]]:
        """Q(Z^t | h_enc^t), the window that was read through, and the encoder's new state (eqs 1-7)."""
        h_dec, _ = state.decoder
        window = self.read_attention.window(self.read_parameters(h_dec) + video_parameters)
        read = self.read_attention.read(videos, window)
        # Reading is linear, so read(x^) = read(x - sigma(c)) (eq 6) needs no error image.
        read_error = read - self.read_attention.read(state.video, window)
        encoder = self.encoder(torch.cat([read, read_error, h_dec, caption.encoder], dim=1), state.encoder)  # eqs 7, 12
        mean, log_deviation = self.posterior(encoder[0]).chunk(2, dim=1)
        return normal(mean, log_deviation), window, encoder

    def draw(self, state: State, z: Tensor, caption: Caption) -> tuple[State, Window]:
        """One drawing step, the same in training and in generation (eqs 8-10, 13; v1 eq 14)."""
        decoder = self.decoder(torch.cat([z, caption.decoder], dim=1), state.decoder)
        window = self.write_attention.window(self.write_parameters(decoder[0]))
        canvas = state.canvas + self.write_attention.write(self.content(decoder[0]), window)
        return state._replace(canvas=canvas, decoder=decoder), window

    def step(
        self,
        state: State,
        noise: Tensor,
        videos: Tensor | None,
        video_parameters: Tensor | float,
        correction: Tensor | None,
    ) -> tuple[State, Step]:
        """One of T steps. With videos z^t comes from Q, without from P; all else is the same."""
        words, (h_dec, _) = state.words, state.decoder
        assert words is not None
        caption = self.conditioner.attend(words, h_dec)
        prior = Mixture(state.log_weights, self.prior(h_dec, caption.decoder))
        posterior, read_window = None, None
        if videos is None:
            z = prior.draw(noise)
        else:
            posterior, read_window, encoder = self.encode(state, caption, videos, video_parameters)
            if correction is not None:
                shift, log_factor = correction.chunk(2, dim=1)
                posterior = normal(posterior.loc + posterior.scale * shift, posterior.scale.log() + log_factor)
            state = state._replace(encoder=encoder)
            z = posterior.loc + posterior.scale * noise[:, : self.config.latent_size]
        state, write_window = self.draw(state._replace(log_weights=prior.given(z)), z, caption)
        alignment = words.place(caption.alignment)
        return state, Step(z, prior, posterior, write_window, read_window, alignment, h_dec, caption.decoder)

    def several_steps(
        self,
        state: State,
        captions: list[Words],
        noise: Float[Tensor, "batch some_steps noise"],
        first: int,
        videos: Tensor | None,
        video_parameters: Tensor | float,
        corrections: Tensor | None,
        return_canvases: bool,
    ) -> tuple[State, list[Step], list[Tensor]]:
        """Steps `first`, `first` + 1, ...: the state after them, what can be seen of each, and the video after each."""
        steps, canvases = [], []
        for t, noise_t in enumerate(noise.unbind(dim=1), start=first):
            layer, into_layer = divmod(t, self.config.draw_steps // self.config.layers)
            choice: Tensor | float = 0.0
            if into_layer == 0:
                state, choice = self.start_layer(state, layer, captions, noise_t, videos)
            correction = None if corrections is None else corrections[:, t]
            state, step = self.step(state, noise_t, videos, video_parameters, correction)
            steps.append(step._replace(choice=choice))
            if return_canvases:
                canvases.append(state.video)
        return state, steps, canvases

    def forward(
        self,
        videos: Float[Tensor, "batch frame channel height width"] | None,
        captions: Sequence[str] | None = None,
        *,
        noise: Float[Tensor, "batch draw_step noise"] | None = None,
        generator: torch.Generator | None = None,
        corrections: Float[Tensor, "batch draw_step two_latents"] | None = None,
        return_canvases: bool = False,
        checkpointing: bool = False,
    ) -> Drawing:
        """Draw videos over T steps: reconstructions of `videos`, or new ones where `videos` is None.

        Args:
            videos: targets in [0, 1]; `targets` makes them from uint8 by the model's protocol.
            captions: one for each video, for a model with captions.
            noise: standard normal, from which z^1..z^T are made, `[batch, *config.noise_shape]`; drawn from `generator`
                when absent.
            corrections: to Q of each video and step, from `refinement.refine`: of its mean, in its deviations, then of
                the logarithm of its deviation.
            return_canvases: keep the canvas after each drawing step.
            checkpointing: keep the state at every sqrt(T)-th step and compute the others again in the backward pass:
                less memory for more time; docs/data.md says how much.
        """
        if videos is not None:
            self.check(videos)
            batch = len(videos)
        elif noise is not None:
            batch = len(noise)
        else:
            raise ValueError("forward needs videos to reconstruct, or noise to draw new ones from; see generate()")
        if noise is None:
            size = (batch, *self.config.noise_shape)
            noise = torch.randn(size, generator=generator, device=self.first_canvas.device)
        words: list[Words] = []
        if self.recogniser is None:
            words = by_layer(self.conditioner, captions, batch, self.config.layers)
        video_parameters: Tensor | float = 0.0
        if self.video_parameters is not None and videos is not None:
            video_parameters = self.video_parameters(videos.flatten(1))

        state, steps, canvases = self.start(batch), [], []
        # With checkpointing about sqrt(T) states are kept, and about sqrt(T) steps computed again at a time.
        stride = math.isqrt(noise.shape[1]) if checkpointing else noise.shape[1]
        for first in range(0, noise.shape[1], stride):
            arguments = (
                state,
                words,
                noise[:, first : first + stride],
                first,
                videos,
                video_parameters,
                corrections,
                return_canvases,
            )
            if checkpointing:
                state, more_steps, more_canvases = checkpoint(self.several_steps, *arguments, use_reentrant=False)
            else:
                state, more_steps, more_canvases = self.several_steps(*arguments)
            steps += more_steps
            canvases += more_canvases

        logits = at_least_float32(state.logits)
        reconstruction = logits.new_zeros(batch)
        if videos is not None:
            pixelwise = functional.binary_cross_entropy_with_logits(logits, videos, reduction="none")
            reconstruction = pixelwise.flatten(1).sum(dim=1)
        return Drawing(
            logits=logits,
            reconstruction=reconstruction,
            divergence_by_step=torch.stack([step.divergence for step in steps], dim=1),
            canvases=torch.stack(canvases, dim=1) if return_canvases else None,
            steps=steps,
        )

    def noise(self, count: int, seed: int) -> Float[Tensor, "count draw_step noise"]:
        """The noise of videos 0..count under this seed: the same on every device, and for any count."""
        generator = torch.Generator().manual_seed(seed)
        rows = [torch.randn(self.config.noise_shape, generator=generator) for _ in range(count)]
        return torch.stack(rows).to(self.first_canvas.device)

    @torch.no_grad()
    def generate(
        self, what: int | Sequence[str], *, seed: int = 0, temperature: float = 1.0, return_canvases: bool = False
    ) -> Float[Tensor, ...]:
        """New videos from the prior (v2 section 3.1.6), in [0, 1].

        A model of several layers draws as many as its captions have clauses, also where it was trained with fewer.

        Args:
            what: how many videos, or a caption for each video.
            seed: of the noise behind z. The same seed with another caption keeps it.
            temperature: the standard deviations of every P(z^t) are multiplied by it. 1 samples the model; less gives
                clearer and less varied videos, 0 the middles of the prior's components.
            return_canvases: give the canvas after every drawing step; the last is the video.

        Returns:
            `[video, frame, channel, height, width]`, with canvases `[video, draw_step, frame, channel, height, width]`.
        """
        count, captions = (what, None) if isinstance(what, int) else (len(what), list(what))
        if count < 1:
            raise UserError("nothing to generate: ask for one video or more")
        if not (temperature >= 0 and math.isfinite(temperature)):
            raise UserError(f"temperature is {temperature}; it must be 0 or more")
        model = self
        if captions and self.config.layers > 1 and self.config.captions != "none":
            model = self.with_layers(max(len(clauses(caption)) for caption in captions))
        was_training = self.training
        model.eval()
        noise = model.noise(count, seed)
        noise[:, :, : self.config.latent_size] *= temperature  # what is left chooses a mixture's component
        drawing = model(None, captions, noise=noise, return_canvases=return_canvases)
        self.train(was_training)
        if drawing.canvases is not None:
            return drawing.canvases
        return drawing.videos

    def with_layers(self, layers: int) -> SyncDraw:
        """A copy that draws so many layers, each as this model draws one. To encode with more, it has to be trained."""
        config = self.config
        if layers == config.layers:
            return self
        model = copy.deepcopy(self)
        steps = config.draw_steps // config.layers * layers
        model.config = dataclasses.replace(config, layers=layers, draw_steps=steps)
        known = list(model.later_starts)[: layers - 1]
        fresh = [torch.zeros(2, config.hidden_size, device=self.first_canvas.device)] * (layers - 1 - len(known))
        model.later_starts = nn.ParameterList([*known, *map(nn.Parameter, fresh)])
        return model

    def targets(
        self, videos: UInt8[Tensor, "batch frame channel height width"]
    ) -> Float[Tensor, "batch frame channel height width"]:
        """uint8 pixels as targets in [0, 1] under the model's protocol."""
        return targets(videos.to(self.first_canvas.device), self.config.protocol)

    def check(self, videos: Tensor) -> None:
        """Raise UserError unless the videos have the model's shape."""
        if videos.ndim != 5 or videos.shape[1:] != self.config.shape:
            raise UserError(
                f"got videos of shape {list(videos.shape)}; this model takes [batch, frame, channel, height, width] = "
                f"[any, {', '.join(map(str, self.config.shape))}]"
            )

    @torch.no_grad()
    def set_first_canvas(self, mean: Float[Tensor, " channel"]) -> None:
        """Start a learned canvas at the data's mean pixel, one for each channel, in (0, 1)."""
        if isinstance(self.first_canvas, nn.Parameter):
            of_layer = 1 - (1 - mean.clamp(1e-4, 1 - 1e-4)) ** (1 / self.config.layers)
            self.first_canvas.copy_(of_layer.logit()[:, None, None])


def targets(videos: UInt8[Tensor, "*shape"], protocol: Literal["binary", "grey"]) -> Float[Tensor, "*shape"]:
    """uint8 pixels as targets in [0, 1]: thresholded at 0.5 (`binary`), or divided by 255 (`grey`)."""
    return (videos > 127).float() if protocol == "binary" else videos.float() / 255


def window_layer(hidden_size: int, attention: Attention) -> nn.Linear:
    """The linear layer from h_dec to an attention's parameters, begun at the attention's first window."""
    layer = nn.Linear(hidden_size, attention.parameter_size)
    with torch.no_grad():
        layer.bias.copy_(attention.window_start)
    return layer


def config_from_dict(values: dict[str, object]) -> SyncDrawConfig:
    """A config from JSON.

    Raises:
        UserError: a field that this version does not know.
    """
    known = {field.name for field in dataclasses.fields(SyncDrawConfig)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise UserError(f"model config has unknown fields {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return SyncDrawConfig(**values)  # type: ignore[arg-type]
