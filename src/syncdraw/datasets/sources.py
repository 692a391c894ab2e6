"""What goes into a preparation, file by file, and what is said of it afterwards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from syncdraw.datasets.prepared import SPLITS, Split
from syncdraw.errors import UserError

BY_CONTENT = "content"
"""The group of a source that shares its split with its copies alone."""


@dataclass(frozen=True)
class Source:
    """One file, or folder of frames, to be decoded.

    Attributes:
        name: its path relative to the data set's folder, with forward slashes; names it in the manifest and reports.
        path: where it is.
        captions: none, one or several.
        split: where the data set says so; None to go by the hash of the content.
        group: sources of one group share a split, whatever their content; empty for a group of its own. A data set
            with lists for training and test, but none for validation, gives its training sources the split `train` and
            a group, which may be `BY_CONTENT`: the groups of validation are then taken from them.
        parts: the files that its frames are made of, where `path` does not say which; if one changes, it has changed.
    """

    name: str
    path: Path
    captions: tuple[str, ...] = ()
    split: Split | None = None
    group: str = ""
    parts: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A file that is not as it should be.

    Attributes:
        name: the file, relative to the data set's folder.
        reason: what is the matter.
        action: what was, or will be, done about it.
    """

    name: str
    reason: str
    action: str = "left out"

    def __str__(self) -> str:
        return _printable(f"{self.name}: {self.reason}: {self.action}")


@dataclass(frozen=True)
class Report:
    """What came of a preparation, or would come of it.

    Attributes:
        sources: files looked at.
        clips: clips that they give in an epoch.
        captioned: clips that have a caption.
        splits: clips in each split.
        problems: each file that is not as it should be.
        remarks: what else is worth knowing, a sentence each.
        unchanged: True when the destination was up to date and nothing was decoded.
    """

    sources: int
    clips: int
    captioned: int
    splits: dict[str, int]
    problems: list[Problem]
    remarks: list[str] = field(default_factory=list)
    unchanged: bool = False

    def __str__(self) -> str:
        splits = ", ".join(f"{self.splits[name]} {name}" for name in SPLITS if self.splits.get(name))
        lines = [f"{self.clips} clips from {self.sources} files ({splits or 'none'}), {self.captioned} with a caption"]
        if self.unchanged:
            lines[0] += "; nothing has changed since they were prepared"
        return "\n".join([*lines, *map(_printable, self.remarks), *map(str, self.problems)])

    def require_clips(self) -> None:
        """Do nothing if there is a clip to train on.

        Raises:
            UserError: there is none.
        """
        if not self.clips:
            why = f"; the first of {len(self.problems)} problems is {self.problems[0]}" if self.problems else ""
            raise UserError(f"no clip could be cut from {self.sources} files{why}")


def _printable(text: str) -> str:
    """File names and JSON may hold halves of characters, which are no Unicode; what is printed must be."""
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def shortened(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    more = [f"and {len(names) - 3} more"] if len(names) > 3 else []
    return _printable(", ".join([*names[:3], *more]))
