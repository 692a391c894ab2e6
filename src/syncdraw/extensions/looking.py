"""Layers that are encoded one by one, after a first look at all of them.

Where two things lie on top of each other, what Q's first drawing steps take for one of them no later step takes back.
But what they draw comes from a P that has learned what one thing looks like, so it shows well enough which pixel is of
which layer. So a layered model takes a first look, one of few drawing steps, say. Then Q looks again: each layer is
encoded as if it were alone, by what has learned to encode one thing alone, from its share of the light. This can be
repeated, and of several first looks, and of all orders of a caption's clauses, the one with the best bound is kept.

Nothing before the last look is left to chance, so that what it sees is a function of X: it gives a bound, as any Q
does.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from syncdraw.attention import Attention, Window
from syncdraw.captions import Conditioner
from syncdraw.config import CaptionConfig, FirstLookConfig, PriorConfig, SyncDrawConfig
from syncdraw.extensions.layers import LayerCanvas, LayeredSyncDraw, light_added
from syncdraw.gaussian import at_least_float32
from syncdraw.model import Adjust, Generator, Inference, Noise, State, Step, Surface, Video, Videos, Watch

STARTS, BETWEEN = 4, 2
"""First looks at a video, of which the best is kept, once a model is trained; and looks between the first and the last
one. benchmarks/looking.py measures what more of them would bring."""

Layers = Float[Tensor, "batch layer frame channel height width"]


class AloneCanvas(LayerCanvas):
    """A canvas on top of others, encoded as if there were no others."""

    def read(self, attention: Attention, videos: Videos, window: Window) -> tuple[Tensor, Tensor]:
        return attention.read_both(videos, self.own, window)


class LookingSyncDraw(LayeredSyncDraw):
    """`LayeredSyncDraw` that looks at a video more than once.

    Args:
        config, inference, generator, conditioner: as `SyncDraw` takes them; `inference` encodes one layer alone.
        glance: takes the first look. It is not trained here.
    """

    def __init__(
        self,
        config: SyncDrawConfig,
        inference: Inference,
        generator: Generator,
        conditioner: Conditioner,
        glance: LayeredSyncDraw,
    ) -> None:
        super().__init__(config, inference, generator, conditioner)
        self.glance = glance.requires_grad_(False)
        self._last: tuple[Tensor, Tensor | None, list[int], Layers] | None = None

    def trace(
        self, tokens: Tensor | None, noise: Noise, video: Video | None, adjust: Adjust | None, watch: Watch
    ) -> tuple[State, list[Step]]:
        """Layer after layer; those of a video are each encoded from their share of it."""
        if video is None:
            return super().trace(tokens, noise, None, adjust, watch)
        return self._trace_alone(tokens, noise, self.shares(video.pixels, tokens), adjust, watch)

    def shares(self, pixels: Videos, tokens: Tensor | None) -> Layers:
        """What each layer has of videos: of each pixel's light, by how likely it is that the layer lights it.

        Known still where they are looked at again by the same weights: refinement does so at each of its steps.
        """
        seen = (pixels, *self.parameters())
        if self.training or any(tensor.is_inference() for tensor in seen):  # which does not count what is written to it
            return self._shares(pixels, tokens)
        versions = [tensor._version for tensor in seen]
        last = self._last
        if last is None or last[0] is not pixels or last[1] is not tokens or last[2] != versions:
            last = self._last = (pixels, tokens, versions, self._shares(pixels, tokens))
        return last[3]

    @torch.no_grad()
    def _shares(self, pixels: Videos, tokens: Tensor | None) -> Layers:
        # Nothing says which layer comes first where nothing says what the layers are.
        every = [*permutations(range(self.config.layers))]
        orders = every if tokens is not None else every[:1]
        candidates = [
            first[:, order]
            for first in self.first_looks(pixels, tokens, 1 if self.training else STARTS)
            for order in orders
        ]
        best, least = candidates[0], torch.full_like(pixels[:, 0, 0, 0, 0], torch.inf)
        for look in range(BETWEEN):
            for shares in candidates if look == 0 else [best]:
                watch = _LayerEnds(self.config)
                state, steps = self._trace_alone(tokens, self.means(len(pixels)), shares, None, watch)
                cost = self.generator.likelihood(state.canvas.logits, pixels)
                cost = cost + torch.stack([step.divergence for step in steps]).sum(dim=0)
                better = (cost < least)[:, None, None, None, None, None]
                best = torch.where(better, shared_out(pixels, watch.logits), best)
                least = torch.minimum(cost, least)
        return best

    def first_looks(self, pixels: Videos, tokens: Tensor | None, starts: int) -> Iterator[Layers]:
        """The shares that first looks give: one with the means of its Q, and others with noise that is the same for
        every video."""
        for start in range(starts):
            watch = _LayerEnds(self.glance.config)
            noise = self.glance.noise(1, seed=start) if start else self.glance.means(1)
            noise = Noise(*(part.expand(len(pixels), -1, -1) for part in noise))
            told = tokens if self.glance.captioned else None
            self.glance.trace(told, noise, self.glance.inference.look(pixels), None, watch)
            yield shared_out(pixels, watch.logits)

    def _trace_alone(
        self, tokens: Tensor | None, noise: Noise, shares: Layers, adjust: Adjust | None, watch: Watch
    ) -> tuple[State, list[Step]]:
        videos = [self.inference.look(share) for share in shares.unbind(dim=1)]
        return self.trace_layers(tokens, noise, videos, adjust, watch)

    def left(self, pixels: Videos, below: Surface) -> Videos:
        """All there is, which is the layer's alone."""
        return pixels

    def start_layer(self, state: State, layer: int, below: Surface | None) -> State:
        """A layer's state before its first step: what is drawn stays below it, and is not seen."""
        if below is None:
            return state
        return state._replace(canvas=AloneCanvas(state.canvas.logits, below.logits, (-below.logits).sigmoid()))

    def with_layers(self, layers: int) -> LayeredSyncDraw:
        """As `LayeredSyncDraw.with_layers`; such a model looks once."""
        config, own = dataclasses.replace(self.config, first_look=FirstLookConfig()), copy.deepcopy(self)
        return LayeredSyncDraw(config, own.inference, own.generator, own.conditioner).with_layers(layers)


def looking_first(config: SyncDrawConfig) -> SyncDrawConfig:
    """The model that takes the first look for a model of this config. What is not needed to encode is left out of it:
    its prior."""
    look = config.first_look
    captions = config.captions if look.captioned else CaptionConfig(size=look.category_size)
    prior = PriorConfig(categories=look.categories)
    return dataclasses.replace(
        config, draw_steps=look.draw_steps, prior=prior, captions=captions, first_look=FirstLookConfig()
    )


def first_look_of(source: SyncDrawConfig) -> FirstLookConfig:
    """What such a model has to know of the one whose first look it takes over, or whose own first look."""
    if source.first_look.draw_steps:
        return source.first_look
    return FirstLookConfig(source.draw_steps, source.captioned, source.prior.categories, source.captions.size)


def shared_out(pixels: Videos, logits: Layers) -> Layers:
    """Each pixel's light among layers: the probability that a layer lights it, if any of them does.

    Args:
        logits: of each layer's pixels, by itself.
    """
    of_any = logits[:, 0]
    for own in logits[:, 1:].unbind(dim=1):
        of_any = light_added(of_any, own)
    return pixels[:, None] * (functional.logsigmoid(logits) - functional.logsigmoid(of_any)[:, None]).exp()


class _LayerEnds:
    """Keeps the logits of each layer by itself, as they are after its last drawing step."""

    def __init__(self, config: SyncDrawConfig) -> None:
        self.steps, self.step = config.draw_steps // config.layers, 0
        self.kept: list[Tensor] = []

    def __call__(self, state: State) -> None:
        self.step += 1
        if self.step % self.steps == 0:
            canvas = state.canvas
            self.kept.append(canvas.own if isinstance(canvas, LayerCanvas) else canvas.logits)

    @property
    def logits(self) -> Layers:
        return at_least_float32(torch.stack(self.kept, dim=1))
