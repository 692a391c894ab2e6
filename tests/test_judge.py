"""The judge: what it measures on real clips (its ceiling), on shuffled captions (the floor) and on spoilt clips."""

from __future__ import annotations

import ast
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from syncdraw.datasets import bouncing_mnist
from syncdraw.datasets.bouncing_mnist import BouncingClips, BouncingMNIST, BouncingMNISTConfig
from syncdraw.errors import UserError
from syncdraw.evaluation import judge as judging
from syncdraw.evaluation import judge_training
from syncdraw.evaluation.judge import JUDGE_FOLDER, Judge
from syncdraw.evaluation.judge_training import digits_of_mnist, train_judge
from syncdraw.evaluation.readings import NO_MOTION, Reading, caption_fidelity, glyph_features, readable_share

CLIPS = 100


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def real(digits: int, count: int = CLIPS, **settings: Any) -> tuple[Tensor, BouncingClips]:
    clips = BouncingMNIST(BouncingMNISTConfig(digits=digits, **settings), "test").take(np.arange(count))
    return torch.from_numpy(clips.videos) / 255, clips


@pytest.fixture(scope="module")
def readings(judge: Judge) -> dict[int, tuple[Reading, BouncingClips]]:
    return {digits: (judge.read(real(digits)[0], digits), real(digits)[1]) for digits in (1, 2)}


def said(clips: BouncingClips) -> list[str]:
    assert clips.captions is not None
    return clips.captions


# --- The ceiling and the floor ---------------------------------------------------------------------------------------


def test_digits_of_mnists_test_set(judge: Judge) -> None:
    images, labels = digits_of_mnist("t10k")
    with torch.no_grad():
        right = torch.cat([judge.reader(part)[0].argmax(-1) for part in images.split(500)]) == labels
    assert right.float().mean() >= 0.993


@pytest.mark.parametrize(("digits", "ceiling"), [(1, 0.98), (2, 0.95)])
def test_real_clips_match_their_captions_and_no_others(
    readings: dict[int, tuple[Reading, BouncingClips]], digits: int, ceiling: float
) -> None:
    reading, clips = readings[digits]
    captions = said(clips)
    measured = caption_fidelity(reading, captions)
    assert measured["caption_match"] >= ceiling
    assert measured["motion_accuracy"] >= 0.99
    assert measured["digit_accuracy_by_frame"] >= 0.97
    assert measured["identity_kept"] >= 0.95
    floor = caption_fidelity(reading, captions[1:] + captions[:1])
    assert floor["caption_match"] <= 0.15
    assert floor["identity_kept"] == measured["identity_kept"]
    assert readable_share(reading) >= (0.93 if digits == 1 else 0.8)


def test_what_the_shipped_config_says_it_measured() -> None:
    measured = json.loads((JUDGE_FOLDER / "config.json").read_text())["measured"]
    assert measured["mnist_test_accuracy"] >= 0.993
    assert measured["real_test_clips_1"]["caption_match"] >= 0.98
    assert measured["real_test_clips_2"]["caption_match"] >= 0.95
    assert measured["real_test_clips_2"]["clips"] >= 1000


# --- Positions and motions -------------------------------------------------------------------------------------------


def test_one_glyph_is_found_to_the_pixel(readings: dict[int, tuple[Reading, BouncingClips]]) -> None:
    reading, clips = readings[1]
    assert np.abs(reading.positions.numpy() - clips.positions).max() < 1.5
    assert reading.motions.tolist() == clips.motions.tolist()
    assert reading.drift.max() < 0.01
    assert reading.speed.mean() == pytest.approx(7.2, abs=0.2)


def test_two_glyphs_are_found_though_they_overlap(readings: dict[int, tuple[Reading, BouncingClips]]) -> None:
    reading, clips = readings[2]
    found, true = reading.positions.numpy(), clips.positions
    overlap = (np.abs(true[:, 0] - true[:, 1]).max(-1) < 14).any(-1)
    assert overlap.mean() > 0.5  # the case is common
    for crossing in (True, False):
        apart = [np.abs(found[:, order] - true).max((-1, 1)).mean(-1) for order in ([0, 1], [1, 0])]
        error = np.minimum(*apart)[overlap == crossing]
        assert (error < 3).mean() >= 0.95
    assert reading.drift.mean() < 0.2


def test_a_frame_that_is_not_square_and_colour(judge: Judge) -> None:
    for digits in (1, 2):
        videos, clips = real(digits, 24, shape=(8, 3, 48, 81))
        reading = judge.read(videos, digits)
        assert reading.log_probabilities.shape == (24, digits, 8, 10)
        assert reading.positions.shape == (24, digits, 8, 2)
        assert caption_fidelity(reading, said(clips))["caption_match"] >= 0.85


def test_three_digits(judge: Judge) -> None:
    videos, clips = real(3, 24, shape=(10, 1, 80, 80))
    assert caption_fidelity(judge.read(videos, 3), said(clips))["caption_match"] >= 0.6


def test_other_speeds_are_measured_not_assumed(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bouncing_mnist, "SPEED", 3.0)
    slow, clips = real(1, 40)
    assert judge.read(slow, 1).speed.mean() == pytest.approx(3.0, abs=0.2)
    monkeypatch.setattr(bouncing_mnist, "SPEED", 6.5)
    videos, clips = real(2, 24)
    reading = judge.read(videos, 2)  # begins its search at 7.2
    assert reading.speed.mean() == pytest.approx(6.5, abs=0.3)
    assert caption_fidelity(reading, said(clips))["motion_accuracy"] >= 0.9


def path(rows: list[float], columns: list[float]) -> dict[str, Tensor]:
    return judging.measure_motion(torch.tensor([rows, columns]).T[None, None])


def test_motion_by_hand() -> None:
    columns = [10.0, 17, 24, 31, 34, 27, 20]  # the fourth step is cut short by a bounce
    measured = path([5.0, 5, 6, 5, 5, 5, 5], columns)
    assert measured["motions"].item() == 0
    assert measured["speed"].item() == 7
    assert measured["drift"].item() == 1
    assert path(columns, [5.0] * 7)["motions"].item() == 1
    assert path(columns, columns)["motions"].item() == NO_MOTION  # diagonal
    assert path([5.0] * 7, [5.0] * 7)["motions"].item() == NO_MOTION  # still
    assert path([5.0] * 7, [5.0, 5, 5, 6, 6, 6, 6])["motions"].item() == NO_MOTION  # nearly still
    alone = path([5.0], [5.0])  # one frame
    assert alone["motions"].item() == NO_MOTION
    assert alone["speed"].item() == alone["drift"].item() == 0


# --- Clips that are not perfect --------------------------------------------------------------------------------------


def test_blurred_noisy_and_fading_clips_are_still_read(judge: Judge) -> None:
    generator = torch.Generator().manual_seed(0)
    for digits, least in ((1, 0.93), (2, 0.85)):
        videos, clips = real(digits, 60)
        blurred = functional.avg_pool2d(videos.flatten(0, 1), 3, 1, 1).view_as(videos)
        faded = blurred * (0.5 + 0.5 * torch.rand(60, 10, 1, 1, 1, generator=generator))
        noisy = (faded + 0.08 * torch.rand(videos.shape, generator=generator)).clamp(0, 1)
        assert caption_fidelity(judge.read(noisy, digits), said(clips))["caption_match"] >= least


def test_what_is_no_digit_is_not_readable(judge: Judge) -> None:
    videos, _ = real(1, 60)
    black = judge.read(torch.zeros_like(videos), 1)
    noise = judge.read(torch.rand(videos.shape, generator=torch.Generator().manual_seed(0)), 1)
    flicker = judge.read(torch.where(torch.arange(10).view(10, 1, 1, 1) % 2 == 0, videos, videos.roll(1, 0)), 1)
    for reading in (black, noise, flicker):
        assert readable_share(reading) <= 0.15
    assert (black.motions == NO_MOTION).all()
    assert (noise.motions == NO_MOTION).float().mean() >= 0.8


def test_a_changing_digit_loses_its_identity(judge: Judge) -> None:
    videos, clips = real(1, 60)
    reading = judge.read(videos, 1)
    changed = reading.log_probabilities.clone()
    changed[:, :, 3] = changed[:, :, 3].roll(1, -1)  # in one frame, another digit
    fidelity = caption_fidelity(replace(reading, log_probabilities=changed), said(clips))
    assert fidelity["identity_kept"] == 0
    assert fidelity["digit_accuracy_by_frame"] <= 0.9 + 1e-6


# --- Measures --------------------------------------------------------------------------------------------------------


def reading_of(combinations: list[list[tuple[int, int]]], frames: int = 4) -> Reading:
    """A reading that is certain of these (digit, motion)."""
    batch, glyphs = len(combinations), len(combinations[0])
    wanted = torch.tensor(combinations)
    certain = functional.one_hot(wanted[..., 0], 10).float().mul(0.99).add(0.001)
    none = torch.zeros(batch, glyphs)
    return Reading(
        log_probabilities=certain.log()[:, :, None].repeat(1, 1, frames, 1),
        positions=torch.zeros(batch, glyphs, frames, 2),
        motions=wanted[..., 1],
        speed=none,
        drift=none,
        features=torch.zeros(batch, glyphs, frames, 64),
    )


def test_the_order_of_the_caption_does_not_count_but_the_pairing_does() -> None:
    reading = reading_of([[(3, 0), (7, 1)]] * 4)
    captions = [
        "digit 3 is moving left and right and digit 7 is moving up and down",
        "digit 7 is moving up and down and digit 3 is moving left and right",
        "digit 3 is moving up and down and digit 7 is moving left and right",  # motions swapped
        "The digit 3 is moving left and right, and digit 3 is moving up and down",
    ]
    assert caption_fidelity(reading, captions) == pytest.approx(
        {
            "digit_accuracy_by_frame": 7 / 8,
            "digit_accuracy": 7 / 8,
            "motion_accuracy": 6 / 8,
            "caption_match": 2 / 4,
            "identity_kept": 1,
        }
    )
    assert caption_fidelity(reading, [((7, 1), (3, 0))] * 4)["caption_match"] == 1
    assert readable_share(reading) == 1
    assert readable_share(reading, confidence=0.995) == 0


def test_no_motion_is_never_the_captions() -> None:
    reading = reading_of([[(3, NO_MOTION)]])
    assert caption_fidelity(reading, ["digit 3 is moving left and right"])["motion_accuracy"] == 0


def test_features_tell_motions_and_digits_apart(readings: dict[int, tuple[Reading, BouncingClips]]) -> None:
    for digits, (reading, _) in readings.items():
        rows = glyph_features(reading)
        assert rows.shape == (CLIPS * digits, 68)
        assert torch.isfinite(rows).all()
        still = replace(reading, positions=torch.zeros_like(reading.positions))
        assert torch.equal(glyph_features(still)[:, :65], rows[:, :65])
        assert (glyph_features(still)[:, 65:67] == 0).all()
        assert rows[:, 65:67].amax(1).min() > 3


def test_a_clip_is_read_the_same_alone_and_among_others(
    judge: Judge, readings: dict[int, tuple[Reading, BouncingClips]]
) -> None:
    for digits, (reading, _) in readings.items():
        alone = judge.read(real(digits)[0][17:18], digits)
        for field in fields(Reading):
            torch.testing.assert_close(
                getattr(alone, field.name), getattr(reading, field.name)[17:18], atol=1e-3, rtol=1e-3
            )


def test_captions_that_do_not_fit_are_refused() -> None:
    reading = reading_of([[(3, 0)]])
    with pytest.raises(UserError, match="2 captions for 1 clips"):
        caption_fidelity(reading, ["digit 3 is moving left and right"] * 2)
    with pytest.raises(UserError, match="names 2 digits, where 1 were read"):
        caption_fidelity(reading, [((1, 0), (2, 0))])
    with pytest.raises(UserError, match="unknown word 'flying'"):
        caption_fidelity(reading, ["digit 3 is flying"])


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        (torch.zeros(10, 1, 64, 64), r"not \[10, 1, 64, 64\]"),
        (torch.zeros(1, 10, 1, 20, 64), "at least 28 x 28"),
        (torch.zeros(0, 10, 1, 64, 64), "1 or more clips"),
        (torch.full((1, 10, 1, 64, 64), 255.0), r"videos in \[0, 1\]"),
        (torch.full((1, 10, 1, 64, 64), torch.nan), r"videos in \[0, 1\]"),
    ],
)
def test_bad_videos_are_refused(judge: Judge, videos: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        judge.read(videos, 1)


# --- Files -----------------------------------------------------------------------------------------------------------


def test_missing_and_damaged_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the judge's .*config\.json"):
        Judge.load(tmp_path)
    folder = tmp_path / "judge"
    shutil.copytree(JUDGE_FOLDER, folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-1], whole[:5000] + b"\0\0" + whole[5002:], b""):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match="checksum is not the one in config"):
            Judge.load(folder)
    weights.unlink()
    with pytest.raises(UserError, match=r"cannot read the judge's .*model\.safetensors"):
        Judge.load(folder)
    weights.write_bytes(whole)
    for text, message in (("{", "is not JSON"), ("{}", "does not hold a judge"), ("[]", "does not hold a judge")):
        (folder / "config.json").write_text(text)
        with pytest.raises(UserError, match=message):
            Judge.load(folder)


def test_a_checksum_of_something_else_than_a_judge(tmp_path: Path) -> None:
    import hashlib

    for content in (b"nothing", b""):
        (tmp_path / "model.safetensors").write_bytes(content)
        (tmp_path / "config.json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest()}))
        with pytest.raises(UserError, match="does not hold a judge"):
            Judge.load(tmp_path)


def test_training_writes_a_judge_that_loads_and_depends_on_the_seed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_training, "measure_judge", lambda judge: {})
    configs: list[dict[str, Any]] = []
    for name in ("one", "two"):
        torch.manual_seed(len(name) + len(configs))  # the process's own random numbers do not matter
        configs.append(train_judge(tmp_path / name, steps=3, batch_size=16, seed=5))
        Judge.load(tmp_path / name)
    assert configs[0]["sha256"] == configs[1]["sha256"]
    assert train_judge(tmp_path / "two", steps=3, batch_size=16, seed=6)["sha256"] != configs[0]["sha256"]
    Judge.load(tmp_path / "two")
    with pytest.raises(UserError, match="batch_size of at least 16"):
        train_judge(tmp_path, batch_size=8)


def test_the_judge_knows_no_model() -> None:
    imported = {
        node.module
        for part in ("finding", "frozen", "judge", "judge_training", "readings")
        for node in ast.walk(ast.parse(Path(judging.__file__).with_name(f"{part}.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    own = {name for name in imported if name.startswith("syncdraw")}
    assert own <= {
        "syncdraw.datasets.bouncing_mnist",
        "syncdraw.datasets.idx",
        "syncdraw.errors",
        "syncdraw.evaluation.finding",
        "syncdraw.evaluation.frozen",
        "syncdraw.evaluation.judge",
        "syncdraw.evaluation.readings",
        "syncdraw.files",
        "syncdraw.options",
    }
