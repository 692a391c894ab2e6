"""The folder of emoji that `emoji-captions` is trained on: what is kept from training, and what captions say."""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import emoji_folder
import emoji_parts
from syncdraw.evaluation.caption_reader import plain


def test_one_skin_of_each_kind_is_kept_from_training() -> None:
    told = list(emoji_folder.clips())
    assert len({caption for _, caption, _, _ in told}) == len(told) == 6 * 95
    kinds = Counter((emoji_parts.parts(plain(text))["who"] + emoji_parts.parts(plain(text))["what"], split == "train")
                    for split, text, _, _ in told)  # fmt: skip
    assert set(kinds.values()) == {5, 1}
    assert len(kinds) == 2 * 95


def test_every_skin_is_seen_with_everybody_and_every_action_with_every_skin() -> None:
    seen = [emoji_parts.parts(plain(caption)) for split, caption, _, _ in emoji_folder.clips() if split == "train"]
    actions, skins = {plain(action) for action in emoji_folder.PEOPLE.values()}, set(emoji_folder.SKINS.values())
    assert {(part["who"], part["skin"]) for part in seen if part["who"]} == {
        (who, skin) for who in ("person", "woman", "man") for skin in skins
    }
    assert {(part["what"], part["skin"]) for part in seen if part["who"]} == {
        (action, skin) for action in actions for skin in skins
    }


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a woman with medium dark skin is running", {"who": "woman", "what": "is running", "skin": "medium dark"}),
        ("clapping hands with light skin", {"who": "", "what": "clapping hands", "skin": "light"}),
    ],
)
def test_captions_are_taken_apart(caption: str, expected: dict[str, str]) -> None:
    assert emoji_parts.parts(caption) == expected


def test_shares_of_parts() -> None:
    asked = ["a woman with dark skin is running", "a man with light skin is running", "an ear with dark skin"]
    read = ["a woman with light skin is running", "a woman with light skin is running", "an ear with dark skin"]
    assert emoji_parts.shares(read, asked) == pytest.approx(
        {"clips": 3, "whole": 1 / 3, "all but the skin": 2 / 3, "what": 1, "who": 1 / 2, "skin": 2 / 3}
    )


def test_a_turn_of_a_loop_and_the_frames_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assets = tmp_path / "packages" / "one" / "package" / "assets"
    assets.mkdir(parents=True)
    pictures = [Image.new("RGBA", (8, 8)) for _ in range(24)]
    for number, image in enumerate(pictures):
        image.paste((10 * number, 0, 0, 255), (0, 0, 4, 8))
    for name in ("1f3c3-1f3fb-200d-2642-fe0f", "270a-fe0f"):
        pictures[0].save(assets / f"{name}.webp", save_all=True, append_images=pictures[1:], lossless=True)
    told = [
        ("train", "a man with light skin is running", "1f3c3-1f3fb", "-200d-2642-fe0f"),
        ("test", "a raised fist with yellow skin", "270a", ""),
    ]
    monkeypatch.setattr(emoji_folder, "clips", lambda: iter(told))
    monkeypatch.setattr(sys, "argv", ["emoji_folder.py", str(tmp_path / "packages"), str(tmp_path / "emoji")])
    emoji_folder.main()
    assert "wrote 4 clips" in capsys.readouterr().out
    with (tmp_path / "emoji" / "captions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == [told[0][1]] * 2 + [told[1][1]] * 2
    for row, phase in zip(rows, (0, 1, 0, 1), strict=True):
        frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "emoji" / row["file"]).iterdir())]
        assert [frame.shape for frame in frames] == [(64, 64, 4)] * 12
        assert [frame[0, 0, 0] for frame in frames] == [10 * (2 * number + phase) for number in range(12)]
        assert all((frame[:, :32, 3] == 255).all() and not frame[:, 32:, 3].any() for frame in frames)


def test_a_missing_animation_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no package here has the animation 270a\.webp"):
        emoji_folder.find(tmp_path, "270a", "")
