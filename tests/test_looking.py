"""Layers that are encoded one by one, after a first look at all of them."""

from __future__ import annotations

import dataclasses
import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from making_models import randomised
from syncdraw import SyncDrawConfig, UserError, building, pretrained
from syncdraw.config import CaptionConfig, FirstLookConfig, PriorConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.extensions import looking as looking_module
from syncdraw.extensions.layers import LayeredSyncDraw
from syncdraw.extensions.looking import LookingSyncDraw, first_look_of, shared_out
from syncdraw.extensions.refinement import refine
from syncdraw.model import State
from syncdraw.training import RunConfig, StartConfig, TrainConfig, train
from syncdraw.training.recipes import Recipe, Stage
from syncdraw.training.stages import train_recipe
from syncdraw.training.warm_start import copy_weights, first_look_model, take_first_look

ONE = SyncDrawConfig(
    frames=3, height=32, width=32, draw_steps=3, grid_size=3, hidden_size=8, latent_size=3, prior=PriorConfig("network")
)
TWO = dataclasses.replace(ONE, layers=2, draw_steps=6, first_look=FirstLookConfig(draw_steps=4))
WORDS = CaptionConfig("alignment", 4, ("and", "digit", "moving", "three", "two"))
FIRST, SECOND = "digit two moving", "digit three moving"


def looking(config: SyncDrawConfig = TWO) -> LookingSyncDraw:
    model = randomised(config, 0.3).eval()
    assert isinstance(model, LookingSyncDraw)
    return model


def videos(count: int = 4) -> Tensor:
    return (torch.rand(count, *ONE.shape, generator=torch.Generator().manual_seed(2)) > 0.8).float()


def test_light_is_shared_out_by_probabilities() -> None:
    """Bayes' rule: each layer lights a pixel or not, and any of them did."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(2, 3, *ONE.shape, generator=generator)
    pixels = torch.rand(2, *ONE.shape, generator=generator)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    expected = pixels.numpy()[:, None] * p / (1 - (1 - p).prod(axis=1, keepdims=True))
    torch.testing.assert_close(shared_out(pixels, logits), torch.from_numpy(expected).float())
    # What no layer can have lit goes to the one that is nearest to it.
    far = torch.tensor([-80.0, -90.0])[None, :, None, None, None, None].expand(2, 2, *ONE.shape)
    torch.testing.assert_close(shared_out(pixels, far)[:, 0], pixels, atol=1e-4, rtol=1e-4)


def test_each_layer_is_encoded_as_if_it_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the Q and the P of one layer, from its share, whatever the other one shows; the video shows both."""
    model, one, noise = looking(), building.build(ONE).eval(), looking().noise(4, seed=0)
    copy_weights(model, one, "it")  # type: ignore[arg-type]
    shares = torch.stack([videos(), 0.5 * videos().flip(0)], dim=1)
    monkeypatch.setattr(model, "shares", lambda pixels, tokens: shares)
    both = model(videos(), noise=noise)
    dark = torch.ones(4, *ONE.shape)
    for layer in range(2):
        alone = one(shares[:, layer], noise=noise.steps(slice(3 * layer, 3 * layer + 3)))
        steps = slice(3 * layer, 3 * layer + 3)
        torch.testing.assert_close(both.divergence_by_step[:, steps], alone.divergence_by_step)
        for mine, theirs in zip(both.steps[steps], alone.steps, strict=True):
            torch.testing.assert_close(mine.posterior, theirs.posterior)
            torch.testing.assert_close(mine.read_window, theirs.read_window)
        dark = dark * (1 - alone.videos)
    torch.testing.assert_close(both.videos, 1 - dark)
    expected = torch.nn.functional.binary_cross_entropy(1 - dark, videos(), reduction="none").flatten(1).sum(dim=1)
    torch.testing.assert_close(both.reconstruction, expected)


def test_the_first_look_is_another_models(tmp_path: Path) -> None:
    """What it draws, with the means of its Q, is what that model draws; its prior is left out."""
    config = dataclasses.replace(
        TWO, draw_steps=4, first_look=FirstLookConfig(), captions=CaptionConfig(size=5),
        prior=PriorConfig("network", components=2, categories=3),
    )  # fmt: skip
    source = randomised(config, 0.4)
    assert isinstance(source, LayeredSyncDraw)
    model = looking(dataclasses.replace(TWO, first_look=first_look_of(config)))
    take_first_look(model, source, "it")
    noise = source.noise(4, seed=0)
    still = type(noise)(*(torch.zeros_like(part) for part in noise))
    seen: list[State] = []
    model.glance.trace(None, model.glance.means(4), model.glance.inference.look(videos()), None, seen.append)
    expected: list[State] = []
    source.trace(None, still, source.inference.look(videos()), None, expected.append)
    assert len(seen) == len(expected) == 4
    for mine, theirs in zip(seen, expected, strict=True):
        assert torch.equal(mine.canvas.logits, theirs.canvas.logits)
    assert not any(name.startswith("glance.generator.prior.") for name in model.state_dict())
    # And that of a model which has one itself is taken over.
    pretrained.save(model, tmp_path / "looks")
    other = looking(dataclasses.replace(TWO, first_look=first_look_of(config)))
    take_first_look(other, first_look_model(str(tmp_path / "looks")), "looks")
    assert first_look_of(model.config) == model.config.first_look == first_look_of(config)
    theirs = model.glance.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in other.glance.state_dict().items())


def test_shares_do_not_depend_on_chance() -> None:
    """So that what the last look sees is a function of the video, and its Q one of the video alone."""
    model = looking()
    torch.manual_seed(0)
    found = model.shares(videos(), None)
    torch.manual_seed(1)
    assert torch.equal(model.shares(videos(), None), found)
    assert not found.requires_grad
    assert torch.all((found >= 0) & (found <= videos()[:, None] + 1e-6))
    assert not torch.equal(found[:, 0], found[:, 1])
    for row in range(4):
        torch.testing.assert_close(model.shares(videos()[row : row + 1], None)[0], found[row], atol=1e-4, rtol=1e-4)


def test_shares_are_known_still_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other videos, the same ones after they were written to, and other weights are looked at anew."""
    model, pixels, looks = looking().eval(), videos(), []
    look = model._shares

    def counted(*given: Any) -> Tensor:
        looks.append(given)
        return look(*given)

    monkeypatch.setattr(model, "_shares", counted)
    refine(model, pixels, None, steps=3, generators=[torch.Generator() for _ in pixels])
    assert len(looks) == 1
    for changed in (pixels, model.inference.lstm.weight_hh, model.glance.inference.lstm.weight_hh):
        with torch.no_grad():
            changed.mul_(0.5)
        assert torch.equal(model.shares(pixels, None), look(pixels, None))
        model.shares(pixels, None)
    assert len(looks) == 4
    model.shares(pixels.clone(), None)
    model.train().shares(pixels, None)
    model.shares(pixels, None)
    assert len(looks) == 7
    with torch.inference_mode():  # whose tensors do not tell
        unseen = videos()
        assert torch.equal(model.eval().shares(unseen, None), look(unseen, None))
        unseen.mul_(0.5)
        assert torch.equal(model.shares(unseen, None), look(unseen, None))


@pytest.mark.parametrize(("layers", "captioned"), [(2, True), (3, False)])
def test_clauses_are_tried_in_all_orders(layers: int, captioned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And for each video the order with the best bound stays."""
    look = FirstLookConfig(draw_steps=layers, captioned=captioned)
    config = dataclasses.replace(TWO, layers=layers, draw_steps=3 * layers, first_look=look, captions=WORDS)
    model = looking(config)
    texts = [" and ".join([FIRST, SECOND, FIRST][:layers])] * 6
    tokens, several = model.tokenise(texts, 6), videos(6)
    tried: list[tuple[Tensor, Tensor]] = []
    trace = model._trace_alone

    def watched(tokens: Any, noise: Any, shares: Tensor, *rest: Any) -> Any:
        state, steps = trace(tokens, noise, shares, *rest)
        cost = model.generator.likelihood(state.canvas.logits, several) + sum(step.divergence for step in steps)
        tried.append((shares, cost))
        return state, steps

    monkeypatch.setattr(model, "_trace_alone", watched)
    chosen = model.shares(several, tokens)
    costs = torch.stack([cost for _, cost in tried])
    count = len(list(permutations(range(layers))))
    assert len(tried) == looking_module.STARTS * count + 1
    for (seen, _), order in zip(tried, permutations(range(layers)), strict=False):
        assert torch.equal(seen, tried[0][0][:, list(order)])
    firsts = [shares for shares, _ in tried[:-1:count]]
    assert not any(torch.equal(firsts[0], other) for other in firsts[1:])  # each start is another one
    best = costs[:-1].argmin(dim=0)
    assert len(best.unique()) > 1  # or the test would say little
    monkeypatch.undo()

    def drawn_from(shares: Tensor, row: int) -> Tensor:
        """What a look shares out anew, of one video."""
        some, seen = slice(row, row + 1), []
        model._trace_alone(tokens[some], model.means(1), shares[some], None, seen.append)
        own = [getattr(state.canvas, "own", state.canvas.logits) for state in seen[2::3]]
        return shared_out(several[some], torch.stack(own, dim=1))

    for row, which in enumerate(best.tolist()):
        once = drawn_from(tried[which][0], row)
        torch.testing.assert_close(tried[-1][0][row : row + 1], once, atol=1e-4, rtol=1e-4)
        # The next look goes on from there, and what it finds counts where it has a better bound.
        twice = drawn_from(tried[-1][0], row) if costs[-1, row] < costs[which, row] else once
        torch.testing.assert_close(chosen[row : row + 1], twice, atol=1e-4, rtol=1e-4)


def test_samples_need_no_look() -> None:
    model = looking()
    layered = building.build(dataclasses.replace(TWO, first_look=FirstLookConfig())).eval()
    weights = {name: t for name, t in model.state_dict().items() if not name.startswith("glance.")}
    assert layered.load_state_dict(weights, strict=False).missing_keys == ["inference.later_starts.0"]
    assert torch.equal(model.generate(3), layered.generate(3))
    captioned = looking(dataclasses.replace(TWO, captions=WORDS))
    before = {name: tensor.clone() for name, tensor in captioned.state_dict().items()}
    assert captioned.generate([f"{FIRST} and {SECOND} and {FIRST}"]).shape == (1, *ONE.shape)
    assert isinstance(captioned.with_layers(3), LayeredSyncDraw)
    assert all(torch.equal(tensor, before[name]) for name, tensor in captioned.state_dict().items())


def test_it_is_stored_once_and_small(tmp_path: Path) -> None:
    model = looking(dataclasses.replace(TWO, hidden_size=64))
    names = {name.partition(".")[0] for name in model.state_dict()}
    assert names == {"glance", "inference", "generator"}
    expected = model(videos(), noise=model.noise(4, seed=0))
    pretrained.save(model, tmp_path / "whole")
    same = pretrained.load(tmp_path / "whole")
    assert torch.equal(same(videos(), noise=model.noise(4, seed=0)).logits, expected.logits)
    pretrained.save(model, tmp_path / "half", half=True)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    kinds = {name: tensor.dtype for name, tensor in stored.items()}
    assert kinds["glance.inference.lstm.weight_ih"] == torch.float8_e4m3fn
    assert kinds["inference.lstm.weight_ih"] == kinds["glance.inference.lstm.bias_ih"] == torch.float16
    loaded = pretrained.load(tmp_path / "half").state_dict()
    for name, tensor in model.state_dict().items():
        tolerance = 2**-4 if kinds[name] == torch.float8_e4m3fn else 2**-10
        torch.testing.assert_close(loaded[name], tensor, rtol=tolerance, atol=2**-10)


DATA = BouncingMNISTConfig(digits=2, shape=(3, 1, 32, 32), clips=40)
RUN = RunConfig(
    model=dataclasses.replace(TWO, protocol="binary", first_look=FirstLookConfig()),
    bouncing=DATA,
    train=TrainConfig(max_steps=4, batch_size=4, every=2),
)


def begun(config: RunConfig, **start: Any) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, start=StartConfig(**start)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model of one layer, `one`, and of one of two, `two`."""
    folder = tmp_path_factory.mktemp("looking")
    pretrained.save(randomised(dataclasses.replace(ONE, protocol="binary")), folder / "one")
    pretrained.save(randomised(dataclasses.replace(RUN.model, draw_steps=4), 0.3), folder / "two")
    return folder


def test_training_takes_over_a_first_look(models: Path, tmp_path: Path) -> None:
    """And leaves it as it is; with only_inference, what draws stays as it was, too."""
    config = begun(RUN, model=str(models / "one"), first_look=str(models / "two"), only_inference=True)
    run = train(config, tmp_path / "run", progress=False)
    one, two, after = (load_file(folder / "model.safetensors") for folder in (models / "one", models / "two", run))
    assert {name.partition(".")[0] for name in after} == {"glance", "inference", "generator"}
    for name, tensor in after.items():
        if name.startswith("glance."):
            assert torch.equal(tensor, two[name.removeprefix("glance.")])
        elif name.startswith("generator."):
            assert torch.equal(tensor, one[name])
    assert not torch.equal(after["inference.lstm.weight_ih"], one["inference.lstm.weight_ih"])
    assert pretrained.load_card(run)["model"]["first_look"]["draw_steps"] == 4
    # Broken off and resumed, it is the same, also where what it began from is gone.
    short = dataclasses.replace(config, train=dataclasses.replace(config.train, max_steps=2))
    gone = shutil.copytree(models, tmp_path / "gone")
    start = {"model": str(gone / "one"), "first_look": str(gone / "two"), "only_inference": True}
    halves = train(begun(short, **start), tmp_path / "halves", progress=False)
    shutil.rmtree(gone)
    train(begun(config, **start), halves, resume=True, progress=False)
    resumed = load_file(halves / "model.safetensors")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in after.items())


def test_a_stage_looks_first_as_an_earlier_one_does(models: Path, tmp_path: Path) -> None:
    """It begins from the model that it names, not from the stage before."""
    first = begun(dataclasses.replace(RUN, model=dataclasses.replace(RUN.model, draw_steps=4)),
                  model=str(models / "one"), only_inference=True)  # fmt: skip
    second = begun(RUN, model=str(models / "one"), first_look="tell", only_inference=True)
    recipe = Recipe("looks", (Stage("tell", first), Stage("again", second)))
    out = train_recipe(recipe, tmp_path / "run", progress=False)
    told, after = (load_file(folder / "model.safetensors") for folder in (out / "stages" / "1-tell", out))
    one = load_file(models / "one" / "model.safetensors")
    for name, tensor in after.items():
        if name.startswith("glance."):
            assert torch.equal(tensor, told[name.removeprefix("glance.")])
        elif name.startswith("generator."):
            assert torch.equal(tensor, one[name])
    assert isinstance(pretrained.load(out), LookingSyncDraw)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"first_look": "{two}"}, r"train\.start\.first_look needs a model to go with it"),
        (
            {"model": "{one}", "first_look": "{one}"},
            r"train\.start\.first_look: .*one has one layer; a first look is at",
        ),
        ({"model": "{one}", "first_look": "nobody"}, r"^train\.start\.first_look: unknown model 'nobody'"),
        ({"model": "{one}", "first_look": "{small}"}, r"first_look: .*small has model\.height 16, this model 32"),
        ({"model": "{one}", "first_look": "{words}"}, r"model\.first_look\.captioned is true, but the model itself"),
    ],
)
def test_a_first_look_that_does_not_fit(start: dict[str, str], message: str, models: Path, tmp_path: Path) -> None:
    two = dataclasses.replace(RUN.model, draw_steps=4)
    for name, other in (("small", {"height": 16}), ("words", {"captions": WORDS})):
        pretrained.save(randomised(dataclasses.replace(two, **other)), tmp_path / name)  # type: ignore[arg-type]
    places = {name: models / name for name in ("one", "two")} | {n: tmp_path / n for n in ("small", "words")}
    named = {field: value.format(**places) for field, value in start.items()}
    with pytest.raises(UserError, match=message):
        train(begun(RUN, **named), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 1}, r"model\.layers is 1; with a first look it must be 2 to 4"),
        ({"layers": 5, "draw_steps": 5}, r"model\.layers is 5; .* there are too many orders to try"),
        ({"first_look": FirstLookConfig(3)}, r"first_look\.draw_steps is 3; it must be a multiple of model\.layers"),
        (
            {"first_look": FirstLookConfig(2, captioned=True)},
            r"captioned is true, but the model itself takes no captions",
        ),
    ],
)
def test_a_first_look_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TWO, **changes)
