"""What lies under a folder: nested and linked folders, each once, without what this package itself wrote there."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from syncdraw.datasets.prepared import ABOUT
from syncdraw.datasets.sources import Problem, shortened
from syncdraw.errors import UserError

# Of a training run: what it cannot be without, and what it has sooner or later.
_RUN, _PARTS_OF_A_RUN = "config.yaml", frozenset({"metrics.jsonl", "state", "samples", "model.safetensors"})
_MODEL = frozenset({"config.json", "model.safetensors"})


@dataclass
class FolderContent:
    """The visible files under a folder.

    Attributes:
        files: of each folder, in order; the names of linked folders are those of the links.
        problems: what could not be listed, and what is no file to be read.
        remarks: which folders were passed over.
    """

    files: dict[Path, list[Path]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Path]:
        """All files, folder by folder."""
        for files in self.files.values():
            yield from files


def look_under(folder: Path) -> FolderContent:
    """The files under a folder, nested at any depth.

    Linked folders are followed. Each folder is looked at once, under its own name if it lies in `folder` itself; a link
    to a folder that holds the link is a circle and is passed over.

    Hidden files, prepared clips and training runs are passed over.

    Raises:
        UserError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder that the data set lies in")
    content = FolderContent()
    own: dict[str, list[str]] = defaultdict(list)
    seen: set[tuple[int, int]] = set()
    waiting: list[Path] = [folder]
    links: list[Path] = []
    while waiting or links:
        # Links last: what they lead to may also lie here under its own name, which lists of captions use.
        place = waiting.pop() if waiting else links.pop(0)
        name = place.relative_to(folder).as_posix()
        try:
            status = place.stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            content.problems.append(Problem(name, f"cannot be listed ({error.strerror})"))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        # Hidden names are not clips: .DS_Store, the ._clip.mp4 of a copy made by a Mac, our own unfinished work.
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        made = _made_here({entry.name for entry in visible})
        if made and place != folder:
            own[made].append(name)
            continue
        content.files[place] = []
        for entry in visible:
            path = place / entry.name
            if _is_folder(entry):
                if made == "training runs" and entry.name in _PARTS_OF_A_RUN:
                    own[made].append(path.relative_to(folder).as_posix())
                elif path.is_symlink():
                    if not _leads_up(path, folder):
                        links.append(path)
                else:
                    waiting.append(path)
            elif _is_special(entry):
                content.problems.append(Problem(path.relative_to(folder).as_posix(), "is no regular file"))
            else:
                content.files[place].append(path)
    content.files = dict(sorted(content.files.items(), key=lambda item: item[0].parts))
    content.remarks = [
        f"passed over: {made} of syncdraw ({shortened(sorted(names))})" for made, names in sorted(own.items())
    ]
    return content


def _made_here(names: Collection[str]) -> str:
    """What of ours a folder with these names in it is, or nothing."""
    if ABOUT in names:
        return "prepared clips"
    if (_RUN in names and not _PARTS_OF_A_RUN.isdisjoint(names)) or _MODEL.issubset(names):
        return "training runs"
    return ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Pipes, devices and sockets: to open them may wait for ever. A link to nowhere is reported when it is read."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _leads_up(link: Path, folder: Path) -> bool:
    """Whether a linked folder holds the link itself, or the folder that is looked under."""
    target = link.resolve()
    return any(place.resolve().is_relative_to(target) for place in (link.parent, folder))
