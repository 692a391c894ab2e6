"""Several processes that train one model see the same batches and end in the same weights as one."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import forking
import sharing_work
from syncdraw import read_video
from syncdraw.building import build
from syncdraw.config import CaptionConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.evaluation.bounds import bound
from syncdraw.evaluation.models import drawn
from syncdraw.evaluation.scorer import Scorer
from syncdraw.training.processes import Processes
from syncdraw.vocabulary import Vocabulary
from training_runs import DATA, MODEL, MUON, metrics, model_step, state

LAYERS = "two layers, a sentence, endless"


def share(*jobs: tuple[int, str, int, Path]) -> forking.Ended:
    """Train with so many processes each, so many steps, one job after the other."""
    return forking.run(sharing_work.main, [str(part) for job in jobs for part in job], timeout=400)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder with all runs, and what was said when one was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    kinds = [(1, MUON, 50), (2, MUON, 50), (4, MUON, 50), (1, LAYERS, 12), (2, LAYERS, 12)]
    kinds += [(1, "plain", 12), (2, "in parts", 12)]
    jobs = [(*kind, folder_of(folder, *kind)) for kind in kinds]
    done = share(*jobs, (2, MUON, 50, folder / "stopped"), (1, MUON, 50, folder / "stopped"))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


def folder_of(runs: Path, count: int, variant: str, steps: int) -> Path:
    return runs / f"{count} {variant} {steps}"


def seen(out: Path, rank: int) -> list[list[torch.Tensor]]:
    return torch.load(out.parent / f"seen-{out.name}-{rank}.bin")


@pytest.mark.parametrize(("count", "variant", "steps"), [(2, MUON, 50), (4, MUON, 50), (2, LAYERS, 12)])
def test_several_processes_train_as_one_does(
    count: int, variant: str, steps: int, runs: tuple[Path, list[str]]
) -> None:
    """Over 50 steps, or 12: the same clips, words and noise, the same losses and norms, and the same weights to float
    tolerance; the same bounds on held-out clips, which they share out, and the same samples.

    Gradients are held to the median of the whole batch, so that they do not depend on who has which clip.
    """
    one, several = (folder_of(runs[0], number, variant, steps) for number in (1, count))
    for whole, *parts in zip(seen(one, 0), *(seen(several, rank) for rank in range(count)), strict=True):
        for tensor, *shares in zip(whole, *parts, strict=True):
            assert {len(part) for part in shares} == {8 // count}
            assert torch.equal(tensor, torch.cat(shares))
    assert_alike(one, several, steps)


def assert_alike(one: Path, several: Path, steps: int) -> None:
    """Metrics, weights and samples, to float tolerance."""
    lines = metrics(one)
    assert len(lines) == steps + steps // 25 + (steps % 25 > 0)
    for line, other in zip(lines, metrics(several), strict=True):
        assert line == pytest.approx(other, rel=2e-4, abs=2e-4)
    for name, weights in state(one)["model"].items():
        torch.testing.assert_close(state(several)["model"][name], weights, rtol=1e-3, atol=2e-5)
    first, second = (read_video(folder / "samples" / f"step_{steps:07}.gif")[0] for folder in (one, several))
    assert (first - second).abs().max() <= 2 / 255
    assert model_step(several) == steps


def test_several_processes_with_parts_of_parts_train_as_one_does(runs: tuple[Path, list[str]]) -> None:
    """Each computes its share of the batch in two parts."""
    assert_alike(folder_of(runs[0], 1, "plain", 12), folder_of(runs[0], 2, "in parts", 12), 12)


def test_a_signal_to_one_process_stops_all_of_them_at_one_step(runs: tuple[Path, list[str]]) -> None:
    """And the run goes on from there as if nothing had been, with another number of processes."""
    folder, said = runs
    stopped, whole = folder / "stopped", folder_of(folder, 1, MUON, 50)
    assert said == 2 * [f'"stopped at step 6; syncdraw train --resume --out {stopped} goes on"']
    assert len(seen(stopped, 0)) == len(seen(whole, 0)) - 6  # it did not begin again
    assert_alike(whole, stopped, 50)


def test_where_one_process_ends_the_others_do_with_its_reason(tmp_path: Path) -> None:
    """Each of three runs within a minute, also where the others are stuck in what no exception reaches."""
    began = time.monotonic()
    done = share(*((2, MUON, 50, tmp_path / what) for what in ("killed", "broken", "stuck")))
    assert time.monotonic() - began < 3 * 60
    assert done.returncode != 0
    killed = "process 1 ended without a word: it was killed, or its machine is gone"
    reasons = [line.partition("rror: ")[2] for line in done.stderr.splitlines() if "rror: " in line]
    assert sorted(reasons) == sorted([killed, "process 1 ended: this process has nothing to eat",
                                      "this process has nothing to eat", killed])  # fmt: skip
    assert "Traceback" not in done.stderr


def test_a_launcher_says_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[Any] = []
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend, **_: joined.append(backend))
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
    assert alone.collect([1, 2]) == [1, 2]
    assert alone.part(7) == slice(0, 7)
    assert alone.any(True)
    assert not alone.any(False)
    alone.average_gradients([values])
    alone.share_weights(torch.nn.Linear(1, 1))
    alone.wait()


def test_parts_are_even_and_cover_everything() -> None:
    for count in (1, 2, 3, 8):
        for things in (0, 1, 5, 8, 200):
            parts = [Processes(rank, count, torch.device("cpu")).part(things) for rank in range(count)]
            assert [number for part in parts for number in range(things)[part]] == list(range(things))
            sizes = [len(range(things)[part]) for part in parts]
            assert max(sizes) - min(sizes) <= 1


class Thread(Processes):
    """One of several threads that share their work as processes do."""

    def __init__(self, rank: int, count: int, barrier: threading.Barrier, found: dict[int, list[Any]]) -> None:
        super().__init__(rank, count, torch.device("cpu"))
        object.__setattr__(self, "barrier", barrier)
        object.__setattr__(self, "found", found)

    def collect(self, items: list[Any]) -> list[Any]:
        self.found[self.rank] = items  # type: ignore[attr-defined]
        self.barrier.wait(60)  # type: ignore[attr-defined]
        together = [item for rank in range(self.count) for item in self.found[rank]]  # type: ignore[attr-defined]
        self.barrier.wait(60)  # type: ignore[attr-defined]
        return together


def in_threads(count: int, work: Callable[[Processes], Any]) -> list[Any]:
    barrier, found = threading.Barrier(count), dict[int, list[Any]]()
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda rank: work(Thread(rank, count, barrier, found)), range(count)))


@pytest.mark.parametrize("captioned", [False, True])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_what_is_measured_does_not_depend_on_who_measures_what(count: int, captioned: bool) -> None:
    """The bound on six clips, what the judge sees in as many samples, and the samples; seven have nothing for one."""
    torch.manual_seed(0)
    data = BouncingMNIST(DATA, "validation")
    vocabulary = Vocabulary.from_captions(data.wordings()).words
    captions = CaptionConfig(route="alignment", size=4, vocabulary=vocabulary) if captioned else CaptionConfig()
    config = dataclasses.replace(MODEL, captions=captions)
    clips = data.take(np.arange(6))
    what = clips.captions if captioned else 6

    def work(sharing: Processes) -> tuple[Any, dict[str, float], torch.Tensor]:
        model = build(config)
        model.load_state_dict(weights)
        model.eval()
        measured = bound(model, data, protocol="grey", clips=6, batch_size=4, seed=3, sharing=sharing)
        scores = Scorer(clips, DATA, sharing).scores(model, 5)
        part = sharing.part(6)
        drawn_here = [drawn(model, what, 2, part)] if part.start < part.stop else []
        return measured, scores, torch.cat(sharing.collect(drawn_here))

    weights = build(config).state_dict()
    expected, scores, videos = work(Processes(0, 1, torch.device("cpu")))
    for found, found_scores, found_videos in in_threads(count, work):
        for name, value in dataclasses.asdict(expected).items():
            assert getattr(found, name) == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), name
        assert found_scores == pytest.approx(scores, rel=1e-3, abs=1e-3)
        torch.testing.assert_close(found_videos, videos)
