"""Adam or Muon, the schedule of their rates, clipping, and the moving average of the weights, as one object.

Everything that changes from step to step lies in tensors, so that a CUDA graph can hold a whole update.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from syncdraw.training.muon import MATRICES, Muon
from syncdraw.training.processes import Processes
from syncdraw.training.settings import OptimizerConfig

BETAS = (0.5, 0.999)
"""Of Adam (v2 section 4.2; the second is Adam's usual one)."""

GRADIENT_NORM = 10.0
""""Gradient threshold 10" (v2 section 4.2), read as the global norm."""

MOMENTS: dict[type[Optimizer], set[str]] = {Adam: {"step", "exp_avg", "exp_avg_sq"}, Muon: {"average"}}
"""What an optimiser remembers of each parameter."""


def scheduled_rate(settings: OptimizerConfig, step: int, max_steps: int) -> float:
    """The learning rate at a step: linear warm-up, then constant, or a cosine to the final rate."""
    rate, final = settings.learning_rate, settings.final_learning_rate
    if final is not None:
        progress = min(step / max_steps, 1.0)
        rate = final + (rate - final) * (1 + math.cos(math.pi * progress)) / 2
    return rate * min(1.0, (step + 1) / (settings.warmup_steps + 1))


class Optimization:
    """Moves a model's weights.

    Args:
        model: on its device. Parameters that need no gradient are left out.
        settings: rates and averaging. max_steps: where the schedule ends.
        processes: that share the batch.
    """

    def __init__(self, model: nn.Module, settings: OptimizerConfig, max_steps: int, processes: Processes) -> None:
        self.settings, self.max_steps, self.processes = settings, max_steps, processes
        self.parameters = list(model.parameters())
        self.trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        device = self.parameters[0].device
        self._graph = device.type == "cuda"
        self._keep = torch.zeros((), device=device)
        matrix_rate = settings.matrix_learning_rate
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        matrices = [p for name, p in named if matrix_rate is not None and name in MATRICES]
        others = [p for name, p in named if matrix_rate is None or name not in MATRICES]
        # A rate that a graph is to see must be a tensor on the device.
        start = [torch.zeros((), device=device) if self._graph else 0.0 for _ in range(2)]
        self.optimizers: list[Optimizer] = [Adam(others, lr=start[0], betas=BETAS, fused=True, capturable=self._graph)]
        self.shares = [1.0]
        if matrix_rate is not None and matrices:
            self.optimizers.append(Muon(matrices, lr=start[1]))
            self.shares.append(matrix_rate / settings.learning_rate)

    def rate(self, step: int) -> float:
        """Adam's at a step."""
        return scheduled_rate(self.settings, step, self.max_steps)

    def begin(self, step: int) -> None:
        """Set what this step is done with."""
        rate = self.rate(step)
        for optimizer, share in zip(self.optimizers, self.shares, strict=True):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate * share)
                else:
                    group["lr"] = rate * share
        self._keep.fill_(1 - min(self.settings.ema, (step + 1) / (step + 10)))

    def update(self, losses: Iterable[Tensor]) -> Tensor:
        """One step down the sum of the losses, the mean over this process's clips. Gives the gradient's norm before
        clipping. What one loss needed in memory is free before the next is asked for."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        for loss in losses:
            torch.autograd.backward(loss)
            del loss
        self.processes.average_gradients(self.trained)
        norm: Tensor = nn.utils.clip_grad_norm_(self.trained, GRADIENT_NORM, foreach=True)
        for optimizer in self.optimizers:
            optimizer.step()
        self._follow()
        return norm

    @torch.no_grad()
    def _follow(self) -> None:
        if self.settings.ema:
            apart = torch._foreach_sub([p.detach() for p in self.parameters], self.average)
            torch._foreach_mul_(apart, self._keep)
            torch._foreach_add_(self.average, apart)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has its averaged weights."""
        if not self.settings.ema:
            yield
            return
        parameters = [parameter.detach() for parameter in self.parameters]
        own = [parameter.clone() for parameter in parameters]
        torch._foreach_copy_(parameters, self.average)
        try:
            yield
        finally:
            torch._foreach_copy_(parameters, own)

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, beside the model's weights."""
        # Without averaging, weights stand in for their average: it may be switched on when the run is resumed.
        average = self.average if self.settings.ema else [parameter.detach() for parameter in self.parameters]
        return {"optimizers": [optimizer.state_dict()["state"] for optimizer in self.optimizers], "average": average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another run stopped.

        Raises:
            ValueError: the state is of other optimisers or another model.
        """
        if len(state["optimizers"]) != len(self.optimizers):
            began = "with" if len(state["optimizers"]) == 2 else "without"
            raise ValueError(f"the run began {began} train.optimizer.matrix_learning_rate")
        if len(state["average"]) != len(self.average):
            raise ValueError("it has other weights")
        for mine, theirs in zip(self.average, state["average"], strict=True):
            if mine.shape != theirs.shape:
                raise ValueError("the averaged weights have another shape than the weights")
            mine.copy_(theirs)
        for optimizer, theirs in zip(self.optimizers, state["optimizers"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            for number, moments in theirs.items():
                check_moments(moments, parameters[number], type(optimizer))
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict({"state": theirs, "param_groups": optimizer.state_dict()["param_groups"]})
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate  # the tensor that a graph sees

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """What happens inside leaves no trace in weights, averages and optimisers. What is made anew begins at zero."""
        before = {id(tensor): tensor.detach().clone() for tensor in self.tensors()}
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor in self.tensors():
                    if id(tensor) in before:
                        tensor.copy_(before[id(tensor)])
                    else:
                        tensor.zero_()
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> list[Tensor]:
        """All that an update changes: weights, their average, and the optimisers' states."""
        states = [value for optimizer in self.optimizers for state in optimizer.state.values()
                  for value in state.values() if isinstance(value, Tensor)]  # fmt: skip
        return [*self.parameters, *self.average, *states]


def check_moments(moments: dict[str, Tensor], parameter: Tensor, kind: type[Optimizer]) -> None:
    """Raise ValueError unless an optimiser can go on with these: with others, its kernels read past their ends."""
    if moments.keys() != MOMENTS[kind]:
        raise ValueError("an optimiser's state is that of another optimiser")
    for name, value in moments.items():
        shape = () if name == "step" else parameter.shape
        if value.shape != shape or value.dtype != torch.float32 or value.layout != torch.strided:
            raise ValueError("an optimiser's state has another shape than its weights")
