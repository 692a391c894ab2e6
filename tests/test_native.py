"""What is computed in C++ is what PyTorch computes, with gradients; where there is no compiler, PyTorch computes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from syncdraw import SyncDrawConfig, attention, native
from syncdraw.building import build
from syncdraw.likelihoods import Bernoulli

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no compiler")
IN_CPP = ("Read", "Write", "GaussianRows", "CrossEntropy")


def computed(on: bool, dtype: torch.dtype, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The result and the gradients."""
    leaves = [tensor.detach().to(dtype).requires_grad_(tensor.requires_grad) for tensor in inputs]
    with native.switched(on):
        result = function(*leaves)
        assert result.grad_fn is not None
        assert (result.grad_fn.name().removesuffix("Backward") in IN_CPP) == on
        weights = torch.linspace(-1, 2, result.numel(), dtype=dtype).view_as(result)
        gradients = torch.autograd.grad((result * weights).sum(), [leaf for leaf in leaves if leaf.requires_grad])
    return [tensor.double() for tensor in (result.detach(), *gradients)]


def assert_same(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """As near to what float64 gives as float32 is in PyTorch."""
    in_cpp = computed(True, torch.float32, function, inputs)
    in_pytorch = computed(False, torch.float32, function, inputs)
    exact = computed(False, torch.float64, function, inputs)
    for found, usual, expected in zip(in_cpp, in_pytorch, exact, strict=True):
        scale = expected.abs().max()
        assert (found - expected).abs().max() <= 2 * (usual - expected).abs().max() + 2e-6 * scale


def some(*shape: int, gradient: bool = True) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_(gradient)


@needs_compiler
@pytest.mark.parametrize("frames", [1, 3], ids=["window of all", "window of each"])
@pytest.mark.parametrize(("grid", "height", "width"), [(1, 1, 1), (3, 9, 7), (5, 8, 16), (10, 64, 64), (17, 50, 70)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_glimpses(frames: int, grid: int, height: int, width: int, channels: int, threads: int) -> None:
    rows, columns = some(2, frames, 1, grid, height), some(2, frames, 1, grid, width)
    torch.set_num_threads(threads)
    try:
        images = some(2, 3, channels, height, width)
        for read in (attention.read, attention.read_drawn):
            for gradient in (True, False):
                assert_same(read, images.detach().requires_grad_(gradient), rows, columns)
        assert_same(attention.write_onto, images, some(2, 3, channels, grid, grid), rows, columns)
    finally:
        torch.set_num_threads(1)


@needs_compiler
@pytest.mark.parametrize("length", [1, 7, 8, 64, 77])
def test_filters(length: int) -> None:
    def filters(centre: Tensor, stride: Tensor, variance: Tensor) -> Tensor:
        return attention.gaussian_filters(centre, stride, variance, 5, length)

    centres = torch.linspace(-1, 1.5, 9) * length
    assert_same(filters, centres.requires_grad_(), some(9), some(9).detach().exp().add(0.3).requires_grad_())


@needs_compiler
@pytest.mark.parametrize("size", [1, 5, 16, 1000])
def test_cross_entropy(size: int) -> None:
    logits, videos = 5 * some(3, 1, 1, 1, size).detach(), torch.rand(3, 1, 1, 1, size)
    logits.view(3, -1)[:, :1] = torch.tensor([[0.0], [200.0], [-200.0]])
    assert_same(Bernoulli(), logits.requires_grad_(), videos)


@needs_compiler
def test_what_is_no_number_stays_none() -> None:
    """A run that diverges is seen to."""
    for function, inputs in (
        (Bernoulli(), (some(1, 1, 1, 1, 9), torch.zeros(1, 1, 1, 1, 9))),
        (lambda c: attention.gaussian_filters(c, c, c, 3, 9), (some(1),)),
        (attention.read_drawn, (some(1, 1, 9), some(1, 3, 1), some(1, 3, 9))),
    ):
        inputs[0].data.view(-1)[0] = float("nan")
        assert function(*inputs).isnan().any()


def test_windows_that_are_laid_out_otherwise_are_left_to_pytorch() -> None:
    images = some(2, 3, 1, 8, 8)
    for lead in ((1, 3, 1), (1, 1, 1)):
        rows = some(*lead, 4, 8)
        read = attention.read(images, rows, rows)
        torch.testing.assert_close(read, rows @ images @ rows.mT)
        torch.testing.assert_close(attention.read_drawn(images, rows, rows), rows @ images.sigmoid() @ rows.mT)
        written = attention.write_onto(images, read, rows, rows)
        torch.testing.assert_close(written, images + rows.mT @ read @ rows)
    assert native.share(images, some(2, 1, 1, 4, 8), some(2, 1, 1, 4, 8))
    assert not native.share(images, some(1, 3, 1, 4, 8), some(1, 3, 1, 4, 8))


def test_without_a_compiler_pytorch_computes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is not there, one that fails, and a cache that cannot be written to."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    model = build(SyncDrawConfig(frames=2, height=8, width=8, draw_steps=1, grid_size=3, hidden_size=4, latent_size=2))
    for variable, value in (("CXX", ""), ("CXX", str(broken)), ("XDG_CACHE_HOME", str(broken))):
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
            patch.setenv(variable, value)
            native._library.cache_clear()
            try:
                assert not native.suits(torch.zeros(1))
                model(torch.rand(1, *model.shape)).negative_elbo.sum().backward()
            finally:
                native._library.cache_clear()


@needs_compiler
def test_it_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    written = []
    for _ in range(2):
        native._library.cache_clear()
        assert native.suits(torch.zeros(1))
        written.append([(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "syncdraw").iterdir()])
    native._library.cache_clear()
    assert len(written[0]) == 1
    assert written[0] == written[1]


def test_only_where_gradients_are_wanted() -> None:
    with torch.no_grad():
        assert not native.suits(torch.zeros(1))
    assert not native.suits(torch.zeros(1, dtype=torch.float64))
