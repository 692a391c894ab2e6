"""Inputs of every kind at which users stumbled, and what comes of them now.

    PYTHONPATH=src:tests python tests/cases.py

Each case makes its own small input in a folder of its own, runs the command or the function, and compares what happens
with what would be right. The table that is printed has a line for each: what was tried, what happened in version 0.1,
what happens now, and whether that is right. The exit status is 1 where a case is not right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from making_clips import Track, levels, set_display, textures, write_clip, write_tracks, write_video
from syncdraw import UserError, cli, pretrained, read_video
from syncdraw.building import build
from syncdraw.datasets.tgif import list_tgif
from syncdraw.datasets.video_folder import list_folder
from syncdraw.evaluation import caption_reader
from syncdraw.training import run_folder
from syncdraw.training.run_folder import RunFolder
from training_runs import ALIGNED, MODEL, RUN, changed, go, model_step, quick, state


class Case(NamedTuple):
    """One situation.

    Attributes:
        item: the number of the kind of fault.
        name: what is tried.
        before: what happened in version 0.1.
        try_it: does it in the folder that it is given; says what happens now, or raises AssertionError.
    """

    item: int
    name: str
    before: str
    try_it: Callable[[Path], str]


CASES: list[Case] = []


def case(item: int, name: str, before: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    def add(try_it: Callable[[Path], str]) -> Callable[[Path], str]:
        CASES.append(Case(item, name, before, try_it))
        return try_it

    return add


class Said(NamedTuple):
    """What a command said, and its exit status."""

    status: int
    out: str
    error: str

    @property
    def sentence(self) -> str:
        """The one sentence with which it refused."""
        assert self.status == 2, f"exit status {self.status}: {self.out}{self.error}"
        assert self.error.startswith("syncdraw: error: "), self.error
        assert self.error.count("\n") == 1, self.error
        return self.error.removeprefix("syncdraw: error: ").strip()


class _Terminal(io.StringIO):
    """What a terminal is taken for."""

    def isatty(self) -> bool:
        return True


def syncdraw(*arguments: str | Path, terminal: bool = False) -> Said:
    """Run a command in this process."""
    out, error, status = io.StringIO(), _Terminal() if terminal else io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            cli.main([str(one) for one in arguments])
        except SystemExit as stopped:
            status = int(stopped.code or 0)
    return Said(status, out.getvalue(), error.getvalue())


def done(said: Said) -> str:
    assert said.status == 0, said.error
    return said.out


def refusal(action: Callable[[], object]) -> str:
    """The sentence with which a function refuses."""
    with pytest.raises(UserError) as refused:
        action()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@contextlib.contextmanager
def removals() -> Iterator[list[Path]]:
    """Which folders would be removed. None is."""
    removed: list[Path] = []
    with mock.patch("shutil.rmtree", lambda folder, *_, **__: removed.append(Path(folder))):
        yield removed


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def model_in(folder: Path, config: Any = MODEL, **card: Any) -> Path:
    """A model of no time, as it was built."""
    torch.manual_seed(0)
    pretrained.save(build(config), folder, **card)
    return folder


def captions(folder: Path) -> dict[str, list[str]]:
    return {source.name: list(source.captions) for source in list_folder(folder).sources}


def problems(folder: Path) -> list[str]:
    return [str(problem) for problem in list_folder(folder).problems]


def names(folder: Path, *clips: str) -> Path:
    """Files that are listed as clips, and never decoded."""
    for name in clips:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def whole(path: Path, count: int) -> str:
    """A file has so many frames, which the grey of each tells, and `prepare` finds no fault in it."""
    video, _ = read_video(path)
    found = (video.mean((1, 2, 3)) * 255).numpy()
    np.testing.assert_allclose(found, np.arange(count) * 8, atol=4)
    listed = syncdraw("prepare", "folder", path.parent, "--check", "--quiet", "--frames", "4")
    assert "1 clips" in done(listed) or "2 clips" in listed.out or "3 clips" in listed.out, listed.out
    assert f"{path.name}: it" not in listed.out, listed.out
    return f"{count} frames"


# ---- 0: what is removed ----


@case(0, "--json_file . '' / .. a/. link/..", "the current folder, or the whole disk, was deleted")
def _(folder: Path) -> str:
    model = model_in(folder / "model")
    (folder / "a").mkdir()
    (folder / "link").symlink_to(folder / "a")
    before = content(folder)
    with removals() as removed, contextlib.chdir(folder):
        for name in (".", "", "/", "..", "a/.", "a/..", "link/.."):
            said = syncdraw("evaluate", "bounds", model, "--json_file", name).sentence
            assert "it names no file" in said or "it is a folder" in said, said
    assert removed == [], removed
    assert content(folder) == before
    return "refused: it names no file"


@case(0, "prepare -o . '' / ..", "saved by a traceback")
def _(folder: Path) -> str:
    write_clip(folder / "in" / "a.gif", textures(6))
    before = content(folder)
    with removals() as removed, contextlib.chdir(folder / "in"):
        for name in (".", "", "/", ".."):
            assert "it names no file" in syncdraw("prepare", "folder", ".", "-o", name, "--frames", "4").sentence
    assert removed == [], removed
    assert content(folder) == before
    return "refused: it names no file"


@case(0, "an output that is a link to a folder", "what it led to was emptied")
def _(folder: Path) -> str:
    model = model_in(folder / "model")
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis.txt").write_text("years")
    (folder / "link.gif").symlink_to(folder / "precious")
    syncdraw("generate", "--model", model, "-o", folder / "link.gif")
    assert (folder / "precious" / "thesis.txt").read_text() == "years"
    return "what it led to is as it was"


# ---- 1: metadata ----


@case(1, "an AVI, MP4 and MKV with a title in another code page", "unreadable")
def _(folder: Path) -> str:
    for suffix in (".avi", ".mp4", ".mkv"):
        (folder / suffix[1:]).mkdir()
        path = write_video(folder / suffix[1:] / f"clip{suffix}", levels(12), suffix, title="Zürich")
        data = path.read_bytes()
        assert "ü".encode() in data
        path.write_bytes(data.replace("ü".encode(), b"\xfc\xfe"))
        whole(path, 12)
    return "12 frames each"


# ---- 2, 3: tables of captions ----


@case(2, "columns url, path, text in any order", "a URL became the caption")
def _(folder: Path) -> str:
    names(folder, "a.mp4", "b.mp4")
    rows = {
        "captions.csv": "url,frames,text,path\nhttp://x/a,64,a dog,a.mp4\nhttp://x/b,64,a cat,b.mp4\n",
        "metadata.csv": "caption,file_name\na dog,a.mp4\na cat,b.mp4\n",
        "metadata.tsv": "prompt\tvideo\na dog\ta\na cat\tb\n",
        "metadata.jsonl": '{"text": "a dog", "file_name": "a.mp4"}\n{"file_name": "b.mp4", "text": "a cat"}\n',
        "captions.tsv": "label;clip\na dog;a.mp4\na cat;b.mp4\n",
    }
    for name, text in rows.items():
        (folder / name).write_text(text)
        assert captions(folder) == {"a.mp4": ["a dog"], "b.mp4": ["a cat"]}, name
        (folder / name).unlink()
    return "the captions, in all five"


@case(2, "a heading that nobody knows", "columns 0 and 1 were taken")
def _(folder: Path) -> str:
    names(folder, "a.mp4")
    (folder / "captions.csv").write_text("foo,bar,baz\na.mp4,64,a dog\n")
    said = problems(folder)[0]
    assert "foo, bar, baz" in said, said
    assert "caption" in said and "file" in said, said  # noqa: PT018
    named = list_folder(folder, "foo", "baz").sources[0]
    assert named.captions == ("a dog",)
    return "a complaint with the columns; --file_column and --caption_column name them"


@case(3, "commas, blanks and quotation marks that are not clean CSV", "captions cut, rows swallowed")
def _(folder: Path) -> str:
    names(folder, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    (folder / "captions.csv").write_text(
        'file,caption\na.mp4,a dog, a cat, a bird\nb.mp4, "one, two"\nc.mp4,"never closed\nd.mp4,four\n'
    )
    found = captions(folder)
    assert found["a.mp4"] == ["a dog, a cat, a bird"], found
    assert found["b.mp4"] == ["one, two"], found
    assert found["d.mp4"] == ["four"], found
    said = next(one for one in problems(folder) if "captions.csv" in one)
    assert "line 4" in said, said
    return "whole captions; line 4 is complained of, the other rows are kept"


@case(3, "tabs in .csv, semicolons, UTF-16", "not understood")
def _(folder: Path) -> str:
    names(folder, "a.mp4")
    for text in (b"file\tcaption\na.mp4\ta dog\n", b"file;caption\na.mp4;a dog\n",
                 "file,caption\na.mp4,a dog\n".encode("utf-16"), b"\xef\xbb\xbffile,caption\r\na.mp4,a dog\r\n",
                 "file;caption\na.mp4;a dog\n".encode("utf-16-le")):  # fmt: skip
        (folder / "captions.csv").write_bytes(text)
        assert captions(folder) == {"a.mp4": ["a dog"]}, text
    return "the caption, in all five"


# ---- 4 to 6: which clips there are ----


@case(4, "linked folders, circles of them", "passed over")
def _(folder: Path) -> str:
    names(folder / "out", "x.mp4")
    inside = names(folder / "in", "a.mp4")
    (inside / "link").symlink_to(folder / "out")
    (inside / "again").symlink_to(folder / "out")
    (folder / "out" / "back").symlink_to(inside)
    assert list(captions(inside)) == ["a.mp4", "again/x.mp4"]
    return "each real folder once"


@case(5, "a sound film whose sound is longer, B-frames, frames of unequal length", "called damaged")
def _(folder: Path) -> str:
    for number, (suffix, film, sound) in enumerate(
        ((".mp4", "libx264", "aac"), (".mkv", "libx264", "aac"), (".webm", "libvpx-vp9", "libopus"))
    ):
        place = folder / str(number)
        place.mkdir()
        sounds = Track(sound, 3.0)
        try:
            path = write_tracks(place / f"clip{suffix}", Track(film, levels(12), options={"bf": "2"}), sounds)
        except ValueError:  # Opus takes other rates
            path = write_tracks(place / f"clip{suffix}", Track(film, levels(12)))
        whole(path, 12)
    place = folder / "times"
    place.mkdir()
    return whole(write_video(place / "clip.mkv", levels(6), ".mkv", times=[0, 1, 5, 6, 20, 21]), 6)


@case(5, "GIFs and AVIs with a header that says another number of frames", "counted by the header")
def _(folder: Path) -> str:
    path = write_video(folder / "clip.avi", levels(12), ".avi")
    data = bytearray(path.read_bytes())
    header = data.index(b"avih") + 8 + 16
    assert int.from_bytes(data[header : header + 4], "little") == 12
    data[header : header + 4] = (400).to_bytes(4, "little")
    path.write_bytes(data)
    return whole(path, 12)


@case(6, "a test GIF of TGIF whose address has changed", "landed in train")
def _(folder: Path) -> str:
    (folder / "gifs").mkdir()
    for name in ("tumblr_a", "tumblr_b", "tumblr_c"):
        write_clip(folder / "gifs" / f"{name}.gif", textures(6))
    (folder / "data" / "splits").mkdir(parents=True)
    (folder / "data" / "tgif-v1.0.tsv").write_text(
        "".join(f"https://38.media.tumblr.com/1/{name}.gif\ta man moves\n" for name in
                ("tumblr_a", "tumblr_b", "tumblr_c"))
    )  # fmt: skip
    for split, name in (("train", "tumblr_a"), ("val", "tumblr_b"), ("test", "tumblr_c")):
        (folder / "data" / "splits" / f"{split}.txt").write_text(f"https://33.media.tumblr.com/2/{name}.gif\n")
    splits = {source.name.rpartition("/")[2]: source.split for source in list_tgif(folder).sources}
    assert splits == {"tumblr_a.gif": "train", "tumblr_b.gif": "validation", "tumblr_c.gif": "test"}, splits
    return "test: the GIF's name counts"


@case(6, "a JPEG, a page and an empty file named .gif", "damaged")
def _(folder: Path) -> str:
    Image.fromarray(textures(1)[0]).save(folder / "a.gif", "JPEG")
    (folder / "b.gif").write_bytes(b"<!DOCTYPE html><title>removed</title>")
    (folder / "c.gif").write_bytes(b"")
    said = [refusal(lambda name=name: read_video(folder / name)) for name in ("a.gif", "b.gif", "c.gif")]
    assert "a JPEG picture" in said[0] and "a web page" in said[1], said  # noqa: PT018
    return "it is a JPEG picture; a web page"


# ---- 7: kinds of videos ----


@case(7, "films mirrored and turned by their display matrix", "shown as they are stored")
def _(folder: Path) -> str:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:12, :16] = 255  # the corner at the top left
    turns = {
        "hflip": ((-1, 0, 0, 1), (0, -1)), "vflip": ((1, 0, 0, -1), (-1, 0)), "turn": ((-1, 0, 0, -1), (-1, -1)),
        "transpose": ((0, 1, 1, 0), (0, 0)), "right": ((0, 1, -1, 0), (0, -1)), "left": ((0, -1, 1, 0), (-1, 0)),
    }  # fmt: skip
    for name, (matrix, (row, column)) in turns.items():
        path = write_video(folder / f"{name}.mp4", np.stack([frame] * 4), ".mp4")
        set_display(path, *matrix)
        video = read_video(path)[0][0, 0]
        assert video.shape == ((64, 48) if matrix[0] == 0 else (48, 64)), name
        corners = {(r, c): float(video[r, c]) for r in (0, -1) for c in (0, -1)}
        assert max(corners, key=corners.__getitem__) == (row, column), (name, corners)
    return "the corner is where a player shows it"


@case(7, "a film beside cover art and a second stream", "the picture was read")
def _(folder: Path) -> str:
    cover = Track("mjpeg", np.full((1, 96, 128, 3), 200, np.uint8), "yuvj420p", av.stream.Disposition.attached_pic)
    small = Track("libx264", np.full((12, 16, 32, 3), 200, np.uint8))
    for name, other in (("clip.mp4", cover), ("clip.mkv", small)):
        (folder / name[5:]).mkdir()
        found = whole(write_tracks(folder / name[5:] / name, other, Track("libx264", levels(12))), 12)
    return found


@case(7, "animated PNG, AVIF, folders of webp, bmp and tif", "not read")
def _(folder: Path) -> str:
    pictures = [Image.fromarray(frame) for frame in textures(5)]
    read = []
    for suffix, options in ((".png", {}), (".apng", {"format": "PNG"}), (".avif", {}), (".webp", {"lossless": True})):
        path = folder / f"clip{suffix}"
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, **options)
        assert read_video(path)[0].shape == (5, 3, 48, 64), suffix
        read.append(suffix)
    for kind in ("webp", "bmp", "tif", "tiff"):
        (folder / kind).mkdir()
        for number, picture in enumerate(pictures):
            picture.save(folder / kind / f"{number}.{kind}")
        assert read_video(folder / kind)[0].shape == (5, 3, 48, 64), kind
    assert len(list_folder(folder).sources) == 8
    return "five frames each"


@case(7, "transparent clips", "black here, white there")
def _(folder: Path) -> str:
    picture = np.zeros((4, 48, 64, 4), np.uint8)
    picture[:, 8:16, 8:16] = (255, 0, 0, 255)
    picture[np.arange(4), 0, np.arange(4)] = (0, 0, 255, 255)  # or equal frames are merged
    images = [Image.fromarray(frame) for frame in picture]
    images[0].save(folder / "clip.webp", save_all=True, append_images=images[1:], lossless=True, exact=True)
    images[0].save(folder / "clip.png", save_all=True, append_images=images[1:])
    for name in ("clip.webp", "clip.png"):
        video = read_video(folder / name)[0]
        assert video[0, :, 30, 30].tolist() == [1, 1, 1], name
        assert video[0, :, 10, 10].tolist() == [1, 0, 0], name
    return "white ground in both"


# ---- 8: captions that exist ----


@case(8, "A.TXT, b.mp4.txt, captions/c.txt, a text of no clip", "not found")
def _(folder: Path) -> str:
    names(folder, "a.mp4", "b.mp4", "c.mp4")
    (folder / "captions").mkdir()
    for name in ("a.TXT", "b.mp4.txt", "captions/c.txt", "notes.txt"):
        (folder / name).write_text(f"{name[-5]}\n")
    assert all(captions(folder).values())
    assert any("notes.txt" in remark for remark in list_folder(folder).remarks)
    return "found; notes.txt is mentioned"


@case(8, "a caption without a word ('???', an emoji)", "ended the training")
def _(folder: Path) -> str:
    clips = folder / "clips"
    for number, text in enumerate(("a dog", "???", "\N{DOG FACE}", "a cat", "a bird")):
        write_clip(clips / f"{number}.gif", textures(4, number, 32, 32))
        (clips / f"{number}.txt").write_text(text, encoding="utf-8")
    said = "\n".join(problems(clips))
    assert "1.txt" in said and "2.txt" in said, said  # noqa: PT018
    trained = syncdraw("train", "--data", clips, "--out", folder / "run", *tiny_training())
    assert "wrote" in done(trained)
    return "passed over with the file's name; training goes on"


def tiny_training(frames: int = 3) -> list[str]:
    """Options of a run that takes no time."""
    model = {"frames": frames, "height": 16, "width": 16, "draw_steps": 2, "grid_size": 2, "hidden_size": 4}
    values = {f"model.{name}": value for name, value in model.items()} | {"train.max_steps": 2, "train.batch_size": 2}
    return [*itertools.chain(*((f"--{name}", str(value)) for name, value in values.items())), "--device", "cpu"]


# ---- 9, 10: places ----


@case(9, "two shapes of one folder; resumed from elsewhere", "destroyed each other; was not found")
def _(folder: Path) -> str:
    for number in range(4):
        write_clip(folder / "clips" / f"{number}.gif", textures(6, number, 32, 32))
    with contextlib.chdir(folder):
        done(syncdraw("train", "--data", "clips", "--out", "one", *tiny_training()))
        done(syncdraw("train", "--data", "clips", "--out", "two", *tiny_training(frames=4)))
    assert len(list((folder / "clips.prepared").iterdir())) == 2
    (folder / "elsewhere").mkdir()
    with contextlib.chdir(folder / "elsewhere"):
        done(syncdraw("train", "--resume", "--out", folder / "one", "--train.max_steps", "3", "--device", "cpu"))
        done(syncdraw("evaluate", "bounds", folder / "one", "--device", "cpu", "--split", "train"))
    assert model_step(folder / "one") == 3
    return "a place for each; found from anywhere"


@case(9, "own samples and runs among the clips", "became training clips")
def _(folder: Path) -> str:
    model = model_in(folder / "mine" / "model")
    done(syncdraw("generate", "--model", model, "-o", folder / "mine" / "drawn.gif"))
    go(changed(RUN, {"train.max_steps": 1}), folder / "mine" / "run")
    write_clip(folder / "mine" / "real.gif", textures(6))
    listing = list_folder(folder / "mine")
    assert [source.name for source in listing.sources] == ["real.gif"]
    said = " ".join(listing.remarks)
    assert "run" in said and "drawn.gif" in said, said  # noqa: PT018
    return "passed over, with a remark"


@case(9, "clips in a place that cannot be written", "no advice")
def _(folder: Path) -> str:
    from syncdraw.datasets import own_clips

    write_clip(folder / "clips" / "a.gif", textures(6))
    with (
        mock.patch("os.access", return_value=False),
        mock.patch.object(own_clips, "prepare", side_effect=UserError("cannot write there: Read-only file system")),
    ):
        said = refusal(lambda: own_clips.prepare_clips(folder / "clips"))
    assert "--prepared" in said
    return "name a folder with --prepared"


@case(10, "a model that is too large for the memory", "a traceback; the folder was blocked")
def _(folder: Path) -> str:
    from syncdraw.training import run as running

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")

    with mock.patch.object(running, "fit", full):
        said = refusal(lambda: go(RUN, folder / "run"))
    assert "train.batch_size" in said
    go(changed(RUN, {"train.max_steps": 1}), folder / "run")
    return "a sentence with what to lower; the same folder may be used"


# ---- 11 to 14: commands ----


@case(11, "Ctrl-C in a cell's last step of reproduce table1", "lost, and the wrong command named")
def _(folder: Path) -> str:
    from syncdraw.training.stages import one_of_several

    original = RunFolder.save_state

    def signalled(self: RunFolder, values: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        original(self, values)

    with (
        mock.patch.object(RunFolder, "save_state", signalled),
        pytest.raises(KeyboardInterrupt) as stopped,
        one_of_several("stopped in cell 1; the same command goes on"),
    ):
        go(changed(RUN, {"train.max_steps": 1}), folder / "run")
    assert "the same command goes on" in str(stopped.value)
    return str(stopped.value)


@case(12, "picture --video with a clip of any size", "refused, or ignored by canvases")
def _(folder: Path) -> str:
    model = model_in(folder / "model", data="bouncing_mnist", bouncing=dataclasses.asdict(RUN.bouncing))
    made = []
    for number in range(2):
        clip = write_video(folder / f"{number}.mp4", textures(12, number, 120, 160), ".mp4")
        for kind in ("canvases", "read_windows"):
            done(syncdraw("picture", model, kind, "--video", clip, "-o", folder / f"{kind}{number}.png"))
            made.append((folder / f"{kind}{number}.png").read_bytes())
    assert made[0] != made[2], "canvases ignores --video"
    done(syncdraw("reconstruct", model, folder / "0.mp4", "-o", folder / "again.gif"))
    done(syncdraw("interpolate", "--model", model, "-o", folder / "walk.png"))
    short = write_clip(folder / "short.gif", textures(2))
    assert "2" in syncdraw("reconstruct", model, short, "-o", folder / "x.gif").sentence
    return "fitted to the model; reconstruct and interpolate are commands"


@case(13, "'digit 7', 'seven', 'left', '7 left', 'digit 7 is moving diagonally'", "refused without --model")
def _(folder: Path) -> str:
    from syncdraw.wordings import suited_model, understood

    meant = {
        "digit 7": "digit 7", "seven": "digit 7", "7 left": "digit 7 is moving left and right",
        "Digit 7 is moving diagonally.": "digit 7 is moving diagonally",
    }  # fmt: skip
    for text, sentence in meant.items():
        assert understood(text) == sentence, (text, understood(text))
        assert suited_model([text]) == "mnist1-captions"
    for nonsense in ("digit -1", "digit \N{DOG FACE}", "a dog", "left", "digit 12", "digit 3.5", "", "and"):
        said = refusal(lambda nonsense=nonsense: understood(nonsense))
        assert "did you mean 'digit" in said, said
    return "understood; 'a dog' and 'left' are refused with the nearest that works"


@case(13, "a plain string in Python; a seed and number", "letters were taken for captions")
def _(folder: Path) -> str:
    model = build(
        dataclasses.replace(ALIGNED, captions=dataclasses.replace(ALIGNED.captions, vocabulary=("3",)))
    ).eval()
    one = model.generate("3", seed=4)
    assert len(one) == 1
    torch.testing.assert_close(model.generate(["3", "3"], seed=4)[0], one[0], atol=1e-5, rtol=1e-5)
    place = model_in(folder / "model")
    done(syncdraw("generate", "--model", place, "--num", "3", "--seed", "5", "-o", folder / "many"))
    found = sorted(path.name for path in (folder / "many").iterdir())
    assert found == [f"video-seed5-{n}.gif" for n in (1, 2, 3)], found
    return "one caption; files are named by caption, seed and number"


@case(14, "--help, --version and a typo", "2 s and more, for torch was imported")
def _(folder: Path) -> str:
    times = []
    for words in (["--help"], ["--version"], ["generat"]):
        began = time.monotonic()
        program = "import sys; from syncdraw.cli import main\ntry: main(sys.argv[1:])\n" \
                  "except SystemExit: pass\nassert 'torch' not in sys.modules"  # fmt: skip
        ended = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        times.append(time.monotonic() - began)
    lines = done(syncdraw("models")).splitlines()
    assert len(lines) <= 24, len(lines)
    assert max(map(len, lines)) <= 120, max(map(len, lines))
    assert json.loads(done(syncdraw("models", "--json")))
    return f"without torch; models is {len(lines)} lines"


# ---- 15 to 18: what was missing ----


@case(15, "a torch Dataset of one's own, and own parts", "not possible")
def _(folder: Path) -> str:
    clips = [torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8) for _ in range(6)]
    go(changed(RUN, {"train.max_steps": 2}), folder / "run", dataset=clips, evaluators=[lambda model: {"mine": 1.0}])
    assert pretrained.load(folder / "run").shape == (3, 1, 32, 32)
    return "trained, saved and loaded"


@case(18, "captions of clips without digits", "no measure")
def _(folder: Path) -> str:
    for number in range(30):
        write_clip(folder / "clips" / f"{number}.gif", textures(4, number, 32, 32))
        (folder / "clips" / f"{number}.txt").write_text(f"dog {number % 5}\nan animal\n")
    done(syncdraw("train", "--data", folder / "clips", "--out", folder / "run", *tiny_training()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caption_reader, "STEPS", 5)
        said = done(syncdraw("evaluate", "captions", folder / "run", "--samples", "4", "--device", "cpu"))
    assert "nats" in said, said
    assert "read as their own caption" in said, said
    return "what a reader of captions sees, and the bound with right and with exchanged captions"


# ---- 19 to 22: runs that are broken off ----


@case(19, "a last save that is broken off between state and model", "never repaired")
def _(folder: Path) -> str:
    replace, out = os.replace, folder / "run"

    def breaking(source: Any, target: Any) -> None:
        if Path(target).name == "model.safetensors" and (out / "state" / "training.bin").exists() \
                and state(out)["step"] == 3:  # fmt: skip
            raise KeyboardInterrupt
        replace(source, target)

    config = changed(RUN, {"train.max_steps": 3})
    with mock.patch("os.replace", breaking), contextlib.suppress(KeyboardInterrupt):
        go(config, out)
    assert not (out / "model.safetensors").exists()
    go(config, out, resume=True)
    assert model_step(out) == 3
    return "repaired by --resume"


@case(20, "a learning rate of 1e30, and of 1e6, after good steps", "the last good state was overwritten")
def _(folder: Path) -> str:
    out = go(changed(RUN, {"train.max_steps": 3}), folder / "run")
    kept = load_file(out / "model.safetensors")
    for rate in (1e30, 1e6):
        wild = changed(RUN, {"train.max_steps": 60, "train.optimizer.learning_rate": rate})
        assert "training diverged" in refusal(lambda wild=wild: go(wild, out, resume=True))
        assert state(out)["step"] == 3
        after = load_file(out / "model.safetensors")
        assert all(torch.equal(after[name], kept[name]) for name in kept)
    return "training diverged ...; the good state is kept"


@case(21, "a kill while files are written", "leftovers stayed")
def _(folder: Path) -> str:
    out = go(changed(RUN, {"train.max_steps": 3}), folder / "run")
    (out / "state" / ".training.bin.abcd1234").mkdir()
    (out / "state" / ".training.bin.abcd1234" / "training.bin").write_bytes(b"half")
    (out / ".mine").write_text("mine")
    go(changed(RUN, {"train.max_steps": 4}), out, resume=True)
    assert not (out / "state" / ".training.bin.abcd1234").exists()
    assert (out / ".mine").exists()
    return "swept away at the next start (tests/killing.py has the kills)"


@case(22, "two trainings in one folder", "both succeeded, and mixed")
def _(folder: Path) -> str:
    out = go(changed(RUN, {"train.max_steps": 1}), folder / "run")
    with RunFolder(out).owned():
        said = refusal(lambda: go(changed(RUN, {"train.max_steps": 2}), out, resume=True))
    assert f"process {os.getpid()}" in said
    return said.replace(str(folder), "")


# ---- 23 to 27: what strangers write, and large numbers ----


@case(23, "null, 2.5, nan, 30 digits, deep nesting in settings", "tracebacks")
def _(folder: Path) -> str:
    out = go(changed(RUN, {"train.max_steps": 1}), folder / "run")
    text = (out / "config.yaml").read_text()
    wrong = ["", "2.5", ".nan", "1" * 30, "[1, 2]", "'7'", "{a: 1}", "[" * 400 + "]" * 400, "true", "-3"]
    for value in wrong:
        (out / "config.yaml").write_text(re.sub(r"max_steps: \d+", f"max_steps: {value}", text))
        said = refusal(lambda: RunFolder(out).config())
        assert "max_steps" in said or "config.yaml" in said, said
    for value in ("1000000000", "-1", "1e9"):
        (out / "config.yaml").write_text(re.sub(r"frames: \d+", f"frames: {value}", text))
        refusal(lambda: RunFolder(out).config())
    return "one sentence each, with the field"


@case(23, "a bit of the state flipped, moments of another shape", "other numbers, a segmentation fault")
def _(folder: Path) -> str:
    out = go(changed(RUN, {"train.max_steps": 1}), folder / "run")
    path = out / "state" / "training.bin"
    data = bytearray(path.read_bytes())
    for place in (40, len(data) // 2, len(data) - 9):
        flipped = bytes([*data[:place], data[place] ^ 4, *data[place + 1 :]])
        path.write_bytes(flipped)
        assert "damaged" in refusal(lambda: go(changed(RUN, {"train.max_steps": 2}), out, resume=True))
    path.write_bytes(data)
    wrong = RunFolder(out).load_state()
    for held in wrong["optimizers"][0].values():
        held["exp_avg"] = torch.zeros(1)
    RunFolder(out).save_state(wrong)
    said = refusal(lambda: go(changed(RUN, {"train.max_steps": 2}), out, resume=True))
    return "refused: " + said.replace(str(folder), "")[:60]


@case(23, "YAML that stands for more than fits; fifo and /dev/zero as settings", "hung, or took all memory")
def _(folder: Path) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (folder / "bomb.yaml").write_text("\n".join(lines))
    os.mkfifo(folder / "pipe.yaml")
    (folder / "zero.yaml").symlink_to("/dev/zero")
    for name in ("bomb.yaml", "pipe.yaml", "zero.yaml"):
        syncdraw("train", folder / name, "--out", folder / "run").sentence  # noqa: B018
    return "refused: no regular file; write out what * stands for"


@case(23, "videos: a pipe, /dev/zero, a header of 2^30 pixels", "hung, or took all memory")
def _(folder: Path) -> str:
    os.mkfifo(folder / "pipe.mp4")
    (folder / "zero.gif").symlink_to("/dev/zero")
    path = write_clip(folder / "large.gif", textures(3))
    data = bytearray(path.read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    said = [refusal(lambda name=name: read_video(folder / name)) for name in ("pipe.mp4", "zero.gif", "large.gif")]
    assert "regular" in said[0] and "regular" in said[1], said  # noqa: PT018
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2e6
    return "refused at once"


@case(24, "weights with NaN or infinity", "evaluate printed a table of nan")
def _(folder: Path) -> str:
    model = build(MODEL)
    with torch.no_grad():
        next(model.parameters())[0] = float("nan")
    pretrained.save(model, folder / "model")
    said = syncdraw("evaluate", "bounds", folder / "model").sentence
    assert "holds NaN or infinity" in said
    return said.replace(str(folder), "")


@case(25, "half a character in captions.jsonl; a terminal of ASCII", "a traceback after the work was done")
def _(folder: Path) -> str:
    write_clip(folder / "clips" / "a.gif", textures(6))
    (folder / "clips" / "captions.jsonl").write_text('{"file": "a.gif", "caption": "a \\ud83d dog"}\n'
                                                      '{"file": "\\udc00.gif", "caption": "x"}\n')  # fmt: skip
    program = "import sys; from syncdraw.cli import main; main(sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", program, "prepare", "folder", str(folder / "clips"), "--frames", "4", "--quiet", "-o",
         str(folder / "out")], capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert (folder / "out" / "frames.npy").exists()
    return "replaced; what is printed is escaped"


@case(26, "a playlist, a session description and a concat list as .mkv", "read other files, waited on a socket")
def _(folder: Path) -> str:
    other = write_video(folder / "other.mp4", levels(6), ".mp4")
    texts = {
        "m3u": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{other}\n#EXT-X-ENDLIST\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "concat": f"ffconcat version 1.0\nfile '{other}'\n",
        "nested": f"#EXTM3U\nhttp://127.0.0.1:9/{other.name}\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.mkv").write_text(text)
        refusal(lambda name=name: read_video(folder / f"{name}.mkv"))
    return "none of its business: refused"


@case(26, "--i3d with a TorchScript file of somebody", "run without a question")
def _(folder: Path) -> str:
    (folder / "i3d.pt").write_bytes(b"a program")
    model = model_in(folder / "model")
    options = ("evaluate", "distances", model, "--i3d", folder / "i3d.pt")
    with mock.patch("torch.jit.load", side_effect=AssertionError("it was opened")):
        with mock.patch("sys.stdin", io.StringIO("y\n")):  # no terminal
            assert "--trust_i3d" in syncdraw(*options).sentence
        for answer in ("", "n\n", "\n"):
            with mock.patch("sys.stdin", _Terminal(answer)):
                said = syncdraw(*options, terminal=True)
            assert said.status == 2, said
            assert "was not opened" in said.error, said
    with mock.patch("sys.stdin", _Terminal("y\n")):
        assert "is not a network in TorchScript" in syncdraw(*options, terminal=True).error
    assert "is not a network in TorchScript" in syncdraw(*options, "--trust_i3d").sentence
    return "asked on a terminal; refused without one, unless --trust_i3d"


@case(26, "links in a stranger's run folder", "written through")
def _(folder: Path) -> str:
    out = go(changed(RUN, {"train.max_steps": 1}), folder / "run")
    (folder / "precious.txt").write_text("years")
    outside = folder / "outside"
    outside.mkdir()
    for name in ("metrics.jsonl", "config.yaml", "config.json", "model.safetensors"):
        held = (out / name).read_bytes()
        (out / name).unlink()
        (folder / "precious.txt").write_bytes(held)
        (out / name).symlink_to(folder / "precious.txt")
        with contextlib.suppress(UserError):
            go(changed(RUN, {"train.max_steps": 2}), out, resume=True)
        assert (folder / "precious.txt").read_bytes() == held, name
        (out / name).unlink(missing_ok=True)
        (out / name).write_bytes(held)
    shutil.rmtree(out / "samples")
    (out / "samples").symlink_to(outside)
    refusal(lambda: go(changed(RUN, {"train.max_steps": 3}), out, resume=True))
    assert list(outside.iterdir()) == []
    return "refused, or replaced by a file of the run"


@case(27, "--num 10000000000, 10,000 captions", "all memory was taken")
def _(folder: Path) -> str:
    model = model_in(folder / "model")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for out in ("x.gif", "x.mp4", "x.png"):
        assert (
            "would hold" in syncdraw("generate", "--model", model, "--num", "10000000000", "-o", folder / out).sentence
        )
    worded = model_in(folder / "worded", dataclasses.replace(
        ALIGNED, captions=dataclasses.replace(ALIGNED.captions, vocabulary=("dog",))))  # fmt: skip
    (folder / "captions.txt").write_text("dog\n" * 10_000)
    said = syncdraw("generate", "--model", worded, "--captions_file", folder / "captions.txt", "-o", folder / "x.gif")
    assert "would hold" in said.sentence, said
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000, grown
    return "refused with how many fit; into a folder, a batch at a time"


# ---- 28: the smaller ones ----


@case(28, "--out twice", "the first one won")
def _(folder: Path) -> str:
    return syncdraw("generate", "--model", model_in(folder / "m"), "-o", "a.gif", "-o", "b.gif").sentence


@case(28, "final_learning_rate .nan, cluster_from 0", "accepted")
def _(folder: Path) -> str:
    for name, value in (("train.optimizer.final_learning_rate", "nan"), ("train.start.cluster_from", "0"),
                        ("train.optimizer.learning_rate", "inf"), ("train.divergence_weight", "nan")):  # fmt: skip
        said = syncdraw("train", "mnist1", "--out", folder / "run", f"--{name}", value).sentence
        assert name in said, said
    return "refused"


@case(28, "prepare --check with no clip of use", "exit status 0")
def _(folder: Path) -> str:
    write_clip(folder / "clips" / "a.gif", textures(2))
    said = syncdraw("prepare", "folder", folder / "clips", "--check", "--quiet", "--frames", "10")
    assert said.status == 2, said
    return "exit status 2"


@case(28, "a mark at the start of --captions_file", "refused")
def _(folder: Path) -> str:
    worded = model_in(folder / "worded", dataclasses.replace(
        ALIGNED, captions=dataclasses.replace(ALIGNED.captions, vocabulary=("dog",))))  # fmt: skip
    (folder / "captions.txt").write_bytes(b"\xef\xbb\xbfdog\r\n")
    done(syncdraw("generate", "--model", worded, "--captions_file", folder / "captions.txt", "-o", folder / "a.gif"))
    return "read"


@case(28, "a TensorBoard that fails", "ended the run")
def _(folder: Path) -> str:
    class Full:
        def __getattr__(self, name: str) -> Any:
            raise OSError("no space left on device")

    with (
        mock.patch.object(run_folder, "_board", return_value=Full()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        go(changed(RUN, {"train.max_steps": 2}), folder / "run")
    assert model_step(folder / "run") == 2
    return "the run goes on without"


def tried(one: Case) -> tuple[bool, str]:
    """Whether it goes as it should, and what happens."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return True, one.try_it(Path(folder).resolve())
        except (Exception, pytest.fail.Exception) as error:  # pytest's own is no Exception
            where = traceback.extract_tb(error.__traceback__)
            line = next(frame.lineno for frame in reversed(where) if frame.filename == __file__)
            return False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]} (line {line})"


def main() -> int:
    """Exit status 0 where every case is right."""
    quick()
    torch.set_num_threads(1)
    wrong = 0
    print("| | case | version 0.1 | now | right |\n|---|---|---|---|---|")
    for one in CASES:
        right, now = tried(one)
        wrong += not right
        print(
            f"| {one.item} | {one.name} | {one.before} | {' '.join(now.split())} | {'yes' if right else 'NO'} |",
            flush=True,
        )
    print(f"\n{len(CASES)} cases, {wrong} not right")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
