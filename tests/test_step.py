"""The captured step: what of it can be tested without a GPU, with a graph that replays the step as it is written."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from syncdraw.attention import FrameAttention
from syncdraw.building import build
from syncdraw.config import PriorConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.model import SyncDraw
from syncdraw.training.batches import Batches
from syncdraw.training.optimization import Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.settings import OptimizerConfig
from syncdraw.training.step import Captured, eager, fastest
from training_runs import DATA, MODEL

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)


class Stream:
    """Waits for nothing."""

    def __init__(self, *_: Any) -> None: ...

    def wait_stream(self, _: Any) -> None: ...


class Graph:
    """Records which step is captured, and does it again when it is replayed, into the tensor of the capture."""

    replayed = 0

    def replay(self) -> None:
        self.replayed += 1
        self.captured.measured.copy_(self.captured.step(self.captured.recorded))

    captured: Any


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's graphs, on the CPU."""
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)


def made(seed: int = 0) -> tuple[SyncDraw, Optimization, Batches, Callable[[Any], torch.Tensor]]:
    torch.manual_seed(seed)
    model = build(dataclasses.replace(MODEL, prior=PriorConfig("network")))
    optimization = Optimization(model, OptimizerConfig(matrix_learning_rate=1e-3, ema=0.5), 20, ALONE)
    return model, optimization, Batches(model, BouncingMNIST(DATA), 3, 0, ALONE), eager(model, optimization, 2.0)


def captured_step(monkeypatch: pytest.MonkeyPatch, optimization: Optimization, step: Any) -> Captured:
    """Its graph does no work while it is captured, as on a GPU, and replays what it was captured with."""
    found = Captured(lambda batch: found.measured_or(batch), optimization, CPU)  # type: ignore[attr-defined]
    capturing: list[Graph] = []

    def do(batch: Any) -> torch.Tensor:
        if capturing:  # recorded, not done
            capturing[0].captured = SimpleNamespace(step=step, recorded=batch, measured=torch.zeros(3))
            return capturing.pop().captured.measured
        return step(batch)

    @contextlib.contextmanager
    def graph(made: Graph) -> Any:
        capturing.append(made)
        yield

    found.measured_or = do  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return found


@pytest.mark.parametrize("before", [0, 2])
def test_captured_steps_train_as_eager_ones(before: int, cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm-up leaves no trace, in a run that begins and in one that goes on; each batch reaches the graph."""
    _, plain, batches, step = made()
    _, optimization, _, other = made()
    for number in range(before):
        for each, do in ((plain, step), (optimization, other)):
            each.begin(number)
            do(batches.at(number))
    captured = captured_step(monkeypatch, optimization, other)
    expected, found = [], []
    for number in range(before, before + 4):
        plain.begin(number)
        optimization.begin(number)
        expected.append(step(batches.at(number)))
        found.append(captured(batches.at(number)))
    assert torch.equal(torch.stack(expected), torch.stack(found))  # not four times the tensor of the last replay
    assert isinstance(captured.graph, Graph)
    assert captured.graph.replayed == 4
    for one, another in zip(plain.tensors(), optimization.tensors(), strict=True):
        assert torch.equal(one, another)


def test_capturing_warms_up_first_and_leaves_no_trace(cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _, optimization, batches, step = made()
    done: list[int] = []
    captured = captured_step(monkeypatch, optimization, lambda batch: (done.append(0), step(batch))[1])
    before = [tensor.detach().clone() for tensor in optimization.tensors()]
    optimization.begin(0)
    captured.capture(batches.at(0))
    assert len(done) == Captured.warm_up_steps
    after = optimization.tensors()
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=False))
    assert not any(tensor.any() for tensor in after[len(before) :])


def test_where_there_is_no_gpu_the_step_is_as_it_is_written() -> None:
    model, optimization, batches, _ = made()
    step = fastest(model, optimization, 2.0, CPU, batches.at(0))
    assert not isinstance(step, Captured)
    assert step(batches.at(0)).shape == (3,)


def test_a_step_in_parts_is_not_captured(capsys: pytest.CaptureFixture[str]) -> None:
    model, optimization, batches, _ = made()
    step = fastest(model, optimization, 2.0, torch.device("cuda"), batches.at(0), accumulate=3)
    assert step(batches.at(0)).shape == (3,)
    assert capsys.readouterr().err == ""  # nothing was tried


def test_where_capturing_fails_it_is_said_and_training_goes_on(
    cuda: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of its warm-up, too: nothing of it stays."""
    model, optimization, batches, plain = made()
    update, calls = Optimization.update, []

    def failing(self: Optimization, losses: Iterable[torch.Tensor]) -> torch.Tensor:
        calls.append(0)
        if len(calls) in (2, 4):
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        return update(self, losses)

    monkeypatch.setattr(Optimization, "update", failing)
    before = [tensor.detach().clone() for tensor in optimization.tensors()]
    monkeypatch.setattr("syncdraw.training.step.compiled_attention", lambda model: contextlib.nullcontext())
    optimization.begin(0)
    with monkeypatch.context() as patch:
        patch.setattr(
            "syncdraw.training.step.Captured", lambda step, optimization, device: Captured(step, optimization, CPU)
        )
        step = fastest(model, optimization, 2.0, torch.device("cuda"), batches.at(0))
    assert len(calls) == 4
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(
        "could not be captured as a CUDA graph" in line and "operation not permitted when" in line for line in said
    )
    assert all(torch.equal(a, b) for a, b in zip(optimization.tensors(), before, strict=False))
    assert not isinstance(step, Captured)
    assert torch.isfinite(step(batches.at(0))).all()
    assert plain is not step


def test_compiled_windows_are_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    from syncdraw.training.step import compiled_attention

    compiled: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: compiled.append(function.__name__) or function)
    model, *_ = made()
    with compiled_attention(model):
        assert sorted(compiled) == sorted(2 * ["read", "read_both", "window", "write_onto"])
        assert "read" in vars(model.inference.attention)
    assert isinstance(model.inference.attention, FrameAttention)
    assert not {"read", "read_both", "window", "write_onto"} & vars(model.inference.attention).keys()
