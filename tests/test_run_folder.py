"""A run on disk: broken off anywhere it is repaired, damaged it says so in a sentence, and nobody's files are lost."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import zipfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import damaging
import forking
import killing
from syncdraw import UserError, pretrained
from syncdraw.building import build
from syncdraw.config import CaptionConfig
from syncdraw.files import atomic_path
from syncdraw.training import RunConfig, run_folder
from syncdraw.training.run_folder import RunFolder, write_yaml
from syncdraw.training.settings import as_dict
from training_runs import (
    ALIGNED,
    MODEL,
    RUN,
    PowerCutError,
    assert_same_run,
    before_step,
    broken_off,
    changed,
    content,
    cut,
    go,
    metrics,
    model_step,
    state,
)

STATE = Path("state/training.bin")


pytestmark = pytest.mark.usefixtures("quickly")


def refused(config: RunConfig, out: Path, resume: bool = True) -> str:
    """The sentence with which a run is refused; nothing in the folder has changed."""
    before = content(out) if out.is_dir() else None
    with pytest.raises(UserError) as caught:
        go(config, out, resume=resume)
    assert before is None or content(out) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Broken off while it saves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [6, 11])
@pytest.mark.parametrize("place", ["before the model", "between weights and card"])
def test_a_save_that_is_broken_off_is_repaired(
    place: str, step: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the last save, after which there is no step left to do."""
    out, original = tmp_path / "run", os.replace
    file = "model.safetensors" if place == "before the model" else "config.json"

    def breaking(source: Any, target: Any) -> None:
        if Path(target) == out / file and state(out)["step"] == step:
            cut()
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", breaking)
        with pytest.raises(PowerCutError):
            go(RUN, out)
    assert state(out)["step"] == step
    assert model_step(out) == {6: 3, 11: 9}[step]
    if place == "between weights and card":
        with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
            pretrained.load(out)
    steps = [0]
    with monkeypatch.context() as patch:
        before_step(patch, step, lambda: steps.append(model_step(out)))
        go(RUN, out, resume=True)
    assert steps[1:] == ([6] if step == 6 else [])  # the repair comes before any step
    assert_same_run(out, whole)


def test_state_and_model_know_each_other(whole: Path) -> None:
    card, written = pretrained.load_card(whole), (whole / STATE).read_bytes()
    assert card["trained"]["state"] == written[:32].hex() == hashlib.sha256(written[32:]).hexdigest()
    weights = (whole / "model.safetensors").read_bytes()
    assert state(whole)["weights"] == card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["trained"]["steps"] == state(whole)["step"]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["missing", "of a step before", "damaged"])
def test_a_model_that_is_not_of_the_state_is_repaired(
    file: str, damage: str, copy: Path, whole: Path, tmp_path: Path
) -> None:
    """And one that is, is left alone."""
    if damage == "of a step before":
        before = go(changed(RUN, {"train.max_steps": 3}), tmp_path / "before")
        shutil.copy(before / file, copy / file)
    elif damage == "damaged":
        (copy / file).write_bytes((copy / file).read_bytes()[:-9])
    else:
        (copy / file).unlink()
    go(RUN, copy, resume=True)
    assert_same_run(copy, whole)
    pretrained.load(copy)
    left = content(copy)
    go(RUN, copy, resume=True)
    assert content(copy)[file] == left[file]


def test_a_state_of_before_does_not_undo_the_model(copy: Path, whole: Path, tmp_path: Path) -> None:
    """Nothing that breaks off leaves it so; somebody put it back."""
    shutil.copy(broken_off(RUN, tmp_path / "before", 7) / STATE, copy / STATE)
    assert "model.safetensors is of step 11, but" in refused(RUN, copy)
    (copy / "config.json").unlink()  # as it is said
    go(RUN, copy, resume=True)
    assert_same_run(copy, whole)


def test_killed_for_good() -> None:
    """A few of the kills of tests/killing.py, in the last two saves and at random."""
    done = forking.run(killing.main, ["--random", "1", "--saves", "1", "--places", "4"])
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["runs that ended otherwise"] == 0
    assert counts["kills, as a file takes its place"] == counts["runs, as a file takes its place"] == 4
    assert counts["runs, while it saves"] == counts["runs, at random"] == 1


def write_half(path: Path) -> None:
    path.write_bytes(b"half")
    cut()


def test_what_a_killed_process_left_is_swept_away(copy: Path, whole: Path, tmp_path: Path) -> None:
    names = ["config.yaml", "config.json", "model.safetensors", "metrics.jsonl", "state/training.bin",
             "samples/step_0000003.gif"]  # fmt: skip
    for name in names:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("syncdraw.files.remove_tree", lambda folder, inside: None)  # killed, it removes nothing
            with pytest.raises(PowerCutError), atomic_path(copy / name) as path:
                write_half(path)
    mine = [copy / ".config.yaml.backup", copy / ".git", copy / "state" / ".notes", copy / ".metrics.jsonl.abc"]
    for folder in mine:
        folder.mkdir()
        (folder / "precious").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    (copy / ".config.json.abcdefgh").symlink_to(tmp_path / "elsewhere")
    hidden = {path for path in copy.rglob(".*") if path.name != ".lock"}
    assert len(hidden) == len(names) + len(mine) + 1
    go(RUN, copy, resume=True)
    assert {path for path in copy.rglob(".*") if path.name != ".lock"} == set(mine)
    assert all((folder / "precious").read_text() == "mine" for folder in [*mine, tmp_path / "elsewhere"])
    for folder in mine:
        shutil.rmtree(folder)
    assert_same_run(copy, whole)


# --- What may not be resumed, and what is never overwritten ----------------------------------------------------------


def test_existing_run_is_left_alone(copy: Path) -> None:
    assert refused(RUN, copy, resume=False) == (
        f"{copy} already holds a run (state/training.bin); add --resume to continue it, or choose another folder"
    )


def test_folder_of_a_model_is_left_alone(tmp_path: Path) -> None:
    pretrained.save(build(MODEL), tmp_path)
    assert "already holds a run (model.safetensors)" in refused(RUN, tmp_path, resume=False)


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert "holds no run to resume; start it without --resume" in refused(RUN, tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_lost_state_does_not_begin_anew_over_the_model(copy: Path) -> None:
    (copy / STATE).unlink()
    assert "training.bin is missing, without which the run cannot be resumed" in refused(RUN, copy)


def test_a_run_of_the_version_before_says_how_to_go_on(copy: Path) -> None:
    """Its state had no checksum, and other names for what is in it."""
    torch.save({"state": {"step": 11}}, copy / "state" / "training.pt")
    (copy / STATE).unlink()
    (copy / "config.yaml").write_text("model:\n  window_start: smooth\n")
    message = refused(RUN, copy)
    assert message == (
        f"{copy} was trained by an older version, whose state cannot be resumed; begin a new run from its model with "
        f"--train.start.model {copy}"
    )
    assert "already holds a run (state/training.pt)" in refused(RUN, copy, resume=False)


def own(folder: Path, asking: Connection) -> None:
    with RunFolder(folder).owned():
        asking.send("owned")
        asking.recv()


def test_the_owner_of_a_folder_is_named(tmp_path: Path) -> None:
    """Whether the second run begins anew or goes on; and once the first has ended, the folder is free."""
    ours, theirs = multiprocessing.Pipe()
    owner = forking.Forked(own, tmp_path / "run", theirs)
    try:
        assert ours.recv() == "owned"
        for resume in (False, True):
            assert refused(RUN, tmp_path / "run", resume) == (
                f"process {owner.pid} is training in {tmp_path / 'run'}; wait for it, or choose another folder"
            )
    finally:
        owner.process.kill()
        assert owner.end(timeout=60).returncode == -signal.SIGKILL
    go(changed(RUN, {"train.max_steps": 1}), tmp_path / "run")
    assert (tmp_path / "run" / ".lock").read_text() == f"process {os.getpid()}"


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "samples", "state", "tensorboard", "stages"])
def test_links_in_a_strangers_run_folder_are_not_written_through(name: str, copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    if name in (".lock", "metrics.jsonl"):
        target.write_text("mine")
        (copy / name).unlink()
    else:
        target.mkdir()
        (target / "file").write_text("mine")
        shutil.rmtree(copy / name, ignore_errors=True)
    before = content(tmp_path)
    (copy / name).symlink_to(target)
    with pytest.raises(UserError, match=rf"{name} is a link; a run writes into its own folder alone"):
        go(changed(RUN, {"train.max_steps": 13}), copy, resume=True)
    (copy / name).unlink()
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "elsewhere"),
        ("bouncing.combinations", "seen"),
        ("bouncing.extra_motions", 0.5),
        ("model.hidden_size", 9),
        ("model.canvas", "learned"),
        ("model.attention.kind", "global"),
        ("model.protocol", "binary"),
        ("train.seed", 1),
        ("train.batch_size", 4),
    ],
)
def test_resuming_another_run_is_refused(name: str, value: Any, copy: Path) -> None:
    message = refused(changed(RUN, {name: value}), copy)
    assert message.startswith(f"{name} is {value!r}, but the run in {copy} began with ")


def test_muon_cannot_come_or_go_within_a_run(copy: Path) -> None:
    config = changed(RUN, {"train.max_steps": 13, "train.optimizer.matrix_learning_rate": 1e-3})
    assert "the run began without train.optimizer.matrix_learning_rate" in refused(config, copy)


def test_other_words_are_refused(tmp_path: Path) -> None:
    config = changed(RUN, {"model": ALIGNED, "train.max_steps": 1})
    go(config, tmp_path / "run")
    other = changed(config, {"model.captions": CaptionConfig(route="alignment", size=4, vocabulary=("digit", "is"))})
    assert refused(other, tmp_path / "run").startswith("model.captions.vocabulary is ['digit', 'is'], but the run")


# --- Damage ----------------------------------------------------------------------------------------------------------


def signed(saved: Any) -> bytes:
    """A state as `save_state` writes it, from whatever a stranger puts into it."""
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


def bomb() -> bytes:
    """A state of few bytes that unpacks to many."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    assert len(packed.getvalue()) < 20_000
    return hashlib.sha256(packed.getvalue()).digest() + packed.getvalue()


def changed_state(path: Path, place: str, value: Any) -> bytes:
    saved = RunFolder(path).load_state()
    *names, last = [int(name) if name.isdigit() else name for name in place.split("/")]
    part: Any = saved
    for name in names:
        part = part[name]
    part[last] = value
    return signed(saved)


WRONG_STATES: dict[str, Any] = {
    "empty": lambda path: b"",
    "short": lambda path: b"short",
    "truncated": lambda path: (path / STATE).read_bytes()[:-100],
    "longer": lambda path: (path / STATE).read_bytes() + b"\0",
    "noise": lambda path: np.random.default_rng(0).bytes(5000),
    "a list": lambda path: signed([1, 2, 3]),
    "nothing": lambda path: signed({}),
    "a bomb": lambda path: bomb(),
    "no archive": lambda path: hashlib.sha256(b"text").digest() + b"text",
    **{
        f"{place} is {name}": lambda path, place=place, value=value: changed_state(path, place, value)
        for place, name, value in [
            ("step", "None", None),
            ("step", "2.5", 2.5),
            ("step", "True", True),
            ("step", "30 digits", 10**30),
            ("step", "negative", -1),
            ("seconds", "nan", math.nan),
            ("seconds", "text", "long"),
            ("window", "numbers", [1.0]),
            ("window", "of another shape", [torch.zeros(2)]),
            ("window", "whole numbers", [torch.zeros(3, dtype=torch.int64)]),
            ("model", "None", None),
            ("model", "empty", {}),
            ("model", "a list", []),
            ("model", "numbers", {"generator.first_canvas": 3}),
            ("model", "numbered", {3: torch.zeros(3)}),
            ("model/inference.posterior.bias", "of another shape", torch.zeros(2)),
            ("model/inference.posterior.bias", "nan", torch.full((6,), math.nan)),
            ("model/inference.posterior.bias", "text", "bias"),
            ("average", "empty", []),
            ("average/0", "of another shape", torch.zeros(2)),
            ("average/0", "None", None),
            ("optimizers", "empty", []),
            ("optimizers/0", "None", None),
            ("optimizers/0/0", "None", None),
            ("optimizers/0/77", "one too many", {}),
            ("optimizers/0/0/exp_avg", "of another shape", torch.zeros(2)),
            ("optimizers/0/0/exp_avg", "a number", 3.0),
            ("optimizers/0/0/exp_avg", "whole numbers", torch.zeros(5, 8, dtype=torch.int64)),
            ("optimizers/0/0/step", "a vector", torch.zeros(3)),
            ("optimizers/0/0/more", "one too many", torch.zeros(3)),
        ]
    },
}


@pytest.mark.parametrize("damage", WRONG_STATES)
def test_damaged_state(damage: str, copy: Path) -> None:
    (copy / STATE).write_bytes(WRONG_STATES[damage](copy))
    message = refused(changed(RUN, {"train.max_steps": 13}), copy)
    assert f"{copy / STATE} cannot be resumed from" in message or f"the state in {copy} cannot be resumed" in message


def test_any_flipped_bit_of_the_state_is_noticed(whole: Path, tmp_path: Path) -> None:
    good = (whole / STATE).read_bytes()
    folder, random = RunFolder(tmp_path), np.random.default_rng(0)
    (tmp_path / "state").mkdir()
    (tmp_path / STATE).write_bytes(good)
    assert folder.load_state()["step"] == 11
    for bit in [*range(0, 8 * 40, 7), *random.integers(0, 8 * len(good), 300).tolist()]:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        (tmp_path / STATE).write_bytes(bad)
        with pytest.raises(UserError, match="its checksum does not fit"):
            folder.load_state()


NESTED = "[" * 5_000 + "]" * 5_000
WRONG_CONFIGS = {
    "empty": ("", "holds no settings"),
    "unclosed": ("model: [", "cannot be read as YAML"),
    "a list": ("- 1", "holds no settings"),
    "numbered": ("1: 2", "holds no settings"),
    "a number": ("model: 3", "model is '3'; it must be a section of settings"),
    "no text": ("\x00", "cannot be read as YAML"),
    "deep": (f"model: {NESTED}", "cannot be read as YAML"),
    "a list of frames": ("model:\n  frames: {}", "model.frames is '{}'"),
    "nothing behind it": ("train:\n  max_steps:", "train.max_steps is 'None'"),
    "half a frame": ("model:\n  frames: 2.5", "model.frames is '2.5'"),
    "text for a number": ("train:\n  batch_size: many", "train.batch_size is 'many'"),
    "true for a number": ("train:\n  batch_size: true", "train.batch_size is 'True'"),
    "not a number": ("train:\n  optimizer:\n    ema: .nan", "train.optimizer.ema is nan"),
    "no final rate": ("train:\n  optimizer:\n    final_learning_rate: .nan", "final_learning_rate is nan"),
    "infinity": ("train:\n  divergence_weight: .inf", "train.divergence_weight is inf"),
    "30 digits": (f"train:\n  max_steps: {10**30}", "train.max_steps is"),
    "6000 digits": (f"train:\n  max_steps: {'9' * 6000}", "cannot be read as YAML"),
    "a date": ("data: 2020-01-01", "cannot be read as settings"),
    "unknown setting": ("model:\n  colour: red", "model.colour is no setting"),
    "unknown section": ("models: {}", "models is no setting"),
    "unknown canvas": ("model:\n  canvas: blue", "model.canvas is 'blue'"),
    "unknown protocol": ("model:\n  protocol: colour", "model.protocol is 'colour'"),
    "all memory": ("model:\n  frames: 1000000000", "no more than 67,108,864 are drawn"),
    "wide": ("model:\n  hidden_size: 1000000000", "no more than 268,435,456 are built"),
    "many steps": ("model:\n  draw_steps: 1000000000", "model.draw_steps is 1000000000; it must be 10,000 or less"),
    "many glyphs": ("bouncing:\n  digits: 1000000000", "bouncing.digits 1000000000"),
    "large clips": ("bouncing:\n  shape: [1000000000, 1, 64, 64]", "no more than 67,108,864 numbers"),
    "large batches": ("train:\n  batch_size: 100000000", "train.batch_size 100000000; no more than"),
    "laughs": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "write out what \\* stands for"),
}


@pytest.mark.parametrize("damage", WRONG_CONFIGS)
def test_damaged_config(damage: str, copy: Path) -> None:
    text, message = WRONG_CONFIGS[damage]
    (copy / "config.yaml").write_text(text)
    said = refused(RUN, copy)
    assert message.replace("\\", "") in said
    assert str(copy / "config.yaml") in said


def test_a_batch_that_no_machine_holds_is_refused_before_it_is_made(tmp_path: Path) -> None:
    message = refused(
        changed(RUN, {"bouncing.shape": (60, 1, 500, 500), "train.batch_size": 1000}), tmp_path / "run", False
    )
    assert "train.batch_size is 1000, and a clip has 15,000,000 numbers" in message
    go(changed(RUN, {"train.max_steps": 1}), tmp_path / "run")


@pytest.mark.parametrize("name", ["config.yaml", "state/training.bin", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused(kind: str, name: str, copy: Path) -> None:
    """A pipe would never end, and /dev/zero neither."""
    path = copy / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(
        UserError, match=r"is no regular file|holds no run|is a link|cannot be read|is a folder|cannot write"
    ):
        go(changed(RUN, {"train.max_steps": 13}), copy, resume=True)


WRONG_LINES = {
    "half": '{"step": 9, "L_X": 12',
    "a list": "[1]",
    "null": "null",
    "no step": '{"L_X": 1.0}',
    "text": '{"step": "9"}',
    "half a step": '{"step": 2.5}',
    "true": '{"step": true}',
    "nan": '{"step": NaN}',
    "30 digits": f'{{"step": {10**30}}}',
    "6000 digits": f'{{"step": {"9" * 6000}}}',
    "a list for a number": '{"step": 3, "L_X": [1]}',
    "deep": NESTED,
}


@pytest.mark.parametrize("damage", WRONG_LINES)
def test_damaged_metrics(damage: str, copy: Path, whole: Path) -> None:
    """Whoever reads them is told the line; a run that goes on drops what is no line."""
    with (copy / "metrics.jsonl").open("a") as file:
        file.write(WRONG_LINES[damage] + "\n")
    with pytest.raises(
        UserError, match=rf"{copy / 'metrics.jsonl'} cannot be read: line \d+ is no line of metrics"
    ) as e:
        RunFolder(copy).metrics()
    assert "\n" not in str(e.value)
    go(RUN, copy, resume=True)
    assert metrics(copy) == metrics(whole)
    assert len(RunFolder(copy).metrics()) == len(metrics(whole))


def test_no_metrics(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.jsonl is missing; curves need the folder of a run"):
        RunFolder(tmp_path).metrics()


def test_config_is_read_back_as_it_was(tmp_path: Path) -> None:
    """config.yaml is the config, whatever YAML takes a word for."""
    words = ("0", "007", "1e3", "no", "null", "on", "true", "y", "日本", "é", "0x1f", "12_3", "=", "*a", "&b", "")
    captions = CaptionConfig(route="skip-thoughts:a b: c", vocabulary=words)
    config = changed(
        RUN, {"model.captions": captions, "bouncing.glyphs": "no", "train.optimizer.final_learning_rate": 1e-7,
              "train.optimizer.learning_rate": 1e5, "train.start.model": "1", "train.max_steps": 10**12,
              "data": "2020-01-01"}
    )  # fmt: skip
    RunFolder(tmp_path).write_config(config)
    assert RunFolder(tmp_path).config() == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == as_dict(config)
    same = ("twice",)
    write_yaml(tmp_path / "twice.yaml", {"a": same, "b": same})  # no anchors, which would not be read
    assert "&" not in (tmp_path / "twice.yaml").read_text()


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-3 for text."""
    text = "train:\n  optimizer:\n    learning_rate: 1e-3\n    ema: 0\n    final_learning_rate: 1E-5\n"
    (tmp_path / "config.yaml").write_text(text)
    optimizer = RunFolder(tmp_path).config().train.optimizer
    assert (optimizer.learning_rate, optimizer.ema, optimizer.final_learning_rate) == (1e-3, 0.0, 1e-5)


# --- Full disks and other misfortunes --------------------------------------------------------------------------------


def test_full_disk_in_earnest(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses to write more than so many bytes to a file: the checkpoint from before stays."""
    out, limit = tmp_path / "run", 16_000  # bytes: samples fit into so many
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        before_step(patch, 4, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard)))
        try:
            with pytest.raises(UserError, match=r"^cannot write .*training\.bin: File too large$"):
                go(RUN, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (out / STATE).stat().st_size > limit  # else this test tests nothing
    assert state(out)["step"] == 3
    pretrained.load(out)
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]  # nothing half-written stays
    go(RUN, out, resume=True)
    assert_same_run(out, whole)


@pytest.mark.parametrize("step", [4, 10])
@pytest.mark.parametrize("file", ["training.bin", "model.safetensors", "config.json"])
def test_no_space_for_one_file(
    file: str, step: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last save, too."""
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
        before_step(patch, step, fill)
        with pytest.raises(UserError, match=rf"^cannot write {out}/.*{file}: No space left on device$"):
            go(RUN, out)
    pretrained.load(out)
    assert (out / "model.safetensors").read_bytes() == weights[0]
    go(RUN, out, resume=True)
    assert_same_run(out, whole)


def test_out_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused(RUN, tmp_path / "file", resume=False)
    assert "cannot write" in refused(RUN, tmp_path / "file" / "run", resume=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_bad_start_leaves_the_folder_free(tmp_path: Path) -> None:
    """A run that cannot begin must not stand in the way of the next attempt."""
    message = refused(changed(RUN, {"train.start.model": "nobody"}), tmp_path / "run", resume=False)
    assert message.startswith("train.start.model: unknown model 'nobody'")
    go(changed(RUN, {"train.max_steps": 1}), tmp_path / "run")


def test_weights_on_disk_are_never_broken(whole: Path) -> None:
    assert all(tensor.isfinite().all() for tensor in load_file(whole / "model.safetensors").values())
    assert run_folder.LOCK_FILE in {path.name for path in whole.iterdir()}


def test_broken_off_before_the_first_save_the_folder_is_free_for_another_run(tmp_path: Path) -> None:
    out = broken_off(RUN, tmp_path / "run", 2)
    go(changed(RUN, {"model.hidden_size": 9, "train.max_steps": 1}), out)
    assert model_step(out) == 1


def test_files_damaged_at_random() -> None:
    """A few of the damages of tests/damaging.py."""
    done = forking.run(damaging.main, ["--files=25", "--prepared=12", "--seed=7"])
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["load: sentence"] >= 3
    assert counts["read: sentence"] >= 3
