"""From the name of a source to its clips: a model's, real ones, or those in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncdraw import pretrained
from syncdraw.apps.rating.study import KTH, ONE_DIGIT, TWO_DIGITS, Source
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.clips import Dataset
from syncdraw.datasets.prepared import PreparedClips, read_about
from syncdraw.datasets.video_folder import find_clips
from syncdraw.errors import UserError
from syncdraw.evaluation.reports import data_of
from syncdraw.evaluation.samples import sample_batches
from syncdraw.reading import read_settings
from syncdraw.video import read_video

REAL = "real:"

_MOST_PIXELS = 1 << 25  # in all frames of a clip: more takes minutes to load on a telephone


class RealClips:
    """The real clips of one data set, each given out once, in an order that depends on the seed alone."""

    def __init__(self, place: str, length: int, fetch: Callable[[int], Tensor], seed: int) -> None:
        self._place = place
        self._fetch = fetch
        self._left = np.random.default_rng(seed).permutation(length).tolist()
        self.length = length

    def take(self, count: int) -> list[Tensor]:
        """The next clips, `[frame, channel, height, width]` in [0, 1] each.

        Raises:
            UserError: there are not so many left.
        """
        if count > len(self._left):
            given = self.length - len(self._left)
            raise UserError(
                f"{self._place} has {self.length} clips, but {given + count} are needed, for rating and as examples; "
                "add clips, or ask for fewer with --clips and --examples"
            )
        taken, self._left = self._left[:count], self._left[count:]
        return [self._fetch(number) for number in taken]


@dataclass(frozen=True)
class Origin:
    """A source, the means to make its clips, and the real clips that stand beside them.

    Attributes:
        source: what the study keeps of it.
        data: names the data set of real clips; equal for sources that are to be compared with the same ones.
        open_real: opens these real clips, for a seed; None where nobody said what is real.
        draw: makes so many clips, with a seed; None for a source of real clips.
    """

    source: Source
    data: str
    open_real: Callable[[int], RealClips] | None
    draw: Callable[[int, int], list[Tensor]] | None


def find_source(text: str) -> Origin:
    """A source by what the organiser wrote: `[NAME=]MODEL`, `[NAME=]FOLDER`, `[NAME=]real:MODEL` or `real:FOLDER`.

    Nothing is drawn yet; but that there is such a model, or a clip in the folder, is known after it.

    Raises:
        UserError: there is no such model or folder, or no clip in it.
    """
    name, equals, what = text.partition("=")
    if not equals or Path(text).exists():
        name = what = text
    if not name.strip() or not what.removeprefix(REAL):
        raise UserError(f"source {text!r} is not complete: write NAME=SOURCE, or a model or a folder alone")
    real, place = what.startswith(REAL), what.removeprefix(REAL)
    folder = Path(place).expanduser()
    if place not in pretrained.shipped_models() and folder.is_dir() and not (folder / pretrained.CARD_FILE).exists():
        return _of_folder(name, folder, real)
    return _of_model(name, place, real)


def _of_folder(name: str, folder: Path, real: bool) -> Origin:
    paths = find_clips(folder)

    def open_clips(seed: int) -> RealClips:
        return RealClips(str(folder), len(paths), lambda number: _read(paths[number]), seed)

    source = Source(name, real=real)
    if real:
        return Origin(source, str(folder.resolve()), open_clips, None)
    return Origin(source, "", None, lambda count, seed: open_clips(seed).take(count))


def _read(path: Path) -> Tensor:
    clip = read_video(path)[0]
    frames, _, height, width = clip.shape
    if frames * height * width > _MOST_PIXELS:
        raise UserError(
            f"{path} is too large to be rated in a page: its frames have more than {_MOST_PIXELS:,} pixels in all; "
            "cut it, or make it smaller"
        )
    return clip


def _of_model(name: str, model: str, real: bool) -> Origin:
    card = pretrained.load_card(model)
    if "model" not in card:
        raise UserError(f"{model} is not a Sync-DRAW model; give a model that draws, or a folder of videos")
    column, data = _data_set(card)

    def test_split(**changes: str) -> Dataset:
        if not data:
            raise UserError(
                f"the config.json of {model} does not say what it was trained on, so it has no test clips: give real "
                "clips as real:FOLDER, and leave out what needs the model's own"
            )
        return data_of(card, None, "test", **changes)

    captions = pretrained.model_config(card, f"the config.json of {model}, model").captioned
    # Captions that training has not shown, where some were kept from it (v2, section 4.5).
    kept = {"combinations": "unseen"} if card.get("bouncing", {}).get("combinations") == "seen" else {}

    def open_clips(seed: int) -> RealClips:
        dataset = _everything(test_split())
        return RealClips(f"the test split of {data}", len(dataset), lambda number: _clip(dataset, number), seed)

    def draw(count: int, seed: int) -> list[Tensor]:
        network = pretrained.load_any(model)
        texts = _captions(test_split(**kept), count, seed) if captions else [""] * count
        return list(torch.cat(list(sample_batches(network, texts, seed))))

    source = Source(name, real=real, captions=captions and not real, column=column)
    return Origin(source, data, open_clips, None if real else draw)


def _everything(dataset: Dataset) -> Dataset:
    """The same data with all combinations of digits and motions: which of them a model saw is no matter here."""
    if isinstance(dataset, BouncingMNIST):
        return BouncingMNIST(_without_split(dataset.config), dataset.split)
    if isinstance(dataset, PreparedClips):
        return PreparedClips(dataset.folder, dataset.split, captions=False)
    return dataset


def _without_split(config: BouncingMNISTConfig) -> BouncingMNISTConfig:
    return replace(config, combinations="all", extra_motions=0.0, clips=0)


def _data_set(card: dict[str, Any]) -> tuple[str | None, str]:
    """The paper's column for what a model was trained on, and a name that models of the same data share."""
    data = card.get("data", "")
    if data == "bouncing_mnist":
        config = _without_split(read_settings(BouncingMNISTConfig, card.get("bouncing", {}), "config.json, bouncing"))
        column = {1: ONE_DIGIT, 2: TWO_DIGITS}.get(config.digits) if config.glyphs is None else None
        return column, f"{data} {config}"
    folder = Path(data)
    try:
        kth = bool(data) and read_about(folder).get("kind") == "kth"
    except UserError:  # the data is elsewhere; that matters only where real clips or captions are asked for
        kth = False
    return KTH if kth else None, data


def _captions(dataset: Dataset, count: int, seed: int) -> list[str]:
    """The captions of so many clips; where there are fewer clips, some serve twice."""
    numbers = np.resize(np.random.default_rng(seed).permutation(len(dataset)), count)
    captions = dataset.take(numbers).captions
    if captions is None:
        raise UserError("the model draws from captions, but the clips that it was trained on have none any more")
    return captions


def _clip(dataset: Dataset, number: int) -> Tensor:
    return torch.from_numpy(dataset.take(np.array([number], np.int64)).videos[0]).float() / 255
