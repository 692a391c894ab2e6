"""A folder of clips and the places where its prepared clips are kept."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from making_clips import textures, write_clip
from syncdraw.datasets.own_clips import prepare_clips, prepared_place
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.errors import UserError

SMALL = ClipConfig(frames=4, channels=1, height=12, width=16)


@pytest.fixture
def clips(tmp_path):
    for number in range(3):
        write_clip(tmp_path / "my_clips" / f"{number}.gif", textures(6, number))
    return tmp_path / "my_clips"


def prepared(folder, config=SMALL, **options):
    return prepare_clips(folder, config, progress=False, **options)


def test_each_way_to_cut_has_a_place_of_its_own(clips):
    changes = [
        {"height": 20},
        {"channels": 3},
        {"seed": 1},
        {"fit": "crop"},
        {"clips_per_file": 0},
        {"test_share": 0.5},
    ]
    others = [SMALL, *(replace(SMALL, **change) for change in changes)]
    places = [prepared(clips, config)[0] for config in others]
    assert len(set(places)) == len(others)
    assert {place.parent for place in places} == {clips.with_name("my_clips.prepared")}
    assert places[0].name.startswith("4x1x12x16-")
    for place, config in zip(places, others, strict=True):
        assert PreparedClips(place).config == config
        again, report = prepared(clips, config)
        assert (again, report.unchanged) == (place, True)


def test_the_place_is_found_from_anywhere(clips, monkeypatch):
    place = prepared_place(clips, SMALL)
    assert place.is_absolute()
    for here, name in (
        (clips.parent, "my_clips"),
        (clips.parent, "my_clips/"),
        (clips, "."),
        (clips / "deep", ".."),
        (clips, "../my_clips"),
    ):
        here.mkdir(exist_ok=True)
        monkeypatch.chdir(here)
        assert prepared_place(Path(name), SMALL) == place


def test_a_link_has_its_place_beside_itself(clips, tmp_path):
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "link").symlink_to(clips)
    assert prepared_place(tmp_path / "desk" / "link", SMALL).parent == tmp_path / "desk" / "link.prepared"


def test_another_place(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, report = prepared(clips, prepared=Path("cache"))
    assert (place.parent, report.clips) == (tmp_path / "cache", 3)
    assert not clips.with_name("my_clips.prepared").exists()
    shutil.copytree(clips, tmp_path / "other" / "my_clips")
    assert prepared(tmp_path / "other" / "my_clips", prepared=Path("cache"))[0] != place


def test_a_place_that_cannot_be_written_says_what_to_do(clips, tmp_path):
    (tmp_path / "my_clips.prepared").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write .*my_clips\.prepared/.*: Not a directory; .*--prepared"):
        prepared(clips)
    assert (tmp_path / "my_clips.prepared").read_text() == "mine"
    with pytest.raises(UserError, match=r"/ has no folder beside it; .*--prepared"):
        prepared_place(Path("/"), SMALL)


def test_what_is_prepared_can_be_used_where_nothing_can_be_written(clips, monkeypatch):
    place, report = prepared(clips)

    def refused(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    assert prepared(clips) == (place, replace(report, unchanged=True))
    shutil.copy(clips / "0.gif", clips / "new.gif")
    with pytest.raises(UserError, match=r"cannot write .*4x1x12x16-\w+: Read-only file system; .*--prepared"):
        prepared(clips)


def test_own_clips_beside_others_that_were_prepared_by_an_earlier_version(clips):
    from syncdraw.datasets.preparing import prepare
    from syncdraw.datasets.video_folder import list_folder

    old = clips.with_name("my_clips.prepared")
    prepare(list_folder(clips), old, SMALL, progress=False)
    place, _ = prepared(clips)
    assert place.parent == old
    assert len(PreparedClips(old)) == len(PreparedClips(place)) == 1
    with pytest.raises(UserError, match="beside prepared clips"):
        prepare(list_folder(clips), old, replace(SMALL, seed=1), progress=False)
    assert len(PreparedClips(place)) == 1


def test_columns_reach_the_tables(clips):
    (clips / "captions.csv").write_text("Datei,Inhalt\n0.gif,null\n1.gif,one\n2.gif,two\n")
    place, report = prepared(clips, file_column="datei", caption_column="inhalt")
    assert report.captioned == 3
    assert place != prepared_place(clips, SMALL)
