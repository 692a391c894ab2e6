"""Training: a run that is broken off, in whatever way, goes on as if it had not been, and nothing is lost."""

from __future__ import annotations

import dataclasses
import errno
import gc
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import syncdraw.train as training
from making_clips import textures, write_clip
from syncdraw import SyncDraw, SyncDrawConfig, UserError, cli, evaluate, pretrained, read_video
from syncdraw.datasets import bouncing_mnist
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.distances import Scorer
from syncdraw.train import RunConfig, TrainConfig, learning_rate, start_from, train

MODEL = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
CAPTIONED = dataclasses.replace(MODEL, captions="alignment", caption_size=4, word_dropout=0.3)
DATA = BouncingMNISTConfig(frames=3, height=32, width=32, clips=20)
# No period divides another, so that breaks fall between the lines of metrics.
SHORT = TrainConfig(
    max_steps=11, batch_size=3, validation_clips=4, validate_every=5, sample_every=7, save_every=3, log_every=4
)
RUN = RunConfig(model=MODEL, bouncing=DATA, train=SHORT)


def changed(config: RunConfig = RUN, **changes: Any) -> RunConfig:
    """The config with other settings under their dotted names, with `__` for the dot."""
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if field:
            value = dataclasses.replace(getattr(config, part), **{field: value})
        config = dataclasses.replace(config, **{part: value})
    return config


def go(config: RunConfig, out: Path, **options: Any) -> Path:
    return train(config, out, progress=False, **options)


def metrics(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "videos_per_second")} for line in lines]


def state(out: Path) -> dict[str, Any]:
    return torch.load(out / "state" / "training.pt", weights_only=True)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_same(one: Any, other: Any, where: str = "state") -> None:
    """Equal to the last bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    else:
        assert one == other, where


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, averages, optimiser, metrics and samples."""
    first, second = state(one), state(other)
    for each in (first, second):
        del each["state"]["seconds"]
    assert_same(first, second)
    assert_same(load_file(one / "model.safetensors"), load_file(other / "model.safetensors"))
    assert metrics(one) == metrics(other)
    samples = [{p.name: p.read_bytes() for p in (run / "samples").iterdir()} for run in (one, other)]
    assert samples[0] == samples[1]


class PowerCutError(Exception):
    pass


def before_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Do something when the loop comes to a step."""
    original = training.learning_rate

    def hooked(settings: TrainConfig, now: int) -> float:
        if now == step:
            action()
        return original(settings, now)

    monkeypatch.setattr(training, "learning_rate", hooked)


def break_before(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    def cut() -> None:
        raise PowerCutError

    before_step(monkeypatch, step, cut)


@pytest.fixture(autouse=True)
def denormals() -> None:
    """The command line flushes them for the whole process; the last bit of Adam's moments depends on it."""
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run of `RUN`. Not to be changed."""
    return go(RUN, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


# --- Resuming --------------------------------------------------------------------------------------------------------

VARIANTS = {
    "plain": {"train__ema": 0.0},
    "captions": {"model": CAPTIONED, "train__ema": 0.9, "bouncing__digits": 2},
    "sentence, endless": {
        "model": dataclasses.replace(CAPTIONED, captions="sentence", prior="network", canvas="learned"),
        "bouncing__clips": 0,
        "train__warmup_steps": 3,
        "train__final_learning_rate": 1e-5,
    },
    "matrices by Muon": {"train__matrix_learning_rate": 3e-3, "train__final_learning_rate": 1e-5},
    "bf16, checkpointing, held gradients": {
        "train__precision": "bf16",
        "train__checkpointing": True,
        "train__gradient_ratio": 1.5,
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_equals_the_uninterrupted_one(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(**VARIANTS[variant])
    reference = go(config, tmp_path / "reference")
    with monkeypatch.context() as patch:
        break_before(patch, 8)  # two steps after a checkpoint, in the middle of a line of metrics
        with pytest.raises(PowerCutError):
            go(config, tmp_path / "broken")
    assert state(tmp_path / "broken")["state"]["step"] == 6
    torch.manual_seed(99)  # what the process has drawn before must not matter
    np.random.seed(99)  # noqa: NPY002
    go(config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", reference)


def test_folder_with_several_captions_resumes_equally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        write_clip(tmp_path / "clips" / f"{number}.gif", textures(6, number))
        (tmp_path / "clips" / f"{number}.txt").write_text(f"square {number}\na pattern of squares\n")
    shape = ClipConfig(frames=3, height=32, width=32, validation_share=0.3)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "data", shape, progress=False)
    config = changed(model=CAPTIONED, data=str(tmp_path / "data"))
    reference = go(config, tmp_path / "reference")
    with monkeypatch.context() as patch:
        break_before(patch, 5)
        with pytest.raises(PowerCutError):
            go(config, tmp_path / "broken")
    go(config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", reference)
    assert "squares" in pretrained.load(tmp_path / "broken").config.vocabulary


def test_a_run_that_saved_nothing_begins_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        break_before(patch, 2)
        with pytest.raises(PowerCutError):
            go(RUN, out)
    assert not (out / "state").exists()
    with pytest.raises(UserError, match="already holds a run"):
        go(RUN, out)
    (out / "metrics.jsonl").write_text('{"step": 2, "L_X": 1.0}\n')  # what a line would look like that it had written
    go(RUN, out, resume=True)
    assert_same_run(out, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_the_step_in_hand(
    number: signal.Signals, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        before_step(patch, 4, lambda: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt, match=r"stopped at step 5.*--resume"):
            go(RUN, tmp_path / "run")
    assert signal.getsignal(number) is before
    assert state(tmp_path / "run")["state"]["step"] == 5
    go(RUN, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_signal_while_waiting_for_clips(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is being computed then, but steps have been since the last checkpoint."""
    original = BouncingMNIST.take

    def slow(self: BouncingMNIST, indices: Any) -> Any:
        if self.split == "train" and len(indices) == SHORT.batch_size and calls.append(0) is None and len(calls) == 6:
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        return original(self, indices)

    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(BouncingMNIST, "take", slow)
        with pytest.raises(KeyboardInterrupt, match="stopped at step"):
            go(changed(train__save_every=100), tmp_path / "run")
    assert state(tmp_path / "run")["state"]["step"] >= 5
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
    assert state(tmp_path / "run")["state"]["step"] == 3  # the last checkpoint, not step 6


def test_ctrl_c_at_the_command_line(tmp_path: Path) -> None:
    """In a process of its own: exit status 130, one sentence that says how to go on, and that works."""
    recipe = tmp_path / "recipe.yaml"
    training.write_config(changed(train__max_steps=100_000, train__save_every=100_000, train__log_every=1), tmp_path)
    (tmp_path / "config.yaml").rename(recipe)
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "syncdraw", "train", str(recipe), "--out", str(out)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    try:
        while not ((out / "metrics.jsonl").exists() and len((out / "metrics.jsonl").read_text()) > 200):
            assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    step = state(out)["state"]["step"]
    assert errors.splitlines()[-1] == f"syncdraw: stopped at step {step}; syncdraw train --resume --out {out} goes on"
    cli.main(["train", "--resume", "--out", str(out), f"--train.max_steps={step + 2}"])
    assert state(out)["state"]["step"] == step + 2
    assert [line["step"] for line in metrics(out) if "L_X" in line] == list(range(1, step + 3))


def test_resuming_a_finished_run_changes_nothing_but_its_limit(copy: Path, whole: Path) -> None:
    go(RUN, copy, resume=True)
    assert_same_run(copy, whole)


def test_metrics_of_steps_that_are_done_again_are_dropped(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_before(patch, 9)  # saved at 6 and 9: step 10 is not
        with pytest.raises(PowerCutError):
            go(changed(train__save_every=6), tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    assert [line["step"] for line in metrics(tmp_path / "run")] == [4, 5, 8]
    with path.open("ab") as file:
        file.write(b'{"step": 9, "L_X": 12\xc3')  # half a line, cut inside a character
    go(changed(train__save_every=6), tmp_path / "run", resume=True)
    assert metrics(tmp_path / "run") == metrics(whole)


def test_tensorboard_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config, out = changed(train__log_every=1, train__save_every=6), tmp_path / "run"

    def steps() -> list[int]:
        events = accumulator.EventAccumulator(str(out / "tensorboard"))
        events.Reload()
        return [event.step for event in events.Scalars("L_X")]

    with monkeypatch.context() as patch:
        break_before(patch, 8)
        with pytest.raises(PowerCutError):
            go(config, out)
    assert steps() == list(range(1, 9))  # what the broken run had said has reached the disk
    go(config, out, resume=True)
    assert steps() == list(range(1, 12))


# --- What may not be resumed, and what is never overwritten ----------------------------------------------------------


def test_existing_run_is_left_alone(copy: Path) -> None:
    before = content(copy)
    with pytest.raises(UserError, match=r"already holds a run.*--resume"):
        go(RUN, copy)
    assert content(copy) == before


def test_folder_of_a_model_is_left_alone(tmp_path: Path) -> None:
    pretrained.save(SyncDraw(MODEL), tmp_path)
    before = content(tmp_path)
    with pytest.raises(UserError, match="already holds"):
        go(RUN, tmp_path)
    assert content(tmp_path) == before


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to resume"):
        go(RUN, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_lost_state_does_not_begin_anew_over_the_model(copy: Path) -> None:
    (copy / "state" / "training.pt").unlink()
    before = content(copy)
    with pytest.raises(UserError, match=r"training\.pt is missing"):
        go(RUN, copy, resume=True)
    assert content(copy) == before


@pytest.mark.parametrize("damage", ["empty", "truncated", "noise", "flipped", "another model's", "not a state"])
def test_damaged_state(damage: str, copy: Path) -> None:
    path = copy / "state" / "training.pt"
    good = path.read_bytes()
    if damage == "another model's":
        saved = torch.load(path, weights_only=True)
        saved["model"]["posterior.bias"] = torch.zeros(2)
        torch.save(saved, path)
    elif damage == "not a state":
        torch.save([1, 2, 3], path)
    else:
        noise = np.random.default_rng(0).bytes(len(good))
        half = len(good) // 2
        path.write_bytes(
            {"empty": b"", "truncated": good[:half], "noise": noise, "flipped": noise[:half] + good[half:]}[damage]
        )
    before = content(copy)
    with pytest.raises(UserError, match=r"training\.pt cannot be resumed from") as caught:
        go(RUN, copy, resume=True)
    assert "\n" not in str(caught.value)
    assert content(copy) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "elsewhere"),
        ("bouncing.seed", 1),
        ("bouncing.combinations", "seen"),
        ("model.frames", 4),
        ("model.hidden_size", 9),
        ("model.prior", "network"),
        ("train.seed", 1),
        ("train.batch_size", 4),
    ],
)
def test_resuming_another_run_is_refused(name: str, value: Any, copy: Path) -> None:
    before = content(copy)
    with pytest.raises(UserError, match=rf"^{name} is {value!r}, but the run in .* began with "):
        go(changed(**{name.replace(".", "__"): value}), copy, resume=True)
    assert content(copy) == before


def test_muon_cannot_come_or_go_within_a_run(copy: Path) -> None:
    before = content(copy)
    with pytest.raises(UserError, match=r"^the run in .* began without train\.matrix_learning_rate; resume it so$"):
        go(changed(train__max_steps=13, train__matrix_learning_rate=1e-3), copy, resume=True)
    assert content(copy) == before


def test_other_words_are_refused(tmp_path: Path) -> None:
    config = changed(model=CAPTIONED, train__max_steps=1)
    go(config, tmp_path / "run")
    other = dataclasses.replace(CAPTIONED, vocabulary=("digit", "is"))
    with pytest.raises(UserError, match=r"^model\.vocabulary is \['digit', 'is'\], but the run"):
        go(changed(config, model=other), tmp_path / "run", resume=True)


def test_how_it_is_trained_may_change(copy: Path) -> None:
    config = changed(
        train__max_steps=13, train__learning_rate=0.5, train__beta1=0.25, train__ema=0.5, train__save_every=1
    )
    go(config, copy, resume=True)
    assert state(copy)["state"]["step"] == 13
    assert metrics(copy)[-2]["learning_rate"] == 0.5
    assert state(copy)["optimizers"][0]["param_groups"][0]["betas"] == (0.25, 0.999)
    # config.yaml says what the run goes on with.
    assert yaml.safe_load((copy / "config.yaml").read_text())["train"]["max_steps"] == 13


def test_run_of_an_older_version_resumes(copy: Path) -> None:
    """Its config.yaml lacks the settings that have been added since, its state the line in the making."""
    path = copy / "config.yaml"
    values = yaml.safe_load(path.read_text())
    del values["bouncing"]["stills"], values["model"]["prior_components"], values["train"]["fresh_captions"]
    path.write_text(yaml.safe_dump(values))
    saved = state(copy)
    del saved["state"]["window"]
    (saved["optimizer"],) = saved.pop("optimizers")
    torch.save(saved, copy / "state" / "training.pt")
    go(changed(train__max_steps=12), copy, resume=True)
    assert state(copy)["state"]["step"] == 12
    with pytest.raises(UserError, match=r"^bouncing\.stills is 0\.5, but"):
        go(changed(bouncing__stills=0.5), copy, resume=True)


@pytest.mark.parametrize("text", ["", "model: [", "- 1", "model: 3", "data: x", "\x00", "model:\n  frames: {}"])
def test_damaged_config(text: str, copy: Path) -> None:
    (copy / "config.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        go(RUN, copy, resume=True)
    assert "config.yaml" in str(caught.value) or "began with" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config_is_read_back_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """config.yaml, read by the command line, is the config, whatever YAML takes a word for."""
    words = ("0", "007", "1e3", "no", "null", "on", "true", "y", "日本", "é", "0x1f", "12_3")
    config = changed(
        model=dataclasses.replace(CAPTIONED, vocabulary=words, write_grid_size=5, encoder="skip-thoughts:a b: c"),
        bouncing__speed=1e-5, bouncing__glyphs="no", train__final_learning_rate=1e-7, train__learning_rate=1e5,
        train__start_from="1", train__max_steps=10**12, data="bouncing_mnist",
    )  # fmt: skip
    training.write_config(config, tmp_path)
    (tmp_path / "config.yaml").rename(tmp_path / "recipe.yaml")
    taken = []
    monkeypatch.setattr(training, "train", lambda config, out, **options: taken.append(config) or Path(out))
    cli.main(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")])
    assert taken == [config]


# --- Full disks and other misfortunes --------------------------------------------------------------------------------


def test_full_disk_in_earnest(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses to write more than so many bytes to a file: the checkpoint from before stays."""
    out = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        before_step(patch, 4, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard)))
        try:
            with pytest.raises(UserError, match=r"^cannot write .*training\.pt: File too large$"):
                go(RUN, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (out / "state" / "training.pt").stat().st_size > 16_000  # else this test tests nothing
    assert state(out)["state"]["step"] == 3
    pretrained.load(out)
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]  # nothing half-written stays
    go(RUN, out, resume=True)
    assert_same_run(out, whole)


@pytest.mark.parametrize("file", ["training.pt", "model.safetensors", "config.json"])
def test_no_space_for_one_file(file: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    weights: list[bytes] = []

    def fill() -> None:
        weights.append((out / "model.safetensors").read_bytes())
        for method in ("write_bytes", "write_text"):
            original = getattr(Path, method)

            def full(self: Path, data: Any, *args: Any, _original: Any = original, **options: Any) -> Any:
                if self.name == file:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
                return _original(self, data, *args, **options)

            patch.setattr(Path, method, full)

    with monkeypatch.context() as patch:
        before_step(patch, 4, fill)
        with pytest.raises(UserError, match=rf"^cannot write {out}/.*{file}: No space left on device$"):
            go(RUN, out)
    pretrained.load(out)
    assert (out / "model.safetensors").read_bytes() == weights[0]
    go(RUN, out, resume=True)
    assert_same_run(out, whole)


def test_out_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        go(RUN, tmp_path / "file")
    with pytest.raises(UserError, match="cannot write"):
        go(RUN, tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "mine"


def test_divergence_keeps_the_last_state(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    original = accelerate.Accelerator.backward
    calls: list[int] = []

    def poisoned(self: Any, loss: torch.Tensor) -> None:
        calls.append(0)
        original(self, loss * math.nan if len(calls) == 6 else loss)

    with monkeypatch.context() as patch:
        patch.setattr(accelerate.Accelerator, "backward", poisoned)
        with pytest.raises(UserError, match=r"diverged at step 5: the gradient is nan.*train\.learning_rate") as caught:
            go(RUN, out)
    assert "\n" not in str(caught.value)
    assert state(out)["state"]["step"] == 3
    assert all(tensor.isfinite().all() for tensor in load_file(out / "model.safetensors").values())
    go(RUN, out, resume=True)
    assert_same_run(out, whole)


def test_absurd_learning_rate_diverges_by_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training diverged at step \d+"):
        go(changed(train__learning_rate=1e30, train__save_every=100), tmp_path / "run")


def test_bad_start_leaves_the_folder_free(tmp_path: Path) -> None:
    """A run that cannot begin must not stand in the way of the next attempt."""
    with pytest.raises(UserError, match=r"train\.start_from: unknown model 'nobody'.*needs that run first"):
        go(changed(train__start_from="nobody"), tmp_path / "run")
    with pytest.raises(UserError, match=r"\[frames, channels, height, width\]"):
        go(changed(model__frames=4), tmp_path / "run")
    go(changed(train__max_steps=1), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_steps", 0), ("batch_size", 0), ("learning_rate", 0.0), ("learning_rate", math.nan), ("gradient_norm", -1.0),
     ("gradient_ratio", 0.5), ("gradient_ratio", math.nan), ("beta1", 1.0), ("ema", 1.0), ("save_every", 0),
     ("divergence_weight", -1.0), ("warmup_steps", -1), ("seed", -1), ("seed", 2**32)],
)  # fmt: skip
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"train\.{name}"):
        TrainConfig(**{name: value})


# --- What a step does ------------------------------------------------------------------------------------------------


def test_learning_rate_schedule() -> None:
    constant = TrainConfig(learning_rate=2e-3, max_steps=100)
    assert {learning_rate(constant, step) for step in range(200)} == {2e-3}
    warm = TrainConfig(learning_rate=1.0, warmup_steps=4, max_steps=100)
    assert [learning_rate(warm, step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    cosine = TrainConfig(learning_rate=1.0, final_learning_rate=0.2, max_steps=100)
    assert [learning_rate(cosine, step) for step in (0, 25, 50, 75, 100, 150)] == pytest.approx(
        [1.0, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2, 0.2]
    )
    both = TrainConfig(learning_rate=1.0, final_learning_rate=0.2, warmup_steps=49, max_steps=100)
    assert learning_rate(both, 24) == pytest.approx(0.5 * learning_rate(cosine, 24))


def test_learning_rate_is_that_of_the_schedule(tmp_path: Path) -> None:
    config = changed(train__final_learning_rate=1e-5, train__warmup_steps=2, train__log_every=1)
    go(config, tmp_path / "run")
    logged = [line["learning_rate"] for line in metrics(tmp_path / "run") if "learning_rate" in line]
    assert logged == pytest.approx([learning_rate(config.train, step) for step in range(11)], abs=1e-6)
    assert state(tmp_path / "run")["optimizers"][0]["param_groups"][0]["lr"] == learning_rate(config.train, 10)


def test_weights_move_by_what_the_gradient_norm_allows(tmp_path: Path) -> None:
    """Adam divides by the gradient's size, so only a norm below Adam's epsilon shows in the step."""
    torch.manual_seed(0)
    start = SyncDraw(MODEL).state_dict()
    steps = {}
    for norm in (10.0, 1e-12):
        out = go(changed(train__max_steps=1, train__gradient_norm=norm), tmp_path / str(norm))
        weights = state(out)["model"]
        steps[norm] = max(float((weights[name] - tensor).abs().max()) for name, tensor in start.items())
    assert steps[10.0] == pytest.approx(SHORT.learning_rate, rel=0.01)
    assert steps[1e-12] < 1e-6


def test_the_gradient_ratio_takes_part_in_every_step(tmp_path: Path) -> None:
    """A ratio that holds no clip changes nothing, and one that holds some does."""
    weights = [
        state(go(changed(train__max_steps=2, train__gradient_ratio=ratio), tmp_path / str(ratio)))["model"]
        for ratio in (None, 1e9, 1.0)
    ]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert not all(torch.equal(tensor, weights[2][name]) for name, tensor in weights[0].items())


def test_average_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """avg <- d avg + (1 - d) w after each step, with d = min(ema, (n + 1) / (n + 10)); that is what is shipped."""
    weights, averages = [], []
    original = training._save

    def recording(out: Any, config: Any, model: SyncDraw, optimizers: Any, average: list[torch.Tensor], reached: Any):
        weights.append([p.detach().clone() for p in model.parameters()])
        averages.append([tensor.clone() for tensor in average])
        original(out, config, model, optimizers, average, reached)

    monkeypatch.setattr(training, "_save", recording)
    out = go(changed(train__ema=0.15, train__save_every=1, train__max_steps=6), tmp_path / "run")
    torch.manual_seed(0)
    expected = [p.detach().clone() for p in SyncDraw(MODEL).parameters()]
    for step in range(6):
        decay = min(0.15, (step + 1) / (step + 10))  # the limit binds from step 1 on
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights[step], strict=True)]
        for mine, theirs in zip(averages[step], expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    for mine, theirs in zip(pretrained.load(out).parameters(), averages[-1], strict=True):
        assert torch.equal(mine, theirs)
    names = [name for name, _ in SyncDraw(MODEL).named_parameters()]
    assert all(torch.equal(state(out)["model"][n], w) for n, w in zip(names, weights[-1], strict=True))
    assert not torch.equal(weights[-1][0], averages[-1][0])


def test_divergence_weight_and_clips_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is L_X + weight * L_Z, the mean over the batch of the clips that `shuffled` names."""
    losses, drawings = [], []
    forward = SyncDraw.forward

    def seeing(self: SyncDraw, videos: Any, *args: Any, **options: Any) -> Any:
        drawing = forward(self, videos, *args, **options)
        if self.training:
            drawings.append((videos, drawing))
        return drawing

    original = accelerate.Accelerator.backward
    monkeypatch.setattr(SyncDraw, "forward", seeing)
    monkeypatch.setattr(
        accelerate.Accelerator, "backward", lambda self, loss: (losses.append(loss.item()), original(self, loss))
    )
    go(changed(train__divergence_weight=3.0, train__max_steps=8), tmp_path / "run")
    assert len(losses) == len(drawings) == 8
    for loss, (_, drawing) in zip(losses, drawings, strict=True):
        assert loss == pytest.approx((drawing.reconstruction + 3 * drawing.divergence).mean().item(), rel=1e-6)
    seen = torch.cat([videos for videos, _ in drawings])[:20]
    everything = torch.from_numpy(BouncingMNIST(DATA).take(np.arange(20)).videos).float() / 255
    distances = (seen[:, None] - everything).abs().amax(dim=(2, 3, 4, 5))
    assert sorted(distances.argmin(1).tolist()) == list(range(20))  # each clip once before any comes again
    assert distances.min(1).values.max() == 0


def test_validation_is_the_bound_of_the_saved_model(tmp_path: Path) -> None:
    out = go(changed(train__ema=0.9), tmp_path / "run")
    expected = evaluate.bound(pretrained.load(out), BouncingMNIST(DATA, "validation"), clips=4, seed=0)
    last = metrics(out)[-1]
    assert last["step"] == 11
    assert last["validation_negative_elbo"] == pytest.approx(expected.negative_elbo, abs=1e-4)
    assert last["validation_L_X"] == pytest.approx(expected.reconstruction, abs=1e-4)
    assert last["validation_L_Z"] == pytest.approx(expected.divergence, abs=1e-4)
    scores = Scorer(BouncingMNIST(DATA, "validation").take(np.arange(4)), DATA).scores(pretrained.load(out))
    assert scores.keys() == {"readable_share", "frechet_distance"}
    for name, value in scores.items():
        assert last[name] == pytest.approx(value, abs=1e-4)


def test_other_glyphs_are_not_judged(tmp_path: Path) -> None:
    """The judge knows MNIST's digits only, and one clip has no spread."""
    folder = str(Path(bouncing_mnist.__file__).parent / "mnist")
    for number, changes in enumerate([{"bouncing__glyphs": folder}, {"train__validation_clips": 1}]):
        out = go(changed(train__max_steps=1, **changes), tmp_path / str(number))
        assert "validation_negative_elbo" in metrics(out)[-1]
        assert "readable_share" not in metrics(out)[-1]


def test_run_folder(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert {"config.yaml", "config.json", "model.safetensors", "state", "metrics.jsonl", "samples"} <= names
    assert sorted(path.name for path in (whole / "samples").iterdir()) == ["step_0000007.gif", "step_0000011.gif"]
    video, _ = read_video(whole / "samples" / "step_0000011.gif")
    assert len(video) == MODEL.frames
    card = pretrained.load_card(whole)
    assert card["trained"]["steps"] == 11
    assert card["trained"]["clips_seen"] == 33
    assert BouncingMNISTConfig(**card["bouncing"]) == DATA
    assert [line["step"] for line in metrics(whole) if "L_X" in line] == [4, 8, 11]
    assert [line["step"] for line in metrics(whole) if "validation_L_X" in line] == [5, 10, 11]


def test_tiny_folder_without_a_validation_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "clips" / "only.gif", textures(6))
    shape = ClipConfig(frames=3, height=32, width=32)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "data", shape, progress=False)
    go(changed(data=str(tmp_path / "data"), train__max_steps=1), tmp_path / "run")
    assert "validation measures training clips instead" in capsys.readouterr().err


def test_memory_is_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, sizes = [], []
    original = training._log

    def measuring(out: Any, board: Any, accelerator: Any, step: int, clock: float, values: Any) -> None:
        original(out, board, accelerator, step, clock, values)
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
        counts.append((len(tensors), sum(tensor.nbytes for tensor in tensors)))
        del tensors
        sizes.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr(training, "_log", measuring)
    config = changed(
        model=CAPTIONED, bouncing__clips=0, train__max_steps=21, train__log_every=5, train__validate_every=1000,
        train__sample_every=1000, train__save_every=10, train__ema=0.9,
    )  # fmt: skip
    tracemalloc.start()
    try:
        go(config, tmp_path / "run")
    finally:
        tracemalloc.stop()
    # Steps 5, 10, 15 and 20: the same point of the loop each time.
    assert len(set(counts[:4])) == 1, counts
    # Python's caches fill up in the beginning, by some 20 kB in all; one batch of clips a step would be 138 kB.
    assert sizes[3] - sizes[0] < 60_000, sizes


# --- Beginning from another model ------------------------------------------------------------------------------------

WORDS = ("0", "1", "and", "digit", "down", "is", "left", "moving", "right", "up")
WITH_WORDS = dataclasses.replace(CAPTIONED, vocabulary=WORDS, prior="network", canvas="learned")
WITHOUT = dataclasses.replace(MODEL, prior="network", canvas="learned")


def made(config: SyncDrawConfig, seed: int) -> SyncDraw:
    """A model all of whose weights are random, also those that begin at zero."""
    torch.manual_seed(seed)
    model = SyncDraw(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def without_captions(model: SyncDraw) -> None:
    """Zero what every layer makes of captions: they come last in its input."""
    sizes = {
        "encoder.weight_ih": model.conditioner.encoder_size,
        "decoder.weight_ih": model.conditioner.decoder_size,
        "prior.layers.0.weight": model.conditioner.decoder_size,
    }
    with torch.no_grad():
        for name, size in sizes.items():
            weight = model.get_parameter(name)
            weight[:, weight.shape[1] - size :] = 0


def assert_draws_alike(one: SyncDraw, other: SyncDraw) -> None:
    texts = ["digit 0 is moving up and down", "digit 1 is moving left and right"]
    videos, noise = torch.rand(2, *MODEL.shape), one.noise(2, seed=3)
    drawings = [m(videos, texts if m.config.captions != "none" else None, noise=noise) for m in (one, other)]
    torch.testing.assert_close(drawings[0].logits, drawings[1].logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(drawings[0].divergence, drawings[1].divergence, rtol=1e-5, atol=1e-5)
    samples = [m.generate(texts if m.config.captions != "none" else 2, seed=1) for m in (one, other)]
    torch.testing.assert_close(samples[0], samples[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("captions", ["alignment", "sentence"])
def test_start_from_adds_captions(captions: str, tmp_path: Path) -> None:
    source = made(WITHOUT, 1)
    pretrained.save(source, tmp_path)
    model = made(dataclasses.replace(WITH_WORDS, captions=captions), 2)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start_from(model, str(tmp_path))
    decoder, latent = model.state_dict()["decoder.weight_ih"], MODEL.latent_size
    assert torch.equal(decoder[:, latent:], fresh["decoder.weight_ih"][:, latent:])  # what captions do is left to learn
    without_captions(model)
    assert_draws_alike(model, source)


def test_start_from_leaves_captions_behind(tmp_path: Path) -> None:
    source = made(WITH_WORDS, 1)
    pretrained.save(source, tmp_path)
    model = made(WITHOUT, 2)
    start_from(model, str(tmp_path))
    without_captions(source)
    assert_draws_alike(model, source)


def test_start_from_keeps_captions_of_the_same_words(tmp_path: Path) -> None:
    source, model = made(WITH_WORDS, 1), made(WITH_WORDS, 2)
    pretrained.save(source, tmp_path)
    start_from(model, str(tmp_path))
    assert_draws_alike(model, source)
    assert_same(model.state_dict(), source.state_dict())


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({}, True),
        ({"vocabulary": (*WORDS, "zebra")}, False),
        ({"captions": "sentence"}, False),
        ({"caption_size": 5}, False),
    ],
)
def test_start_from_begins_captions_anew(changes: dict[str, Any], fresh: bool, tmp_path: Path) -> None:
    source, model = made(WITH_WORDS, 1), made(dataclasses.replace(WITH_WORDS, **changes), 2)
    pretrained.save(source, tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start_from(model, str(tmp_path), fresh_captions=fresh)
    after = model.state_dict()
    for name in after:
        if name.startswith("conditioner"):
            assert torch.equal(after[name], before[name]), name
    latent = MODEL.latent_size
    assert torch.equal(after["decoder.weight_ih"][:, latent:], before["decoder.weight_ih"][:, latent:])
    assert torch.equal(after["decoder.weight_ih"][:, :latent], source.state_dict()["decoder.weight_ih"][:, :latent])
    without_captions(model)
    without_captions(source)
    assert_draws_alike(model, source)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 9}, {"latent_size": 4}, {"grid_size": 4}, {"write_grid_size": 4}, {"frames": 4}, {"channels": 3},
     {"attention": "global"}, {"content": "shared"}],
)  # fmt: skip
def test_start_from_another_size_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    """An overlap would put, say, deviations where means belong."""
    pretrained.save(made(MODEL, 1), tmp_path)
    (name,) = changes
    with pytest.raises(UserError, match=rf"train\.start_from: .* model\.{name} "):
        start_from(made(dataclasses.replace(MODEL, **changes), 2), str(tmp_path))


def test_start_from_with_other_steps_and_layers(tmp_path: Path) -> None:
    source = made(MODEL, 1)
    pretrained.save(source, tmp_path)
    model = made(dataclasses.replace(MODEL, draw_steps=4, layers=2, write_grid_size=MODEL.grid_size), 2)
    start_from(model, str(tmp_path))
    videos, noise = torch.rand(2, *MODEL.shape), model.noise(2, seed=3)
    first = model(videos, noise=noise, return_canvases=True).canvases[:, 1]
    torch.testing.assert_close(first, source(videos, noise=noise[:, :2]).videos)


def test_a_canvas_of_zeros_stays_zero(tmp_path: Path) -> None:
    pretrained.save(made(dataclasses.replace(MODEL, canvas="learned"), 1), tmp_path)
    model = made(MODEL, 2)
    start_from(model, str(tmp_path))
    assert model.first_canvas.tolist() == [[[0.0]]]


def test_run_that_starts_from_another(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step is computed with the other's weights; on resuming, with the run's own, and the other may go."""
    shutil.copytree(whole, tmp_path / "source")
    config = changed(train__start_from=str(tmp_path / "source"), train__log_every=1, train__seed=5)
    out = go(config, tmp_path / "run")
    assert metrics(out)[0]["L_X"] < metrics(go(changed(config, train__start_from=None), tmp_path / "b"))[0]["L_X"]
    shutil.rmtree(tmp_path / "source")
    go(changed(config, train__max_steps=12), out, resume=True)
    assert state(out)["state"]["step"] == 12


@pytest.mark.parametrize("word", ["diagonally", None])
def test_a_run_keeps_the_words_of_the_model_that_it_starts_from(word: str | None, tmp_path: Path) -> None:
    """Where it needs no others; then the caption layers that know them are kept, too. On resuming, as well."""
    words = tuple(sorted({*"0123456789", "and", "digit", "down", "is", "left", "moving", "right", "up"}))
    source = made(dataclasses.replace(WITH_WORDS, vocabulary=(*words, word) if word else words[1:]), 1)
    pretrained.save(source, tmp_path / "source")
    model = dataclasses.replace(WITH_WORDS, vocabulary=())
    config = changed(model=model, train__start_from=str(tmp_path / "source"), train__learning_rate=1e-9)
    out = go(config, tmp_path / "run")
    kept = pretrained.load(out)
    assert kept.config.vocabulary == (source.config.vocabulary if word else words)
    if word:
        torch.testing.assert_close(kept.state_dict(), source.state_dict(), atol=1e-6, rtol=1e-5)
    shutil.rmtree(tmp_path / "source")
    go(changed(config, train__max_steps=12), out, resume=True)
    assert pretrained.load(out).config == kept.config


def test_only_inference_is_trained(whole: Path, tmp_path: Path) -> None:
    """What encodes learns; what draws stays as it is, so the same noise gives the same samples."""
    config = changed(train__start_from=str(whole), train__only_inference=True, train__ema=0.5)
    out = go(config, tmp_path / "run")
    before, after = load_file(whole / "model.safetensors"), load_file(out / "model.safetensors")
    learned = {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert learned == {"read_parameters", "encoder", "posterior"}
    assert torch.equal(pretrained.load(whole).generate(2), pretrained.load(out).generate(2))
    # Broken off and resumed, it is the same; and the model that it began from may go.
    halves = go(changed(config, train__max_steps=6), tmp_path / "halves")
    go(config, halves, resume=True)
    assert_same(load_file(halves / "model.safetensors"), after)


@pytest.mark.parametrize("name", ["only_inference", "cluster_from"])
def test_what_needs_a_trained_model_says_so(name: str) -> None:
    with pytest.raises(UserError, match=rf"train\.{name} needs a trained model: name it with train\.start_from"):
        TrainConfig(**{name: 1})
