"""The reader of captions: it learns from real clips which captions they have, and tells what it sees in samples."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from making_clips import write_clip
from syncdraw import UserError
from syncdraw.datasets.prepared import MANIFEST, SPLITS, ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.datasets.windows import exchange_sides
from syncdraw.evaluation import caption_reader
from syncdraw.evaluation.caption_reader import (
    Readers,
    RealClips,
    plain,
    real_clips,
    shrunk,
    spoilt,
    together,
)
from syncdraw.evaluation.caption_readings import reading_report, share_right

COLOURS = {"red": 0, "green": 1, "blue": 2}
WAYS = {"left to right": (0, 2), "right to left": (0, -2)}


def clip(caption: str, seed: int) -> np.ndarray:
    """A square that does what the caption says: uint8 `[frame, height, width, channel]`."""
    _, colour, *_, start, _, end = plain(caption).split()
    row, column = np.random.default_rng(seed).integers(0, 8, 2)
    column += 10 * (start == "right")
    frames = np.full((6, 24, 24, 3), 40, np.uint8)
    for number, frame in enumerate(frames):
        down, right = (
            place + number * step for place, step in zip((row, column), WAYS[f"{start} to {end}"], strict=True)
        )
        frame[down : down + 6, right : right + 6, COLOURS[colour]] = 255
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty squares of three colours that move in two ways."""
    place = tmp_path_factory.mktemp("squares")
    for number in range(60):
        colour, way = list(COLOURS)[number % 3], list(WAYS)[number % 2]
        caption = f"A {colour} square is moving {way}."
        write_clip(place / "clips" / f"{number}.gif", clip(caption, number))
        (place / "clips" / f"{number}.txt").write_text(caption)
    config = ClipConfig(frames=6, channels=3, height=24, width=24, validation_share=0.2, test_share=0.2)
    prepare(list_folder(place / "clips"), place / "prepared", config, progress=False)
    return place / "prepared"


def real(folder: Path) -> RealClips:
    return together([real_clips(PreparedClips(folder, split)) for split in SPLITS])


@pytest.fixture(scope="module")
def readers(folder: Path) -> Readers:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caption_reader, "BATCH_SIZE", 16)
        patch.setattr(caption_reader, "MOST_CLIPS", 150)
        return Readers.trained(real(folder), steps=60, progress=False)


def test_readers_learn_the_captions_of_real_clips(folder: Path, readers: Readers) -> None:
    assert readers.captions == sorted(f"a {colour} square is moving {way}" for colour in COLOURS for way in WAYS)
    assert share_right(readers.read_real(), readers.clips.captions) >= 0.9
    held = PreparedClips(folder, "test").take(np.arange(12))
    captions = [plain(caption) for caption in held.captions or []]
    found = readers.read(torch.from_numpy(held.videos) / 255)
    assert share_right(found, captions) >= 0.9
    assert share_right(found, [other(caption) for caption in captions]) <= 0.1


def test_no_reader_is_asked_about_a_file_that_it_knows(folder: Path, readers: Readers) -> None:
    """And both know every caption that two files show."""
    clips, halves = readers.clips, readers.halves
    by_file = dict(zip(clips.files, halves, strict=True))
    assert halves == [by_file[file] for file in clips.files]
    assert {(caption, half) for caption, half in zip(clips.captions, halves, strict=True)} == {
        (caption, half) for caption in readers.captions for half in (0, 1)
    }
    # A reader that is wrong about everything is the only one to be asked about the other half.
    wrong = replace(readers.readers[1], captions=["nothing"] * 6)
    found = replace(readers, readers=(readers.readers[0], wrong)).read_real()
    assert [text == "nothing" for text in found] == [half == 0 for half in halves]


def other(caption: str) -> str:
    """Says the other way."""
    return exchange_sides(caption)


class Painter:
    """Draws just what captions say, or always the same."""

    shape, captioned = (6, 3, 24, 24), True

    def __init__(self, heeds: bool) -> None:
        self.heeds, self.asked = heeds, 0

    def generate(self, captions: list[str], **options: Any) -> torch.Tensor:
        self.asked += len(captions)
        told = captions if self.heeds else ["a red square is moving left to right"] * len(captions)
        videos = np.stack([clip(caption, 100 + number) for number, caption in enumerate(told)])
        return torch.from_numpy(videos).movedim(-1, 2) / 255


def test_the_report_tells_who_heeds_captions(folder: Path, readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_reader, "MOST_CLIPS", 1)
    monkeypatch.setattr(Readers, "trained", lambda clips, seed: readers)
    options: dict[str, Any] = {"data": str(folder), "samples": 18, "seed": 0, "temperature": 1.0}
    heeding, deaf = (reading_report(Painter(heeds), {}, **options) for heeds in (True, False))
    assert heeding.values["chance"] == pytest.approx(1 / 6)
    assert heeding.values["real_seen"] == deaf.values["real_seen"] >= 0.9
    assert heeding.values["seen"] >= 0.9
    assert deaf.values["seen"] == pytest.approx(1 / 6, abs=0.1)
    line = next(line for line in heeding.text.splitlines() if line.startswith("samples for 6 seen captions (18) "))
    assert line.endswith(f" {100 * heeding.values['seen']:.1f}")
    assert "unseen" not in heeding.values


def test_samples_for_a_caption_without_training_clips_can_be_read(
    folder: Path, readers: Readers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What they are taken for is said, too. A caption is a seen one if any training clip has it, read or not."""
    for line in (held := shutil.copytree(folder, tmp_path / "held")).joinpath(MANIFEST).read_text().splitlines():
        record = json.loads(line)
        if "green" in record["captions"][0]:
            record["split"] = "test"
        with (tmp_path / MANIFEST).open("a") as file:
            file.write(json.dumps(record) + "\n")
    (tmp_path / MANIFEST).replace(held / MANIFEST)
    monkeypatch.setattr(Readers, "trained", lambda clips, seed: readers)
    monkeypatch.setattr(caption_reader, "MOST_FILES", 1)
    report = reading_report(Painter(False), {}, data=str(held), samples=8, seed=0, temperature=1.0)
    assert report.values["unseen"] == 0
    assert "samples for 4 seen captions (8) " in report.text
    for way in WAYS:
        taken = report.values["unseen_taken_for"][f"A green square is moving {way}."]
        assert taken == {"caption": "a red square is moving left to right", "share": 1.0}
        assert f"A green square is moving {way}.: a red square is moving left to right (100 %)" in report.text
    fewer = reading_report(Painter(False), {}, data=str(held), samples=1, seed=0, temperature=1.0)
    assert list(fewer.values["unseen_taken_for"]) == ["A green square is moving left to right."]


def test_clips_without_different_captions_cannot_be_read(tmp_path: Path) -> None:
    for number in range(4):
        write_clip(tmp_path / "clips" / f"{number}.gif", clip("a red square is moving left to right", number))
        (tmp_path / "clips" / f"{number}.txt").write_text("a red square")
    config = ClipConfig(frames=6, channels=3, height=24, width=24)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "prepared", config, progress=False)
    with pytest.raises(UserError, match="needs clips with two captions or more"):
        Readers.trained(real_clips(PreparedClips(tmp_path / "prepared")), progress=False)


def test_one_file_with_several_captions_cannot_be_dealt_out(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "one.gif", clip("a red square is moving left to right", 0))
    (tmp_path / "clips" / "one.txt").write_text("a red square\na square that moves\n")
    config = ClipConfig(frames=6, channels=3, height=24, width=24, validation_share=0.0, test_share=0.0)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "prepared", config, progress=False)
    with pytest.raises(UserError, match="needs two files or more"):
        Readers.trained(real_clips(PreparedClips(tmp_path / "prepared")), steps=1, progress=False)


def test_what_the_reader_sees() -> None:
    videos = torch.rand(2, 4, 3, 96, 64)
    small = shrunk(videos)
    assert small.shape == (2, 4, 3, 32, 21)
    assert small.mean().item() == pytest.approx(videos.mean().item(), abs=0.01)
    spoiled = spoilt(small, torch.Generator().manual_seed(0))
    assert spoiled.shape == small.shape
    assert 0 <= spoiled.min() <= spoiled.max() <= 1
