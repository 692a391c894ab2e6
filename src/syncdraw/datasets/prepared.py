"""What a prepared folder holds, and how a training run reads it.

A prepared folder has three files: `clips.npy`, one uint8 array `[clip, frame, channel, height, width]` that is mapped
into memory and never read whole; `manifest.jsonl`, one line a clip in the same order (its source file, the numbers of
its frames, the source's hash, size and time of change, its captions, its split); and `prepared.json`, the settings, a
fingerprint of the sources, and the report of the preparation.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.clips import Clips
from syncdraw.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Fit = Literal["pad", "crop", "stretch"]
Choice = Literal["neighbours", "spread", "random"]

FORMAT = 1
CLIPS, MANIFEST, ABOUT = "clips.npy", "manifest.jsonl", "prepared.json"


@dataclass(frozen=True)
class ClipConfig:
    """What is cut from each file, and how.

    Attributes:
        frames: frames in a clip.
        channels: 1 for grey, 3 for red, green, blue.
        height: rows of pixels.
        width: columns of pixels.
        fit: how a frame of another shape becomes `height` x `width`: `pad` shrinks or grows it until it fits and fills
            the rest with zeros, `crop` keeps the middle of a frame that covers the rectangle, `stretch` changes its
            proportions.
        choice: which frames of the file: `neighbours`, a run that starts at a place drawn at random; `spread`, evenly
            spaced from the first to the last; `random`, drawn at random and kept in order (v1, section 4.4).
        stride: for `neighbours`, frames of the file from one frame of the clip to the next; 2 halves the frame rate.
        clips_per_file: at most so many clips are cut from one file, each from its own equal share of it; 0 for as many
            as fit.
        seed: of all random choices. The same file and seed give the same frames, whatever its name or neighbours.
        validation_share: of the files, where the data set has no split of its own. The hash of a file's content
            decides, so that copies stay together; of a thousand files and more it alone, so that further files do not
            move it, of fewer such that each split gets its share (of 30 files 24, 3 and 3), and one at least.
        test_share: likewise.

    Raises:
        UserError: a value is out of range.
    """

    frames: int = 10
    channels: int = 1
    height: int = 64
    width: int = 64
    fit: Fit = "pad"
    choice: Choice = "neighbours"
    stride: int = 1
    clips_per_file: int = 1
    seed: int = 0
    validation_share: float = 0.1
    test_share: float = 0.1

    def __post_init__(self) -> None:
        for field in ("frames", "height", "width", "stride"):
            if getattr(self, field) < 1:
                raise UserError(f"{field} is {getattr(self, field)}; it must be 1 or more")
        if self.channels not in (1, 3):
            raise UserError(f"channels is {self.channels}; it must be 1 (grey) or 3 (red, green, blue)")
        for field, known in (("fit", get_args(Fit)), ("choice", get_args(Choice))):
            if getattr(self, field) not in known:
                raise UserError(f"{field} is {getattr(self, field)!r}; it must be one of {', '.join(known)}")
        if self.stride > 1 and self.choice != "neighbours":
            raise UserError(f"stride is {self.stride}, but choice is {self.choice!r}; a stride needs choice neighbours")
        if self.clips_per_file < 0 or self.seed < 0:
            raise UserError("clips_per_file and seed must be 0 or more")
        if not (self.validation_share >= 0 and self.test_share >= 0 and self.validation_share + self.test_share < 1):
            raise UserError("validation_share and test_share must be 0 or more, and leave something to train on")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)`."""
        return self.frames, self.channels, self.height, self.width

    @property
    def span(self) -> int:
        """Frames that a file must have for one clip."""
        return (self.frames - 1) * self.stride + 1

    def split_of(self, hashed: str) -> Split:
        """The split of a file with this hash (hexadecimal); it does not depend on the other files."""
        place = int(hashed[:12], 16) / 16**12
        if place < self.test_share:
            return "test"
        return "validation" if place < self.test_share + self.validation_share else "train"


@dataclass(frozen=True)
class ClipRecord:
    """One line of the manifest: where a clip came from.

    Attributes:
        source: the file, or the folder of frames, relative to the folder that was prepared.
        frames: the numbers of the clip's frames in it, the first frame being 0.
        hash: BLAKE2b of its content, hexadecimal.
        size: bytes.
        modified: time of its last change, nanoseconds since 1970; of a folder, a number that changes with its frames.
        split: `train`, `validation` or `test`.
        captions: none, one or several.
        measured: what the pixels said about the clip, and its captions repeat (KTH: `right to left`); else empty.
    """

    source: str
    frames: list[int]
    hash: str
    size: int
    modified: int
    split: Split
    captions: list[str]
    measured: str = ""


def read_about(folder: Path) -> dict[str, Any]:
    """The content of `prepared.json`.

    Raises:
        UserError: `folder` is not a prepared folder, or from a version of syncdraw with another format.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        found = about["format"]
        ClipConfig(**about["config"])
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a prepared folder (it has no {ABOUT}); make one with syncdraw prepare"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / ABOUT} is damaged ({error}); prepare the folder anew") from error
    if found != FORMAT:
        raise UserError(f"{folder} has cache format {found}, this version of syncdraw reads {FORMAT}; prepare it anew")
    return cast(dict[str, Any], about)


def read_manifest(folder: Path) -> list[ClipRecord]:
    """All clips of a prepared folder, in the order of `clips.npy`.

    Raises:
        UserError: a line is damaged.
    """
    known = {field.name for field in fields(ClipRecord)}
    records = []
    path, number = folder / MANIFEST, 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 (the message names it)
                values = json.loads(line)
                records.append(ClipRecord(**{name: values[name] for name in values if name in known}))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}, line {number}, is damaged ({error}); prepare the folder anew") from error
    return records


class PreparedClips:
    """One split of a prepared folder, as a `Dataset`.

    Clips are copied out of the memory-mapped array when they are asked for; nothing else of it is held in memory.

    Args:
        folder: made by one of the `prepare_*` functions.
        split: `train`, `validation` or `test`.
        captions: True keeps the clips that have a caption and hands out captions; False keeps every clip and hands out
            none; None means True if any clip of the folder has a caption.

    Attributes:
        records: the `ClipRecord` of each clip, in order.
        config: the `ClipConfig` that the folder was prepared with.

    Raises:
        UserError: `folder` is not a prepared folder or is damaged, or no clip of it fits `split` and `captions`.
    """

    def __init__(self, folder: str | Path, split: Split = "train", captions: bool | None = None) -> None:
        self.folder = Path(folder)
        self.split = split
        if split not in SPLITS:
            raise UserError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
        self.config = ClipConfig(**read_about(self.folder)["config"])
        records = read_manifest(self.folder)
        try:
            # As a plain array: indexing a memmap object costs three times as much.
            self._videos: NDArray[np.uint8] = np.asarray(np.load(self.folder / CLIPS, mmap_mode="r"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.folder / CLIPS} is damaged ({error}); prepare the folder anew") from error
        if self._videos.shape != (len(records), *self.config.shape):
            raise UserError(f"{self.folder / CLIPS} does not fit its manifest; prepare the folder anew")

        self.captioned = any(record.captions for record in records) if captions is None else captions
        usable = [row for row, record in enumerate(records) if record.captions or not self.captioned]
        rows = [row for row in usable if records[row].split == split]
        if not rows:
            held = Counter(records[row].split for row in usable)
            counts = ", ".join(f"{held[name]} for {name}" for name in SPLITS)
            what = "clip with a caption" if self.captioned else "clip"
            raise UserError(f"{self.folder} has no {what} for {split} ({counts}); add clips or change the shares")
        self._rows = np.array(rows, dtype=np.int64)
        self.records = [records[row] for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of every clip."""
        return self.config.shape

    def take(self, indices: NDArray[np.int64], caption_seed: int | None = None) -> Clips:
        """The clips with these numbers, in this order.

        Args:
            indices: `[batch]`, each 0 or more and less than the length.
            caption_seed: which caption a clip with several of them gets: None for its first; otherwise one drawn from
                the seed and the clip's number, so that a loop that passes its step sees all of them in time.
        """
        videos = self._videos[self._rows[indices]]
        if not self.captioned:
            return Clips(videos, None)
        captions = []
        for index in indices.tolist():
            choices = self.records[index].captions
            chosen = 0
            if caption_seed is not None and len(choices) > 1:
                # A negative index names the same clip as its positive twin, and must draw the same caption.
                chosen = int(np.random.default_rng((caption_seed, index % len(self))).integers(len(choices)))
            captions.append(choices[chosen])
        return Clips(videos, captions)

    def wordings(self) -> list[str]:
        """The captions of all splits.

        A word that is in no training clip means nothing to a model that is trained on them, but held-out captions can
        be read; a frozen encoder is the way to words that were not trained on.
        """
        return [text for record in read_manifest(self.folder) for text in record.captions]

    def __reduce__(self) -> tuple[type[PreparedClips], tuple[Path, Split, bool]]:
        """Sent to another process, the data set opens its files there; the array itself does not travel."""
        return PreparedClips, (self.folder, self.split, self.captioned)
