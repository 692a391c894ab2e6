"""Readers of captions, for clips that the judge cannot read: which of a data set's captions is a clip's own?

They are trained on real clips alone and then frozen, so that the same measure holds for real clips and for drawn ones.
There are two, each trained on one half of the files of all splits. So each can say how well it reads files that it does
not know, and both know what a caption shows that the model has never seen, as long as two files show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from syncdraw.datasets.clips import Dataset, spread
from syncdraw.datasets.prepared import PreparedClips
from syncdraw.errors import UserError
from syncdraw.evaluation.distances import unit
from syncdraw.evaluation.frozen import fit
from syncdraw.words import normalise

STEPS, BATCH_SIZE = 250, 32
"""Of a reader's training; where there are many captions, it takes two steps for each."""

MOST_FILES, MOST_CLIPS = 2000, 1000
"""Of a split that are read: places in files, and clips that are cut there."""

_SIZE = 32
"""Pixels of a frame's longer side, as the reader sees it."""


class WordReader(nn.Module):
    """How much a clip looks like each word, and each pair of words, of captions.

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
        """Scores `[batch, word]` of clips `[batch, frame, channel, height, width]` in [0, 1], made by `shrunk`."""
        seen = torch.cat([frames - 0.5, 3 * frames.diff(dim=1)], dim=1).flatten(1, 2)
        features = self.layers(seen).flatten(2)
        scores: Tensor = self.words(torch.cat([features.mean(dim=2), features.amax(dim=2)], dim=1))
        return scores


def shrunk(videos: Tensor) -> Tensor:
    """Clips `[batch, frame, channel, height, width]`, the longer side of a frame 32 pixels."""
    height, width = videos.shape[3:]
    sides = [max(8, round(side * _SIZE / max(height, width))) for side in (height, width)]
    return functional.interpolate(videos.flatten(1, 2), sides, mode="area").unflatten(1, videos.shape[1:3])


@dataclass(frozen=True)
class RealClips:
    """Real clips, as a reader sees them.

    Attributes:
        videos: `[clip, frame, channel, height, width]` in [0, 1], made by `shrunk`.
        captions: of each, `plain`.
        files: that each is cut from.
    """

    videos: Tensor
    captions: list[str]
    files: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def only(self, wanted: Sequence[bool]) -> RealClips:
        """Those that are wanted."""
        rows = [row for row, want in enumerate(wanted) if want]
        return RealClips(self.videos[rows], [self.captions[row] for row in rows], [self.files[row] for row in rows])


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
    def scores(self, videos: Tensor) -> Tensor:
        """The logarithm of the probability that a caption is the clip's, `[batch, caption]`, of clips
        `[batch, frame, channel, height, width]`, made by `shrunk`."""
        words = torch.cat([self.network(some) for some in videos.split(BATCH_SIZE)])
        return functional.log_softmax(words @ self.table.T, dim=1)

    def read(self, videos: Tensor) -> list[str]:
        """The likeliest captions of clips `[batch, frame, channel, height, width]`, made by `shrunk`."""
        return [self.captions[number] for number in self.scores(videos).argmax(dim=1)]


def phrases(caption: str) -> set[str]:
    """A caption's words, and its pairs of neighbouring words: 'left to right' has the words of 'right to left'."""
    words = caption.split()
    return {*words, *(f"{one} {other}" for one, other in pairwise(words))}


def plain(caption: str) -> str:
    """A caption's words; captions that differ in less say the same."""
    return " ".join(normalise(caption))


def real_clips(dataset: Dataset, seed: int = 0) -> RealClips:
    """Clips of one split: of each file several, from anywhere in it, where there are few files."""
    chosen = spread(len(dataset), MOST_FILES)
    if not isinstance(dataset, PreparedClips):
        found = dataset.take(chosen)
        videos, captions, files = [found.videos], found.captions or [], [str(number) for number in chosen]
    else:
        varied = PreparedClips(dataset.folder, dataset.split, dataset.captioned, varied=True)
        epochs = range(max(1, min(16, MOST_CLIPS // len(chosen))))
        taken = [varied.take(chosen, seed, epoch) for epoch in epochs]
        videos, captions = [clips.videos for clips in taken], [text for clips in taken for text in clips.captions or []]
        files = [varied.records[number].hash for _ in epochs for number in chosen]
    small = torch.cat([shrunk(unit(torch.from_numpy(some))) for array in videos for some in np.array_split(array, 8)])
    return RealClips(small, [plain(caption) for caption in captions], files)


def dealt(clips: RealClips) -> list[int]:
    """In which half each clip's file is, 0 or 1: the files of a caption are dealt out in turn."""
    halves: dict[str, int] = {}
    for _, file in sorted(set(zip(clips.captions, clips.files, strict=True))):
        halves.setdefault(file, len(halves) % 2)
    return [halves[file] for file in clips.files]


def train_reader(
    clips: RealClips, captions: Sequence[str], *, steps: int | None = None, seed: int = 0, progress: bool = True
) -> CaptionReader:
    """Train a reader on real clips, of each caption as many as of any other.

    They are blurred, faded, moved and noisy, more or less, as those are that it will be shown. A caption's score is the
    sum of those of its words and pairs, so that captions which share words are learned together.

    Args:
        captions: from which it is to choose, `plain`, each once.
        steps: of training.
        seed: of the weights, and of everything random.

    Raises:
        UserError: there are no captions, or all say the same; or there is no clip.
    """
    steps = steps or max(STEPS, 2 * len(captions))
    if len(set(captions) - {""}) < 2:
        raise UserError("a reader of captions needs clips with two captions or more that say something else")
    if not len(clips):
        raise UserError("a reader of captions is trained on one half of the files, so it needs two files or more")
    said = [phrases(caption) for caption in captions]
    words = sorted(set().union(*said) - said[0].intersection(*said[1:]))
    table = torch.tensor([[float(word in caption) for word in words] for caption in said])
    rows = {caption: row for row, caption in enumerate(captions)}
    targets = torch.tensor([rows[caption] for caption in clips.captions])
    counts = Counter(clips.captions)
    weights = torch.tensor([1 / counts[caption] for caption in clips.captions])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = WordReader(clips.videos.shape[1], clips.videos.shape[2], len(words))

    def loss(_: int) -> Tensor:
        chosen = torch.multinomial(weights, BATCH_SIZE, replacement=True, generator=generator)
        scores = network(spoilt(clips.videos[chosen], generator))
        return functional.cross_entropy(scores @ table.T, targets[chosen])

    bar = tqdm(range(steps), desc="reader of captions", unit="step", disable=not progress, leave=False)
    fit(network, loss, bar, learning_rate=4e-3)
    return CaptionReader(network.eval().requires_grad_(False), list(captions), table)


@dataclass(frozen=True)
class Readers:
    """Two readers, and the real clips that they were trained on.

    Attributes:
        readers: of the first half of the files, and of the second.
        clips: of all splits.
        halves: in which of the two each clip's file is.
    """

    readers: tuple[CaptionReader, CaptionReader]
    clips: RealClips
    halves: list[int]

    @property
    def captions(self) -> list[str]:
        """Those that both choose from."""
        return self.readers[0].captions

    @staticmethod
    def trained(clips: RealClips, *, steps: int | None = None, seed: int = 0, progress: bool = True) -> Readers:
        """Train both; the errors are those of `train_reader`."""
        captions, halves = sorted(set(clips.captions)), dealt(clips)
        one, other = (
            train_reader(clips.only([half == mine for half in halves]), captions, steps=steps, seed=seed + mine,
                         progress=progress)
            for mine in (0, 1)
        )  # fmt: skip
        return Readers((one, other), clips, halves)

    def read_real(self) -> list[str]:
        """The captions of the real clips, each read by the reader that does not know its file."""
        first, second = (reader.read(self.clips.videos) for reader in self.readers)
        return [second[row] if half == 0 else first[row] for row, half in enumerate(self.halves)]

    def read(self, videos: Tensor) -> list[str]:
        """What both together take for the likeliest captions of clips `[batch, frame, channel, height, width]`."""
        small = shrunk(videos)
        one, other = self.readers
        return [self.captions[row] for row in (one.scores(small) + other.scores(small)).argmax(dim=1)]


def together(clips: Sequence[RealClips]) -> RealClips:
    """All of them as one."""
    return RealClips(
        torch.cat([some.videos for some in clips]),
        [caption for some in clips for caption in some.captions],
        [file for some in clips for file in some.files],
    )


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
    videos = mean + uniform(0.8, 1.1) * (videos - mean)
    videos = videos + uniform(0, 0.03) * torch.randn(videos.shape, generator=generator)
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    return videos.roll((down, right), dims=(3, 4)).clamp(0, 1)
