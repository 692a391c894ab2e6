"""Trains one model in several processes, for test_processes.py: python sharing_work.py PROCESSES VARIANT FOLDER."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

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
    if out.name == "stopped" and rank == count - 1:
        stop_in_step(5)
    try:
        go(changed(RUN, changes), out, resume=run_folder.RunFolder(out).holds_run)
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


def main() -> int:
    """Forks: everything is imported already, and nothing has been computed."""
    count, variant, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    quick()
    loop.LOG_EVERY = 1
    torch.set_num_threads(1)
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


if __name__ == "__main__":
    sys.exit(main())
