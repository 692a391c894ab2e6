"""Rates, clipping, averages and Muon against their definitions, and what an optimisation can be resumed from."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from syncdraw import pretrained
from syncdraw.building import build
from syncdraw.config import AttentionConfig, CaptionConfig, Content, PriorConfig, SyncDrawConfig
from syncdraw.training.muon import MATRICES, Muon, orthogonalized
from syncdraw.training.optimization import GRADIENT_NORM, Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.settings import OptimizerConfig
from training_runs import MODEL, RUN, changed, go, state

ALONE = Processes(0, 1, torch.device("cpu"))
SHAPES = [(64, 16), (16, 64), (32, 32), (1024, 7)]
WITH_MATRICES = SyncDrawConfig(
    frames=3, height=12, width=12, draw_steps=2, hidden_size=8, latent_size=4, prior=PriorConfig("network", 2),
    captions=CaptionConfig("alignment", 6, ("digit", "3")),
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("quickly")


def optimization(model: nn.Module | None = None, max_steps: int = 100, **settings: Any) -> Optimization:
    return Optimization(model or nn.Linear(3, 2), OptimizerConfig(**settings), max_steps, ALONE)


# --- The schedule ----------------------------------------------------------------------------------------------------


def test_learning_rate_schedule() -> None:
    constant = optimization(learning_rate=2e-3)
    assert {constant.rate(step) for step in range(200)} == {2e-3}
    warm = optimization(learning_rate=1.0, warmup_steps=4)
    assert [warm.rate(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    cosine = optimization(learning_rate=1.0, final_learning_rate=0.2)
    assert [cosine.rate(step) for step in (0, 25, 50, 75, 100, 150)] == pytest.approx(
        [1.0, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2, 0.2]
    )
    both = optimization(learning_rate=1.0, final_learning_rate=0.2, warmup_steps=49)
    assert both.rate(24) == pytest.approx(0.5 * cosine.rate(24))


def test_muon_follows_the_same_schedule_from_its_own_rate() -> None:
    found = optimization(build(WITH_MATRICES), learning_rate=1e-2, matrix_learning_rate=3e-2, final_learning_rate=1e-4)
    for step in (0, 30, 100):
        found.begin(step)
        adam, muon = (optimizer.param_groups[0]["lr"] for optimizer in found.optimizers)
        assert adam == found.rate(step)
        assert muon == pytest.approx(3 * adam)


# --- One step --------------------------------------------------------------------------------------------------------


def test_steps_are_adams_with_the_papers_betas_after_clipping() -> None:
    """Against torch's plain Adam, with gradients on both sides of the threshold of 10."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    reference = [parameter.detach().clone().requires_grad_() for parameter in model.parameters()]
    adam = torch.optim.Adam(reference, lr=0.1, betas=(0.5, 0.999))
    found = optimization(model, learning_rate=0.1)
    for step, scale in enumerate([1.0, 100.0, 3.0, 1000.0]):
        inputs = torch.randn(4, 3)

        def loss(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor = inputs, k: float = scale) -> torch.Tensor:
            return k * (x @ weight.T + bias).square().mean()

        found.begin(step)
        norm = found.update([loss(*model.parameters())])
        adam.zero_grad()
        loss(*reference).backward()
        expected = torch.cat([p.grad.flatten() for p in reference]).norm()  # type: ignore[union-attr]
        assert norm.item() == pytest.approx(expected.item(), rel=1e-5)
        nn.utils.clip_grad_norm_(reference, 10.0)
        adam.step()
        for mine, theirs in zip(model.parameters(), reference, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    assert GRADIENT_NORM == 10


def test_the_gradient_ratio_takes_part_in_every_step(tmp_path: Path) -> None:
    """A ratio that holds no clip changes nothing, and one that holds some does."""
    weights = [
        state(go(changed(RUN, {"train.max_steps": 2, "train.optimizer.gradient_ratio": ratio}), tmp_path / str(ratio)))
        for ratio in (None, 1e9, 1.0)
    ]
    plain, loose, tight = (each["model"] for each in weights)
    assert all(torch.equal(tensor, loose[name]) for name, tensor in plain.items())
    assert not all(torch.equal(tensor, tight[name]) for name, tensor in plain.items())


def test_average_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """avg <- d avg + (1 - d) w after each step, with d = min(ema, (n + 1) / (n + 10)); that is what is loaded."""
    weights: list[list[torch.Tensor]] = []
    averages: list[list[torch.Tensor]] = []
    original = Optimization.update

    def recording(self: Optimization, losses: Iterable[torch.Tensor]) -> torch.Tensor:
        norm = original(self, losses)
        weights.append([p.detach().clone() for p in self.parameters])
        averages.append([tensor.clone() for tensor in self.average])
        return norm

    monkeypatch.setattr(Optimization, "update", recording)
    out = go(changed(RUN, {"train.optimizer.ema": 0.15, "train.max_steps": 6}), tmp_path / "run")
    torch.manual_seed(0)
    expected = [p.detach().clone() for p in build(MODEL).parameters()]
    for step in range(6):
        decay = min(0.15, (step + 1) / (step + 10))  # the limit binds from step 1 on
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights[step], strict=True)]
        for mine, theirs in zip(averages[step], expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    for mine, theirs in zip(pretrained.load(out).parameters(), averages[-1], strict=True):
        assert torch.equal(mine, theirs)
    names = [name for name, _ in build(MODEL).named_parameters()]
    assert all(torch.equal(state(out)["model"][n], w) for n, w in zip(names, weights[-1], strict=True))
    assert not torch.equal(weights[-1][0], averages[-1][0])


def test_averaged_weights_are_there_inside_and_gone_afterwards() -> None:
    model = nn.Linear(3, 2)
    found = optimization(model, ema=0.5)
    own = model.weight.detach().clone()
    found.average[0].fill_(7)
    with found.averaged():
        assert (model.weight == 7).all()
    assert torch.equal(model.weight, own)


# --- Muon ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalized_keeps_directions_and_evens_their_sizes(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    rank = min(shape)
    left, right = (
        torch.linalg.qr(torch.randn(size, rank, generator=generator, dtype=torch.float64))[0] for size in shape
    )
    matrix = left @ torch.diag(torch.logspace(0, -1.5, rank, dtype=torch.float64)) @ right.T
    exact = orthogonalized(matrix)
    sizes = left.T @ exact @ right
    assert (sizes - sizes.diagonal().diag()).abs().max() < 1e-9
    assert 0.65 < sizes.diagonal().min() <= sizes.diagonal().max() < 1.25
    found = orthogonalized(matrix.float())
    assert found.dtype == torch.float32
    # Where a CPU has AMX, bfloat16 keeps three digits.
    torch.testing.assert_close(found.double(), exact, atol=0.02, rtol=0)


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


def matrices_of(model: nn.Module) -> set[str]:
    return set(MATRICES) & dict(model.named_parameters()).keys()


@pytest.mark.parametrize("content", ["per_frame", "painted"])
def test_every_parameter_has_one_optimizer(content: Content) -> None:
    model = build(dataclasses.replace(WITH_MATRICES, attention=AttentionConfig(content=content)))
    parameters = dict(model.named_parameters())
    (adam,) = optimization(model).optimizers
    assert len(adam.param_groups[0]["params"]) == len(parameters)
    found = optimization(model, matrix_learning_rate=3e-3)
    trained = [[id(p) for p in each.param_groups[0]["params"]] for each in found.optimizers]
    assert set(trained[1]) == {id(parameters[name]) for name in matrices_of(model)}
    assert sorted(trained[0] + trained[1]) == sorted(id(p) for p in parameters.values())


def test_every_matrix_is_in_a_model() -> None:
    painted = build(dataclasses.replace(WITH_MATRICES, attention=AttentionConfig(content="painted")))
    assert matrices_of(build(WITH_MATRICES)) | matrices_of(painted) == set(MATRICES)


def test_frozen_parameters_are_left_out() -> None:
    model = build(WITH_MATRICES)
    model.generator.lstm.requires_grad_(False)
    _, muon = optimization(model, matrix_learning_rate=3e-3).optimizers
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in muon.param_groups[0]["params"]} == matrices_of(model) - {
        "generator.lstm.weight_ih", "generator.lstm.weight_hh",
    }  # fmt: skip


# --- Going on, and leaving no trace ----------------------------------------------------------------------------------


def stepped(seed: int, steps: int = 3) -> Optimization:
    torch.manual_seed(seed)
    model = build(dataclasses.replace(MODEL, prior=PriorConfig("network")))
    found = optimization(model, matrix_learning_rate=1e-3, ema=0.5)
    for step in range(steps):
        found.begin(step)
        found.update([sum((p.square() * torch.randn_like(p)).sum() for p in model.parameters())])  # type: ignore[list-item]
    return found


def test_another_optimization_goes_on_where_one_stopped() -> None:
    one, other = stepped(0), stepped(1)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    with torch.no_grad():
        for mine, theirs in zip(other.parameters, one.parameters, strict=True):
            mine.copy_(theirs)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))
    for each in (one, other):
        each.begin(3)
        each.update([sum(p.square().sum() for p in each.parameters)])  # type: ignore[list-item]
    assert all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))


def update_and_fail(found: Optimization) -> None:
    before = found.parameters[0].detach().clone()
    found.update([sum(p.square().sum() for p in found.parameters)])  # type: ignore[list-item]
    assert not torch.equal(found.parameters[0], before)
    raise RuntimeError("no kernel")


@pytest.mark.parametrize("steps", [0, 2])
def test_what_happens_inside_unchanged_leaves_no_trace(steps: int) -> None:
    """Weights, averages and moments are those from before; moments that were made anew are zero; by way of an error."""
    found = stepped(0, steps)
    before = [tensor.detach().clone() for tensor in found.tensors()]
    found.begin(steps)
    with pytest.raises(RuntimeError, match="no kernel"), found.unchanged():
        update_and_fail(found)
    after = found.tensors()
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=False))
    assert len(after) > len(before) if not steps else len(after) == len(before)
    assert not any(tensor.any() for tensor in after[len(before) :])
    assert all(parameter.grad is None for parameter in found.parameters)
