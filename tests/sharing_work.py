"""Trains models in several processes, for test_processes.py: python sharing_work.py PROCESSES VARIANT FOLDER ...

Of a folder named `stopped` the last process alone is sent a signal, in step 5, and after that the run goes on.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import torch

from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.training import loop, run_folder
from syncdraw.training.batches import Batches, tensors_in
from training_runs import RUN, VARIANTS, changed, go, quick


def work(rank: int, count: int, variant: str, out: Path) -> None:
    """One process of several. What it sees of each batch goes into a file."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    seen: list[list[torch.Tensor]] = []
    original = Batches.at

    def noting(self: Batches, step: int) -> object:
        batch = original(self, step)
        seen.append([tensor.clone() for tensor in tensors_in(batch)])
        return batch

    Batches.at = noting  # type: ignore[method-assign]
    changes = {**VARIANTS[variant], "train.batch_size": 6, "train.max_steps": 20, "train.every": 10}
    resume = run_folder.RunFolder(out).holds_run
    if out.name == "stopped" and rank == count - 1 and not resume:
        stop_in_step(5)
    try:
        go(changed(RUN, changes), out, resume=resume)
    except KeyboardInterrupt as stopped:
        print(json.dumps(str(stopped)), flush=True)
    torch.save(seen, out.parent / f"seen-{out.name}-{rank}.bin")


def stop_in_step(step: int) -> None:
    """A signal reaches this one of the processes alone."""
    import signal

    from syncdraw.training.optimization import Optimization

    begin = Optimization.begin

    def stopping(self: Optimization, now: int) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)
        begin(self, now)

    Optimization.begin = stopping  # type: ignore[method-assign]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def train_together(count: int, variant: str, out: Path) -> int:
    """Forks: everything is imported already, and nothing has been computed."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            try:
                work(rank, count, variant, out)
                os._exit(0)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def main(arguments: list[str]) -> int:
    """Exit status 0 where all have done their work."""
    quick()
    loop.LOG_EVERY = 1
    torch.set_num_threads(1)
    for split in ("train", "validation"):
        BouncingMNIST(RUN.bouncing, split)  # which reads MNIST, once for all
    jobs = [(int(arguments[n]), arguments[n + 1], Path(arguments[n + 2])) for n in range(0, len(arguments), 3)]
    return max(train_together(*job) for job in jobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
