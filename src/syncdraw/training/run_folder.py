"""A run on disk: settings, the model to load, the state to resume from, metrics, samples.

    config.yaml                        the settings
    config.json, model.safetensors     the model, for `syncdraw.load`
    state/training.bin                 what resuming needs: weights, optimisers, averages, the metrics of this window
    metrics.jsonl                      a line each `LOG_EVERY` steps, and each validation
    samples/step_0000500.gif           what the model draws
    tensorboard/                       the same metrics, where the extra `log` is installed

The state is written before the model, and holds all that the model is made of; each has the other's step and checksum.
So a save that is broken off between the two is seen and repaired when the run is resumed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from syncdraw.config import FROM_FIRST_LOOK
from syncdraw.errors import UserError
from syncdraw.files import atomic_path, remove_tree
from syncdraw.media import save_video
from syncdraw.pretrained import CARD_FILE, WEIGHTS_FILE, load_card, serialised
from syncdraw.reading import merged, read_regular, read_yaml
from syncdraw.training.settings import RunConfig, as_dict, read_run
from syncdraw.training.trackers import TensorBoard, Tracker, Trackers

CONFIG_FILE, METRICS_FILE, STATE_FILE, LOCK_FILE = "config.yaml", "metrics.jsonl", "state/training.bin", ".lock"
_FILLED = {f"model.{name}" for name in ("frames", "channels", "height", "width", *FROM_FIRST_LOOK)}
RECIPE_FILE, STAGES = "recipe.yaml", "stages"
_OLD_STATE = "state/training.pt"
_STATE_BYTES, _METRICS_BYTES = 2**33, 2**30
_WRITTEN = (CONFIG_FILE, CARD_FILE, WEIGHTS_FILE, METRICS_FILE, RECIPE_FILE, "training.bin", r"step_\d+\.gif")
_UNFINISHED = re.compile(rf"\.({'|'.join(_WRITTEN)})\.\w{{8}}")
"""What `files.atomic_path` leaves behind where a process is killed while it writes."""


class RunFolder:
    """The folder of one run.

    Args:
        path: which may not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._trackers = Trackers([])

    def __str__(self) -> str:
        return str(self.path)

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / CONFIG_FILE).is_file()

    @property
    def saved(self) -> bool:
        """Whether there is a state to resume from."""
        return (self.path / STATE_FILE).exists()

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Nobody else may train in the folder meanwhile. What a process that was killed left half written is removed.

        A folder into which nothing was written, because the data cannot be read, say, is not left behind.

        Raises:
            UserError: somebody does, the folder cannot be written, or leads elsewhere by a link.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; --out must name a folder")
        for name in (LOCK_FILE, METRICS_FILE, "state", "samples", "tensorboard", STAGES):
            if (self.path / name).is_symlink():
                raise UserError(f"{self.path / name} is a link; a run writes into its own folder alone: remove it")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / LOCK_FILE).open("a+")
        except OSError as error:
            raise UserError(f"cannot write into {self.path}: {error.strerror or error}") from error
        with lock:
            _lock(lock, self.path)
            for folder in (self.path, self.path / "state", self.path / "samples"):
                for entry in folder.iterdir() if folder.is_dir() else ():
                    if _UNFINISHED.fullmatch(entry.name):
                        remove_tree(entry, inside=folder)
            try:
                yield
            finally:
                if os.listdir(self.path) == [LOCK_FILE]:
                    (self.path / LOCK_FILE).unlink()
                    self.path.rmdir()

    def check(self, resume: bool) -> None:
        """Raise UserError where a run would be overwritten, or there is none to go on with.

        A run that was broken off before it saved anything is in nobody's way.
        """
        if not resume:
            for name in (STATE_FILE, _OLD_STATE, WEIGHTS_FILE, f"{STAGES}/*/{STATE_FILE}"):
                for found in self.path.glob(name):
                    raise UserError(
                        f"{self.path} already holds a run ({found.relative_to(self.path)}); add --resume to continue "
                        "it, or choose another folder"
                    )
        elif not self.holds_run:
            raise UserError(f"{self.path} holds no run to resume; start it without --resume")
        elif (self.path / _OLD_STATE).exists() and not self.saved:
            raise UserError(
                f"{self.path} was trained by an older version, whose state cannot be resumed; begin a new run from its "
                f"model with --train.start.model {self.path}"
            )
        elif (self.path / WEIGHTS_FILE).exists() and not self.saved:
            raise UserError(f"{self.path / STATE_FILE} is missing, without which the run cannot be resumed")

    def check_same(self, config: RunConfig) -> None:
        """Raise UserError at the first setting that must not differ from the run's own, and does.

        What the data decide and is not filled in yet is passed over.
        """
        before = _flat(as_dict(self.config()))
        for name, value in _flat(as_dict(config)).items():
            free = name.startswith("train.") and name not in ("train.seed", "train.batch_size")
            unknown = name in ("model.captions.vocabulary", "model.captions.encoder_version") and not value
            filled = name in _FILLED
            if not (free or unknown or filled) and value != before[name]:
                raise UserError(
                    f"{name} is {_short(value)}, but the run in {self.path} began with {_short(before[name])}; "
                    "a resumed run keeps its model, data, seed and batch size"
                )

    def config(self, changes: Mapping[str, Any] | None = None) -> RunConfig:
        """What config.yaml holds, with some settings changed.

        Raises:
            UserError: it cannot be read.
        """
        path = self.path / CONFIG_FILE
        return read_run(merged(read_yaml(path), changes or {}), str(path))

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
        written = read_regular(path, _STATE_BYTES)
        try:
            if hashlib.sha256(written[32:]).digest() != written[:32]:
                raise ValueError("its checksum does not fit")
            content = io.BytesIO(written[32:])
            with zipfile.ZipFile(content) as archive:  # torch packs nothing; what is packed may be a bomb
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ValueError("it is compressed")
            content.seek(0)
            state = torch.load(content, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises half a dozen kinds for a damaged file
            raise UserError(f"{path} cannot be resumed from: it is damaged ({_line(error)})") from error
        missing = _missing(state)
        if missing:
            raise UserError(f"{path} cannot be resumed from: it holds no {missing}")
        return state

    @property
    def state_checksum(self) -> str:
        """SHA-256 of the saved state, hexadecimal."""
        with (self.path / STATE_FILE).open("rb") as file:
            return file.read(32).hex()

    def holds_model_of(self, state: Mapping[str, Any]) -> bool:
        """Whether the model in the folder is whole, and that of the saved state."""
        try:
            weights = hashlib.sha256(read_regular(self.path / WEIGHTS_FILE, _STATE_BYTES)).hexdigest()
            card = self._card()
        except UserError:
            return False
        trained = card.get("trained", {})
        of_state = (trained.get("steps"), trained.get("state")) == (state["step"], self.state_checksum)
        return of_state and card.get("sha256") == state.get("weights") == weights

    def check_model(self, state: Mapping[str, Any]) -> None:
        """Raise UserError where the model is of a later step than the state: to go on would lose what it has learned.

        No break can do that; a state that was put back from a copy does.
        """
        steps = self._card().get("trained", {}).get("steps")
        if type(steps) is int and steps > state["step"]:
            raise UserError(
                f"{self.path / WEIGHTS_FILE} is of step {steps}, but {self.path / STATE_FILE} of step {state['step']}: "
                f"put back the state of that step, or remove {CARD_FILE} to go on from the earlier one"
            )

    def _card(self) -> dict[str, Any]:
        """What is said of the model; nothing where there is none, or it cannot be read."""
        with suppress(UserError):
            return load_card(self.path.absolute())  # not a shipped model of the folder's name
        return {}

    def begin_metrics(self, step: int, trackers: Sequence[Tracker] = ()) -> None:
        """Drop the metrics of steps that were not saved and will be done again; from now on, tell trackers, too."""
        path = self.path / METRICS_FILE
        if path.exists():
            lines = read_regular(path, _METRICS_BYTES).decode(errors="replace").splitlines()
            with atomic_path(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines if _step_of(line) <= step))
        board = _board(self.path, step)
        self._trackers = Trackers([*([board] if board else []), *trackers])

    def log(self, step: int, seconds: float, values: dict[str, float]) -> None:
        """One line of metrics."""
        line = {"step": step, "seconds": round(seconds, 1), **{k: round(v, 6) for k, v in values.items()}}
        with (self.path / METRICS_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._trackers.log(step, values)

    def show(self, step: int, videos: Tensor, real: Tensor) -> None:
        """What the model draws after a step, in rows below real clips: `[batch, frame, channel, height, width]` each,
        in [0, 1]."""
        path = self.path / "samples" / f"step_{step:07d}.gif"
        rows, columns = in_rows(real, videos.cpu())
        save_video(rows, path, scale=2, columns=columns)
        self._trackers.show(step, path)

    def last_validation(self) -> dict[str, float]:
        """The last line of metrics that is of held-out clips or samples; nothing, where there is none."""
        lines = [line for line in self.metrics() if "validation_L_X" in line or "sample_sharpness" in line]
        return lines[-1] if lines else {}

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics so far.

        Raises:
            UserError: there are none, or they are damaged.
        """
        path = self.path / METRICS_FILE
        if not path.exists():
            raise UserError(f"{path} is missing; curves need the folder of a run")
        lines = read_regular(path, _METRICS_BYTES).decode(errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if _step_of(line) == math.inf:
                raise UserError(f"{path} cannot be read: line {number} is no line of metrics ({line[:60]!r})")
        return [dict(json.loads(line)) for line in lines]

    def close(self) -> None:
        """Write what is left to be written."""
        self._trackers.close()


def checksum_of(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of a model's file of weights, hexadecimal."""
    return hashlib.sha256(serialised(weights)).hexdigest()


def write_yaml(path: Path, values: dict[str, Any]) -> None:
    """Settings as YAML that every version of YAML reads alike."""
    with atomic_path(path) as temporary:
        text = yaml.dump(values, Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


class _QuotingDumper(yaml.SafeDumper):
    """Quotes strings that look like anything else: YAML's versions do not agree on what `1e3` is. Writes out what
    occurs twice."""

    def represent_text(self, value: str) -> yaml.ScalarNode:
        style = None if re.fullmatch(r"[^\W\d]\w*", value) else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_QuotingDumper.add_representer(str, _QuotingDumper.represent_text)


def _lock(lock: Any, folder: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read(100).strip() or "another process"
        raise UserError(f"{owner} is training in {folder}; wait for it, or choose another folder") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()


def _missing(state: Any) -> str:
    """What a state ought to hold and does not; nothing where it is complete."""
    if not isinstance(state, dict):
        return "state"
    kinds = {"step": int, "seconds": float, "window": list, "model": dict, "optimizers": list, "average": list}
    for name, kind in kinds.items():
        if not isinstance(state.get(name), kind) or isinstance(state[name], bool):
            return name
    if not 0 <= state["step"] < 2**40:
        return "step"
    if not 0 <= state["seconds"] < math.inf:
        return "seconds"
    if not all(
        isinstance(part, Tensor) and part.shape == (3,) and part.is_floating_point() for part in state["window"]
    ):
        return "window"
    return ""


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
    """The step of a line of metrics; infinity for what is none, such as half a line from a break."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return math.inf
    if not isinstance(values, dict) or not all(type(value) in (int, float) for value in values.values()):
        return math.inf
    step = values.get("step")
    return step if isinstance(step, int) and step < 2**40 else math.inf


MOST_COLUMNS = 8
"""Clips beside each other in a picture of samples."""


def in_rows(real: Tensor, drawn: Tensor) -> tuple[Tensor, int]:
    """Real clips and drawn ones, equally many, as the clips of a grid: below each row of real ones those drawn for
    them. Gives the grid's clips, and its columns."""
    count = len(drawn)
    rows = math.ceil(count / MOST_COLUMNS)
    columns = math.ceil(count / rows)
    grey = drawn.new_full((rows * columns - count, *drawn.shape[1:]), 0.5)
    both = [torch.cat([clips, grey]).unflatten(0, (rows, columns)) for clips in (real, drawn)]
    return torch.stack(both, dim=1).flatten(0, 2), columns


def _board(folder: Path, step: int) -> Tracker | None:
    try:
        return TensorBoard(folder, step)
    except ImportError:
        return None
