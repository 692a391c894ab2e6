"""VGAN against its published table, and against formulas written out in NumPy."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from syncdraw import UserError
from syncdraw.config import VGANConfig
from syncdraw.vgan import FAKE, REAL, VGAN, Generator, Losses, adversarial_step, compose

TINY = VGANConfig(frames=16, height=32, width=16, latent_size=5, filters=2)

# The published layers: channels in and out, kernel, and the volume that comes out.
FOREGROUND = [
    (100, 512, (2, 4, 4), (2, 4, 4)),
    (512, 256, (4, 4, 4), (4, 8, 8)),
    (256, 128, (4, 4, 4), (8, 16, 16)),
    (128, 64, (4, 4, 4), (16, 32, 32)),
    (64, 3, (4, 4, 4), (32, 64, 64)),
    (64, 1, (4, 4, 4), (32, 64, 64)),
]
BACKGROUND = [
    (100, 512, (4, 4), (4, 4)),
    (512, 256, (4, 4), (8, 8)),
    (256, 128, (4, 4), (16, 16)),
    (128, 64, (4, 4), (32, 32)),
    (64, 3, (4, 4), (64, 64)),
]
CRITIC = [
    (3, 64, (4, 4, 4), (16, 32, 32)),
    (64, 128, (4, 4, 4), (8, 16, 16)),
    (128, 256, (4, 4, 4), (4, 8, 8)),
    (256, 512, (4, 4, 4), (2, 4, 4)),
    (512, 2, (2, 4, 4), (1, 1, 1)),
]


def tiny(seed: int = 0) -> VGAN:
    torch.manual_seed(seed)
    return VGAN(TINY)


@torch.no_grad()
def spread(generator: Generator) -> None:
    """Give a generator weights that show: as they begin, all pixels are a hair from grey."""
    for parameter in generator.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))


def real_videos(step: int = 0, batch: int = 3) -> Tensor:
    return torch.rand(batch, *TINY.shape, generator=torch.Generator().manual_seed(step))


def take_steps(
    model: VGAN, optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer], first: int, last: int
) -> list[Losses]:
    return [
        adversarial_step(model, real_videos(step), model.noise(3, seed=step), *optimizers)
        for step in range(first, last)
    ]


def layers_seen(module: nn.Module, given: Tensor) -> tuple[list[tuple[Any, ...]], Any]:
    """Channels, kernel and output volume of every convolution, in the order in which they are used."""
    seen: list[tuple[Any, ...]] = []

    def note(layer: Any, _: Any, output: Tensor) -> None:
        seen.append((layer.in_channels, layer.out_channels, layer.kernel_size, tuple(output.shape[2:])))

    kinds = (nn.Conv3d, nn.ConvTranspose3d, nn.ConvTranspose2d)
    hooks = [layer.register_forward_hook(note) for layer in module.modules() if isinstance(layer, kinds)]
    with torch.no_grad():
        output = module(given)
    for hook in hooks:
        hook.remove()
    return seen, output


def test_layers_volumes_and_parameters_are_the_published_ones() -> None:
    torch.manual_seed(0)
    model = VGAN(VGANConfig())
    generated, scene = layers_seen(model.generator, model.noise(1, seed=0))
    judged, verdict = layers_seen(model.critic, scene.video)
    assert generated == [*FOREGROUND, *BACKGROUND]
    assert judged == CRITIC
    assert scene.video.shape == scene.foreground.shape == (1, 32, 3, 64, 64)
    assert scene.mask.shape == (1, 32, 1, 64, 64)
    assert scene.background.shape == (1, 1, 3, 64, 64)
    assert verdict.shape == (1, 2)

    # Weights and biases, and a scale and a shift for each channel that batch norm follows.
    def size(layers: list[Any], normalised: list[Any]) -> int:
        convolutions = sum(given * made * math.prod(kernel) + made for given, made, kernel, _ in layers)
        return convolutions + sum(2 * made for _, made, _, _ in normalised)

    def parameters(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    foreground, background = size(FOREGROUND, FOREGROUND[:4]), size(BACKGROUND, BACKGROUND[:4])
    assert parameters(model.generator) == foreground + background == 16_245_383
    assert parameters(model.critic) == size(CRITIC, CRITIC[1:4]) == 11_057_858


def test_weights_begin_as_published() -> None:
    torch.manual_seed(0)
    model = VGAN(VGANConfig(filters=8))
    norms = {m for m in model.modules() if isinstance(m, (nn.BatchNorm3d, nn.BatchNorm2d))}
    convolutions = [m for m in model.modules() if hasattr(m, "kernel_size")]
    assert len(norms) == 11
    weights = torch.cat([m.weight.detach().flatten() for m in convolutions])
    assert abs(weights.mean()) < 1e-4
    assert abs(weights.std() - 0.01) < 1e-4
    scales = torch.cat([m.weight.detach() for m in norms])
    assert abs(scales.mean() - 1) < 0.005
    assert abs(scales.std() - 0.02) < 0.003
    assert not any(m.bias.any() for m in [*convolutions, *norms])
    assert {m.momentum for m in norms} == {0.1}
    assert {m.eps for m in norms if m in set(model.critic.modules())} == {1e-3}
    assert {m.eps for m in norms if m in set(model.generator.modules())} == {1e-5}
    slopes = [m.negative_slope for m in model.critic.modules() if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.2] * 4
    for optimizer in model.optimizers():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


def composed(foreground: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    """m f + (1 - m) b, pixel by pixel."""
    video = np.zeros_like(foreground)
    for clip, frame, channel, row, column in np.ndindex(*video.shape):
        m = mask[clip, frame, 0, row, column]
        f = foreground[clip, frame, channel, row, column]
        b = background[clip, 0, channel, row, column]
        video[clip, frame, channel, row, column] = m * f + (1 - m) * b
    return video


def test_streams_are_composed_by_the_formula_and_so_are_their_gradients() -> None:
    random = np.random.default_rng(0)
    streams = [random.random(shape) for shape in ((2, 3, 3, 2, 2), (2, 3, 1, 2, 2), (2, 1, 3, 2, 2))]
    weights = random.standard_normal(streams[0].shape)
    tensors = [torch.from_numpy(stream).requires_grad_() for stream in streams]
    video = compose(*tensors)
    np.testing.assert_allclose(video.detach().numpy(), composed(*streams), rtol=0, atol=1e-15)
    (video * torch.from_numpy(weights)).sum().backward()
    for stream, tensor in zip(streams, tensors, strict=True):
        slopes = np.zeros_like(stream)
        for place in np.ndindex(*stream.shape):
            before, sums = stream[place], []
            for moved in (before + 1e-5, before - 1e-5):
                stream[place] = moved
                sums.append((composed(*streams) * weights).sum())
            stream[place] = before
            slopes[place] = (sums[0] - sums[1]) / 2e-5
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), slopes, rtol=1e-6, atol=1e-9)


def test_a_generators_gradient_is_right_through_both_streams_and_the_mask() -> None:
    """Against finite differences in float64, in one direction of each layer's weights."""
    torch.manual_seed(1)
    generator = Generator(TINY).double()
    noise, weights = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, *TINY.shape, dtype=torch.float64)
    spread(generator)

    def loss() -> Tensor:
        return (generator(noise).video * weights).sum()

    heads = [generator.foreground.weight, generator.mask.weight, generator.background.weight]
    gradients = torch.autograd.grad(loss(), heads)
    with torch.no_grad():
        for parameter, gradient in zip(heads, gradients, strict=True):
            direction = torch.randn_like(parameter)
            sums = []
            for move in (1e-5, -2e-5):
                parameter.add_(move * direction)
                sums.append(loss().item())
            parameter.add_(1e-5 * direction)
            expected = (gradient * direction).sum().item()
            assert abs(expected) > 1e-3
            assert (sums[0] - sums[1]) / 2e-5 == pytest.approx(expected, rel=1e-5)


def test_losses_are_the_formulas() -> None:
    """Both cross entropies and the sparsity, in NumPy, from the networks as they are when each is used."""
    model = tiny()
    before = copy.deepcopy(model).train()
    videos, noise = real_videos(), model.noise(3, seed=4)
    optimizers = (torch.optim.SGD(model.critic.parameters(), 0.5), torch.optim.SGD(model.generator.parameters(), 0.5))
    losses = adversarial_step(model, videos, noise, *optimizers)

    def entropy(verdicts: Tensor, label: int) -> float:
        logits = verdicts.numpy().astype(np.float64)
        likelihoods = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return float(-np.log(likelihoods[:, label]).mean())

    scene = before.generator(noise)
    with torch.no_grad():
        critic = entropy(before.critic(videos), REAL) + entropy(before.critic(scene.video), FAKE)
        # The generator's step came after the critic's own.
        generator, stale = (entropy(network.critic(scene.video), REAL) for network in (model, before))
    assert losses.critic.item() == pytest.approx(critic, rel=1e-5)
    assert losses.generator.item() == pytest.approx(generator, rel=1e-5)
    assert abs(generator - stale) > 1e-3
    assert losses.sparsity.item() == pytest.approx(0.1 * np.abs(scene.mask.detach().numpy()).mean(), rel=1e-5)

    # It moved along the gradient of both.
    (model.critic.loss(scene.video, REAL) + 0.1 * scene.mask.abs().mean()).backward()
    for found, expected in zip(model.generator.parameters(), before.generator.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-7)


def test_each_optimiser_moves_its_own_network_alone() -> None:
    for idle in range(2):
        model = tiny()
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        rates = [0.1, 0.1]
        rates[idle] = 0.0
        networks = (model.critic, model.generator)
        optimizers = [torch.optim.Adam(n.parameters(), rate) for n, rate in zip(networks, rates, strict=True)]
        adversarial_step(model, real_videos(), model.noise(3, seed=0), *optimizers)
        still = ("critic.", "generator.")[idle]
        moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
        # Biases that batch norm follows have no effect, and so no gradient but rounding's.
        weights = {name for name in before if name.endswith("weight")}
        assert not any(name.startswith(still) for name in moved)
        assert {name for name in weights if not name.startswith(still)} <= moved


def test_the_generators_loss_leaves_the_critic_no_gradient() -> None:
    """What the critic's optimiser would add up is from its own loss alone."""
    model, alone = tiny(), tiny()
    videos, noise = real_videos(), model.noise(3, seed=0)
    adversarial_step(
        model, videos, noise, *(torch.optim.SGD(n.parameters(), 0.0) for n in (model.critic, model.generator))
    )
    fake = alone.generator(noise).video.detach()
    (alone.critic.loss(videos, REAL) + alone.critic.loss(fake, FAKE)).backward()
    for found, expected in zip(model.critic.parameters(), alone.critic.parameters(), strict=True):
        assert found.grad is not None
        assert torch.equal(found.grad, expected.grad)


def test_the_critic_learns_to_tell_them_apart_and_the_generator_to_fool_it() -> None:
    model = tiny()
    videos, noise = (real_videos(batch=4) > 0.8).float(), model.noise(4, seed=0)
    critic = torch.optim.Adam(model.critic.parameters(), 0.01)
    generator = torch.optim.Adam(model.generator.parameters(), 0.0)
    first = adversarial_step(model, videos, noise, critic, generator)
    for _ in range(10):
        last = adversarial_step(model, videos, noise, critic, generator)
    assert last.critic < first.critic < 1.5
    assert last.critic < 0.5
    assert last.generator > first.generator
    critic.param_groups[0]["lr"], generator.param_groups[0]["lr"] = 0.0, 0.01
    for _ in range(10):
        fooled = adversarial_step(model, videos, noise, critic, generator)
    assert fooled.generator < 0.5 * last.generator


def test_a_run_goes_on_exactly_from_its_state(tmp_path: Path) -> None:
    whole = tiny()
    whole_optimizers = whole.optimizers()
    expected = take_steps(whole, whole_optimizers, 0, 4)

    broken = tiny()
    optimizers = broken.optimizers()
    take_steps(broken, optimizers, 0, 2)
    state = {"model": broken.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)

    resumed = tiny(seed=9)
    resumed_optimizers = resumed.optimizers()
    resumed.load_state_dict(saved["model"])
    for optimizer, theirs in zip(resumed_optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(theirs)
    resumed.eval()  # as an evaluation may leave it
    found = take_steps(resumed, resumed_optimizers, 2, 4)

    for ours, theirs in zip(found, expected[2:], strict=True):
        assert all(map(torch.equal, ours, theirs))
    tensors = whole.state_dict()
    assert any(name.endswith("running_var") for name in tensors)
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name
    for ours, theirs in zip(resumed_optimizers, whole_optimizers, strict=True):
        for mine, yours in zip(ours.state.values(), theirs.state.values(), strict=True):
            assert all(torch.equal(mine[name], yours[name]) for name in yours)
    assert torch.equal(resumed.generate(2), whole.generate(2))


def test_generated_videos_depend_on_the_seed_but_not_on_how_many() -> None:
    model = tiny()
    spread(model.generator)
    take_steps(model, model.optimizers(), 0, 2)
    state = copy.deepcopy(model.state_dict())
    four = model.generate(4, seed=3)
    assert four.shape == (4, *TINY.shape)
    assert four.dtype == torch.float32
    assert 0 <= four.min() < four.max() <= 1
    assert torch.equal(four, model.generate(["a", "b", "c", "d"], seed=3))
    torch.testing.assert_close(model.generate(1, seed=3), four[:1])
    assert not torch.allclose(four[0], four[1], atol=1e-3)
    assert not torch.allclose(four[0], model.generate(1, seed=4)[0], atol=1e-3)
    same = model.generate(2, seed=3, temperature=0.0)
    torch.testing.assert_close(same[0], same[1])
    assert model.training
    # Nothing was learned, nor counted, by generating.
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_pixels_stay_between_black_and_white_when_the_streams_are_saturated() -> None:
    model = tiny().eval()
    with torch.no_grad():
        for head in (model.generator.foreground, model.generator.background):
            head.bias.fill_(50.0)
        model.generator.mask.weight.mul_(1000)
    video = model.generate(2)
    assert video.max() == 1
    with torch.no_grad():
        model.generator.foreground.bias.fill_(-50.0)
        model.generator.background.bias.fill_(-50.0)
    assert not model.generate(2).any()
    assert not model.training


def test_a_step_in_bfloat16_uses_the_weights_as_they_are() -> None:
    """The critic has moved when it judges for the generator; autocast keeps copies of weights that it has seen."""
    losses = {}
    for precision in ("no", "bf16"):
        model = tiny()
        networks = (model.critic, model.generator)
        optimizers = [torch.optim.SGD(network.parameters(), 0.5) for network in networks]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):  # as a loop may have it, too
            losses[precision] = adversarial_step(
                model, real_videos(), model.noise(3, seed=4), *optimizers, precision=precision
            )
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert {loss.dtype for loss in losses[precision]} == {torch.float32}
    before = tiny().train()
    stale = before.critic.loss(before.generator(before.noise(3, seed=4)).video, REAL)
    found, expected = losses["bf16"], losses["no"]
    assert abs(found.generator - expected.generator) < 0.2 * abs(stale - expected.generator)
    torch.testing.assert_close(found.critic, expected.critic, rtol=0.02, atol=0)
    torch.testing.assert_close(found.sparsity, expected.sparsity, rtol=0.02, atol=0)
    assert not torch.equal(found.critic, expected.critic)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frames": 10}, "model.frames is 10; for VGAN it must be a multiple of 16"),
        ({"height": 0}, "model.height is 0; for VGAN it must be a multiple of 16"),
        ({"width": 60}, "model.width is 60; for VGAN it must be a multiple of 16"),
        ({"channels": 2}, "model.channels is 2; it must be 1 (grey) or 3 (RGB)"),
        ({"filters": 0}, "model.filters is 0; it must be a whole number, 1 or more"),
        ({"latent_size": 0}, "model.latent_size is 0; it must be a whole number, 1 or more"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        VGANConfig(**values)
    assert str(caught.value) == message


def test_what_cannot_be_generated_or_learned_from_is_refused() -> None:
    model = tiny()
    with pytest.raises(UserError, match="nothing to generate"):
        model.generate(0)
    for temperature in (-1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="temperature is"):
            model.generate(1, temperature=temperature)
    with pytest.raises(UserError, match=r"got videos of shape \[3, 10, 3, 32, 16\]"):
        adversarial_step(model, real_videos()[:, :10], model.noise(3, seed=0), *model.optimizers())
