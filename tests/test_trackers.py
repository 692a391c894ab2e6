"""Where metrics and samples go beside the run folder: all trackers are told the same, and none can end a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from syncdraw import UserError
from syncdraw.training import run_folder, trackers
from syncdraw.training.trackers import MLflow, TensorBoard, WeightsAndBiases
from training_runs import RUN, PowerCutError, assert_same_run, break_before, changed, go

TOLD: list[tuple[Any, ...]] = []


class Notes:
    """A tracker of one's own."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        TOLD.append(("begin", folder, settings["train"]["max_steps"]))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        TOLD.append(("log", step, dict(values)))

    def show(self, step: int, samples: Path) -> None:
        assert samples.read_bytes().startswith(b"GIF89a")
        TOLD.append(("show", step, samples.name))

    def close(self) -> None:
        TOLD.append(("close",))


class Broken(Notes):
    def log(self, step: int, values: Mapping[str, float]) -> None:
        raise ConnectionError("the network\nis down")

    close = show = log  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def nothing_told(quickly: None) -> None:
    TOLD.clear()


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_tracker_is_told_what_the_folder_holds(tmp_path: Path) -> None:
    out = go(RUN, tmp_path / "run", trackers=[Notes])
    assert TOLD[0] == ("begin", out, 11)
    assert TOLD[-1] == ("close",)
    logged = [{"step": step, **{name: round(value, 6) for name, value in values.items()}}
              for kind, step, values in (one for one in TOLD if one[0] == "log")]  # fmt: skip
    assert logged == [{name: value for name, value in line.items() if name != "seconds"} for line in lines(out)]
    assert [one[1:] for one in TOLD if one[0] == "show"] == [(n, f"step_{n:07d}.gif") for n in (3, 6, 9, 11)]


def test_a_run_that_is_broken_off_closes_its_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_before(monkeypatch, 5)
    with pytest.raises(PowerCutError):
        go(RUN, tmp_path / "run", trackers=[Notes])
    assert [one[0] for one in TOLD] == ["begin", "log", "show", "log", "close"]


def test_a_tracker_that_fails_ends_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = go(RUN, tmp_path / "run", trackers=[Broken, Notes])
    assert capsys.readouterr().err.count("Broken failed (the network is down); going on without") == 1
    assert TOLD[-1] == ("close",)
    assert_same_run(out, go(RUN, tmp_path / "alone"))


@pytest.mark.parametrize("kind", [WeightsAndBiases, MLflow])
def test_a_tracker_that_cannot_begin_says_so_before_the_first_step(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("nobody is\nlogged in")

    name = {WeightsAndBiases: "wandb", MLflow: "mlflow"}[kind]
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'syncdraw\[{name}\]'"):
        go(RUN, tmp_path / "run", trackers=[kind])
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(init=refuse, set_experiment=refuse))
    with pytest.raises(UserError, match=r"could not begin \(nobody is logged in\)"):
        go(RUN, tmp_path / "run", trackers=[kind])
    go(changed(RUN, {"train.max_steps": 1}), tmp_path / "run")  # the folder is not blocked


class Recorder:
    """Stands for a module: says what was called with what."""

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any, **options: Any) -> Any:
            TOLD.append((name, *values, options))
            return self

        return call


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_what_services_are_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, Recorder())
    config = changed(RUN, {"train.max_steps": 3})
    out = go(config, tmp_path / "run", trackers=[trackers.TRACKERS[name]])  # type: ignore[index]
    called = [one[0] for one in TOLD]
    gif = str(out / "samples" / "step_0000003.gif")
    first, second = ({k: v for k, v in line.items() if k not in ("step", "seconds")} for line in lines(out))
    if name == "wandb":
        assert called == ["init", "log", "log", "Video", "log", "finish"]
        assert TOLD[0][1]["config"]["train"]["max_steps"] == 3
        assert {k: round(v, 6) for k, v in TOLD[1][1].items()} == first
        assert (TOLD[1][2], TOLD[4][2]) == ({"step": 3}, {"step": 3})
        assert TOLD[3] == ("Video", gif, {"format": "gif"})
    else:
        assert called == ["set_experiment", "start_run", "log_dict", "log_metrics", "log_metrics", "log_artifact",
                          "end_run"]  # fmt: skip
        assert {k: round(v, 6) for k, v in TOLD[4][1].items()} == second
        assert TOLD[5] == ("log_artifact", gif, "samples", {})


def test_tensorboard_shows_samples_as_they_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr(run_folder, "_board", TensorBoard)
    out = go(changed(RUN, {"train.max_steps": 3}), tmp_path / "run")
    board = accumulator.EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    (shown,) = board.Images("samples")
    assert shown.step == 3
    assert shown.encoded_image_string == (out / "samples" / "step_0000003.gif").read_bytes()
