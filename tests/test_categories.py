"""Categories: what a video is of, chosen before anything is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from syncdraw import SyncDraw, SyncDrawConfig, UserError, clustering, pretrained
from syncdraw.captions import Caption
from syncdraw.categories import CategoryVector, Recogniser
from syncdraw.clustering import find_categories, recognise_layers
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.model import State
from syncdraw.train import RunConfig, TrainConfig, start_from, train

SOURCE = SyncDrawConfig(
    frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3, prior="network"
)
CONFIG = replace(SOURCE, categories=4, caption_size=5)
DATA = BouncingMNISTConfig(frames=3, height=32, width=32, clips=60)


def build(config: SyncDrawConfig = CONFIG, seed: int = 1) -> SyncDraw:
    torch.manual_seed(seed)
    return SyncDraw(config)


def with_shares(model: SyncDraw, *shares: float) -> SyncDraw:
    assert isinstance(model.conditioner, CategoryVector)
    model.conditioner.log_shares.copy_(torch.tensor(shares).log())
    return model


def test_categories_are_drawn_by_their_shares() -> None:
    vectors = CategoryVector(4, 2)
    vectors.log_shares.copy_(torch.tensor([0.1, 0.6, 0.05, 0.25]).log())
    drawn = vectors.draw(torch.randn(100_000, generator=torch.Generator().manual_seed(0)))
    found = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(found, vectors.log_shares.exp(), atol=0.006, rtol=0)
    assert vectors.draw(torch.tensor([-40.0, 40.0])).tolist() == [0, 3]


def test_what_a_category_costs() -> None:
    """The bound is that of a model which is given the category, and -log P(category) beside it."""
    model = with_shares(build(), 0.1, 0.2, 0.3, 0.4)
    videos, noise = torch.rand(8, *CONFIG.shape), model.noise(8, seed=0)
    category = model.recogniser(videos).argmax(dim=1)
    cost = -torch.tensor([0.1, 0.2, 0.3, 0.4]).log()[category]
    drawing = model(videos, noise=noise)
    alone = [step.prior.divergence_from(step.posterior, step.z) for step in drawing.steps]
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

    monkeypatch.setattr(model.recogniser, "forward", recognise)
    drawing = model(videos, noise=noise, return_canvases=True)
    left = (videos - drawing.canvases[:, 1]).clamp(min=0)
    found = [model.recogniser(seen).argmax(dim=1) for seen in (videos, left)]
    assert not torch.equal(*found)
    assert [isinstance(step.choice, float) for step in drawing.steps] == [False, True, False, True]
    for step, categories in zip(drawing.steps[::2], found, strict=True):
        torch.testing.assert_close(step.caption, model.conditioner.vectors(categories))
        torch.testing.assert_close(step.choice, -model.conditioner.log_shares[categories])
    drawn = model(None, noise=noise).steps
    for t in (0, 1, 2, 3):
        expected = model.conditioner.draw(noise[:, t // 2 * 2, -1])
        torch.testing.assert_close(drawn[t].caption, model.conditioner.vectors(expected))


def test_the_category_is_told_to_all_that_draws_and_encodes() -> None:
    model = build()
    videos, noise = torch.rand(1, *CONFIG.shape), model.noise(1, seed=0)

    def seen(vector: float) -> list[torch.Tensor]:
        with torch.no_grad():
            model.conditioner.vectors.weight.fill_(vector)
            step = model(videos, noise=noise).steps[0]
        return [step.posterior.loc, step.prior.components.loc, step.write_window.row_centre]

    torch.nn.init.normal_(model.prior.layers[-1].weight)
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


def test_categories_are_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the clusters are narrow digits and wide ones, clips that were not shown are recognised, too."""
    dataset = BouncingMNIST(replace(DATA, clips=600))
    narrow = torch.isin(torch.from_numpy(dataset.take(np.arange(600)).labels[:, 0]), torch.tensor([1, 4, 7, 9]))
    monkeypatch.setattr(clustering, "k_means", lambda *_: narrow.long())
    monkeypatch.setattr(clustering, "FIT_STEPS", 200)
    model = build(replace(CONFIG, categories=2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert find_categories(model, build(SOURCE), dataset, from_step=1, progress=False) > 0.85  # a guess: 0.6
    shares = model.conditioner.log_shares.exp()
    torch.testing.assert_close(shares[1], narrow.float().mean(), atol=0.05, rtol=0)
    assert shares.sum().item() == pytest.approx(1)
    changed = {n.partition(".")[0] for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"recogniser", "conditioner"}
    assert not any(parameter.requires_grad for parameter in model.recogniser.parameters())


def test_a_recogniser_learns_layers_from_what_the_model_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that draws one of two pictures a layer, and a recogniser that has seen neither."""
    monkeypatch.setattr(clustering, "LAYER_STEPS", 60)
    model = build(replace(CONFIG, categories=2, layers=2, draw_steps=4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def draw(state: State, z: torch.Tensor, caption: Caption) -> tuple[State, None]:
        canvas = torch.full((len(z), *CONFIG.shape), -6.0)
        at = 0 if state.below is None else 16  # the second layer draws on the right
        first = (caption.decoder == model.conditioner.vectors.weight[0]).all(dim=1)
        canvas[first, ..., 8:16, at + 4 : at + 12] = 6.0  # a square
        canvas[~first, ..., 4:28, at + 6 : at + 9] = 6.0  # a bar
        return state._replace(canvas=canvas), None

    monkeypatch.setattr(model, "draw", draw)
    assert recognise_layers(model, progress=False) > 0.95  # a guess: 0.625
    changed = {n.partition(".")[0] for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"recogniser"}
    assert not any(parameter.requires_grad for parameter in model.recogniser.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": 1}, r"model\.categories is 1; it must be 0 for none, or 2 or more"),
        ({"captions": "alignment"}, r"model\.captions is alignment; with model\.categories it must be none"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(CONFIG, **changes)


def test_categories_come_from_a_trained_model(tmp_path: Path) -> None:
    """As its clusters, or with it; and they can be left behind."""
    pretrained.save(build(SOURCE), tmp_path / "source")
    with pytest.raises(UserError, match=r"model\.categories is 4: they are clusters .* with train\.cluster_from"):
        start_from(build(), str(tmp_path / "source"))
    with pytest.raises(UserError, match=r"model\.categories is 4: .* name it with train\.start_from"):
        train(RunConfig(model=CONFIG, bouncing=DATA), tmp_path / "run", progress=False)
    found = build(seed=2)
    pretrained.save(found, tmp_path / "found")
    model = build(seed=3)
    start_from(model, str(tmp_path / "found"), clusters=True)  # kept, also where there is a prior to cluster
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name
    plain = build(SOURCE, seed=4)
    start_from(plain, str(tmp_path / "found"))
    assert torch.equal(plain.encoder.weight_hh, found.encoder.weight_hh)


def test_a_prior_beside_categories_that_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run finds them once; the next keeps them, and clusters for its prior."""
    monkeypatch.setattr(clustering, "FIT_STEPS", 3)
    found = build(replace(CONFIG, prior_components=1))
    pretrained.save(found, tmp_path / "found")
    settings = TrainConfig(
        max_steps=1, batch_size=3, validation_clips=4, start_from=str(tmp_path / "found"), cluster_from=2
    )
    config = RunConfig(model=replace(CONFIG, prior_components=3), bouncing=DATA, train=settings)
    model = pretrained.load(train(config, tmp_path / "run", progress=False))
    for name, tensor in model.recogniser.state_dict().items():
        assert torch.equal(tensor, found.recogniser.state_dict()[name]), name
    assert torch.equal(model.conditioner.log_shares, found.conditioner.log_shares)
    torch.testing.assert_close(model.prior.choice.bias.exp().sum().item(), 1.0, atol=0.05, rtol=0)  # clusters' shares


def test_layers_take_over_the_categories_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And learn to tell them apart; they are not found among several."""
    monkeypatch.setattr(clustering, "LAYER_STEPS", 10)
    found = build()
    pretrained.save(found, tmp_path / "found")
    settings = TrainConfig(max_steps=1, batch_size=3, validation_clips=4, start_from=str(tmp_path / "found"))
    layers = RunConfig(model=replace(CONFIG, layers=2, draw_steps=4), bouncing=replace(DATA, digits=2), train=settings)
    model = pretrained.load(train(layers, tmp_path / "run", progress=False))
    assert torch.equal(model.conditioner.log_shares, found.conditioner.log_shares)
    assert not torch.equal(model.recogniser.category[0].weight, found.recogniser.category[0].weight)
    again = replace(layers, train=replace(settings, start_from=str(tmp_path / "run")))  # already knows them
    same = pretrained.load(train(again, tmp_path / "again", progress=False))
    assert torch.equal(same.recogniser.category[0].weight, model.recogniser.category[0].weight)
    pretrained.save(build(SOURCE), tmp_path / "source")
    none = replace(layers, train=replace(settings, start_from=str(tmp_path / "source"), cluster_from=1))
    with pytest.raises(
        UserError, match=r"model\.layers is 2: a model of several layers has the categories of a model of one"
    ):
        train(none, tmp_path / "none", progress=False)


def test_a_run_with_categories_resumes_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "FIT_STEPS", 3)
    pretrained.save(build(SOURCE), tmp_path / "source")
    settings = TrainConfig(
        max_steps=6, batch_size=3, validation_clips=4, validate_every=3, sample_every=6, save_every=3,
        start_from=str(tmp_path / "source"), cluster_from=1,
    )  # fmt: skip
    config = RunConfig(model=CONFIG, bouncing=DATA, train=settings)
    whole = train(config, tmp_path / "whole", progress=False)
    halves = train(replace(config, train=replace(settings, max_steps=3)), tmp_path / "halves", progress=False)
    train(config, halves, resume=True, progress=False)
    one, other = pretrained.load(whole), pretrained.load(halves)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert torch.equal(one.generate(3), other.generate(3))
