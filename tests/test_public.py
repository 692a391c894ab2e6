"""The public data sets, each in its own layout: made here, in the right codec, with everything that is odd about it."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from making_clips import levels, textures, write_clip
from syncdraw.datasets import tgif_download
from syncdraw.datasets.crossing import find_person
from syncdraw.datasets.decode import read_frames
from syncdraw.datasets.kth import KTH_CLIPS, list_kth, read_sequences
from syncdraw.datasets.persons import persons_in
from syncdraw.datasets.prepared import FRAMES, ClipConfig, PreparedClips, read_manifest
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.public import DATA_SETS
from syncdraw.datasets.tgif import gif_name, list_tgif
from syncdraw.datasets.tgif import read_table as read_tgif_table
from syncdraw.datasets.tgif_download import DEAD_LINKS, download_gifs
from syncdraw.datasets.ucf101 import class_words, list_ucf101, read_classes, read_list
from syncdraw.datasets.vgan_layout import list_vgan
from syncdraw.datasets.weizmann import ACTIONS, PERSONS, held_out, list_weizmann
from syncdraw.errors import UserError

prepared = partial(prepare, progress=False)
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def by_source(folder):
    records = {}
    for record in read_manifest(folder):
        records.setdefault(record.source, []).append(record)
    return records


# ---- KTH -------------------------------------------------------------------------------------------------------------


def crossing(*passes, gap=12, width=160, drift=0.0, exposure=0):
    """A film `[frame, 120, width, 3]` of somebody dark who crosses a noisy field, and when they are wholly in it.

    Each pass is a speed in pixels a frame, negative from right to left; before and after it, nobody is there.
    """
    rng = np.random.default_rng(0)
    field = rng.integers(110, 150, (120, width)).astype(float)
    images, ranges, inside = [], [], []
    for speed in passes:
        begin = len(images)
        steps = int(np.ceil((width + 30) / abs(speed)))
        wholly = []
        for step in range(-gap, steps + gap):
            image = field + rng.normal(0, 2, field.shape) + drift * len(images)
            if 0 <= step < steps:
                left = round(-30 + abs(speed) * step)
                left = left if speed > 0 else width - 30 - left
                image[30:110, max(0, left) : max(0, left + 30)] = 30
                image += exposure * (0 <= left <= width - 30)
                if 0 <= left <= width - 30:
                    wholly.append(len(images))
            images.append(image)
        ranges.append((begin, len(images) - 1))
        inside.append((wholly[0], wholly[-1] + 1))
    film = np.clip(images, 0, 255).astype(np.uint8)
    return np.repeat(film[..., None], 3, -1), ranges, inside


@pytest.mark.parametrize(
    "scene", [{}, {"drift": 0.15}, {"exposure": 12}, {"gap": 1}, {"width": 120}], ids=lambda scene: str(scene)
)
def test_a_person_who_crosses_is_found(scene):
    film, ranges, inside = crossing(-3.0, 3.5, -7.0, 6.0, **scene)
    for (first, last), (begin, end), way in zip(ranges, inside, ["right to left", "left to right"] * 2, strict=True):
        start, stop, direction = find_person(film[:, ::2, ::2, 0], first, last + 1)
        assert direction == way
        # At the edges, the person may be in the picture by six tenths.
        assert begin - 5 <= start <= begin
        assert end <= stop <= end + 5


def test_nobody_and_somebody_who_stays():
    empty = np.random.default_rng(0).integers(100, 104, (60, 60, 80)).astype(np.uint8)
    assert find_person(empty, 10, 50) == (10, 10, "")
    assert find_person(empty, 50, 50) == (50, 50, "")
    swaying = empty.copy()
    for number in range(20, 40):
        left = 30 + 4 * (number % 2)
        swaying[number, 20:50, left : left + 15] = 20
    assert find_person(swaying, 0, 60) == (20, 40, "")
    dark = empty.copy()
    dark[30:] = np.random.default_rng(1).integers(0, 256, (30, 60, 80))
    assert find_person(dark, 0, 60)[2] == ""


@pytest.fixture
def kth(tmp_path):
    """Five videos: two of crossing, flat and in a folder; one of boxing; one without ranges; one with another name."""
    folder = tmp_path / "kth"
    film, ranges, _ = crossing(-4.0, 4.0, -6.0)
    lines = {}
    for name in ("person01_walking_d1", "jogging/person22_jogging_d3"):
        write_clip(folder / f"{name}_uncomp.avi", film)
        lines[Path(name).name] = ", ".join(f"{first + 1}-{last + 1}" for first, last in ranges)
    write_clip(folder / "person11_handwaving_d2_uncomp.avi", levels(30, 120, 160))
    lines["person11_handwaving_d2"] = "1-12, 13-24, 25-60, 500-600"
    write_clip(folder / "person02_boxing_d4_uncomp.avi", levels(12, 120, 160))
    write_clip(folder / "holiday.avi", levels(12, 120, 160))
    lines["person05_running_d1"] = "1-40, 60-90"
    text = "person13_handclapping_d3\t*missing*\r\n\r\n"
    for number, (name, found) in enumerate(lines.items()):
        text += name + ("\t\tframes\t", "    \tframes ", " frames\t")[number % 3] + found + "\r\n"
    (folder / "00sequences.txt").write_text(text, newline="")
    return folder


def test_kth(kth, tmp_path):
    report = prepared(list_kth(kth), tmp_path / "out")
    records = by_source(tmp_path / "out")
    walking = records["person01_walking_d1_uncomp.avi"]
    assert [record.captions for record in walking] == [
        ["person 1 is walking right to left"],
        ["person 1 is walking left to right"],
        ["person 1 is walking right to left"],
    ]
    assert {record.split for record in walking} == {"validation"}
    jogging = records["jogging/person22_jogging_d3_uncomp.avi"]
    assert jogging[1].captions == ["person 22 is jogging left to right"]
    assert jogging[0].split == "test"
    waving = records["person11_handwaving_d2_uncomp.avi"]
    assert [(record.split, record.captions) for record in waving] == [
        ("train", ["person 11 is hand waving"]),
        ("train", ["person 11 is hand waving"]),
    ]
    assert [(record.first, record.length) for record in waving] == [(0, 12), (12, 12)]

    _, _, inside = crossing(-4.0, 4.0, -6.0)
    for record, (begin, end) in zip(walking, inside, strict=True):
        assert begin - 4 <= record.first <= begin
        assert end <= record.first + record.length < end + 4
    dark = np.load(tmp_path / "out" / FRAMES) < 60
    start, crossings = 0, 0
    for record in read_manifest(tmp_path / "out"):
        if record.measured:
            crossings += 1
            assert dark[start : start + record.length, 0].any((1, 2)).all()  # somebody in every frame
        start += record.length
    assert crossings == 6
    assert start == len(dark)
    walks = PreparedClips(tmp_path / "out", "validation")
    for index, record in enumerate(walks.records):
        frames = dict(read_frames(kth / record.source, walks.config))
        expected = [frames[record.first + number] for number in walks.window(index).frames.tolist()]
        np.testing.assert_array_equal(walks.take(np.array([index])).videos[0], expected)

    said = {problem.name: str(problem) for problem in report.problems}
    assert "holiday.avi: not named as KTH's videos are" in said["holiday.avi"]
    assert "has no frames for it" in said["person02_boxing_d4_uncomp.avi"]
    short = [str(problem) for problem in report.problems if "handwaving" in problem.name]
    assert "sub-sequence 3 (frames 25-60) is too short (it has 6 frames, a clip needs 10: 4 are missing)" in short[0]
    assert "sub-sequence 4 (frames 500-600) is too short (it has 0 frames" in short[1]
    assert report.remarks == [
        "1 of 4 videos that 00sequences.txt lists are not there",
        "missing in the data set itself: person13_handclapping_d3",
    ]
    assert prepared(list_kth(kth), tmp_path / "out").unchanged


def test_kth_of_some_actions_and_many_clips(kth, tmp_path):
    config = replace(KTH_CLIPS, clips_per_file=0)
    report = prepared(list_kth(kth, actions=("walking", "running")), tmp_path / "out", config)
    records = by_source(tmp_path / "out")
    assert records.keys() == {"person01_walking_d1_uncomp.avi"}
    (sequences,) = records.values()
    assert len(sequences) == 3
    assert report.clips == report.captioned == sum(record.length // 10 for record in sequences) > 6
    with pytest.raises(UserError, match="actions has 'dancing'"):
        prepared(list_kth(kth, actions=("dancing",)), tmp_path / "out")


def test_kth_says_when_a_direction_is_not_clear(tmp_path):
    film = np.full((60, 120, 160, 3), 128, np.uint8)
    for number in range(20, 45):
        film[number, 30:110, 60 + 2 * (number % 3) : 90] = 20
    write_clip(tmp_path / "in" / "person03_running_d1_uncomp.avi", film)
    (tmp_path / "in" / "00sequences.txt").write_text("person03_running_d1 frames 1-60")
    report = prepared(list_kth(tmp_path / "in"), tmp_path / "out")
    assert read_manifest(tmp_path / "out")[0].captions == ["person 3 is running"]
    assert report.problems[0].action == "captioned without one"


def test_kth_that_is_not_there(kth, tmp_path):
    with pytest.raises(UserError, match="has no videos of KTH"):
        prepared(list_kth(kth, actions=("running",)), tmp_path / "out")
    (kth / "00sequences.txt").unlink()
    with pytest.raises(UserError, match=r"has no 00sequences\.txt"):
        prepared(list_kth(kth), tmp_path / "out")


def test_kth_with_a_broken_video(kth, tmp_path):
    path = kth / "person01_walking_d1_uncomp.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (kth / "jogging" / "person22_jogging_d3_uncomp.avi").write_bytes(b"nonsense")
    report = prepared(list_kth(kth), tmp_path / "out")
    assert 1 <= len(by_source(tmp_path / "out")[path.name]) <= 2
    reasons = {problem.name: problem.reason for problem in report.problems}
    assert "too short" in reasons[path.name]
    assert "unreadable" in reasons["jogging/person22_jogging_d3_uncomp.avi"]


def test_sequences(tmp_path):
    path = tmp_path / "00sequences.txt"
    path.write_text(
        "Some prose first.\nperson01_boxing_d1\t\tframes\t1-95, 96-185, 186-245, 246-360\r\n"
        "person02_walking_d2  \t frames  1 - 5,7-9 \nperson13_handclapping_d3\t*missing*\n"
        "person04_walking_d1 frames 9-5\nperson04_walking_d2 frames 0-5\nperson04_walking_d3 frames many\n"
    )
    ranges, missing, problems = read_sequences(path)
    assert ranges == {
        "person01_boxing_d1": [(0, 94), (95, 184), (185, 244), (245, 359)],
        "person02_walking_d2": [(0, 4), (6, 8)],
    }
    assert missing == {"person13_handclapping_d3"}
    assert [problem.name for problem in problems] == [f"00sequences.txt, line {number}" for number in (5, 6, 7)]


# ---- UCF-101 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ucf(tmp_path):
    folder = tmp_path / "ucf"
    names = [f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{group:02d}_c01.avi" for group in range(8, 14)]
    names += ["HandstandPushups/v_HandStandPushups_g01_c01.avi", "v_YoYo_g09_c02.avi"]
    for number, name in enumerate(names):
        write_clip(folder / name, textures(40, number))
    write_clip(folder / "YoYo" / "v_YoYo_g25_c05.avi", textures(40, 20))
    write_clip(folder / "YoYo" / "v_YoYo_g09_c02.avi", textures(40, 7))
    write_clip(folder / "v_Juggling_g01_c01.avi", textures(40, 21))
    lists = folder / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(b"1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n101 YoYo\r\n")
    train = [f"{name} 1\r\n" for name in names[:6]] + ["YoYo/v_YoYo_g09_c02.avi 101\r\n", "YoYo/v_YoYo_g10_c01.avi 101"]
    (lists / "trainlist01.txt").write_text("".join(train), newline="")
    (lists / "testlist01.txt").write_text("HandstandPushups/v_HandStandPushups_g01_c01.avi\n\n", newline="")
    return folder


def test_ucf101(ucf, tmp_path):
    config = ClipConfig(frames=32, channels=3, height=24, width=24, fit="crop", validation_share=0.4, test_share=0)
    report = prepared(list_ucf101(ucf), tmp_path / "out", config)
    records = {name: found[0] for name, found in by_source(tmp_path / "out").items()}
    assert len(records) == 8
    assert PreparedClips(tmp_path / "out").shape == (32, 3, 24, 24)
    assert records["HandstandPushups/v_HandStandPushups_g01_c01.avi"].split == "test"
    assert records["HandstandPushups/v_HandStandPushups_g01_c01.avi"].captions == ["handstand pushups"]
    assert records["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"].captions == ["apply eye makeup"]
    assert Counter(record.split for record in records.values())["test"] == 1
    assert {record.split for record in records.values()} == {"train", "validation", "test"}
    said = {problem.name: problem.reason for problem in report.problems}
    assert said == {
        "YoYo/v_YoYo_g09_c02.avi": "a second copy of a video",
        "YoYo/v_YoYo_g25_c05.avi": "in neither list of fold 1",
        "v_Juggling_g01_c01.avi": "not named as UCF-101's videos are (v_Archery_g01_c01.avi)",
    }
    assert report.remarks == ["1 of 9 videos that the lists of fold 1 name are not there"]


def test_ucf101_holds_whole_groups_of_the_training_list_out(ucf, tmp_path):
    train = ucf / "ucfTrainTestlist" / "trainlist01.txt"
    for clip in range(2, 4):
        for group in range(8, 14):
            name = f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{group:02d}_c{clip:02d}.avi"
            write_clip(ucf / name, textures(40, 100 * clip + group))
            train.write_text(train.read_text() + f"\n{name} 1")
    config = ClipConfig(frames=32, height=8, width=8, validation_share=0.3, test_share=0.5)
    prepared(list_ucf101(ucf), tmp_path / "out", config)
    groups = {}
    for record in read_manifest(tmp_path / "out"):
        groups.setdefault(record.source.rpartition("_c")[0].rpartition("/")[2], set()).add(record.split)
    assert all(len(splits) == 1 for splits in groups.values())
    held = Counter(split for splits in groups.values() for split in splits)
    assert held == {"train": 5, "validation": 2, "test": 1}  # 0.3 of seven groups; the test list alone is for test


def test_ucf101_lists(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(
        "A/v_A_g01_c01.avi 1\nA/v_A_g01_c02.avi\nA/v_A_g01_c03.avi 2\nA/v_A_g01_c04.avi 9\nA/v_A_g01_c05.avi x\n"
        "A\\v_A_g01_c06.avi 1\nsomething else\nv_A_g01_c07.avi 1 1\n"
    )
    names, problems = read_list(path, {1: "A", 2: "B"})
    assert names == ["v_A_g01_c01.avi", "v_A_g01_c02.avi", "v_A_g01_c06.avi"]
    assert [problem.name for problem in problems] == [f"list.txt, line {number}" for number in (3, 4, 5, 7, 8)]
    assert "says class 2, which is B" in problems[0].reason
    path.write_text("")
    with pytest.raises(UserError, match="names no classes"):
        read_classes(path)
    assert class_words("YoYo") == "yo yo"


def test_ucf101_that_is_not_there(ucf, tmp_path):
    with pytest.raises(UserError, match="fold is 4"):
        prepared(list_ucf101(ucf, fold=4), tmp_path / "out")
    with pytest.raises(UserError, match=r"has no trainlist02\.txt"):
        prepared(list_ucf101(ucf, fold=2), tmp_path / "out")
    (ucf / "ucfTrainTestlist" / "trainlist01.txt").write_text("")
    (ucf / "ucfTrainTestlist" / "testlist01.txt").write_text("")
    with pytest.raises(UserError, match="has none of the videos"):
        prepared(list_ucf101(ucf), tmp_path / "out")


# ---- TGIF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "persons"),
    [
        ("A man in a hat is waving.", "one"),
        ("a man are sticking out his tongue", "one"),
        ("a man lifts a box, and the man smiles", "one"),
        ("someone pours milk over cereal", "one"),
        ("a young female tennis player hits the ball", "one"),
        ("the boy's hair is blown by the wind", "one"),
        ("a girl dancer turns", "one"),
        ("a skate boarder jumps over a bench", "one"),
        ("a man feeds a baby elephant", "one"),
        ("a woman is looking at the man", "several"),
        ("a man points at another man", "several"),
        ("a girl kisses a boy", "several"),
        ("a girl kisses boy", "several"),
        ("a male and female are dancing", "several"),
        ("two women are laughing", "several"),
        ("a singer waves to the crowd", "several"),
        ("a man sits beside three others", "several"),
        ("a couple is sitting on a bench", "several"),
        ("a cat is chasing a ball", "none"),
        ("a cartoon girl is crying", "none"),
        ("a baby panda rolls down a hill", "none"),
        ("", "none"),
    ],
)
def test_how_many_persons(sentence, persons):
    assert persons_in(sentence) == persons


def address(name):
    return f"https://38.media.example.com/0a1b/{name}"


@pytest.fixture
def tgif(tmp_path):
    folder = tmp_path / "tgif"
    for number, name in enumerate(["tumblr_a_500.gif", "deep/tumblr_b_r1_400.gif", "tumblr_c.gif", "tumblr_short.gif"]):
        write_clip(folder / "gifs" / name, textures(3 if "short" in name else 30, number, 40, 72))
    rows = [
        ("tumblr_a_500.gif", "a man is dancing."),
        ("tumblr_b_r1_400.gif", "a woman  smiles"),
        ("tumblr_a_500.gif", "a person in red moves"),
        ("tumblr_c.gif", "a boy sees another boy"),
        ("tumblr_c.gif", "a boy jumps"),
        ("tumblr_short.gif", "a girl winks"),
        ("tumblr_gone.gif", "a man sleeps"),
    ]
    text = "".join(f"{address(name)}\t{sentence}\n" for name, sentence in rows)
    (folder / "tgif-v1.0.tsv").write_text(text + "\nno tab here\nhttps://example.com/x.png\ta man\n")
    (folder / "splits").mkdir()
    (folder / "splits" / "train.txt").write_text(
        address("tumblr_a_500.gif") + "\r\n" + address("tumblr_c.gif") + "\r\n"
    )
    (folder / "splits" / "test.txt").write_text(address("tumblr_b_r1_400.gif") + "\n")
    return folder


def test_tgif(tgif, tmp_path):
    report = prepared(list_tgif(tgif), tmp_path / "out")
    records = {name: found[0] for name, found in by_source(tmp_path / "out").items()}
    assert {name: (record.split, record.captions) for name, record in records.items()} == {
        "gifs/tumblr_a_500.gif": ("train", ["a man is dancing.", "a person in red moves"]),
        "gifs/deep/tumblr_b_r1_400.gif": ("test", ["a woman smiles"]),
    }
    assert [record.length for record in records.values()] == [30, 30]
    for split in ("train", "test"):
        dataset = PreparedClips(tmp_path / "out", split)
        (frames,) = (dataset.window(index).frames for index in range(len(dataset)))
        assert (np.diff(frames) > 0).all()
        assert (np.diff(frames) > 1).any()
    videos = np.stack(
        [PreparedClips(tmp_path / "out", split).take(np.array([0])).videos[0] for split in ("train", "test")]
    )
    assert videos.shape == (2, 10, 1, 128, 128)
    assert not videos[:, :, :, :28].any()  # 72 x 40 becomes 128 x 71, the rest is zeros
    assert videos[:, :, :, 40:90].any()
    assert report.remarks == [
        "5 of 7 rows are of GIFs that show one person, by their sentences (2 of 4 in train, 1 of 1 in test)",
        "1 of these 4 GIFs are not there",
    ]
    said = [str(problem) for problem in report.problems]
    assert [line.partition(":")[0] for line in said] == [
        "tgif-v1.0.tsv, line 9",
        "tgif-v1.0.tsv, line 10",
        "gifs/tumblr_short.gif",
    ]
    everything = prepared(list_tgif(tgif, one_person=False), tmp_path / "all")
    assert everything.clips == 3


def test_tgif_knows_a_gif_by_its_name(tgif, tmp_path):
    """A list may hold another address of it than the table: the servers were renamed in between."""
    (tgif / "splits" / "test.txt").write_text("http://33.media.example.org/ffff/tumblr_b_r1_400.gif\n")
    with (tgif / "tgif-v1.0.tsv").open("a") as file:
        file.write("http://33.media.example.org/ffff/tumblr_a_500.gif\tone person bows\n")
    report = prepared(list_tgif(tgif), tmp_path / "out")
    records = {name: found[0] for name, found in by_source(tmp_path / "out").items()}
    assert {name: record.split for name, record in records.items()} == {
        "gifs/tumblr_a_500.gif": "train",
        "gifs/deep/tumblr_b_r1_400.gif": "test",
    }
    assert len(records["gifs/tumblr_a_500.gif"].captions) == 3
    assert "6 of 8 rows" in report.remarks[0]


def test_tgif_never_trains_on_what_may_be_held_out(tgif, tmp_path):
    lists = tgif / "splits"
    test = lists / "test.txt"
    with (lists / "train.txt").open("a") as file:
        file.write("https://x.org/tumblr_b_r1_400.gif\n")  # in both lists
    assert {source.name: source.split for source in list_tgif(tgif).sources} == {
        "gifs/tumblr_a_500.gif": "train",
        "gifs/deep/tumblr_b_r1_400.gif": "test",
        "gifs/tumblr_short.gif": "validation",  # in neither list, and that of validation is not at hand
    }
    (lists / "train.txt").write_bytes(b"\xef\xbb\xbf" + address("tumblr_a_500.gif").encode())  # begins with a mark
    test.rename(lists / "val.txt")
    splits = {source.name: source.split for source in list_tgif(tgif).sources}
    assert list(splits.values()) == ["train", "validation", "test"]
    test.write_text("")
    listing = list_tgif(tgif)
    assert [source.split for source in listing.sources] == ["train", "validation"]
    assert str(listing.problems[-1]) == (
        "gifs/tumblr_short.gif: in none of the lists of train, validation and test: left out"
    )
    (lists / "train.txt").unlink()
    assert [source.split for source in list_tgif(tgif).sources] == [None, "validation", None]


def test_tgif_that_is_not_there(tgif, tmp_path):
    (tgif / "second.tsv").write_text("")
    with pytest.raises(UserError, match=r"must have one \.tsv table .* \(it has: second\.tsv, tgif-v1\.0\.tsv\)"):
        prepared(list_tgif(tgif), tmp_path / "out")
    with pytest.raises(UserError, match="has none of the 0 GIFs"):
        prepared(list_tgif(tgif, table=tgif / "second.tsv"), tmp_path / "out")
    with pytest.raises(UserError, match="cannot read"):
        prepared(list_tgif(tgif, table=tgif / "third.tsv"), tmp_path / "out")


GIF = b"GIF89a a picture;"


@pytest.fixture
def server(monkeypatch):
    """A server on this machine alone. It remembers what it was asked, and does to each name what `answers` says."""
    asked: list[str] = []
    answers: dict[str, list[object]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            asked.append(name)
            queue = answers.get(name, [404])
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(answer, bytes):
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer) + 10 * (name == "broken.gif" and len(queue) > 1)))
                self.end_headers()
                self.wfile.write(answer)
            elif isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                self.end_headers()
            else:
                self.send_response(answer)
                self.send_header("Retry-After", "0")
                self.end_headers()

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("no_proxy", "*")
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}/x", asked, answers
    found.shutdown()
    found.server_close()


def test_download(server, tmp_path):
    host, asked, answers = server
    (tmp_path / "there.gif").write_bytes(GIF)
    (tmp_path / "secret.gif").write_bytes(GIF)
    answers |= {
        "good.gif": [GIF],
        "moved.gif": [f"{host}/good.gif"],
        "page.gif": [b"<html>removed</html>"],
        "busy.gif": [503, 429, GIF],
        "broken.gif": [GIF, GIF, GIF],
        "down.gif": [500],
        "thief.gif": [f"file://{tmp_path}/secret.gif"],
    }
    names = [*answers, "dead.gif", "there.gif", "good.gif"]
    addresses = [f"{host}/{name}" for name in names]
    addresses += [f"file://{tmp_path}/there.gif", f"{host}/..%2Fup.gif", f"{host}/.gif", "nonsense", "http://[/a.gif"]
    done = download_gifs(addresses, tmp_path / "gifs", delay=0, timeout=5, progress=False)
    assert sorted(path.name for path in (tmp_path / "gifs").iterdir()) == sorted(
        [DEAD_LINKS, "good.gif", "moved.gif", "busy.gif", "broken.gif"]
    )
    assert (tmp_path / "gifs" / "broken.gif").read_bytes() == GIF
    assert (done.fetched, done.present) == (4, 0)
    # Those that failed for now are asked again; those that are dead are not.
    assert sorted(Path(one).name for one in done.failed) == ["down.gif", "thief.gif"]
    answers["down.gif"] = [GIF]
    asked.clear()
    again = download_gifs(addresses, tmp_path / "gifs", delay=0, timeout=5, progress=False)
    assert set(asked) == {"down.gif", "thief.gif"}
    assert (again.fetched, again.present, again.dead) == (1, 4, 8)
    assert "1 fetched, 4 there before, 8 dead links, 1 failed" in str(again)


def test_download_gives_up_politely(server, tmp_path):
    host, asked, answers = server
    answers["busy.gif"] = [429]
    with pytest.raises(UserError, match="answers 429"):
        download_gifs([f"{host}/busy.gif"], tmp_path / "gifs", delay=0, progress=False)
    assert len(asked) == 4
    closed = "http://127.0.0.1:9/x"  # nobody listens there
    with pytest.raises(UserError, match="10 addresses in a row cannot be reached"):
        download_gifs([f"{closed}/{n}.gif" for n in range(30)], tmp_path / "gifs", delay=0, timeout=1, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        download_gifs([f"{host}/a.gif"], tmp_path / "file", delay=0, progress=False)


def test_download_waits_between_requests(server, tmp_path, monkeypatch):
    host, _, answers = server
    answers |= {"a.gif": [GIF], "b.gif": [503, GIF]}
    waits = []
    monkeypatch.setattr(tgif_download.time, "sleep", waits.append)
    download_gifs([f"{host}/{n}.gif" for n in "abc"], tmp_path / "gifs", delay=0.25, progress=False)
    assert waits == [0.25, 0.0, 0.25, 0.25]  # after b's first answer, the 0 seconds that the server asked for


def test_tgif_with_download(server, tmp_path):
    host, asked, answers = server
    folder = tmp_path / "tgif"
    gif = write_clip(tmp_path / "made.gif", textures(12)).read_bytes()
    answers |= {"one.gif": [gif], "cat.gif": [gif]}
    folder.mkdir()
    (folder / "t.tsv").write_text(f"{host}/one.gif\ta man runs\n{host}/cat.gif\ta cat runs\n{host}/dead.gif\ta man\n")
    with pytest.raises(UserError, match="has none of the 2 GIFs"):
        prepared(list_tgif(folder), tmp_path / "out")
    assert asked == []  # nothing is fetched unless asked for
    report = prepared(list_tgif(folder, download=True), tmp_path / "out")
    assert sorted(asked) == ["dead.gif", "one.gif"]
    assert report.clips == 1
    assert "download: 1 fetched, 0 there before, 1 dead links, 0 failed and to be tried again" in report.remarks


# ---- VGAN ------------------------------------------------------------------------------------------------------------


def stack(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(path, quality=95)
    return path


@pytest.fixture
def vgan(tmp_path):
    folder = tmp_path / "vgan"
    for number, count in enumerate([32, 40, 20]):
        frames = levels(count, 128, 128) // 2
        frames[..., 0] += 100
        stack(folder / "frames-stable-many" / "beach7" / f"{number}.jpg", frames)
    Image.new("RGB", (128, 300)).save(folder / "odd.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    names = [f"frames-stable-many/beach7/{number}.jpg" for number in range(3)]
    lines = [
        names[0],
        f"./{names[1]} 40",
        f"{names[2]}\t20",
        names[0],
        "odd.jpg",
        "broken.jpg",
        "gone.jpg",
        "../up.jpg",
    ]
    (folder / "list.txt").write_text("\n".join(lines) + "\n\n")
    return folder


def test_vgan(vgan, tmp_path):
    report = prepared(list_vgan(vgan), tmp_path / "out")
    stored = np.load(tmp_path / "out" / FRAMES)
    assert stored.shape == (32 + 40 + 32, 3, 64, 64)
    assert [(record.first, record.length) for record in read_manifest(tmp_path / "out")] == [(0, 32), (0, 40), (0, 32)]
    shown = (range(32), range(40), [*range(20), *[19] * 12])
    for numbers, video in zip(shown, np.split(stored, [32, 72]), strict=True):
        level = np.array(numbers) * 8 % 256 // 2
        np.testing.assert_allclose(video[:, 1].mean((1, 2)), level, atol=3)
        np.testing.assert_allclose(video[:, 0].mean((1, 2)), level + 100, atol=3)
    said = {problem.name: (problem.reason, problem.action) for problem in report.problems}
    assert said["frames-stable-many/beach7/2.jpg"] == (
        "too short (it has 20 frames, a clip needs 32: 12 are missing)",
        "its last frame is repeated",
    )
    assert "128 x 300 pixels are no stack of square frames" in said["odd.jpg"][0]
    assert "unreadable" in said["broken.jpg"][0]
    assert said["gone.jpg"] == ("is listed, but not there", "left out")
    assert said["../up.jpg"] == ("not in the folder of the data set", "left out")


def test_vgan_lists(vgan, tmp_path):
    (vgan / "other.txt").write_text("frames-stable-many/beach7/1.jpg\n")
    with pytest.raises(UserError, match=r"has several lists \(list\.txt, other\.txt\)"):
        prepared(list_vgan(vgan), tmp_path / "out")
    assert prepared(list_vgan(vgan, list_file=vgan / "other.txt"), tmp_path / "out").clips == 1
    (vgan / "other.txt").write_text("\n")
    with pytest.raises(UserError, match="names no clip"):
        prepared(list_vgan(vgan, list_file=vgan / "other.txt"), tmp_path / "out")
    (vgan / "other.txt").write_text("a.jpg\n")
    with pytest.raises(UserError, match="has none of the 1 clips"):
        prepared(list_vgan(vgan, list_file=vgan / "other.txt"), tmp_path / "out")
    (vgan / "other.txt").unlink()
    (vgan / "list.txt").unlink()
    assert prepared(list_vgan(vgan), tmp_path / "every").clips == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no JPEGs"):
        prepared(list_vgan(tmp_path / "empty"), tmp_path / "out")


# ---- Weizmann --------------------------------------------------------------------------------------------------------


def acting(speed, count=24):
    """A small film `[frame, 36, 45, 3]` of somebody dark who crosses a wall by so many pixels a frame, or stands."""
    wall = np.random.default_rng(0).integers(110, 150, (36, 45, 1)).repeat(3, 2)
    film = np.stack([wall] * count).astype(np.uint8)
    for number, image in enumerate(film):
        left = round(speed * number) if speed >= 0 else round(39 + speed * number)
        image[10:32, max(0, left) : max(0, left + 6), :] = [20, 30, 90]
    return film


@pytest.fixture
def weizmann(tmp_path):
    """Seven films of five pairs: flat, in a folder of their action, and as frames; two by other names."""
    folder = tmp_path / "weizmann"
    for name in ("eli_wave2.avi", "walk/lena_walk1.avi", "walk/lena_walk2.avi", "wave1/Daria_Wave1.avi"):
        write_clip(folder / name, acting({"1.avi": 1.6, "2.avi": -1.6}[name[-5:]] if "walk" in name else 0))
    write_clip(folder / "run" / "shahar_run", acting(2.5, 19), "png")
    write_clip(folder / "eli_walk.avi", acting(1.6))
    write_clip(folder / "eli_run.avi", acting(0.1))
    write_clip(folder / "bob_walk.avi", acting(1))
    write_clip(folder / "daria_wave.avi", acting(0))
    return folder


def test_weizmann(weizmann, tmp_path):
    report = prepared(list_weizmann(weizmann), tmp_path / "out")
    records = {name: record for name, (record,) in by_source(tmp_path / "out").items()}
    assert {name: record.captions for name, record in records.items()} == {
        "eli_run.avi": ["person 3 is running"],
        "eli_walk.avi": ["person 3 is walking left to right"],
        "eli_wave2.avi": ["person 3 is waving both hands"],
        "run/shahar_run": ["person 9 is running left to right"],
        "walk/lena_walk1.avi": ["person 6 is walking left to right"],
        "walk/lena_walk2.avi": ["person 6 is walking right to left"],
        "wave1/Daria_Wave1.avi": ["person 1 is waving one hand"],
    }
    # Films are stored whole.
    assert {record.length for name, record in records.items() if name != "run/shahar_run"} == {24}
    said = {problem.name: (problem.reason, problem.action) for problem in report.problems}
    assert said == {
        "bob_walk.avi": (f"'bob' is none of the persons {', '.join(PERSONS)}", "left out"),
        "daria_wave.avi": (f"'wave' is none of the actions {', '.join(ACTIONS)}", "left out"),
        "eli_run.avi": ("has no clear direction", "captioned without one"),
    }
    clips = PreparedClips(tmp_path / "out")
    assert clips.shape == (10, 3, 56, 70)
    (number,) = (index for index, record in enumerate(clips.records) if record.source == "eli_walk.avi")
    windows = {tuple(clips.window(number, 0, epoch).frames.tolist()) for epoch in range(40)}
    assert windows == {tuple(range(start, start + 19, 2)) for start in range(6)}
    frames = dict(read_frames(weizmann / "eli_walk.avi", clips.config))
    expected = [frames[frame] for frame in clips.window(number, 0, 3).frames.tolist()]
    shown = clips.take(np.array([number]), 0, 3).videos[0]
    np.testing.assert_array_equal(shown, expected)
    dark = shown.sum(1) < 200
    red, green, blue = (shown[:, channel][dark].mean() for channel in range(3))
    assert red < green < blue - 30
    assert prepared(list_weizmann(weizmann), tmp_path / "out").unchanged


def test_weizmann_holds_whole_pairs_out(tmp_path):
    """All 93 films: each person and each action is trained on, and no pair that is held out, mirrored or not."""
    names = [f"{person}_{action}" for person in PERSONS for action in ACTIONS]
    for action in ("run", "skip", "walk"):
        names.remove(f"lena_{action}")
        names += [f"lena_{action}1", f"lena_{action}2"]
    for name in names:
        write_clip(tmp_path / "in" / name, acting(-7 if name.endswith("2") else 7, 5), "png")
    config = ClipConfig(frames=2, height=24, width=30, mirror="exchanged")
    report = prepared(list_weizmann(tmp_path / "in"), tmp_path / "out", config)
    assert sum(report.splits.values()) == len(names) == 93
    assert "23 of 90 pairs of a person and an action are kept from training" in report.remarks

    def told(split):
        """Of each person and what they do, in the clips of a split: the directions."""
        found = {}
        for caption in PreparedClips(tmp_path / "out", split).told():
            person, words, way = re.fullmatch(r"person (\d) is (.+?)( \w+ to \w+|)", caption).groups()
            found.setdefault((int(person), words), set()).add(way.strip())
        return found

    train, validation, test = told("train"), told("validation"), told("test")
    assert (len(train), len(validation), len(test)) == (67, 12, 11)
    pairs = train.keys() | validation.keys() | test.keys()
    assert pairs == {(number, words) for number in range(1, 10) for words in ACTIONS.values()}
    for side in (0, 1):
        everything = {pair[side] for pair in train}
        assert everything == {pair[side] for pair in validation} == {pair[side] for pair in test}
        assert min(Counter(pair[side] for pair in train).values()) >= (7, 6)[side]
    # Mirrored clips, with their captions, are seen in training alone.
    crossing = {"jumping forward", "running", "galloping sideways", "skipping", "walking"}
    for (_, words), ways in train.items():
        assert ways == ({"left to right", "right to left"} if words in crossing else {""})
    assert all(ways == {"left to right"} for (_, words), ways in validation.items() if words in crossing)
    splits = {record.source: record.split for record in read_manifest(tmp_path / "out")}
    for action in ("run", "skip", "walk"):
        assert splits[f"lena_{action}1"] == splits[f"lena_{action}2"]


PAIRS = st.tuples(st.integers(0, 8), st.integers(0, 9))


@FUZZ
@given(st.sets(PAIRS))
def test_whichever_films_are_there_each_person_and_action_is_seen(pairs):
    held = held_out(pairs)
    train = pairs - held.keys()
    assert held.keys() <= pairs
    for side in (0, 1):
        assert {pair[side] for pair in train} == {pair[side] for pair in pairs}
    everything = held_out((person, action) for person in range(9) for action in range(10))
    assert held.items() <= everything.items()  # more films move no pair between validation and test


def test_weizmann_with_films_that_are_of_no_use(weizmann, tmp_path):
    write_clip(weizmann / "ido_jump.avi", acting(1.6, 12))
    (weizmann / "ira_skip.avi").write_bytes(b"nonsense")
    write_clip(weizmann / "copies" / "eli_wave2.avi", acting(0))
    write_clip(weizmann / "pictures", acting(0, 2), "png")
    report = prepared(list_weizmann(weizmann), tmp_path / "out")
    said = {problem.name: str(problem) for problem in report.problems}
    assert said["ido_jump.avi"].endswith(
        "too short (it has 12 frames, a clip needs 19 (10 at a stride of 2): 7 are missing): left out"
    )
    assert "unreadable" in said["ira_skip.avi"]
    assert "not named as Weizmann's films are (daria_bend.avi)" in said["pictures"]
    assert {name for name, text in said.items() if "a second copy of a film" in text} == {"copies/eli_wave2.avi"}
    assert len(by_source(tmp_path / "out")) == 7
    (tmp_path / "others").mkdir()
    write_clip(tmp_path / "others" / "holiday.avi", acting(0))
    for nothing in ("others", "weizmann/wave1/Daria_Wave1.avi", "nowhere"):
        with pytest.raises(UserError) as caught:
            list_weizmann(tmp_path / nothing)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"others has no films of Weizmann such as daria_bend\.avi"):
        list_weizmann(tmp_path / "others")


# ---- all of them -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sprites(tmp_path):
    for layer in ("body", "bottomwear", "topwear", "hair", "shoes"):
        (tmp_path / "sprites" / layer).mkdir(parents=True)
        Image.new("RGBA", (832, 1344), "red").save(tmp_path / "sprites" / layer / "1.png")
    return tmp_path / "sprites"


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_data_set_checks_without_writing(name, request, tmp_path):
    if name == "folder":
        source = tmp_path / "in"
        write_clip(source / "a.gif", textures(12))
    else:
        source = request.getfixturevalue({"ucf101": "ucf"}.get(name, name))
    before = sorted(tmp_path.rglob("*"))
    listing = DATA_SETS[name][0](source)
    report = prepared(listing, check=True)
    assert report.clips > 0
    assert sorted(tmp_path.rglob("*")) == before
    assert json.dumps(str(report))
    assert prepared(listing, tmp_path / "out") == report
    assert PreparedClips(tmp_path / "out").config == listing.config == DATA_SETS[name][1]


@FUZZ
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore"))))
def test_fuzz_lists(tmp_path, data):
    """Whatever is in a list, reading it ends in rows, in complaints, or in a sentence for the user."""
    path = tmp_path / "list.txt"
    for content in (
        data,
        b"person01_walking_d1 frames 1-5, " + data,
        b"person01_walking_d1 " + data,
        b"A/v_A_g01_c01.avi " + data,
        b"1 " + data,
        b"http://x/a.gif\t" + data,
        b"http://" + data + b"/a.gif\ta man",
    ):
        path.write_bytes(content)
        for read in (read_sequences, read_classes, lambda path: read_list(path, {1: "A"}), read_tgif_table):
            try:
                read(path)
            except UserError as error:
                assert "\n" not in str(error).strip()  # noqa: PT017 (both outcomes are right)
        text = content.decode("latin-1")
        assert persons_in(text) in ("none", "one", "several")
        assert "/" not in tgif_download._file_name(text)
        gif_name(text)
