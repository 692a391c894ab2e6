"""The loop: any model with three functions is trained, in any number of parts, and what diverges loses nothing."""

from __future__ import annotations

import gc
import inspect
import math
import os
import signal
import sys
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import forking
import syncdraw
import training_runs
from making_clips import textures, write_clip
from syncdraw import UserError, pretrained
from syncdraw.datasets import bouncing_mnist
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.evaluation.bounds import bound
from syncdraw.model import SyncDraw
from syncdraw.training import TrainConfig, loop, run, run_folder
from syncdraw.training.batches import Batches
from syncdraw.training.learning import BoundLearner
from syncdraw.training.loop import fit, interruptible
from syncdraw.training.optimization import Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.run_folder import RunFolder
from training_runs import (
    ALIGNED,
    DATA,
    MODEL,
    RUN,
    VARIANTS,
    assert_same,
    assert_same_run,
    before_step,
    broken_off,
    changed,
    disturb_random_numbers,
    go,
    metrics,
    model_step,
    state,
)

ALONE = Processes(0, 1, torch.device("cpu"))
Scorer, tensorboard = run.Scorer, run_folder._board


pytestmark = pytest.mark.usefixtures("quickly")


# --- Another model ---------------------------------------------------------------------------------------------------


class MeanFrame(nn.Module):
    """No Sync-DRAW: every pixel has a probability of its own, and there are no latents."""

    shape = DATA.shape

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(self.shape))

    def prepare(self, videos: Any, captions: Any, generator: Any, length: int = 0, skip: int = 0) -> Any:
        return (torch.from_numpy(videos) / 255,)

    def bound(self, batch: Any, protocol: str = "grey") -> Any:
        logits = self.logits.expand_as(batch[0])
        cost = functional.binary_cross_entropy_with_logits(logits, batch[0], reduction="none").flatten(1).sum(1)
        return SimpleNamespace(reconstruction=cost, divergence=0 * cost, divergence_by_step=0 * cost[:, None])

    def generate(self, what: Any, **options: Any) -> Any:
        return self.logits.detach().sigmoid().expand(what, *self.shape)


def test_another_model_is_trained_and_measured(tmp_path: Path) -> None:
    """The loop and the measure know a model by prepare, bound and generate alone."""
    model, data = MeanFrame(), BouncingMNIST(DATA)
    settings = TrainConfig(max_steps=60, batch_size=5, every=30)
    optimization = Optimization(model, syncdraw.training.OptimizerConfig(learning_rate=0.3), 60, ALONE)
    before = bound(model, data, protocol="grey", clips=20)
    saved: list[int] = []
    folder = RunFolder(tmp_path / "run")
    with folder.owned():
        fit(
            model, Batches(model, data, 5, 0, ALONE), BoundLearner(model, optimization, 1.0), settings, folder,
            resumed={"step": 0, "seconds": 0.0}, examples=Clips(data.take(np.arange(2)).videos, None), progress=False,
            shown=lambda line: "",
            evaluators=[lambda model: {"excess": bound(model, data, protocol="grey", clips=20).excess}],
            save_model=lambda reached: saved.append(reached["step"]),
        )  # fmt: skip
    after = bound(model, data, protocol="grey", clips=20)
    assert before.negative_elbo == pytest.approx(math.prod(DATA.shape) * math.log(2), rel=1e-5)
    assert after.negative_elbo < 0.5 * before.negative_elbo
    assert after.divergence == 0
    mean = torch.from_numpy(data.take(np.arange(20)).videos).float().mean(dim=0) / 255
    assert (model.logits.sigmoid() - mean).abs().mean() < 0.02
    assert [line["excess"] for line in metrics(folder.path) if "excess" in line][-1] == pytest.approx(after.excess)
    assert saved == [30, 60]
    assert state(folder.path)["step"] == 60
    assert len(syncdraw.read_video(folder.path / "samples" / "step_0000060.gif")[0]) == 3


@pytest.mark.parametrize("function", [fit, run.train])
def test_what_does_the_work_can_be_read(function: Any) -> None:
    assert len(inspect.getsource(function).splitlines()) <= 90


# --- What a run tells ------------------------------------------------------------------------------------------------


def test_a_first_look_before_the_first_validation(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been learned after a while is saved and shown, and training goes on as if nothing had been."""
    monkeypatch.setattr(loop, "FIRST_LOOK", 0.0)
    config = changed(RUN, {"train.every": 11})
    out = go(config, tmp_path / "run")
    assert sorted(path.name for path in (out / "samples").iterdir()) == ["step_0000010.gif", "step_0000011.gif"]
    assert [line["step"] for line in metrics(out)] == [4, 8, 11, 11]
    weights = load_file(whole / "model.safetensors")
    assert_same(load_file(out / "model.safetensors"), weights)
    broken = broken_off(config, tmp_path / "broken", 10)
    assert state(broken)["step"] == 10
    (broken / "samples" / "step_0000010.gif").unlink()
    go(config, broken, resume=True)
    assert [path.name for path in (broken / "samples").iterdir()] == ["step_0000011.gif"]
    assert_same(load_file(broken / "model.safetensors"), weights)


def test_samples_are_below_the_real_clips_that_they_were_drawn_for() -> None:
    """Eleven clips: two rows of six, the last place empty."""
    real = torch.rand(11, 2, 1, 4, 4)
    grid, columns = run_folder.in_rows(real, real + 1)
    rows = grid.unflatten(0, (-1, columns))
    assert rows.shape[:2] == (4, 6)
    assert rows[0].equal(real[:6])
    assert rows[2, :5].equal(real[6:])
    assert rows[1].equal(real[:6] + 1)
    assert rows[3, :5].equal(real[6:] + 1)
    assert (rows[2:, 5] == 0.5).all()


# --- Resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "step"), [*((name, 8) for name in VARIANTS), ("captions, averaged", 10)])
def test_a_resumed_run_equals_the_uninterrupted_one(variant: str, step: int, whole: Path, tmp_path: Path) -> None:
    """Broken off some steps after a checkpoint, which lies in the middle of a line of metrics."""
    config = changed(RUN, VARIANTS[variant])
    reference = go(config, tmp_path / "reference") if VARIANTS[variant] else whole
    broken = broken_off(config, tmp_path / "broken", step)
    saved = state(broken)
    assert saved["step"] == (6 if step == 8 else 9)
    assert len(saved["window"]) == saved["step"] % 4  # so much of a line has been measured
    disturb_random_numbers()
    go(config, broken, resume=True)
    assert_same_run(broken, reference)


def test_a_batch_in_parts_trains_as_the_whole_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses, norms and weights to float tolerance, from no more clips at once than a part has."""
    changes = {"model": ALIGNED, "bouncing.digits": 2, "train.batch_size": 6, "train.max_steps": 8, "train.every": 8,
               "train.optimizer.matrix_learning_rate": 3e-3, "train.optimizer.ema": 0.5}  # fmt: skip
    whole = go(changed(RUN, changes), tmp_path / "whole")
    seen: list[int] = []
    original = SyncDraw.bound

    def bound(self: SyncDraw, batch: Any, *protocol: Any) -> Any:
        seen.extend([] if protocol else [len(batch.videos)])  # validation names its protocol
        return original(self, batch, *protocol)

    monkeypatch.setattr(SyncDraw, "bound", bound)
    parts = go(changed(RUN, {**changes, "train.accumulate": 3}), tmp_path / "parts")
    assert seen == 3 * (8 + 1) * [2]  # with the measure of what is saved
    for line, other in zip(metrics(whole), metrics(parts), strict=True):
        assert line == pytest.approx(other, rel=1e-4, abs=1e-4)
    for name, weights in state(whole)["model"].items():
        torch.testing.assert_close(state(parts)["model"][name], weights, rtol=1e-3, atol=2e-5)


def test_folder_with_several_captions_resumes_equally(tmp_path: Path) -> None:
    for number in range(9):
        write_clip(tmp_path / "clips" / f"{number}.gif", textures(6, number))
        (tmp_path / "clips" / f"{number}.txt").write_text(f"square {number}\na pattern of squares\n")
    shape = ClipConfig(frames=3, height=32, width=32, validation_share=0.3)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "data", shape, progress=False)
    config = changed(RUN, {"model": ALIGNED, "data": str(tmp_path / "data")})
    reference = go(config, tmp_path / "reference")
    broken = broken_off(config, tmp_path / "broken", 5)
    go(config, broken, resume=True)
    assert_same_run(broken, reference)
    assert "squares" in pretrained.load(broken).config.captions.vocabulary


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_saved_nothing_begins_again(resume: bool, whole: Path, tmp_path: Path) -> None:
    """With --resume or without it: there is nothing that could be lost."""
    out = broken_off(RUN, tmp_path / "run", 2)
    assert not (out / "state").exists()
    (out / "metrics.jsonl").write_text('{"step": 2, "L_X": 1.0}\n')  # what a line would look like that it had written
    go(RUN, out, resume=resume)
    assert_same_run(out, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_saves_the_step_in_hand(
    number: signal.Signals, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = signal.getsignal(number)
    before = signal.default_int_handler
    signal.signal(number, before)  # whoever runs the tests under nohup has it ignored
    try:
        with monkeypatch.context() as patch:
            before_step(patch, 4, lambda: os.kill(os.getpid(), number))
            with pytest.raises(KeyboardInterrupt, match=r"stopped at step 5.*--resume"):
                go(RUN, tmp_path / "run")
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, found)
    assert state(tmp_path / "run")["step"] == model_step(tmp_path / "run") == 5
    go(RUN, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as event:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not event.wait(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert event.wait(1)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signal_in_the_last_step_ends_a_finished_run(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        before_step(patch, 10, lambda: os.kill(os.getpid(), signal.SIGINT))
        go(RUN, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_signal_while_waiting_for_clips(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is being computed then, but steps have been since the last checkpoint."""
    original, calls = BouncingMNIST.take, []

    def slow(self: BouncingMNIST, indices: Any) -> Any:
        calls.append(len(indices))
        if self.split == "train" and len(indices) == 3 and calls.count(3) == 8:
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        return original(self, indices)

    with monkeypatch.context() as patch:
        patch.setattr(BouncingMNIST, "take", slow)
        with pytest.raises(KeyboardInterrupt, match="stopped at step"):
            go(RUN, tmp_path / "run")
    assert 3 < state(tmp_path / "run")["step"] < 11
    go(RUN, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_second_signal_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    before_step(monkeypatch, 5, twice)
    with pytest.raises(KeyboardInterrupt):
        go(RUN, tmp_path / "run")
    assert state(tmp_path / "run")["step"] == 3  # the last checkpoint, not step 6


def test_resuming_a_finished_run_changes_nothing(copy: Path, whole: Path) -> None:
    go(RUN, copy, resume=True)
    assert_same_run(copy, whole)


def test_metrics_of_steps_that_are_done_again_are_dropped(whole: Path, tmp_path: Path) -> None:
    out = broken_off(changed(RUN, {"train.every": 6}), tmp_path / "run", 9)  # saved at 6
    assert [line["step"] for line in metrics(out)] == [4, 6, 8]
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "L_X": 12\xc3')  # half a line, cut inside a character
    go(changed(RUN, {"train.every": 6}), out, resume=True)
    assert [line["step"] for line in metrics(out)] == [4, 6, 8, 11, 11]
    assert [line for line in metrics(out) if "L_X" in line] == [line for line in metrics(whole) if "L_X" in line]


def test_tensorboard_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    # Names of event files end in a count; "10" sorts before "9".
    monkeypatch.setattr(writer, "_global_uid", writer.AtomicCounter(9))
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(run_folder, "_board", tensorboard)
    config = changed(RUN, {"train.every": 6})

    def steps() -> list[int]:
        events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
        events.Reload()
        return [event.step for event in events.Scalars("L_X")]

    broken_off(config, tmp_path / "run", 8)
    assert steps() == list(range(1, 9))  # what the broken run had said has reached the disk
    go(config, tmp_path / "run", resume=True)
    assert steps() == list(range(1, 12))


def test_a_tensorboard_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full:
        def log(self, *_: Any) -> None:
            raise OSError("No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr("syncdraw.training.run_folder._board", lambda folder, step: Full())
    go(RUN, tmp_path / "run")
    assert capsys.readouterr().err.count("Full failed (No space left on device)") == 1


def test_how_it_is_trained_may_change(copy: Path) -> None:
    config = changed(RUN, {"train.max_steps": 13, "train.optimizer.learning_rate": 0.5, "train.every": 1})
    go(config, copy, resume=True)
    assert state(copy)["step"] == 13
    assert [line["learning_rate"] for line in metrics(copy) if "learning_rate" in line][-1] == 0.5
    # config.yaml says what the run goes on with.
    assert yaml.safe_load((copy / "config.yaml").read_text())["train"]["max_steps"] == 13


def test_averaging_may_begin_within_a_run(copy: Path) -> None:
    """It begins at the weights as they are, not at those of the first step."""
    weights = load_file(copy / "model.safetensors")
    go(changed(RUN, {"train.max_steps": 12, "train.optimizer.ema": 0.5}), copy, resume=True)
    moved, averaged = state(copy)["model"], load_file(copy / "model.safetensors")
    assert any(not torch.equal(moved[name], weights[name]) for name in weights)
    for name in weights:
        torch.testing.assert_close(averaged[name], (weights[name] + moved[name]) / 2, rtol=1e-4, atol=1e-6)


# --- Divergence ------------------------------------------------------------------------------------------------------


def test_divergence_keeps_the_last_state(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, original, calls = tmp_path / "run", Optimization.update, []

    def poisoned(self: Optimization, losses: Iterable[torch.Tensor]) -> torch.Tensor:
        calls.append(0)
        return original(self, (loss * (math.nan if len(calls) == 6 else 1) for loss in losses))

    with monkeypatch.context() as patch:
        patch.setattr(Optimization, "update", poisoned)
        with pytest.raises(UserError, match=r"diverged before step 6: .*train\.optimizer\.learning_rate") as caught:
            go(RUN, out)
    assert "\n" not in str(caught.value)
    assert state(out)["step"] == model_step(out) == 3
    assert all(tensor.isfinite().all() for tensor in load_file(out / "model.safetensors").values())
    go(RUN, out, resume=True)
    assert_same_run(out, whole)


@pytest.mark.parametrize("ema", [0.0, 0.998])
@pytest.mark.parametrize(("rate", "bad_step"), [(1e30, 5), (1e6, 5), (1e30, 8), (1e30, 10)])
def test_a_rate_that_is_too_high_spares_the_last_good_checkpoint(
    rate: float, bad_step: int, ema: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 5, 8 and 10 are the last before a save: the loss is still that of the good weights."""
    config, original = changed(RUN, {"train.optimizer.ema": ema}), Optimization.rate
    monkeypatch.setattr(Optimization, "rate", lambda self, step: rate if step == bad_step else original(self, step))
    with pytest.raises(UserError, match=r"training diverged before step \d+: L_X is .* resume it with a lower"):
        go(config, tmp_path / "run")
    good = {5: 3, 8: 6, 10: 9}[bad_step]
    assert state(tmp_path / "run")["step"] == model_step(tmp_path / "run") == good
    assert max(line["step"] for line in metrics(tmp_path / "run")) <= bad_step + 1
    assert all("validation_L_X" not in line or line["step"] <= good for line in metrics(tmp_path / "run"))
    kept = pretrained.load(tmp_path / "run")
    assert bound(kept, BouncingMNIST(DATA), protocol="grey", clips=3).negative_elbo < 3 * math.prod(DATA.shape)
    monkeypatch.setattr(Optimization, "rate", original)
    go(config, tmp_path / "run", resume=True)
    assert model_step(tmp_path / "run") == 11


def test_weights_of_what_no_clip_shows_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is in no caption of the batch changes no loss."""
    with monkeypatch.context() as patch:

        def poison() -> None:
            for thing in gc.get_objects():
                if type(thing) is SyncDraw and thing.captioned and thing.training:
                    with torch.no_grad():
                        thing.conditioner.words.vectors.weight[0, 0] = math.inf

        before_step(patch, 4, poison)
        with pytest.raises(UserError, match=r"training diverged before step 6: conditioner\..* NaN or infinity"):
            go(changed(RUN, {"model": ALIGNED}), tmp_path / "run")
    assert state(tmp_path / "run")["step"] == 3


# --- What a step does ------------------------------------------------------------------------------------------------


def test_learning_rate_is_that_of_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    config = changed(RUN, {"train.optimizer.final_learning_rate": 1e-5, "train.optimizer.warmup_steps": 2})
    go(config, tmp_path / "run")
    logged = [line["learning_rate"] for line in metrics(tmp_path / "run") if "learning_rate" in line]
    expected = Optimization(nn.Linear(1, 1), config.train.optimizer, 11, ALONE)
    assert logged == pytest.approx([expected.rate(step) for step in range(11)], abs=1e-6)


def test_divergence_weight_and_clips_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is L_X + weight * L_Z, the mean over the batch of the clips that `shuffled` names."""
    losses, drawings = [], []
    forward, update = SyncDraw.forward, Optimization.update

    def seeing(self: SyncDraw, videos: Any, *args: Any, **options: Any) -> Any:
        drawing = forward(self, videos, *args, **options)
        if torch.is_grad_enabled():
            drawings.append((videos, drawing))
        return drawing

    def noting(self: Optimization, of_parts: Iterable[torch.Tensor]) -> torch.Tensor:
        (loss,) = of_parts
        losses.append(loss.item())
        return update(self, [loss])

    monkeypatch.setattr(SyncDraw, "forward", seeing)
    monkeypatch.setattr(Optimization, "update", noting)
    go(changed(RUN, {"train.divergence_weight": 3.0, "train.max_steps": 8}), tmp_path / "run")
    assert len(losses) == len(drawings) == 8
    for loss, (_, drawing) in zip(losses, drawings, strict=True):
        assert loss == pytest.approx((drawing.reconstruction + 3 * drawing.divergence).mean().item(), rel=1e-6)
    seen = torch.cat([videos for videos, _ in drawings])[:20]
    everything = torch.from_numpy(BouncingMNIST(DATA).take(np.arange(20)).videos).float() / 255
    distances = (seen[:, None] - everything).abs().amax(dim=(2, 3, 4, 5))
    assert sorted(distances.argmin(1).tolist()) == list(range(20))  # each clip once before any comes again
    assert distances.min(1).values.max() == 0


def test_validation_is_the_bound_of_the_saved_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Scorer", Scorer)
    out = go(changed(RUN, {"train.optimizer.ema": 0.9}), tmp_path / "run")
    held_out = BouncingMNIST(DATA, "validation")
    expected = bound(pretrained.load(out), held_out, protocol="grey", clips=4, seed=0)
    last = metrics(out)[-1]
    assert last["step"] == 11
    assert last["validation_negative_elbo"] == pytest.approx(expected.negative_elbo, abs=1e-4)
    assert last["validation_L_X"] == pytest.approx(expected.reconstruction, abs=1e-4)
    assert last["validation_L_Z"] == pytest.approx(expected.divergence, abs=1e-4)
    scores = Scorer(held_out.take(np.arange(4)), DATA).scores(pretrained.load(out))
    assert scores.keys() == {"readable_share", "frechet_distance"}
    for name, value in scores.items():
        assert last[name] == pytest.approx(value, abs=1e-4)


def test_other_glyphs_are_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge knows MNIST's digits only."""
    monkeypatch.setattr(run, "Scorer", Scorer)
    folder = str(Path(bouncing_mnist.__file__).parent / "mnist")
    out = go(changed(RUN, {"train.max_steps": 1, "bouncing.glyphs": folder}), tmp_path / "run")
    assert "validation_negative_elbo" in metrics(out)[-1]
    assert "readable_share" not in metrics(out)[-1]


def test_evaluators_of_ones_own(tmp_path: Path) -> None:
    out = go(changed(RUN, {"train.max_steps": 3}), tmp_path / "run", evaluators=[lambda model: {"pixels": 3072.0}])
    assert metrics(out)[-1]["pixels"] == 3072


def test_run_folder(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert {"config.yaml", "config.json", "model.safetensors", "state", "metrics.jsonl", "samples"} <= names
    assert sorted(path.name for path in (whole / "samples").iterdir()) == [
        f"step_{step:07d}.gif" for step in (3, 6, 9, 11)
    ]
    video, _ = syncdraw.read_video(whole / "samples" / "step_0000011.gif")
    assert len(video) == MODEL.frames
    card = pretrained.load_card(whole)
    assert card["trained"]["steps"] == 11
    assert card["trained"]["clips_seen"] == 33
    assert BouncingMNISTConfig(**card["bouncing"]) == DATA
    assert [line["step"] for line in metrics(whole) if "L_X" in line] == [4, 8, 11]
    assert [line["step"] for line in metrics(whole) if "validation_L_X" in line] == [3, 6, 9, 11]


def test_tiny_folder_without_a_validation_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "clips" / "only.gif", textures(6))
    shape = ClipConfig(frames=3, height=32, width=32)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "data", shape, progress=False)
    go(changed(RUN, {"data": str(tmp_path / "data"), "train.max_steps": 1}), tmp_path / "run")
    assert "validation measures training clips instead" in capsys.readouterr().err


def test_memory_is_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, sizes, original = [], [], RunFolder.log

    def measuring(self: RunFolder, step: int, seconds: float, values: dict[str, float]) -> None:
        original(self, step, seconds, values)
        gc.collect()
        # Not those that tests of exporting and compiling leave behind: stand-ins without numbers.
        tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, nn.Parameter)]
        counts.append((len(tensors), sum(tensor.nbytes for tensor in tensors)))
        del tensors
        sizes.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr(RunFolder, "log", measuring)
    monkeypatch.setattr(loop, "LOG_EVERY", 5)
    config = changed(
        RUN,
        {"model": ALIGNED, "bouncing.clips": 0, "train.max_steps": 21, "train.every": 1000, "train.optimizer.ema": 0.9},
    )
    tracemalloc.start()
    try:
        go(config, tmp_path / "run")
    finally:
        tracemalloc.stop()
    # Steps 5, 10, 15 and 20: the same point of the loop each time.
    assert len(set(counts[:4])) == 1, counts
    # Python's caches fill up in the beginning, by some 20 kB in all; one batch of clips a step would be 138 kB.
    assert sizes[3] - sizes[0] < 60_000, sizes


def test_out_of_memory_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy, torch on a CPU and torch on a GPU each tell of it in their own way. The folder stays free."""
    errors = [
        MemoryError("Unable to allocate 5 TiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        torch.OutOfMemoryError("CUDA out of memory."),
    ]
    for error in errors:

        def fail(self: Any, batch: Any, error: Exception = error) -> Any:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(SyncDraw, "bound", fail)
            with pytest.raises(UserError, match=r"does not fit in memory: lower train\.batch_size.* train\.accumulate"):
                go(RUN, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(SyncDraw, "bound", lambda self, batch: torch.zeros(2) @ torch.zeros(3))
        with pytest.raises(RuntimeError, match="size"):  # what is a mistake of ours stays one
            go(RUN, tmp_path / "run")
    go(changed(RUN, {"train.max_steps": 1}), tmp_path / "run")


def train_for_long(out: Path) -> int:
    training_runs.quick()
    try:
        go(changed(RUN, {"train.max_steps": 100_000}), out)
    except KeyboardInterrupt as stopped:
        print(stopped, file=sys.stderr)
        return 130
    return 0


def test_ctrl_c_in_a_process_of_its_own(tmp_path: Path) -> None:
    """What the process says last is how to go on, and that works."""
    out = tmp_path / "run"
    running = forking.Forked(train_for_long, out)
    deadline = time.monotonic() + 120
    while not ((out / "metrics.jsonl").exists() and len((out / "metrics.jsonl").read_text()) > 300):
        if not running.process.is_alive() or time.monotonic() > deadline:
            pytest.fail(f"it does not train: {running.end(timeout=0)}")
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    status, _, errors = running.end(timeout=60)
    assert status == 130, errors
    assert "Traceback" not in errors
    step = state(out)["step"]
    assert errors.splitlines()[-1] == f"stopped at step {step}; syncdraw train --resume --out {out} goes on"
    go(changed(RUN, {"train.max_steps": step + 2}), out, resume=True)
    assert state(out)["step"] == step + 2
    assert sum("L_X" in line for line in metrics(out)) == math.ceil((step + 2) / 4)
