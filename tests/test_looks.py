"""How sharp videos are and how much moves in them, and what a run tells of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from making_clips import textures, write_clip
from syncdraw.config import CaptionConfig, SyncDrawConfig
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.from_torch import as_clips
from syncdraw.evaluation.bounds import anchor_costs, bound
from syncdraw.evaluation.looks import Looks, motion, sharpness
from syncdraw.training import TrainConfig, run
from syncdraw.training.loop import time_to_go
from syncdraw.training.own_clips import with_own_clips
from syncdraw.training.run import train
from syncdraw.training.settings import RunConfig
from syncdraw.training.telling import Yardstick, beside_the_bar, farewell


def test_a_yardstick_is_of_clips_from_all_over_a_training_set() -> None:
    """A folder's clips lie in the order of their names, so that the first ones are all of one kind."""
    grey = np.full((400, 4, 1, 8, 8), 0.5) * np.random.default_rng(0).random((400, 1, 1, 1, 1))
    videos = torch.from_numpy(np.concatenate([np.zeros((400, 4, 1, 8, 8)), grey]).astype(np.float32))
    dataset = as_clips(torch.utils.data.TensorDataset(videos))
    yardstick, whole = (Yardstick.of(dataset, dataset, "grey", clips) for clips in (200, 800))
    assert whole.floor > 0
    assert yardstick.floor == pytest.approx(whole.floor, rel=0.1)
    assert yardstick.mean_image == pytest.approx(whole.mean_image, rel=0.1)


def test_sharpness_and_motion_pixel_by_pixel() -> None:
    videos = np.random.default_rng(0).random((2, 3, 2, 4, 5))
    for number, video in enumerate(videos):
        beside, moved = [], []
        for f, c, y, x in np.ndindex(video.shape):
            here = video[f, c, y, x]
            beside += [abs(video[f, c, y + 1, x] - here)] if y < 3 else []
            beside += [abs(video[f, c, y, x + 1] - here)] if x < 4 else []
            moved += [abs(video[f + 1, c, y, x] - here)] if f < 2 else []
        assert sharpness(torch.from_numpy(videos))[number].item() == pytest.approx(np.mean(beside))
        assert motion(torch.from_numpy(videos))[number].item() == pytest.approx(np.mean(moved))


class Drawer:
    """Draws what it is told to."""

    shape, captioned, training = (4, 1, 8, 8), False, False

    def __init__(self, videos: torch.Tensor) -> None:
        self.videos = videos

    def generate(self, what: int, **options: Any) -> torch.Tensor:
        assert what == len(self.videos)
        return self.videos


def test_looks_are_shares_of_those_of_real_clips() -> None:
    clips = Clips(np.random.default_rng(0).integers(0, 256, (6, 4, 1, 8, 8), dtype=np.uint8), None)
    real = torch.from_numpy(clips.videos) / 255
    looks = Looks(clips)
    assert looks.scores(Drawer(real)) == pytest.approx({"sample_sharpness": 1, "sample_motion": 1})
    assert looks.scores(Drawer(real / 2)) == pytest.approx({"sample_sharpness": 0.5, "sample_motion": 0.5})
    still = looks.scores(Drawer(real[:, :1].expand_as(real)))
    assert still["sample_sharpness"] == pytest.approx(1, abs=0.1)
    assert still["sample_motion"] == 0
    stills = Clips(np.ascontiguousarray(np.broadcast_to(clips.videos[:, :1], clips.videos.shape)), None)
    assert Looks(stills).scores(Drawer(real)).keys() == {"sample_sharpness"}


def test_time_to_go() -> None:
    assert time_to_go(100, 0.36) == "about 36 s to go"
    assert time_to_go(20_000, 0.36) == (
        "about 2.0 h to go; Ctrl-C keeps what has been learned by then, and --train.max_steps 2500 takes about 15 min"
    )
    assert "--train.max_steps 9 takes" in time_to_go(1000, 99)


def test_a_run_on_own_clips_tells_what_it_is_held_against(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers that are told are those of the clips: before, beside the bar, and at the end."""
    for number in range(12):
        write_clip(tmp_path / "clips" / f"{number}.gif", textures(6, number))
    model = SyncDrawConfig(frames=4, height=16, width=16, draw_steps=2, grid_size=2, hidden_size=8, latent_size=2,
                           captions=CaptionConfig("none"))  # fmt: skip
    config = RunConfig(model=model, data=str(tmp_path / "clips"), train=TrainConfig(max_steps=12, batch_size=4))
    data = with_own_clips(config, {})["data"]
    config = RunConfig(model=model, data=data, train=config.train)
    train(config, tmp_path / "run", device="cpu")
    told = capsys.readouterr().err
    seen, held = (run.dataset_of(config, split) for split in ("train", "validation"))
    trained = run.pretrained.load(str(tmp_path / "run"))
    result = bound(trained, held, protocol="grey", clips=200)
    for dataset in (seen, held):
        mean = anchor_costs(seen, dataset, "grey", np.arange(len(dataset)))["mean_pixel"]
        floor = bound(trained, dataset, protocol="grey", clips=200).entropy_floor
        yardstick = Yardstick.of(seen, dataset, "grey")
        assert (yardstick.mean_image, yardstick.floor) == pytest.approx((mean, floor), rel=1e-6)
        assert f"{mean:,.1f}" in told
        assert f"{floor:,.1f}" in told
    assert yardstick.explained(mean) == 0
    assert yardstick.explained(floor) == pytest.approx(1)
    assert f"L_X {result.reconstruction:,.1f} + L_Z {result.divergence:,.1f} nats" in told
    assert "samples are " in told
    assert "times as much moves" in told


def test_what_is_told_without_a_bound() -> None:
    assert beside_the_bar(None, {"critic": 1.5, "generator": 2.25, "rate": 3}) == "critic 1.5, generator 2.25"
    assert farewell({}, None, "grey") == []
    assert farewell({"sample_sharpness": 0.5}, None, "grey") == ["samples are 0.50 times as sharp as real clips"]
    line = {"L_X": 75.0, "L_Z": 2.0}
    assert beside_the_bar(Yardstick(mean_image=100, floor=50), line) == "L_X 75.0 (50 %), L_Z 2.0"
