"""Videos longer than those that a model was trained on: window after window, each begun with the end of the one before
(v2 section 5 asks for it).

The first frames of a window are known, and the rest is to be found. Q reads the known frames and a guess of the rest,
P draws, and what it draws is the next guess: a chain that ends at videos which the model finds likely (Rezende, Mohamed
and Wierstra 2014, section 5.3). Then gradient steps bring Q's latents to where the known frames are drawn as they are,
whatever follows them. Of several such windows, the one is kept that explains the known frames best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from syncdraw.errors import UserError
from syncdraw.extensions.categories import Categories
from syncdraw.extensions.refinement import refine
from syncdraw.model import Drawing, SyncDraw, Videos

GUESSES, STEPS, CANDIDATES = 6, 20, 3
"""How often the rest is guessed, by how many gradient steps Q is refined then, and how many windows there are to choose
from. With 3 guesses and one window, 80 % of 40 clips of `mnist1-captions` kept their digit over 30 frames; with these,
92 %."""


def prolong(
    model: SyncDraw,
    videos: Videos,
    tokens: Tensor | None,
    *,
    frames: int,
    overlap: int | None = None,
    generators: Sequence[torch.Generator],
    after_step: Callable[[], object] = lambda: None,
) -> Float[Tensor, "batch more channel height width"]:
    """Videos that go on.

    Args:
        videos: in [0, 1], of `overlap` frames or more; what they show stays as it is.
        tokens: of their captions, for a model with captions. One with categories keeps those of the first window.
        frames: that they have in the end.
        overlap: frames that two windows share; half a window unless given.
        generators: of the noise, one for each video, so that none depends on the others.
        after_step: called after each gradient step.

    Raises:
        UserError: windows cannot overlap so far, or there are too few frames to begin with.
    """
    overlap = shared_frames(model, overlap)
    if videos.shape[1] < overlap:
        raise UserError(f"there are {videos.shape[1]} frames to begin with; {overlap} or more are needed")
    if isinstance(model.conditioner, Categories):
        tokens = categories_of(model, videos, generators)
    while videos.shape[1] < frames:
        following = follow(model, videos[:, -overlap:], tokens, generators, after_step)
        videos = torch.cat([videos, following[:, overlap:]], dim=1)
    return videos[:, :frames]


@torch.no_grad()
def categories_of(
    model: SyncDraw, videos: Videos, generators: Sequence[torch.Generator]
) -> Float[Tensor, "batch *layer size"]:
    """The vectors of the categories that videos are of, as their first window shows it: what a model goes on from.

    Recognised anew in each window, a guess of what follows would say what it is of: of 40 clips of `mnist1`, 31 kept
    their digit over 30 frames, and 33 do so now.
    """
    window = _as_read(model, videos[:, : model.shape[0]])
    still = window[:, -1:].expand(-1, model.shape[0] - window.shape[1], -1, -1, -1)
    steps = model(torch.cat([window, still], dim=1), noise=model.noise(generators)).steps
    layers = model.config.layers
    vectors = torch.stack([step.caption.encoder for step in steps[:: len(steps) // layers]], dim=1)
    return vectors if layers > 1 else vectors[:, 0]


def _as_read(model: SyncDraw, videos: Tensor) -> Tensor:
    """Videos in [0, 1] as the model's protocol has them."""
    return (videos > 0.5).float() if model.config.protocol == "binary" else videos


def shared_frames(model: SyncDraw, overlap: int | None) -> int:
    """How many frames two windows share: half a window unless given.

    Raises:
        UserError: windows cannot overlap so far.
    """
    window = model.shape[0]
    overlap = window // 2 if overlap is None else overlap
    if not 1 <= overlap < window:
        raise UserError(f"overlap is {overlap}; windows of {window} frames share 1 to {window - 1}")
    return overlap


def follow(
    model: SyncDraw,
    known: Float[Tensor, "batch known channel height width"],
    tokens: Tensor | None,
    generators: Sequence[torch.Generator],
    after_step: Callable[[], object] = lambda: None,
) -> Float[Tensor, "batch window channel height width"]:
    """A window of the model's length that begins with what is known."""
    count, overlap = known.shape[:2]
    known = _as_read(model, known.repeat_interleave(CANDIDATES, dim=0))
    tokens = None if tokens is None else tokens.repeat_interleave(CANDIDATES, dim=0)
    several = [generator for generator in generators for _ in range(CANDIDATES)]

    def cost(drawing: Drawing) -> Tensor:
        """-ELBO of the known frames."""
        return model.generator.likelihood(drawing.logits[:, :overlap], known) + drawing.divergence

    def with_rest(rest: Tensor) -> Tensor:
        return _as_read(model, torch.cat([known, rest[:, overlap:]], dim=1))

    with torch.no_grad():
        # As a first guess, all stands still from the last known frame on.
        videos = with_rest(known[:, -1:].expand(-1, model.shape[0], -1, -1, -1))
        for _ in range(GUESSES):
            videos = with_rest(model(videos, tokens, noise=model.noise(several)).videos)
    adjust = refine(model, videos, tokens, steps=STEPS, generators=several, cost=cost, after_step=after_step)
    with torch.no_grad():
        drawing = model(videos, tokens, noise=model.noise(several), adjust=adjust)
    best = cost(drawing).view(count, CANDIDATES).argmin(dim=1)
    return drawing.videos.view(count, CANDIDATES, *model.shape)[torch.arange(count), best]
