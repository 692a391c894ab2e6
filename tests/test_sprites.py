"""Sprites: what a caption says is what the pixels show, the splits keep what they keep, and the reader reads it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import sprites
from syncdraw import UserError, cards, pretrained, wordings
from syncdraw.datasets import open_dataset
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.datasets.sprite_captions import (
    BOTTOMS,
    HAIR_COLOURS,
    SHOES,
    SKINS,
    TOPS,
    VALUES,
    WORDINGS,
    Character,
    parse_character,
    shows,
    tell,
)  # fmt: skip
from syncdraw.datasets.sprite_figures import (
    ACTIONS,
    BUILDS,
    CASTING,
    CUTS,
    DARK,
    DIRECTIONS,
    FRAMES,
    HAIR_STYLES,
    LEGS,
    SLASHING,
    WALKING,
    Material,
    painted,
)  # fmt: skip
from syncdraw.datasets.sprites import (
    CHARACTERS,
    KINDS_OF_TOPS,
    SpriteClips,
    Sprites,
    cut_of,
    drawn,
    is_unseen,
    kind_of,
    palette_of,
)  # fmt: skip
from syncdraw.evaluation import sprite_training
from syncdraw.evaluation.captions import suited_report
from syncdraw.evaluation.sprite_reader import READER_FOLDER, SpriteReader
from syncdraw.evaluation.sprite_report import ATTRIBUTES, NOTHING_SAID, entropies, fidelity, sprite_report
from syncdraw.evaluation.sprite_training import train_sprite_reader
from syncdraw.vocabulary import Vocabulary
from training_runs import ALIGNED, RUN, changed, go, quick


def clips(count: int = 200, split: Any = "train", combinations: Any = "seen") -> SpriteClips:
    return Sprites(split, combinations).take(np.arange(count))


def character(**values: str) -> Character:
    return Character(**{name: VALUES[name].index(value) for name, value in values.items()})


WHOLE = character(
    build="woman", skin="dark", hair_style="long", hair_colour="blonde", top="plate armour", bottom="white trousers",
    shoes="black shoes", action="casting a spell", direction="left",
)  # fmt: skip
SOME = st.builds(Character, *(st.none() | st.integers(0, len(values) - 1) for values in VALUES.values()))


# --- What captions say ------------------------------------------------------------------------------------------------


def test_the_sentences() -> None:
    clothes, does = "plate armour, white trousers and black shoes", "is casting a spell"
    assert [tell(WHOLE, wording) for wording in range(WORDINGS)] == [
        f"a dark-skinned woman with long blonde hair in {clothes} {does}, facing left",
        f"a woman with dark skin and long blonde hair wearing {clothes} {does}, facing left",
        f"a dark-skinned woman with long blonde hair {does}, facing left, in {clothes}",
        f"facing left, a dark-skinned woman with long blonde hair in {clothes} {does}",
    ]
    assert tell(character(action="walking")) == "a person is walking"
    assert tell(character(top="red tunic", direction="away"), 3) == "facing away, a person in a red tunic"


@given(SOME, st.integers(0, WORDINGS - 1))
def test_a_sentence_is_read_as_what_it_says(said: Character, wording: int) -> None:
    if said == Character():
        with pytest.raises(UserError, match="says nothing of a character; one says, for example, 'a woman with long"):
            parse_character(tell(said, wording))
    else:
        assert parse_character(tell(said, wording)) == said


WORDS = sorted({word for values in VALUES.values() for value in values for word in value.split()} | {"hair", "skin"})


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    try:
        said = parse_character(text)
    except UserError as refused:
        lines = str(refused).splitlines()
        assert len(lines) == 1
    else:
        assert parse_character(tell(said)) == said


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("man with blond hair walks left in red vest", "a man with blonde hair in a red vest is walking, facing left"),
        ("Gren-skinned lady in red shoes", "a green-skinned woman in red shoes"),
    ],
)  # fmt: skip
def test_what_people_type(text: str, meant: str) -> None:
    assert wordings.understood_character(text) == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("somebody in blue shorts", "has 'somebody', which is not understood there; one says, for example, 'a woman"),
        ("a man and a woman", "says two things of the build"),
        ("!", "says nothing of a character"),
    ],
)
def test_what_nobody_understands(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        wordings.understood_character(text)


def test_the_vocabulary_holds_every_word_and_is_no_longer_than_it_need_be() -> None:
    vocabulary = Vocabulary.from_captions(Sprites().wordings())
    splits = product(("train", "test"), ("seen", "unseen"))
    told = [text for split, kind in splits for text in Sprites(split, kind).describe(np.arange(2000))[1]]
    assert vocabulary.encode(told).shape[1] <= vocabulary.encode(Sprites().wordings()).shape[1]
    assert set(Vocabulary.from_captions(told).words) == set(vocabulary.words)


# --- What clips show --------------------------------------------------------------------------------------------------


def coloured(video: NDArray[np.uint8], colours: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a clip `[frame, 3, row, column]` has one of some colours `[colour, 3]`, `[frame, row, column]`."""
    return (video == colours[:, None, :, None, None]).all(axis=2).any(axis=0)


HEIGHTS = {
    "hair_colour": (0.0, 0.5),
    "skin": (0.1, 1.0),
    "top": (0.25, 0.8),
    "bottom": (0.55, 0.95),
    "shoes": (0.85, 1.0),
}
"""Where a body has a colour: 0 is the top of its head, or of what it holds there, and 1 the ground."""


def test_captions_say_what_the_pixels_show() -> None:
    """Colours are looked for where a body has them, not in what the captions were made of."""
    found = clips(400, "test", "all")
    for video, caption in zip(found.videos, found.captions or [], strict=True):
        said = parse_character(caption)._asdict()
        rows = np.flatnonzero((video != 255).any(axis=(0, 1, 3)))
        for name, heights in HEIGHTS.items():
            if said[name] is not None:
                low, high = (round(rows[0] + height * (rows[-1] - rows[0])) for height in heights)
                pixels = coloured(video[:, :, low : high + 1], palette_of(name)[said[name], DARK:]).sum()
                assert pixels > 5, (caption, name)  # a hand, perhaps


def test_faces_are_where_the_captions_say() -> None:
    """A face is left or right of its head's middle, or in it with two eyes; from behind there is none."""
    for cut, hair, action in product(range(len(CUTS)), range(len(HAIR_STYLES)), range(len(ACTIONS))):
        for direction in range(len(DIRECTIONS)):
            figure = painted(0, cut, 0, hair, action, direction)[0]
            eyes, face = figure // 4 == Material.EYE, np.isin(figure // 4, [Material.EYE, Material.FACE])
            if DIRECTIONS[direction] == "away":
                assert not eyes.any()
                assert face.sum() < 25
                continue
            columns = np.flatnonzero(eyes.any(axis=0))
            head = np.flatnonzero(np.isin(figure // 4, [Material.FACE, Material.HAIR]).any(axis=0)).mean()
            assert face.sum() > 40
            if DIRECTIONS[direction] == "forward":
                assert columns[0] < 32 < columns[-1]
            else:
                assert (columns.mean() < min(head, 30)) == (DIRECTIONS[direction] == "left")


def test_actions_look_like_what_they_are() -> None:
    hands = {"casting a spell": Material.LIGHT, "swinging a sword": Material.METAL, "thrusting a spear": Material.WOOD,
             "shooting a bow": Material.WOOD}  # fmt: skip
    for action, direction in product(range(len(ACTIONS)), range(3)):
        figures = painted(1, 0, 0, 0, action, direction)
        held = {m for m in (Material.LIGHT, Material.METAL, Material.WOOD) if (figures // 4 == m).any()}
        assert (hands.get(ACTIONS[action]) in held) if action != WALKING else not held
        assert (
            all((one != other).any() for one, other in zip(figures, np.roll(figures, -1, axis=0), strict=True))
            or action
        )
    shoes = painted(0, 0, 0, 0, WALKING, 0) // 4 == Material.SHOE
    wide = np.array([np.ptp(np.flatnonzero(frame.any(axis=0))) for frame in shoes])
    assert wide.max() > 2 * wide.min()  # steps
    light = (painted(0, 0, 0, 0, CASTING, 2) // 4 == Material.LIGHT).sum(axis=(1, 2))
    assert light.argmax() in (4, 5)
    assert light[5] > 4 * light[0]
    blade = [np.argwhere(frame // 4 == Material.METAL)[:, 0].mean() for frame in painted(0, 0, 0, 0, SLASHING, 0)]
    assert np.ptp(blade) > 15  # from above the head to the knees


def test_clothes_are_cut_as_they_are_called() -> None:
    def count(material: Material, cut: str, legs: str = "trousers") -> int:
        figures = painted(0, CUTS.index(cut), LEGS.index(legs), 0, WALKING, 0)
        return int((figures // 4 == material).sum())

    assert count(Material.SLEEVE, "vest") == 0
    assert count(Material.ARM, "vest") > 3 * count(Material.ARM, "shirt")
    assert count(Material.TOP, "tunic") > 1.5 * count(Material.TOP, "shirt")
    assert count(Material.SLEEVE, "armour") > 1.2 * count(Material.SLEEVE, "shirt")
    assert count(Material.LEG, "shirt") == 0
    assert count(Material.LEG, "shirt", "shorts") > 100


def test_hair_and_builds_differ_from_all_sides() -> None:
    for direction in range(len(DIRECTIONS)):
        hair = [painted(0, 0, 0, style, WALKING, direction) // 4 == Material.HAIR for style in range(len(HAIR_STYLES))]
        assert all((one ^ other).sum() > 100 for i, one in enumerate(hair) for other in hair[:i])
        women, men = (painted(build, 0, 0, 0, WALKING, direction) != 0 for build in range(len(BUILDS)))
        assert (women ^ men).sum() > 200


def test_nobody_is_cut_off() -> None:
    """Nothing reaches the edge of the picture, but for the tip of a raised sword."""
    counts = (len(BUILDS), len(CUTS), 1, len(HAIR_STYLES), len(ACTIONS), len(DIRECTIONS))
    for numbers in np.ndindex(*counts):
        shown = painted(*numbers) // 4
        assert not shown[:, -1].any(), numbers
        assert not shown[:, :, [0, -1]].any(), numbers
        assert set(shown[:, 0].flat) <= {Material.GROUND, Material.METAL}, numbers


# --- Which clips there are --------------------------------------------------------------------------------------------


def test_a_clip_is_a_pure_function_of_its_number() -> None:
    many = clips(20)
    one = Sprites().take(np.array([13, 4]))
    assert (one.videos == many.videos[[13, 4]]).all()
    assert one.captions == [(many.captions or [])[i] for i in (13, 4)]
    assert many.videos.shape == (20, *Sprites().shape)
    assert many.videos.dtype == np.uint8
    assert [len(open_dataset("sprites", BouncingMNISTConfig(), split)) for split in ("train", "test")] == [0, 10_000]
    with pytest.raises(IndexError):
        Sprites("test").take(np.array([10_000]))
    with pytest.raises(UserError, match="the split is 'dev'; it must be one of train, validation, test"):
        Sprites("dev")  # type: ignore[arg-type]


def test_the_splits_keep_what_they_keep() -> None:
    assert CHARACTERS > 100_000
    for split, kind in product(("train", "validation", "test"), ("seen", "unseen", "all")):
        rows, _ = Sprites(split, kind).describe(np.arange(1000))
        held_out = rows[:, :7].sum(axis=1) % 4 == 0
        assert held_out.all() if split != "train" else not held_out.any()
        unseen = np.array([is_unseen(kind_of(top), hair, action, direction)
                           for _, _, _, hair, top, _, _, action, direction in rows.tolist()])  # fmt: skip
        assert {"seen": not unseen.any(), "unseen": unseen.all(), "all": 0.2 < unseen.mean() < 0.5}[kind]
        for number, (name, values) in enumerate(VALUES.items()):
            counts = Counter(rows[:, number].tolist())
            assert len(counts) == len(values), (split, kind, name)


def test_kinds_of_tops() -> None:
    assert [TOPS[top] for top in KINDS_OF_TOPS] == [
        "red shirt",
        "red vest",
        "red tunic",
        "leather armour",
        "plate armour",
        "golden armour",
    ]
    assert [kind_of(top) for top in KINDS_OF_TOPS] == list(range(6))
    assert {CUTS[cut_of(top)] for top in range(len(TOPS)) if "armour" in TOPS[top]} == {"armour"}


def test_captions_leave_things_out_and_stay_true() -> None:
    characters, captions = Sprites().describe(np.arange(1000))
    told = [parse_character(text) for text in captions]
    shares = np.mean([[number is not None for number in said] for said in told], axis=0)
    assert (abs(shares - 0.85) < 0.04).all()
    assert all(shows(row, said) for row, said in zip(characters.tolist(), told, strict=True))
    _, unseen = Sprites("test", "unseen").describe(np.arange(200))
    assert all(None not in parse_character(text) for text in unseen)


def test_drawing_a_character() -> None:
    row = np.array(
        [[0, 3, 1, 0, TOPS.index("plate armour"), BOTTOMS.index("white trousers"), SHOES.index("black shoes"), 1, 0]]
    )
    assert list(row[0]) == list(WHOLE)
    (video,) = drawn(row)
    assert video.shape == (FRAMES, 3, 64, 64)
    assert (video[:, :, 0] == 255).all()
    for name, number in (("skin", SKINS.index("dark")), ("hair_colour", HAIR_COLOURS.index("blonde"))):
        assert coloured(video, palette_of(name)[number, DARK:]).any()


# --- What the reader reads --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader() -> SpriteReader:
    return SpriteReader.load()


def test_the_reader_reads_real_clips(reader: SpriteReader) -> None:
    """Those of characters that it has not seen, as well as its card says."""
    measured = json.loads((READER_FOLDER / "config.json").read_text())["measured"]
    assert all(measured[name] >= 0.98 for name in VALUES)  # of who faces away, a hand may be all that shows the skin
    real = clips(200, "test", "unseen")
    found = reader.read(torch.from_numpy(real.videos) / 255)
    right = found.numpy() == real.characters
    assert right.mean() > 0.99
    shares = fidelity(found, real.captions or [])
    assert shares["caption_match"] > 0.93
    assert set(shares) == {"caption_match", *ATTRIBUTES}


def test_the_reader_refuses_other_clips(reader: SpriteReader, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reads one or more videos of \[8, 3, 64, 64\], not \[2, 10, 1, 64, 64\]"):
        reader.read(torch.zeros(2, 10, 1, 64, 64))
    with pytest.raises(UserError, match="cannot read the reader of sprites's"):
        SpriteReader.load(tmp_path)


def test_training_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprite_training, "measure_sprite_reader", lambda reader: {})
    configs = [train_sprite_reader(tmp_path / name, steps=2, batch_size=2) for name in ("one", "two")]
    assert configs[0]["sha256"] == configs[1]["sha256"]
    assert configs[0]["command"].startswith("syncdraw train sprite_reader --steps 2")
    SpriteReader.load(tmp_path / "one")
    with pytest.raises(UserError, match="needs steps and a batch_size of at least 1"):
        train_sprite_reader(tmp_path / "three", steps=0)


def test_fidelity_by_hand() -> None:
    found = torch.tensor([list(WHOLE), list(WHOLE)])
    assert fidelity(found, ["a woman is walking", "a woman in black shoes"]) == {
        "caption_match": 0.5, "build": 1.0, "shoes": 1.0, "action": 0.0,
    }  # fmt: skip


def test_entropies_by_hand() -> None:
    """Two clips, each surely of one action and direction; and one of which nothing is known."""
    scores = [torch.zeros(2, len(values)).log_softmax(1) for values in VALUES.values()]
    sure = [*scores[:-2], torch.full((2, 5), -100.0), torch.full((2, 4), -100.0)]
    sure[-2][[0, 1], [1, 3]] = 0.0
    sure[-1][:, 2] = 0.0
    assert entropies(sure) == pytest.approx(
        {"intra_entropy": 0, "inter_entropy": np.log(2), "inception_score": 2}, abs=1e-5
    )
    unsure = entropies(scores)
    assert unsure == pytest.approx(
        {"intra_entropy": np.log(20), "inter_entropy": np.log(20), "inception_score": 1}, abs=1e-5
    )


def test_psnr_by_hand() -> None:
    """A tenth off everywhere is 20 decibels, a hundredth 40."""
    off = torch.tensor([0.1, 0.01]).view(2, 1, 1, 1, 1)
    black = torch.zeros(2, 3, 3, 4, 4)
    assert sprites.psnr(black + off, black).tolist() == pytest.approx([20, 40])


class Renderer:
    """A model that draws what a caption says, and chooses freely what it does not say; or heeds no caption."""

    captioned = True
    shape = Sprites().shape

    def __init__(self, heeds: bool) -> None:
        self.heeds = heeds

    def generate(self, what: int | Sequence[str], *, seed: Any = 0, temperature: float = 1.0) -> Tensor:
        assert not isinstance(what, int)
        free = Sprites("train", "all").take(np.arange(len(what)) + 1000).characters
        for row, text in zip(free, what, strict=True):
            if self.heeds and text != NOTHING_SAID:
                said = parse_character(text)
                row[:] = [shown if number is None else number for shown, number in zip(row, said, strict=True)]
        return torch.from_numpy(drawn(free)) / 255

    def noise(self, which: Any, seed: int = 0) -> Any:
        return None


def test_the_report_tells_a_model_that_heeds_captions_from_one_that_does_not(reader: SpriteReader) -> None:
    good, bad = (sprite_report(Renderer(heeds), samples=60, seed=0, reader=reader) for heeds in (True, False))
    for kind in ("seen", "unseen"):
        assert good.values[f"samples, {kind} captions"]["caption_match"] > 0.9
        assert bad.values[f"samples, {kind} captions"]["caption_match"] < 0.1
        assert good.values[f"samples, {kind} captions dealt anew"]["caption_match"] < 0.1
        assert good.values[f"real test clips, {kind} captions"]["caption_match"] > 0.9
    assert good.values[f"samples for {NOTHING_SAID!r}"]["inter_entropy"] > 2.7
    assert "H(y|x)" in good.text
    assert max(map(len, good.text.splitlines())) < 180
    with pytest.raises(UserError, match="samples is 0; it must be from 1 to 10000"):
        sprite_report(Renderer(True), samples=0, seed=0, reader=reader)


def test_a_model_is_trained_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    changes = {"model": ALIGNED, "data": "sprites", "bouncing.combinations": "seen", "train.max_steps": 2}
    folder = go(changed(RUN, changes), tmp_path / "run")
    model, card = pretrained.load(folder), cards.load_card(folder)
    assert model.shape == Sprites().shape
    assert card["data"] == "sprites"
    report = suited_report(model, card, data=None, samples=3, seed=0, temperature=1.0)
    assert "samples, unseen captions" in report.text
    with pytest.raises(UserError, match="this one does not"):
        sprite_report(pretrained.load("mnist1-captions"), samples=3, seed=0)
