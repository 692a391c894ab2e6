"""The moving grid of Gaussian filters: where the model reads and writes (v2 sections 3.1.1 and 3.1.3).

`FrameAttention` is Sync-DRAW's own: every frame has its window. `GlobalAttention` (one window for all frames) and
`CuboidAttention` (one grid in space-time) are the paper's two comparisons. All three keep one contract, `Attention`,
so the model is the same code with each of them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from syncdraw import native
from syncdraw.config import Content, patches_written
from syncdraw.gaussian import at_least_float32

Videos = Float[Tensor, "batch frame channel height width"]

TAIL = 20.0
"""Filters are cut to zero where the exponent is this far below its row's peak, exp(-20) = 2e-9: less than float32 keeps
beside the peak. The true tails are denormal, and so are their products with small gradients; one matrix product with
denormals ran 160 times slower (benchmarks/attention.py)."""


def gaussian_filters(
    centre: Float[Tensor, "*lead"],
    stride: Float[Tensor, "*lead"],
    variance: Float[Tensor, "*lead"],
    grid_size: int,
    length: int,
) -> Float[Tensor, "*lead grid length"]:
    """A bank of one-dimensional Gaussian filters along an axis of `length` pixels (eqs 1-4).

    Row u is centred at mu_u = centre + (u - K/2 - 0.5) stride (eqs 1-2), in pixel coordinates 1..length; the paper
    prints N for K there. exp(-(a - mu)^2 / 2 sigma^2) / Z over the pixels a (eqs 3-4) *is* a softmax, which stays exact
    when the whole grid lies far outside the frame, where the literal form divides 0 by 0.

    Args:
        centre: of the grid, pixels. stride: between neighbouring filters, pixels. variance: sigma^2, pixels squared.

    Returns:
        Filters whose rows each sum to 1.
    """
    grid = torch.arange(1, grid_size + 1, device=centre.device, dtype=centre.dtype) - grid_size / 2 - 0.5
    means = centre[..., None] + grid * stride[..., None]
    precision = (0.5 / variance)[..., None].expand_as(means)
    return _GaussianRows.apply(means, precision, length)  # type: ignore[no-untyped-call]


class _GaussianRows(torch.autograd.Function):
    """softmax over a = 1..length of -precision (a - mean)^2, with its gradient written out.

    The gradient of a softmax row sums to zero, so that both derivatives come from the row's first two moments, and no
    array of the filters' size is kept beside the filters: a third off the whole training step against autograd.
    """

    @staticmethod
    def forward(ctx: Any, means: Tensor, precision: Tensor, length: int) -> Tensor:
        pixels = torch.arange(1, length + 1, device=means.device, dtype=means.dtype)
        exponents = (pixels - means[..., None]).square_().mul_(-precision[..., None])
        exponents -= exponents.amax(dim=-1, keepdim=True)
        filters = functional.threshold(exponents, -TAIL, float("-inf"), inplace=True).softmax(dim=-1)
        ctx.save_for_backward(means, precision, filters)
        return filters

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        means, precision, filters = ctx.saved_tensors
        weighted = gradient * filters
        exponents = weighted - filters * weighted.sum(dim=-1, keepdim=True)
        length = filters.shape[-1]
        middle = (length + 1) / 2  # moments about the middle of the axis lose the fewest digits
        pixels = torch.arange(1, length + 1, device=means.device, dtype=means.dtype) - middle
        first, second = (exponents @ torch.stack([pixels, pixels.square()], dim=1)).unbind(-1)
        return 2 * precision * first, 2 * (means - middle) * first - second, None


def read(
    images: Float[Tensor, "*images height width"],
    rows: Float[Tensor, "*windows grid height"],
    columns: Float[Tensor, "*windows grid width"],
) -> Float[Tensor, "*images grid grid"]:
    """F_p x F_q^T of images that have windows, or share them."""
    return rows @ images @ columns.mT


def write(
    patches: Float[Tensor, "*images grid grid"],
    rows: Float[Tensor, "*windows grid height"],
    columns: Float[Tensor, "*windows grid width"],
) -> Float[Tensor, "*images height width"]:
    """F_p^T w F_q: `read`, transposed."""
    return rows.mT @ (patches @ columns)


class Window(NamedTuple):
    """Where a grid lies, `[batch, window]` each, in pixels; rows and columns are counted from 1."""

    row_centre: Tensor
    column_centre: Tensor
    stride: Tensor
    variance: Tensor
    intensity: Tensor
    time_filters: Tensor | None = None
    """F_Z `[batch, K, frame]` of a window in space-time."""


class Attention(nn.Module):
    """What the model needs of an attention: three sizes, and three functions. Two more can be made faster."""

    parameter_size: int
    """How many numbers `window` takes from the linear layer."""
    patch_size: int
    """How many numbers `read` gives and `write` takes."""
    window_start: Tensor
    """Bias of the linear layer: the window before anything is learned."""

    def window(self, parameters: Float[Tensor, "batch numbers"]) -> Window:
        """Where to read or write."""
        raise NotImplementedError

    def read(self, videos: Videos, window: Window) -> Float[Tensor, "batch patch"]:
        """What the window sees of the videos."""
        raise NotImplementedError

    def write(self, patch: Float[Tensor, "batch patch"], window: Window) -> Videos:
        """What a patch adds to the logits, through the window."""
        raise NotImplementedError

    def read_both(
        self, videos: Videos, logits: Videos, window: Window
    ) -> tuple[Float[Tensor, "batch patch"], Float[Tensor, "batch patch"]]:
        """What the window sees of videos, and of sigma(logits)."""
        return self.read(videos, window), self.read(logits.sigmoid(), window)

    def write_onto(self, logits: Videos, patch: Float[Tensor, "batch patch"], window: Window) -> Videos:
        """The logits after a patch was written."""
        return logits + self.write(patch, window)


def _positive(logarithm: Tensor, limit: float) -> Tensor:
    """exp, of a value kept to +-limit: sigma, delta and beta come from their logarithm (v2 footnote 2)."""
    return logarithm.clamp(-limit, limit).exp()


class FrameAttention(Attention):
    """A K x K window on each frame, all frames at once (eqs 1-5 and 9).

    Args:
        frames, channels, height, width: shape of the video. Filters are shared by the channels.
        grid_size: K.
        content: what writing takes: a patch for each frame (`per_frame`, as in the paper), one for all frames, which
            each of them places (`shared`, ours), or a patch for each frame and then one for all, which add up
            (`both`, ours).
        smooth_start: filters begin half a stride wide, so that the grid sees and paints without gaps (ours; at the
            paper's start, sigma = 1 pixel under a stride of (max(A, B) - 1) / (K - 1), it aliases).
    """

    numbers_per_window = 5

    def __init__(
        self,
        frames: int,
        channels: int,
        height: int,
        width: int,
        grid_size: int,
        *,
        content: Content = "per_frame",
        smooth_start: bool = False,
    ) -> None:
        super().__init__()
        self.frames, self.channels, self.height, self.width = frames, channels, height, width
        self.grid_size = grid_size
        self.content = content
        # A grid of one filter has no stride.
        self.largest_stride = (max(height, width) - 1) / max(grid_size - 1, 1)
        self.windows = self._count_windows()
        self.parameter_size = self.windows * self.numbers_per_window
        self.patch_size = patches_written(content, frames) * channels * grid_size**2
        start = self._first_window(smooth_start).expand(self.windows, -1).flatten()
        self.register_buffer("window_start", start, persistent=False)

    def _count_windows(self) -> int:
        return self.frames

    def _first_window(self, smooth: bool) -> Tensor:
        log_variance = 2 * math.log(self.largest_stride / 2) if smooth and self.grid_size > 1 else 0.0
        return torch.tensor([0.0, 0.0, log_variance, 0.0, 0.0])

    def window(self, parameters: Float[Tensor, "batch numbers"]) -> Window:
        """The windows that the linear layer asks for: g~_p, g~_q, log sigma^2, log delta~, log beta for each.

        The limits are far outside anything useful (50 frames off the frame; filters of 0.0001 to 8,000 pixels); they
        only keep a diverging run from producing NaN.
        """
        numbers = at_least_float32(parameters).unflatten(1, (self.windows, self.numbers_per_window))
        row, column, log_variance, log_stride, log_intensity = numbers.unbind(-1)[:5]
        row_centre = (self.height + 1) / 2 * (row.clamp(-100, 100) + 1)
        column_centre = (self.width + 1) / 2 * (column.clamp(-100, 100) + 1)
        stride = self.largest_stride * _positive(log_stride, 9.0)  # the paper prints N - 1 for K - 1
        variance = _positive(log_variance, 18.0)
        return Window(
            row_centre,
            column_centre,
            stride,
            variance,
            intensity=_positive(log_intensity, 9.0),
        )

    def filters(self, window: Window) -> tuple[Tensor, Tensor]:
        """F_p `[batch, window, 1, K, height]` and F_q `[batch, window, 1, K, width]`."""
        rows = gaussian_filters(window.row_centre, window.stride, window.variance, self.grid_size, self.height)
        columns = gaussian_filters(window.column_centre, window.stride, window.variance, self.grid_size, self.width)
        return rows.unsqueeze(2), columns.unsqueeze(2)

    def read(self, videos: Videos, window: Window) -> Float[Tensor, "batch patch"]:
        """beta F_p x F_q^T for every frame (eq 5), flattened."""
        if self._suits_cpp(window, videos):
            given = videos, None, torch.stack(window[:4]), self.grid_size, TAIL
            planes, _ = native.Read.apply(*given)  # type: ignore[no-untyped-call]
        else:
            planes = read(videos, *self.filters(window))
        return self.flattened(planes, window)

    def read_both(
        self, videos: Videos, logits: Videos, window: Window
    ) -> tuple[Float[Tensor, "batch patch"], Float[Tensor, "batch patch"]]:
        """The same of videos and of sigma(c). In C++ sigma(c) is never stored: on a CPU, storing costs more than
        computing."""
        if self._suits_cpp(window, videos, logits):
            given = videos, logits, torch.stack(window[:4]), self.grid_size, TAIL
            seen, drawn = native.Read.apply(*given)  # type: ignore[no-untyped-call]
        else:
            filters = self.filters(window)
            seen, drawn = read(videos, *filters), read(logits.sigmoid(), *filters)
        return self.flattened(seen, window), self.flattened(drawn, window)

    def write(self, patch: Float[Tensor, "batch patch"], window: Window) -> Videos:
        """1/beta F_p^T w F_q for every frame (eq 9)."""
        return write(self.planes(patch, window), *self.filters(window))

    def write_onto(self, logits: Videos, patch: Float[Tensor, "batch patch"], window: Window) -> Videos:
        """The same, added to c."""
        if self._suits_cpp(window, logits, patch):
            given = logits, self.planes(patch, window), torch.stack(window[:4]), TAIL
            return native.Write.apply(*given)  # type: ignore[no-untyped-call]
        return logits + self.write(patch, window)

    def _suits_cpp(self, window: Window, *given: Tensor) -> bool:
        return native.suits(*given, *window[:4]) and all(len(tensor) == len(window.row_centre) for tensor in given)

    def flattened(
        self, planes: Float[Tensor, "batch frame channel grid grid"], window: Window
    ) -> Float[Tensor, "batch patch"]:
        """beta times what was read of each frame."""
        return (window.intensity[..., None, None, None] * planes).flatten(1)

    def planes(
        self, patch: Float[Tensor, "batch patch"], window: Window
    ) -> Float[Tensor, "batch frame channel grid grid"]:
        """1/beta times what is written to each frame."""
        content = patch.unflatten(1, (-1, self.channels, self.grid_size, self.grid_size))
        if self.content == "both":
            content = content[:, :-1] + content[:, -1:]
        return content / window.intensity[..., None, None, None]


class GlobalAttention(FrameAttention):
    """One window, the same on every frame (v2 section 4.6.1, "Global").

    The paper gives this comparison one clause, "both the spatial and temporal relationships to be learned at the
    global level". We read it as eqs 1-5 and 9 with g, delta, sigma and beta that do not depend on the frame i. What is
    read and written remains one patch a frame.
    """

    def _count_windows(self) -> int:
        return 1

    def window(self, parameters: Float[Tensor, "batch numbers"]) -> Window:
        """One window, repeated for every frame."""
        return Window(*(value.expand(-1, self.frames) for value in super().window(parameters)[:5]))

    def filters(self, window: Window) -> tuple[Tensor, Tensor]:
        """F_p and F_q of the one window."""
        return super().filters(Window(*(value[:, :1] for value in window[:5])))


class CuboidAttention(FrameAttention):
    """A K x K x K grid in space-time (v2 section 4.1, "Baseline").

    With a third filter bank F_Z of size K x N, Gaussian over the frames, one window reads
    read(X)[w, u, v] = beta sum_{i, a, b} F_Z[w, i] F_p[u, a] F_q[v, b] X[i, a, b]
    and writes 1/beta times the same sum transposed. F_Z has its own centre, stride (in units of
    (N - 1) / (K - 1) frames) and variance, since frames and pixels have no common unit.
    """

    numbers_per_window = 8

    def __init__(
        self, frames: int, channels: int, height: int, width: int, grid_size: int, *, smooth_start: bool = False
    ) -> None:
        super().__init__(frames, channels, height, width, grid_size, smooth_start=smooth_start)
        self.patch_size = channels * grid_size**3
        self.largest_time_stride = (frames - 1) / max(grid_size - 1, 1)

    def _count_windows(self) -> int:
        return 1

    def _first_window(self, smooth: bool) -> Tensor:
        return torch.cat([super()._first_window(smooth), torch.zeros(3)])

    def window(self, parameters: Float[Tensor, "batch numbers"]) -> Window:
        """One window in space-time."""
        time, log_variance, log_stride = at_least_float32(parameters).unbind(-1)[5:]
        bank = gaussian_filters(
            (self.frames + 1) / 2 * (time.clamp(-100, 100) + 1),
            self.largest_time_stride * _positive(log_stride, 9.0),
            _positive(log_variance, 18.0),
            self.grid_size,
            self.frames,
        )
        return super().window(parameters)._replace(time_filters=bank)

    def flattened(
        self, planes: Float[Tensor, "batch frame channel grid grid"], window: Window
    ) -> Float[Tensor, "batch patch"]:
        """The K x K x K patch of the whole video."""
        patch = torch.einsum("bwn,bncuv->bwcuv", window.time_filters, planes)
        return window.intensity * patch.flatten(1)

    def planes(
        self, patch: Float[Tensor, "batch patch"], window: Window
    ) -> Float[Tensor, "batch frame channel grid grid"]:
        """The K x K x K patch, spread over time."""
        sizes = self.grid_size, self.channels, self.grid_size, self.grid_size
        content = (patch / window.intensity).unflatten(1, sizes)
        return torch.einsum("bwn,bwcuv->bncuv", window.time_filters, content)
