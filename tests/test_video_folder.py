"""A folder of clips becomes a prepared folder: captions, parallel decoding, resuming, reports, and reading it back."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shutil
import signal
import sys
import tracemalloc
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import forking
from making_clips import FORMATS, levels, textures, write_clip
from syncdraw.datasets import decode, preparing
from syncdraw.datasets.caption_files import read_captions
from syncdraw.datasets.caption_tables import CaptionRow, read_table
from syncdraw.datasets.prepared import ABOUT, FRAMES, MANIFEST, ClipConfig, PreparedClips, read_manifest
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.errors import UserError

decoder = decode.read_sequence  # tests put another in its place
SMALL = ClipConfig(frames=4, channels=1, height=12, width=16)


def prepared(source, destination, config=SMALL, **options):
    return prepare(replace(list_folder(source), decoder=decoder), destination, config, progress=False, **options)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ABOUT}


@pytest.fixture
def clips(tmp_path):
    """Twelve clips in all formats, flat and nested, with spaces and accents in their names."""
    folder = tmp_path / "my clips"
    for number in range(12):
        kind = FORMATS[number % len(FORMATS)]
        name = f"clip {number} é{kind}" if kind[0] == "." else f"clip {number} é"
        write_clip(folder / ("deep/er" if number % 3 else "") / name, textures(9, number), kind)
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """The names of the sources that are decoded, as they are."""
    names = []

    def counting(source, config):
        names.append(source.name)
        return decode.read_sequence(source, config)

    monkeypatch.setattr(f"{__name__}.decoder", counting)
    return names


# ---- preparing -------------------------------------------------------------------------------------------------------


def test_a_folder_is_prepared_and_read_back(clips, tmp_path):
    report = prepared(clips, tmp_path / "out", replace(SMALL, channels=3))
    assert (report.sources, report.clips, report.captioned, report.problems) == (12, 12, 0, [])
    assert sum(report.splits.values()) == 12
    assert min(report.splits.values()) >= 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([ABOUT, FRAMES, MANIFEST])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my clips", "out"]

    array = np.load(tmp_path / "out" / FRAMES, mmap_mode="r")
    records = read_manifest(tmp_path / "out")
    assert array.shape == (12 * 9, 3, 12, 16)
    assert [(record.first, record.length) for record in records] == [(0, 9)] * 12
    assert [record.source for record in records] == [source.name for source in list_folder(clips).sources]
    for record, video in zip(records, array.reshape(12, 9, 3, 12, 16), strict=True):
        frames = dict(decode.read_frames(clips / record.source, replace(SMALL, channels=3)))
        np.testing.assert_array_equal(video, np.stack([frames[number] for number in range(9)]))
        assert record.hash == decode.content_hash(clips / record.source)
    seen = 0
    for split in ("train", "validation", "test"):
        dataset = PreparedClips(tmp_path / "out", split)
        assert dataset.shape == (4, 3, 12, 16)
        taken = dataset.take(np.arange(len(dataset), dtype=np.int64))
        assert taken.captions is None
        rows = [row for row, record in enumerate(records) if record.split == split]
        expected = [array[9 * row + dataset.window(place).frames] for place, row in enumerate(rows)]
        np.testing.assert_array_equal(taken.videos, expected)
        seen += len(dataset)
    assert seen == 12


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(clips, tmp_path, workers):
    prepared(clips, tmp_path / "out", workers=workers)
    prepared(clips, tmp_path / "one", workers=1)
    assert content(tmp_path / "out") == content(tmp_path / "one")


def test_several_clips_of_a_file_share_its_split(tmp_path):
    for number in range(6):
        write_clip(tmp_path / "in" / f"{number}.gif", textures(26, number))
    report = prepared(tmp_path / "in", tmp_path / "out", replace(SMALL, clips_per_file=0))
    records = read_manifest(tmp_path / "out")
    assert (report.sources, report.clips) == (6, 36)
    assert len({(record.source, record.split) for record in records}) == 6
    dataset = PreparedClips(tmp_path / "out")
    windows = [(record.source, dataset.window(index).frames) for index, record in enumerate(dataset.records)]
    assert len(windows) == report.splits["train"]
    for (source, one), (other, following) in pairwise(windows):
        assert source != other or one[-1] < following[0]


def test_copies_share_a_split_and_names_do_not_matter(tmp_path):
    for number in range(30):
        path = write_clip(tmp_path / "in" / f"{number:02d}.gif", textures(5, number))
        shutil.copy(path, tmp_path / "in" / f"copy of {number:02d}.gif")
    prepared(tmp_path / "in", tmp_path / "out", replace(SMALL, validation_share=0.3, test_share=0.3))
    cut = {}
    for split in ("train", "validation", "test"):
        dataset = PreparedClips(tmp_path / "out", split)
        for index, record in enumerate(dataset.records):
            cut[record.source] = (split, dataset.window(index).frames.tolist())
    for number in range(30):
        assert cut[f"{number:02d}.gif"] == cut[f"copy of {number:02d}.gif"]
    assert min(Counter(split for split, _ in cut.values()).values()) >= 4


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_files_still_give_each_split_one(tmp_path, count):
    for number in range(count):
        write_clip(tmp_path / "in" / f"{number}.gif", textures(5, number))
    splits = prepared(tmp_path / "in", tmp_path / "out").splits
    assert sum(splits.values()) == count
    assert [splits[name] > 0 for name in ("train", "validation", "test")] == [True, count > 1, count > 2]
    alone = prepared(tmp_path / "in", tmp_path / "all", replace(SMALL, validation_share=0, test_share=0)).splits
    assert alone == {"train": count, "validation": 0, "test": 0}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train", "val", "test"], {"train": 6, "validation": 6, "test": 6}),
        (["Training", "testing"], {"train": 5, "validation": 1, "test": 6}),
        (["train", "dev"], {"train": 6, "validation": 6, "test": 0}),
    ],
)
def test_folders_named_for_splits(tmp_path, folders, expected):
    for place, folder in enumerate(folders):
        for number in range(6):
            write_clip(tmp_path / "in" / folder / "more" / f"{number}.gif", textures(5, 6 * place + number))
    report = prepared(tmp_path / "in", tmp_path / "out")
    assert report.splits == expected
    assert any("splits as the folders say: " in remark for remark in report.remarks)
    meant = dict(zip(folders, ("train", "validation", "test"), strict=False))
    meant["testing"] = "test"
    for record in read_manifest(tmp_path / "out"):
        split = meant[record.source.partition("/")[0]]
        assert record.split == split or (record.split, len(folders), split) == ("validation", 2, "train")


@pytest.mark.parametrize("folders", [["train"], ["train", "plane"], ["test", "val"], ["train", ""]])
def test_folders_that_are_named_for_something_else(tmp_path, folders):
    """A folder of trains, say, or clips beside the folders."""
    for place, folder in enumerate(folders):
        for number in range(5):
            write_clip(tmp_path / "in" / folder / f"{number}.gif", textures(5, 5 * place + number))
    report = prepared(tmp_path / "in", tmp_path / "out")
    assert min(report.splits.values()) >= 1
    assert {record.split for record in read_manifest(tmp_path / "out") if record.source.startswith("train/")} != {
        "train"
    }


def test_copies_in_a_folder_for_training_share_a_split(tmp_path):
    for number in range(12):
        path = write_clip(tmp_path / "in" / "train" / f"{number}.gif", textures(5, number))
        shutil.copy(path, tmp_path / "in" / "train" / f"copy of {number}.gif")
    write_clip(tmp_path / "in" / "test" / "0.gif", textures(5, 99))
    prepared(tmp_path / "in", tmp_path / "out", replace(SMALL, validation_share=0.4))
    splits = {record.source: record.split for record in read_manifest(tmp_path / "out")}
    assert Counter(splits.values())["validation"] >= 4
    assert all(splits[f"train/{number}.gif"] == splits[f"train/copy of {number}.gif"] for number in range(12))


def test_a_long_file_is_trained_on(tmp_path):
    for number, count in enumerate([28, 28, 5, 6, 7]):
        write_clip(tmp_path / "in" / f"{number}.gif", textures(count, number))
    for seed in range(4):  # other textures, other hashes
        write_clip(tmp_path / "in" / "5.gif", textures(28, 100 + seed))
        splits = prepared(tmp_path / "in", tmp_path / "out", replace(SMALL, clips_per_file=0)).splits
        assert splits["train"] >= 8
        assert min(splits.values()) >= 1


def test_a_folder_of_frames_at_the_top(tmp_path):
    write_clip(tmp_path / "walk", textures(5), "png")
    prepared(tmp_path / "walk", tmp_path / "out")
    assert [record.source for record in read_manifest(tmp_path / "out")] == ["walk"]


def test_names_that_are_not_unicode(tmp_path):
    if sys.platform in ("win32", "darwin"):
        pytest.skip("the file system takes Unicode names only")
    (tmp_path / "in").mkdir()
    good = write_clip(tmp_path / "good.gif", textures(5))
    shutil.copy(good, os.fsencode(tmp_path / "in") + b"/caf\xe9.gif")
    (tmp_path / "in" / os.fsdecode(b"b\xff.gif")).write_bytes(b"nonsense")
    report = prepared(tmp_path / "in", tmp_path / "out")
    assert report.clips == 1
    assert str(report).encode()
    assert os.fsencode(PreparedClips(tmp_path / "out").records[0].source) == b"caf\xe9.gif"


def test_hidden_files_and_other_files_are_passed_over(clips, tmp_path):
    (clips / "._clip.mp4").write_bytes(b"\0\5\x16\7")
    (clips / ".cache").mkdir()
    write_clip(clips / ".cache" / "a.gif", textures(5))
    (clips / "notes.pdf").write_bytes(b"%PDF")
    (clips / "cover.jpg").write_bytes(b"a picture beside videos")
    report = prepared(clips, tmp_path / "out")
    assert report.clips == 12
    assert report.remarks[:2] == ["passed over, by their suffix: 1 .pdf", "passed over: 1 pictures beside videos"]


# ---- captions --------------------------------------------------------------------------------------------------------


def test_captions_from_texts_and_tables(tmp_path):
    folder = tmp_path / "in"
    for name in ("a.gif", "b.mp4", "sub/c.avi", "sub/ü d.gif", "e.webp"):
        write_clip(folder / name, textures(5, len(name)))
    write_clip(folder / "sub" / "f.v2", textures(5), "png")
    (folder / "a.txt").write_text("a square moves\n\n  another  wording \na square moves\n")
    (folder / "sub" / "f.v2.txt").write_bytes("\ufeffframes, with a mark".encode())
    (folder / "captions.csv").write_text('file,caption\nb.mp4,"one, with a comma"\r\nb,two\n./sub/c,three\n')
    decomposed = unicodedata.normalize("NFD", "ü d.gif")
    (folder / "sub" / "captions.jsonl").write_text(
        json.dumps({"file": decomposed, "caption": ["four", "five"]})
        + "\n\n"
        + json.dumps({"video": "c.avi", "text": "x"})
    )
    report = prepared(folder, tmp_path / "out")
    captions = {record.source: record.captions for record in read_manifest(tmp_path / "out")}
    assert captions == {
        "a.gif": ["a square moves", "another wording"],
        "b.mp4": ["one, with a comma", "two"],
        "e.webp": [],
        "sub/c.avi": ["three", "x"],
        "sub/f.v2": ["frames, with a mark"],
        "sub/ü d.gif": ["four", "five"],
    }
    assert report.captioned == 5
    assert [str(problem) for problem in report.problems] == [
        "e.webp: no caption: kept, but passed over where captions are used"
    ]


def test_clips_without_captions_are_passed_over_where_captions_are_used(tmp_path):
    for number in range(8):
        path = write_clip(tmp_path / "in" / f"{number}.gif", textures(5, number))
        if number % 2:
            path.with_suffix(".txt").write_text(f"number {number}\nno. {number}\n")
    config = replace(SMALL, validation_share=0, test_share=0)
    prepared(tmp_path / "in", tmp_path / "out", config)
    captioned = PreparedClips(tmp_path / "out")
    assert captioned.take(np.array([3, 0])).captions == ["number 7", "number 1"]
    assert PreparedClips(tmp_path / "out", captions=True).take(np.arange(4)).captions is not None
    everything = PreparedClips(tmp_path / "out", captions=False)
    assert (len(captioned), len(everything)) == (4, 8)
    assert everything.take(np.arange(8)).captions is None

    drawn = [captioned.take(np.arange(4), seed=seed).captions for seed in range(40)]
    assert drawn == [captioned.take(np.arange(4), seed=seed).captions for seed in range(40)]
    assert {caption for captions in drawn for caption in captions} == {
        f"{word} {number}" for word in ("number", "no.") for number in (1, 3, 5, 7)
    }
    assert captioned.take(np.array([2, 0]), seed=5).captions == [drawn[5][2], drawn[5][0]]


def is_gif(name):
    return name.endswith(".gif")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("captions.csv", "a.gif,one\na.gif,two\n", [("a.gif", "one"), ("a.gif", "two")]),
        ("captions.csv", "file;caption\na.gif;one, two\n", [("a.gif", "one, two")]),
        ("captions.csv", "id,text,file_name\n7,one,a.gif\n", [("a.gif", "one")]),
        ("captions.tsv", 'a.gif\t"one" he said\n\nb.gif\ttwo\n', [("a.gif", '"one" he said'), ("b.gif", "two")]),
        ("captions.csv", 'a.gif,"one\ntwo"\n', [("a.gif", "one two")]),
        ("captions.csv", "sub\\a.gif,one\n", [("sub/a.gif", "one")]),
        ("captions.jsonl", '{"file": "a.gif", "captions": ["one", " "]}\n', [("a.gif", "one")]),
    ],
)
def test_tables(tmp_path, name, text, expected):
    path = tmp_path / name
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        rows = list(read_table(path, is_gif))
        assert [(row.file, caption) for row in rows for caption in row.captions] == expected
        assert not any(row.complaint for row in rows)


def test_rows_of_no_use_are_named(tmp_path):
    write_clip(tmp_path / "in" / "a.gif", textures(5))
    (tmp_path / "in" / "captions.csv").write_text("file,caption\na.gif\na.gif,\nz.gif,gone\n,nobody\na.gif,good\n")
    (tmp_path / "in" / "captions.jsonl").write_text('{"file": 3, "caption": "x"}\n[1]\n{"file": "a.gif"\n')
    (tmp_path / "in" / "captions.tsv").write_bytes("a.gif\tcafé".encode("latin-1"))
    report = prepared(tmp_path / "in", tmp_path / "out")
    said = [str(problem) for problem in report.problems]
    assert said[:4] == [
        "captions.csv, line 2: has no file and caption: passed over",
        "captions.csv, line 3: has no caption for a.gif: passed over",
        "captions.csv, line 4: names z.gif, which is not there: passed over",
        "captions.csv, line 5: names no file: passed over",
    ]
    assert [line.partition(":")[0] for line in said[4:]] == [
        "captions.jsonl, line 1",
        "captions.jsonl, line 2",
        "captions.jsonl, line 3",
        "captions.tsv",
    ]
    assert "save it as UTF-8" in said[-1]
    assert PreparedClips(tmp_path / "out").take(np.array([0])).captions == ["good"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["captions.csv", "captions.tsv", "captions.jsonl"]))
def test_fuzz_caption_files(tmp_path, data, name):
    path = tmp_path / name
    for text in (data, b'file,caption\n"' + data, b'{"file": "a", "caption": ' + data):
        path.write_bytes(text)
        try:
            for row in read_table(path, is_gif):
                assert isinstance(row, CaptionRow)
                assert bool(row.complaint) != bool(row.captions)
            assert all("\n" not in caption for caption in read_captions(path))
        except UserError as error:
            assert any(word in str(error) for word in ("UTF", "first row", "several columns"))  # noqa: PT017 (both are right)


# ---- bad files, reports, checks --------------------------------------------------------------------------------------


@pytest.fixture
def bad_clips(clips):
    """The twelve clips, captioned, and among them every kind of bad file."""
    for source in list_folder(clips).sources:
        (clips / f"{source.name.removesuffix(source.path.suffix)}.txt").write_text("a caption")
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.avi").write_text("not a video")
    whole = write_clip(clips / "whole.mp4", textures(30, 50)).read_bytes()
    (clips / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_clip(clips / "one frame.gif", textures(1, 51))
    write_clip(clips / "short", textures(3, 52), "png")
    (clips / "gone.gif").symlink_to(clips / "nowhere.gif")
    return clips


EXPECTED = {
    "cut.mp4": "unreadable",
    "empty.mp4": "unreadable",
    "gone.gif": "unreadable",
    "text.avi": "unreadable",
    "one frame.gif": "too short (it has 1 frame, a clip needs 4: 3 are missing)",
    "short": "too short (it has 3 frames, a clip needs 4: 1 is missing)",
}


def test_bad_files_are_named_and_stop_nothing(bad_clips, tmp_path):
    report = prepared(bad_clips, tmp_path / "out")
    assert (report.sources, report.clips, report.captioned) == (19, 13, 12)
    said = {problem.name: problem for problem in report.problems if problem.reason != "no caption"}
    assert said.keys() == EXPECTED.keys()
    for name, reason in EXPECTED.items():
        assert said[name].reason.startswith(reason)
        assert said[name].action == "left out"
        assert "\n" not in str(said[name])
    without = [problem.name for problem in report.problems if problem.reason == "no caption"]
    assert sorted(without) == sorted([*EXPECTED, "whole.mp4"])
    assert str(report).startswith("13 clips from 19 files (")


def test_check_says_the_same_and_writes_nothing(bad_clips, tmp_path):
    before = sorted(path for path in tmp_path.rglob("*"))
    report = prepared(bad_clips, tmp_path / "out", check=True)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert report == prepared(bad_clips, tmp_path / "out")
    assert prepared(bad_clips, None, check=True) == report


def test_nothing_but_bad_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"no clip could be cut from 1 files; the first of 1 problems is a\.mp4: "):
        prepared(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    report = prepared(tmp_path / "in", None, check=True)
    assert (report.clips, len(report.problems)) == (0, 1)


def test_no_clips_at_all(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        prepared(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match="is not a folder"):
        prepared(write_clip(tmp_path / "a.gif", textures(5)), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no clips: expected files such as"):
        prepared(tmp_path / "empty", tmp_path / "out")


def test_places_that_cannot_be_written(clips, tmp_path):
    with pytest.raises(UserError, match="a destination folder is needed"):
        prepared(clips, None)
    with pytest.raises(UserError, match="workers is 0"):
        prepared(clips, tmp_path / "out", workers=0)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    for place in ("file", "full"):
        with pytest.raises(UserError, match="was not made by syncdraw prepare"):
            prepared(clips, tmp_path / place)
    with pytest.raises(UserError, match="cannot write"):
        prepared(clips, tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "thesis.tex").read_text() == "mine"
    (tmp_path / "bare").mkdir()
    assert prepared(clips, tmp_path / "bare").clips == 12


def test_a_full_disk_leaves_what_can_be_resumed(clips, tmp_path, monkeypatch, decoded):
    original = shutil.copyfileobj
    copied = []

    def full(source, target, length=0):
        copied.append(1)
        if len(copied) == 5:
            raise OSError(28, "No space left on device")
        original(source, target, length)

    monkeypatch.setattr(preparing.shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device"):
        prepared(clips, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    decoded.clear()
    prepared(clips, tmp_path / "out")
    assert len(decoded) == 8


# ---- again, resumed, changed -----------------------------------------------------------------------------------------


def test_again_without_a_change_does_nothing(bad_clips, tmp_path, decoded):
    first = prepared(bad_clips, tmp_path / "out")
    decoded.clear()
    stamp = (tmp_path / "out" / FRAMES).stat().st_mtime_ns
    again = prepared(bad_clips, tmp_path / "out")
    assert again == replace(first, unchanged=True)
    assert "nothing has changed" in str(again)
    assert decoded == []
    assert (tmp_path / "out" / FRAMES).stat().st_mtime_ns == stamp


def test_only_what_is_new_is_decoded(clips, tmp_path, decoded):
    prepared(clips, tmp_path / "out")
    decoded.clear()
    write_clip(clips / "deep" / "new.gif", textures(9, 99))
    (clips / "clip 0 é.mp4").unlink()
    os.utime(clips / "clip 6 é" / "3.png", ns=(1, 2**60))
    report = prepared(clips, tmp_path / "out")
    assert sorted(decoded) == ["clip 6 é", "deep/new.gif"]
    assert report.clips == 12
    assert "10 files had not changed; their frames were copied, not decoded" in report.remarks
    prepared(clips, tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_problems_stay_with_clips_that_are_not_decoded_again(tmp_path, decoded):
    path = write_clip(tmp_path / "in" / "a.avi", textures(60))
    path.write_bytes(path.read_bytes()[:-5000])
    first = prepared(tmp_path / "in", tmp_path / "out")
    assert "damaged" in first.problems[0].reason
    write_clip(tmp_path / "in" / "b.gif", textures(5))
    decoded.clear()
    assert prepared(tmp_path / "in", tmp_path / "out").problems == first.problems
    assert decoded == ["b.gif"]


def test_other_clips_of_the_same_frames_decode_nothing(clips, tmp_path, decoded):
    prepared(clips, tmp_path / "out")
    decoded.clear()
    other = replace(SMALL, seed=1, mirror="unsided", clips_per_file=0, largest_stride=2, fixed=True, shift=1)
    assert prepared(clips, tmp_path / "out", other).clips == 24
    assert prepared(clips, tmp_path / "out", replace(SMALL, frames=2, stride=3)).clips == 12
    assert decoded == []
    assert prepared(clips, tmp_path / "out", replace(SMALL, frames=9)).clips == 12
    assert len(decoded) == 12  # files that were too short may be long enough for other clips


def test_a_folder_of_the_format_before(clips, tmp_path):
    prepared(clips, tmp_path / "out")
    about = json.loads((tmp_path / "out" / ABOUT).read_text())
    config = {**about["config"], "a setting that is gone": 1}
    (tmp_path / "out" / ABOUT).write_text(json.dumps({**about, "format": 1, "config": config}))
    (tmp_path / "out" / FRAMES).rename(tmp_path / "out" / "clips.npy")
    with pytest.raises(UserError, match="it has format 1, this version reads 2"):
        PreparedClips(tmp_path / "out")
    assert prepared(clips, tmp_path / "out").clips == 12
    assert not (tmp_path / "out" / "clips.npy").exists()


def test_frames_that_need_much_of_the_disk(clips, tmp_path, monkeypatch):
    assert not any("on disk" in remark for remark in prepared(clips, None, check=True).remarks)
    monkeypatch.setattr(preparing, "_LARGE", 10_000)
    assert prepared(clips, None, check=True).remarks[-1] == "the frames take 0.0 GB on disk"


def test_new_captions_and_shares_decode_nothing(clips, tmp_path, decoded):
    prepared(clips, tmp_path / "out")
    decoded.clear()
    (clips / "clip 0 é.txt").write_text("a caption")
    assert prepared(clips, tmp_path / "out").captioned == 1
    report = prepared(clips, tmp_path / "out", replace(SMALL, test_share=0.5))
    assert report.splits["test"] > 2
    assert "replaced what was prepared with other settings (test_share 0.1 is now 0.5)" in report.remarks
    assert decoded == []


def test_other_settings_replace_the_folder_when_they_are_done(clips, tmp_path, decoded):
    prepared(clips, tmp_path / "out")
    decoded.clear()
    report = prepared(clips, tmp_path / "out", replace(SMALL, height=20, channels=3))
    assert len(decoded) == 12
    assert report.remarks[-1] == (
        "replaced what was prepared with other settings (channels 1 is now 3, height 12 is now 20)"
    )
    assert PreparedClips(tmp_path / "out").shape == (4, 3, 20, 16)


def test_a_failure_leaves_the_old_folder(clips, tmp_path, monkeypatch):
    prepared(clips, tmp_path / "out")
    before = content(tmp_path / "out")

    def interrupted(source, config):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{__name__}.decoder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(clips, tmp_path / "out", replace(SMALL, height=20))
    assert content(tmp_path / "out") == before
    assert len(PreparedClips(tmp_path / "out")) > 0


def killed_at(number, clips, out):
    """Prepare, and be killed when the clip of that number is decoded."""
    numbers = itertools.count(1)

    def killed(source, config):
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode.read_sequence(source, config)

    prepare(replace(list_folder(clips), decoder=killed), out, SMALL, workers=1, progress=False)


def test_a_killed_run_goes_on_where_it_was(clips, tmp_path, decoded):
    assert forking.run(killed_at, 8, clips, tmp_path / "out").returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    prepared(clips, tmp_path / "out")
    assert 4 < len(decoded) < 12
    prepared(clips, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("damage", ["journal", "array", "source", "settings", "nonsense"])
def test_what_a_broken_run_left_is_believed_only_if_it_fits(clips, tmp_path, damage):
    assert forking.run(killed_at, 8, clips, tmp_path / "out").returncode == -signal.SIGKILL
    work = tmp_path / ".out.preparing"
    journal, array = work / "journal.jsonl", work / FRAMES
    config = SMALL
    if damage == "journal":  # the last line is half written, and there is an array row without a line
        journal.write_bytes(journal.read_bytes()[:-30])
    elif damage == "array":  # a line without its row
        array.write_bytes(array.read_bytes()[:-100])
    elif damage == "source":
        write_clip(clips / "clip 3 é.webm", textures(9, 77))
    elif damage == "settings":
        config = replace(SMALL, height=20)
    else:
        journal.write_bytes(b"\xff{]\n" * 10)
    prepared(clips, tmp_path / "out", config)
    prepared(clips, tmp_path / "whole", config)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_two_at_once_wait_for_each_other(clips, tmp_path, decoded):
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda _: prepared(clips, tmp_path / "out"), range(3)))
    assert sorted(report.unchanged for report in reports) == [False, True, True]
    assert len(decoded) == 12


def test_another_process_that_ends_between_two_steps_of_locking(clips, tmp_path, monkeypatch):
    """It removes the folder after this one has made sure of it and before it has opened the lock there."""
    real, removed = Path.open, []

    def late(self, *arguments, **options):
        if self.name == "lock" and not removed:
            removed.append(shutil.rmtree(self.parent))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", late)
    assert prepared(clips, tmp_path / "out").clips == 12
    assert removed


def test_a_link_to_nowhere_in_the_place_of_the_working_folder(clips, tmp_path):
    (tmp_path / ".out.preparing").symlink_to(tmp_path / "nowhere" / "at all")
    with pytest.raises(UserError, match="cannot write"):
        prepared(clips, tmp_path / "out")


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    frames = levels(24, 8, 8)
    for number in range(60):
        frames[0] = 250 - number
        write_clip(tmp_path / "in" / f"{number}.gif", frames)
    config = ClipConfig(frames=24, channels=3, height=128, width=128)  # 1.2 MB a file
    tracemalloc.start()
    try:
        prepared(tmp_path / "in", tmp_path / "out", config, workers=2)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / FRAMES).stat().st_size > 70e6
    assert most < 35e6


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_reading_what_is_no_prepared_folder(clips, tmp_path):
    with pytest.raises(UserError, match="is not a prepared folder"):
        PreparedClips(clips)
    prepared(clips, tmp_path / "out", replace(SMALL, validation_share=0))
    with pytest.raises(UserError, match=r"has no clip for validation \(\d+ for train, 0 for valid"):
        PreparedClips(tmp_path / "out", "validation")
    with pytest.raises(UserError, match="no clip with a caption for train"):
        PreparedClips(tmp_path / "out", captions=True)
    with pytest.raises(UserError, match="split is 'dev'"):
        PreparedClips(tmp_path / "out", "dev")


@pytest.mark.parametrize("name", [ABOUT, MANIFEST, FRAMES])
@pytest.mark.parametrize("how", ["half", "nonsense", "gone"])
def test_reading_a_damaged_folder(clips, tmp_path, name, how):
    prepared(clips, tmp_path / "out")
    path = tmp_path / "out" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if how == "half" else b"\xff\0[" * 200)
    if how == "gone":
        path.unlink()
    with pytest.raises(UserError, match="prepare"):
        PreparedClips(tmp_path / "out")
    if name == ABOUT:  # without it, nothing tells that the folder is ours to replace
        shutil.rmtree(tmp_path / "out")
    prepared(clips, tmp_path / "out")
    assert len(PreparedClips(tmp_path / "out")) > 0


def test_a_folder_of_another_version(clips, tmp_path):
    prepared(clips, tmp_path / "out")
    about = json.loads((tmp_path / "out" / ABOUT).read_text())
    (tmp_path / "out" / ABOUT).write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(
        UserError, match="by another version of syncdraw \\(it has format 99, this version reads 2\\); prepare it anew"
    ):
        PreparedClips(tmp_path / "out")
    assert prepared(clips, tmp_path / "out").clips == 12


def test_sent_to_another_process_it_opens_its_own_files(clips, tmp_path):
    prepared(clips, tmp_path / "out")
    dataset = PreparedClips(tmp_path / "out")
    packed = pickle.dumps(dataset)
    assert len(packed) < 1000
    indices = np.arange(len(dataset))
    np.testing.assert_array_equal(pickle.loads(packed).take(indices).videos, dataset.take(indices).videos)


def test_what_is_taken_can_be_changed(clips, tmp_path):
    prepared(clips, tmp_path / "out")
    dataset = PreparedClips(tmp_path / "out")
    videos = dataset.take(np.array([0, 0])).videos
    assert type(videos) is np.ndarray
    videos[:] = 7
    assert (dataset.take(np.array([0])).videos != 7).any()


def test_the_array_is_a_plain_npy_file(tmp_path):
    for shape in ((0, 1, 1, 1), (10**12, 3, 256, 256)):
        header = preparing._npy_header(shape)
        assert len(header) == 256
        (tmp_path / "a.npy").write_bytes(header)
        with (tmp_path / "a.npy").open("rb") as file:
            assert np.lib.format.read_magic(file) == (1, 0)
            assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype(np.uint8))
            assert file.tell() == 256


def test_paths_of_this_machine_stay_out(clips, tmp_path):
    prepared(clips, tmp_path / "out")
    assert str(Path(tmp_path)).encode() not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
