"""What is computed in C++ is what PyTorch computes, with gradients; where there is no compiler, PyTorch computes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from syncdraw import SyncDrawConfig, native
from syncdraw.attention import CuboidAttention, FrameAttention, GlobalAttention
from syncdraw.building import build
from syncdraw.likelihoods import Bernoulli

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no compiler")
IN_CPP = {"ReadBackward", "WriteBackward", "CrossEntropyBackward"}


def operations(result: Tensor) -> set[str]:
    """Of the graph that a result came from, by name."""
    found, nodes = set(), [result.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None:
            found.add(node.name())
            nodes += [before for before, _ in node.next_functions]
    return found


def computed(on: bool, dtype: torch.dtype, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The result and the gradients."""
    leaves = [tensor.detach().to(dtype).requires_grad_(tensor.requires_grad) for tensor in inputs]
    with native.switched(on):
        result = function(*leaves)
        assert bool(operations(result) & IN_CPP) == on
        weights = torch.linspace(-1, 2, result.numel(), dtype=dtype).view_as(result)
        gradients = torch.autograd.grad((result * weights).sum(), [leaf for leaf in leaves if leaf.requires_grad])
    return [tensor.double() for tensor in (result.detach(), *gradients)]


def assert_same(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """As near to what float64 gives as float32 is in PyTorch: half of the numbers, and the furthest. Of few numbers,
    each a sum of thousands that cancel, chance makes more."""
    in_cpp = computed(True, torch.float32, function, inputs)
    in_pytorch = computed(False, torch.float32, function, inputs)
    exact = computed(False, torch.float64, function, inputs)
    for found, usual, expected in zip(in_cpp, in_pytorch, exact, strict=True):
        ours, theirs = (found - expected).abs(), (usual - expected).abs()
        scale, times = expected.abs().max(), 2 if expected.numel() > 1000 else 5
        assert ours.median() <= times * theirs.median() + 1e-7 * scale
        assert ours.max() <= times * theirs.max() + 2e-6 * scale


def some(*shape: int, gradient: bool = True) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_(gradient)


WINDOWS = {"a window of each frame": FrameAttention, "one, repeated": GlobalAttention, "one": CuboidAttention}


@needs_compiler
@pytest.mark.parametrize("kind", WINDOWS.values(), ids=WINDOWS.keys())
@pytest.mark.parametrize(
    ("grid", "height", "width"),
    [(1, 1, 1), (3, 9, 7), (5, 8, 16), (8, 33, 24), (10, 64, 64), (16, 64, 48), (17, 50, 70)],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_glimpses(kind: type[FrameAttention], grid: int, height: int, width: int, channels: int, threads: int) -> None:
    """Windows of all sizes, in the frame and beyond its edges; images with and without a gradient."""
    attention = kind(3, channels, height, width, grid)
    shape = 8, 3, channels, height, width
    parameters = (0.5 * some(8, attention.parameter_size)).detach().requires_grad_()

    def read(videos: Tensor, parameters: Tensor) -> Tensor:
        return attention.read(videos, attention.window(parameters))

    def read_both(videos: Tensor, logits: Tensor, parameters: Tensor) -> Tensor:
        return torch.cat(attention.read_both(videos, logits, attention.window(parameters)), dim=1)

    def write_onto(logits: Tensor, patch: Tensor, parameters: Tensor) -> Tensor:
        return attention.write_onto(logits, patch, attention.window(parameters))

    torch.set_num_threads(threads)
    try:
        for gradient in (True, False):
            assert_same(read, some(*shape, gradient=gradient), parameters)
            assert_same(read_both, some(*shape, gradient=False), some(*shape, gradient=gradient), parameters)
        assert_same(read_both, some(*shape), some(*shape), parameters)
        assert_same(write_onto, some(*shape), some(8, attention.patch_size), parameters)
    finally:
        torch.set_num_threads(1)


@needs_compiler
@pytest.mark.parametrize("length", [1, 7, 8, 64, 77])
def test_filters(length: int) -> None:
    """Those of rows alone, of images one pixel wide, with centres from far above a frame to far below it."""
    attention = FrameAttention(1, 1, length, 1, 5)
    parameters = 0.3 * some(270, 5).detach()
    parameters[:, 0] = torch.linspace(-3, 2, 270)

    def read(videos: Tensor, parameters: Tensor) -> Tensor:
        return attention.read(videos, attention.window(parameters))

    assert_same(read, some(270, 1, 1, length, 1), parameters.requires_grad_())


@needs_compiler
@pytest.mark.parametrize("size", [1, 5, 16, 1000])
def test_cross_entropy(size: int) -> None:
    logits, videos = 5 * some(3, 1, 1, 1, size).detach(), torch.rand(3, 1, 1, 1, size)
    logits.view(3, -1)[:, :1] = torch.tensor([[0.0], [200.0], [-200.0]])
    assert_same(Bernoulli(), logits.requires_grad_(), videos)


@needs_compiler
def test_what_is_no_number_stays_none() -> None:
    """A run that diverges is seen to."""
    attention = FrameAttention(1, 1, 8, 8, 3)
    for function, inputs in (
        (Bernoulli(), (some(1, 1, 1, 1, 9), torch.zeros(1, 1, 1, 1, 9))),
        (lambda logits: attention.read_both(logits, logits, attention.window(some(1, 5)))[1], (some(1, 1, 1, 8, 8),)),
        (lambda window: attention.write_onto(some(1, 1, 1, 8, 8), some(1, 9), attention.window(window)), (some(1, 5),)),
    ):
        inputs[0].data.view(-1)[0] = float("nan")
        assert function(*inputs).isnan().any()


@needs_compiler
def test_one_video_under_many_windows_is_left_to_pytorch() -> None:
    attention = FrameAttention(3, 1, 8, 8, 4)
    window, video = attention.window(some(5, attention.parameter_size)), some(1, 3, 1, 8, 8)
    assert not attention._suits_cpp(window, video)
    assert attention._suits_cpp(window, video.expand(5, -1, -1, -1, -1))


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
