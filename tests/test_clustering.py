"""A mixture prior's components begin as clusters of latents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from syncdraw import SyncDraw, SyncDrawConfig, UserError, building
from syncdraw.config import PriorConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.extensions import clustering
from syncdraw.extensions.clustering import cluster_prior, k_means
from syncdraw.extensions.mixture import MixturePrior

CONFIG = SyncDrawConfig(
    frames=2, height=32, width=32, draw_steps=4, layers=2, grid_size=3, hidden_size=8, latent_size=3,
    prior=PriorConfig("network", components=4),
)  # fmt: skip
DATA = BouncingMNISTConfig(shape=(2, 1, 32, 32), clips=200)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(config: SyncDrawConfig = CONFIG) -> SyncDraw:
    torch.manual_seed(1)
    return building.build(config)


def prior_of(model: SyncDraw) -> MixturePrior:
    assert isinstance(model.generator.prior, MixturePrior)
    return model.generator.prior


def test_k_means_finds_clusters_that_lie_apart() -> None:
    truth = torch.arange(300) % 3
    points = 10 * torch.eye(3)[truth] + 0.1 * torch.randn(300, 3, generator=seeded())
    for seed in range(20):
        members = k_means(points, 3, seeded(seed))
        if len(members.unique()) == 3 and all(len(members[truth == t].unique()) == 1 for t in range(3)):
            break
    else:
        pytest.fail("from no start were the clusters found")
    # Whatever the start, each point is with the nearest of the means.
    means = torch.stack([points[members == m].mean(dim=0) for m in members.unique()])
    assert torch.equal(members.unique()[torch.cdist(points, means).argmin(dim=1)], members)


def test_more_clusters_than_clips_are_refused() -> None:
    with pytest.raises(UserError, match=r"2 clips do not fall into 3 clusters; ask for fewer"):
        k_means(torch.randn(2, 3), 3, seeded())


def test_the_prior_is_fitted_to_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes nearer to the posterior, takes each component as often as its cluster occurs, and nothing else moves."""
    monkeypatch.setattr(clustering, "FIT_STEPS", 300)
    found = []

    def noted(points: torch.Tensor, clusters: int, generator: torch.Generator, rounds: int = 30) -> torch.Tensor:
        found.append((points, k_means(points, clusters, generator, rounds)))
        return found[-1][1]

    monkeypatch.setattr(clustering, "k_means", noted)
    model, dataset = build(), BouncingMNIST(DATA)
    with torch.no_grad():
        model.inference.posterior.bias[:3] = 2.0  # away from where the prior begins
    videos = model.targets(torch.from_numpy(dataset.take(np.arange(100)).videos))
    noise = model.noise(100, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    divergence = model(videos, noise=noise).divergence.mean().item()
    cluster_prior(model, dataset, from_step=2, progress=False)

    assert model(videos, noise=noise).divergence.mean().item() < 0.3 * divergence
    for name, tensor in model.state_dict().items():
        if name != "generator.prior.choice.weight":  # h_dec^0 is zero
            assert torch.equal(tensor, before[name]) != name.startswith("generator.prior."), name
    ((points, members),) = found
    assert points.shape == (2 * 200, 3)  # a row for each layer; of its two steps the second, of three numbers
    shares = members.bincount(minlength=4) / len(members)
    got = prior_of(model).start(torch.zeros(1, 8), torch.zeros(1, 0)).exp()[0]
    torch.testing.assert_close(got, shares, atol=0.03, rtol=0)


def test_beside_categories_the_earlier_steps_are_clustered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    monkeypatch.setattr(clustering, "FIT_STEPS", 3)
    monkeypatch.setattr(clustering, "k_means", lambda *given: found.append(given[0]) or k_means(*given))
    model = build(replace(CONFIG, layers=1, draw_steps=5, prior=PriorConfig("network", 4, categories=3)))
    cluster_prior(model, BouncingMNIST(DATA), from_step=3, progress=False)
    assert [points.shape for points in found] == [(200, 2 * 3)]  # the first two steps, of three numbers each
    with pytest.raises(UserError, match=r"cluster_from is 1; for a mixture prior beside categories it must be 2"):
        cluster_prior(model, BouncingMNIST(DATA), from_step=1, progress=False)
    single = build(replace(model.config, prior=PriorConfig("network", categories=3)))
    with pytest.raises(UserError, match=r"has nothing to begin: set model\.prior\.components "):
        cluster_prior(single, BouncingMNIST(DATA), from_step=3)


def test_the_same_seed_gives_the_same_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "FIT_STEPS", 3)
    first, second, other = build(), build(), build()
    for model, seed in ((first, 1), (second, 1), (other, 2)):
        cluster_prior(model, BouncingMNIST(DATA), from_step=1, seed=seed, progress=False)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(prior_of(first).choice.bias, prior_of(other).choice.bias)


@pytest.mark.parametrize("step", [0, 3])
def test_a_step_that_a_layer_does_not_have(step: int) -> None:
    with pytest.raises(UserError, match=rf"cluster_from is {step}; it must be one of a layer's drawing steps, 1 to 2"):
        cluster_prior(build(), BouncingMNIST(DATA), from_step=step, progress=False)


def test_a_prior_without_components() -> None:
    with pytest.raises(
        UserError,
        match=r"cluster_from has nothing to begin: set model\.prior\.components or, .*, model\.prior\.categories to 2",
    ):
        cluster_prior(build(replace(CONFIG, prior=PriorConfig("network"))), BouncingMNIST(DATA), from_step=1)
