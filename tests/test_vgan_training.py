"""VGAN through the same loop, folders, commands and measures as Sync-DRAW; and models side by side."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from making_clips import textures, write_clip
from syncdraw import UserError, pretrained
from syncdraw.cli import main
from syncdraw.config import VGANConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.evaluation.comparison import comparison_report
from syncdraw.evaluation.looks import motion, sharpness, still_part
from syncdraw.training.processes import Processes
from syncdraw.training.recipes import read_recipe
from syncdraw.training.run import train
from syncdraw.training.run_folder import RunFolder
from syncdraw.training.settings import OptimizerConfig, RunConfig, TrainConfig, VGANRunConfig
from syncdraw.vgan import VGAN
from training_runs import assert_same_run, broken_off_by, metrics, state

SHAPE = (16, 1, 32, 32)
RUN = VGANRunConfig(
    model=VGANConfig(filters=2, latent_size=5),
    bouncing=BouncingMNISTConfig(shape=SHAPE, clips=0),
    train=TrainConfig(max_steps=6, batch_size=3, every=3, optimizer=OptimizerConfig(learning_rate=2e-4)),
)


@pytest.fixture(autouse=True)
def few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncdraw.training.run.VALIDATION_CLIPS", 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("syncdraw.training.run.VALIDATION_CLIPS", 4)
        return train(RUN, tmp_path_factory.mktemp("vgan") / "run", progress=False)


def test_a_run_holds_what_every_run_holds(trained: Path) -> None:
    lines = metrics(trained)
    measured = [line for line in lines if "critic" in line]
    assert [line["step"] for line in measured] == [6]
    assert measured[0]["critic"] == pytest.approx(2 * np.log(2), abs=0.5)
    assert {"generator", "sparsity", "learning_rate"} <= measured[0].keys()
    judged = [line for line in lines if "readable_share" in line]
    assert [line["step"] for line in judged] == [3, 6]
    assert not any("validation_L_X" in line for line in lines)  # there is no bound
    assert sorted(path.name for path in (trained / "samples").iterdir()) == ["step_0000003.gif", "step_0000006.gif"]
    model = pretrained.load_any(trained)
    assert isinstance(model, VGAN)
    assert model.config == dataclasses.replace(RUN.model, frames=16, channels=1, height=32, width=32)
    assert RunFolder(trained).config() == dataclasses.replace(RUN, model=model.config)


def test_a_run_that_was_broken_off_goes_on_exactly(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with broken_off_by(VGAN, "prepare", calls=6):
        train(RUN, out, progress=False)
    assert state(out)["step"] == 3
    train(RUN, out, resume=True, progress=False)
    assert_same_run(trained, out)


def test_the_state_of_another_model_is_refused(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(dataclasses.replace(RUN, train=dataclasses.replace(RUN.train, max_steps=3)), out, progress=False)
    folder = RunFolder(out)
    kept = folder.load_state()
    for optimizers in (kept["optimizers"][:1], kept["optimizers"][::-1]):
        folder.save_state({**kept, "optimizers": optimizers})
        with pytest.raises(UserError, match="cannot be resumed from"):
            train(RUN, out, resume=True, progress=False)


@pytest.mark.parametrize(
    ("changes_", "message"),
    [
        ({"model": {"filters": 0}}, "model.filters is 0; it must be a whole number, 1 or more"),
        ({"model": {"draw_steps": 5}}, "model.draw_steps is no setting"),
        ({"model": {"filters": 10**9}}, "the model would have about .* weights; no more than 268,435,456 are built"),
        ({"model": {"height": 16 * 10**6}}, "no more than 67,108,864 are drawn"),
        ({"model": {"frames": 10}}, "model.frames is 10; for VGAN it must be a multiple of 16"),
        ({"train": {"divergence_weight": 2.0}}, "a VGAN begins from nothing and has no L_Z"),
        ({"train": {"start": {"model": "mnist1"}}}, "a VGAN begins from nothing and has no L_Z"),
    ],
)
def test_settings_that_a_vgan_cannot_have_are_refused(changes_: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_recipe("vgan-mnist", changes_, "the command line")


def test_what_a_vgan_is_not_trained_with_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    averaged = dataclasses.replace(RUN.train, optimizer=OptimizerConfig(ema=0.9))
    with pytest.raises(UserError, match=r"train\.optimizer\.ema is 0\.9; a VGAN is trained without it"):
        train(dataclasses.replace(RUN, train=averaged), tmp_path / "run", progress=False)
    monkeypatch.setattr(Processes, "join", lambda device: Processes(0, 3, torch.device("cpu")))
    monkeypatch.setattr(Processes, "wait", lambda self: None)
    with pytest.raises(UserError, match="a VGAN is trained by one process, and here are 3; start one"):
        train(RUN, tmp_path / "run", progress=False)


def test_the_paper_says_so() -> None:
    """Vondrick et al. 2016: latent 100, 32 RGB frames of 64 x 64, Adam with 2e-4, batches of 64."""
    for name, digits in (("vgan-mnist", 1), ("vgan-mnist2", 2)):
        (stage,) = read_recipe(name).stages
        assert stage.config.model == VGANConfig()
        assert stage.config.bouncing.shape == (32, 3, 64, 64)
        assert (stage.config.bouncing.digits, stage.config.train.batch_size) == (digits, 64)
        assert stage.config.train.optimizer == OptimizerConfig(learning_rate=2e-4)


def test_the_commands_take_it(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", "--model", str(trained), "--num", "2", "-o", str(tmp_path / "two.gif")])
    main(["picture", str(trained), "samples", "--num", "2", "-o", str(tmp_path / "samples.png")])
    main(["picture", str(trained), "compare", "--beside", str(trained), "--num", "2", "-o", str(tmp_path / "c.png")])
    main(["evaluate", "compare", str(trained), "--samples", "20", "--json_file", str(tmp_path / "c.json")])
    assert {path.name for path in tmp_path.iterdir()} == {"two.gif", "samples.png", "c.png", "c.json"}
    capsys.readouterr()
    for command in (["evaluate", "bounds"], ["reconstruct"]):
        with pytest.raises(SystemExit):
            main([*command, str(trained), *(["x.mp4"] if command == ["reconstruct"] else [])])
        assert "is a VGAN, which has no bound, no captions and no canvases" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["generate", "digit 3", "--model", str(trained)])
    assert "draws without captions" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["generate", "--steps", "--model", str(trained)])
    assert "draws a video at once" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["picture", str(trained), "samples", "--beside", "mnist1"])
    assert "--beside is for compare; leave it out with samples" in capsys.readouterr().err


# --- Side by side ----------------------------------------------------------------------------------------------------


def test_what_changes_from_frame_to_frame() -> None:
    """By the formula, in loops."""
    videos = torch.rand(2, 3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    moved = np.zeros((2, 4))
    for clip in range(2):
        for pixel, place in enumerate(np.ndindex(2, 2)):
            values = [float(videos[(clip, frame, 0, *place)]) for frame in range(3)]
            moved[clip, pixel] = np.mean([abs(b - a) for a, b in pairwise(values)])
    assert motion(videos).tolist() == pytest.approx(moved.mean(axis=1), rel=1e-5)
    assert still_part(videos).tolist() == pytest.approx([np.mean(sorted(row)[:2]) for row in moved], rel=1e-5)


class Copies:
    """Draws the test clips after the first ones: as good as real."""

    captioned = False

    def __init__(self, shape: tuple[int, int, int, int], noise: float = 0.0) -> None:
        self.shape, self.noise = shape, noise
        self.clips = BouncingMNIST(BouncingMNISTConfig(shape=shape), "test")

    def generate(self, what: int, *, seed: int = 0, temperature: float = 1.0) -> Tensor:
        videos = torch.from_numpy(self.clips.take(np.arange(1000, 1000 + what)).videos).float() / 255
        return (videos + self.noise * torch.rand(videos.shape)).clamp(0, 1)

    def parameters(self) -> list[Tensor]:
        return [torch.zeros(3), torch.zeros(4)]


def test_models_are_measured_beside_real_clips() -> None:
    shape = (6, 1, 64, 64)
    card = {"data": "bouncing_mnist", "bouncing": {"shape": list(shape)}, "trained": {"minutes": 2.5}}
    models = {"copies": (Copies(shape), card), "noisy": (Copies(shape, noise=0.1), {})}
    report = comparison_report(models, data=None, samples=30, seed=0)
    rows = report.values
    for name in ("real", "copies"):
        assert rows[name]["readable"] > 0.9
        assert rows[name]["one axis"] == 1
        assert rows[name]["still part"] == 0
        assert rows[name]["motion"] > 1
        assert "caption match" not in rows[name]  # neither model draws from captions
    assert rows["noisy"]["still part"] > 3
    assert rows["noisy"]["Frechet"] > rows["copies"]["Frechet"]
    assert (rows["copies"]["parameters"], rows["copies"]["minutes of training"]) == (7, 2.5)
    assert rows["noisy"]["minutes of training"] is None
    assert json.loads(json.dumps(rows)) == rows
    lines = report.text.splitlines()
    assert lines[0] == "30 samples of each, and as many real test clips, seed 0"
    assert [line.split()[0] for line in lines[3:]] == ["real", "copies", "noisy"]


def test_films_are_compared_by_how_they_look(tmp_path: Path) -> None:
    """With as many real clips as there are, in levels of 255."""
    for number in range(8):
        write_clip(tmp_path / "films" / f"{number}.mp4", textures(3, number))
    config = ClipConfig(frames=3, channels=3, height=32, width=32, validation_share=0.1, test_share=0.4)
    prepare(list_folder(tmp_path / "films"), tmp_path / "data", config, progress=False)
    test = PreparedClips(tmp_path / "data", "test")
    real = torch.from_numpy(test.take(np.arange(len(test))).videos) / 255

    class Grey(Copies):
        def __init__(self) -> None:
            self.shape = (3, 3, 32, 32)

        def generate(self, what: int, *, seed: int = 0, temperature: float = 1.0) -> Tensor:
            return torch.full((what, *self.shape), 0.5)

    report = comparison_report({"grey": (Grey(), {"data": str(tmp_path / "data")})}, data=None, samples=5, seed=0)
    assert len(test) < 5
    assert report.text.startswith(f"5 samples of each, and {len(test)} real test clips, all that there are, seed 0\n")
    for name, measure in (("sharpness", sharpness), ("motion", motion), ("still part", still_part)):
        assert report.values["real"][name] == pytest.approx(255 * measure(real).mean().item(), rel=1e-5)
        assert report.values["grey"][name] == 0
    assert report.values["real"].keys() == {"sharpness", "motion", "still part"}


def test_what_cannot_be_compared_is_said() -> None:
    card = {"data": "bouncing_mnist", "bouncing": {"shape": [6, 1, 64, 64]}}
    models = {"longer": (Copies((7, 1, 64, 64)), card)}
    with pytest.raises(UserError, match="longer draws clips of shape"):
        comparison_report(models, data=None, samples=30, seed=0)
    with pytest.raises(UserError, match="no more than half"):
        comparison_report({"same": (Copies((6, 1, 64, 64)), card)}, data=None, samples=6000, seed=0)


def test_a_run_of_sync_draw_reads_as_ever() -> None:
    assert type(read_recipe("mnist1").stages[0].config) is RunConfig
