"""Where the metrics and samples of a run go beside its folder: TensorBoard, Weights & Biases, MLflow, or elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from syncdraw.errors import UserError

TrackerName = Literal["wandb", "mlflow"]


class Tracker(Protocol):
    """What a run reports to. One that fails is told no more, and the run goes on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step, by name."""
        ...

    def show(self, step: int, samples: Path) -> None:
        """A GIF of what the model draws after a step."""
        ...

    def close(self) -> None:
        """The run has ended, or was stopped."""
        ...


MakeTracker = Callable[[Path, Mapping[str, Any]], Tracker]
"""Begins to track a run, given its folder and its settings. A class with such an `__init__` is one."""


class TensorBoard:
    """Event files in the run folder.

    Args:
        folder: of the run.
        step: from which it goes on; what was written of later ones is hidden.

    Raises:
        ImportError: the extra `log` is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        directory = folder / "tensorboard"
        _wait_for_the_next_second(directory)
        self.writer = SummaryWriter(str(directory), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def show(self, step: int, samples: Path) -> None:
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        # As it is: `add_video` would need another package to make a GIF of.
        with Image.open(samples) as image:
            shown = Summary.Image(
                width=image.width, height=image.height, colorspace=3, encoded_image_string=samples.read_bytes()
            )
        summary = Summary(value=[Summary.Value(tag="samples", image=shown)])
        self.writer._get_file_writer().add_summary(summary, step)

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases. What is resumed is a run of its own there, in the group of the run folder.

    Args:
        folder: of the run.
        settings: of it.

    Raises:
        UserError: the package is missing, or nobody is logged in.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.module = _imported("wandb")
        with _beginning("Weights & Biases"):
            self.run = self.module.init(
                project="syncdraw", group=folder.name, dir=str(folder), config=dict(settings), job_type="train"
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def show(self, step: int, samples: Path) -> None:
        self.run.log({"samples": self.module.Video(str(samples), format="gif")}, step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """A run of MLflow, where `MLFLOW_TRACKING_URI` says.

    Args:
        folder: of the run.
        settings: of it.

    Raises:
        UserError: the package is missing, or its server does not answer.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.module = _imported("mlflow")
        with _beginning("MLflow"):
            self.module.set_experiment("syncdraw")
            self.module.start_run(run_name=folder.name)
            self.module.log_dict(dict(settings), "config.yaml")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.module.log_metrics(dict(values), step=step)

    def show(self, step: int, samples: Path) -> None:
        self.module.log_artifact(str(samples), "samples")

    def close(self) -> None:
        self.module.end_run()


TRACKERS: dict[TrackerName, MakeTracker] = {"wandb": WeightsAndBiases, "mlflow": MLflow}
"""Those that the command line knows by name."""


class Trackers:
    """Several trackers, of which none can end the run."""

    def __init__(self, trackers: list[Tracker]) -> None:
        self._trackers = trackers

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell all of them."""
        self._tell(lambda tracker: tracker.log(step, values))

    def show(self, step: int, samples: Path) -> None:
        """Show all of them."""
        self._tell(lambda tracker: tracker.show(step, samples))

    def close(self) -> None:
        """Close all of them."""
        self._tell(lambda tracker: tracker.close())
        self._trackers.clear()

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                what(tracker)
            except Exception as error:  # of a disk or a network
                reason = " ".join(str(error).split())[:200]
                print(f"{type(tracker).__name__} failed ({reason}); going on without", file=sys.stderr)
                self._trackers.remove(tracker)


def _wait_for_the_next_second(directory: Path) -> None:
    """Until a new event file is read after those that are there.

    TensorBoard reads them in the order of their names, which tell the second of their making and end in a count: of
    two from one second, the tenth is read before the ninth, and hides it.
    """
    made = [
        int(second) for file in directory.glob("events.out.tfevents.*") if (second := file.name.split(".")[3]).isdigit()
    ]
    time.sleep(min(1.0, max(0.0, max(made, default=0) + 1 - time.time())))


def _imported(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise UserError(f"--tracker {package} needs another package: pip install 'syncdraw[{package}]'") from None


@contextmanager
def _beginning(name: str) -> Iterator[None]:
    """Whatever a tracker raises when it begins is said in a sentence: before the first step, nothing is lost."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{name} could not begin ({' '.join(str(error).split())[:300]})") from error
