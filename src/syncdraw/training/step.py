"""One training step: on a CPU as it is written, on a GPU captured once as a CUDA graph and replayed.

A step of Sync-DRAW launches thousands of small kernels, and the GPU waits for each launch. A graph launches them all at
once. It sees fixed addresses, so a batch is copied into buffers, and what changes lies in tensors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from syncdraw.attention import FrameAttention
from syncdraw.training.batches import mapped, parts_of, tensors_in
from syncdraw.training.optimization import Optimization

Measured = Tensor
"""L_X, L_Z (nats per video) and the norm of the gradient, `[3]`, on the model's device."""


class Bounds(Protocol):
    """L_X and L_Z of a batch."""

    @property
    def reconstruction(self) -> Tensor: ...
    @property
    def divergence(self) -> Tensor: ...


class Bounding(Protocol):
    """What a step needs of a model."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def bound(self, batch: Any) -> Bounds: ...


def eager(
    model: Bounding, optimization: Optimization, divergence_weight: float, accumulate: int = 1
) -> Callable[[Any], Measured]:
    """A step that takes a batch and trains on it, in `accumulate` equal parts whose gradients add up."""

    def step(batch: Any) -> Measured:
        measured: list[Tensor] = []

        def loss_of(part: Any) -> Tensor:
            bound = model.bound(part)
            measured.append(torch.stack([bound.reconstruction.mean(), bound.divergence.mean()]).detach())
            return (bound.reconstruction + divergence_weight * bound.divergence).mean() / accumulate

        norm = optimization.update(map(loss_of, parts_of(batch, accumulate)))
        return torch.cat([torch.stack(measured).mean(dim=0), norm.detach()[None]])

    return step


class Captured:
    """A step as a CUDA graph, which is captured with the first batch.

    Args:
        step: what `eager` gives.
        optimization: whose tensors the step changes.
    """

    warm_up_steps = 3  # libraries set themselves up in the first calls, which must not be captured

    def __init__(self, step: Callable[[Any], Measured], optimization: Optimization, device: torch.device) -> None:
        self.step, self.optimization, self.device = step, optimization, device
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Any) -> Measured:
        if self.graph is None:
            self.capture(batch)
        assert self.graph is not None
        for buffer, tensor in zip(self.buffers, tensors_in(batch), strict=True):
            buffer.copy_(tensor, non_blocking=True)
        self.graph.replay()
        return self.measured.clone()

    def capture(self, batch: Any) -> None:
        """Record the step; weights, averages and optimisers stay as they are, also where it cannot be recorded."""
        batch = mapped(batch, lambda tensor: tensor.to(self.device))
        self.buffers = tensors_in(batch)
        with self.optimization.unchanged():
            stream = torch.cuda.Stream(self.device)
            stream.wait_stream(torch.cuda.current_stream(self.device))
            try:
                with torch.cuda.stream(stream):
                    for _ in range(self.warm_up_steps):
                        self.step(batch)
            finally:
                torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.measured = self.step(batch)
        self.graph = graph


def fastest(
    model: Bounding,
    optimization: Optimization,
    divergence_weight: float,
    device: torch.device,
    sample: Any,
    accumulate: int = 1,
) -> Callable[[Any], Measured]:
    """A captured step where there is CUDA and the step can be captured, else an eager one, said once.

    A batch in parts is not captured. Each part is as large as memory allows, so that the GPU hardly waits for launches.

    Args:
        sample: a batch, with which capturing is tried.
    """
    step = eager(model, optimization, divergence_weight, accumulate)
    if device.type != "cuda" or accumulate > 1:
        return step
    for within in (compiled_attention, nothing_compiled):
        captured = Captured(step, optimization, device)
        try:
            with within(model):
                captured.capture(sample)
            return captured
        except Exception as error:  # of the compiler, of the driver
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"the step could not be captured as a CUDA graph ({within.__name__}; {reason})", file=sys.stderr)
    return step


@contextmanager
def nothing_compiled(model: Any) -> Iterator[None]:
    """Inside, all is as it was."""
    yield


@contextmanager
def compiled_attention(model: Any) -> Iterator[None]:
    """Inside, a model's windows, and what is read and written through them, are compiled.

    A third of the captured step's time is saved. Outside they are not: each new batch size would be compiled anew.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 64  # first and later steps, layers and grids differ in shapes and strides
    attentions = [module for module in model.modules() if isinstance(module, FrameAttention)]
    names = ("window", "read", "read_both", "write_onto")
    for attention in attentions:
        for name in names:
            setattr(attention, name, torch.compile(getattr(attention, name), fullgraph=True, dynamic=False))
    try:
        yield
    finally:
        for attention in attentions:
            for name in names:
                delattr(attention, name)
