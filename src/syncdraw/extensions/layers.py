"""A video drawn in layers, one thing on top of the other.

Each layer has an equal share of the drawing steps, LSTM states and a canvas of its own, and draws one clause of the
caption. So whatever draws one digit draws two. Layers add up as light does.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from syncdraw.attention import Attention, Window
from syncdraw.captions import clauses
from syncdraw.config import SyncDrawConfig
from syncdraw.errors import UserError
from syncdraw.gaussian import Gaussian, at_least_float32
from syncdraw.model import Adjust, Noise, State, Step, Surface, SyncDraw, Video, Videos, Watch
from syncdraw.vocabulary import PADDING, check_captions


def light_added(below: Videos, own: Videos) -> Videos:
    """Logits of both layers: what none of them lights stays dark, 1 - p = (1 - p_below) (1 - p_own)."""
    return torch.logaddexp(torch.logaddexp(below, own), below + own)


class LayerCanvas(NamedTuple):
    """A canvas on top of others: a `Canvas` whose logits and video are those of all layers so far."""

    own: Videos
    below: Videos
    """Logits of the layers below."""
    dark_below: Videos
    """The probability that they leave a pixel dark."""

    @property
    def logits(self) -> Videos:
        return light_added(at_least_float32(self.below), at_least_float32(self.own))

    @property
    def video(self) -> Videos:
        """`logits.sigmoid()`."""
        return 1 - self.dark_below * (-self.own).sigmoid()

    def read(self, attention: Attention, videos: Videos, window: Window) -> tuple[Tensor, Tensor]:
        return attention.read(videos, window), attention.read(self.video, window)

    def write(self, attention: Attention, patch: Tensor, window: Window) -> LayerCanvas:
        return self._replace(own=attention.write_onto(self.own, patch, window))


class LayeredSyncDraw(SyncDraw):
    """`SyncDraw` over several layers. `config.draw_steps` is the number of steps of all of them together."""

    def __init__(self, config: SyncDrawConfig, *parts: Any) -> None:
        super().__init__(config, *parts)
        if not config.first_look.draw_steps:
            # What the encoder LSTM begins each further layer with, (h, cell). The decoder's always begins at zero.
            starts = (torch.zeros(2, config.hidden_size) for _ in range(config.layers - 1))
            self.inference.later_starts = nn.ParameterList(starts)

    def left(self, pixels: Videos, below: Surface) -> Videos:
        """What a layer's condition is prepared by: what the layers below have left of a video."""
        return (pixels - (1 - (-below.logits).sigmoid())).clamp(min=0)

    def start_layer(self, state: State, layer: int, below: Surface | None) -> State:
        """A layer's state before its first step: what is drawn stays below it, all else begins anew."""
        if below is None:
            return state
        logits, own = below.logits, state.canvas.logits
        h_enc, cell = self.inference.later_starts[layer - 1][:, None].expand(-1, own.shape[0], -1)  # type: ignore[index]
        canvas = LayerCanvas(own, logits, (-logits).sigmoid())
        return state._replace(canvas=canvas, encoder=(h_enc, cell))

    def trace(
        self,
        tokens: Int[Tensor, "batch layer word"] | Float[Tensor, "batch layer size"] | None,
        noise: Noise,
        video: Video | None,
        adjust: Adjust | None,
        watch: Watch,
    ) -> tuple[State, list[Step]]:
        """Layer after layer, each prepared by what those below it have left of the video."""
        return self.trace_layers(tokens, noise, None if video is None else [video] * self.config.layers, adjust, watch)

    def trace_layers(
        self,
        tokens: Int[Tensor, "batch layer word"] | Float[Tensor, "batch layer size"] | None,
        noise: Noise,
        videos: Sequence[Video] | None,
        adjust: Adjust | None,
        watch: Watch,
    ) -> tuple[State, list[Step]]:
        """As `trace`, from what Q sees of each layer."""
        below: Surface | None = None
        steps: list[Step] = []
        count = self.config.draw_steps // self.config.layers
        for layer in range(self.config.layers):
            part = noise.steps(slice(layer * count, (layer + 1) * count))
            video = None if videos is None else videos[layer]
            left = None if video is None else video.pixels if below is None else self.left(video.pixels, below)
            clause = None if tokens is None else tokens[:, layer]
            condition = self.conditioner.prepare(clause, left, part.condition[:, 0])
            state = self.start_layer(self.start(condition), layer, below)
            change = _later(adjust, layer * count) if adjust else None
            state, more_steps = self.draw(state, condition, part, video, change, watch)
            below = state.canvas
            steps += more_steps if tokens is None else _placed(more_steps, tokens, layer)
        return state, steps

    def tokenise(self, captions: Sequence[str] | None, count: int) -> Tensor | None:
        """The numbers of each clause.

        Raises:
            UserError: a caption is empty, or does not have as many clauses as there are layers.
        """
        if captions is None or not self.config.captioned:
            return super().tokenise(captions, count)
        captions, layers = check_captions(captions), self.config.layers
        split = [clauses(caption) for caption in captions]
        for caption, parts in zip(captions, split, strict=True):
            if len(parts) != layers:
                raise UserError(
                    f"the caption {caption!r} says {len(parts)} {'thing' if len(parts) == 1 else 'things'}; this model "
                    f"draws {layers}, as in 'digit 3 is moving up and down and digit 0 is moving left and right'"
                )
        found = [
            super(LayeredSyncDraw, self).tokenise([" ".join(p[i][1]) for p in split], count) for i in range(layers)
        ]
        tokens = [part for part in found if part is not None]
        widest = max(part.shape[1] for part in tokens)
        return torch.stack([functional.pad(part, (0, widest - part.shape[1])) for part in tokens], dim=1)

    def generate(self, what: int | Sequence[str], **options: Any) -> Float[Tensor, ...]:
        """As `SyncDraw.generate`, with as many layers as the captions have clauses, also where it was trained with
        fewer."""
        captions = [what] if isinstance(what, str) else [] if isinstance(what, int) else what
        if captions and self.captioned:
            layers = max(len(clauses(caption)) for caption in captions)
            if layers != self.config.layers:
                return SyncDraw.generate(self.with_layers(layers), what, **options)
        return super().generate(what, **options)

    def means(self, count: int) -> Noise:
        """The noise with which every latent of so many videos is the mean of its Q."""
        return self._split(torch.zeros(count, *self._noise_shape, device=self.device))

    def with_layers(self, layers: int) -> LayeredSyncDraw:
        """A copy that draws so many layers, each as this model draws one. To encode with more, it has to be trained."""
        config = self.config
        model = copy.deepcopy(self)
        steps = config.draw_steps // config.layers * layers
        model.config = dataclasses.replace(config, layers=layers, draw_steps=steps)
        known = list(self.inference.later_starts)[: layers - 1]  # type: ignore[arg-type]
        fresh = [torch.zeros(2, config.hidden_size, device=self.device)] * (layers - 1 - len(known))
        model.inference.later_starts = nn.ParameterList([*known, *map(nn.Parameter, fresh)])
        return model

    def set_first_canvas(self, mean: Float[Tensor, "channel height width"]) -> None:
        """Start the layers' canvases so that together they show the data's mean."""
        super().set_first_canvas(1 - (1 - mean.clamp(1e-4, 1 - 1e-4)) ** (1 / self.config.layers))


def _later(adjust: Adjust, first: int) -> Adjust:
    def of_layer(t: int, posterior: Gaussian) -> Gaussian:
        return adjust(first + t, posterior)

    return of_layer


def _placed(steps: list[Step], tokens: Tensor, layer: int) -> list[Step]:
    """An alignment with the words of a clause as one with those of the whole caption.

    Clauses are joined by one 'and', so that a clause begins one word behind the end of the one before it.
    """
    if steps[0].caption.alignment is None:
        return steps
    lengths = (tokens != PADDING).sum(dim=2)
    start = lengths[:, :layer].sum(dim=1) + layer
    columns = start[:, None] + torch.arange(tokens.shape[2], device=tokens.device)
    width = tokens.shape[1] * (tokens.shape[2] + 1) - 1
    placed = []
    for step in steps:
        alignment = step.caption.alignment
        assert alignment is not None
        whole = alignment.new_zeros(alignment.shape[0], width).scatter_add(1, columns, alignment)
        placed.append(step._replace(caption=step.caption._replace(alignment=whole)))
    return placed
