"""Tiny runs for the tests of training, and what it means that two of them are the same."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from syncdraw.config import AttentionConfig, CaptionConfig, PriorConfig, SyncDrawConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.training import OptimizerConfig, RunConfig, StartConfig, TrainConfig, loop, run, run_folder, train
from syncdraw.training.optimization import Optimization
from syncdraw.training.run_folder import RunFolder

MODEL = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
DATA = BouncingMNISTConfig(shape=(3, 1, 32, 32), clips=20)
RUN = RunConfig(model=MODEL, bouncing=DATA, train=TrainConfig(max_steps=11, batch_size=3, every=3))
"""Saved at steps 3, 6, 9 and 11; with `LOG_EVERY` 4 its lines of metrics are those of steps 4, 8 and 11."""

ALIGNED = dataclasses.replace(MODEL, captions=CaptionConfig(route="alignment", size=4))
MUON = "Muon, held gradients"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "captions, averaged": {"model": ALIGNED, "bouncing.digits": 2, "train.optimizer.ema": 0.9},
    "in parts": {"train.batch_size": 4, "train.accumulate": 2},
    MUON: {
        "train.optimizer.matrix_learning_rate": 3e-3,
        "train.optimizer.final_learning_rate": 1e-5,
        "train.optimizer.gradient_ratio": 1.5,
    },
    "two layers, a sentence, endless": {
        "model": dataclasses.replace(
            MODEL,
            draw_steps=4,
            layers=2,
            canvas="learned",
            attention=AttentionConfig(content="shared", smooth_start=True),
            prior=PriorConfig("network", components=2),
            captions=CaptionConfig(route="recurrent", size=4),
        ),
        "bouncing.digits": 2,
        "bouncing.clips": 0,
        "train.optimizer.ema": 0.5,
        "train.optimizer.warmup_steps": 3,
        "train.optimizer.matrix_learning_rate": 1e-3,
        "train.optimizer.gradient_ratio": 2.0,
    },
}


def changed(config: RunConfig = RUN, changes: dict[str, Any] | None = None) -> RunConfig:
    """The config with other settings under their dotted names."""
    for name, value in (changes or {}).items():
        config = _changed(config, name.split("."), value)
    return config


def _changed(part: Any, names: list[str], value: Any) -> Any:
    first, *rest = names
    return dataclasses.replace(part, **{first: _changed(getattr(part, first), rest, value) if rest else value})


def go(config: RunConfig, out: Path, **options: Any) -> Path:
    """Train on the CPU, in silence."""
    return train(config, out, progress=False, device="cpu", **options)


def quick(patch: pytest.MonkeyPatch | None = None) -> None:
    """Lines of metrics every fourth step, four clips of validation and in samples, no judge and no TensorBoard."""
    changes: list[tuple[Any, str, Any]] = [
        (loop, "LOG_EVERY", 4),
        (run, "EXAMPLES", 4),
        (run, "VALIDATION_CLIPS", 4),
        (run, "Scorer", _NoJudge),
        (run_folder, "_board", lambda folder, step: None),
    ]
    for place, name, value in changes:
        if patch is None:
            setattr(place, name, value)
        else:
            patch.setattr(place, name, value)


class _NoJudge:
    def __init__(self, *_: Any) -> None: ...

    def scores(self, *_: Any) -> dict[str, float]:
        return {}


def metrics(out: Path) -> list[dict[str, float]]:
    """All but times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "clips_per_second")} for line in lines]


def state(out: Path) -> dict[str, Any]:
    """What a run would be resumed from."""
    return RunFolder(out).load_state()


def model_step(out: Path) -> int:
    """Of how many steps the model in a run folder is, according to its card."""
    return json.loads((out / "config.json").read_text())["trained"]["steps"]


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files, with the time of their last change. The lock does not count."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def assert_same(one: Any, other: Any, where: str = "state") -> None:
    """Equal to the last bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    else:
        assert one == other, where


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, averages, optimisers, metrics but for times, samples, settings; and nothing half written."""
    first, second = state(one), state(other)
    for each in (first, second):
        del each["seconds"]
    assert_same(first, second)
    assert_same(load_file(one / "model.safetensors"), load_file(other / "model.safetensors"))
    assert model_step(one) == model_step(other) == first["step"]
    assert metrics(one) == metrics(other)
    samples = [{p.name: p.read_bytes() for p in (run / "samples").iterdir()} for run in (one, other)]
    assert samples[0] == samples[1]
    assert (one / "config.yaml").read_bytes() == (other / "config.yaml").read_bytes()
    for folder in (one, other):
        assert not [path for path in folder.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


class PowerCutError(Exception):
    """The process is gone."""


def before_step(patch: pytest.MonkeyPatch, step: int, action: Callable[[], Any]) -> None:
    """Do something when the loop comes to a step."""
    original = Optimization.begin

    def hooked(self: Optimization, now: int) -> None:
        if now == step:
            action()
        original(self, now)

    patch.setattr(Optimization, "begin", hooked)


def cut() -> None:
    """End as a power cut would."""
    raise PowerCutError


def break_before(patch: pytest.MonkeyPatch, step: int) -> None:
    """The power is cut when the loop comes to a step."""
    before_step(patch, step, cut)


def broken_off(config: RunConfig, out: Path, step: int, **options: Any) -> Path:
    """A run that was broken off before a step."""
    with pytest.MonkeyPatch.context() as patch:
        break_before(patch, step)
        with pytest.raises(PowerCutError):
            go(config, out, **options)
    return out


@contextmanager
def broken_off_by(kind: type, method: str, calls: int) -> Iterator[None]:
    """The power is cut at the nth call of a method."""
    original, seen = getattr(kind, method), 0

    def counted(*values: Any, **options: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen >= calls:
            cut()
        return original(*values, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, counted)
        with pytest.raises(PowerCutError):
            yield


def disturb_random_numbers() -> None:
    """What the process has drawn before must not matter."""
    torch.manual_seed(int.from_bytes(os.urandom(2), "big"))
    np.random.seed(99)  # noqa: NPY002


__all__ = [
    "ALIGNED", "DATA", "MODEL", "MUON", "RUN", "VARIANTS", "OptimizerConfig", "PowerCutError", "StartConfig",
    "TrainConfig", "assert_same", "assert_same_run", "before_step", "break_before", "broken_off", "broken_off_by",
    "changed", "content", "cut", "disturb_random_numbers", "go", "metrics", "model_step", "quick", "state",
]  # fmt: skip
