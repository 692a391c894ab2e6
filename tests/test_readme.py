"""README's commands and code run as they are written, and its numbers are those that were measured and committed.

What takes minutes is stopped short: training where its loop would begin, measuring where the model would be asked.
"""

import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import syncdraw.train as training
import tables
from making_clips import textures, write_clip
from syncdraw import SyncDraw, SyncDrawConfig, cli, distances, evaluate, pretrained, reproduce
from syncdraw.evaluate import Report

TEXT = tables.README.read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
CODE = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, text in BLOCKS
    for line in text.splitlines()
    if not language and line.startswith("syncdraw ")
]


def test_what_is_tested() -> None:
    # prepare stands in a sentence, with SOURCE for a folder.
    assert {command.split()[1] for command in COMMANDS} == cli.COMMANDS.keys() - {"prepare"}
    assert len(CODE) == 2


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the clips and the run that README speaks of."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "my_clips" / "one.gif", textures(20))
    training.write_config(training.RunConfig(), tmp_path / "runs" / "mnist1-captions-stage1")
    model = SyncDraw(SyncDrawConfig(draw_steps=1, grid_size=2, hidden_size=2, latent_size=1))
    pretrained.save(model, tmp_path / "runs" / "mnist1-captions-stage1", data="bouncing_mnist", bouncing={})
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called: list[str] = []

    def instead(module: Any, function: str, name: str, result: Any) -> None:
        @functools.wraps(getattr(module, function))  # the command line reads its signature
        def recorded(*_: Any, **__: Any) -> Any:
            called.append(name)
            return result

        monkeypatch.setattr(module, function, recorded)

    instead(training, "train", "train", here / "runs")
    instead(evaluate, "bound_report", "bounds", Report("measured", {}))
    instead(evaluate, "caption_report", "captions", Report("measured", {}))
    instead(distances, "distance_report", "distances", Report("measured", {}))
    instead(reproduce, "table1", "table1", None)
    cli.main(shlex.split(command)[1:])
    out = capsys.readouterr().out
    verb = command.split()[1]
    if verb in ("generate", "picture"):
        written = here / re.search(r"wrote (\S+)", out)[1]
        assert written.stat().st_size > 1000
    elif verb == "models":
        assert "mnist1-captions: " in out
    else:
        expected = {"train": "train", "reproduce": "table1", "evaluate": "bounds"}[verb]
        for option in ("captions", "distances"):
            expected = option if f"--{option}" in command else expected
        assert called == [expected]


def test_code(here: Path) -> None:
    names: dict[str, Any] = {"videos": torch.rand(2, 10, 1, 64, 64)}
    exec(CODE[0], {})
    assert (here / "three.gif").stat().st_size > 1000
    exec(CODE[1], names)
    names["loss"].backward()


def test_numbers() -> None:
    lines = TEXT.splitlines()
    for table in tables.tables():
        assert table[0] in lines, f"run benchmarks/tables.py: README lacks {table[0]}"
        first = lines.index(table[0])
        assert lines[first : first + len(table)] == table
