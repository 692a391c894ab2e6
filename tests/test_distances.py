"""Distances against closed forms and literal loops; reports of models whose samples are known."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from making_clips import textures, write_clip
from syncdraw import SyncDraw, UserError, cli
from syncdraw.building import build
from syncdraw.config import CaptionConfig, SyncDrawConfig
from syncdraw.datasets import bouncing_mnist
from syncdraw.datasets.bouncing_mnist import MNIST_FOLDER, BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.idx import read_glyphs
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.evaluation import distance_report as reporting
from syncdraw.evaluation import distances
from syncdraw.evaluation.distance_report import distance_report, steady_glyphs
from syncdraw.evaluation.distances import (
    frechet_distance,
    gaussian_distance,
    kernel_distance,
    nearest,
    neighbourhoods,
)
from syncdraw.evaluation.i3d import I3D
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.readings import Reading, clip_features
from syncdraw.evaluation.reports import Report
from syncdraw.evaluation.samples import sample_batches
from syncdraw.evaluation.scorer import Scorer

# I3D is at hand as TorchScript alone.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

seeds = st.integers(0, 10_000)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(features: int, seed: int) -> Tensor:
    root = normal(features, features, seed=seed)
    return root @ root.T


# --- Frechet distance ------------------------------------------------------------------------------------------------


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0, 9), st.floats(0, 9))
@settings(deadline=None, max_examples=50)
def test_distance_of_gaussians_on_a_line(mean1: float, mean2: float, deviation1: float, deviation2: float) -> None:
    arguments = [torch.tensor(v) for v in ([mean1], [[deviation1**2]], [mean2], [[deviation2**2]])]
    expected = (mean1 - mean2) ** 2 + (deviation1 - deviation2) ** 2
    assert gaussian_distance(*arguments) == pytest.approx(expected, rel=1e-5, abs=1e-4)


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_distance_of_gaussians_with_the_same_axes(seed: int) -> None:
    """Along each shared axis the deviations subtract."""
    axes = torch.linalg.qr(normal(5, 5, seed=seed)).Q
    deviations = normal(2, 5, seed=seed + 1).abs()
    means = normal(2, 5, seed=seed + 2)
    first, second = (axes * d**2 @ axes.T for d in deviations)
    expected = (means[0] - means[1]).square().sum() + (deviations[0] - deviations[1]).square().sum()
    assert gaussian_distance(means[0], first, means[1], second) == pytest.approx(expected.item(), rel=1e-9)


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_distance_of_gaussians_by_the_eigenvalues_of_the_product(seed: int) -> None:
    """tr (S1^1/2 S2 S1^1/2)^1/2 is the sum of the roots of the eigenvalues of S1 S2, which is not symmetric."""
    first, second = covariance(6, seed), covariance(6, seed + 1)
    mean = normal(6, seed=seed + 2)
    between = np.sqrt(np.linalg.eigvals(first.numpy() @ second.numpy()).real).sum()
    expected = mean.square().sum().item() + (first.trace() + second.trace()).item() - 2 * between
    assert gaussian_distance(mean, first, torch.zeros(6), second) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_fits_gaussians() -> None:
    first, second = normal(50, 4), 2 * normal(70, 4, seed=1) + 1
    moments = [(x.mean(0), torch.from_numpy(np.cov(x.numpy(), rowvar=False))) for x in (first, second)]
    assert frechet_distance(first, second) == pytest.approx(gaussian_distance(*moments[0], *moments[1]), rel=1e-12)
    one = frechet_distance(first[:, :1], second[:, :1])
    expected = (first[:, 0].mean() - second[:, 0].mean()) ** 2 + (first[:, 0].std() - second[:, 0].std()) ** 2
    assert one == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("clips", [2, 7, 300])
def test_frechet_distance_of_equal_sets_is_zero(clips: int) -> None:
    """Fewer clips than features, too."""
    features = 10 * normal(clips, 40)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-8)
    shift = torch.full((40,), 0.5, dtype=torch.float64)
    assert frechet_distance(features, features + shift) == pytest.approx(10, abs=1e-8)


def test_frechet_distance_of_fewer_clips_than_features() -> None:
    """The nuclear norm of the centred sets' product is the same trace, with no matrix of features by features."""
    first, second = normal(6, 30), normal(9, 30, seed=1)
    a, b = ((x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (first, second))
    between = torch.linalg.svdvals(a @ b.T).sum()
    mean = (first.mean(0) - second.mean(0)).square().sum()
    expected = mean + a.square().sum() + b.square().sum() - 2 * between
    assert frechet_distance(first, second) == pytest.approx(expected.item(), rel=1e-6)


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_distances_know_no_order(seed: int) -> None:
    first, second = normal(20, 3, seed=seed), normal(25, 3, seed=seed + 1) + 0.5
    shuffled = first[torch.randperm(20, generator=torch.Generator().manual_seed(seed))]
    for distance in (frechet_distance, lambda a, b: kernel_distance(a, b).value):
        assert distance(shuffled, second) == pytest.approx(distance(first, second), rel=1e-9)
        assert distance(second, first) == pytest.approx(distance(first, second), rel=1e-9)
    assert neighbourhoods(shuffled, second, 3) == neighbourhoods(first, second, 3)


def test_frechet_distance_is_biased_upwards_by_few_clips() -> None:
    few, many = (frechet_distance(normal(n, 10), normal(n, 10, seed=1)) for n in (50, 2_000))
    assert few > 5 * many > 0


# --- Kernel distance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2, 1_000])
def test_kernel_distance_in_a_double_loop(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_ROWS", rows)  # in parts of 2 rows, or at once
    x, y = normal(7, 3).numpy(), normal(5, 3, seed=1).numpy() + 0.3

    def kernel(a: Any, b: Any) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / 3 + 1) ** 3)

    within_x = sum(kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    within_y = sum(kernel(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    between = sum(kernel(a, b) for a in x for b in y) / 35
    expected = within_x + within_y - 2 * between
    assert kernel_distance(torch.from_numpy(x), torch.from_numpy(y)).value == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased() -> None:
    """Zero on average for one distribution, of either sign; its standard error is no smaller than its spread."""
    estimates = [kernel_distance(normal(40, 4, seed=2 * n), normal(30, 4, seed=2 * n + 1)) for n in range(300)]
    values = np.array([estimate.value for estimate in estimates])
    errors = np.array([estimate.standard_error for estimate in estimates])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(300)
    assert 0.2 < (values < 0).mean() < 0.9
    assert values.std() < np.sqrt((errors**2).mean()) < 2 * values.std()


def test_kernel_distance_of_shifted_gaussians() -> None:
    """In one feature, for N(0, 1) and N(m, 1): the kernel's feature map is the moments, so the distance is exact.

    (xy + 1)^3 = sum over k of binomial(3, k) x^k y^k, so MMD^2 = 3 m^2 + 3 (m^2)^2 + (m^3 + 3 m)^2.
    """
    estimates = [kernel_distance(normal(400, 1, seed=2 * n), normal(300, 1, seed=2 * n + 1) + 0.5) for n in range(200)]
    values = np.array([estimate.value for estimate in estimates])
    expected = 3 * 0.5**2 + 3 * 0.5**4 + (0.5**3 + 1.5) ** 2
    assert abs(values.mean() - expected) < 3 * values.std() / math.sqrt(200)
    errors = np.array([estimate.standard_error for estimate in estimates])
    assert errors.mean() == pytest.approx(values.std(), rel=0.2)
    assert values.min() > 0


# --- Precision, recall, density, coverage ----------------------------------------------------------------------------


def literal_neighbourhoods(real: Tensor, samples: Tensor, k: int) -> tuple[float, float, float, float]:
    """As the papers define them, pair by pair."""

    def gap(a: Tensor, b: Tensor) -> float:
        return math.dist(a.tolist(), b.tolist())

    def radius(points: Tensor, i: int) -> float:
        return sorted(gap(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]

    real_radius = [radius(real, i) for i in range(len(real))]
    sample_radius = [radius(samples, i) for i in range(len(samples))]
    inside = [[gap(s, r) <= real_radius[i] for i, r in enumerate(real)] for s in samples]
    precision = sum(any(row) for row in inside) / len(samples)
    recall = sum(any(gap(r, s) <= sample_radius[j] for j, s in enumerate(samples)) for r in real) / len(real)
    density = sum(sum(row) for row in inside) / (k * len(samples))
    coverage = sum(min(gap(r, s) for s in samples) <= real_radius[i] for i, r in enumerate(real)) / len(real)
    return precision, recall, density, coverage


@given(seeds, st.integers(1, 4), st.floats(0, 2), st.floats(0.3, 2))
@settings(deadline=None, max_examples=30)
def test_neighbourhoods_pair_by_pair(seed: int, neighbours: int, shift: float, scale: float) -> None:
    real, samples = normal(14, 2, seed=seed), scale * normal(11, 2, seed=seed + 1) + shift
    assert neighbourhoods(real, samples, neighbours) == pytest.approx(literal_neighbourhoods(real, samples, neighbours))


def test_neighbourhoods_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    real, samples = normal(30, 3), normal(21, 3, seed=1)
    expected = neighbourhoods(real, samples)
    monkeypatch.setattr(distances, "_ROWS", 4)
    assert neighbourhoods(real, samples) == expected


def test_neighbourhoods_of_extremes() -> None:
    modes = torch.arange(10.0, dtype=torch.float64).repeat_interleave(100)[:, None] * 100
    real = modes + normal(1_000, 2)
    one_mode = normal(1_000, 2, seed=1)  # around the first of ten
    found = neighbourhoods(real, one_mode)
    assert found.precision > 0.95
    assert found.recall == pytest.approx(0.1, abs=0.01)
    assert found.coverage == pytest.approx(0.1, abs=0.01)
    far = neighbourhoods(real, normal(1_000, 2) + 1e6)
    assert far == (0, 0, 0, 0)
    # Samples that are everywhere: all real clips are found, few samples are real.
    generator = torch.Generator().manual_seed(3)
    wide = neighbourhoods(real, torch.rand(1_000, 2, dtype=torch.float64, generator=generator) * 2_000 - 500)
    assert wide.precision < 0.1
    assert wide.recall > 0.95
    copies = neighbourhoods(real, real)
    assert (copies.precision, copies.recall, copies.coverage) == (1, 1, 1)
    fresh = neighbourhoods(real, modes + normal(1_000, 2, seed=2))
    assert fresh.density == pytest.approx(1, abs=0.1)
    assert fresh.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_one_outlier_spoils_precision_and_not_density() -> None:
    """What Naeem et al. 2020 mend, their figure 1: a real outlier, and samples around it."""
    real = torch.cat([normal(200, 2), torch.tensor([[60.0, 60.0]], dtype=torch.float64)])
    samples = normal(200, 2, seed=1) + 30
    found = neighbourhoods(real, samples)
    assert found.precision > 0.5
    assert found.density < 0.25


@pytest.mark.parametrize("function", [frechet_distance, kernel_distance, neighbourhoods])
def test_features_that_cannot_be_compared(function: Any) -> None:
    with pytest.raises(UserError, match=r"as many in both sets, not \[9, 3\] and \[9, 2\]"):
        function(normal(9, 3), normal(9, 2))
    with pytest.raises(UserError, match=r"not \[9\] and \[9\]"):
        function(normal(9), normal(9))
    with pytest.raises(UserError, match=r"there are 9 and 1 clips, where this distance needs [26] or more"):
        function(normal(9, 3), normal(1, 3))


# --- The nearest training clip ---------------------------------------------------------------------------------------


def test_nearest_is_the_least_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    queries = torch.from_numpy(random.integers(0, 256, (23, 2, 1, 5, 4), np.uint8))
    others = torch.from_numpy(random.integers(0, 256, (60, 2, 1, 5, 4), np.uint8))
    pairs = torch.cdist(queries.flatten(1).double() / 255, others.flatten(1).double() / 255)
    expected = (pairs.amin(dim=1) / math.sqrt(40)).tolist()
    for size in (1, 7, 60):
        assert nearest(queries, others.split(size)).tolist() == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(distances, "_ROWS", 10)
    assert nearest(queries.float() / 255, others.split(7)).tolist() == pytest.approx(expected, rel=1e-5)


def test_copies_are_exactly_zero_away() -> None:
    """However large the clips are, in which the rounding of products would leave something."""
    others = torch.rand(40, 40_000, generator=torch.Generator().manual_seed(0))
    others = (others * 255).round().to(torch.uint8)
    queries = torch.cat([others[[3, 39, 20]], 255 - others[:2]])
    found = nearest(queries, others.split(16))
    assert found[:3].tolist() == [0, 0, 0]
    assert (found[3:] > 0.1).all()
    almost = others.clone()
    almost[:, 0] ^= 1  # later, and as near but for rounding
    assert nearest(others, [others, almost]).tolist() == [0] * 40


def test_distance_of_a_known_difference() -> None:
    black = torch.zeros(1, 3, 1, 4, 4)
    assert nearest(black, [black + 0.25, black + 0.5]).item() == pytest.approx(0.25)


# --- Features of clips -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def real_clips(count: int, digits: int = 1, start: int = 0, **settings: Any) -> Tensor:
    return clips_at(np.arange(start, start + count), digits, **settings)


def clips_at(places: np.ndarray, digits: int = 1, **settings: Any) -> Tensor:
    data = BouncingMNIST(BouncingMNISTConfig(digits=digits, **settings), "test")
    return torch.from_numpy(data.take(places).videos)


def swapped(reading: Reading) -> Reading:
    return Reading(**{field.name: getattr(reading, field.name).flip(1) for field in dataclasses.fields(Reading)})


def test_one_row_for_each_clip(judge: Judge) -> None:
    one, two = (judge.read(real_clips(6, digits) / 255, digits) for digits in (1, 2))
    assert clip_features(one).shape == (6, 68)
    assert clip_features(two).shape == (6, 136)
    assert clip_features(two, "digits").shape == (6, 130)
    assert clip_features(two, "motion").shape == (6, 6)
    assert torch.equal(clip_features(two), clip_features(swapped(two)))


def test_each_glyph_keeps_its_motion(judge: Judge) -> None:
    """A clip of a 3 moving down and a 7 moving right is not one of a 7 moving down and a 3 moving right."""
    reading = judge.read(real_clips(16, 2) / 255, 2)
    other = dataclasses.replace(reading, positions=reading.positions.flip(1), drift=reading.drift.flip(1))
    differ = (clip_features(reading) != clip_features(other)).any(dim=1)
    mixed = reading.motions[:, 0] != reading.motions[:, 1]
    assert differ[mixed].all()
    assert mixed.any()


def test_what_is_wrong_raises_the_distance(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 150
    reference, real = real_clips(count), real_clips(count, start=count)
    shuffled = torch.stack([clip[torch.randperm(10, generator=torch.Generator().manual_seed(i))]
                            for i, clip in enumerate(real)])  # fmt: skip
    noisy = (real + 80 * torch.rand(real.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    labels = BouncingMNIST(BouncingMNISTConfig(), "test").take(np.arange(2_000)).labels[:, 0]
    ones = clips_at(np.flatnonzero(labels == 1)[:count])
    with monkeypatch.context() as patched:
        patched.setattr(bouncing_mnist, "SPEED", 3.0)
        slow = real_clips(count, start=count)
    readings = {
        name: judge.read(videos / 255, 1)
        for name, videos in {
            "reference": reference, "real": real, "shuffled": shuffled, "noisy": noisy, "ones": ones,
            "slow": slow,
        }.items()
    }  # fmt: skip

    def distance(name: str, part: Any) -> tuple[float, float]:
        first, second = clip_features(readings["reference"], part), clip_features(readings[name], part)
        return frechet_distance(first, second), kernel_distance(first, second).value

    for name, part, untouched in (
        ("shuffled", "motion", "digits"),
        ("slow", "motion", "digits"),
        ("ones", "digits", "motion"),
        ("noisy", "digits", None),
    ):
        for wrong, right in zip(distance(name, part), distance("real", part), strict=True):
            assert wrong > 3 * abs(right), name
        for wrong, right in zip(
            distance(name, "digits and motion"), distance("real", "digits and motion"), strict=True
        ):
            assert wrong > right, name
        if untouched is not None:
            assert distance(name, untouched)[0] < 2 * distance("real", untouched)[0], name


def training_glyphs() -> Tensor:
    images, _ = read_glyphs(MNIST_FOLDER / "train-images-idx3-ubyte.gz", MNIST_FOLDER / "train-labels-idx1-ubyte.gz")
    return torch.tensor(images[:55_000])


@pytest.mark.parametrize("digits", [1, 2])
def test_memorised_glyphs_are_found_wherever_they_are(digits: int, judge: Judge) -> None:
    """Clips of training glyphs on paths that no training clip has: the glyph is a copy, the clip is not."""
    data = BouncingMNIST(BouncingMNISTConfig(digits=digits, clips=0), "train")
    copied = torch.from_numpy(data.take(np.arange(12) + 1_000_000).videos)
    fresh = real_clips(12, digits)
    near = {}
    for name, videos in (("copied", copied), ("fresh", fresh)):
        glyphs = steady_glyphs(videos, judge.read(videos / 255, digits))
        assert glyphs.shape == (12, digits, 28, 28)
        near[name] = nearest(glyphs.flatten(0, 1), training_glyphs().split(5_000))
    assert near["copied"].median() < 0.02
    assert near["fresh"].median() > 0.1
    assert near["copied"].mean() < 0.3 * near["fresh"].mean()


def test_steady_glyph_is_the_glyph(judge: Judge) -> None:
    data = BouncingMNIST(BouncingMNISTConfig(), "test").take(np.arange(20))
    videos = torch.from_numpy(data.videos)
    reading = judge.read(videos / 255, 1)
    placed = dataclasses.replace(reading, positions=torch.from_numpy(data.positions).float())
    row, column = data.positions[:, 0, 0].T
    expected = [videos[i, 0, 0, r : r + 28, c : c + 28] for i, (r, c) in enumerate(zip(row, column, strict=True))]
    assert torch.equal(steady_glyphs(videos, placed)[:, 0], torch.stack(expected).float() / 255)


# --- I3D -------------------------------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """In the place of I3D: the mean and the spread of each channel."""

    def forward(self, videos: Tensor) -> Tensor:
        flat = videos.flatten(2)
        return torch.cat([flat.mean(2), flat.std(2)], dim=1)


class WithArguments(nn.Module):
    """As I3D's usual TorchScript is called; features tell what it was called with."""

    def forward(
        self, videos: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> Tensor:
        told = torch.tensor([float(rescale), float(resize), float(return_features), float(videos.shape[2])])
        corners = torch.stack([videos[:, 0, 0, 0, 0], videos[:, 2, -1, -1, -1]], dim=1)
        return torch.cat([told.repeat(len(videos), 1), corners], dim=1)


class Wrong(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, videos: Tensor) -> Tensor:
        if self.kind == "frames":
            assert videos.shape[2] > 16, "too few frames"
        if self.kind == "numbers":
            return videos.flatten(1)[:, :3] * float("nan")
        return videos.mean(dim=(3, 4))  # [batch, channel, frame]


def scripted(module: nn.Module, folder: Path) -> Path:
    path = folder / "i3d.pt"
    torch.jit.script(module).save(str(path))
    return path


def test_i3d_is_called_as_it_wants(tmp_path: Path) -> None:
    videos = torch.zeros(2, 5, 1, 8, 8, dtype=torch.uint8)
    videos[1] = 255
    network = I3D(scripted(WithArguments(), tmp_path))
    features = network.features(videos)
    assert features.tolist() == [[0, 0, 1, 5, -1, -1], [0, 0, 1, 5, 1, 1]]
    assert network.checksum == hashlib.sha256((tmp_path / "i3d.pt").read_bytes()).hexdigest()[:12]
    plain = I3D(scripted(Pooled(), tmp_path)).features(videos)
    assert plain.tolist() == [[-1] * 3 + [0] * 3, [1] * 3 + [0] * 3]


class Seen(nn.Module):
    def forward(self, videos: Tensor) -> Tensor:
        return videos.flatten(1)


def test_i3d_sees_each_frame_resized(tmp_path: Path) -> None:
    videos = torch.rand(2, 3, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    seen = I3D(scripted(Seen(), tmp_path)).features(videos).view(2, 3, 3, 224, 224)
    expected = nn.functional.interpolate(videos[1, 2, None], (224, 224), mode="bilinear") * 2 - 1
    assert torch.allclose(seen[1, :, 2], expected[0], atol=1e-6)
    grey = I3D(scripted(Seen(), tmp_path)).features(videos[:, :, :1]).view(2, 3, 3, 224, 224)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_i3d_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.pt cannot be read: No such file"):
        I3D(tmp_path / "nowhere.pt")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        I3D(tmp_path)
    (tmp_path / "text.pt").write_text("no network")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt")
    for name in ("text.pt", "state.pt"):
        with pytest.raises(UserError, match=rf"{name} is not a network in TorchScript \(.+\)$"):
            I3D(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("frames", r"cannot look at videos \[2, 3, 9, 224, 224\] \(.*too few frames"),
        ("numbers", "gives features that are not finite"),
        ("shape", r"must give features \[clip, feature\] of 2 clips, not \[2, 3, 9\]"),
    ],
)
def test_i3d_that_gives_something_else(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        I3D(scripted(Wrong(kind), tmp_path)).features(torch.rand(2, 9, 1, 8, 8))


# --- The report ------------------------------------------------------------------------------------------------------

WORDS = (*"0123456789", "and", "digit", "down", "is", "left", "moving", "right", "up")
BOUNCING = BouncingMNISTConfig(clips=120)
CARD = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(BOUNCING)}
TINY = SyncDrawConfig(draw_steps=1, grid_size=2, hidden_size=2, latent_size=1)
CAPTIONED = dataclasses.replace(TINY, captions=CaptionConfig("alignment", 4, WORDS))


def untrained(config: SyncDrawConfig = TINY) -> SyncDraw:
    torch.manual_seed(0)
    return build(config)


def pretending(videos: np.ndarray, monkeypatch: pytest.MonkeyPatch, config: SyncDrawConfig = TINY) -> Any:
    """A model whose samples are the given clips, in order; and what it was asked for."""
    model, asked = untrained(config), []

    def generate(what: Any, *, seed: int, temperature: float) -> Tensor:
        start = sum(len(texts) if isinstance(texts, list) else texts for texts, *_ in asked)
        asked.append((what, seed, temperature))
        count = len(what) if isinstance(what, list) else what
        return torch.from_numpy(videos[start : start + count]).float() / 255

    monkeypatch.setattr(model, "generate", generate)
    return model, asked


def test_report_of_an_untrained_model(tmp_path: Path) -> None:
    path = scripted(Pooled(), tmp_path)
    report = distance_report(untrained(), CARD, data=None, samples=8, seed=0, i3d=path)
    rows = report.values["all captions"]
    for name in ("Frechet distance, digits and motion", "Frechet distance, digits", "Frechet distance, motion"):
        assert rows[name]["ratio"] == pytest.approx(rows[name]["samples"] / rows[name]["real"])
    assert rows["Frechet distance, digits and motion"]["ratio"] > 1
    assert rows["FVD"]["ratio"] > 10
    kernel = rows["kernel distance, digits"]
    assert kernel["ratio"] == pytest.approx(kernel["samples"] / kernel["real_standard_error"])
    assert (rows["recall"]["samples"], rows["coverage"]["samples"]) == (0, 0)
    for name, row in rows.items():
        (line,) = (line for line in report.text.splitlines() if line.startswith(f"{name}  "))
        assert f"{row['samples']:.4g}" in line.split()
    assert report.values["i3d"] == {
        "file": "i3d.pt",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:12],
        "clips": 8,
        "frames": 10,
        "resolution": [64, 64],
        "resized_to": [224, 224],
        "resizing": "bilinear",
    }
    last = report.text.splitlines()[-1]
    assert last.endswith("8 clips against 8, 10 frames of 64 x 64, resized to 224 x 224 (bilinear).")
    assert "fewer than 2,000 clips" in report.text
    assert distance_report(untrained(), CARD, data=None, samples=8, seed=0, i3d=path) == report
    json.dumps(report.values, allow_nan=False)


def test_report_of_a_perfect_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real clips in the place of samples: those of the second set give ratios of exactly 1."""
    count = 44
    monkeypatch.setattr(reporting, "sample_batches", partial(sample_batches, batch_size=40))
    videos = BouncingMNIST(BOUNCING, "test").take(np.arange(count, 2 * count)).videos
    model, asked = pretending(videos, monkeypatch)
    report = distance_report(model, CARD, data=None, samples=count, seed=3, temperature=0.6)
    assert asked == [(40, 3, 0.6), (4, 4, 0.6)]  # each batch with noise of its own
    rows = report.values["all captions"]
    for name, row in rows.items():
        if "kernel" in name or "nearest" in name:
            assert row["ratio"] == pytest.approx(row["samples"] / row.get("real_standard_error", row["real"]))
        else:
            assert row["ratio"] == 1, name
    for name in ("nearest training clip", "nearest training glyph"):
        assert 0.8 < rows[name]["ratio"] < 1.25
    assert "FVD: " not in report.text


def test_report_of_a_model_that_memorised(monkeypatch: pytest.MonkeyPatch) -> None:
    videos = BouncingMNIST(BOUNCING, "train").take(np.arange(120)[::-1]).videos
    model, _ = pretending(videos, monkeypatch)
    rows = distance_report(model, CARD, data=None, samples=30, seed=0).values["all captions"]
    assert rows["nearest training clip"]["samples"] == 0
    assert rows["nearest training glyph"]["ratio"] < 0.2
    assert rows["precision"]["samples"] > 0.8  # and nothing else gives it away


def test_report_of_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice on the hard split; each time for the captions of the reference."""
    hard = dataclasses.replace(BOUNCING, combinations="seen")
    card = {**CARD, "bouncing": dataclasses.asdict(hard)}
    references = [
        BouncingMNIST(dataclasses.replace(hard, combinations=kind), "test").take(np.arange(8))
        for kind in ("seen", "unseen")
    ]
    model, asked = pretending(np.concatenate([r.videos for r in references]), monkeypatch, CAPTIONED)
    report = distance_report(model, card, data=None, samples=8, seed=0)
    assert asked == [(r.captions, 0, 1.0) for r in references]
    for kind in ("seen", "unseen"):
        assert report.values[f"{kind} captions"]["Frechet distance, digits and motion"]["samples"] < 1e-6
    plain, _ = pretending(references[0].videos, monkeypatch)
    assert [key for key in distance_report(plain, card, data=None, samples=8, seed=0).values if "captions" in key] == [
        "seen captions"
    ]


def test_report_of_two_digits() -> None:
    card = {"data": "bouncing_mnist", "bouncing": dataclasses.asdict(BouncingMNISTConfig(digits=2, clips=10))}
    rows = distance_report(untrained(), card, data=None, samples=30, seed=0).values["all captions"]
    assert rows["Frechet distance, digits and motion"]["ratio"] > 1.5


def test_report_of_other_data(tmp_path: Path) -> None:
    """Without glyphs: pixels alone, and FVD where I3D is given."""
    for number in range(30):
        write_clip(tmp_path / "clips" / f"{number}.gif", textures(6, number))
    shape = ClipConfig(frames=3, height=32, width=32, test_share=0.5)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "data", shape, progress=False)
    model = untrained(dataclasses.replace(TINY, frames=3, height=32, width=32))
    path = scripted(Pooled(), tmp_path)
    report = distance_report(model, {}, data=str(tmp_path / "data"), samples=None, seed=0, i3d=path)
    assert list(report.values["all clips"]) == ["FVD", "nearest training clip"]
    assert "judge" not in report.text
    assert 6 <= report.values["samples"] <= 15
    with pytest.raises(
        UserError, match=r"draws clips of shape \(10, 1, 64, 64\), and these data have \(3, 1, 32, 32\)"
    ):
        distance_report(untrained(), {}, data=str(tmp_path / "data"), samples=None, seed=0)


@pytest.mark.parametrize("samples", [0, 5, 5_001])
def test_report_of_too_few_or_too_many(samples: int) -> None:
    with pytest.raises(UserError, match=f"samples is {samples}; it must be from 6 to 5000, half of the test clips"):
        distance_report(untrained(), CARD, data=None, samples=samples, seed=0)


def test_report_of_a_model_that_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained()
    monkeypatch.setattr(model, "generate", lambda what, **_: torch.full((what, 10, 1, 64, 64), torch.nan))
    with pytest.raises(UserError, match="its training has diverged"):
        distance_report(model, CARD, data=None, samples=6, seed=0)


def test_scores_along_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clips themselves in the place of samples are 0 away from them and as readable as can be."""
    clips = BouncingMNIST(BOUNCING, "validation").take(np.arange(30))
    model, asked = pretending(clips.videos, monkeypatch)
    scorer = Scorer(clips, BOUNCING)
    scores = scorer.scores(model, seed=2)
    assert asked == [(30, 2, 1.0)]
    assert scores["readable_share"] > 0.9
    assert scores["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert "caption_match" not in scores
    captioned, asked = pretending(clips.videos, monkeypatch, CAPTIONED)
    assert scorer.scores(captioned)["caption_match"] > 0.9
    assert asked == [(clips.captions, 0, 1.0)]
    black, _ = pretending(np.zeros_like(clips.videos), monkeypatch)
    worst = scorer.scores(black)
    assert worst["readable_share"] == 0
    assert worst["frechet_distance"] > 10


# --- The command -----------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reporting, "distance_report", lambda *_, **options: called.append(options) or report)
    called: list[dict[str, Any]] = []
    report = Report("measured", {"samples": 7})
    cli.main(["evaluate", "distances", "mnist1", "--json_file", str(tmp_path / "a.json")])
    cli.main(["evaluate", "distances", "mnist1", "--samples", "7", "--seed", "2", "--temperature", "0.5",
              "--i3d", "a.pt"])  # fmt: skip
    assert called == [
        {"data": None, "samples": None, "seed": 0, "temperature": 1.0, "i3d": None},
        {"data": None, "samples": 7, "seed": 2, "temperature": 0.5, "i3d": Path("a.pt")},
    ]
    assert capsys.readouterr().out.startswith("measured\n")
    assert json.loads((tmp_path / "a.json").read_text()) == {"samples": 7}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["distances", "mnist1", "--i3d", "nowhere.pt"], "--i3d nowhere.pt cannot be read: No such file"),
        (["distances", "mnist1", "--samples", "3"], "samples is 3; it must be from 6 to 5000"),
        (["distances", "mnist1", "--importance_samples=2"], "--importance_samples"),
        (["captions", "mnist1", "--refine_steps=2"], "--refine_steps"),
        (["bounds", "mnist1", "--temperature=0.5"], "--temperature"),
        (["bounds", "mnist1", "--i3d", "a.pt"], "--i3d"),
        (["bounds", "mnist1", "--refine_steps=-1"], "--refine_steps"),
        (["bounds", "mnist1", "--importance_samples=-5"], "--importance_samples"),
        (["captions", "mnist1", "--temperature=-1", "--samples=1"], "--temperature"),
    ],
)
def test_command_of_bad_input(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that belong to another measure are refused, too."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
