"""What goes into a preparation, file by file, and what is said of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from syncdraw.datasets.prepared import SPLITS, Split


@dataclass(frozen=True)
class Source:
    """One file, or folder of frames, to be decoded.

    Attributes:
        name: its path relative to the data set's folder, with forward slashes; names it in the manifest and reports.
        path: where it is.
        captions: none, one or several.
        split: where the data set says so; None to go by the hash of the content.
    """

    name: str
    path: Path
    captions: tuple[str, ...] = ()
    split: Split | None = None


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
        clips: clips that came of them.
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


def _printable(text: str) -> str:
    """File names need not be valid Unicode; what is printed must be."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
