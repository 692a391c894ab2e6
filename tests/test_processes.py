"""Several processes that train one model see the same batches and end in the same weights as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from syncdraw.training.processes import Processes
from training_runs import metrics, model_step, state

SCRIPT = Path(__file__).parent / "sharing_work.py"


MUON, LAYERS = "Muon, held gradients", "two layers, a sentence, endless"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder with all runs, and what was said when one was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    jobs = [(count, variant, folder / f"{count} {variant}") for variant in (MUON, LAYERS) for count in (1, 2)]
    jobs += 2 * [(2, MUON, folder / "stopped")]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *(str(part) for job in jobs for part in job)],
        capture_output=True, text=True, timeout=400, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


def seen(out: Path, rank: int) -> list[list[torch.Tensor]]:
    return torch.load(out.parent / f"seen-{out.name}-{rank}.bin")


@pytest.mark.parametrize("variant", [MUON, LAYERS])
def test_two_processes_train_as_one_does(variant: str, runs: tuple[Path, list[str]]) -> None:
    """Over 20 steps: the same clips, words and noise, the same losses and norms, the same weights to float tolerance.

    Gradients are held to the median of the whole batch, so that they do not depend on who has which clip.
    """
    one, two = (runs[0] / f"{count} {variant}" for count in (1, 2))
    halves = zip(seen(two, 0), seen(two, 1), strict=True)
    for whole, (first, second) in zip(seen(one, 0), halves, strict=True):
        for tensor, *parts in zip(whole, first, second, strict=True):
            assert len(parts[0]) == len(parts[1]) == 3
            assert torch.equal(tensor, torch.cat(parts))
    lines = metrics(one)
    assert len(lines) == 22
    for line, other in zip(lines, metrics(two), strict=True):
        assert line == pytest.approx(other, rel=2e-4, abs=2e-4)
    for name, weights in state(one)["model"].items():
        torch.testing.assert_close(state(two)["model"][name], weights, rtol=1e-3, atol=2e-5)
    assert model_step(two) == 20


def test_a_signal_to_one_process_stops_all_of_them_at_one_step(runs: tuple[Path, list[str]]) -> None:
    """And the run goes on from there as if nothing had been."""
    folder, said = runs
    stopped, whole = folder / "stopped", folder / f"2 {MUON}"
    assert said == 2 * [f'"stopped at step 6; syncdraw train --resume --out {stopped} goes on"']
    assert len(seen(stopped, 0)) < 20  # it did not begin again
    for name, weights in state(whole)["model"].items():
        torch.testing.assert_close(state(stopped)["model"][name], weights, rtol=1e-4, atol=1e-6)
    for line, other in zip(metrics(whole), metrics(stopped), strict=True):
        assert line == pytest.approx(other, rel=1e-4)
    assert model_step(stopped) == 20


def test_a_launcher_says_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[Any] = []
    monkeypatch.setattr("torch.distributed.init_process_group", joined.append)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    alone = Processes.join("cpu")
    assert (alone.rank, alone.count, alone.first, joined) == (0, 1, True, [])
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    last = Processes.join("cpu")
    assert (last.rank, last.count, last.first, joined) == (3, 4, False, ["gloo"])


def test_one_process_asks_nobody() -> None:
    alone, values = Processes(0, 1, torch.device("cpu")), torch.ones(3)
    assert alone.average(values) is values
    assert alone.gather(values) is values
    assert alone.any(True)
    assert not alone.any(False)
    alone.average_gradients([values])
    alone.share_weights(torch.nn.Linear(1, 1))
    alone.wait()
