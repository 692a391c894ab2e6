"""What a prepared folder holds, and how a training run reads it.

A prepared folder has three files: `frames.npy`, one uint8 array `[frame, channel, height, width]` of whole sequences
one after another, which is mapped into memory and never read whole; `manifest.jsonl`, one line a sequence in the same
order (its source file, its first frame there and its length, the source's hash, size and time of change, its captions,
its split); and `prepared.json`, the settings, a fingerprint of the sources, and the report of the preparation.

Clips are cut from the sequences when they are asked for: `windows.py` says which frames they have.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.clips import Clips, Dataset, shuffled
from syncdraw.datasets.windows import (
    ROUTES,
    Window,
    choose_frames,
    exchange_sides,
    may_be_mirrored,
    plain_window,
    vary,
    with_route,
)
from syncdraw.errors import UserError
from syncdraw.reading import read_regular, read_settings

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Fit = Literal["pad", "crop", "stretch"]
Choice = Literal["neighbours", "spread", "random"]
Mirror = Literal["never", "unsided", "exchanged"]

FORMAT = 2
_ABOUT_BYTES, _MANIFEST_BYTES = 2**28, 2**31  # no report and no list of files is longer
FRAMES, MANIFEST, ABOUT = "frames.npy", "manifest.jsonl", "prepared.json"


@dataclass(frozen=True)
class ClipConfig:
    """How the frames of a file are stored, and what is cut from them.

    Files are stored whole, as `channels`, `height`, `width`, `fit`, `ground` and `travel` say. All else is about the
    clips that are cut from them when they are asked for; to change it, prepare again, which decodes them only if other
    files are now long enough.

    Attributes:
        frames: frames in a clip.
        channels: 1 for grey, 3 for red, green, blue.
        height: rows of pixels.
        width: columns of pixels.
        fit: how a frame of another shape becomes `height` x `width`: `pad` shrinks or grows it until it fits and fills
            the rest with zeros (or the ground, where one is chosen), `crop` keeps the middle of a frame that covers
            the rectangle, `stretch` changes its proportions.
        ground: on which transparent parts lie: a colour, by its name or as #rrggbb; or `random`, another colour in each
            clip for training, and white in the others. For those who have sprites or emoji.
        travel: pictures take up this share of the frame's height and width, with the ground around them. In each clip
            they cross the frame, left to right, right to left, down or up, or stay in the middle; captions say so, as
            in 'a cat is waving, moving left to right'. 0 for pictures that fill the frame. For those who have sprites
            or emoji.
        choice: which frames of the file: `neighbours`, a run that starts at a place drawn at random; `spread`, evenly
            spaced from the first to the last; `random`, drawn at random and kept in order (v1, section 4.4).
        stride: for `neighbours`, frames of the file from one frame of the clip to the next; 2 halves the frame rate.
        largest_stride: for `neighbours`, clips for training have any stride from `stride` to this one that fits the
            file; 0 for `stride` alone. For those whose scenes may as well be faster, or who have few files.
        clips_per_file: at most so many clips of one file in an epoch; 0 for as many as fit beside each other, so that
            an epoch shows each file in proportion to its length. A file that is long enough gives one at least.
        fixed: clips for training are the same in every epoch, as in the papers, and no two of a file overlap. Otherwise
            each epoch draws them anew, from anywhere in the file. Clips of validation and test are always fixed.
        loop: for `neighbours`, the last frame is followed by the first, so a clip may begin at any frame and be longer
            than the file. For those whose files loop without a jump, as many GIFs do.
        mirror: whether half of the clips for training are mirrored: `never`; `unsided`, where no caption of the file
            has 'left' or 'right'; `exchanged`, everywhere, with 'left' and 'right' exchanged in the captions. A file
            whose caption says 'clockwise' is never mirrored. For those whose scenes are as likely the other way round;
            where writing is seen, they are not.
        shift: clips for training are moved by up to so many pixels, up or down and to a side. For those who filmed by
            hand: with a camera that stood still, the place would no longer be where it is.
        brightness: clips for training are made brighter or darker by up to this share, 0.1 for a tenth. For those whose
            new films will not have the light of the old ones.
        seed: of the choice of fixed clips. The same file and seed give the same frames, whatever its name or
            neighbours.
        validation_share: of the files, where the data set has no split of its own. The hash of a file's content
            decides, so that copies stay together; of a thousand files and more it alone, so that further files do not
            move it, of fewer such that each split gets its share (of 30 files 24, 3 and 3), and one at least.
        test_share: likewise.

    Raises:
        UserError: a value is out of range.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    frames: int = 10
    channels: int = 1
    height: int = 64
    width: int = 64
    fit: Fit = "pad"
    ground: str = "white"
    travel: float = 0.0
    choice: Choice = "neighbours"
    stride: int = 1
    largest_stride: int = 0
    clips_per_file: int = 1
    fixed: bool = False
    loop: bool = False
    mirror: Mirror = "never"
    shift: int = 0
    brightness: float = 0.0
    seed: int = 0
    validation_share: float = 0.1
    test_share: float = 0.1

    def __post_init__(self) -> None:
        for field in ("frames", "height", "width", "stride"):
            if getattr(self, field) < 1:
                raise UserError(f"{field} is {getattr(self, field)}; it must be 1 or more")
        if self.channels not in (1, 3):
            raise UserError(f"channels is {self.channels}; it must be 1 (grey) or 3 (red, green, blue)")
        for field, known in (("fit", get_args(Fit)), ("choice", get_args(Choice)), ("mirror", get_args(Mirror))):
            if getattr(self, field) not in known:
                raise UserError(f"{field} is {getattr(self, field)!r}; it must be one of {', '.join(known)}")
        check_ground(self.ground)
        if not 0 <= self.travel < 1 or (self.travel and min(*self.inner, *self.room) < 1):
            raise UserError(
                f"travel is {self.travel}; it must be 0, or a share between 0 and 1 that leaves pixels to the picture "
                f"and around it in frames of {self.height} x {self.width}"
            )
        for field, usual in (("stride", 1), ("largest_stride", 0), ("loop", False)):
            if getattr(self, field) != usual and self.choice != "neighbours":
                raise UserError(
                    f"{field} is {getattr(self, field)}, but choice is {self.choice!r}; {field} needs choice neighbours"
                )
        if self.largest_stride and self.largest_stride < self.stride:
            raise UserError(
                f"largest_stride is {self.largest_stride}; it must be {self.stride} (the stride) or more, or 0 for it"
            )
        if not 0 <= self.shift < min(self.height, self.width):
            raise UserError(f"shift is {self.shift}; it must be 0 or more pixels, and less than height and width")
        if not 0 <= self.brightness < 1:
            raise UserError(f"brightness is {self.brightness}; it must be 0 or more, and less than 1")
        if self.clips_per_file < 0 or self.seed < 0:
            raise UserError("clips_per_file and seed must be 0 or more")
        if not (self.validation_share >= 0 and self.test_share >= 0 and self.validation_share + self.test_share < 1):
            raise UserError("validation_share and test_share must be 0 or more, and leave something to train on")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)`."""
        return self.frames, self.channels, self.height, self.width

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width of what pictures are fitted into, pixels."""
        share = self.travel or 1
        return round(self.height * share), round(self.width * share)

    @property
    def room(self) -> tuple[int, int]:
        """Pixels above and below of that, and on both of its sides."""
        height, width = self.inner
        return (self.height - height) // 2, (self.width - width) // 2

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame; with a random ground it is stored on black and on white."""
        return self.channels * (2 if self.ground == "random" else 1), self.height, self.width

    @property
    def span(self) -> int:
        """Frames of the file from a clip's first to its last."""
        return (self.frames - 1) * self.stride + 1

    @property
    def least_frames(self) -> int:
        """Frames that a file must have for one clip; for a loop, two are enough."""
        return min(self.span, 2) if self.loop else self.span

    def clips_in(self, length: int) -> int:
        """Clips that a sequence of so many frames, `least_frames` or more, gives in an epoch."""
        fitting = max(1, length // self.span)
        return min(fitting, self.clips_per_file) if self.clips_per_file else fitting

    def split_of(self, hashed: str) -> Split:
        """The split of a file with this hash (hexadecimal); it does not depend on the other files."""
        place = int(hashed[:12], 16) / 16**12
        if place < self.test_share:
            return "test"
        return "validation" if place < self.test_share + self.validation_share else "train"


def check_ground(ground: str) -> None:
    """Raise UserError unless this is a colour, or `random`."""
    if ground in ("white", "random"):
        return
    from PIL import ImageColor  # only now, for hardly anybody needs it

    try:
        ImageColor.getrgb(ground)
    except ValueError:
        raise UserError(
            f"ground is {ground!r}; it must be a colour by its English name, such as grey, or as #rrggbb, or random"
        ) from None


@dataclass(frozen=True)
class SequenceRecord:
    """One line of the manifest: where a sequence came from.

    Attributes:
        source: the file, or the folder of frames, relative to the folder that was prepared.
        first: the number of the sequence's first frame in it, that of the file being 0.
        length: frames.
        hash: BLAKE2b of its content, hexadecimal.
        size: bytes.
        modified: time of its last change, nanoseconds since 1970; of a folder, a number that changes with its frames.
        split: `train`, `validation` or `test`.
        captions: none, one or several.
        measured: what the pixels said about the sequence, and its captions repeat (KTH: `right to left`); else empty.
    """

    source: str
    first: int
    length: int
    hash: str
    size: int
    modified: int
    split: Split
    captions: list[str]
    measured: str = ""

    def check(self) -> None:
        """Raise ValueError unless every field is what it has to be."""
        # Not by the reader of settings: names of files may hold what is no Unicode.
        for name in ("first", "length", "size", "modified"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < 2**63:
                raise ValueError(f"{name} is {str(value)[:60]!r}")
        texts = (self.source, self.hash, self.measured, *self.captions)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.captions, list):
            raise ValueError("it holds something else in the place of text")
        if not re.fullmatch("[0-9a-f]{1,128}", self.hash) or self.split not in SPLITS:
            raise ValueError(f"hash is {self.hash[:60]!r}, split {self.split!r}")


def read_about(folder: Path) -> dict[str, Any]:
    """The content of `prepared.json`.

    Raises:
        UserError: `folder` is not a prepared folder, or from a version of syncdraw with another format.
    """
    try:
        if not os.path.lexists(folder / ABOUT):
            raise UserError(f"{folder} is not a prepared folder (it has no {ABOUT}); make one with syncdraw prepare")
        about = json.loads(read_regular(folder / ABOUT, _ABOUT_BYTES).decode())
        found = about["format"]
        if found == FORMAT:
            read_settings(ClipConfig, about["config"], str(folder / ABOUT))
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / ABOUT} is damaged ({error}); prepare the folder anew") from error
    if found != FORMAT:
        raise UserError(
            f"{folder} was prepared by another version of syncdraw (it has format {found}, this version reads "
            f"{FORMAT}); prepare it anew with syncdraw prepare"
        )
    return cast(dict[str, Any], about)


def read_manifest(folder: Path) -> list[SequenceRecord]:
    """All sequences of a prepared folder, in the order of `frames.npy`.

    Raises:
        UserError: a line is damaged.
    """
    known = {field.name for field in fields(SequenceRecord)}
    records = []
    path = folder / MANIFEST
    try:
        lines = read_regular(path, _MANIFEST_BYTES).splitlines()
    except UserError as error:
        raise UserError(f"{error}; prepare the folder anew") from error
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            record = SequenceRecord(**{name: values[name] for name in values if name in known})
            record.check()
            records.append(record)
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path}, line {number}, is damaged ({error}); prepare the folder anew") from error
    return records


class PreparedClips:
    """One split of a prepared folder, as a `Dataset`.

    Frames are copied out of the memory-mapped array when they are asked for; nothing else of it is held in memory.

    Args:
        folder: made by `prepare`.
        split: `train`, `validation` or `test`.
        captions: True keeps the clips that have a caption and hands out captions; False keeps every clip and hands out
            none; None means True if any clip of the folder has a caption.
        varied: `take` with a seed draws windows anew in each epoch; None means True for training alone.

    Attributes:
        records: the `SequenceRecord` of what each clip is cut from, in order.
        config: the `ClipConfig` that the folder was prepared with.

    Raises:
        UserError: `folder` is not a prepared folder or is damaged, or no clip of it fits `split` and `captions`.
    """

    def __init__(
        self, folder: str | Path, split: Split = "train", captions: bool | None = None, varied: bool | None = None
    ) -> None:
        self.folder = Path(folder)
        self.split = split
        self.varied = split == "train" if varied is None else varied
        if split not in SPLITS:
            raise UserError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
        self.config = ClipConfig(**read_about(self.folder)["config"])
        records = read_manifest(self.folder)
        try:
            # As a plain array: indexing a memmap object costs three times as much.
            if not (self.folder / FRAMES).is_file():
                raise ValueError("it is missing, or no regular file")
            self._frames: NDArray[np.uint8] = np.asarray(np.load(self.folder / FRAMES, mmap_mode="r"))
        except Exception as error:  # of the parser of a damaged header, too
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self.folder / FRAMES} is damaged ({reason}); prepare the folder anew") from error
        lengths = [record.length for record in records]
        shape = (sum(lengths), *self.config.stored_shape)
        whole = self._frames.shape == shape and self._frames.dtype == np.dtype("u1")
        if not whole or min(lengths, default=0) < self.config.least_frames:
            raise UserError(f"{self.folder / FRAMES} does not fit its manifest; prepare the folder anew")

        self.captioned = any(record.captions for record in records) if captions is None else captions
        clips = [self.config.clips_in(length) for length in lengths]
        rows = [row for row, record in enumerate(records) if record.captions or not self.captioned]
        held = Counter({name: sum(clips[row] for row in rows if records[row].split == name) for name in SPLITS})
        if not held[split]:
            counts = ", ".join(f"{held[name]} for {name}" for name in SPLITS)
            what = "clip with a caption" if self.captioned else "clip"
            raise UserError(f"{self.folder} has no {what} for {split} ({counts}); add clips or change the shares")
        starts = np.cumsum([0, *lengths])
        # What each clip is cut from: the row of its sequence, and which of the sequence's clips it is.
        cut = [(row, number) for row in rows if records[row].split == split for number in range(clips[row])]
        self._starts = np.array([starts[row] for row, _ in cut], dtype=np.int64)
        self._numbers = np.array([number for _, number in cut], dtype=np.int64)
        self.records = [records[row] for row, _ in cut]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of every clip."""
        return self.config.shape

    def take(
        self,
        indices: NDArray[np.int64],
        seed: int | None = None,
        epochs: NDArray[np.int64] | int = 0,
    ) -> Clips:
        """The clips with these numbers, in this order.

        Args:
            indices: `[batch]`, each 0 or more and less than the length.
            seed: what is drawn anew in each epoch depends on it, on the epoch and on the clip's number, and on nothing
                else: the window and its variations, where they vary; and, in all splits, which caption a clip with
                several of them gets. None gives fixed windows, unvaried, and each clip's first caption.
            epochs: of each clip, or one for all.
        """
        videos = np.empty((len(indices), *self.shape), np.uint8)
        captions = []
        for place, (index, epoch) in enumerate(zip(indices, np.broadcast_to(epochs, len(indices)), strict=True)):
            window, caption = self._draw(int(index), seed, int(epoch))
            videos[place] = window.show(self._frames[self._starts[index] + window.frames])
            captions.append(caption)
        return Clips(videos, captions if self.captioned else None)

    def window(self, index: int, seed: int | None = None, epoch: int = 0) -> Window:
        """What `take` shows in the clip with this number."""
        return self._draw(index, seed, epoch)[0]

    def _draw(self, index: int, seed: int | None, epoch: int) -> tuple[Window, str]:
        """The window and the caption of a clip; a caption of '' for a clip that has none."""
        record, number, config = self.records[index], int(self._numbers[index]), self.config
        # A negative index names the same clip as its positive twin, and must give the same.
        random = np.random.default_rng((seed or 0, epoch, index % len(self)))
        varied = seed is not None and self.varied
        anywhere = varied and not config.fixed
        fixed = (config.seed, int(record.hash, 16), record.first, number)
        chosen = random if anywhere else np.random.default_rng(fixed)
        frames = choose_frames(record.length, number, config, chosen, anywhere)
        window = vary(frames, record.captions, config, random) if varied else plain_window(frames, config, chosen)
        captions = record.captions or [""]
        return window, window.caption(captions[0 if seed is None else random.integers(len(captions))])

    def wordings(self) -> list[str]:
        """The captions of all splits, of their mirror images where there can be some, and of all routes.

        A word that is in no training clip means nothing to a model that is trained on them, but held-out captions can
        be read; a frozen encoder is the way to words that were not trained on.
        """
        return _told(read_manifest(self.folder), self.config, mirrored=True)

    def told(self) -> list[str]:
        """The captions of this split, of all routes, and in training of the mirror images that it has."""
        return _told(self.records, self.config, mirrored=self.split == "train")

    def __reduce__(self) -> tuple[type[PreparedClips], tuple[Path, Split, bool, bool]]:
        """Sent to another process, the data set opens its files there; the array itself does not travel."""
        return PreparedClips, (self.folder, self.split, self.captioned, self.varied)


def _told(records: Sequence[SequenceRecord], config: ClipConfig, mirrored: bool) -> list[str]:
    """The captions of records on all routes, with those of the mirror images that the config allows, or without."""
    told = [text for record in records for text in record.captions]
    turned = [record for record in records if mirrored and may_be_mirrored(record.captions, config)]
    told += [other for record in turned for text in record.captions if (other := exchange_sides(text)) != text]
    return [with_route(text, route) for route in (ROUTES if config.travel else ("",)) for text in told]


def streamed(dataset: Dataset, start: int, count: int, seed: int, share: slice = slice(None)) -> Clips:
    """Clips `start` to `start + count` of the endless shuffled stream over a data set; of prepared clips, with other
    windows in each epoch.

    Args:
        seed: of the order, and of the windows.
        share: only these of them.
    """
    indices = shuffled(len(dataset), start, count, seed)[share]
    if isinstance(dataset, PreparedClips):
        return dataset.take(indices, seed, (start + np.arange(count)[share]) // len(dataset))
    return dataset.take(indices)
