"""Files reach the disk whole or not at all, and nothing is removed that was not made here.

Removal is replaced by a recorder wherever a test names a folder that must survive: a fault must not cost anything."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from syncdraw import files
from syncdraw.cli import main
from syncdraw.errors import UserError
from syncdraw.files import atomic_path, remove_tree


@pytest.fixture
def removals(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that would have been removed."""
    asked: list[Path] = []
    monkeypatch.setattr(files.shutil, "rmtree", lambda path, *_, **__: asked.append(Path(path)))
    return asked


@pytest.mark.parametrize("target", ["", ".", "..", "/", "./", "a/.", "a/..", "../..", "//"])
def test_a_target_without_a_name_is_refused_and_nothing_is_removed(
    target: str, removals: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="names no file"), atomic_path(target):
        pytest.fail("the block must not be entered")
    assert removals == []
    assert sorted(os.listdir(tmp_path)) == ["a"]


@pytest.mark.parametrize("option", ["--json_file", "--out"])
@pytest.mark.parametrize("target", ["", ".", "/"])
def test_the_command_line_refuses_an_output_without_a_name(
    option: str, target: str, removals: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "thesis.tex").write_text("years")
    monkeypatch.chdir(tmp_path)
    if option == "--json_file":
        arguments = ["evaluate", "bounds", "mnist1-captions", "--clips", "2", "--json_file", target]
    else:
        arguments = ["prepare", "folder", str(tmp_path), "-o", target]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("syncdraw: error: ")
    assert removals == []
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_only_the_folder_that_was_made_is_removed(removals: list[Path], tmp_path: Path) -> None:
    with atomic_path(tmp_path / "report.json") as temporary:
        temporary.write_text("{}")
        holder = temporary.parent
    assert removals == [holder]
    assert holder != tmp_path
    assert (tmp_path / "report.json").read_text() == "{}"


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("old")

    def fail_halfway() -> None:
        with atomic_path(tmp_path / "report.json") as temporary:
            temporary.write_text("new")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert os.listdir(tmp_path) == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "old"


def test_a_link_is_removed_itself_and_not_what_it_points_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years")
    (tmp_path / "link").symlink_to(precious)
    remove_tree(tmp_path / "link", inside=tmp_path)
    assert (precious / "thesis.tex").exists()
    assert not os.path.lexists(tmp_path / "link")


@pytest.mark.parametrize("folder", [".", "..", "/", "a/b"])
def test_a_folder_elsewhere_is_not_removed(folder: str, removals: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder in"):
        remove_tree(tmp_path / folder, inside=tmp_path)
    assert removals == []


def test_a_removal_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "work").mkdir()
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(UserError, match="Permission denied"), atomic_path(tmp_path / "report.json") as temporary:
        temporary.write_text("{}")
    assert (tmp_path / "report.json").read_text() == "{}"


def test_one_module_alone_removes_folders() -> None:
    package = Path(files.__file__).parent
    removing = [path.name for path in package.rglob("*.py") if "rmtree" in path.read_text(encoding="utf-8")]
    assert removing == ["files.py"]
