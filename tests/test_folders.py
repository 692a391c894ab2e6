"""What is found under a folder of clips: links, captions beside clips, and nothing that the package itself wrote."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from making_clips import levels, textures, write_clip
from syncdraw.containers import DRAWN_MARK
from syncdraw.datasets.folders import look_under
from syncdraw.datasets.prepared import ClipConfig, PreparedClips, read_manifest
from syncdraw.datasets.preparing import _splits, prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.errors import UserError

SMALL = ClipConfig(frames=4, channels=1, height=12, width=16)


def captions(folder):
    return {source.name: list(source.captions) for source in list_folder(folder).sources}


def empty_clips(folder, *names):
    """Files that are listed as clips; no test here decodes them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


# ---- links -----------------------------------------------------------------------------------------------------------


def test_linked_folders_are_followed_each_once(tmp_path):
    outside = empty_clips(tmp_path / "outside", "x.mp4", "deep/y.mp4")
    inside = empty_clips(tmp_path / "in", "a.mp4", "real/b.mp4")
    (inside / "again").symlink_to(inside / "real")  # before 'real' in the order of names
    (inside / "first").symlink_to(outside)
    (inside / "second").symlink_to(outside)
    (inside / "third").symlink_to(outside / "deep")
    assert list(captions(inside)) == ["a.mp4", "first/x.mp4", "first/deep/y.mp4", "real/b.mp4"]
    # The folder itself may be a link.
    (tmp_path / "link").symlink_to(inside)
    assert list(captions(tmp_path / "link")) == list(captions(inside))


def test_circles_of_links(tmp_path):
    inside = empty_clips(tmp_path / "home" / "in", "a.mp4")
    outside = empty_clips(tmp_path / "store" / "clips", "x.mp4")
    empty_clips(tmp_path / "home", "private.mp4")
    empty_clips(tmp_path / "store", "other.mp4")
    (inside / "itself").symlink_to(inside)
    (inside / "up").symlink_to("..")
    (inside / "loop").symlink_to("loop")
    (inside / "out").symlink_to(outside)
    (outside / "up").symlink_to("..")
    (outside / "back").symlink_to(inside)
    assert list(captions(inside)) == ["a.mp4", "out/x.mp4"]


def test_tables_find_clips_by_links_and_by_other_paths(tmp_path):
    inside = empty_clips(tmp_path / "in", "real/b.mp4", "c.mp4", "Deep/D.MP4", "e.mp4")
    (inside / "again").symlink_to(inside / "real")
    (inside / "Deep" / "metadata.csv").write_text("file_name,text\nd.mp4,four\ne.mp4,five\n")
    (inside / "captions.csv").write_text(f"file,caption\nagain/b.mp4,one\n{tmp_path}/in/c.mp4,two\n/no/c.mp4,three\n")
    assert captions(inside) == {
        "c.mp4": ["two"],
        "e.mp4": ["five"],
        "Deep/D.MP4": ["four"],
        "real/b.mp4": ["one"],
    }


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
def test_a_pipe_is_no_clip(tmp_path):
    os.mkfifo(empty_clips(tmp_path / "in", "a.mp4") / "b.mp4")
    listing = list_folder(tmp_path / "in")
    assert [source.name for source in listing.sources] == ["a.mp4"]
    assert [str(problem) for problem in listing.problems] == ["b.mp4: is no regular file: left out"]


# ---- what syncdraw wrote itself --------------------------------------------------------------------------------------


def test_own_outputs_are_no_clips(tmp_path):
    folder = tmp_path / "in"
    for number in range(4):
        write_clip(folder / f"{number}.gif", textures(6, number))
    prepare(list_folder(folder), folder / "in.prepared" / "4x1x12x16", SMALL, progress=False)
    run = empty_clips(folder / "runs" / "one", "config.yaml", "metrics.jsonl", "samples/step-100.gif")
    empty_clips(folder / "model", "config.json", "model.safetensors", "drawn.gif")
    empty_clips(folder / "configured", "config.yaml", "a.mp4")  # a file of this name alone makes no run
    drawn = [Image.fromarray(frame) for frame in levels(4)]
    drawn[0].save(folder / "three.gif", save_all=True, append_images=drawn[1:], comment=DRAWN_MARK)
    drawn[0].save(folder / "late.webp", save_all=True, append_images=drawn[1:], xmp=DRAWN_MARK)
    listing = list_folder(folder)
    assert [source.name for source in listing.sources] == [f"{number}.gif" for number in range(4)] + [
        "configured/a.mp4"
    ]
    assert [remark for remark in listing.remarks if remark.startswith("passed over: ")] == [
        "passed over: prepared clips of syncdraw (in.prepared/4x1x12x16)",
        "passed over: training runs of syncdraw (model, runs/one)",
        "passed over: videos that syncdraw drew (late.webp, three.gif)",
    ]
    # A folder that is asked for may itself hold a run.
    empty_clips(run, "mine.mp4")
    listing = list_folder(run)
    assert [source.name for source in listing.sources] == ["mine.mp4"]
    assert listing.remarks[0] == "passed over: training runs of syncdraw (samples)"


def test_nothing_but_own_outputs(tmp_path):
    empty_clips(tmp_path / "in.prepared", "10x1x64x64/prepared.json", "10x1x64x64/clips.npy")
    with pytest.raises(UserError, match=r"has no clips: .*; passed over: prepared clips of syncdraw \(10x1x64x64\)"):
        list_folder(tmp_path / "in.prepared")


def test_what_else_lies_in_a_prepared_folder_is_not_lost(tmp_path):
    write_clip(tmp_path / "in" / "a.gif", textures(6))
    prepare(list_folder(tmp_path / "in"), tmp_path / "out", SMALL, progress=False)
    (tmp_path / "out" / "thesis").mkdir()
    with pytest.raises(UserError, match="holds thesis beside prepared clips"):
        prepare(list_folder(tmp_path / "in"), tmp_path / "out", replace(SMALL, seed=1), progress=False)
    assert (tmp_path / "out" / "thesis").is_dir()


# ---- captions beside clips -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["x.txt", "x.TXT", "x.mp4.txt", "X.txt", "captions/x.txt", "Captions/x.MP4.TXT"],
)
@pytest.mark.parametrize("nested", ["", "deep/er/"])
def test_texts_of_clips(tmp_path, text, nested):
    empty_clips(tmp_path, f"{nested}x.mp4", f"{nested}y.mp4")
    empty_clips(tmp_path, nested + text)
    (tmp_path / nested / text).write_text("one\ntwo\n")
    assert captions(tmp_path) == {f"{nested}x.mp4": ["one", "two"], f"{nested}y.mp4": []}


def test_texts_in_one_folder_for_all(tmp_path):
    empty_clips(tmp_path, "deep/x.mp4", "captions/deep/x.txt")
    (tmp_path / "captions" / "deep" / "x.txt").write_text("one")
    assert captions(tmp_path) == {"deep/x.mp4": ["one"]}


def test_texts_of_folders_of_frames(tmp_path):
    for name in ("a.v2", "b", "c"):
        write_clip(tmp_path / name, textures(2), "png")
    (tmp_path / "a.v2.txt").write_text("one")
    (tmp_path / "b" / "b.txt").write_text("two")
    (tmp_path / "c" / "caption.txt").write_text("three")
    assert captions(tmp_path) == {"a.v2": ["one"], "b": ["two"], "c": ["three"]}


def test_another_clips_text_is_not_taken(tmp_path):
    empty_clips(tmp_path, "x.mp4", "X.mp4")
    (tmp_path / "x.txt").write_text("small")
    if len(captions(tmp_path)) == 2:  # where letters of case tell files apart
        assert captions(tmp_path) == {"X.mp4": [], "x.mp4": ["small"]}


def test_texts_that_are_no_clips_are_mentioned(tmp_path):
    empty_clips(tmp_path, "x.mp4", "notes.txt", "deep/y.txt", "labels.csv")
    remarks = list_folder(tmp_path).remarks
    assert "passed over: texts that have no clip's name (notes.txt, deep/y.txt)" in remarks
    assert any("1 .csv; tables of captions are named captions.csv, " in remark for remark in remarks)


def test_captions_without_a_word_are_passed_over(tmp_path):
    empty_clips(tmp_path, "x.mp4", "y.mp4", "z.mp4")
    (tmp_path / "x.txt").write_text("???\n")
    (tmp_path / "y.txt").write_text("\N{GRINNING FACE}\na face\n", encoding="utf-8")
    (tmp_path / "captions.csv").write_text("file,caption\nz.mp4,...\nz.mp4,three\n")
    assert captions(tmp_path) == {"x.mp4": [], "y.mp4": ["a face"], "z.mp4": ["three"]}
    assert [str(problem) for problem in list_folder(tmp_path).problems] == [
        "captions.csv, line 2: has a caption without a word for z.mp4 ('...'): passed over",
        "x.txt: has a caption without a word ('???'): passed over",
        "y.txt: has a caption without a word ('\N{GRINNING FACE}'): passed over",
        "x.mp4: no caption: kept, but passed over where captions are used",
    ]


def test_columns_that_no_table_has(tmp_path):
    empty_clips(tmp_path, "x.mp4")
    with pytest.raises(UserError, match="has no table of captions"):
        list_folder(tmp_path, file_column="Datei")
    (tmp_path / "captions.csv").write_text("Datei,Inhalt\nx.mp4,one\n")
    with pytest.raises(UserError, match=r"captions\.csv: it has no column 'Film'; its columns are Datei, Inhalt"):
        list_folder(tmp_path, file_column="Film", caption_column="Inhalt")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "captions.csv").write_text("file,caption\nx.mp4,two\n")
    listing = list_folder(tmp_path, file_column="Datei", caption_column="Inhalt")
    assert listing.sources[0].captions == ("one",)
    assert [problem.name for problem in listing.problems] == ["deep/captions.csv"]


def test_a_table_that_is_not_understood_is_said_once(tmp_path):
    empty_clips(tmp_path, "x.mp4")
    (tmp_path / "captions.csv").write_text("url,seconds\nhttps://x.org,64\nhttps://y.org,12\n")
    (problem,) = list_folder(tmp_path).problems
    assert (problem.name, problem.action) == ("captions.csv", "its captions are not used")
    assert "(url, seconds) names no file" in problem.reason


def test_halves_of_characters_end_nothing(tmp_path):
    write_clip(tmp_path / "in" / "a.gif", textures(6))
    (tmp_path / "in" / "captions.jsonl").write_text(
        '{"file": "a.gif", "caption": "one \\ud800"}\n{"file": "\\ud800.gif", "caption": "two"}\n'
        '{"file": "a\\u0000.gif", "caption": "three"}\n'
    )
    report = prepare(list_folder(tmp_path / "in"), tmp_path / "out", SMALL, progress=False)
    assert str(report).encode()
    assert "line 2: names \N{REPLACEMENT CHARACTER}.gif, which is not there" in str(report)
    assert PreparedClips(tmp_path / "out").wordings() == ["one ?"]


# ---- splits of few clips ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [(30, (24, 3, 3)), (10, (8, 1, 1)), (100, (80, 10, 10)), (5, (3, 1, 1)), (2, (1, 1, 0)), (1, (1, 0, 0))],
)
def test_few_files_are_divided_as_the_shares_say(files, expected):
    for seed in range(5):
        hashes = [f"{number:032x}" for number in np.random.default_rng(seed).integers(1 << 62, size=files)]
        splits = list(_splits(dict.fromkeys(hashes, 1), SMALL).values())
        assert tuple(splits.count(name) for name in ("train", "validation", "test")) == expected


def test_of_many_files_none_moves_when_more_come():
    hashes = [f"{number << 66:032x}" for number in np.random.default_rng(0).integers(1 << 62, size=3000).tolist()]
    before, after = (_splits(dict.fromkeys(some, 1), SMALL) for some in (hashes[:2000], hashes))
    assert all(after[hashed] == split for hashed, split in before.items())


def test_thirty_files_and_some_captions(tmp_path):
    for number in range(30):
        path = write_clip(tmp_path / "in" / f"{number:02d}.gif", textures(12, number))
        if number < 10:
            path.with_suffix(".txt").write_text(f"number {number}")
    config = replace(SMALL, clips_per_file=0)
    report = prepare(list_folder(tmp_path / "in"), tmp_path / "out", config, progress=False)
    assert report.splits == {"train": 72, "validation": 9, "test": 9}
    by_file = {(record.source, record.split) for record in read_manifest(tmp_path / "out")}
    assert len(by_file) == 30
    assert [len(PreparedClips(tmp_path / "out", split)) for split in ("train", "validation", "test")] == [24, 3, 3]
    assert "30 of 90 clips have a caption: a model that draws from captions trains on these alone" in report.remarks


def test_a_folder_with_one_clip(tmp_path):
    write_clip(tmp_path / "in" / "a.gif", textures(6))
    report = prepare(list_folder(tmp_path / "in"), tmp_path / "out", SMALL, progress=False)
    assert report.splits == {"train": 1, "validation": 0, "test": 0}
    assert "no clip is held out for validation and test: whole files are, and there is only one" in report.remarks


def test_one_caption_among_many(tmp_path):
    for number in range(10):
        write_clip(tmp_path / "in" / f"{number}.gif", textures(6, number))
    (tmp_path / "in" / "3.txt").write_text("three")
    report = prepare(list_folder(tmp_path / "in"), tmp_path / "out", SMALL, progress=False)
    assert PreparedClips(tmp_path / "out").take(np.array([0])).captions == ["three"]
    assert report.remarks[-1] == (
        "no clip with a caption is held out for validation and test: whole files are, and there is only one"
    )


def test_names_in_remarks_are_few(tmp_path):
    empty_clips(tmp_path, "x.mp4", *(f"{number}.txt" for number in range(9)))
    assert any(remark.endswith("(0.txt, 1.txt, 2.txt, and 6 more)") for remark in list_folder(tmp_path).remarks)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    empty_clips(tmp_path, "x.mp4", "locked/y.mp4")
    real = os.scandir

    def refused(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert [str(problem) for problem in look_under(tmp_path).problems] == [
        "locked: cannot be listed (Permission denied): left out"
    ]
