"""The command line: bad input is one sentence and exit status 2, and good input writes what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncdraw import cli


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(arguments))
    assert stopped.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()
    assert len(message) == 1
    assert message[0].startswith("syncdraw: error: ")
    return message[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean train?"),
        (["train", "mnst1"], "did you mean mnist1?"),
        (["generate", "--model", "mnist1-caption"], "did you mean mnist1-captions?"),
        (["generate", "--nmu", "3"], "did you mean --num?"),
        (["generate", "--num", "0"], "--num is 0"),
        (["generate", "digit 3 is moving sideways"], "sideways"),
        (["train", "paper/mnist1", "--train.max_steps", "abc"], "train.max_steps"),
        (["prepare", "kht", "here"], "did you mean kth?"),
        (["train", "--resume", "--out", "nowhere"], "nowhere holds no run"),
    ],
)
def test_bad_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in complaint(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", "unknown section 'trian': did you mean train?"),
        ("model: 3", "model is 3"),
        ("model:\n  frams: 3", "did you mean model.frames?"),
        ("train:\n  max_steps: many", "train.max_steps"),
        ("- 1", "must hold the sections"),
        ("model: [", "cannot be read as YAML"),
    ],
)
def test_bad_recipes(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    assert message in complaint(capsys, "train", str(recipe), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_generate_writes_what_it_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    captions = ["digit 0 is moving left and right", "The digit 7 is moving up and down."]
    cli.main(["generate", *captions, "--num", "2", "-o", str(tmp_path / "out")])
    assert "4 files" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "digit-0-is-moving-left-and-right-1.gif",
        "digit-0-is-moving-left-and-right-2.gif",
        "the-digit-7-is-moving-up-and-down-1.gif",
        "the-digit-7-is-moving-up-and-down-2.gif",
    ]


def test_every_recipe_is_understood(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for recipe in cli.recipes():
        message = complaint(capsys, "train", recipe, "--train.max_steps", "0", "--out", str(tmp_path / "run"))
        assert "train.max_steps is 0" in message, recipe
