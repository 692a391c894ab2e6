"""Trains models in several processes, for test_processes.py: python sharing_work.py PROCESSES VARIANT STEPS FOLDER ...

In a run whose folder is named `stopped` the last process alone is sent a signal, in step 5, and after that the run goes
on. In one named `killed` it is killed then, in one named `broken` it has an error of its own, and in one named `stuck`
it is killed while the other is busy where nothing tells it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo  # which the optimisers import: once, and not in each process

from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.errors import UserError
from syncdraw.training import loop, muon, run_folder, together
from syncdraw.training.batches import Batches, tensors_in
from syncdraw.training.optimization import Optimization
from training_runs import RUN, VARIANTS, changed, go, quick


def work(rank: int, count: int, variant: str, steps: int, out: Path) -> None:
    """One process of several. What it sees of each batch goes into a file."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    seen: list[list[torch.Tensor]] = []
    original = Batches.at

    def noting(self: Batches, step: int) -> object:
        batch = original(self, step)
        seen.append([tensor.clone() for tensor in tensors_in(batch)])
        return batch

    Batches.at = noting  # type: ignore[method-assign]
    changes = {**VARIANTS[variant], "train.batch_size": 8, "train.every": 25, "train.max_steps": steps}
    resume = run_folder.RunFolder(out).holds_run
    last = rank == count - 1
    if out.name == "stopped" and last and not resume:
        in_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    elif out.name == "killed" and last:
        in_step(5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    elif out.name == "broken" and last:
        in_step(5, complain)
    elif out.name == "stuck":
        together.SILENCE, together.GRACE = 6.0, 1.0
        in_step(5, lambda: os.kill(os.getpid(), signal.SIGKILL) if last else time.sleep(300))
    try:
        go(changed(RUN, changes), out, resume=resume)
    except KeyboardInterrupt as stopped:
        print(json.dumps(str(stopped)), flush=True)
    torch.save(seen, out.parent / f"seen-{out.name}-{rank}.bin")


def in_step(step: int, action: Callable[[], object]) -> None:
    """Something happens to this one of the processes alone."""
    begin = Optimization.begin

    def hooked(self: Optimization, now: int) -> None:
        if now == step:
            action()
        begin(self, now)

    Optimization.begin = hooked  # type: ignore[method-assign]


def complain() -> None:
    raise UserError("this process has nothing to eat")


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def train_together(count: int, variant: str, steps: int, out: Path) -> int:
    """Forks: everything is imported already, and nothing has been computed."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            try:
                work(rank, count, variant, steps, out)
                os._exit(0)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def main(arguments: list[str]) -> int:
    """Exit status 0 where all have done their work."""
    quick()
    # In bfloat16, a gradient's last digit would be a weight's third: so much less could be told from the weights.
    muon.suits_bfloat16 = lambda matrix: False
    loop.LOG_EVERY = 1
    torch.set_num_threads(1)
    for split in ("train", "validation"):
        BouncingMNIST(RUN.bouncing, split)  # which reads MNIST, once for all
    jobs = [arguments[n : n + 4] for n in range(0, len(arguments), 4)]
    return max(train_together(int(count), variant, int(steps), Path(out)) for count, variant, steps, out in jobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
