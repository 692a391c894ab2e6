"""How the judge's digit reader is trained, and what the judge then measures."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from syncdraw.datasets.bouncing_mnist import MNIST_FOLDER, BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.idx import GLYPH_SIZE, read_glyphs
from syncdraw.errors import UserError
from syncdraw.evaluation.frozen import fit, write_frozen
from syncdraw.evaluation.judge import JUDGE_FOLDER, DigitReader, Judge
from syncdraw.evaluation.readings import caption_fidelity, readable_share
from syncdraw.options import Count, Seed


def train_judge(
    folder: str | Path = JUDGE_FOLDER,
    steps: Count = 5_000,
    batch_size: Count = 128,
    learning_rate: float = 4e-3,
    seed: Seed = 0,
) -> dict[str, Any]:
    """Train the digit reader on MNIST's training digits, measure the judge, and write both to a folder.

    The crops are spoilt as those of generated clips are: shifted, turned, scaled, crossed by another digit, blurred,
    faded, noisy. A sixteenth of them shows no digit (parts of several, or nothing), so that the judge may say so.

    Args:
        folder: where config.json and model.safetensors (half precision) go, in place of those that are there.
        steps: batches to train on.
        batch_size: crops in a batch, at least 16.
        learning_rate: the peak of a one-cycle schedule.
        seed: of everything random.

    Returns:
        What config.json holds: the arguments, the time, and what was measured on MNIST's test digits.

    Raises:
        UserError: an argument is out of range, or the folder cannot be written.
    """
    if steps < 1 or batch_size < 16 or learning_rate <= 0:
        raise UserError("the judge needs steps of at least 1, a batch_size of at least 16 and a learning_rate above 0")
    started = time.monotonic()
    images, labels = digits_of_mnist("train")
    # The last 5,000 are Bouncing MNIST's validation split: the judge has not seen what it reads there.
    images, labels = images[:55_000], labels[:55_000]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = DigitReader()
    odd = batch_size // 16

    def loss(_: int) -> Tensor:
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        crops, target = images[chosen], functional.one_hot(labels[chosen], 10).float()
        crops[:odd], target[:odd] = _no_digits(crops)[:odd], 0.1
        log_probabilities, _ = reader(_spoil(crops, generator))
        return -(target * log_probabilities).sum(-1).mean()

    fit(reader, loss, tqdm(range(steps), desc="judge", unit="step"), learning_rate)
    arguments = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    return write_frozen(reader, Path(folder), "syncdraw train judge", arguments, started,
                        lambda: measure_judge(Judge(reader)))  # fmt: skip


def measure_judge(judge: Judge, clips: int = 1_000) -> dict[str, Any]:
    """The judge's accuracy on MNIST's test digits, and on real test clips: the ceiling for generated ones."""
    images, labels = digits_of_mnist("t10k")
    with torch.no_grad():
        right = [judge.reader(part)[0].argmax(-1) for part in images.split(500)]
    measured: dict[str, Any] = {"mnist_test_accuracy": round((torch.cat(right) == labels).float().mean().item(), 4)}
    for digits in (1, 2):
        real = BouncingMNIST(BouncingMNISTConfig(digits=digits), "test").take(np.arange(clips))
        reading = judge.read(torch.from_numpy(real.videos) / 255, digits)
        assert real.captions is not None
        values = caption_fidelity(reading, real.captions) | {
            "readable_share": readable_share(reading),
            "speed": reading.speed.mean().item(),
            "drift": reading.drift.mean().item(),
        }
        rounded = {name: round(value, 4) for name, value in values.items()}
        measured[f"real_test_clips_{digits}"] = {"clips": clips, **rounded}
    return measured


def digits_of_mnist(part: Literal["train", "t10k"]) -> tuple[Tensor, Tensor]:
    """Crops `[digit, 1, 28, 28]` in [0, 1] and labels `[digit]` of MNIST's training or test digits."""
    images, labels = read_glyphs(
        MNIST_FOLDER / f"{part}-images-idx3-ubyte.gz", MNIST_FOLDER / f"{part}-labels-idx1-ubyte.gz"
    )
    return torch.tensor(images)[:, None] / 255, torch.tensor(labels, dtype=torch.int64)


def _spoil(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Digits `[crop, 1, 28, 28]` as they may look in a crop of a generated clip."""
    count = len(crops)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low

    own = _warp(crops, torch.rand(count, 2, generator=generator) * 5 - 2.5, generator)
    angle, distance = uniform(0, 2 * math.pi).view(count), uniform(5, 26).view(count)
    other = _warp(crops.roll(1, 0), torch.stack([angle.cos(), angle.sin()], -1) * distance[:, None], generator)
    case = uniform()
    crossed = (own + other).clamp(max=1)
    cut = own * (1 - other)  # what is left where another glyph was explained away
    own = torch.where(case < 0.4, crossed, torch.where(case < 0.55, cut, own))
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    blurred = functional.conv2d(own, torch.outer(kernel, kernel)[None, None], padding=2)
    own = own + uniform(-1, 1).clamp(min=0) * (blurred - own)
    own = own.clamp(min=1e-4).pow(uniform(0.7, 1.5)) * uniform(0.6, 1)
    own = own + torch.randn(own.shape, generator=generator) * uniform(-0.08, 0.08).clamp(min=0)
    return own.clamp(0, 1)


def _warp(crops: Tensor, shift: Tensor, generator: torch.Generator) -> Tensor:
    """Crops `[crop, 1, 28, 28]` turned, scaled and sheared at random, and shifted by `[crop, 2]` pixels (x, y)."""
    angle, scale, shear = (torch.rand(3, len(crops), generator=generator) - 0.5) * torch.tensor([[0.5], [0.3], [0.4]])
    cosine, sine = angle.cos() / (1 + scale), angle.sin() / (1 + scale)
    linear = torch.stack([cosine, sine + shear * cosine, -sine, cosine], -1).view(-1, 2, 2)
    offset = linear @ (shift[..., None] / (-GLYPH_SIZE / 2))
    grid = functional.affine_grid(torch.cat([linear, offset], -1), list(crops.shape), align_corners=False)
    return functional.grid_sample(crops, grid, align_corners=False)


def _no_digits(crops: Tensor) -> Tensor:
    """Crops `[crop, 1, 28, 28]` of four digits' quarters; every fourth is black."""
    half = GLYPH_SIZE // 2
    mixed = crops.roll(1, 0)
    mixed[..., :half, half:] = crops.roll(2, 0)[..., :half, half:]
    mixed[..., half:, :half] = crops.roll(3, 0)[..., half:, :half]
    mixed[..., half:, half:] = crops.roll(4, 0)[..., half:, half:]
    mixed[::4] = 0
    return mixed
