"""Several processes that train one model: `torchrun --nproc_per_node 4 -m syncdraw train ...`.

It says in the environment who is who. Batches and noise are defined by the global step and clip, so that any number
of processes sees the same batches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from syncdraw.devices import fastest
from syncdraw.errors import UserError
from syncdraw.training.together import together

LONGEST = timedelta(hours=2)
"""How long a process waits for another that lives: while the first one measures and saves, say."""


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work.

    Attributes:
        rank: its number. count: how many there are. device: on which it works.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, device: str | None = None) -> Processes:
        """This process, alone or with the others that a launcher started.

        Args:
            device: cpu, cuda, mps; the fastest that there is unless given.
        """
        rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_RANK", 0))
        device = device or fastest()
        if device == "cuda" and count > 1:
            torch.cuda.set_device(local)
        if count > 1 and not distributed.is_initialized():
            # What lies on the host goes by way of gloo, so that nobody waits for a GPU in order to say something.
            distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=LONGEST)
        return cls(rank, count, torch.device(device, local) if device == "cuda" else torch.device(device))

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, batch_size: int, accumulate: int = 1) -> slice:
        """Which clips of a batch are this process's.

        Raises:
            UserError: the batch cannot be shared out evenly, or a process's share not be computed in so many parts.
        """
        if batch_size % (self.count * accumulate):
            times = f" times train.accumulate, which is {accumulate}" if accumulate > 1 else ""
            raise UserError(
                f"train.batch_size is {batch_size}; it must be a multiple of the {self.count} processes{times}"
            )
        each = batch_size // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def part(self, count: int) -> slice:
        """Which of so many things are this process's to measure or to draw: an even share, or nothing."""
        return slice(self.rank * count // self.count, (self.rank + 1) * count // self.count)

    def collect(self, items: list[Any]) -> list[Any]:
        """All processes' items, which lie on the host, in the order of `part`."""
        if self.count == 1:
            return items
        found: list[list[Any]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(found, items)
        return [item for part in found for item in part]

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Every process gets the mean of all processes' gradients."""
        if self.count > 1:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            self._average(gradients)

    def average(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.count > 1:
            self._average([values])
        return values

    def gather(self, values: Tensor) -> Tensor:
        """The rows of all processes, of which each has equally many, in the order of the batch."""
        if self.count == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.count)]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def any(self, true: bool) -> bool:
        """Whether it is true of any process; all of them learn the same."""
        if self.count == 1:
            return true
        return bool(self.average(torch.tensor(float(true))) > 0)

    def share_weights(self, model: nn.Module) -> None:
        """All processes get the first one's weights and buffers."""
        if self.count > 1:
            for tensor in model.state_dict().values():
                distributed.broadcast(tensor, 0)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, this process ends within a minute where another does, with its reason."""
        with together(self.rank, self.count if distributed.is_initialized() else 1):
            yield

    def _average(self, tensors: Sequence[Tensor]) -> None:
        flat = _flatten_dense_tensors(tensors)
        distributed.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(tensors, _unflatten_dense_tensors(flat, tensors), strict=True):
            tensor.copy_(mean)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()
