"""README's commands and code run as they are written; the numbers of README and docs are those that were measured.

What takes minutes is stopped short: training where its loop would begin, measuring where the model would be asked.
"""

import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import tables
from making_clips import textures, write_clip
from syncdraw import SyncDrawConfig, cli, pretrained, read_video, reproduce
from syncdraw.apps import demo
from syncdraw.building import build
from syncdraw.evaluation import bound_report
from syncdraw.evaluation.reports import Report
from syncdraw.extensions import continuing
from syncdraw.training import RunConfig, stages
from syncdraw.training.run_folder import RunFolder

TEXT = tables.README.read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
CODE = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, text in BLOCKS
    for line in text.splitlines()
    if not language and line.startswith("syncdraw ")
]


def commands_in(text: str) -> set[str]:
    """Commands with arguments: on lines of their own, in backticks, or in a recipe's comment."""
    lines = re.findall(r"^(?:# |# .*: )?(syncdraw [a-z].*?) *(?:#.*)?$", text, re.MULTILINE)
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return {command for command in [*parts, *re.findall(r"`(syncdraw [a-z]+ [^`]+)`", text)] if " " in command}


FURTHER = sorted({
    command
    for path in [*tables.PAGES, *(tables.ROOT / "src" / "syncdraw" / "recipes").rglob("*.yaml")]
    for command in commands_in(path.read_text())
})  # fmt: skip


def test_what_is_tested() -> None:
    # prepare is explained in docs/data.md, rate in docs/rating.md, export in docs/play.md, push in docs/training.md.
    options = {"--help", "-h", "--version"}
    assert {command.split()[1] for command in COMMANDS} == set(cli.app) - {
        "prepare",
        "models",
        "rate",
        "export",
        "push",
    } - options
    assert "`syncdraw models`" in TEXT
    assert len(FURTHER) > 50
    assert {command.split()[1] for command in FURTHER} == set(cli.app) - {"models"} - options
    assert len(CODE) == 1


def test_length() -> None:
    """What is read first is short: about 450 words, code and tables apart."""
    prose = re.sub(r"^```.*?^```$|^\|.*?$|^<!--.*?$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert 350 < len(prose.split()) < 500


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the clips and the runs that README speaks of."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "my_clips" / "one.gif", textures(20))
    model = build(SyncDrawConfig(draw_steps=1, grid_size=2, hidden_size=2, latent_size=1))
    for name in ("mine", "mnist1"):
        folder = RunFolder(tmp_path / "runs" / name)
        folder.write_config(RunConfig())
        folder.save_state({})
        pretrained.save(model, folder.path, data="bouncing_mnist", bouncing={})
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

    instead(stages, "train_recipe", "train", here / "runs")
    instead(bound_report, "bound_report", "evaluate", Report("measured", {}))
    instead(reproduce, "cells", "reproduce", [])
    monkeypatch.setattr(reproduce, "_markdown", lambda results: "| a table |")
    instead(demo, "serve_demo", "demo", None)
    for name in ("GUESSES", "STEPS", "CANDIDATES"):
        monkeypatch.setattr(continuing, name, 1)
    cli.main(shlex.split(command)[1:])
    out = capsys.readouterr().out
    verb = command.split()[1]
    if verb in ("generate", "picture", "reconstruct", "interpolate"):
        written = here / re.search(r"wrote (\S+)", out)[1]
        assert written.stat().st_size > (20 if "runs/mine" in command else 1000)
    else:
        assert called == [verb]


@pytest.mark.parametrize("command", FURTHER)
def test_further_command(command: str) -> None:
    """It is one of ours, with arguments that it takes."""
    words = ["mnist1" if word == "MODEL" else word for word in shlex.split(command)[1:]]
    cli.app.parse_args(words, exit_on_error=False, print_error=False)


def test_code(here: Path) -> None:
    exec(CODE[0], {})
    assert (here / "three.gif").stat().st_size > 1000


def test_moving_sample() -> None:
    """README begins with a moving picture, small enough to be loaded at once."""
    path = tables.ROOT / re.search(r"!\[[^]]+\]\((\S+\.gif)\)", TEXT)[1]
    assert path.stat().st_size < 300_000
    video, _ = read_video(path)
    assert len(video) == 10
    assert (video.diff(dim=0).abs().amax(dim=(1, 2, 3)) > 0.5).all()


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_numbers(page: Path) -> None:
    text = page.read_text()
    assert tables.filled(text) == text, "run python benchmarks/tables.py"


def test_every_table_is_shown() -> None:
    shown = [name for page in tables.PAGES for _, name, _ in tables.PLACE.findall(page.read_text())]
    assert sorted(shown) == sorted(tables.TABLES)
    started = [name for page in tables.PAGES for name in re.findall(r"<!-- table: (\S+) -->", page.read_text())]
    assert started == shown  # each has its end


def test_a_stale_number_is_found() -> None:
    stale = TEXT.replace(
        "| `mnist1-binary` | one digit, from nothing | ", "| `mnist1-binary` | one digit, from nothing | 9"
    )
    assert stale != TEXT
    assert tables.filled(stale) == TEXT


def test_links() -> None:
    """Links from files that stand outside of the docs site, which checks its own."""
    for page in (tables.README, tables.ROOT / "CONTRIBUTING.md", tables.ROOT / "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            assert target.startswith("https://") or (tables.ROOT / target).exists(), f"{page.name}: {target}"


def test_fidelity_names_what_exists() -> None:
    """docs/fidelity.md names in each line the code that decides, and tests; all of them are there."""
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    package = "\n".join(path.read_text() for path in (tables.ROOT / "src").rglob("*.py"))
    page = (tables.ROOT / "docs" / "fidelity.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for *_, code, test in rows:
        decides, holds = re.findall(r"`([^`]+)`", code), re.findall(r"`([^`]+)`", test)
        assert decides
        for name in decides:
            last = name.rpartition(".")[2]
            defined = re.search(rf"^\s*(?:def |class )?{last}\b", package, re.MULTILINE)
            assert defined or (tables.ROOT / "src" / "syncdraw" / name).exists(), name
        for name in holds:
            assert f"def {name.partition('[')[0]}(" in tests or (tables.ROOT / name).exists(), name


def test_citation() -> None:
    citation = yaml.safe_load((tables.ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "version", "license"} <= citation.keys()
    papers = citation["references"]
    assert [paper["year"] for paper in papers] == [2016, 2017]
    assert all([author["family-names"] for author in paper["authors"]] ==
               ["Mittal", "Marwah", "Balasubramanian"] for paper in papers)  # fmt: skip
