"""Muon (Jordan 2024), which trains the matrices between hidden layers; all else is trained by Adam.

A gradient of such a matrix has a few large singular values, and what the small ones say is lost in them. Muon steps
along the gradient with all its singular values made about equal. docs/experiments.md says what that is worth here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MATRICES = (
    "inference.lstm.weight_hh",
    "generator.lstm.weight_ih",
    "generator.lstm.weight_hh",
    "generator.content.weight",
    "generator.content.of_frames.weight",
    "generator.content.of_points.weight",
    "generator.content.shared.weight",
    "generator.prior.layers.0.weight",
)
"""What Muon trains. Not inference.lstm.weight_ih: six times the size of the others, it made a step take half as long
again, for 5 % of the loss."""


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised. torch.optim.Muon is the same in bfloat16, which takes twice as long on a CPU
    without AMX.

    Args:
        parameters: matrices.
        lr: in Adam's units: a step moves a matrix's entries by 0.2 lr in the root mean square (Liu et al. 2025).
        momentum: decay of the gradient's moving average.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float | Tensor, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["average"] = torch.zeros_like(parameter)
                state["average"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = orthogonalized(parameter.grad.lerp(state["average"], group["momentum"]))
                parameter.sub_(direction * (0.2 * math.sqrt(max(parameter.shape)) * group["lr"]))


def orthogonalized(matrix: Tensor) -> Tensor:
    """U V^T of a matrix U S V^T, nearly: all singular values come to lie about 1, mostly within 0.7 and 1.2.

    Five steps of a quintic Newton-Schulz iteration, with the coefficients of Jordan (2024), which trade exactness for
    the pull on small values. In bfloat16, as Jordan has it, on a CPU with AMX, which multiplies it five times as fast.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / wide.norm().clamp(min=1e-7)
    if suits_bfloat16(x):
        x = x.bfloat16()
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.T if wide is not matrix else x).to(matrix.dtype)


def suits_bfloat16(matrix: Tensor) -> bool:
    """Whether a float32 matrix lies on a CPU with AMX."""
    there = matrix.device.type == "cpu" and matrix.dtype == torch.float32
    return there and bool(torch.cpu.get_capabilities().get("amx_bf16"))
