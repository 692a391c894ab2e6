"""How the reader of sprites is trained, and what it then measures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from syncdraw.datasets.sprite_captions import VALUES
from syncdraw.datasets.sprites import Sprites
from syncdraw.errors import UserError
from syncdraw.evaluation.caption_reader import spoilt
from syncdraw.evaluation.frozen import fit, write_frozen
from syncdraw.evaluation.sprite_reader import READER_FOLDER, AttributeReader, SpriteReader
from syncdraw.options import Count, Seed


def train_sprite_reader(
    folder: str | Path = READER_FOLDER, steps: Count = 2_000, batch_size: Count = 32, learning_rate: float = 2e-3,
    seed: Seed = 0,
) -> dict[str, Any]:  # fmt: skip
    """Train the reader of sprites on real training clips, measure it, and write both to a folder.

    The clips are blurred, faded, moved and noisy, more or less, as drawn ones are.

    Args:
        folder: where config.json and model.safetensors (half precision) go, in place of those that are there.
        steps: batches to train on.
        batch_size: clips in a batch.
        learning_rate: the peak of a one-cycle schedule.
        seed: of everything random.

    Returns:
        What config.json holds: the arguments, the time, and what was measured on test clips.

    Raises:
        UserError: an argument is out of range, or the folder cannot be written.
    """
    if steps < 1 or batch_size < 1 or learning_rate <= 0:
        raise UserError("the reader needs steps and a batch_size of at least 1 and a learning_rate above 0")
    started = time.monotonic()
    clips = Sprites("train", "all")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttributeReader()

    def loss(step: int) -> Tensor:
        batch = clips.take(np.arange(step * batch_size, (step + 1) * batch_size))
        scores = network(spoilt(torch.from_numpy(batch.videos).float() / 255, generator))
        targets = torch.from_numpy(batch.characters).T
        return torch.stack(
            [functional.nll_loss(found, told) for found, told in zip(scores, targets, strict=True)]
        ).sum()

    fit(network, loss, tqdm(range(steps), desc="reader of sprites", unit="step"), learning_rate)
    arguments = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    return write_frozen(network, Path(folder), "syncdraw train sprite_reader", arguments, started,
                        lambda: measure_sprite_reader(SpriteReader(network)))  # fmt: skip


def measure_sprite_reader(reader: SpriteReader, clips: int = 2_000) -> dict[str, Any]:
    """The share of test clips, of characters that no training clip shows, whose attributes are read right."""
    real = Sprites("test", "all").take(np.arange(clips))
    found = reader.read(torch.from_numpy(real.videos).float() / 255)
    return {"clips": clips, **accuracies(found, torch.from_numpy(real.characters))}


def accuracies(found: Tensor, shown: Tensor) -> dict[str, float]:
    """How many of some characters `[batch, 9]` are read right, attribute by attribute and whole."""
    right = found == shown
    shares = {name: round(right[:, number].float().mean().item(), 4) for number, name in enumerate(VALUES)}
    return {**shares, "whole": round(right.all(dim=1).float().mean().item(), 4)}
