"""A run on disk: settings, the model to load, the state to resume from, metrics, samples.

    config.yaml                        the settings
    config.json, model.safetensors     the model, for `syncdraw.load`
    state/training.bin                 what resuming needs: weights, optimisers, averages, the metrics of this window
    metrics.jsonl                      a line each `LOG_EVERY` steps, and each validation
    samples/step_0000500.gif           what the model draws
    tensorboard/                       the same metrics, where the extra `log` is installed

The state is written before the model, and holds all that the model is made of. So a save that is broken off between the
two is repaired when the run is resumed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.training.settings import RunConfig, as_dict

CONFIG_FILE, METRICS_FILE, STATE_FILE, LOCK_FILE = "config.yaml", "metrics.jsonl", "state/training.bin", ".lock"
_OLD_STATE = "state/training.pt"


class RunFolder:
    """The folder of one run.

    Args:
        path: which may not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._board: Any = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / CONFIG_FILE).is_file()

    @property
    def saved(self) -> bool:
        """Whether there is a state to resume from."""
        return (self.path / STATE_FILE).is_file()

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Nobody else may train in the folder meanwhile.

        Raises:
            UserError: somebody does, or the folder cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; --out must name a folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / LOCK_FILE).open("a+")
        except OSError as error:
            raise UserError(f"cannot write into {self.path}: {error.strerror or error}") from error
        with lock:
            _lock(lock, self.path)
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """For the processes beside the one that owns the folder."""
        yield

    def check(self, resume: bool) -> None:
        """Raise UserError where a run would be overwritten, or there is none to go on with."""
        if not resume:
            for name in (CONFIG_FILE, STATE_FILE, "model.safetensors"):
                if (self.path / name).exists():
                    raise UserError(
                        f"{self.path} already holds a run ({name}); add --resume to continue it, or choose another "
                        "folder"
                    )
        elif not self.holds_run:
            raise UserError(f"{self.path} holds no run to resume; start it without --resume")
        elif (self.path / _OLD_STATE).exists() and not self.saved:
            raise UserError(
                f"{self.path} was trained by an older version, whose state cannot be resumed; begin a new run from its "
                f"model with --train.start.model {self.path}"
            )
        elif (self.path / "model.safetensors").exists() and not self.saved:
            raise UserError(f"{self.path / STATE_FILE} is missing, without which the run cannot be resumed")

    def check_same(self, config: RunConfig) -> None:
        """Raise UserError at the first setting that must not differ from the run's own, and does.

        What the data decide and is not filled in yet is passed over.
        """
        before = _flat(self.config())
        for name, value in _flat(as_dict(config)).items():
            free = name.startswith("train.") and name not in ("train.seed", "train.batch_size")
            unknown = name in ("model.captions.vocabulary", "model.captions.encoder_version") and not value
            filled = name in ("model.frames", "model.channels", "model.height", "model.width")
            if not (free or unknown or filled) and name in before and value != before[name]:
                raise UserError(
                    f"{name} is {_short(value)}, but the run in {self.path} began with {_short(before[name])}; "
                    "a resumed run keeps its model, data, seed and batch size"
                )

    def config(self) -> dict[str, Any]:
        """What config.yaml holds.

        Raises:
            UserError: it cannot be read.
        """
        path = self.path / CONFIG_FILE
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            raise UserError(f"{path} cannot be read as a run's settings ({_line(error)})") from error
        if not isinstance(values, dict):
            raise UserError(f"{path} holds no settings; it must hold the sections model, data, bouncing and train")
        return values

    def write_config(self, config: RunConfig) -> None:
        """config.yaml; on resuming, too: it says what the run goes on with."""
        write_yaml(self.path / CONFIG_FILE, as_dict(config))

    def save_state(self, state: dict[str, Any]) -> None:
        """What resuming needs, behind its own checksum."""
        # By way of memory, because torch.save reports a full disk in ways of its own, some of which end the process.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        with atomic_path(self.path / STATE_FILE) as path:
            path.write_bytes(hashlib.sha256(content).digest() + content)

    def load_state(self) -> dict[str, Any]:
        """What `save_state` wrote.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / STATE_FILE
        try:
            written = path.read_bytes()
            if hashlib.sha256(written[32:]).digest() != written[:32]:
                raise ValueError("its checksum does not fit")
            state = torch.load(io.BytesIO(written[32:]), map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises half a dozen kinds for a damaged file
            raise UserError(f"{path} cannot be resumed from: it is damaged ({_line(error)})") from error
        if not isinstance(state, dict) or not isinstance(state.get("step"), int):
            raise UserError(f"{path} cannot be resumed from: it holds no step")
        return state

    def begin_metrics(self, step: int) -> None:
        """Drop the metrics of steps that were not saved and will be done again."""
        path = self.path / METRICS_FILE
        if path.is_file():
            lines = [line for line in path.read_text(errors="replace").splitlines() if _step_of(line) <= step]
            with atomic_path(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines))
        self._board = _board(self.path, step)

    def log(self, step: int, seconds: float, values: dict[str, float]) -> None:
        """One line of metrics."""
        line = {"step": step, "seconds": round(seconds, 1), **{k: round(v, 6) for k, v in values.items()}}
        with (self.path / METRICS_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            try:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
            except Exception as error:  # an extra must not end a run
                print(f"TensorBoard failed ({_line(error)}); going on without", file=sys.stderr)
                self._board = None

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics so far.

        Raises:
            UserError: there are none, or they are damaged.
        """
        path = self.path / METRICS_FILE
        try:
            return [dict(json.loads(line)) for line in path.read_text().splitlines()]
        except (OSError, TypeError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({_line(error)}); curves need the folder of a run") from error

    def close(self) -> None:
        """Write what is left to be written."""
        if self._board is not None:
            self._board.close()


def write_yaml(path: Path, values: dict[str, Any]) -> None:
    """Settings as YAML that every version of YAML reads alike."""
    with atomic_path(path) as temporary:
        text = yaml.dump(values, Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


class _QuotingDumper(yaml.SafeDumper):
    """Quotes strings that look like anything else: YAML's versions do not agree on what `1e3` is."""

    def represent_text(self, value: str) -> yaml.ScalarNode:
        style = None if re.fullmatch(r"[^\W\d]\w*", value) else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_QuotingDumper.add_representer(str, _QuotingDumper.represent_text)


def _lock(lock: Any, folder: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        raise UserError(f"{owner} is training in {folder}; wait for it, or choose another folder") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names. The data come first, for they decide other settings."""
    flat: dict[str, Any] = {}
    for name, value in sorted(values.items(), key=lambda item: item[0] != "data"):
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # half a line, from a break


def _board(folder: Path, step: int) -> Any:
    """A TensorBoard writer, where the extra `log` is installed. What was written of later steps is hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
