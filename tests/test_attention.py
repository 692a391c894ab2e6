"""The Gaussian grid against number-by-number references, finite differences, and windows that nobody should ask for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from literal import filters_by_loops
from syncdraw.attention import (
    Attention,
    CuboidAttention,
    FrameAttention,
    GlobalAttention,
    Window,
    gaussian_filters,
)

FRAMES, CHANNELS, HEIGHT, WIDTH, GRID = 3, 2, 9, 7, 4


def tensors(*numbers: float) -> list[torch.Tensor]:
    return [torch.tensor([number], dtype=torch.float64) for number in numbers]


@given(
    centre=st.floats(-5, 20),
    stride=st.floats(0.01, 6),
    variance=st.floats(0.3, 50),
    grid_size=st.integers(1, 6),
    length=st.integers(1, 16),
)
@settings(deadline=None)
def test_filters_equal_the_loops(centre: float, stride: float, variance: float, grid_size: int, length: int) -> None:
    expected = filters_by_loops(centre, stride, variance, grid_size, length)
    filters = gaussian_filters(*tensors(centre, stride, variance), grid_size, length)[0].numpy()
    rows = expected.sum(axis=1) > 0.5  # the loops divide 0 by 0 where a whole row underflows
    np.testing.assert_allclose(filters[rows], expected[rows], rtol=0, atol=1e-7)
    np.testing.assert_allclose(filters.sum(axis=1), 1, rtol=1e-12)


@given(
    centre=st.floats(-3000, 3000, width=32),
    log_stride=st.floats(-9, 9, width=32),
    log_variance=st.floats(-18, 18, width=32),
)
@settings(deadline=None)
def test_no_window_makes_nan_or_denormals(centre: float, log_stride: float, log_variance: float) -> None:
    numbers = torch.tensor([centre, log_stride, log_variance], requires_grad=True)
    filters = gaussian_filters(numbers[:1], numbers[1:2].exp(), numbers[2:].exp(), 5, 64)
    values = filters.detach()
    torch.testing.assert_close(values.sum(dim=-1), torch.ones(1, 5), rtol=1e-5, atol=0)
    assert not ((values > 0) & (values < torch.finfo(torch.float32).tiny)).any()
    (filters * torch.linspace(-1, 1, 64)).sum().backward()
    assert numbers.grad is not None
    assert numbers.grad.isfinite().all()


def test_a_grid_is_centred_on_its_centre() -> None:
    filters = gaussian_filters(*tensors(8.5, 2.0, 0.5), 4, 16)[0]
    pixels = torch.arange(1, 17, dtype=torch.float64)
    torch.testing.assert_close(
        filters @ pixels, torch.tensor([5.5, 7.5, 9.5, 11.5], dtype=torch.float64), atol=1e-3, rtol=0
    )


def test_gradient_of_the_filters() -> None:
    numbers = [t.requires_grad_() for t in tensors(4.3, 1.7, 1.9)]
    assert torch.autograd.gradcheck(lambda c, s, v: gaussian_filters(c, s, v, 3, 10), numbers)


def build(kind: type[FrameAttention], **options: bool) -> FrameAttention:
    return kind(FRAMES, CHANNELS, HEIGHT, WIDTH, GRID, **options)


def parameters_of(attention: Attention) -> torch.Tensor:
    torch.manual_seed(1)
    return 0.3 * torch.randn(2, attention.parameter_size)


@pytest.mark.parametrize("kind", [FrameAttention, GlobalAttention])
def test_read_and_write_equal_the_loops(kind: type[FrameAttention]) -> None:
    attention = build(kind)
    parameters = parameters_of(attention)
    window = attention.window(parameters)
    videos = torch.rand(2, FRAMES, CHANNELS, HEIGHT, WIDTH)
    patch = torch.randn(2, attention.patch_size)
    read, written = attention.read(videos, window), attention.write(patch, window)
    assert read.shape == patch.shape
    content = patch.reshape(2, FRAMES, CHANNELS, GRID, GRID).numpy()
    for b in range(2):
        for i in range(FRAMES):
            numbers = parameters[b].reshape(-1, 5)[i if kind is FrameAttention else 0].double().numpy()
            stride = (max(HEIGHT, WIDTH) - 1) / (GRID - 1) * np.exp(numbers[3])
            rows = filters_by_loops((HEIGHT + 1) / 2 * (numbers[0] + 1), stride, np.exp(numbers[2]), GRID, HEIGHT)
            columns = filters_by_loops((WIDTH + 1) / 2 * (numbers[1] + 1), stride, np.exp(numbers[2]), GRID, WIDTH)
            for c in range(CHANNELS):
                expected = np.exp(numbers[4]) * rows @ videos[b, i, c].numpy() @ columns.T  # eq 5
                got = read.reshape(2, FRAMES, CHANNELS, GRID, GRID)[b, i, c].numpy()
                np.testing.assert_allclose(got, expected, atol=1e-5)
                expected = rows.T @ content[b, i, c] @ columns / np.exp(numbers[4])  # eq 9
                np.testing.assert_allclose(written[b, i, c].numpy(), expected, atol=1e-5)


def test_a_cuboid_equals_the_loops() -> None:
    attention = build(CuboidAttention)
    parameters = parameters_of(attention)
    window = attention.window(parameters)
    videos = torch.rand(2, FRAMES, CHANNELS, HEIGHT, WIDTH)
    patch = torch.randn(2, attention.patch_size)
    read = attention.read(videos, window).reshape(2, GRID, CHANNELS, GRID, GRID).numpy()
    written = attention.write(patch, window).numpy()
    content = patch.reshape(2, GRID, CHANNELS, GRID, GRID).numpy()
    for b in range(2):
        p, q, log_variance, log_stride, log_beta, z, log_time_variance, log_time_stride = parameters[b].double().numpy()
        stride = (max(HEIGHT, WIDTH) - 1) / (GRID - 1) * np.exp(log_stride)
        variance, beta = np.exp(log_variance), np.exp(log_beta)
        rows = filters_by_loops((HEIGHT + 1) / 2 * (p + 1), stride, variance, GRID, HEIGHT)
        columns = filters_by_loops((WIDTH + 1) / 2 * (q + 1), stride, variance, GRID, WIDTH)
        time_stride = (FRAMES - 1) / (GRID - 1) * np.exp(log_time_stride)
        times = filters_by_loops((FRAMES + 1) / 2 * (z + 1), time_stride, np.exp(log_time_variance), GRID, FRAMES)
        for c in range(CHANNELS):
            for w in range(GRID):
                blended = sum(times[w, i] * videos[b, i, c].numpy() for i in range(FRAMES))
                np.testing.assert_allclose(read[b, w, c], beta * rows @ blended @ columns.T, atol=1e-5)
            for i in range(FRAMES):
                blended = sum(times[w, i] * content[b, w, c] for w in range(GRID))
                np.testing.assert_allclose(written[b, i, c], rows.T @ blended @ columns / beta, atol=1e-5)


@pytest.mark.parametrize("kind", [FrameAttention, GlobalAttention, CuboidAttention])
def test_writing_is_reading_transposed(kind: type[FrameAttention]) -> None:
    """<read(x), w> = <x, write(w)> where beta is 1, as for every linear map and its transpose."""
    attention = build(kind)
    window = attention.window(parameters_of(attention))
    window = window._replace(intensity=torch.ones_like(window.intensity))
    videos = torch.rand(2, FRAMES, CHANNELS, HEIGHT, WIDTH)
    patch = torch.randn(2, attention.patch_size)
    left = (attention.read(videos, window) * patch).sum()
    right = (videos * attention.write(patch, window)).sum()
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


class Plain(Attention):
    """Has what an attention must have, and no more."""

    def read(self, videos: torch.Tensor, window: Window) -> torch.Tensor:
        return videos.flatten(1)

    def write(self, patch: torch.Tensor, window: Window) -> torch.Tensor:
        return patch.view(2, FRAMES, CHANNELS, HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", [FrameAttention, GlobalAttention, CuboidAttention, Plain])
def test_what_is_drawn_is_read_and_written_onto(kind: type[Attention]) -> None:
    windows = build(FrameAttention if kind is Plain else kind)
    attention = Plain() if kind is Plain else windows
    window = windows.window(parameters_of(windows))
    logits = torch.randn(2, FRAMES, CHANNELS, HEIGHT, WIDTH)
    videos = torch.rand_like(logits)
    read, drawn = attention.read_both(videos, logits, window)
    torch.testing.assert_close(read, attention.read(videos, window))
    torch.testing.assert_close(drawn, attention.read(logits.sigmoid(), window))
    patch = torch.randn_like(read)
    torch.testing.assert_close(attention.write_onto(logits, patch, window), logits + attention.write(patch, window))


def test_shared_content_is_the_same_patch_on_every_frame() -> None:
    shared, own = build(FrameAttention, content="shared"), build(FrameAttention)
    window = own.window(parameters_of(own))
    patch = torch.randn(2, shared.patch_size)
    repeated = patch.unflatten(1, (1, -1)).expand(-1, FRAMES, -1).flatten(1)
    torch.testing.assert_close(shared.write(patch, window), own.write(repeated, window))


@pytest.mark.parametrize("kind", [FrameAttention, GlobalAttention])
def test_both_contents_add_up(kind: type[FrameAttention]) -> None:
    both, shared, own = (build(kind, content=content) for content in ("both", "shared", "per_frame"))
    window = own.window(parameters_of(own))
    patch = torch.randn(2, both.patch_size)
    parts = patch.split([own.patch_size, shared.patch_size], dim=1)
    torch.testing.assert_close(both.write(patch, window), own.write(parts[0], window) + shared.write(parts[1], window))


def test_a_smooth_start_is_half_a_stride_wide() -> None:
    for smooth, width in ((True, 0.5 * (HEIGHT - 1) / (GRID - 1)), (False, 1.0)):
        attention = build(FrameAttention, smooth_start=smooth)
        window = attention.window(attention.window_start[None])
        torch.testing.assert_close(window.variance.sqrt(), torch.full((1, FRAMES), width))
        torch.testing.assert_close(window.row_centre, torch.full((1, FRAMES), (HEIGHT + 1) / 2))


@pytest.mark.parametrize("kind", [FrameAttention, GlobalAttention, CuboidAttention])
@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_diverging_parameters_stay_finite(kind: type[FrameAttention], extreme: float) -> None:
    attention = build(kind)
    parameters = torch.full((1, attention.parameter_size), extreme, requires_grad=True)
    window = attention.window(parameters)
    read = attention.read(torch.rand(1, FRAMES, CHANNELS, HEIGHT, WIDTH), window)
    written = attention.write(torch.ones(1, attention.patch_size), window)
    (read.sum() + written.sum()).backward()
    assert parameters.grad is not None
    for tensor in (read, written, parameters.grad):
        assert tensor.isfinite().all()
