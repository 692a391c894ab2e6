"""The training loop. It sees a model through `prepare`, `bound` and `generate`, and trains any model that has them.

Everything random in step n is drawn from (seed, n), and the clips of step n are a function of the number of clips
seen, so a resumed run goes on exactly as if it had not stopped.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from syncdraw import media
from syncdraw.errors import UserError
from syncdraw.training.batches import Batches
from syncdraw.training.optimization import Optimization
from syncdraw.training.run_folder import RunFolder
from syncdraw.training.settings import TrainConfig
from syncdraw.training.step import Bounds, fastest

LOG_EVERY = 50
"""Steps that one line of metrics averages."""


class VideoModel(Protocol):
    """What can be trained and measured."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def prepare(self, videos: Any, captions: Any, generator: torch.Generator, length: int = 0, skip: int = 0) -> Any: ...
    def bound(self, batch: Any) -> Bounds: ...
    def generate(self, what: int | Sequence[str], *, seed: int = 0, temperature: float = 1.0) -> Tensor: ...
    def train(self, mode: bool = True) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...


Evaluator = Callable[[VideoModel], dict[str, float]]
"""Numbers about a model, by name."""


def fit(
    model: VideoModel,
    batches: Batches,
    optimization: Optimization,
    settings: TrainConfig,
    run: RunFolder,
    *,
    resumed: dict[str, Any],
    evaluators: Sequence[Evaluator],
    what: int | list[str],
    save_model: Callable[[dict[str, Any]], None],
    progress: bool,
) -> None:
    """Train from `resumed["step"]` to `settings.max_steps`.

    Args:
        evaluators: called every `settings.every` steps, with the averaged weights.
        what: is drawn then, into the run's samples: so many videos, or one for each caption.
        save_model: writes the model for `syncdraw.load`, given the step and the seconds so far.

    Raises:
        UserError: training diverged; what the run folder holds is from before.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once the state is saved.
    """
    processes, first = batches.processes, int(resumed["step"])
    clock = time.monotonic() - float(resumed["seconds"])
    # What the next line of metrics averages; saved, so that the line does not depend on where a run was broken off.
    window: list[Tensor] = [values.to(processes.device) for values in resumed.get("window", [])]
    logged, logged_step = time.monotonic(), first

    def save(step: int, batch: Any) -> None:
        with torch.no_grad():  # with the weights that are to be saved; the last loss was that of the ones before
            bound = model.bound(batch)
            check_finite(torch.stack([bound.reconstruction.mean(), bound.divergence.mean()]), model, step, run)
        if processes.first:
            seconds = time.monotonic() - clock
            reached = {"step": step, "seconds": seconds, "window": window}
            run.save_state({**reached, "model": model.state_dict(), **optimization.state_dict()})
            with optimization.averaged():
                save_model(reached)

    model.train()
    if first < settings.max_steps:
        step_on = fastest(model, optimization, settings.divergence_weight, processes.device, batches.at(first))
    bar = tqdm(total=settings.max_steps, initial=first, unit="step", disable=not (progress and processes.first),
               smoothing=0.05, dynamic_ncols=True)  # fmt: skip
    with bar, interruptible() as interrupted:
        for step, batch in batches.ahead(first, settings.max_steps):
            optimization.begin(step)
            window.append(processes.average(step_on(batch)))
            done, last = step + 1, step + 1 == settings.max_steps
            bar.update()
            if done % LOG_EVERY == 0 or last or processes.device.type == "cpu":
                check_finite(window[-1], model, done, run)
            if done % LOG_EVERY == 0 or last:
                reconstruction, divergence, norm = torch.stack(window).mean(dim=0).tolist()
                speed = settings.batch_size * (done - logged_step) / (time.monotonic() - logged)
                bar.set_postfix_str(f"L_X {reconstruction:.1f}, L_Z {divergence:.1f}, {speed:.0f} clips/s", False)
                if processes.first:
                    run.log(done, time.monotonic() - clock, {
                        "L_X": reconstruction, "L_Z": divergence, "gradient_norm": norm,
                        "learning_rate": optimization.rate(step), "clips_per_second": speed,
                    })  # fmt: skip
                window.clear()
                logged, logged_step = time.monotonic(), done
            if done - first == 10 and progress and processes.first:
                left = (settings.max_steps - done) * (time.monotonic() - logged) / 10
                tqdm.write(f"about {duration(left)} to go", file=sys.stderr)
            if (done % settings.every == 0 or last) and processes.first:
                with optimization.averaged():
                    for evaluator in evaluators:
                        run.log(done, time.monotonic() - clock, evaluator(model))
                    media.save_video(
                        model.generate(what, seed=0).cpu(), run.path / "samples" / f"step_{done:07d}.gif", scale=2
                    )
                model.train()
            if done % settings.every == 0 or last or interrupted.is_set():
                save(done, batch)
            if interrupted.is_set():  # in the last step, too: there may be further stages, or further runs
                raise KeyboardInterrupt(f"stopped at step {done}; syncdraw train --resume --out {run} goes on")
    if first >= settings.max_steps:
        save(first, batches.at(first))  # repairs a last save that was broken off
    processes.wait()


def check_finite(measured: Tensor, model: VideoModel, step: int, run: RunFolder) -> None:
    """Raise UserError where training has diverged: values that are no numbers, or a cost beyond all reason.

    Args:
        measured: L_X and L_Z in nats per video, and perhaps the gradient's norm.
    """
    values = measured.tolist()
    guess = math.prod(model.shape) * math.log(2)  # the cost of knowing nothing at all
    if not all(map(math.isfinite, values)) or values[0] + values[1] > 100 * guess:
        raise UserError(
            f"training diverged before step {step}: L_X is {values[0]:.4g}, L_Z {values[1]:.4g}; what {run} holds is "
            "from before: resume it with a lower train.optimizer.learning_rate"
        )


def duration(seconds: float) -> str:
    """In words: '40 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and SIGHUP set the event, so that the step in hand is finished and saved; a second one stops at
    once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {getattr(signal, name): signal.signal(getattr(signal, name), handle) for name in names}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
