"""A model goes to the hub whole, with a card that programs and people can read; and the hub here is not asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from syncdraw import UserError, cli, hub, pretrained
from training_runs import ALIGNED, RUN, changed, go, quick


class Hub:
    """Keeps what it is given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, []

    def create_repo(self, name: str, **options: Any) -> None:
        self.made.append((name, options))

    def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> None:
        shutil.copytree(folder_path, self.folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        return go(changed(RUN, {"train.max_steps": 3, "model": ALIGNED}), tmp_path_factory.mktemp("runs") / "mine")


def test_a_pushed_model_is_loaded_again(run: Path, tmp_path: Path) -> None:
    there = Hub(tmp_path / "there")
    report = tmp_path / "bounds.json"
    report.write_text(json.dumps({"split": "test", "clips": 7, "binary": {"negative_elbo": 12.5, "steps": [1.0]}}))
    address = hub.push(run, "somebody/mine", license="cc-by-4.0", measured=[report], private=True, api=there)
    assert address.endswith("/somebody/mine")
    assert there.made == [("somebody/mine", {"private": True, "exist_ok": True})]
    assert {path.name for path in there.folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "samples.gif"
    }  # fmt: skip
    mine, theirs = pretrained.load(run), pretrained.load(there.folder)
    assert theirs.config == mine.config
    assert all(torch.equal(tensor, mine.state_dict()[name]) for name, tensor in theirs.state_dict().items())
    card = ModelCard.load(there.folder / "README.md")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "cc-by-4.0", "syncdraw", "text-to-video"
    )  # fmt: skip
    results = {(one.dataset_split, one.metric_name): one for one in card.data.eval_results}
    last = [line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            if "validation_L_X" in line][-1]  # fmt: skip
    assert results["validation", "L_X"].metric_value == pytest.approx(last["validation_L_X"])
    tested = results["test", "binary.negative_elbo"]
    assert (tested.metric_value, tested.metric_type, tested.dataset_name) == (12.5, "negative_elbo", "bouncing_mnist")
    assert {split for split, _ in results} == {"validation", "test"}
    assert len([name for split, name in results if split == "test"]) == 1  # clips are no measurement
    for said in ("hub:somebody/mine", "cc-by-4.0", "bouncing_mnist", "3 steps", "samples.gif"):
        assert said in card.text, said


def test_where_the_data_lie_stays_at_home(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    card = json.loads((run / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**card, "data": "/home/me/clips.prepared"}))
    there = Hub(tmp_path / "there")
    hub.push(tmp_path / "run", "somebody/mine", license="mit", api=there)
    for name in ("README.md", "config.json"):
        text = (there.folder / name).read_text()
        assert "clips.prepared" in text
        assert "/home/me" not in text


def test_a_shipped_model_has_a_card(tmp_path: Path) -> None:
    there = Hub(tmp_path / "there")
    hub.push("mnist1", "somebody/mine", license="apache-2.0", api=there)
    assert "one digit, from nothing" in (there.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine", "{}", "'mine' is no name on the hub; give OWNER/NAME"),
        ("a/b/c", "{}", "give OWNER/NAME"),
        ("a/b", "{", "cannot be read as JSON"),
        ("a/b", "[1]", "holds no report"),
        ("a/b", None, "cannot be read"),
    ],
)
def test_bad_input(name: str, text: str | None, message: str, run: Path, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        hub.push(run, name, license="mit", measured=[tmp_path / "a.json"], api=Hub(tmp_path / "there"))
    assert not (tmp_path / "there").exists()


def test_a_hub_that_refuses(run: Path, tmp_path: Path) -> None:
    class Refusing(Hub):
        def create_repo(self, name: str, **options: Any) -> None:
            raise PermissionError("401\nnobody is logged in")

    with pytest.raises(UserError, match=r"did not take a/b \(401 nobody is logged in\)") as error:
        hub.push(run, "a/b", license="mit", api=Refusing(tmp_path / "there"))
    assert "\n" not in str(error.value)


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called: list[Any] = []
    pushed: Callable[..., str] = lambda *names, **options: called.append((names, options)) or "an address"  # noqa: E731
    monkeypatch.setattr(hub, "push", pushed)
    cli.main(["push", "mnist1", "a/b", "--license", "mit", "--measured", "x.json", "--measured", "y.json"])
    options = {"license": "mit", "measured": [Path("x.json"), Path("y.json")], "private": False}
    assert called == [(("mnist1", "a/b"), options)]
    assert "wrote an address: syncdraw generate --model hub:a/b draws" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["push", "mnist1", "a/b"])
    assert "license" in capsys.readouterr().err
