"""Categories: what a video is of, chosen before anything is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from syncdraw import SyncDraw, SyncDrawConfig, UserError, building, pretrained
from syncdraw.captions import Caption
from syncdraw.config import CaptionConfig, PriorConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.extensions import clustering
from syncdraw.extensions.categories import Categories, Recogniser
from syncdraw.extensions.clustering import find_categories, recognise_layers
from syncdraw.extensions.layers import LayerCanvas
from syncdraw.extensions.mixture import MixturePrior
from syncdraw.model import Canvas, Hidden, State, Surface
from syncdraw.priors import NetworkPrior
from syncdraw.training import RunConfig, StartConfig, TrainConfig, train
from syncdraw.training.warm_start import begin

SOURCE = SyncDrawConfig(
    frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3, prior=PriorConfig("network")
)
VECTORS = CaptionConfig(size=5)
CONFIG = replace(SOURCE, prior=PriorConfig("network", categories=4), captions=VECTORS)
TWO = PriorConfig("network", categories=2)
DATA = BouncingMNISTConfig(shape=(3, 1, 32, 32), clips=60)


def build(config: SyncDrawConfig = CONFIG, seed: int = 1) -> SyncDraw:
    torch.manual_seed(seed)
    return building.build(config)


def categories_of(model: SyncDraw) -> Categories:
    assert isinstance(model.conditioner, Categories)
    return model.conditioner


def with_shares(model: SyncDraw, *shares: float) -> SyncDraw:
    categories_of(model).log_shares.copy_(torch.tensor(shares).log())
    return model


def test_categories_are_drawn_by_their_shares() -> None:
    vectors = Categories(1, 4, 2)
    vectors.log_shares.copy_(torch.tensor([0.1, 0.6, 0.05, 0.25]).log())
    drawn = vectors.draw(torch.randn(100_000, generator=torch.Generator().manual_seed(0)))
    found = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(found, vectors.log_shares.exp(), atol=0.006, rtol=0)
    assert vectors.draw(torch.tensor([-40.0, 40.0])).tolist() == [0, 3]


def test_what_a_category_costs() -> None:
    """The bound is that of a model which is given the category, and -log P(category) beside it."""
    model = with_shares(build(), 0.1, 0.2, 0.3, 0.4)
    videos, noise = torch.rand(8, *CONFIG.shape), model.noise(8, seed=0)
    category = categories_of(model).recogniser(videos).argmax(dim=1)
    cost = -torch.tensor([0.1, 0.2, 0.3, 0.4]).log()[category]
    drawing = model(videos, noise=noise)
    alone = [step.prior.divergence_of(step.posterior, step.z) for step in drawing.steps]
    torch.testing.assert_close(drawing.divergence_by_step[:, 0], alone[0] + cost)
    torch.testing.assert_close(drawing.divergence, sum(alone) + cost)
    torch.testing.assert_close(drawing.negative_elbo, drawing.reconstruction + sum(alone) + cost)
    ratios = [step.prior.log_prob(step.z) - step.posterior.log_prob(step.z).sum(dim=1) for step in drawing.steps]
    torch.testing.assert_close(drawing.log_weight, sum(ratios) - cost - drawing.reconstruction)


def test_each_layer_has_a_category(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own, by what the layers below have left of the video, and each costs."""
    model = with_shares(build(replace(CONFIG, layers=2, draw_steps=4)), 0.1, 0.2, 0.3, 0.4)
    videos, noise = torch.rand(8, *CONFIG.shape), model.noise(8, seed=0)

    def recognise(seen: torch.Tensor) -> torch.Tensor:
        brightness = seen.double().flatten(1).sum(dim=1)
        return torch.eye(4)[(7 * brightness).long() % 4]

    monkeypatch.setattr(categories_of(model).recogniser, "forward", recognise)
    drawing = model(videos, noise=noise, return_canvases=True)
    left = (videos - drawing.canvases[:, 1]).clamp(min=0)
    found = [categories_of(model).recogniser(seen).argmax(dim=1) for seen in (videos, left)]
    assert not torch.equal(*found)
    assert [step.cost is None for step in drawing.steps] == [False, True, False, True]
    conditioner = categories_of(model)
    for step, categories in zip(drawing.steps[::2], found, strict=True):
        torch.testing.assert_close(step.caption.decoder, conditioner.vectors(categories))
        torch.testing.assert_close(step.cost, -conditioner.log_shares[categories])
    drawn = model(None, noise=noise).steps
    for t in (0, 1, 2, 3):
        expected = conditioner.draw(noise.condition[:, t // 2 * 2, 0])
        torch.testing.assert_close(drawn[t].caption.decoder, conditioner.vectors(expected))


def test_the_category_is_told_to_all_that_draws_and_encodes() -> None:
    model = build()
    videos, noise = torch.rand(1, *CONFIG.shape), model.noise(1, seed=0)

    def seen(vector: float) -> list[torch.Tensor]:
        with torch.no_grad():
            categories_of(model).vectors.weight.fill_(vector)
            step = model(videos, noise=noise).steps[0]
        return [step.posterior.mean, step.prior.gaussian.mean, step.write_window.row_centre]

    assert isinstance(model.generator.prior, NetworkPrior)
    torch.nn.init.normal_(model.generator.prior.layers[-1].weight)
    for before, after in zip(seen(0.0), seen(1.0), strict=True):
        assert not torch.equal(before, after)


def test_new_videos_are_of_categories_by_their_shares() -> None:
    """Also at temperature 0, which leaves the choice alone: a model of one category then draws one video."""
    sure, unsure = with_shares(build(), 1e-9, 1e-9, 1.0, 1e-9), with_shares(build(), 0.25, 0.25, 0.25, 0.25)
    assert len({tuple(v.flatten().tolist()) for v in sure.generate(20, temperature=0.0)}) == 1
    assert len({tuple(v.flatten().tolist()) for v in unsure.generate(40, temperature=0.0)}) == 4


def test_a_recogniser_sees_things_wherever_they_are() -> None:
    recogniser = Recogniser(1, 3).eval()
    videos = torch.zeros(2, 4, 1, 88, 88)
    glyph = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0))
    videos[0, :, :, 24:44, 24:44] = glyph
    videos[1, :, :, 32:52, 40:60] = glyph  # by multiples of the strides, 8 pixels
    logits = recogniser(videos)
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits[0], recogniser(1 - videos)[0], rtol=1e-2)


def changed_since(before: dict[str, torch.Tensor], model: SyncDraw) -> set[str]:
    """The parts of the model that have changed, by the first two parts of their names."""
    tensors = model.state_dict().items()
    return {".".join(name.split(".")[:2]) for name, tensor in tensors if not torch.equal(tensor, before[name])}


def test_categories_are_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the clusters are narrow digits and wide ones, clips that were not shown are recognised, too."""
    dataset = BouncingMNIST(replace(DATA, clips=600))
    narrow = torch.isin(torch.from_numpy(dataset.take(np.arange(600)).labels[:, 0]), torch.tensor([1, 4, 7, 9]))
    monkeypatch.setattr(clustering, "k_means", lambda *_: narrow.long())
    monkeypatch.setattr(clustering, "FIT_STEPS", 100)
    model = build(replace(CONFIG, prior=TWO))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert find_categories(model, build(SOURCE), dataset, from_step=1, progress=False) > 0.85  # a guess: 0.6
    shares = categories_of(model).log_shares.exp()
    torch.testing.assert_close(shares[1], narrow.float().mean(), atol=0.05, rtol=0)
    assert shares.sum().item() == pytest.approx(1)
    changed = changed_since(before, model)
    assert changed == {"conditioner.log_shares", "conditioner.recogniser"}
    assert not any(parameter.requires_grad for parameter in categories_of(model).recogniser.parameters())


def test_a_recogniser_learns_layers_from_what_the_model_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that draws one of two pictures a layer, and a recogniser that has seen neither."""
    monkeypatch.setattr(clustering, "LAYER_STEPS", 40)
    model = build(replace(CONFIG, prior=TWO, layers=2, draw_steps=4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def draw(z: torch.Tensor, state: State, caption: Caption) -> tuple[Surface, Hidden, None]:
        canvas = torch.full((len(z), *CONFIG.shape), -6.0)
        at = 16 if isinstance(state.canvas, LayerCanvas) else 0  # the second layer draws on the right
        first = (caption.decoder == categories_of(model).vectors.weight[0]).all(dim=1)
        canvas[first, ..., 8:16, at + 4 : at + 12] = 6.0  # a square
        canvas[~first, ..., 4:28, at + 6 : at + 9] = 6.0  # a bar
        drawn = Canvas(canvas) if isinstance(state.canvas, Canvas) else state.canvas._replace(own=canvas)
        return drawn, state.decoder, None

    monkeypatch.setattr(model.generator, "forward", draw)
    assert recognise_layers(model, progress=False) > 0.95  # a guess: 0.625
    assert changed_since(before, model) == {"conditioner.recogniser"}
    assert not any(parameter.requires_grad for parameter in categories_of(model).recogniser.parameters())


def test_categories_and_captions_do_not_go_together() -> None:
    with pytest.raises(
        UserError, match=r"^model\.captions\.route is alignment; with model\.prior\.categories it must be none"
    ):
        replace(CONFIG, captions=CaptionConfig("alignment"))


@pytest.fixture
def few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs measure four clips where they would measure 200."""
    monkeypatch.setattr("syncdraw.training.run.VALIDATION_CLIPS", 4)


def run(shape: SyncDrawConfig, data: BouncingMNISTConfig = DATA, steps: int = 1, **start: Any) -> RunConfig:
    """Every step of it is validated, drawn and saved."""
    settings = TrainConfig(max_steps=steps, batch_size=3, every=3, start=StartConfig(**start))
    return RunConfig(model=shape, bouncing=data, train=settings)


def begun(model: SyncDraw, start: Path, **options: Any) -> SyncDraw:
    begin(model, run(model.config, model=str(start), **options), BouncingMNIST(DATA), progress=False)
    return model


def test_categories_come_from_a_trained_model(tmp_path: Path) -> None:
    """As its clusters, or with it; and they can be left behind."""
    pretrained.save(build(SOURCE), tmp_path / "source")
    with pytest.raises(
        UserError, match=r"model\.prior\.categories is 4: they are clusters .* with train\.start\.cluster_from"
    ):
        begun(build(), tmp_path / "source")
    with pytest.raises(
        UserError, match=r"clusters are those of what a trained model encodes; name it with train\.start\."
    ):
        train(run(CONFIG), tmp_path / "run", progress=False)
    found = build(seed=2)
    pretrained.save(found, tmp_path / "found")
    model = begun(build(seed=3), tmp_path / "found")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name
    plain = begun(build(SOURCE, seed=4), tmp_path / "found")
    assert torch.equal(plain.inference.lstm.weight_hh, found.inference.lstm.weight_hh)


@pytest.mark.usefixtures("few_clips")
def test_a_prior_beside_categories_that_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run finds them once; the next keeps them, and clusters for its prior."""
    monkeypatch.setattr(clustering, "FIT_STEPS", 3)
    found = build()
    pretrained.save(found, tmp_path / "found")
    prior = PriorConfig("network", components=3, categories=4)
    config = run(replace(CONFIG, prior=prior), model=str(tmp_path / "found"), cluster_from=2)
    model = pretrained.load(train(config, tmp_path / "run", progress=False))
    for name, tensor in categories_of(model).recogniser.state_dict().items():
        assert torch.equal(tensor, categories_of(found).recogniser.state_dict()[name]), name
    assert torch.equal(categories_of(model).log_shares, categories_of(found).log_shares)
    assert isinstance(model.generator.prior, MixturePrior)
    shares = model.generator.prior.choice.bias.exp()  # the clusters'
    torch.testing.assert_close(shares.sum().item(), 1.0, atol=0.05, rtol=0)


@pytest.mark.usefixtures("few_clips")
def test_layers_take_over_the_categories_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And learn to tell them apart; they are not found among several."""
    monkeypatch.setattr(clustering, "LAYER_STEPS", 10)
    found, two = build(), replace(DATA, digits=2)
    pretrained.save(found, tmp_path / "found")
    layers = replace(CONFIG, layers=2, draw_steps=4)
    model = pretrained.load(train(run(layers, two, model=str(tmp_path / "found")), tmp_path / "run", progress=False))

    def weight(model: SyncDraw) -> torch.Tensor:
        return categories_of(model).recogniser.category[0].weight

    assert torch.equal(categories_of(model).log_shares, categories_of(found).log_shares)
    assert not torch.equal(weight(model), weight(found))
    again = run(layers, two, model=str(tmp_path / "run"))  # already knows them
    same = pretrained.load(train(again, tmp_path / "again", progress=False))
    assert torch.equal(weight(same), weight(model))
    pretrained.save(build(SOURCE), tmp_path / "source")
    none = run(layers, two, model=str(tmp_path / "source"), cluster_from=1)
    with pytest.raises(
        UserError, match=r"model\.layers is 2: a model of several layers has the categories of a model of one"
    ):
        train(none, tmp_path / "none", progress=False)


@pytest.mark.usefixtures("few_clips")
def test_a_run_with_categories_resumes_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "FIT_STEPS", 3)
    pretrained.save(build(SOURCE), tmp_path / "source")
    config = run(CONFIG, steps=6, model=str(tmp_path / "source"), cluster_from=1)
    whole = train(config, tmp_path / "whole", progress=False)
    half = replace(config, train=replace(config.train, max_steps=3))
    halves = train(half, tmp_path / "halves", progress=False)
    train(config, halves, resume=True, progress=False)
    one, other = pretrained.load(whole), pretrained.load(halves)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert torch.equal(one.generate(3), other.generate(3))
