"""Table 1: its cells, its runs that go on, and what is written of them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from syncdraw import SyncDraw, SyncDrawConfig, UserError, pretrained, reproduce
from syncdraw.config import CaptionConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.evaluation.bounds import bound
from syncdraw.evaluation.reports import data_of
from syncdraw.training import RunConfig, run
from training_runs import quick


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cells, of models and clips that take no time."""
    quick(monkeypatch)
    full = reproduce.run_config

    def tiny(*arguments: Any) -> RunConfig:
        config = full(*arguments)
        shape = {"frames": 2, "height": 32, "width": 32, "draw_steps": 2, "grid_size": 2, "hidden_size": 4,
                 "latent_size": 2}  # fmt: skip
        kept = {name: getattr(config.model, name) for name in ("attention", "canvas", "protocol")}
        captions = CaptionConfig(route=config.model.captions.route, size=4)
        bouncing = BouncingMNISTConfig(digits=config.bouncing.digits, shape=(2, 1, 32, 32), clips=50)
        model = SyncDrawConfig(**shape, **kept, captions=captions)
        return RunConfig(model=model, bouncing=bouncing, train=config.train)

    monkeypatch.setattr(reproduce, "run_config", tiny)


@pytest.fixture
def one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the table, one digit without captions alone: what does not depend on how many cells there are."""
    monkeypatch.setattr(reproduce, "COLUMNS", [(1, False)])


@pytest.fixture
def two_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with captions beside it."""
    monkeypatch.setattr(reproduce, "COLUMNS", [(1, False), (1, True)])


def go(out: Path, **options: Any) -> dict[str, Any]:
    reproduce.table1(out=out, **{"budget": 4, "batch_size": 2, "test_clips": 5, **options})
    return dict(json.loads((out / "table1.json").read_text()))


def test_the_papers_cells_are_all_there() -> None:
    cells = reproduce.cells(seeds=1)
    assert len(cells) == len({cell.name for cell in cells}) == 16
    binary = {(c.attention, c.digits, c.captions) for c in cells if c.protocol == "binary"}
    assert binary == reproduce.PAPER.keys()
    assert {c.attention for c in cells if c.protocol == "grey"} == {"frame"}
    # As v2 prints it: digits by row, then the columns in its order.
    assert reproduce.PAPER["frame", 2, True] == 524.41
    assert reproduce.PAPER["global", 1, True] == 512.46
    assert reproduce.PAPER["cuboid", 2, False] == 5240.65


def test_methods_differ_in_their_attention_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    one, two, three = (
        reproduce.run_config(reproduce.Cell(a, 2, True, "binary", 0), 100, 10, False) for a in reproduce.METHODS
    )
    for other in (two, three):
        assert other.model.attention.kind != one.model.attention.kind
        attention = dataclasses.replace(other.model.attention, kind=one.model.attention.kind)
        assert dataclasses.replace(other.model, attention=attention) == one.model
        assert (one.bouncing, one.train) == (other.bouncing, other.train)
    config = reproduce.run_config(reproduce.Cell("frame", 1, False, "grey", 0), 100, 10, True)
    assert (config.model.canvas, config.model.attention.smooth_start) == ("zero", False)
    assert (config.model.grid_size, config.model.draw_steps, config.train.max_steps) == (8, 10, 10)


def test_what_is_written_is_what_the_runs_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = go(tmp_path)
    assert len(values["cells"]) == 16
    for cell in values["cells"]:
        folder = tmp_path / reproduce.Cell(**{k: cell[k] for k in reproduce.Cell.__dataclass_fields__}).name
        card = pretrained.load_card(folder)
        again = bound(pretrained.load(folder), data_of(card, None, "test"), protocol=cell["protocol"], clips=5)
        assert cell["bound"]["negative_elbo"] == pytest.approx(again.negative_elbo)
        assert (cell["steps"], cell["clips_seen"], cell["test_clips"]) == (2, 4, 5)
        assert card["model"]["protocol"] == cell["protocol"]
        assert card["model"]["attention"]["kind"] == cell["attention"]
        assert card["bouncing"]["digits"] == cell["digits"]
    table = (tmp_path / "table1.md").read_text()
    assert "not yet" not in table
    row = next(line for line in table.splitlines() if line.startswith("| Baseline"))
    assert re.findall(r"\(([\d,.]+)\)", row) == ["3,561.2", "3,478.3", "5,240.6", "5,167.9"]
    shown = next(c["bound"]["negative_elbo"] for c in values["cells"] if c["attention"] == "cuboid")
    assert f"{shown:,.1f} +- " in row
    assert table.strip() in capsys.readouterr().out


@pytest.mark.usefixtures("two_columns")
def test_a_broken_table_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off in the fifth cell, it gives what it gives in one go; finished cells are not trained again."""
    whole = go(tmp_path / "whole")
    real, trained = run.train, []

    def counted(config: RunConfig, out: Path, **options: Any) -> Path:
        if len(trained) == 4:
            trained.append("broken off")
            raise KeyboardInterrupt
        trained.append(out.name)
        return real(config, out, **options)

    monkeypatch.setattr(run, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "parts")
    assert (tmp_path / "parts" / "table1.md").read_text().count("not yet") == 4
    parts = go(tmp_path / "parts")
    assert len(trained) == 9
    assert len(set(trained)) == 9
    for one, other in zip(whole["cells"], parts["cells"], strict=True):
        assert one["bound"] == other["bound"]
    forward = SyncDraw.forward
    monkeypatch.setattr(SyncDraw, "forward", lambda *_, **__: pytest.fail("measured again"))
    assert go(tmp_path / "parts") == parts
    monkeypatch.setattr(SyncDraw, "forward", forward)
    damaged = next((tmp_path / "parts").glob("*/test.json"))
    for text in ("", "[]", "{"):  # measured again
        damaged.write_text(text)
        assert go(tmp_path / "parts") == parts
    assert go(tmp_path / "parts", test_clips=6)["cells"][0]["test_clips"] == 6


def test_a_signal_in_the_last_step_of_a_cell_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = run.RunFolder.save_state

    def signalled(self: run.RunFolder, state: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save(self, state)

    monkeypatch.setattr(run.RunFolder, "save_state", signalled)
    with pytest.raises(KeyboardInterrupt, match="stopped in cell 1 of 16; the same command goes on"):
        go(tmp_path, budget=2)
    assert [path.name for path in tmp_path.iterdir()] == [reproduce.cells(1)[0].name]
    assert pretrained.load_card(tmp_path / reproduce.cells(1)[0].name)["trained"]["steps"] == 1


@pytest.mark.usefixtures("one_column")
def test_a_larger_budget_trains_further_and_a_smaller_one_is_refused(tmp_path: Path) -> None:
    go(tmp_path)
    assert go(tmp_path, budget=6)["cells"][0]["steps"] == 3
    with pytest.raises(UserError, match=r"frame-1-binary-seed0 has been trained for 3 steps.*raise --budget"):
        go(tmp_path)


@pytest.mark.usefixtures("one_column")
def test_several_seeds_give_their_mean_and_deviation(tmp_path: Path) -> None:
    values = go(tmp_path, seeds=2)
    assert len(values["cells"]) == 8
    ours = [c["bound"]["negative_elbo"] for c in values["cells"] if (c["attention"], c["digits"]) == ("global", 1)
            and not c["captions"]]  # fmt: skip
    assert len(ours) == 2
    mean, deviation = sum(ours) / 2, abs(ours[0] - ours[1]) / 2**0.5
    assert f"| {mean:,.1f} +- {deviation:.1f} (500.0)" in (tmp_path / "table1.md").read_text()


def test_bad_numbers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--seeds must be 1 or more"):
        go(tmp_path, seeds=0)
    for name in ("budget", "batch_size", "test_clips"):
        with pytest.raises(UserError, match=rf"--{name}"):
            go(tmp_path, **{name: 0})
