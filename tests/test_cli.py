"""The command line: what each command writes and says; and every mistake answered by one sentence and exit status 2."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

import syncdraw.train as training
from making_clips import textures, write_clip
from syncdraw import SyncDraw, SyncDrawConfig, cli, media, pretrained, read_video
from syncdraw.datasets.bouncing_mnist import MNIST_FOLDER, BouncingMNISTConfig
from syncdraw.datasets.prepared import PreparedClips

TINY = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
WORDS = (*"0123456789", "and", "digit", "down", "is", "left", "moving", "right", "up")
ALIGNED = dataclasses.replace(TINY, captions="alignment", caption_size=4, vocabulary=WORDS)
THREE, SEVEN = "digit 3 is moving left and right", "digit 7 is moving up and down"
BOUNCING = BouncingMNISTConfig(frames=3, height=32, width=32, clips=20)
SETTINGS = {
    "model": {k: v for k, v in dataclasses.asdict(TINY).items() if v != getattr(SyncDrawConfig(), k)},
    "bouncing": {"frames": 3, "height": 32, "width": 32, "clips": 20},
    "train": {"max_steps": 2, "batch_size": 2, "validation_clips": 2, "log_every": 1},
}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of the shipped ones' names, but tiny."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    kept = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(BOUNCING)}
    for name, config in {"mnist1": TINY, "mnist1-captions": ALIGNED, "mnist2-captions": ALIGNED}.items():
        pretrained.save(SyncDraw(config), folder / name, about=f"about {name}", metrics={"-ELBO": "12 nats"}, **kept)
    return folder


@pytest.fixture(autouse=True)
def folder(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the tiny models in the place of the shipped ones."""
    monkeypatch.setattr(pretrained, "SHIPPED", shop)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ok(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that succeeds; what it prints."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        cli.main(list(arguments))
        return capsys.readouterr().out

    return run


@pytest.fixture
def wrong(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail as bad input does; its one sentence."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(arguments))
        output = capsys.readouterr()
        assert stopped.value.code == 2, output.err
        assert output.err.startswith("syncdraw: error: ")
        assert output.err.count("\n") == 1
        assert output.err.endswith("\n")
        assert "Traceback" not in output.err
        assert output.out == ""
        return output.err.removeprefix("syncdraw: error: ").strip()

    return run


def recipe(folder: Path, **changes: Any) -> str:
    """A recipe file with other settings under their dotted names, with `__` for the dot."""
    settings = json.loads(json.dumps(SETTINGS))
    for name, value in changes.items():
        part, _, field = name.partition("__")
        settings[part][field] = value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def never_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins after all stops at once, and not with a UserError."""
    monkeypatch.setattr(training, "_ahead", None)


# --- Help ------------------------------------------------------------------------------------------------------------

OPTIONS = {
    "generate": "captions --model --num --seed --temperature -o --out --captions_file --scale --fps --device",
    "train": "recipe --out --resume --config --data --model.frames --bouncing.digits --train.max_steps --train.ema "
    "--train.start_from",
    "train judge": "--folder --steps --batch_size --seed",
    "evaluate": "model --data --split --clips --seed --captions --distances --samples --i3d --refine_steps "
    "--importance_samples "
    "--json_file",
    "prepare": "folder kth ucf101 tgif vgan",
    "prepare folder": "source -o --destination --config.frames --check --workers",
    "prepare kth": "source -o --destination --config.frames --actions --check",
    "prepare ucf101": "source -o --destination --check",
    "prepare tgif": "-o --destination --check",
    "prepare vgan": "source -o --destination --check",
    "models": "--help",
    "picture": "model samples canvases alignment curves --caption --video --num --seed -o --out --scale",
    "reproduce": "table1 --budget --out",
    "reproduce table1": "-o --out --budget --batch_size --test_clips --seeds --paper_start smoke full",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status: Any = 0
    try:
        cli.main([*command.split(), "--help"])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 0
    output = capsys.readouterr()
    words = set(re.split(r"[\s,\[\]{}|]+", output.out))
    assert set(OPTIONS[command].split()) <= words
    assert output.err == ""
    assert "Raises" not in output.out  # of the docstring, the part that is for users


def test_every_command_has_help_tested_here() -> None:
    assert {name.split()[0] for name in OPTIONS} == set(cli.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_overview(arguments: list[str], ok: Any) -> None:
    shown = ok(*arguments)
    assert all(re.search(rf"^  {name} +\w", shown, re.MULTILINE) for name in cli.COMMANDS)


def test_version(ok: Any) -> None:
    assert re.match(r"syncdraw \d+\.\d+\.\d+, torch \d", ok("--version"))


def test_as_a_module() -> None:
    """In a process of its own: the exit status, and nothing on standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "syncdraw", "generat"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("syncdraw: error: unknown command 'generat': did you mean generate? Commands are ")
    assert run.stderr.count("\n") == 1


# --- generate --------------------------------------------------------------------------------------------------------


def test_generate_from_nothing(ok: Any, folder: Path) -> None:
    assert re.fullmatch(r"wrote syncdraw\.gif \(1 video, drawn in \d+\.\d s\)\n", ok("generate"))
    video, rate = read_video(folder / "syncdraw.gif")
    assert video.shape == (3, 1, 128, 128)  # four times 32
    assert rate == 5
    expected = pretrained.load("mnist1").generate(1, seed=0)[0]
    torch.testing.assert_close(video[..., ::4, ::4], expected, atol=0.501 / 255, rtol=0)


def test_generate_from_a_caption(ok: Any, folder: Path) -> None:
    ok("generate", THREE, "-o", "three.gif", "--seed", "4", "--scale", "1", "--fps", "10")
    video, rate = read_video(folder / "three.gif")
    assert rate == 10
    expected = pretrained.load("mnist1-captions").generate([THREE], seed=4)[0]
    torch.testing.assert_close(video, expected, atol=0.501 / 255, rtol=0)


def test_captions_choose_the_model(ok: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = pretrained.load
    monkeypatch.setattr(pretrained, "load", lambda name, **options: loaded.append(name) or load(name, **options))
    ok("generate", f"{THREE} and {SEVEN}")
    ok("generate", THREE, SEVEN)
    ok("generate")
    assert loaded == ["mnist2-captions", "mnist1-captions", "mnist1"]


def test_the_same_seed_gives_the_same_file(ok: Any, folder: Path) -> None:
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        ok("generate", "--num", "2", "-o", f"{name}.webp", "--seed", seed)
    files = [(folder / f"{name}.webp").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_several_videos_in_one_animation(suffix: str, ok: Any, folder: Path) -> None:
    assert "(4 videos," in ok("generate", "--num", "4", "-o", f"all{suffix}")
    video, _ = read_video(folder / f"all{suffix}")
    assert len(video) == 3
    assert min(video.shape[2:]) > 2 * 128


def test_contact_sheet(ok: Any, folder: Path) -> None:
    ok("generate", "--num", "2", "-o", "sheet.png", "--scale", "1")
    width, height = Image.open(folder / "sheet.png").size
    assert width > 3 * 32
    assert height > 2 * 32


def captions_file(folder: Path, text: str) -> str:
    (folder / "captions.txt").write_text(text)
    return str(folder / "captions.txt")


def test_a_file_for_each_video(ok: Any, folder: Path) -> None:
    more = captions_file(folder, "digit 1\n\n  the digit 1 \n")
    options = ["--model", "mnist1-captions", "-o", "out", "--captions_file", more]
    assert "wrote 5 files in out " in ok("generate", THREE, THREE, f"{SEVEN}!", *options)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "digit-1.gif",
        "digit-3-is-moving-left-and-right-1.gif",
        "digit-3-is-moving-left-and-right-2.gif",
        "digit-7-is-moving-up-and-down.gif",
        "the-digit-1.gif",
    ]
    ok("generate", "--num", "2", "-o", "nothing")
    assert sorted(path.name for path in (folder / "nothing").iterdir()) == ["video-1.gif", "video-2.gif"]


def test_names_of_files() -> None:
    assert cli._names(["a b", "a-b", "", "ä/../ö", "x" * 200]) == ["a-b-1", "a-b-2", "video", "ä-ö", "x" * 80]
    names = cli._names(["../../etc", "a/b", ".", "-"])
    assert not [name for name in names if "/" in name or name.startswith(".")]


def test_captions_of_a_file(ok: Any, folder: Path) -> None:
    path = captions_file(folder, f"{THREE}\n\n{SEVEN}\r\n")
    for option in (["--captions_file", path], ["--captions-file", path], [f"--captions-file={path}"]):
        assert "(4 videos," in ok("generate", *option, "--num", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nmu", "3"], "unrecognized arguments: --nmu; did you mean --num?"),
        (["--num", "three"], "num: expected int, not three"),
        (["--num", "0"], "--num is 0; it must be 1 or more"),
        (["--temperature", "-1"], "temperature is -1.0; it must be 0 or more"),
        (["--num"], "--num: expected one argument"),
        (["--model", "mnist"], "unknown model 'mnist': did you mean mnist1?"),
        (["--model", "zebra"], "unknown model 'zebra': shipped are mnist1, mnist1-captions, mnist2-captions"),
        (["--device", "cudda"], "--device cudda cannot be used here"),
        (["--fps", "0"], "frames_per_second must be from 0.01 to 1000, not 0.0"),
        (["--scale", "0"], "scale must be"),
        (["-o", "a.xyz"], "not .xyz"),
        (["-o", "/dev/null/a.gif"], "cannot write /dev/null/a.gif"),
        (["--captions_file", "none.txt"], "--captions_file none.txt cannot be read"),
        (["digit 3 flies"], "unknown word 'flies'"),
        (["digit 3"], "is not understood, where one like 'digit 0 is moving left and right'"),
        ([THREE, f"{THREE} and {SEVEN}"], "captions must all name as many digits as the first"),
        ([THREE, "--model", "mnist1"], "model mnist1 draws without captions"),
        (["--model", "mnist1-captions"], "model mnist1-captions draws from captions"),
        (["one zebra", "--model", "mnist1-captions"], "'one'"),
        (["", "--model", "mnist1-captions"], "holds at least one word"),
        (["--seed", "1e99"], "seed"),
        (["--seed", "1.5"], "seed: expected int, not 1.5"),
        (["--seed", "99999999999999999999999"], "seed"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_generate_of_bad_input(arguments: list[str], message: str, wrong: Any, folder: Path) -> None:
    assert message in wrong("generate", *arguments)
    assert content(folder) == {}


@pytest.mark.parametrize("text", [b"", b"\n  \n", b"\xff\xfe\x00"])
def test_bad_captions_file(text: bytes, wrong: Any, folder: Path) -> None:
    (folder / "captions.txt").write_bytes(text)
    assert "--captions_file captions.txt" in wrong("generate", "--captions_file", "captions.txt")


def test_full_disk(wrong: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.gif").write_bytes(b"the old one")

    def full(self: Path, *args: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert wrong("generate", "-o", "a.gif") == "cannot write a.gif: No space left on device"
    assert content(folder) == {"a.gif": b"the old one"}


def test_any_failure_of_the_disk(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no one has thought of it."""

    def failing(captions: list[str]) -> str:
        raise OSError(errno.EIO, "Input/output error", "/dev/sda")

    monkeypatch.setattr(cli, "_suited", failing)
    assert wrong("generate") == "/dev/sda: Input/output error"


def test_interruption(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(captions: list[str]) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_suited", interrupted)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["generate"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "syncdraw: interrupted\n"


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "swapped"])
def test_corrupt_checkpoint(damage: str, wrong: Any, shop: Path, folder: Path) -> None:
    shutil.copytree(shop / "mnist1", folder / "mine")
    path = folder / "mine" / "model.safetensors"
    good = path.read_bytes()
    swapped = (shop / "mnist1-captions" / "model.safetensors").read_bytes()
    path.write_bytes({"cut": good[:-7], "noise": bytes(len(good)), "empty": b"", "swapped": swapped}[damage])
    for command in (["generate", "--model", "mine"], ["evaluate", "mine"], ["picture", "mine", "samples"]):
        assert "mine/model.safetensors is damaged" in wrong(*command)


# --- train -----------------------------------------------------------------------------------------------------------


def test_train_and_use_the_run(ok: Any, folder: Path) -> None:
    shown = ok("train", recipe(folder), "--out", "runs/mine")
    assert "wrote runs/mine: syncdraw generate --model runs/mine draws" in shown
    ok("generate", "--model", "runs/mine")
    assert "nats per video" in ok("evaluate", "runs/mine", "--clips", "2")
    ok("train", "--resume", "--out", "runs/mine", "--train.max_steps", "3")
    assert pretrained.load_card("runs/mine")["trained"]["steps"] == 3


def test_command_line_goes_before_the_recipe(ok: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(
        training, "train", lambda config, out, *, resume: taken.append((config, str(out), resume)) or Path(out)
    )
    (folder / "more.yaml").write_text("train:\n  ema: 0.5\n")
    ok("train", recipe(folder), "--train.max_steps=9", "--config", "more.yaml", "--model.canvas", "learned")
    config, out, resume = taken[0]
    assert config == training.RunConfig(
        model=dataclasses.replace(TINY, canvas="learned"),
        bouncing=BOUNCING,
        train=training.TrainConfig(max_steps=9, batch_size=2, validation_clips=2, log_every=1, ema=0.5),
    )
    assert (out, resume) == ("runs/recipe", False)
    ok("train", "paper/mnist1", "--out=x")
    assert taken[1][1] == "x"
    assert taken[1][0].train.max_steps == 50_000
    ok("train", "mnist2")
    assert taken[2][1] == "runs/mnist2"


@pytest.mark.parametrize("name", cli.recipes())
def test_every_recipe_is_valid(name: str, ok: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[training.RunConfig] = []
    monkeypatch.setattr(training, "train", lambda config, out, **options: taken.append(config) or Path(out))
    monkeypatch.setattr(cli, "_with_clips", lambda config, _: config)  # data of others are not here
    ok("train", name)
    assert taken[0] != training.RunConfig()
    if taken[0].data == "bouncing_mnist":
        assert taken[0].model.shape == training.dataset_of(taken[0], "train").shape


def test_bare_names_of_recipes() -> None:
    assert cli.find_recipe("best/mnist1") == cli.find_recipe("mnist1") == cli.RECIPES / "best" / "mnist1.yaml"
    assert cli.find_recipe("paper/mnist1") == cli.RECIPES / "paper" / "mnist1.yaml"
    assert cli.find_recipe("kth") == cli.RECIPES / "kth.yaml"


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say which run"),
        (["--out"], "say which run"),
        (["paper/mnist"], "unknown recipe 'paper/mnist': did you mean paper/mnist"),
        (["mnst2"], "unknown recipe 'mnst2': did you mean mnist2?"),
        (["zebra"], "unknown recipe 'zebra': Recipes are best/"),
        (["none.yaml"], "recipe none.yaml does not exist"),
        (["paper/mnist1", "--train.max_stpes", "3"], "--train.max_stpes; did you mean --train.max_steps?"),
        (["paper/mnist1", "--train.max_steps", "x"], "train.max_steps: expected int, not x"),
        (["paper/mnist1", "--train.max_steps", "0"], "train.max_steps is 0; it must be 1 or more"),
        (["paper/mnist1", "--model.prior", "flat"], "model.prior: expected one of ['standard', 'caption', 'network']"),
        (["paper/mnist1", "--ou", "x"], "--ou; did you mean --out?"),  # else the run would lie in runs/mnist1
        (["--out", "x", "paper/mnist1"], "'paper/mnist1' is one argument too many"),  # else it would be passed over
        (["paper/mnist1", "paper/mnist2"], "'paper/mnist2' is one argument too many"),
        (["paper/mnist1", "--config", "none.yaml"], "none.yaml"),
        (["paper/mnist1", "--resume", "--out", "x"], "leave the recipe out"),
        (["--resume", "--out", "x"], "x holds no run to resume"),
        (["paper/mnist1", "--data", "nowhere"], "--data nowhere is not a folder"),
        (["paper/mnist1", "--data", "bouncing_mnst"], "or bouncing_mnist"),
        (["paper/mnist1", "--model.frames", "5"], "[frames, channels, height, width] = [10, 1, 64, 64]"),
        (["paper/mnist1", "--out", "/dev/null/x"], "cannot write /dev/null/x/config.yaml: Not a directory"),
        (["paper/mnist1", "--train.start_from", "mnist3"], "unknown model 'mnist3': did you mean mnist"),
        (["paper/mnist1", "--train.start_from", "mnist1"], "mnist1 has model.frames 3, this model 10"),
    ],
)
def test_train_of_bad_input(arguments: list[str], message: str, wrong: Any, folder: Path) -> None:
    assert message in wrong("train", *arguments)
    assert content(folder) == {}


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle:\n  frames: 3\n", "unknown section 'modle': did you mean model?"),
        ("trian: {}\n", "unknown section 'trian': did you mean train?"),
        ("resume: true\n", "unknown section 'resume'"),
        ("model:\n  framse: 3\n", "did you mean model.frames?"),
        ("model:\n  frames: three\n", "model.frames: expected int, not three"),
        ("model:\n  frames: 3.5\n", "model.frames: expected int, not 3.5"),
        ("model:\n  frames: 0\n", "model.frames is 0; it must be 1 or more"),
        ("model:\n  attention: fram\n", "model.attention: expected one of ['frame', 'global', 'cuboid'], not fram"),
        ("train:\n  final_learning_rate: fast\n", "train.final_learning_rate: expected float, not fast"),
        ("bouncing:\n  digits: 0\n", "digits must be a whole number of at least 1"),
        ("model: 3\n", "model is 3; it must be a section of settings"),
        ("train:\n", "train is None; it must be a section of settings"),
        ("- 1\n- 2\n", "must hold the sections model, data, bouncing, train"),
        ("3", "must hold the sections"),
        ("", "must hold the sections"),
        ("model: [\n", "cannot be read as YAML"),
        ("\xff\xfe", "cannot be read as YAML"),
    ],
)
def test_bad_settings_file(text: str, message: str, wrong: Any, folder: Path) -> None:
    """As a recipe, where the sentence names the file, and as further settings."""
    (folder / "bad.yaml").write_bytes(text.encode("latin-1"))
    said = wrong("train", "bad.yaml", "--out", "x")
    assert said.startswith("bad.yaml")
    assert message in said
    assert message in wrong("train", "paper/mnist1", "--config", "bad.yaml", "--out", "x")
    assert not (folder / "x").exists()


def test_existing_run(ok: Any, wrong: Any, folder: Path) -> None:
    path = recipe(folder)
    ok("train", path, "--out", "run")
    before = content(folder / "run")
    assert "run already holds a run" in wrong("train", path, "--out", "run")
    other = ["--resume", "--out", "run", "--model.latent_size", "4"]
    assert "model.latent_size is 4, but the run in run began with 3" in wrong("train", *other)
    assert content(folder / "run") == before
    (folder / "run" / "state" / "training.pt").write_bytes(b"damaged")
    assert "run/state/training.pt cannot be resumed from" in wrong("train", "--resume", "--out", "run")
    (folder / "run" / "config.yaml").write_text("model:\n  framse: 3\n")
    assert wrong("train", "--resume", "--out", "run").startswith("run/config.yaml: ")


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize("damage", ["cut", "noise", "missing", "wrong header", "labels"])
def test_bad_idx_file(damage: str, wrong: Any, folder: Path) -> None:
    for source in MNIST_FOLDER.glob("t10k-*"):
        for part in ("t10k", "train"):  # the test digits will do for both
            shutil.copy(source, folder / source.name.replace("t10k", part))
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"
    good = images.read_bytes()
    path = labels if damage == "labels" else images
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"cut": good[:5000], "noise": b"\x1f\x8b" + bytes(99), "wrong header": b"\0\0\7\3", "labels": good}[damage]
        )
    said = wrong("train", recipe(folder, bouncing__glyphs=str(folder)), "--out", "x")
    assert path.name.removesuffix(".gz") in said
    assert not (folder / "x").exists()


def test_train_on_a_folder_of_clips(ok: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        write_clip(folder / "clips" / f"{number}.gif", textures(6, number))
    path = recipe(folder)
    shown = ok("train", path, "--data", "clips", "--out", "run")
    assert "clips from 6 files" in shown
    (place,) = (folder / "clips.prepared").iterdir()
    assert pretrained.load_card("run")["data"] == str(place)
    assert PreparedClips(place).shape == TINY.shape
    monkeypatch.chdir(folder / "clips")
    ok("train", "--resume", "--out", "../run", "--train.max_steps", "3")
    ok("train", path, "--data", ".", "--out", "../run2")  # a folder whose name is not in its path
    assert pretrained.load_card("../run2")["data"] == str(place)
    ok("train", path, "--data", ".", "--out", "../run3", "--prepared", "../cache")
    assert Path(pretrained.load_card("../run3")["data"]).parent == folder / "cache"
    monkeypatch.chdir(folder)
    ok("train", path, "--data", os.path.relpath(place), "--out", "run4")
    assert pretrained.load_card("run4")["data"] == str(place)


def test_folder_without_clips(wrong: Any, folder: Path) -> None:
    (folder / "clips").mkdir()
    assert "clips has no clips" in wrong("train", recipe(folder), "--data", "clips", "--out", "run")
    assert not (folder / "run").exists()


# --- evaluate, models, picture, prepare ------------------------------------------------------------------------------


def test_evaluate(ok: Any, folder: Path) -> None:
    shown = ok("evaluate", "mnist1", "--clips", "3", "--json_file", "numbers.json")
    values = json.loads((folder / "numbers.json").read_text())
    assert values["clips"] == 3
    for protocol in ("binary", "grey"):
        assert f"{values[protocol]['negative_elbo']:.1f}" in shown
    assert "wrote numbers.json" in shown
    assert "importance" not in shown
    assert "refined" not in shown
    tighter = ok("evaluate", "mnist1", "--clips", "3", "--importance_samples", "4")
    assert "importance-weighted bound, binary, 4 samples for each clip: " in tighter
    refined = ok("evaluate", "mnist1", "--clips", "2", "--refine_steps", "4", "--json_file", "refined.json")
    values = json.loads((folder / "refined.json").read_text())
    protocol, bound = values["trained_for"], values["refined"]["negative_elbo"]
    assert bound < values[protocol]["negative_elbo"]
    expected = f"with Q refined for each clip by 4 gradient steps, {protocol}: -ELBO {bound:.1f} +- "
    assert expected in refined


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: model"),
        (["mnist"], "unknown model 'mnist': did you mean mnist1?"),
        (["mnist1", "--clips", "0"], "clips is 0; it must be 1 or more"),
        (["mnist1", "--clips", "x"], "clips: expected int, not x"),
        (["mnist1", "--split", "tset"], "split: expected one of ['train', 'validation', 'test'], not tset"),
        (["mnist1", "--data", "nowhere"], "nowhere is not a prepared folder"),
        (["mnist1", "--captions", "--samples", "0"], "samples is 0; it must be from 1 to 10000"),
        (["mnist1", "--captoins"], "--captoins; did you mean --captions?"),
        (["mnist1", "--captions", "--seed", "-1"], "--seed is -1; it must be at least 0"),
    ],
)
def test_evaluate_of_bad_input(arguments: list[str], message: str, wrong: Any) -> None:
    assert message in wrong("evaluate", *arguments)


def test_numbers_are_printed_even_if_they_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", "mnist1", "--clips", "1", "--json_file", "/dev/null/a.json"])
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert "nats per video" in output.out
    assert "syncdraw: error: cannot write /dev/null/a.json" in output.err


def test_models(ok: Any) -> None:
    lines = ok("models").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        f"{name}: about {name} ({pretrained.SHIPPED.joinpath(name, 'model.safetensors').stat().st_size / 1e6:.1f} MB)"
        for name in ("mnist1", "mnist1-captions", "mnist2-captions")
    ]
    assert lines[1] == "    -ELBO: 12 nats"


def test_models_takes_no_argument(wrong: Any) -> None:
    assert "unrecognized arguments: mnist1" in wrong("models", "mnist1")


def test_picture(ok: Any, wrong: Any, folder: Path) -> None:
    assert ok("picture", "mnist1", "canvases", "-o", "a.png") == "wrote a.png\n"
    assert (folder / "a.png").is_file()
    assert "kind: expected one of ['samples'" in wrong("picture", "mnist1", "sample")
    assert "required: kind" in wrong("picture", "mnist1")
    media.save_video(torch.zeros(2, 1, 32, 32), "short.gif")
    assert "got videos of shape [1, 2, 1, 32, 32]; this model takes" in wrong(
        "picture", "mnist1", "read_windows", "--video", "short.gif"
    )
    (folder / "no.gif").write_bytes(b"GIF89a and nothing")
    assert "no.gif" in wrong("picture", "mnist1", "read_windows", "--video", "no.gif")


def test_prepare(ok: Any, wrong: Any, folder: Path) -> None:
    for number in range(4):
        write_clip(folder / "my clips" / f"{number}.gif", textures(12, number))
    assert "4 clips from 4 files" in ok("prepare", "folder", "my clips", "--check", "--progress", "false")
    assert not (folder / "data").exists()
    shown = ok("prepare", "folder", "my clips", "--config.height", "16", "--progress=false")
    assert "wrote data/my clips: train on it with --data data/my clips" in shown
    assert PreparedClips(folder / "data" / "my clips").shape == (10, 1, 16, 64)
    assert "unknown data set 'kht': did you mean kth?" in wrong("prepare", "kht", "x")
    assert "required: source" in wrong("prepare", "folder")
    assert "nowhere is not a folder" in wrong("prepare", "folder", "nowhere")


def test_a_check_that_finds_no_clip_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        write_clip(folder / "short" / f"{number}.gif", textures(2, number))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["prepare", "folder", "short", "--check", "--progress=false"])
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert "1.gif: too short (it has 2 frames, a clip needs 10)" in output.out  # the whole report, not its first line
    assert "no clip could be cut from 2 files; the first of 2 problems is 0.gif: too short" in output.err


def test_prepare_takes_the_options_of_a_data_set(ok: Any, folder: Path) -> None:
    write_clip(folder / "clips" / "a.gif", textures(12))
    (folder / "clips" / "captions.csv").write_text("Datei,Inhalt\na.gif,a square\n")
    options = ["--file_column", "datei", "--caption_column", "inhalt", "--progress=false"]
    assert "1 clips from 1 files (1 train), 1 with a caption" in ok("prepare", "folder", "clips", "--check", *options)


def test_a_terminal_that_knows_ascii_alone(folder: Path) -> None:
    write_clip(folder / "clips" / "caf\u00e9.gif", textures(12))
    write_clip(folder / "clips" / "\u00fc.gif", textures(2))
    command = [sys.executable, "-m", "syncdraw", "prepare", "folder", "clips", "--check"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"\\xfc.gif: too short" in done.stdout
    assert b"Traceback" not in done.stderr


# --- Switches --------------------------------------------------------------------------------------------------------


def test_switches_need_no_value() -> None:
    def function(name: str, loud: bool = False, fast: bool = True) -> tuple[str, bool, bool]:
        """Do it."""
        return name, loud, fast

    def called(*arguments: str) -> Any:
        return cli._call("x", function, list(arguments))

    assert called("a") == ("a", False, True)
    assert called("a", "--loud") == called("--loud", "a") == called("a", "--loud=true") == ("a", True, True)
    assert called("a", "--loud", "--fast", "false") == ("a", True, False)
    assert called("a", "--fast=false", "--loud", "true") == ("a", True, False)


# --- reproduce -------------------------------------------------------------------------------------------------------


def test_reproduce_says_what_there_is(wrong: Any) -> None:
    assert "unknown table 'table2'; there is table1: syncdraw reproduce table1" in wrong("reproduce", "table2")
    assert "--seeds must be 1 or more" in wrong("reproduce", "table1", "--seeds", "0")
    message = wrong("reproduce", "table1", "--budget", "huge")
    assert "budget: expected int or one of ['smoke', 'full'], not huge" in message
