"""The reader of captions: it learns from real clips which captions they have, and tells what it sees in samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from making_clips import write_clip
from syncdraw import UserError
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.datasets.windows import exchange_sides
from syncdraw.evaluation import caption_reader
from syncdraw.evaluation.caption_reader import CaptionReader, plain, reading_report, shrunk, spoilt, train_reader

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


@pytest.fixture(scope="module")
def reader(folder: Path) -> CaptionReader:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caption_reader, "BATCH_SIZE", 16)
        return train_reader(PreparedClips(folder, "train"), steps=60, progress=False)


def test_a_reader_learns_the_captions_of_real_clips(folder: Path, reader: CaptionReader) -> None:
    assert reader.captions == sorted(f"a {colour} square is moving {way}" for colour in COLOURS for way in WAYS)
    held = PreparedClips(folder, "test").take(np.arange(12))
    videos, captions = torch.from_numpy(held.videos) / 255, held.captions or []
    assert reader.right(videos, captions) >= 0.9
    assert reader.right(videos, [other(caption) for caption in captions]) <= 0.1


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


def test_the_report_tells_who_heeds_captions(
    folder: Path, reader: CaptionReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caption_reader, "train_reader", lambda dataset, seed: reader)
    options: dict[str, Any] = {"data": str(folder), "samples": 18, "seed": 0, "temperature": 1.0}
    heeding, deaf = (reading_report(Painter(heeds), {}, **options) for heeds in (True, False))
    assert heeding.values["chance"] == pytest.approx(1 / 6)
    assert heeding.values["real"] == deaf.values["real"] >= 0.9
    assert heeding.values["seen"] >= 0.9
    assert deaf.values["seen"] == pytest.approx(1 / 6, abs=0.1)
    line = next(line for line in heeding.text.splitlines() if line.startswith("samples for 6 seen captions (18) "))
    assert line.endswith(f" {100 * heeding.values['seen']:.1f}")


def test_a_caption_of_any_training_clip_is_a_seen_one(
    folder: Path, reader: CaptionReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few clips are read; captions are known of all."""
    monkeypatch.setattr(caption_reader, "train_reader", lambda dataset, seed: reader)
    monkeypatch.setattr(caption_reader, "MOST_HELD", 1)
    report = reading_report(Painter(True), {}, data=str(folder), samples=6, seed=0, temperature=1.0)
    assert "samples for 6 seen captions (6) " in report.text
    assert "unseen" not in report.values


def test_clips_without_different_captions_cannot_be_read(tmp_path: Path) -> None:
    for number in range(4):
        write_clip(tmp_path / "clips" / f"{number}.gif", clip("a red square is moving left to right", number))
        (tmp_path / "clips" / f"{number}.txt").write_text("a red square")
    config = ClipConfig(frames=6, channels=3, height=24, width=24)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "prepared", config, progress=False)
    with pytest.raises(UserError, match="needs clips with two captions or more"):
        train_reader(PreparedClips(tmp_path / "prepared"), progress=False)


def test_what_the_reader_sees() -> None:
    videos = torch.rand(2, 4, 3, 96, 64)
    small = shrunk(videos)
    assert small.shape == (2, 4, 3, 32, 21)
    assert small.mean().item() == pytest.approx(videos.mean().item(), abs=0.01)
    spoiled = spoilt(small, torch.Generator().manual_seed(0))
    assert spoiled.shape == small.shape
    assert 0 <= spoiled.min() <= spoiled.max() <= 1
