"""What a model begins from: another's weights where they mean the same, words by their text, and the data's mean."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from syncdraw import UserError, pretrained
from syncdraw.building import build
from syncdraw.config import AttentionConfig, CaptionConfig, PriorConfig, SyncDrawConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.model import SyncDraw
from syncdraw.training import loop
from syncdraw.training.warm_start import begin, copy_weights, mean_frame
from training_runs import ALIGNED, DATA, MODEL, RUN, assert_same, changed, go, metrics, state

WORDS = ("0", "1", "and", "digit", "down", "is", "left", "moving", "right", "up")
WITHOUT = dataclasses.replace(MODEL, prior=PriorConfig("network"), canvas="learned")
WITH_WORDS = dataclasses.replace(WITHOUT, captions=CaptionConfig("alignment", 4, WORDS))


pytestmark = pytest.mark.usefixtures("quickly")


def made(config: SyncDrawConfig, seed: int) -> SyncDraw:
    """A model all of whose weights are random, also those that begin at zero."""
    torch.manual_seed(seed)
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def started(model: SyncDraw, source: SyncDraw) -> None:
    copy_weights(source, model, "the other")


def without_captions(model: SyncDraw) -> None:
    """Zero what every layer makes of captions: they come last in its input."""
    sizes = {
        "inference.lstm.weight_ih": model.conditioner.encoder_size,
        "generator.lstm.weight_ih": model.conditioner.decoder_size,
        "generator.prior.layers.0.weight": model.conditioner.decoder_size,
    }
    with torch.no_grad():
        for name, size in sizes.items():
            weight = model.get_parameter(name)
            weight[:, weight.shape[1] - size :] = 0


def assert_draws_alike(one: SyncDraw, other: SyncDraw) -> None:
    texts = ["digit 0 is moving up and down", "digit 1 is moving left and right"]
    videos, noise = torch.rand(2, *MODEL.shape), one.noise(2, seed=3)
    drawings = [m(videos, texts if m.captioned else None, noise=noise) for m in (one, other)]
    torch.testing.assert_close(drawings[0].logits, drawings[1].logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(drawings[0].divergence, drawings[1].divergence, rtol=1e-5, atol=1e-5)
    samples = [m.generate(texts if m.captioned else 2, seed=1) for m in (one, other)]
    torch.testing.assert_close(samples[0], samples[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("route", ["alignment", "recurrent"])
def test_captions_are_added(route: str) -> None:
    source = made(WITHOUT, 1)
    model = made(dataclasses.replace(WITH_WORDS, captions=CaptionConfig(route, 4, WORDS)), 2)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    started(model, source)
    name, latent = "generator.lstm.weight_ih", MODEL.latent_size
    assert torch.equal(
        model.state_dict()[name][:, latent:], fresh[name][:, latent:]
    )  # what captions do is left to learn
    without_captions(model)
    assert_draws_alike(model, source)


def test_captions_are_left_behind() -> None:
    source, model = made(WITH_WORDS, 1), made(WITHOUT, 2)
    started(model, source)
    without_captions(source)
    assert_draws_alike(model, source)


def test_captions_of_the_same_words_are_kept() -> None:
    source, model = made(WITH_WORDS, 1), made(WITH_WORDS, 2)
    started(model, source)
    assert_draws_alike(model, source)
    assert_same(model.state_dict(), source.state_dict())


@pytest.mark.parametrize(
    "captions",
    [
        CaptionConfig("alignment", 4, (*WORDS, "zebra")),
        CaptionConfig("recurrent", 4, WORDS),
        CaptionConfig("alignment", 5, WORDS),
    ],
)
def test_captions_begin_anew(captions: CaptionConfig) -> None:
    source, model = made(WITH_WORDS, 1), made(dataclasses.replace(WITH_WORDS, captions=captions), 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    started(model, source)
    after = model.state_dict()
    for name in after:
        if name.startswith("conditioner"):
            assert torch.equal(after[name], before[name]), name
    name, latent = "generator.lstm.weight_ih", MODEL.latent_size
    assert torch.equal(after[name][:, latent:], before[name][:, latent:])
    assert torch.equal(after[name][:, :latent], source.state_dict()[name][:, :latent])
    without_captions(model)
    without_captions(source)
    assert_draws_alike(model, source)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("hidden_size", {"hidden_size": 9}),
        ("latent_size", {"latent_size": 4}),
        ("grid_size", {"grid_size": 4}),
        ("attention.write_grid_size", {"attention": AttentionConfig(write_grid_size=4)}),
        ("frames", {"frames": 4}),
        ("channels", {"channels": 3}),
        ("attention.kind", {"attention": AttentionConfig("global")}),
        ("attention.content", {"attention": AttentionConfig(content="shared")}),
    ],
)
def test_another_size_is_refused(name: str, changes: dict[str, Any]) -> None:
    """An overlap would put, say, deviations where means belong."""
    with pytest.raises(UserError, match=rf"^train\.start\.model: the other has model\.{name} .* they must be equal$"):
        started(made(dataclasses.replace(MODEL, **changes), 2), made(MODEL, 1))


def test_other_steps_and_layers() -> None:
    source = made(MODEL, 1)
    model = made(dataclasses.replace(MODEL, draw_steps=4, layers=2), 2)
    started(model, source)
    videos, noise = torch.rand(2, *MODEL.shape), model.noise(2, seed=3)
    canvases = model(videos, noise=noise, return_canvases=True).canvases
    assert canvases is not None
    torch.testing.assert_close(canvases[:, 1], source(videos, noise=noise.steps(slice(2))).videos)


def test_a_canvas_of_zeros_stays_zero() -> None:
    model = made(MODEL, 2)
    started(model, made(dataclasses.replace(MODEL, canvas="learned"), 1))
    assert model.generator.first_canvas.tolist() == [[[0.0]]]


def test_a_canvas_that_is_an_image_begins_at_a_colour() -> None:
    source, model = (
        made(dataclasses.replace(MODEL, canvas="learned"), 1),
        made(dataclasses.replace(MODEL, canvas="image"), 2),
    )
    started(model, source)
    assert torch.equal(model.generator.first_canvas, source.generator.first_canvas.expand(1, 32, 32))


@pytest.mark.parametrize("canvas", ["zero", "learned", "image"])
def test_without_another_model_the_canvas_begins_at_the_datas_mean(canvas: Any) -> None:
    data, model = BouncingMNIST(DATA), build(dataclasses.replace(MODEL, canvas=canvas))
    begin(model, changed(RUN, {"model.canvas": canvas}), data, progress=False)
    mean = torch.from_numpy(data.take(torch.arange(20).numpy()).videos).float().mean(dim=(0, 1)) / 255
    torch.testing.assert_close(mean_frame(model, data), mean)
    expected = {"zero": torch.full((1, 1, 1), 0.5), "learned": mean.mean(dim=(1, 2), keepdim=True), "image": mean}
    torch.testing.assert_close(
        model.generator.first_canvas.sigmoid(), expected[canvas].clamp(1e-4), atol=1e-6, rtol=1e-4
    )


def test_run_that_starts_from_another(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step is computed with the other's weights; on resuming, with the run's own, and the other may go."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    shutil.copytree(whole, tmp_path / "source")
    config = changed(RUN, {"train.start.model": str(tmp_path / "source"), "train.seed": 5})
    out = go(config, tmp_path / "run")
    fresh = go(changed(config, {"train.start.model": None}), tmp_path / "fresh")
    assert metrics(out)[0]["L_X"] < metrics(fresh)[0]["L_X"]
    shutil.rmtree(tmp_path / "source")
    go(changed(config, {"train.max_steps": 12}), out, resume=True)
    assert state(out)["step"] == 12


@pytest.mark.parametrize("word", ["diagonally", None])
def test_a_run_keeps_the_words_of_the_model_that_it_starts_from(word: str | None, tmp_path: Path) -> None:
    """Where it needs no others; then the caption layers that know them are kept, too. On resuming, as well."""
    words = tuple(BouncingMNIST(DATA).wordings())
    words = tuple(sorted({each for text in words for each in text.split()} - {"diagonally"}))
    known = (*words, word) if word else words[1:]
    source = made(dataclasses.replace(ALIGNED, captions=CaptionConfig("alignment", 4, known)), 1)
    pretrained.save(source, tmp_path / "source")
    config = changed(
        RUN,
        {"model": ALIGNED, "train.start.model": str(tmp_path / "source"), "train.optimizer.learning_rate": 1e-9},
    )
    out = go(config, tmp_path / "run")
    kept = pretrained.load(out)
    assert (kept.config.captions.vocabulary == known) == bool(set(words) <= set(known))
    if kept.config.captions.vocabulary == known:
        torch.testing.assert_close(kept.state_dict(), source.state_dict(), atol=1e-6, rtol=1e-5)
    shutil.rmtree(tmp_path / "source")
    go(changed(config, {"train.max_steps": 12}), out, resume=True)
    assert pretrained.load(out).config == kept.config


def test_only_inference_is_trained(whole: Path, tmp_path: Path) -> None:
    """What encodes learns; what draws stays as it is, so the same noise gives the same samples."""
    config = changed(
        RUN, {"train.start.model": str(whole), "train.start.only_inference": True, "train.optimizer.ema": 0.5}
    )
    out = go(config, tmp_path / "run")
    before, after = load_file(whole / "model.safetensors"), load_file(out / "model.safetensors")
    learned = {name.rpartition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert learned == {"inference.read_parameters", "inference.lstm", "inference.posterior"}
    assert torch.equal(pretrained.load(whole).generate(2), pretrained.load(out).generate(2))
    # Broken off and resumed, it is the same; and the model that it began from may go.
    halves = go(changed(config, {"train.max_steps": 6}), tmp_path / "halves")
    go(config, halves, resume=True)
    assert_same(load_file(halves / "model.safetensors"), after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.start.only_inference": True}, r"train\.start\.only_inference needs a trained model"),
        ({"train.start.cluster_from": 1}, r"name it with train\.start\.model, or leave out .*\.cluster_from"),
        ({"model.prior": PriorConfig("network", categories=3)}, r"name it with train\.start\.model"),
        ({"train.start.model": "nobody"}, r"^train\.start\.model: unknown model 'nobody'"),
        ({"train.start.model": "{whole}", "train.start.cluster_from": 1}, r"set model\.prior\.components or"),
        ({"train.start.model": "{whole}", "model.prior": PriorConfig(categories=3)},
         r"say from which drawing step on with train\.start\.cluster_from"),
        ({"train.start.model": "{whole}", "model.prior": PriorConfig("network", 2), "train.start.cluster_from": 3},
         r"cluster_from is 3; it must be one of a layer's drawing steps, 1 to 2"),
    ],
)  # fmt: skip
def test_a_start_that_cannot_be_is_told(changes: dict[str, Any], message: str, whole: Path, tmp_path: Path) -> None:
    filled = {name: str(whole) if value == "{whole}" else value for name, value in changes.items()}
    with pytest.raises(UserError, match=message):
        go(changed(RUN, filled), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
