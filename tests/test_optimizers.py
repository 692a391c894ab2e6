"""Muon against its definition by singular values, against torch's own, and on the model's layers."""

import pytest
import torch
from torch import nn

from syncdraw.build import build
from syncdraw.config import CaptionConfig, PriorConfig, SyncDrawConfig
from syncdraw.model import SyncDraw
from syncdraw.training.muon import MATRICES, Muon, orthogonalized
from syncdraw.training.optimization import Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.settings import OptimizerConfig

SHAPES = [(64, 16), (16, 64), (32, 32), (1024, 7)]
MODEL = SyncDrawConfig(
    frames=3, height=12, width=12, draw_steps=2, hidden_size=8, latent_size=4,
    prior=PriorConfig("network", components=2), captions=CaptionConfig("alignment", 6, ("digit", "3")),
)  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalized_keeps_directions_and_evens_their_sizes(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    rank = min(shape)
    left = torch.linalg.qr(torch.randn(shape[0], rank, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(shape[1], rank, generator=generator))[0]
    matrix = left @ torch.diag(torch.logspace(0, -1.5, rank)) @ right.T
    sizes = left.T @ orthogonalized(matrix) @ right
    assert (sizes - sizes.diagonal().diag()).abs().max() < 1e-4
    assert 0.65 < sizes.diagonal().min() <= sizes.diagonal().max() < 1.25


def test_a_matrix_of_zeros_stays_one() -> None:
    assert torch.equal(orthogonalized(torch.zeros(4, 6)), torch.zeros(4, 6))


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    """torch's works in bfloat16, so they agree to its three digits."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    mine = Muon([ours], lr=0.02)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    moved, expected = (ours - start).detach(), (theirs - start).detach()
    assert (moved - expected).norm() < 0.03 * expected.norm()


def optimization(model: SyncDraw, matrix_rate: float | None = 3e-3) -> Optimization:
    settings = OptimizerConfig(learning_rate=1e-3, matrix_learning_rate=matrix_rate)
    return Optimization(model, settings, 10, Processes(0, 1, torch.device("cpu")))


def test_every_parameter_has_one_optimizer_and_every_matrix_is_there() -> None:
    model = build(MODEL)
    parameters = dict(model.named_parameters())
    assert set(MATRICES) <= parameters.keys()
    (adam,) = optimization(model, None).optimizers
    assert len(adam.param_groups[0]["params"]) == len(parameters)
    both = optimization(model)
    adam, muon = both.optimizers
    trained = [[id(p) for p in each.param_groups[0]["params"]] for each in (adam, muon)]
    assert set(trained[1]) == {id(parameters[name]) for name in MATRICES}
    assert sorted(trained[0] + trained[1]) == sorted(id(p) for p in parameters.values())
    both.begin(0)
    assert (adam.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == pytest.approx((1e-3, 3e-3))
    assert adam.param_groups[0]["betas"] == (0.5, 0.999)


def test_frozen_parameters_are_left_out() -> None:
    model = build(MODEL)
    model.generator.lstm.requires_grad_(False)
    adam, muon = optimization(model).optimizers
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in muon.param_groups[0]["params"]} == set(MATRICES) - {
        "generator.lstm.weight_ih", "generator.lstm.weight_hh",
    }  # fmt: skip
    assert not any(names[id(p)].startswith("generator.lstm") for p in adam.param_groups[0]["params"])
