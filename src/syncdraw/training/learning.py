"""How a model learns: what the loop calls at each step. A model that has a bound learns from it; a VGAN learns from its
critic."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from syncdraw.errors import UserError
from syncdraw.training.batches import parts_of
from syncdraw.training.optimization import Optimization, check_moments, scheduled_rate
from syncdraw.training.processes import Processes
from syncdraw.training.settings import OptimizerConfig
from syncdraw.training.step import Bounding, Measured, fastest
from syncdraw.vgan import VGAN, Batch, adversarial_step


class Learner(Protocol):
    """What the loop needs.

    Attributes:
        measures: names of the numbers that a step gives.
    """

    measures: tuple[str, ...]

    def ready(self, sample: Any) -> None:
        """Before the first step: `sample` is a batch to try on."""

    def begin(self, step: int) -> None:
        """Set what this step is done with."""

    def step(self, batch: Any) -> Measured:
        """Learn from a batch; what was measured of it, the means over all processes."""

    def measure(self, batch: Any) -> Measured:
        """The same numbers, as far as there are any, with the weights as they are now; nothing is learned."""

    def unreasonable(self, measured: list[float]) -> bool:
        """Whether numbers are finite, and still those of a run that has diverged."""

    def rate(self, step: int) -> float:
        """The learning rate at a step."""

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are to be saved and drawn with."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, beside the model's weights: `optimizers` and `average`, lists."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another run stopped. Raises ValueError where the state is of another model."""


class BoundLearner:
    """Learns from L_X + weight * L_Z, the bound of v2 section 3.1.5.

    Args:
        divergence_weight: of L_Z.
        accumulate: in how many parts a batch is computed.
    """

    measures: tuple[str, ...] = ("L_X", "L_Z", "gradient_norm")

    def __init__(
        self, model: Bounding, optimization: Optimization, divergence_weight: float, accumulate: int = 1
    ) -> None:
        self.model, self.optimization, self.divergence_weight = model, optimization, divergence_weight
        self.accumulate = accumulate
        self.processes = optimization.processes
        self._step: Callable[[Any], Measured]

    def ready(self, sample: Any) -> None:
        """On a GPU, a step in one part is captured."""
        device = self.processes.device
        self._step = fastest(self.model, self.optimization, self.divergence_weight, device, sample, self.accumulate)

    def begin(self, step: int) -> None:
        """The rates of this step."""
        self.optimization.begin(step)

    def step(self, batch: Any) -> Measured:
        """L_X, L_Z (nats per video) and the norm of the gradient."""
        return self.processes.average(self._step(batch))

    @torch.no_grad()
    def measure(self, batch: Any) -> Measured:
        """L_X and L_Z."""
        bounds = map(self.model.bound, parts_of(batch, self.accumulate))
        measured = [torch.stack([bound.reconstruction.mean(), bound.divergence.mean()]) for bound in bounds]
        return self.processes.average(torch.stack(measured).mean(dim=0))

    def unreasonable(self, measured: list[float]) -> bool:
        """Whether the cost is a hundred times that of knowing nothing at all."""
        return measured[0] + measured[1] > 100 * math.prod(self.model.shape) * math.log(2)

    def rate(self, step: int) -> float:
        """Adam's."""
        return self.optimization.rate(step)

    def averaged(self) -> AbstractContextManager[None]:
        """The moving average of the weights."""
        return self.optimization.averaged()

    def state_dict(self) -> dict[str, Any]:
        """The optimisers' and the average."""
        return self.optimization.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.optimization.load_state_dict(state)


class AdversarialLearner:
    """A VGAN's: the critic and the generator, each with an Adam of its own (Vondrick et al. 2016).

    Args:
        settings: whose learning rate and schedule count; a VGAN has no use for the rest.

    Raises:
        UserError: one of those is set, or several processes share the work: batch norm needs the whole batch.
    """

    measures: tuple[str, ...] = ("critic", "generator", "sparsity")

    def __init__(self, model: VGAN, settings: OptimizerConfig, max_steps: int, processes: Processes) -> None:
        for name in ("matrix_learning_rate", "gradient_ratio", "ema"):
            if getattr(settings, name):
                raise UserError(f"train.optimizer.{name} is {getattr(settings, name)}; a VGAN is trained without it")
        if processes.count > 1:
            raise UserError(f"a VGAN is trained by one process, and here are {processes.count}; start one")
        self.model, self.settings, self.max_steps = model, settings, max_steps
        self.optimizers = model.optimizers()

    def ready(self, sample: Any) -> None:
        """There is nothing to try."""

    def begin(self, step: int) -> None:
        """The rate of both."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step)

    def step(self, batch: Batch) -> Measured:
        """The critic's and the generator's cross entropy, nats, and the mask's sparsity."""
        device = self.model.device
        videos = batch.videos.to(device, non_blocking=True).float() / 255
        return torch.stack(adversarial_step(self.model, videos, batch.noise.to(device), *self.optimizers))

    def measure(self, batch: Batch) -> Measured:
        """The same, as the model draws."""
        return torch.stack(self.model.losses(batch))

    def unreasonable(self, measured: list[float]) -> bool:
        """A loss that is large says only who of the two is ahead."""
        return False

    def rate(self, step: int) -> float:
        """Of both Adams."""
        return scheduled_rate(self.settings, step, self.max_steps)

    def averaged(self) -> AbstractContextManager[None]:
        """The weights as they are."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Both optimisers'."""
        return {"optimizers": [optimizer.state_dict()["state"] for optimizer in self.optimizers], "average": []}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        if len(state["optimizers"]) != len(self.optimizers):
            raise ValueError("it is not that of a VGAN")
        for optimizer, theirs in zip(self.optimizers, state["optimizers"], strict=True):
            parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
            for number, moments in theirs.items():
                check_moments(moments, parameters[number], type(optimizer))
            optimizer.load_state_dict({"state": theirs, "param_groups": optimizer.state_dict()["param_groups"]})
