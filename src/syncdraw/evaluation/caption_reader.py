"""A reader of captions, for clips that the judge cannot read: which of a data set's captions is a clip's own?

It is trained on real clips alone and then frozen, so that the same measure holds for real clips and for drawn ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from syncdraw.datasets.clips import Dataset
from syncdraw.datasets.prepared import PreparedClips, streamed
from syncdraw.errors import UserError
from syncdraw.evaluation.distances import unit
from syncdraw.evaluation.models import DrawingModel
from syncdraw.evaluation.reports import Report, Split, data_of
from syncdraw.evaluation.samples import sample_batches
from syncdraw.words import normalise

STEPS, BATCH_SIZE = 500, 32
"""Of the reader's training."""

MOST_HELD = 500
"""Clips of a split that are read."""

_SIZE = 32
"""Pixels of a frame's longer side, as the reader sees it."""


class WordReader(nn.Module):
    """Which words and pairs of words a clip's caption has.

    It sees all frames at once, and what changes from each to the next.

    Args:
        frames, channels: of the clips.
        words: how many words and pairs.
    """

    def __init__(self, frames: int, channels: int, words: int) -> None:
        super().__init__()
        widths = ((2 * frames - 1) * channels, 48, 96, 128)
        self.layers = nn.Sequential(
            nn.Conv2d(widths[0], widths[1], 5, stride=2, padding=2), nn.GroupNorm(8, widths[1]), nn.GELU(),
            nn.Conv2d(widths[1], widths[2], 3, stride=2, padding=1), nn.GroupNorm(8, widths[2]), nn.GELU(),
            nn.Conv2d(widths[2], widths[3], 3, stride=2, padding=1), nn.GroupNorm(8, widths[3]), nn.GELU(),
        )  # fmt: skip
        self.words = nn.Linear(2 * widths[-1], words)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits `[batch, word]` of clips `[batch, frame, channel, height, width]` in [0, 1], made by `shrunk`."""
        seen = torch.cat([frames - 0.5, 3 * frames.diff(dim=1)], dim=1).flatten(1, 2)
        features = self.layers(seen).flatten(2)
        logits: Tensor = self.words(torch.cat([features.mean(dim=2), features.amax(dim=2)], dim=1))
        return logits


def shrunk(videos: Tensor) -> Tensor:
    """Clips `[batch, frame, channel, height, width]`, the longer side of a frame 32 pixels."""
    height, width = videos.shape[3:]
    sides = [max(8, round(side * _SIZE / max(height, width))) for side in (height, width)]
    return functional.interpolate(videos.flatten(1, 2), sides, mode="area").unflatten(1, videos.shape[1:3])


@dataclass(frozen=True)
class CaptionReader:
    """A reader that has been trained.

    Attributes:
        network: of the words and pairs of words.
        captions: those that it chooses from.
        table: `[caption, word]`, 1 where a caption has a word, or a pair.
    """

    network: WordReader
    captions: list[str]
    table: Tensor

    @torch.no_grad()
    def read(self, videos: Tensor) -> Tensor:
        """The numbers of the likeliest captions, `[batch]`, of clips `[batch, frame, channel, height, width]`, by the
        probability that a clip has just a caption's words and pairs."""
        logits = torch.cat([self.network(shrunk(some)) for some in videos.split(BATCH_SIZE)])
        present, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        return (present @ self.table.T + absent @ (1 - self.table).T).argmax(dim=1)

    def right(self, videos: Tensor, captions: Sequence[str]) -> float:
        """The share of clips that read as the caption that they are said to have: 0 to 1."""
        numbers = {caption: number for number, caption in enumerate(self.captions)}
        told = torch.tensor([numbers[plain(caption)] for caption in captions])
        return (self.read(videos) == told).float().mean().item()


def phrases(caption: str) -> set[str]:
    """A caption's words, and its pairs of neighbouring words: 'left to right' has the words of 'right to left'."""
    words = caption.split()
    return {*words, *(f"{one} {other}" for one, other in pairwise(words))}


def plain(caption: str) -> str:
    """A caption's words; captions that differ in less say the same."""
    return " ".join(normalise(caption))


def train_reader(dataset: Dataset, *, steps: int | None = None, seed: int = 0, progress: bool = True) -> CaptionReader:
    """Train a reader on a data set's training clips.

    Its clips are blurred, faded, moved and noisy, more or less, as those are that it will be shown.

    Args:
        dataset: the training split, with captions.
        steps: of training; `STEPS` unless given.
        seed: of the weights, and of everything random.

    Raises:
        UserError: there are no captions, or all say the same.
    """
    steps = steps or STEPS
    captions = sorted({plain(caption) for caption in dataset.wordings()} - {""})
    if len(captions) < 2:
        raise UserError("a reader of captions needs clips with two captions or more that say something else")
    said = [phrases(caption) for caption in captions]
    words = sorted(set().union(*said) - said[0].intersection(*said[1:]))
    table = torch.tensor([[float(word in caption) for word in words] for caption in said])
    rows = {caption: row for row, caption in enumerate(captions)}
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = WordReader(*dataset.shape[:2], len(words))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in tqdm(range(steps), desc="reader of captions", unit="step", disable=not progress, leave=False):
        clips = streamed(dataset, step * BATCH_SIZE, BATCH_SIZE, seed)
        videos = spoilt(shrunk(unit(torch.from_numpy(clips.videos))), generator)
        target = torch.stack([table[rows[plain(caption)]] for caption in clips.captions or []])
        loss = functional.binary_cross_entropy_with_logits(network(videos), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return CaptionReader(network.eval().requires_grad_(False), captions, table)


def reading_report(
    model: DrawingModel, card: dict[str, Any], *, data: str | None, samples: int, seed: int, temperature: float
) -> Report:
    """The share of samples that read as the caption they were drawn for, beside held-out real clips and chance.

    Captions that a training clip has are seen, the others unseen. Each gets as many samples as any other.

    Raises:
        UserError: the clips have no captions, or all say the same.
    """
    splits: tuple[Split, ...] = ("train", "validation", "test")
    train = data_of(card, data, "train")
    told: dict[Split, list[str]] = {}
    held: list[tuple[Tensor, list[str]]] = []
    for split in splits:
        try:
            dataset = train if split == "train" else data_of(card, data, split)
        except UserError:
            continue  # a small folder may lack it
        clips = dataset.take(np.arange(min(len(dataset) or MOST_HELD, MOST_HELD), dtype=np.int64))
        told[split] = dataset.told() if isinstance(dataset, PreparedClips) else clips.captions or []
        if split != "train":
            held.append((unit(torch.from_numpy(clips.videos)), clips.captions or []))
    reader = train_reader(train, seed=seed)
    seen = {plain(caption) for caption in told["train"]}
    known = {plain(caption): caption for captions in told.values() for caption in captions}
    kinds = {
        "seen": [caption for words, caption in sorted(known.items()) if words in seen],
        "unseen": [caption for words, caption in sorted(known.items()) if words not in seen],
    }
    chance = 1 / len(reader.captions)
    values: dict[str, Any] = {"samples": samples, "seed": seed, "temperature": temperature, "chance": chance,
                              "captions": len(reader.captions)}  # fmt: skip
    lines = [f"a reader of {len(reader.captions)} captions, trained on real clips alone; seed {seed}, temperature "
             f"{temperature:g}; clips that read as their own caption, percent", ""]  # fmt: skip
    rows = [(f"held-out real clips ({sum(len(texts) for _, texts in held)})", "real", held)] if held else []
    for kind, captions in kinds.items():
        if captions:
            wanted = [captions[number % len(captions)] for number in range(samples)]
            drawn = torch.cat(list(sample_batches(model, wanted, seed, temperature)))
            rows.append((f"samples for {len(captions)} {kind} captions ({samples})", kind, [(drawn, wanted)]))
    for name, key, measured in rows:
        count = sum(len(texts) for _, texts in measured)
        values[key] = sum(reader.right(videos, texts) * len(texts) for videos, texts in measured) / count
        lines.append(f"{name:<48}{100 * values[key]:6.1f}")
    lines.append(f"{'chance':<48}{100 * chance:6.1f}")
    return Report("\n".join(lines), values)


def spoilt(videos: Tensor, generator: torch.Generator) -> Tensor:
    """Clips `[batch, frame, channel, height, width]` as they may look when a model has drawn them, in [0, 1]."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(videos), 1, 1, 1, 1, generator=generator)

    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    square = torch.outer(kernel, kernel)[None, None]
    frames = videos.reshape(-1, 1, *videos.shape[3:])
    frames = functional.conv2d(functional.pad(frames, (2, 2, 2, 2), mode="replicate"), square)
    videos = videos + uniform(0, 1) * (frames.reshape(videos.shape) - videos)
    mean = videos.mean(dim=(1, 3, 4), keepdim=True)
    videos = mean + uniform(0.6, 1.1) * (videos - mean)
    videos = videos + uniform(0, 0.03) * torch.randn(videos.shape, generator=generator)
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    return videos.roll((down, right), dims=(3, 4)).clamp(0, 1)
