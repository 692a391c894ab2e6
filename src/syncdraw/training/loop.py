"""The training loop. It sees a model through `prepare` and `generate`, and how it learns through a `Learner`.

Everything random in step n is drawn from (seed, n), and the clips of step n are a function of the number of clips
seen, so a resumed run goes on exactly as if it had not stopped.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from syncdraw.datasets.clips import Clips
from syncdraw.errors import UserError
from syncdraw.evaluation.models import DrawingModel, drawn
from syncdraw.pretrained import check_numbers
from syncdraw.training.batches import Batches
from syncdraw.training.learning import Learner
from syncdraw.training.processes import Processes
from syncdraw.training.run_folder import RunFolder, checksum_of
from syncdraw.training.settings import TrainConfig

LOG_EVERY, FIRST_LOOK = 50, 90.0
"""Steps that one line of metrics averages; and seconds after which a run saves and shows what it has, far as its first
validation may be."""


class VideoModel(DrawingModel, Protocol):
    """What can be trained."""

    def prepare(self, videos: Any, captions: Any, seed: Any, length: int = 0, skip: int = 0) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...


Evaluator = Callable[[VideoModel], dict[str, float]]
"""Numbers about a model, by name."""


def fit(
    model: VideoModel,
    batches: Batches,
    learner: Learner,
    settings: TrainConfig,
    run: RunFolder,
    *,
    resumed: dict[str, Any],
    evaluators: Sequence[Evaluator],
    examples: Clips,
    save_model: Callable[[dict[str, Any]], None],
    shown: Callable[[Mapping[str, float]], str],
    progress: bool,
) -> None:
    """Train from `resumed["step"]` to `settings.max_steps`.

    Args:
        evaluators: called every `settings.every` steps, with the averaged weights, by every process.
        examples: held-out clips, with captions for a model that draws from some. The run's samples show them, and below
            each what is drawn then.
        save_model: writes the model for `syncdraw.load`, given the step and the seconds so far, and the checksum of the
            state that was saved.
        shown: what the progress bar tells of a line of metrics.

    Raises:
        UserError: training diverged; what the run folder holds is from before.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once the state is saved.
    """
    processes, first, last = batches.processes, int(resumed["step"]), settings.max_steps
    meter = Meter(resumed, settings.batch_size, learner.measures, processes.device)

    def evaluate(step: int) -> None:
        values: dict[str, float] = {}
        for evaluator in evaluators:
            values |= evaluator(model)
        if processes.first:
            run.log(step, meter.seconds, values)

    def save(step: int) -> None:
        reached = {"step": step, "seconds": meter.seconds, "window": meter.window}
        with learner.averaged():
            weights = checksum_of(model.state_dict())
        run.save_state({**reached, "weights": weights, "model": model.state_dict(), **learner.state_dict()})
        with learner.averaged():
            save_model({**reached, "state": run.state_checksum})

    if first and processes.first and not run.holds_model_of(resumed):
        with learner.averaged():
            # The save of this state was broken off before the model was written.
            save_model({**resumed, "state": run.state_checksum})
    looked = first > 0
    model.train()
    if first < last:
        learner.ready(batches.at(first))
    bar = tqdm(total=last, initial=first, unit="step", disable=not progress, smoothing=0.05, dynamic_ncols=True)
    with bar, interruptible() as interrupted:
        for step, batch in batches.ahead(first, last):
            learner.begin(step)
            meter.add(learner.step(batch))
            done, stop = step + 1, processes.any(interrupted.is_set())
            bar.update()
            to_log = done % LOG_EVERY == 0 or done == last
            to_evaluate = done % settings.every == 0 or done == last
            to_look = not looked and done % 10 == 0 and processes.any(meter.seconds > FIRST_LOOK)
            looked = looked or to_evaluate or to_look
            if to_log or processes.device.type == "cpu":
                check_finite(meter.window[-1], learner, done, run)
            if to_log:
                line = meter.line(done)
                bar.set_postfix_str(f"{shown(line)}, {line['clips_per_second']:.0f} clips/s", False)
                if processes.first:
                    run.log(done, meter.seconds, {**line, "learning_rate": learner.rate(step)})
            if done - first == 10 and progress:
                tqdm.write(time_to_go(last - done, meter.seconds_a_step(done)), file=sys.stderr)
            if to_evaluate or to_look or stop:
                check_saved(model, learner, batch, done, run)
                with learner.averaged():
                    if to_evaluate:
                        evaluate(done)
                    if to_evaluate or to_look:
                        show(model, examples, done, run, processes)
                model.train()
                if processes.first:
                    save(done)
            if stop and done < last:
                processes.wait()  # what started the processes ends all of them as soon as one has ended
                raise KeyboardInterrupt(f"stopped at step {done}; syncdraw train --resume --out {run} goes on")
    processes.wait()


def show(model: VideoModel, examples: Clips, step: int, run: RunFolder, processes: Processes) -> None:
    """Draw a video for each example, each process a part of them, into the run's samples."""
    what = len(examples) if examples.captions is None else examples.captions
    part = processes.part(len(examples))
    videos = processes.collect([drawn(model, what, 0, part).cpu()] if part.start < part.stop else [])
    if processes.first:
        run.show(step, torch.cat(videos), torch.from_numpy(examples.videos).float() / 255)


class Meter:
    """The clock of a run, and what its next line of metrics averages.

    Args:
        resumed: `step` and `seconds` so far, and the `window` that was saved: a line does not depend on where a run was
            broken off.
        batch_size: clips a step.
        names: of what each step measures.
    """

    def __init__(self, resumed: dict[str, Any], batch_size: int, names: Sequence[str], device: torch.device) -> None:
        self.window: list[Tensor] = [values.to(device) for values in resumed.get("window", [])]
        self.batch_size, self.names = batch_size, names
        self.begun = time.monotonic()
        self.before = float(resumed["seconds"])
        self.first = self.logged_step = int(resumed["step"])
        self.logged = self.begun

    @property
    def seconds(self) -> float:
        """Since the run began, without the time between a break and going on."""
        return self.before + time.monotonic() - self.begun

    def seconds_a_step(self, done: int) -> float:
        """On average, since this process began."""
        return (time.monotonic() - self.begun) / (done - self.first)

    def add(self, measured: Tensor) -> None:
        """What one step measured."""
        self.window.append(measured)

    def line(self, done: int) -> dict[str, float]:
        """The means since the last line."""
        means = dict(zip(self.names, torch.stack(self.window).mean(dim=0).tolist(), strict=True))
        now = time.monotonic()
        speed = self.batch_size * (done - self.logged_step) / (now - self.logged)
        self.window.clear()
        self.logged, self.logged_step = now, done
        return {**means, "clips_per_second": speed}


def check_saved(model: VideoModel, learner: Learner, batch: Any, step: int, run: RunFolder) -> None:
    """Raise UserError where what is to be saved has diverged: the last loss was that of the weights before."""
    check_finite(learner.measure(batch), learner, step, run)
    try:
        check_numbers(model.state_dict())
    except ValueError as error:
        raise diverged(step, str(error), run) from None


def check_finite(measured: Tensor, learner: Learner, step: int, run: RunFolder) -> None:
    """Raise UserError where training has diverged: values that are no numbers, or a cost beyond all reason."""
    values = measured.tolist()
    if not all(map(math.isfinite, values)) or learner.unreasonable(values):
        named = zip(learner.measures, values, strict=False)  # an average of the gradient's norm there may not be
        raise diverged(step, ", ".join(f"{name} is {value:.4g}" for name, value in [*named][:2]), run)


def diverged(step: int, how: str, run: RunFolder) -> UserError:
    """What is said of it."""
    return UserError(
        f"training diverged before step {step}: {how}; what {run} holds is from before: resume it with a lower "
        "train.optimizer.learning_rate"
    )


def time_to_go(steps: int, seconds: float) -> str:
    """How long so many steps take, given the seconds of one; and of what takes long, how to make it shorter."""
    said = f"about {duration(steps * seconds)} to go"
    if steps * seconds < 3600:
        return said
    quarter = max(1, int(900 / seconds))
    quarter = round(quarter, 2 - len(str(quarter)))  # two digits
    return f"{said}; Ctrl-C keeps what has been learned by then, and --train.max_steps {quarter} takes about 15 min"


def duration(seconds: float) -> str:
    """In words: '40 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


_outer: list[threading.Event] = []


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and SIGHUP set the event, so that the step in hand is finished and saved; a second one stops at
    once. One inside another shares its event: whoever trains several runs is told of a signal in a run's last step."""
    event = _outer[-1] if _outer else threading.Event()
    if _outer or threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # What is ignored stays so: nohup sees to it that a run outlives its terminal.
    before = {n: signal.signal(n, handle) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    _outer.append(event)
    try:
        yield event
    finally:
        _outer.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
