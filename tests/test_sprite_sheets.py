"""The sprites of Li and Mandt, of sheets that are made here: red is a cell's row, green its column, blue the sheet."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from syncdraw import cli
from syncdraw.datasets.prepared import FRAMES, PreparedClips, read_manifest
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.sprite_sheets import CHOSEN, SHOES, SPRITE_CLIPS, benchmark_splits, list_sprites
from syncdraw.errors import UserError

LAYERS = (*CHOSEN, SHOES)


def sheet(path, blue=0, columns=slice(None), alpha=255):
    """A sheet of cells that are painted in some of their columns, and transparent in the others."""
    row, column = np.indices((21, 13))
    cells = np.stack([10 * row, 10 * column, np.full_like(row, blue), np.full_like(row, alpha)], -1).astype(np.uint8)
    pixels = cells.repeat(64, 0).repeat(64, 1).reshape(21 * 64, 13, 64, 4)
    shown = np.zeros_like(pixels)
    shown[:, :, columns] = pixels[:, :, columns]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shown.reshape(21 * 64, 13 * 64, 4)).save(path, compress_level=1)
    return path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Two sheets a layer. Each layer is painted 12 columns further right than the one below it, and over its rest."""
    folder = tmp_path_factory.mktemp("drawn")
    for place, layer in enumerate(LAYERS):
        for number in range(2):
            sheet(folder / layer / f"{number}.png", 20 * place + number, slice(12 * place, 60))
    (folder / "eyes").mkdir()
    (folder / "README.md").write_text("sheets")
    return folder


@pytest.fixture
def sheets(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "Sprites")


@pytest.fixture
def few(sheets):
    """Sheets of four characters."""
    for layer in ("body", "bottomwear"):
        (sheets / layer / "1.png").unlink()
    return sheets


@pytest.fixture
def six(sheets):
    """The layout as released: six sheets of each layer and more, one picture in all of them."""
    for layer in CHOSEN:
        for number in range(2, 6):
            shutil.copy(sheets / layer / "0.png", sheets / layer / f"{number}.png")
    shutil.copy(sheets / "hair" / "0.png", sheets / "hair" / "6.png")
    return sheets


def sequences(folder):
    """The frames `[frame, channel, height, width]` of each sequence, by its source and what is measured."""
    frames = np.load(folder / FRAMES)
    start, found = 0, {}
    for record in read_manifest(folder):
        found[record.source, record.measured] = frames[start : start + record.length]
        start += record.length
    return found


def prepared(listing, folder, **settings):
    return prepare(listing, folder, replace(SPRITE_CLIPS, **settings), progress=False)


BENCHMARK = {
    "is walking": (8, [8, 1, 2, 3, 4, 5, 6, 7]),
    "is casting a spell": (0, [0, 1, 2, 3, 4, 5, 4, 6]),
    "is swinging a sword": (12, [0, 1, 2, 3, 4, 5, 4, 0]),
}
REST = {
    "is thrusting a spear": (4, [0, 1, 2, 3, 4, 5, 6, 7]),
    "is shooting a bow": (16, [0, 2, 3, 5, 7, 9, 10, 12]),
}


@pytest.mark.parametrize(
    ("which", "does", "faces"),
    [
        ("benchmark", BENCHMARK, {"left": 1, "forward": 2, "right": 3}),
        ("all", BENCHMARK | REST, {"away": 0, "left": 1, "forward": 2, "right": 3}),
    ],
)
def test_each_clip_has_its_cells(sheets, tmp_path, which, does, faces):
    listing = list_sprites(sheets, which)
    assert len(listing.sources) == 16
    listing = replace(listing, sources=[listing.sources[0b0110]])
    report = prepared(listing, tmp_path / "out")
    found = sequences(tmp_path / "out")
    assert report.clips == len(found) == len(does) * len(faces)
    for action, (first, cells) in does.items():
        for direction, offset in faces.items():
            frames = found["body 0, bottomwear 1, topwear 1, hair 0", f"{action}, facing {direction}"]
            assert frames.shape == (8, 3, 64, 64)
            np.testing.assert_array_equal(frames[:, 0, :, :60], np.full((8, 64, 60), 10 * (first + offset)))
            np.testing.assert_array_equal(frames[:, 1, 5, 5], 10 * np.array(cells))
            # From the left: body 0, bottomwear 1, topwear 1, hair 0, the shoes of the benchmark, and the ground.
            blues = [0, 21, 41, 60, 81]
            np.testing.assert_array_equal(frames[:, 2, 9, :60], np.tile(np.repeat(blues, 12), (8, 1)))
            assert not frames[..., 60:].any()


def test_captions_have_the_names_of_sheets(sheets, tmp_path):
    (sheets / "body" / "0.png").rename(sheets / "body" / "very_dark.png")
    report = prepared(list_sprites(sheets), tmp_path / "out")
    assert report.clips == report.captioned == 16 * 9
    assert report.splits == {"train": 12 * 9, "validation": 2 * 9, "test": 2 * 9}
    assert "not every layer has the sheets 0 to 5 of the benchmark" in report.remarks[0]
    records = read_manifest(tmp_path / "out")
    told = {record.source: record.captions for record in records if record.measured == "is walking, facing right"}
    assert told["body very_dark, bottomwear 0, topwear 1, hair 0"] == [
        "a person with body very dark, bottomwear 0, topwear 1 and hair 0 is walking, facing right"
    ]
    splits = {}
    for record in records:
        splits.setdefault(record.source, set()).add(record.split)
    assert all(len(found) == 1 for found in splits.values())


def test_transparent_parts_lie_on_the_ground(sheets, tmp_path):
    for layer in LAYERS:
        sheet(sheets / layer / "1.png", 200, slice(0, 30), 128 if layer == "body" else 0)
    listing = list_sprites(sheets)
    listing = replace(listing, sources=listing.sources[-1:])
    prepared(listing, tmp_path / "black")
    prepared(listing, tmp_path / "random", ground="random")
    ((key, black), *_) = sequences(tmp_path / "black").items()
    both = sequences(tmp_path / "random")[key]
    np.testing.assert_array_equal(both[:, :3], black)
    np.testing.assert_allclose(black[:, 2, 0, [0, 40]], [[100, 0]] * 8, atol=1)
    np.testing.assert_allclose(both[:, 5, 0, [0, 40]], [[227, 255]] * 8, atol=1)


def test_the_split_of_the_benchmark(six, tmp_path):
    listing = list_sprites(six)
    assert listing.remarks == ["the benchmark takes the sheets 0 to 5 of each layer; not used: hair/6.png"]
    assert Counter(source.split for source in listing.sources) == {"train": 1000, "test": 296}
    # The order of the released scripts, which seed numpy with 423 and permute the numbers of the characters.
    order = np.random.RandomState(423).permutation(range(1296))
    assert order[:4].tolist() == [1116, 1135, 17, 469]
    trained = {
        f"body {number // 216}, bottomwear {number // 36 % 6}, topwear {number // 6 % 6}, hair {number % 6}"
        for number in order[:1000]
    }
    assert {source.name for source in listing.sources if source.split == "train"} == trained
    # Validation comes from characters for training, all clips of one together.
    few = replace(listing, sources=[source for source in listing.sources if source.split == "train"][:10])
    test = [source for source in listing.sources if source.split == "test"][:3]
    report = prepared(replace(few, sources=[*few.sources, *test]), tmp_path / "out")
    assert report.splits == {"train": 9 * 9, "validation": 9, "test": 3 * 9}


def test_the_split_stays_where_a_sheet_is_bad(six):
    (six / "topwear" / "4.png").write_bytes(b"nonsense")
    listing = list_sprites(six)
    assert [str(problem) for problem in listing.problems] == [
        "topwear/4.png: it is damaged, cut short, or of a kind that cannot be decoded: left out"
    ]
    assert len(listing.sources) == 6 * 6 * 5 * 6
    splits = benchmark_splits()
    for source in listing.sources:
        stems = tuple(part.split(" ")[1] for part in source.name.split(", "))
        assert source.split == splits[stems]


def test_a_changed_sheet_is_decoded_anew(few, tmp_path):
    prepared(list_sprites(few), tmp_path / "out")
    assert prepared(list_sprites(few), tmp_path / "out").unchanged
    sheet(few / "hair" / "1.png", 99, slice(0, 60))
    report = prepared(list_sprites(few), tmp_path / "out")
    assert report.remarks[-1] == "2 files had not changed; their frames were copied, not decoded"
    found = sequences(tmp_path / "out")
    changed = {source for (source, _), frames in found.items() if (frames[:, 2, 0, 0] == 99).all()}
    assert changed == {source for source, _ in found if source.endswith("hair 1")}
    # More actions are in the same files.
    assert prepared(list_sprites(few, "all"), tmp_path / "out").clips == 4 * 20


def test_other_shoes(sheets):
    (sheets / SHOES / "1.png").unlink()
    listing = list_sprites(sheets)
    assert listing.sources[0].parts[-1] == sheets / SHOES / "0.png"
    assert listing.remarks[-1] == (
        "there is no shoes/1.png to use, which the benchmark's characters wear: 0.png instead"
    )


def test_bad_input(sheets, tmp_path):
    with pytest.raises(UserError, match="actions is 'dancing'; it must be one of benchmark, all"):
        list_sprites(sheets, "dancing")
    with pytest.raises(UserError, match="is not a folder"):
        list_sprites(tmp_path / "nowhere")
    Image.new("RGBA", (64, 128)).save(sheets / "hair" / "1.png")
    Image.new("RGB", (832, 1344)).save(sheets / "body" / "1.png")
    (sheets / "topwear" / "1.png").write_bytes((sheets / "topwear" / "0.png").read_bytes()[:500])
    listing = list_sprites(sheets)
    assert [str(problem) for problem in listing.problems] == [
        "body/1.png: it has no alpha channel, and would hide the layers below it: left out",
        "topwear/1.png: it is damaged, cut short, or of a kind that cannot be decoded: left out",
        "hair/1.png: it has 64 x 128 pixels; a sheet has 832 x 1344: left out",
    ]
    assert len(listing.sources) == 2
    (sheets / "hair" / "0.png").unlink()
    with pytest.raises(UserError, match=r"hair has no sheet that can be used; hair/1\.png: it has 64 x 128 pixels"):
        list_sprites(sheets)
    (sheets / "hair" / "1.png").unlink()
    with pytest.raises(UserError, match=r"hair holds no sheets; expected hair/0\.png and so on"):
        list_sprites(sheets)
    shutil.rmtree(sheets / "hair")
    shutil.rmtree(sheets / "shoes")
    with pytest.raises(UserError, match="has no folder hair, no folder shoes; give a checkout of the repository"):
        list_sprites(sheets)


def test_a_sheet_that_breaks_later_is_a_problem(few, tmp_path):
    listing = list_sprites(few)
    (few / "hair" / "1.png").write_bytes(b"nonsense")
    report = prepared(listing, tmp_path / "out")
    assert report.clips == 2 * 9
    assert {problem.name.split(", ")[-1] for problem in report.problems} == {"hair 1"}
    assert "unreadable" in report.problems[0].reason


def test_the_command(few, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.main(["prepare", "sprites", "Sprites", "--actions", "all", "--ground", "white", "--quiet"])
    assert "80 clips from 4 files (40 train, 20 validation, 20 test), 80 with a caption" in capsys.readouterr().out
    clips = PreparedClips(tmp_path / "data" / "sprites")
    assert clips.shape == (8, 3, 64, 64)
    assert "is shooting a bow, facing away" in " ".join(clips.told())
    with pytest.raises(SystemExit):
        cli.main(["prepare", "sprites", "data", "--quiet"])
    assert "data has no folder body" in capsys.readouterr().err
