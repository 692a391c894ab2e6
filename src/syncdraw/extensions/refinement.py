"""Q of each video by itself: what the encoder, one network for all videos, leaves undone.

A bound lies above -log P(X) for two reasons: no Gaussian Q is the true posterior, and the encoder does not find the
best Gaussian (Cremer et al. 2018, "Inference suboptimality in variational autoencoders"). The second part can be taken
away video by video, by gradient steps that start from what the encoder says (Kim et al. 2018, "Semi-amortized
variational autoencoders"). Every Q gives a bound, as long as it is measured with noise that the steps have not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from syncdraw.gaussian import Gaussian, gaussian
from syncdraw.model import Adjust, Drawing, SyncDraw

RATE = 0.1
"""Of Adam, in Q's own deviations; it falls to zero over the last third of the steps. After 50 steps of 20 test clips of
`mnist1-binary` (before: 211.2 nats) 0.1 stood at 168 to 173, 0.05 at 171 to 176, 0.3 at 183."""


def refine(
    model: SyncDraw,
    videos: Float[Tensor, "batch frame channel height width"],
    tokens: Tensor | None,
    *,
    steps: int,
    generators: Sequence[torch.Generator],
    cost: Callable[[Drawing], Tensor] = lambda drawing: drawing.negative_elbo,
    after_step: Callable[[], object] = lambda: None,
) -> Adjust:
    """The Q of each video, for `SyncDraw.forward`, after so many steps down a cost; the model stays as it is.

    Args:
        videos: in [0, 1]. tokens: of their captions, for a model with captions.
        generators: of the noise, one for each video, so that no video's Q depends on the others.
        cost: of each video, nats; -ELBO unless given.
        after_step: called after each step.
    """
    shape = (len(videos), model.config.draw_steps, 2 * model.config.latent_size)
    corrections = torch.zeros(shape, device=videos.device, requires_grad=True)
    adjust = corrected(corrections)
    optimizer = torch.optim.Adam([corrections], lr=RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 3 * (steps - step) / steps)
        noise = model.noise(generators)
        with torch.enable_grad():
            total = cost(model(videos, tokens, noise=noise, adjust=adjust)).sum()
            (corrections.grad,) = torch.autograd.grad(total, [corrections])  # of these alone, not of the weights
        optimizer.step()
        after_step()
    return corrected(corrections.detach())


def corrected(corrections: Float[Tensor, "batch draw_step two_latents"]) -> Adjust:
    """Q with its mean shifted, in its own deviations, and the logarithm of its deviation."""

    def adjust(t: int, posterior: Gaussian) -> Gaussian:
        shift, log_factor = corrections[:, t].chunk(2, dim=1)
        return gaussian(posterior.at(shift), posterior.deviation.log() + log_factor)

    return adjust


def generators_of_videos(seed: int, first: int, count: int) -> list[torch.Generator]:
    """One for each video, so that its noise depends on neither the batch nor the other videos."""
    # Torch looks at the lower 32 bits of a seed alone.
    seeds = [np.random.SeedSequence((seed, first + row)).generate_state(1)[0] for row in range(count)]
    return [torch.Generator().manual_seed(int(one)) for one in seeds]
