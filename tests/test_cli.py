"""The command line: what each command writes and says; and every mistake answered by one sentence and exit status 2."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cyclopts import App
from PIL import Image

from making_clips import textures, write_clip
from syncdraw import SyncDrawConfig, cards, cli, drawing, exploring, media, pretrained, read_video, wordings
from syncdraw.apps import rating
from syncdraw.apps.rating import making
from syncdraw.building import build
from syncdraw.config import AttentionConfig, CaptionConfig
from syncdraw.datasets.bouncing_mnist import MNIST_FOLDER, BouncingMNISTConfig
from syncdraw.datasets.prepared import PreparedClips
from syncdraw.evaluation import caption_reader
from syncdraw.model import SyncDraw
from syncdraw.training import own_clips, recipes, run, stages
from syncdraw.training.settings import OptimizerConfig, RunConfig, TrainConfig, dataset_of
from syncdraw.training.trackers import WeightsAndBiases

TINY = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
WORDS = (*"0123456789", "and", "diagonally", "digit", "down", "is", "left", "moving", "right", "up")
ALIGNED = dataclasses.replace(TINY, captions=CaptionConfig(route="alignment", size=4, vocabulary=WORDS))
THREE, SEVEN = "digit 3 is moving left and right", "digit 7 is moving up and down"
BOUNCING = BouncingMNISTConfig(shape=(3, 1, 32, 32), clips=20)
SETTINGS = {
    "model": {k: v for k, v in dataclasses.asdict(TINY).items() if v != dataclasses.asdict(SyncDrawConfig())[k]},
    "bouncing": {"shape": [3, 1, 32, 32], "clips": 20},
    "train": {"max_steps": 2, "batch_size": 2},
}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of the shipped ones' names, but tiny."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    kept = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(BOUNCING)}
    for name, config in {"mnist1": TINY, "mnist1-captions": ALIGNED, "mnist2-captions": ALIGNED}.items():
        pretrained.save(build(config), folder / name, about=f"about {name}", metrics={"-ELBO": "12 nats"}, **kept)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs measure two held-out clips, not hundreds; a reader of captions learns for five steps."""
    monkeypatch.setattr(run, "VALIDATION_CLIPS", 2)
    monkeypatch.setattr(caption_reader, "STEPS", 5)


@pytest.fixture(autouse=True)
def folder(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the tiny models in the place of the shipped ones."""
    monkeypatch.setattr(cards, "SHIPPED", shop)
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
    monkeypatch.setattr(run, "fit", None)


# --- Help ------------------------------------------------------------------------------------------------------------

OPTIONS = {
    "generate": "CAPTIONS --model --num --seed --temperature -o --out --captions_file --steps --frames --scale --fps "
    "--device",
    "train": "RECIPE --out --resume --config --prepared --tracker --device --data --model.frames "
    "--model.captions.route --bouncing.digits --train.max_steps --train.accumulate --train.optimizer.ema "
    "--train.start.model judge mnist1 paper/mnist1-captions",
    "train judge": "--folder --steps --batch_size --seed",
    "train sprite_reader": "--folder --steps --batch_size --seed",
    "evaluate": "bounds captions distances compare",
    "evaluate bounds": "MODEL --data --split --clips --seed --refine_steps --importance_samples --json_file --device",
    "evaluate captions": "MODEL --data --samples --seed --temperature --json_file --device",
    "evaluate distances": "MODEL --data --samples --seed --temperature --i3d --trust_i3d --json_file --device",
    "evaluate compare": "MODELS --data --samples --seed --json_file --device",
    "export": "MODEL -o --out",
    "prepare": "folder kth ucf101 tgif vgan weizmann sprites",
    "prepare folder": "SOURCE -o --out --frames --file_column --caption_column --check --workers --quiet",
    "prepare kth": "SOURCE -o --out --frames --actions --check",
    "prepare ucf101": "SOURCE -o --out --fold --check",
    "prepare tgif": "SOURCE -o --out --download --no-one_person --check",
    "prepare vgan": "SOURCE -o --out --list_file --check",
    "prepare sprites": "SOURCE -o --out --actions --ground --check",
    "prepare weizmann": "SOURCE -o --out --frames --mirror --check",
    "models": "--json",
    "picture": "MODEL KIND samples canvases compare alignment curves --caption --video --num --seed --beside "
    "-o --out --scale",
    "reconstruct": "MODEL VIDEO --caption --seed -o --out --scale --fps",
    "push": "MODEL NAME --license --measured --private",
    "interpolate": "CAPTIONS --model --seeds --num -o --out --scale --fps",
    "reproduce": "table1",
    "reproduce table1": "-o --out --budget --batch_size --test_clips --seeds --paper_start --device smoke full",
    "demo": "MODELS --host --port",
    "rate": "STUDY SOURCES --report --csv --clips --per_rater --examples --seed --fps --host --port",
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
    joined = re.sub(r" *│\n│ +(?=\.)", "", output.out)  # a long name goes on in the next line
    words = set(re.split(r"[\s,.│]+(?= |$)|[\s,\[\]│]+", joined, flags=re.MULTILINE))
    assert set(OPTIONS[command].split()) <= words
    assert output.err == ""
    assert "Raises" not in output.out  # of the docstring, the part that is for users


def commands(app: App, name: str = "") -> set[str]:
    """The names of all commands, those of commands included."""
    found = {name} if name else set()
    for inner in app:
        if not inner.startswith("-"):
            found |= commands(app[inner], f"{name} {inner}".strip())
    return found


def test_every_command_has_help_tested_here() -> None:
    assert commands(cli.app) == set(OPTIONS)


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """In each command's help, each name is followed by words."""
    for command in OPTIONS:
        cli.main([*command.split(), "--help"])
        for line in capsys.readouterr().out.splitlines():
            assert not re.fullmatch(r"│ (\*  )?--?[\w.-]+( -o)?( [A-Z|]+)* *(\[.*\])? *│", line), (command, line)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview(arguments: list[str], ok: Any) -> None:
    shown = ok(*arguments)
    names = {name.split()[0] for name in OPTIONS}
    assert all(re.search(rf"^│ {name} +\w", shown, re.MULTILINE) for name in names)


WITHOUT_TORCH = [
    "", "--help", "--version", "generat", "generate --nmu 3", "generate 'digit 3 flies'", "train --help",
    "train mnst1", "train mnist1 --train.max_stpes 3", "evaluate bounds --help", "prepare kth --help",
    "picture m smaples", "reproduce table1 --help", "rate --help", "rate nowhere", "models",
]  # fmt: skip


def test_nothing_waits_for_torch_that_needs_none(folder: Path) -> None:
    """It takes two seconds to import. One process does all of them, and says which was the first that imported it."""
    code = (
        "import sys, shlex; from syncdraw.cli import main\n"
        "for arguments in sys.argv[1:]:\n"
        "    try: main(shlex.split(arguments))\n"
        "    except SystemExit: pass\n"
        "    print(f'done: {arguments}')\n"
        "    if 'torch' in sys.modules: sys.exit(f'torch is imported by: {arguments}')"
    )
    done = subprocess.run([sys.executable, "-c", code, *WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^done: (.*)$", done.stdout, re.MULTILINE) == WITHOUT_TORCH


def test_version(ok: Any) -> None:
    assert re.match(r"syncdraw \d+\.\d+\.\d+, torch \d", ok("--version"))


def test_as_a_module() -> None:
    """In a process of its own: the exit status, and nothing on standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "syncdraw", "generat"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("syncdraw: error: unknown command 'generat': did you mean generate? Commands are ")
    assert done.stderr.count("\n") == 1


# --- generate --------------------------------------------------------------------------------------------------------


def test_generate_from_nothing(ok: Any, folder: Path) -> None:
    assert re.fullmatch(r"wrote syncdraw\.gif \(1 video, seed 0, drawn in \d+\.\d s\)\n", ok("generate"))
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
    load = pretrained.load_any
    monkeypatch.setattr(pretrained, "load_any", lambda name, **options: loaded.append(name) or load(name, **options))
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
        "digit-1-seed0-4.gif",
        "digit-3-is-moving-left-and-right-seed0-1.gif",
        "digit-3-is-moving-left-and-right-seed0-2.gif",
        "digit-7-is-moving-up-and-down-seed0-3.gif",
        "the-digit-1-seed0-5.gif",
    ]
    ok("generate", "--num", "2", "-o", "nothing")
    assert sorted(path.name for path in (folder / "nothing").iterdir()) == ["video-seed0-1.gif", "video-seed0-2.gif"]


def test_names_of_files() -> None:
    wanted = {"a b": "a-b", "a-b": "a-b", "": "video", "ä/../ö": "ä-ö", "x" * 200: "x" * 80}
    assert {caption: drawing.file_name(caption) for caption in wanted} == wanted
    names = [drawing.file_name(caption) for caption in ("../../etc", "a/b", ".", "-")]
    assert not [name for name in names if "/" in name or name.startswith(".")]


def test_a_sample_is_found_again_by_its_seed_and_number(ok: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are drawn, with however many at once."""
    ok("generate", "--num", "5", "--seed", "3", "-o", "five", "--scale", "1")
    monkeypatch.setattr(drawing, "_VALUES_AT_ONCE", 2 * 3 * 32 * 32)
    ok("generate", "--num", "4", "--seed", "3", "-o", "four", "--scale", "1")
    assert len(content(folder / "four")) == 4
    for name, data in content(folder / "four").items():
        assert (folder / "five" / name).read_bytes() == data


def test_many_videos_are_drawn_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    generate = SyncDraw.generate

    def counted(self: SyncDraw, what: Any, **options: Any) -> torch.Tensor:
        sizes.append(what if isinstance(what, int) else len(what))
        return generate(self, what, **options)

    monkeypatch.setattr(SyncDraw, "generate", counted)
    videos = drawing.drawn(pretrained.load("mnist1"), None, 10**10, seed=0, temperature=1.0)
    assert [next(videos).shape for _ in range(150)] == [(3, 1, 32, 32)] * 150
    assert sizes == [100, 100]


def test_drawing_steps_as_an_animation(ok: Any, folder: Path) -> None:
    ok("generate", "--steps", "-o", "steps.webp", "--scale", "1")
    video, _ = read_video(folder / "steps.webp")
    canvases = pretrained.load("mnist1").generate(1, seed=0, return_canvases=True)[0]
    assert video.shape == (2 * 3, 1, 32, 32)
    torch.testing.assert_close(video, canvases.flatten(0, 1), atol=0.501 / 255, rtol=0)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("digit 7", "digit 7"),
        ("seven", "digit 7"),
        ("7", "digit 7"),
        ("The digit 7 is moving diagonally.", "digit 7 is moving diagonally"),
        ("7 left", "digit 7 is moving left and right"),
        ("digit 7 moves up", "digit 7 is moving up and down"),
        ("Digit 0 is moving up and down, and the digit 1 is moving left and right.",
         "digit 0 is moving up and down and digit 1 is moving left and right"),
        ("two and three", "digit 2 and digit 3"),
        ("2, 3 down", "digit 2 and digit 3 is moving up and down"),
    ],
)  # fmt: skip
def test_captions_that_are_understood(typed: str, meant: str) -> None:
    assert wordings.understood(typed) == meant


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("digit 3 flies", "digit 3"),
        ("digit -1", "digit 1"),
        ("digit 7\ufe0f\u20e3", "digit 7"),
        ("\U0001d7df", "digit 7"),
        ("digit 12", "digit 1"),
        ("digt 3 is movin left and rigth", "digit 3 is moving left and right"),
        ("digit 3 is moving up and digit 5 is moving sdeways", "digit 3 is moving"),
        ("nonsense", "digit 3 is moving left and right"),
        ("", "digit 3 is moving left and right"),
    ],
)
def test_captions_that_are_refused(typed: str, nearest: str, wrong: Any) -> None:
    for options in ([], ["--model", "mnist1-captions"]):
        assert f"did you mean '{nearest}" in wrong("generate", typed, *options)


def test_captions_of_a_file(ok: Any, folder: Path) -> None:
    path = captions_file(folder, f"{THREE}\n\n{SEVEN}\r\n")
    for option in (["--captions_file", path], ["--captions-file", path], [f"--captions-file={path}"]):
        assert "(4 videos," in ok("generate", *option, "--num", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nmu", "3"], "Unknown option: --nmu. Did you mean --num?"),
        (["--num", "three"], "Invalid value for --num: 'three' is no whole number"),
        (["--num", "1.5"], "Invalid value for --num: '1.5' is no whole number"),
        (["--num", "0"], 'Invalid value "0" for --num. Must be >= 1.'),
        (["--num", "10000000000"], "syncdraw.gif would hold 10,000,000,000 videos, and has room for"),
        (["--num", "10000"], "has room for 7,569 of this size"),  # that a side is too long is said before all are drawn
        (["--temperature", "-1"], 'Invalid value "-1.0" for --temperature. Must be >= 0'),
        (["--temperature", "nan"], "--temperature"),
        (["--num"], "parameter --num requires an argument"),
        (["--out", "a.gif", "--out", "b.gif"], "Parameter --out specified multiple times"),
        (["--model", "mnist"], "unknown model 'mnist': did you mean mnist1?"),
        (["--model", "zebra"], "unknown model 'zebra': shipped are mnist1, mnist1-captions, mnist2-captions"),
        (["--device", "cudda"], 'Invalid value "cudda" for --device. Choose from: "auto", "cpu", "cuda", "mps".'),
        (["--fps", "0"], "frames_per_second must be from 0.01 to 1000, not 0.0"),
        (["--scale", "0"], "--scale"),
        (["--scale", "100"], "scale must be"),
        (["-o", "a.xyz"], "not .xyz"),
        (["-o", "/dev/null/a.gif"], "cannot write /dev/null/a.gif"),
        (["--captions_file", "none.txt"], "cannot read none.txt"),
        (["digit 3 flies"], "the caption 'digit 3 flies' is not understood; did you mean 'digit 3'?"),
        (["someone walks"], f"'someone walks' is not understood; did you mean {THREE!r}"),
        ([THREE, f"{THREE} and {SEVEN}"], "captions must all name as many digits as the first"),
        ([THREE, "--model", "mnist1"], "model mnist1 draws without captions"),
        (["--model", "mnist1-captions"], "model mnist1-captions draws from captions: give one, such as 'digit 3"),
        (["one zebra", "--model", "mnist1-captions"], "'one zebra' is not understood"),
        (["", "--model", "mnist1-captions"], "'' is not understood"),
        (["--seed", "1e99"], "--seed: '1e99' is no whole number"),
        (["--seed", "1.5"], "--seed: '1.5' is no whole number"),
        (["--seed", "99999999999999999999999"], "--seed"),
        (["--seed", "-1"], '"-1" for --seed. Must be >= 0'),
    ],
)
def test_generate_of_bad_input(arguments: list[str], message: str, wrong: Any, folder: Path) -> None:
    assert message in wrong("generate", *arguments)
    assert content(folder) == {}


@pytest.mark.parametrize("text", [b"", b"\n  \n", b"\xff\xfe\x00"])
def test_bad_captions_file(text: bytes, wrong: Any, folder: Path) -> None:
    (folder / "captions.txt").write_bytes(text)
    assert "captions.txt" in wrong("generate", "--captions_file", "captions.txt")


def test_full_disk(wrong: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.gif").write_bytes(b"the old one")

    def full(self: Path, *args: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert wrong("generate", "-o", "a.gif") == "cannot write a.gif: No space left on device"
    assert content(folder) == {"a.gif": b"the old one"}


def test_any_failure_of_the_disk(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no one has thought of it."""

    def failing(*_: Any, **__: Any) -> str:
        raise OSError(errno.EIO, "Input/output error", "/dev/sda")

    monkeypatch.setattr(pretrained, "load_any", failing)
    assert wrong("generate") == "/dev/sda: Input/output error"


def test_interruption(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "load_any", interrupted)
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
    for command in (["generate", "--model", "mine"], ["evaluate", "bounds", "mine"], ["picture", "mine", "samples"]):
        assert "mine/model.safetensors is damaged" in wrong(*command)


# --- train -----------------------------------------------------------------------------------------------------------


def test_train_and_use_the_run(ok: Any, folder: Path) -> None:
    shown = ok("train", recipe(folder), "--out", "runs/mine")
    assert "wrote runs/mine: syncdraw generate --model runs/mine draws" in shown
    ok("generate", "--model", "runs/mine")
    assert "nats per video" in ok("evaluate", "bounds", "runs/mine", "--clips", "2")
    ok("train", "--resume", "--out", "runs/mine", "--train.max_steps", "3")
    assert pretrained.load_card("runs/mine")["trained"]["steps"] == 3


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be trained: the recipe, the run folder, and whether it is resumed."""
    calls: list[Any] = []

    def instead(recipe: Any, out: Path, *, resume: bool, device: str | None, trackers: list[Any]) -> Path:
        calls.append((recipe, str(out), resume, *trackers))
        return out

    monkeypatch.setattr(stages, "train_recipe", instead)
    return calls


def test_a_tracker_is_named(ok: Any, wrong: Any, taken: list[Any]) -> None:
    ok("train", "mnist1", "--tracker", "wandb")
    assert taken[0][3:] == (WeightsAndBiases,)
    assert "--tracker" in wrong("train", "mnist1", "--tracker", "comet")


def test_command_line_goes_before_the_recipe(ok: Any, folder: Path, taken: list[Any]) -> None:
    (folder / "more.yaml").write_text("train:\n  optimizer:\n    ema: 0.5\n  batch_size: 3\n")
    options = ["--train.max_steps=9", "--config", "more.yaml", "--train.batch_size", "2", "--model.canvas", "learned"]
    options += ["--model.attention.smooth-start", "true", "--train.start.cluster_from", "none"]
    ok("train", recipe(folder), *options)
    (made, out, resume) = taken[0]
    assert [stage.config for stage in made.stages] == [
        RunConfig(
            model=dataclasses.replace(TINY, canvas="learned", attention=AttentionConfig(smooth_start=True)),
            bouncing=BOUNCING,
            train=TrainConfig(max_steps=9, batch_size=2, optimizer=OptimizerConfig(ema=0.5)),
        )
    ]
    assert (out, resume) == ("runs/recipe", False)
    ok("train", "paper/mnist1", "--out=x")
    assert taken[1][1] == "x"
    assert taken[1][0].stages[0].config.train.max_steps == 50_000
    ok("train", "mnist2", "--train.optimizer.learning_rate", "3e-4")
    assert taken[2][1] == "runs/mnist2"
    assert len(taken[2][0].stages) > 1
    assert {stage.config.train.optimizer.learning_rate for stage in taken[2][0].stages} == {0.0003}


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_every_recipe_is_valid(name: str, ok: Any, taken: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_clips, "with_own_clips", lambda *_, **__: {})  # data of others are not here
    ok("train", name)
    for stage in taken[0][0].stages:
        assert stage.config != RunConfig()
        if stage.config.data == "bouncing_mnist":
            # The shape is the data's; a recipe says nothing of it, or the same.
            assert stage.config.model.shape in (SyncDrawConfig().shape, dataset_of(stage.config, "train").shape)


def test_stages_are_trained_and_resumed(ok: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As README says: the same command with --resume goes on, by the settings that the run began with."""
    (folder / "two.yaml").write_text(
        yaml.safe_dump(
            {**SETTINGS, "stages": [{"name": "draw"}, {"name": "sharpen", "train": {"divergence_weight": 4.0}}]}
        )
    )
    real = stages.train
    trained: list[str] = []

    def broken(config: RunConfig, out: Path, **options: Any) -> Path:
        trained.append(out.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(config, out, **options)

    monkeypatch.setitem(stages.train_recipe.__kwdefaults__, "train", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "two.yaml", "--train.seed", "7"])
    assert stopped.value.code == 130
    ok("train", "two.yaml", "--resume")
    assert trained == ["1-draw", "2-sharpen", "2-sharpen"]
    card = pretrained.load_card("runs/two")
    assert card["trained"]["steps"] == 4
    assert card["recipe"] == "two"
    assert yaml.safe_load((folder / "runs/two/stages/2-sharpen/config.yaml").read_text())["train"]["seed"] == 7
    ok("picture", "runs/two", "curves", "-o", "curves.png")


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to train: a recipe, such as mnist1, or --data"),
        (["--out", "x"], "say what to train"),
        (["--out"], "parameter --out requires an argument"),
        (["--resume"], "say which run to go on with"),
        (["paper/mnist"], "unknown recipe 'paper/mnist': did you mean paper/mnist"),
        (["mnst2"], "unknown recipe 'mnst2': did you mean mnist2?"),
        (["zebra"], "unknown recipe 'zebra': Recipes are draw-mnist"),
        (["none.yaml"], "recipe none.yaml does not exist"),
        (["paper/mnist1", "--train.max_stpes", "3"], "--train.max_stpes. Did you mean --train.max_steps?"),
        (["paper/mnist1", "--train.optimiser.ema", "0"], "Did you mean --train.optimizer.ema?"),
        (["paper/mnist1", "--train.max_steps", "x"], "Invalid value for --train.max_steps: 'x' is no whole number"),
        (["paper/mnist1", "--train.max_steps", "2.5"], "Invalid value for --train.max_steps: '2.5' is no whole number"),
        (["paper/mnist1", "--train.max_steps", "0"], "train.max_steps is 0; it must be a whole number, 1 or more"),
        (
            ["paper/mnist1", "--train.accumulate", "3"],
            "train.batch_size is 100; it must be a multiple of train.acc",
        ),
        (
            ["mnist2-captions", "--train.accumulate", "2"],
            "gradient_ratio compares all clips of a batch at once",
        ),
        (
            ["vgan-mnist", "--train.accumulate", "2"],
            "the batch norm of a VGAN needs the whole batch at",
        ),
        (["paper/mnist1", "--train.max_steps", "3", "--train.max_steps", "4"], "--train.max_steps specified multiple"),
        (["paper/mnist1", "--train.optimizer.ema", "nan"], "train.optimizer.ema is nan; it must be at least 0"),
        (
            ["paper/mnist1", "--model.attention.smooth_start", "maybe"],
            'Invalid value "maybe" for --model.attention.smooth_start. Choose from: True, False.',
        ),
        (["paper/mnist1", "--model.prior.kind", "flat"], '--model.prior.kind. Choose from: "standard", "caption"'),
        (["paper/mnist1", "--ou", "x"], "--ou. Did you mean --out?"),  # else the run would lie in runs/mnist1
        (["paper/mnist1", "paper/mnist2"], "'paper/mnist2' is one argument too many"),
        (["paper/mnist1", "--config", "none.yaml"], "none.yaml"),
        (["paper/mnist1", "--resume", "--out", "x"], "x holds no run to resume"),
        (["--resume", "--out", "x"], "x holds no run to resume"),
        (["paper/mnist1", "--data", "nowhere"], "--data nowhere is not a folder"),
        (["paper/mnist1", "--data", "bouncing_mnst"], "or bouncing_mnist"),
        (["paper/mnist1", "--device", "cuda:9"], "--device"),
        (["paper/mnist1", "--out", "/dev/null/x"], "cannot write into /dev/null/x: Not a directory"),
    ],
)
def test_train_of_bad_input(arguments: list[str], message: str, wrong: Any, folder: Path) -> None:
    assert message in wrong("train", *arguments)
    assert content(folder) == {}


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle:\n  frames: 3\n", "modle is no setting; did you mean model?"),
        ("trian: {}\n", "trian is no setting; did you mean train?"),
        ("resume: true\n", "resume is no setting"),
        ("model:\n  framse: 3\n", "model.framse is no setting; did you mean model.frames?"),
        ("model:\n  frames: three\n", "model.frames is 'three': input should be a valid integer"),
        ("model:\n  frames: 3.5\n", "model.frames is '3.5': "),
        ("model:\n  frames: 0\n", "model.frames is 0; it must be a whole number, 1 or more"),
        ("model:\n  attention:\n    kind: fram\n", "input should be 'frame', 'global' or 'cuboid'"),
        ("train:\n  optimizer:\n    final_learning_rate: fast\n", "train.optimizer.final_learning_rate is 'fast': "),
        ("bouncing:\n  digits: 0\n", "digits must be a whole number of at least 1"),
        ("model: 3\n", "model is '3'; it must be a section of settings"),
        ("train:\n", "train is 'None'; it must be a section of settings"),
        ("- 1\n- 2\n", "it must hold sections such as model and train"),
        ("3", "it must hold sections such as model and train"),
        ("", "it must hold sections such as model and train"),
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
    (folder / "run" / "state" / "training.bin").write_bytes(b"damaged")
    assert "run/state/training.bin cannot be resumed from" in wrong("train", "--resume", "--out", "run")
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


def test_a_model_of_captioned_clips_knows_an_example(ok: Any, wrong: Any, folder: Path) -> None:
    for number in range(4):
        write_clip(folder / "clips" / f"{number}.gif", textures(3, number))
        (folder / "clips" / f"{number}.txt").write_text("a cat runs")
    ok("train", recipe(folder, model__captions={"route": "alignment", "size": 4}), "--data", "clips", "--out", "run")
    assert pretrained.load_card("run")["example"] == "a cat runs"
    assert "draws from captions: give one, such as 'a cat runs'" in wrong("generate", "--model", "run")
    ok("generate", "a cat runs", "--model", "run", "-o", "cat.gif")


def test_own_clips_choose_the_settings(ok: Any, folder: Path, taken: list[Any]) -> None:
    """Captions are learned where most clips have one, colours where there are any, unless somebody says otherwise."""
    for number in range(4):
        write_clip(folder / "grey" / f"{number}.gif", textures(12, number)[..., :1].repeat(3, -1))
        write_clip(folder / "clips" / f"{number}.gif", textures(12, number))
    (folder / "clips" / "captions.csv").write_text("file,caption\n0.gif,a wave\n1.gif,a square\n2.gif,a dot\n")
    small = ["--model.height", "32", "--model.width", "32"]
    shown = ok("train", "--data", "clips", *small)
    assert "3 of 4 clips have captions, which are learned word by word; --model.captions.route none" in shown
    assert "the clips are in colour; --model.channels 1 makes them grey" in shown
    (config,) = [stage.config for stage in taken[0][0].stages]
    assert (config.model.captions.route, config.model.channels) == ("alignment", 3)
    assert PreparedClips(config.data).shape == (10, 3, 32, 32)
    assert taken[0][1] == "runs/folder"
    shown = ok("train", "--data", "clips", *small, "--model.captions.route", "none", "--model.channels", "1")
    assert "--model." not in shown
    (config,) = [stage.config for stage in taken[1][0].stages]
    assert (config.model.captions.route, config.model.channels) == ("none", 1)
    assert PreparedClips(config.data).shape == (10, 1, 32, 32)
    shown = ok("train", "--data", "grey", *small)
    assert "0 of 4 clips have captions: the model draws without; --model.captions.route alignment" in shown
    assert "the clips are in grey; --model.channels 3 makes them colour" in shown


def test_frames_have_the_shape_of_the_clips(ok: Any, folder: Path, taken: list[Any]) -> None:
    """Of about as many pixels as 64 x 64; what somebody says goes before."""
    for number in range(4):
        write_clip(folder / "wide" / f"{number}.gif", textures(8 + number, number, height=40, width=80))
    shown = ok("train", "--data", "wide")
    assert "frames are learned as 92 x 46; --model.width and --model.height choose the size" in shown
    assert "are padded" not in shown
    assert "there are clips of no more than 8 frames, so 8 are learned; --model.frames chooses" in shown
    assert PreparedClips(taken[0][0].stages[0].config.data).shape == (8, 3, 46, 92)
    shown = ok("train", "--data", "wide", "--model.width", "32", "--model.frames", "4")
    assert "learned as" not in shown
    assert "so 8 are learned" not in shown
    assert PreparedClips(taken[1][0].stages[0].config.data).shape == (4, 3, 64, 32)
    write_clip(folder / "wide" / "0.gif", textures(9, 0, height=80, width=40))
    shown = ok("train", "--data", "wide")
    assert "frames are learned as 92 x 46" in shown
    assert "such as 40 x 80, are padded; syncdraw prepare folder --fit crop cuts them instead" in shown


@pytest.mark.parametrize(
    ("sizes", "learned"),
    [
        ([(64, 64)], (64, 64)),
        ([(120, 160)], (54, 72)),
        ([(1080, 1920)], (46, 82)),
        ([(1920, 1080)], (82, 46)),
        ([(144, 180)], (56, 70)),
        ([(120, 160), (1080, 1920), (120, 160)], (54, 72)),
        ([(10, 4000)], (32, 128)),
        ([(4000, 10)], (128, 32)),
    ],
)
def test_sizes_that_are_learned(sizes: list[tuple[int, int]], learned: tuple[int, int]) -> None:
    assert own_clips._learned_size(sizes) == learned


def test_folder_without_clips(wrong: Any, folder: Path) -> None:
    (folder / "clips").mkdir()
    assert "clips has no clips" in wrong("train", recipe(folder), "--data", "clips", "--out", "run")
    assert not (folder / "run").exists()


# --- evaluate, models, picture, prepare ------------------------------------------------------------------------------


def test_evaluate(ok: Any, folder: Path) -> None:
    shown = ok("evaluate", "bounds", "mnist1", "--clips", "3", "--json_file", "numbers.json")
    values = json.loads((folder / "numbers.json").read_text())
    assert values["clips"] == 3
    for protocol in ("binary", "grey"):
        assert f"{values[protocol]['negative_elbo']:.1f}" in shown
    assert "wrote numbers.json" in shown
    assert "importance" not in shown
    assert "refined" not in shown
    tighter = ok("evaluate", "bounds", "mnist1", "--clips", "3", "--importance_samples", "4")
    assert "importance-weighted bound, binary, 4 samples for each clip: " in tighter
    refined = ok("evaluate", "bounds", "mnist1", "--clips", "2", "--refine_steps", "4", "--json_file", "refined.json")
    values = json.loads((folder / "refined.json").read_text())
    protocol, bound = values["trained_for"], values["refined"]["negative_elbo"]
    assert bound < values[protocol]["negative_elbo"]
    expected = f"with Q refined for each clip by 4 gradient steps, {protocol}: -ELBO {bound:.1f} +- "
    assert expected in refined


def test_evaluate_a_model_of_levels(ok: Any, wrong: Any, folder: Path) -> None:
    """It is measured under all three protocols, in bits per dimension as well."""
    levels = dataclasses.replace(TINY, protocol="levels")
    pretrained.save(build(levels), folder / "run", data="bouncing_mnist", bouncing=dataclasses.asdict(BOUNCING))
    shown = ok("evaluate", "bounds", "run", "--clips", "3", "--json_file", "numbers.json")
    values = json.loads((folder / "numbers.json").read_text())
    for protocol in ("binary", "grey", "levels"):
        assert f"{values[protocol]['negative_elbo']:.1f}" in shown
    bits = values["levels"]["negative_elbo"] / math.prod(levels.shape) / math.log(2)
    assert values["bits_per_dimension"]["negative_elbo"] == pytest.approx(bits)
    assert f"Under levels, -ELBO is {bits:.3f} bits per dimension" in shown
    assert values["levels"]["entropy_floor"] == 0


def test_what_captions_tell_of_clips_without_digits(ok: Any, wrong: Any, folder: Path) -> None:
    words = {"circle": 40, "square": 200}
    for number, (word, grey) in enumerate(list(words.items()) * 5):
        write_clip(folder / "clips" / f"{number}.gif", textures(3, grey))
        (folder / "clips" / f"{number}.txt").write_text(f"a digit {number % 10} and {word}")
    ok("prepare", "folder", "clips", "-o", "ready", "--frames", "3", "--height", "32", "--width", "32", "--quiet",
       "--test_share", "0.5")  # fmt: skip
    pretrained.save(
        build(dataclasses.replace(ALIGNED, captions=CaptionConfig("alignment", 4, (*WORDS, "a", "circle", "square")))),
        folder / "own", data=str(folder / "ready"), bouncing={},
    )  # fmt: skip
    shown = ok("evaluate", "captions", "own", "--json_file", "a.json")
    values = json.loads((folder / "a.json").read_text())
    assert f"captions tell {values['gap']:.1f} +- " in shown
    assert values["gap"] == pytest.approx(values["wrong"] - values["right"], abs=1e-3)
    assert "draws without captions" in wrong("evaluate", "captions", "mnist1", "--data", "ready")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bounds"], "parameter MODEL requires an argument"),
        (
            ["bonds", "mnist1"],
            "unknown command 'bonds': did you mean bounds? Commands are bounds, captions, compare, distances",
        ),
        (["bounds", "mnist"], "unknown model 'mnist': did you mean mnist1?"),
        (["bounds", "mnist1", "--clips", "0"], '"0" for --clips. Must be >= 1'),
        (["bounds", "mnist1", "--clips", "x"], "--clips: 'x' is no whole number"),
        (["bounds", "mnist1", "--split", "tset"], '"tset" for --split. Choose from: "train", "validation", "test".'),
        (["bounds", "mnist1", "--data", "nowhere"], "nowhere is not a prepared folder"),
        (["bounds", "mnist1", "--json_file", "."], "cannot write '.'"),
        (["captions", "mnist1", "--samples", "0"], '"0" for --samples. Must be >= 1'),
        (["captions", "mnist1", "--samples", "99999"], "samples is 99999; it must be from 1 to 10000"),
        (["captions", "mnist1", "--smaples", "3"], "--smaples. Did you mean --samples?"),
        (["captions", "mnist1", "--seed", "-1"], '"-1" for --seed. Must be >= 0'),
    ],
)
def test_evaluate_of_bad_input(arguments: list[str], message: str, wrong: Any) -> None:
    assert message in wrong("evaluate", *arguments)


def test_a_file_of_numbers_that_is_a_folder_is_refused_before_anything_is_measured(wrong: Any, folder: Path) -> None:
    for command in (["bounds", "nowhere"], ["compare", "nowhere"]):
        said = wrong("evaluate", *command, "--json_file", str(folder))
        assert said == f"cannot write {folder}: it is a folder; give a path that ends in a name, such as out.json"


def test_numbers_are_printed_even_if_they_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", "bounds", "mnist1", "--clips", "1", "--json_file", "/dev/null/a.json"])
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert "nats per video" in output.out
    assert "syncdraw: error: cannot write /dev/null/a.json" in output.err


def test_models(ok: Any) -> None:
    """What each draws, its size and how to draw with it fit on a screen; all else is asked for."""
    lines = ok("models").splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 130
    for name in ("mnist1", "mnist1-captions", "mnist2-captions"):
        size = cards.SHIPPED.joinpath(name, "model.safetensors").stat().st_size / 1e6
        (about,) = [line for line in lines if line.startswith(f"{name} ")]
        assert about.endswith(f"about {name} ({size:.1f} MB)")
    for line in lines:
        if "syncdraw generate" in line:
            assert "wrote" in ok(*shlex.split(line)[1:])
    known = json.loads(ok("models", "--json"))
    assert known["mnist1"]["metrics"] == {"-ELBO": "12 nats"}


def test_models_takes_no_argument(wrong: Any) -> None:
    assert "'mnist1' is one argument too many" in wrong("models", "mnist1")


def test_output_that_nobody_reads(shop: Path) -> None:
    """`syncdraw models | head -1` ends quietly."""
    code = f"from syncdraw import cards, cli; cards.SHIPPED = cards.Path({str(shop)!r})\ncli.main(['models'])"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_out_of_memory(error: Exception, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(pretrained, "load_any", full)
    assert wrong("generate").startswith("there is not enough memory; lower --num")
    monkeypatch.setattr(stages, "train_recipe", full)
    assert wrong("train", "mnist1").startswith("training does not fit in memory: lower train.batch_size")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "load_any", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("a fault")))
    with pytest.raises(RuntimeError, match="a fault"):
        cli.main(["generate"])


def test_picture(ok: Any, wrong: Any, folder: Path) -> None:
    assert ok("picture", "mnist1", "canvases", "-o", "a.png") == "wrote a.png\n"
    assert (folder / "a.png").is_file()
    assert 'Invalid value "sample" for KIND. Choose from: "samples"' in wrong("picture", "mnist1", "sample")
    assert "KIND requires an argument" in wrong("picture", "mnist1")
    media.save_video(torch.zeros(2, 1, 32, 32), "short.gif")
    assert "short.gif has 2 frames; 3 are needed" in wrong("picture", "mnist1", "read_windows", "--video", "short.gif")
    (folder / "no.gif").write_bytes(b"GIF89a and nothing")
    assert "no.gif" in wrong("picture", "mnist1", "read_windows", "--video", "no.gif")


def test_a_clip_of_any_size_is_read_and_drawn_again(ok: Any, wrong: Any, folder: Path) -> None:
    media.save_video(torch.rand(7, 3, 40, 50, generator=torch.Generator().manual_seed(1)), "large.webp")
    shown = ok("reconstruct", "mnist1", "large.webp", "-o", "again.webp", "--scale", "1")
    model = pretrained.load("mnist1")
    clip = exploring.read_clip(model, "large.webp")
    assert clip.shape == (1, 3, 1, 32, 32)
    found = exploring.reconstruct(model, clip)
    assert f"L_X {found.reconstruction.item():.1f}, L_Z {found.divergence.item():.1f} nats" in shown
    video, _ = read_video(folder / "again.webp")
    torch.testing.assert_close(video[..., :32], clip[0], atol=0.501 / 255, rtol=0)
    torch.testing.assert_close(video[..., -32:], found.videos[0], atol=0.501 / 255, rtol=0)
    assert "model mnist1-captions draws from captions" in wrong("reconstruct", "mnist1-captions", "large.webp")
    ok("reconstruct", "mnist1-captions", "large.webp", "--caption", "seven")


def test_interpolate(ok: Any, wrong: Any, folder: Path) -> None:
    ok("interpolate", "--seeds", "3", "4", "--num", "5", "-o", "walk.png")
    model = pretrained.load("mnist1")
    walk = exploring.interpolate(model, seeds=(3, 4), count=5)
    for place, seed in ((0, 3), (-1, 4)):
        torch.testing.assert_close(walk[place], model.generate(1, seed=seed)[0])
    steps = walk.diff(dim=0).flatten(1).norm(dim=1)
    assert (steps < (walk[-1] - walk[0]).norm()).all()
    ok("interpolate", "seven", "3 left", "--seeds", "2", "2")
    model = pretrained.load("mnist1-captions")
    walk = exploring.interpolate(model, ["digit 7", THREE], seeds=(2, 2), count=4)
    for place, caption in ((0, "digit 7"), (1, "digit 7"), (2, THREE), (3, THREE)):
        torch.testing.assert_close(walk[place], model.generate([caption], seed=2)[0])
    assert "it must have 2 or more" in wrong("interpolate", "--num", "1")
    assert "has room for" in wrong("interpolate", "--num", "10000000000")
    assert "give one or two" in wrong("interpolate", "1", "2", "3", "--model", "mnist1-captions")


def test_prepare(ok: Any, wrong: Any, folder: Path) -> None:
    for number in range(4):
        write_clip(folder / "my clips" / f"{number}.gif", textures(12, number))
    assert "4 clips from 4 files" in ok("prepare", "folder", "my clips", "--check", "--quiet")
    assert not (folder / "data").exists()
    shown = ok("prepare", "folder", "my clips", "--height", "16", "--quiet")
    assert "wrote data/my clips: train on it with --data data/my clips" in shown
    assert PreparedClips(folder / "data" / "my clips").shape == (10, 1, 16, 64)
    assert "unknown command 'kht': did you mean kth?" in wrong("prepare", "kht", "x")
    assert "SOURCE requires an argument" in wrong("prepare", "folder")
    assert "--height: '16.5' is no whole number" in wrong("prepare", "folder", "my clips", "--height", "16.5")
    assert "nowhere is not a folder" in wrong("prepare", "folder", "nowhere")


def test_a_check_that_finds_no_clip_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        write_clip(folder / "short" / f"{number}.gif", textures(2, number))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["prepare", "folder", "short", "--check", "--quiet"])
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert "1.gif: too short (it has 2 frames, a clip needs 10: 8 are missing)" in output.out
    assert "no clip could be cut from 2 files; the first of 2 problems is 0.gif: too short" in output.err


def test_prepare_takes_the_options_of_a_data_set(ok: Any, folder: Path) -> None:
    write_clip(folder / "clips" / "a.gif", textures(12))
    (folder / "clips" / "captions.csv").write_text("Datei,Inhalt\na.gif,a square\n")
    options = ["--file_column", "datei", "--caption_column", "inhalt", "--quiet"]
    assert "1 clips from 1 files (1 train), 1 with a caption" in ok("prepare", "folder", "clips", "--check", *options)


def test_prepare_weizmann(ok: Any, wrong: Any, folder: Path) -> None:
    for name in ("ido_bend.avi", "ido_wave1.avi", "eli_bend.avi", "eli_wave1.avi"):
        write_clip(folder / "films" / name, textures(20, len(name)))
    write_clip(folder / "films" / "ido_walk_dog.avi", textures(20))
    shown = ok("prepare", "weizmann", "films", "--quiet")
    assert "4 clips from 4 files (4 train), 4 with a caption" in shown
    assert "0 of 4 pairs of a person and an action are kept from training" in shown
    assert "ido_walk_dog.avi: not named as Weizmann's films are (daria_bend.avi): left out" in shown
    clips = PreparedClips(folder / "data" / "weizmann")
    assert clips.shape == (10, 3, 56, 70)
    assert "person 4 is waving one hand" in clips.told()
    (folder / "empty").mkdir()
    assert "empty has no films of Weizmann such as daria_bend.avi" in wrong("prepare", "weizmann", "empty")


def test_a_terminal_that_knows_ascii_alone(folder: Path) -> None:
    write_clip(folder / "clips" / "caf\u00e9.gif", textures(12))
    write_clip(folder / "clips" / "\u00fc.gif", textures(2))
    command = [sys.executable, "-m", "syncdraw", "prepare", "folder", "clips", "--check"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"\\xfc.gif: too short" in done.stdout
    assert b"Traceback" not in done.stderr


# --- reproduce -------------------------------------------------------------------------------------------------------


def test_reproduce_says_what_there_is(wrong: Any) -> None:
    assert "unknown command 'table2': did you mean table1?" in wrong("reproduce", "table2")
    assert '"0" for --seeds. Must be >= 1' in wrong("reproduce", "table1", "--seeds", "0")
    for budget in ("huge", "1.5", "0", "-3"):
        said = wrong("reproduce", "table1", "--budget", budget)
        assert said == f"Invalid value for --budget: '{budget}' is no whole number above 0, nor smoke or full"


# --- rate ------------------------------------------------------------------------------------------------------------


def test_rate(ok: Any, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study is made where there are sources, then served; options that would be passed over are complaints."""
    called: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for place, name in ((making, "create_study"), (rating, "serve_study"), (rating, "report_study")):
        monkeypatch.setattr(place, name, lambda *a, name=name, **k: called.append((name, a, k)))
    ok("rate", "study", "real:mnist1", "mnist1", "--clips", "3", "--seed", "2", "--port", "0")
    ok("rate", "study", "--host", "0.0.0.0")
    ok("rate", "study", "--report", "--csv", "a.csv", "--seed", "4")
    assert called == [
        ("create_study", (Path("study"), ["real:mnist1", "mnist1"]), {"clips": 3, "seed": 2}),
        ("serve_study", (Path("study"),), {"port": 0}),
        ("serve_study", (Path("study"),), {"host": "0.0.0.0"}),
        ("report_study", (Path("study"),), {"csv": Path("a.csv"), "seed": 4}),
    ]
    for arguments, message in (
        (["--clips", "3"], "--clips is for a new study; name its sources with it"),
        (["--seed", "3"], "--seed is for a new study"),
        (["--csv", "a.csv"], "--csv is for a report; add --report"),
        (["--report", "--port", "80"], "--port is for a study that is served; leave out --report"),
        (["mnist1", "--report"], "leave the sources out"),
    ):
        assert message in wrong("rate", "study", *arguments)
    assert len(called) == 4
