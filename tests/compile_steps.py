"""Compile a whole drawing step of tiny models and compare it with the one that is not compiled.

`python tests/compile_steps.py aot_eager plain mixture` prints how far the results of each kind lie apart, of the first
also the gradients, and how many graphs the compiler made. test_compile.py runs it in a process of its own, in which
shapes are not checked: the checks cannot be compiled.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor
from torch._dynamo.utils import counters

from syncdraw.building import build
from syncdraw.config import AttentionConfig, CaptionConfig, PriorConfig, SyncDrawConfig

SIZES = {"frames": 2, "height": 12, "width": 12, "draw_steps": 1, "grid_size": 3, "hidden_size": 8, "latent_size": 4}
KINDS = {
    "plain": SyncDrawConfig(**SIZES),
    "mixture": SyncDrawConfig(
        **SIZES,
        canvas="learned",
        prior=PriorConfig("network", components=3),
        attention=AttentionConfig(smooth_start=True, content="shared"),
    ),
    "alignment": SyncDrawConfig(
        **SIZES, captions=CaptionConfig("alignment", size=6, vocabulary=("a", "b")), prior=PriorConfig("caption")
    ),
    "categories": SyncDrawConfig(**SIZES, prior=PriorConfig("network", categories=3)),
}


def apart(config: SyncDrawConfig, backend: str, gradients: bool) -> float:
    """By how much a compiled step's results, and its gradients, differ from those of the same step as it is, beside
    their size or 1."""
    torch.manual_seed(0)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    videos, noise = torch.rand(3, *config.shape), model.noise(3, seed=0)
    latents, choice = noise.latents[:, 0], noise.prior[:, 0]
    tokens = model.tokenise(["a b", "b a", "a"] if model.captioned else None, 3)
    with torch.no_grad():
        condition = model.conditioner.prepare(tokens, videos, noise.condition[:, 0])
        video = model.inference.look(videos)
        state, _ = model.step(model.start(condition), condition, latents, choice, video)

    def results(compiled: bool) -> list[Tensor]:
        step = torch.compile(model.step, fullgraph=True, backend=backend, dynamic=False) if compiled else model.step
        after, seen = step(state, condition, latents, choice, video)
        known = [after.canvas.video, *after.encoder, *after.decoder, after.belief, seen.z, seen.divergence]
        if not gradients:
            return known
        loss = sum((part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for part in known)
        parameters = [*model.inference.parameters(), *model.generator.parameters()]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [*known, *(gradient for gradient in found if gradient is not None)]

    with torch.set_grad_enabled(gradients):
        pairs = list(zip(results(compiled=False), results(compiled=True), strict=True))
    return max(((ours - theirs).abs() / (1 + ours.abs())).max().item() for ours, theirs in pairs if ours.numel())


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    backend, *kinds = arguments
    differences = {kind: apart(KINDS[kind], backend, gradients=kind == kinds[0]) for kind in kinds}
    print(json.dumps({"apart": differences, "graphs": counters["stats"]["unique_graphs"]}))


if __name__ == "__main__":
    main(sys.argv[1:])
