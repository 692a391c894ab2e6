"""Models on disk: what is saved is loaded, and what is damaged says so in one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.errors
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from safetensors.torch import save as tensors_to_bytes

import golden
import syncdraw
from syncdraw import SyncDraw, SyncDrawConfig, UserError, cards, legacy, pretrained
from syncdraw.building import build
from syncdraw.config import AttentionConfig, CaptionConfig, PriorConfig

TINY = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
WORDS = ("0", "1", "and", "digit", "down", "is", "left", "moving", "right", "up")
VARIANTS = {
    "plain": TINY,
    "alignment": SyncDrawConfig(
        frames=2, height=9, width=7, channels=3, draw_steps=2, layers=2, grid_size=3, hidden_size=8, latent_size=3,
        canvas="learned", protocol="binary",
        attention=AttentionConfig("global", 4, "state_and_video", smooth_start=True, content="shared"),
        prior=PriorConfig("network", 3), captions=CaptionConfig("alignment", 5, WORDS),
    ),
    "sentence": SyncDrawConfig(
        frames=2, height=9, width=7, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3,
        attention=AttentionConfig("cuboid"), prior=PriorConfig("caption"),
        captions=CaptionConfig("recurrent", 4, WORDS),
    ),
    "categories": SyncDrawConfig(
        frames=2, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3,
        prior=PriorConfig("network", 2, categories=3), captions=CaptionConfig(size=4),
    ),
}  # fmt: skip


def made(config: SyncDrawConfig = TINY) -> SyncDraw:
    torch.manual_seed(1)
    return build(config).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    pretrained.save(made(), tmp_path / "tiny", metrics={"caption match": 0.5}, about="a tiny model")
    return tmp_path / "tiny"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped models: mnist1, mnist2-captions, and something that is no model."""
    for name in ("mnist1", "mnist2-captions"):
        pretrained.save(made(), tmp_path / "weights" / name, about=f"the model {name}", metrics={"-ELBO": 12.5})
    (tmp_path / "weights" / "judge").mkdir()
    (tmp_path / "weights" / "judge" / "config.json").write_text('{"steps": 1}')
    monkeypatch.setattr(cards, "SHIPPED", tmp_path / "weights")
    return tmp_path / "weights"


def sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    """The message, which the command line prints as one line."""
    assert str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- There and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_is_loaded(variant: str, tmp_path: Path) -> None:
    model = made(VARIANTS[variant])
    pretrained.save(model, tmp_path, about="x", metrics={"a": 1})
    loaded = pretrained.load(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    what = ["digit 0 is moving up and down"] if model.captioned else 1
    assert torch.equal(loaded.generate(what, seed=3), model.generate(what, seed=3))
    card = pretrained.load_card(tmp_path)
    assert (card["about"], card["metrics"]) == ("x", {"a": 1})


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_on_disk(variant: str, tmp_path: Path) -> None:
    model = made(VARIANTS[variant])
    pretrained.save(model, tmp_path / "half", half=True)
    pretrained.save(model, tmp_path / "full")
    half, full = (tmp_path / name / "model.safetensors" for name in ("half", "full"))
    assert {tensor.dtype for tensor in load_file(half).values()} == {torch.float16}
    numbers = sum(tensor.numel() for tensor in model.state_dict().values())
    assert full.stat().st_size - half.stat().st_size >= 1.9 * numbers
    loaded = pretrained.load(tmp_path / "half")
    for name, tensor in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32
        assert torch.equal(loaded.state_dict()[name], tensor.half().float()), name


def test_saving_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = made()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pretrained.save(model, tmp_path, half=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


def test_checksum_is_of_the_weights(saved: Path) -> None:
    content = (saved / "model.safetensors").read_bytes()
    assert pretrained.load_card(saved)["sha256"] == hashlib.sha256(content).hexdigest()


def test_public_names(saved: Path) -> None:
    assert syncdraw.load is pretrained.load
    assert syncdraw.load(str(saved)).config == TINY


def test_full_disk_leaves_the_old_pair(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two files does not fit any more."""
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    for method in ("write_bytes", "write_text"):
        with monkeypatch.context() as patch:

            def full(self: Path, *args: Any, **options: Any) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

            patch.setattr(Path, method, full)
            with pytest.raises(UserError, match=rf"^cannot write {saved}.*: No space left on device$"):
                pretrained.save(build(TINY), saved)
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


# --- Damage ----------------------------------------------------------------------------------------------------------


def test_other_weights_than_the_checksum_says(saved: Path, tmp_path: Path) -> None:
    """Well-formed weights, of another model."""
    pretrained.save(build(TINY), tmp_path / "other")
    (saved / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(UserError) as error:
        pretrained.load(saved)
    assert f"{saved / 'model.safetensors'} is damaged: its checksum" in sentence(error)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), checked=st.booleans())
def test_any_damage_is_told(data: st.DataObject, checked: bool, saved: Path) -> None:
    """Cut short or overwritten anywhere: with the checksum always found, without it at least never a traceback."""
    path, card = saved / "model.safetensors", saved / "config.json"
    good, good_card = path.read_bytes(), card.read_bytes()
    try:
        if data.draw(st.booleans(), label="cut"):
            bad = good[: data.draw(st.integers(0, len(good) - 1))]
        else:
            place = data.draw(st.integers(0, min(len(good) - 1, 3000)))  # the header, mostly
            bad = good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :]
        path.write_bytes(bad)
        if not checked:
            values = json.loads(good_card)
            del values["sha256"]
            card.write_text(json.dumps(values))
        try:
            pretrained.load(saved)
            message = None
        except UserError as error:
            message = str(error)
        assert ("model.safetensors" in message and "\n" not in message) if message else not checked
    finally:
        path.write_bytes(good)
        card.write_bytes(good_card)


def test_truncated_weights_without_a_checksum(saved: Path) -> None:
    card = pretrained.load_card(saved)
    del card["sha256"]
    (saved / "config.json").write_text(json.dumps(card))
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        pretrained.load(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ("\x00\xff", "cannot be read as JSON"),
        ("[1]", "must hold a JSON object"),
        ('{"steps": 3}', "has no field 'model'"),
        ("[" * 5000 + "]" * 5000, "cannot be read as JSON"),
        ('{"model": 3}', "model is 3; it must be an object"),
        ('{"model": {"colour": 3}}', "colour is no setting"),
        ('{"model": {"frames": "ten"}}', "does not describe a model of this version: frames is 'ten'"),
        ('{"model": {"frames": null}}', "frames is 'None'"),
        ('{"model": {"frames": 2.5}}', "frames is '2.5'"),
        ('{"model": {"frames": NaN}}', "frames is 'nan'"),
        ('{"model": {"frames": true}}', "frames is 'True'"),
        ('{"model": {"frames": 0}}', r"model\.frames is 0"),
        ('{"model": {"frames": 1000000000}}', r"no more than 67,108,864 are drawn"),
        (f'{{"model": {{"frames": {10**30}}}}}', r"no more than 67,108,864 are drawn"),
        ('{"model": {"latent_size": 1000000000}}', r"no more than 268,435,456 are built"),
        ('{"model": {"prior": "flat"}}', "prior is 'flat'; it must be a section of settings"),
        ('{"model": {"prior": {"kind": "flat"}}}', "prior.kind is 'flat'"),
        ('{"model": {"protocol": "colour"}}', "protocol is 'colour'"),
        ('{"model": {"attention": {"content": "mine"}}}', "attention.content is 'mine'"),
        ('{"model": {"captions": {"route": "alignment"}}}', "vocabulary"),
        ('{"model": {"captions": {"vocabulary": 3}}}', "captions.vocabulary is '3'"),
        ('{"model": {"window_start": "smooth"}}', r"of this version or of the one before \(KeyError: 'frames'\)"),
        ('{"model": {}, "sha256": 3}', "sha256 is 3; it must be text"),
        ('{"model": {}, "trained": []}', r"trained is \[\]; it must be an object"),
        ('{"model": {}, "data": {}}', "data is {}; it must be text"),
        ('{"model": {"hidden_size": 9}}', r"model\.safetensors does not fit its config"),
    ],
)
def test_bad_card(text: str, message: str, saved: Path) -> None:
    card = json.loads((saved / "config.json").read_text())
    if '"hidden_size"' in text:
        text = json.dumps(card | {"model": card["model"] | {"hidden_size": 9}})
    (saved / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message) as error:
        pretrained.load(saved)
    assert str(saved) in sentence(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("half", [False, True])
def test_weights_that_are_no_numbers_are_refused(value: float, half: bool, tmp_path: Path) -> None:
    """With the tensor's name; `evaluate` would print a table of nan."""
    model = made()
    with torch.no_grad():
        model.inference.posterior.bias[3] = value
    pretrained.save(model, tmp_path / "bad", half=half)
    with pytest.raises(
        UserError, match=r"model\.safetensors is damaged \(inference\.posterior\.bias holds NaN"
    ) as error:
        pretrained.load(tmp_path / "bad")
    sentence(error)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused(kind: str, name: str, saved: Path) -> None:
    """A pipe would never end, and /dev/zero neither."""
    (saved / name).unlink()
    if kind == "pipe":
        os.mkfifo(saved / name)
    elif kind == "folder":
        (saved / name).mkdir()
    else:
        (saved / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"is no regular file|has no config\.json") as error:
        pretrained.load(saved)
    sentence(error)


def test_a_card_of_many_bytes_is_not_read(saved: Path) -> None:
    with (saved / "config.json").open("a") as file:
        file.truncate(10**10)  # a file of zeros, none of which lies on the disk
    with pytest.raises(
        UserError, match=r"config\.json cannot be read \(it has 10,000,000,000 bytes; no more than 4,194,304"
    ):
        pretrained.load(saved)


def test_missing_files(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read \(No such file"):
        pretrained.load(saved)
    (saved / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        pretrained.load(saved)


# --- Names -----------------------------------------------------------------------------------------------------------


def test_shipped_by_name(shop: Path) -> None:
    assert pretrained.shipped_models() == {name: shop / name for name in ("mnist1", "mnist2-captions")}
    assert pretrained.load("mnist1").config == TINY
    assert pretrained.load_card("mnist2-captions")["about"] == "the model mnist2-captions"


@pytest.mark.parametrize(
    ("name", "near"),
    [("mnist", "mnist1"), ("minst1", "mnist1"), ("mnist2caption", "mnist2-captions"), ("./mnist-1/", "mnist1")],
)
def test_unknown_name_suggests_the_nearest(name: str, near: str, shop: Path) -> None:
    with pytest.raises(UserError, match=f"did you mean {near}\\?") as error:
        pretrained.load(name)
    assert "shipped are mnist1, mnist2-captions" in sentence(error)


def test_a_model_beside_the_package_says_where_it_is(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout it is found by its name, too."""
    monkeypatch.setattr(cards, "BESIDE", shop.parent / "models")
    with pytest.raises(UserError, match="does not come with the package") as error:
        pretrained.load("mnist2-binary")
    assert "models/mnist2-binary" in sentence(error)
    assert "syncdraw train mnist2-binary makes it" in sentence(error)
    (shop.parent / "models").mkdir()
    (shop / "mnist1").rename(shop.parent / "models" / "mnist2-binary")
    assert pretrained.load("mnist2-binary").config == TINY
    assert list(pretrained.shipped_models()) == ["mnist2-captions"]


def test_the_package_fits_where_packages_are_published() -> None:
    """Of 100 MB; weights and digits are what a wheel holds, and they hardly shrink."""
    package = Path(syncdraw.__file__).parent
    assert sum(path.stat().st_size for path in package.rglob("*") if "__pycache__" not in path.parts) < 90e6


def test_a_name_unlike_any_suggests_none(shop: Path) -> None:
    with pytest.raises(UserError, match="unknown model 'zebra'") as error:
        pretrained.load("zebra")
    assert "did you mean" not in str(error.value)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that records what it is asked for, and is not there."""
    asked: list[str] = []

    def download(name: str, **options: Any) -> str:
        asked.append(name)
        raise huggingface_hub.errors.LocalEntryNotFoundError("No network,\nand nothing in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_hub(hub: list[str], saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        pretrained.load("hub:somebody/their-model")
    assert "'somebody/their-model' is no folder here" in sentence(error)
    assert hub == ["somebody/their-model"]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(saved))
    assert pretrained.load("hub:somebody/their-model").config == TINY


@pytest.mark.parametrize(
    "failure",
    [
        huggingface_hub.errors.HFValidationError("Repo id must use\nalphanumeric chars"),
        RuntimeError("of whichever library the hub's client stands on"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_the_hub_may_answer(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> str:
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(UserError, match="the hub did not give it") as error:
        pretrained.load("hub:somebody/their-model")
    sentence(error)


@pytest.mark.parametrize("name", ["runs/mine", "./a/b", "../a", "~/a", "a/b/c", "/nowhere/at-all", "my runs/one", "",
                                  "somebody/their-model"])  # fmt: skip
def test_nothing_is_asked_of_the_hub_but_by_its_prefix(
    name: str, hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        pretrained.load(name)
    assert hub == []


def test_a_run_of_stages_that_is_not_finished_is_its_newest_stage(tmp_path: Path) -> None:
    for name in ("2-obey", "10-sharpen", "1-draw", "notes"):
        pretrained.save(made(), tmp_path / "run" / "stages" / name, about=name)
    (tmp_path / "run" / "stages" / "11-next").mkdir()
    assert pretrained.find(str(tmp_path / "run")).name == "10-sharpen"
    pretrained.save(made(), tmp_path / "run")
    assert pretrained.find(str(tmp_path / "run")) == tmp_path / "run"


# --- Models of the version before ------------------------------------------------------------------------------------


def test_a_model_of_the_version_before_is_loaded(tmp_path: Path) -> None:
    """Flat settings, other names of modules, and a vector for hidden words that is no longer there."""
    model = made(VARIANTS["alignment"])
    names = {new: old for old, new in legacy._MODULES.items()}
    tensors = {}
    for name, tensor in model.state_dict().items():
        new = next((prefix for prefix in names if name == prefix or name.startswith(f"{prefix}.")), None)
        tensors[name if new is None else names[new] + name.removeprefix(new)] = tensor
    words = tensors.pop("conditioner.words.vectors.weight")
    tensors["conditioner.words.words.vectors.weight"] = torch.cat([words, words[:1]])
    old = {
        "frames": 2, "channels": 3, "height": 9, "width": 7, "draw_steps": 2, "layers": 2, "grid_size": 3,
        "write_grid_size": 4, "hidden_size": 8, "latent_size": 3, "attention": "global",
        "read_from": "state_and_video", "content": "shared", "canvas": "learned", "window_start": "smooth",
        "prior": "network", "prior_components": 3, "captions": "alignment", "encoder": "recurrent", "caption_size": 5,
        "vocabulary": WORDS, "encoder_version": "", "word_dropout": 0.2, "protocol": "binary", "categories": 0,
    }  # fmt: skip
    bouncing = {"digits": 2, "frames": 2, "channels": 3, "height": 9, "width": 7, "clips": 5, "combinations": "seen",
                "glyphs": None, "stills": 0.2, "diagonals": 0.3, "speed": 5}  # fmt: skip
    (tmp_path / "model.safetensors").write_bytes(tensors_to_bytes(tensors))
    (tmp_path / "config.json").write_text(json.dumps({"model": old, "bouncing": bouncing, "about": "old"}))
    loaded = pretrained.load(tmp_path)
    assert loaded.config == model.config
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    card = pretrained.load_card(tmp_path)
    assert card["about"] == "old"
    assert card["bouncing"] == {"digits": 2, "shape": [2, 3, 9, 7], "clips": 5, "combinations": "seen",
                                "extra_motions": 0.5, "glyphs": None}  # fmt: skip
    for name in old.keys() - {"layers", "prior_components", "categories", "word_dropout", "encoder"}:
        values = {key: value for key, value in old.items() if key != name}
        (tmp_path / "config.json").write_text(json.dumps({"model": values}))
        with pytest.raises(UserError, match=r"does not describe a model of this version") as error:
            pretrained.load(tmp_path)
        sentence(error)


# --- What ships ------------------------------------------------------------------------------------------------------


MODELS = golden.models()


@pytest.mark.parametrize("name", MODELS)
def test_trained_model(name: str) -> None:
    folder, card = MODELS[name], pretrained.load_card(MODELS[name])
    content = (folder / "model.safetensors").read_bytes()
    assert len(content) <= 10e6
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert all(tensor.float().isfinite().all() for tensor in load_file(folder / "model.safetensors").values())
    model = pretrained.load(folder)
    what = ["digit 3 is moving left and right" for _ in range(1)] if model.captioned else 1
    if model.captioned and "2" in name:
        what = ["digit 3 is moving left and right and digit 7 is moving up and down"]
    if "example" in card:
        what = [card["example"]]
    video = model.generate(what, seed=0)
    assert video.shape == (1, *model.config.shape)
    assert np.isfinite(video.numpy()).all()
    assert video.max() > 0.5  # something is drawn,
    assert video.mean() < 0.25 or "example" in card  # on black, unless in a film
