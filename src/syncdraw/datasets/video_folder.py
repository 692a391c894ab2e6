"""A folder of your own clips, nested or flat, with captions or without.

A clip is a video file, a GIF or WebP, or a folder of pictures, one a frame, named so that their numbers give the order.
Its captions stand in a text file of its name (`walk.mp4`: `walk.txt` or `walk.mp4.txt`, beside it or in a folder
`captions`; one caption a line), or in a table (`captions.csv`, `metadata.jsonl`, ...) in any folder, or nowhere.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from syncdraw.containers import DRAWN_MARK
from syncdraw.datasets.caption_files import file_key, has_words, read_captions
from syncdraw.datasets.caption_tables import TABLE_NAMES, read_table
from syncdraw.datasets.folders import look_under
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig, Split
from syncdraw.datasets.sources import BY_CONTENT, Problem, Source, shortened
from syncdraw.errors import UserError
from syncdraw.video import frame_files, kind_of

FOLDER_CLIPS = ClipConfig(clips_per_file=0)

_SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders are called that hold a split."""

_DRAWN_SUFFIXES = frozenset({".gif", ".webp", ".mp4", ".png"})


def list_folder(source: Path, file_column: str | None = None, caption_column: str | None = None) -> Listing:
    """Your own clips: videos or folders of frames, anywhere under a folder, with their captions where there are any.

    Files that cannot be used are named, with what is wrong with them; they do not stop the others.

    Args:
        source: the folder of clips; linked folders in it are followed.
        file_column: the column of a table of captions that names the clips, where its name is none of the usual ones.
        caption_column: likewise the column that holds the captions.

    Raises:
        UserError: the folder is missing or has no clips, or no table has a column of the given name.
    """
    found = _look(source)
    names = _ClipNames(found.clips)
    captions: dict[str, list[str]] = defaultdict(list)
    _add_tables(source, found, names, captions, file_column, caption_column)
    _add_texts(source, found, captions)
    if any(captions.values()):
        found.problems += [
            Problem(name, "no caption", "kept, but passed over where captions are used")
            for name in found.clips
            if not captions.get(name)
        ]
    else:
        found.remarks.append("no captions were found: the clips can train models that need none")
    splits = _splits(found)
    sources = [
        Source(name, path, tuple(dict.fromkeys(captions.get(name, ()))), *splits.get(name, ()))
        for name, path in found.clips.items()
    ]
    return Listing("folder", sources, FOLDER_CLIPS, found.problems, found.remarks)


def _splits(found: _Found) -> dict[str, tuple[Split, str]]:
    """The split and group of each clip where all lie in folders named for splits, of which one is for training."""
    tops = {name: PurePosixPath(name).parts[0].lower() for name in found.clips}
    splits = {name: _SPLIT_NAMES.get(top) for name, top in tops.items()}
    there = set(splits.values())
    if None in there or "train" not in there or len(there) == 1:
        return {}
    found.remarks.append(f"splits as the folders say: {', '.join(sorted(set(tops.values())))}")
    # Without one for validation, that is taken from the training clips.
    group = "" if "validation" in there else BY_CONTENT
    return {name: (split, group if split == "train" else "") for name, split in splits.items() if split}


def find_clips(folder: Path) -> list[Path]:
    """The clips under a folder, in order, with those that syncdraw drew.

    Raises:
        UserError: the folder is missing or has no clips.
    """
    return list(_look(folder, drawn_too=True).clips.values())


# ---- clips -----------------------------------------------------------------------------------------------------------


@dataclass
class _Found:
    """The clips by name, the texts, the tables of captions, problems, and remarks on what is no clip."""

    clips: dict[str, Path] = field(default_factory=dict)
    texts: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def _look(folder: Path, drawn_too: bool = False) -> _Found:
    content = look_under(folder)
    found = _Found(problems=content.problems, remarks=content.remarks)
    others: Counter[str] = Counter()
    drawn: list[str] = []
    stray = 0
    for place, files in content.files.items():
        clips: dict[str, Path] = {}
        frames: list[Path] = []
        for path in files:
            kind, suffix = kind_of(path), path.suffix.lower()
            if kind == "clip":
                clips[path.relative_to(folder).as_posix()] = path
            elif kind == "frame":
                frames.append(path)
            elif path.name.lower() in TABLE_NAMES:
                found.tables.append(path)
            elif suffix == ".txt":
                found.texts.append(path)
            else:
                others[suffix or "no suffix"] += 1
        if frames and clips:
            stray += len(frames)
        elif frames:
            # A folder that is given as `.` has no name of its own.
            clips[place.relative_to(folder).as_posix() if place != folder else folder.resolve().name] = place
        for name, path in clips.items():
            if not drawn_too and _was_drawn(path):
                drawn.append(name)
            else:
                found.clips[name] = path
    if drawn:
        found.remarks.append(f"passed over: videos that syncdraw drew ({shortened(drawn)})")
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        tables = not {".csv", ".tsv", ".jsonl", ".json"}.isdisjoint(others)
        hint = f"; tables of captions are named {', '.join(TABLE_NAMES)}" if tables else ""
        found.remarks.append(f"passed over, by their suffix: {listed}{hint}")
    if stray:
        found.remarks.append(f"passed over: {stray} pictures beside videos")
    if not found.clips:
        raise UserError(
            f"{folder} has no clips: expected files such as .mp4, .avi, .mkv, .webm, .gif or .webp, or folders of "
            ".png or .jpg frames" + "".join(f"; {remark}" for remark in found.remarks)
        )
    return found


def _was_drawn(path: Path) -> bool:
    """Whether a video, or the first frame of a folder, bears our mark. What cannot be read is reported later."""
    with suppress(OSError):
        first = frame_files(path)[0] if path.is_dir() else path
        if first.suffix.lower() in _DRAWN_SUFFIXES:
            with first.open("rb") as file:
                if DRAWN_MARK in file.read(4096):
                    return True
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                return DRAWN_MARK in file.read()
    return False


def _without_suffix(name: str, path: Path) -> str:
    # A folder of frames may have a dot in its name.
    return name if path.is_dir() else str(PurePosixPath(name).with_suffix(""))


# ---- captions --------------------------------------------------------------------------------------------------------


class _ClipNames:
    """Which clips a name in a table means."""

    def __init__(self, clips: dict[str, Path]) -> None:
        self._clips = clips
        self._exact: dict[str, list[str]] = defaultdict(list)
        self._folded: dict[str, list[str]] = defaultdict(list)
        for name, path in clips.items():
            for key in dict.fromkeys([file_key(name), file_key(_without_suffix(name, path))]):
                self._exact[key].append(name)
                self._folded[key.casefold()].append(name)

    def find(self, place: Path, folder: Path, name: str) -> list[str]:
        """The clips that a row of a table in `place` names.

        Its path starts there, or in the whole data set's `folder`, or is absolute; with or without a suffix, by the
        name of a link or of what it leads to; in other letters of case where that is the only clip so named.
        """
        if not name.strip():
            return []
        below = f"{place.relative_to(folder).as_posix()}/"
        keys = [file_key(below + file_key(name)), file_key(name)]
        for key in keys:
            if key in self._exact:
                return self._exact[key]
        with suppress(OSError, ValueError):  # a name that no file can have
            there = place / name
            if there.exists():
                return self._real.get(os.path.realpath(there), [])
        for key in keys:
            if len(same := self._folded.get(key.casefold(), [])) == 1:
                return same
        return []

    @cached_property
    def _real(self) -> dict[str, list[str]]:
        real: dict[str, list[str]] = defaultdict(list)
        for name, path in self._clips.items():
            real[os.path.realpath(path)].append(name)
        return dict(real)


def _add_tables(
    folder: Path,
    found: _Found,
    names: _ClipNames,
    captions: dict[str, list[str]],
    file_column: str | None,
    caption_column: str | None,
) -> None:
    """Put the captions of tables to the clips that their rows name."""
    asked = file_column is not None or caption_column is not None
    if asked and not found.tables:
        raise UserError(f"{folder} has no table of captions ({', '.join(TABLE_NAMES)}) that could have such columns")
    refused: list[str] = []
    for table in found.tables:
        where = table.relative_to(folder).as_posix()
        find = _finder(names, table.parent, folder)
        try:
            for row in read_table(table, find, file_column, caption_column):
                clips = find(row.file)
                for name in clips:
                    captions[name] += row.captions
                if not clips:
                    complaint = row.complaint or f"names {row.file}, which is not there"
                    found.problems.append(Problem(f"{where}, line {row.line}", complaint, "passed over"))
        except UserError as error:
            refused.append(f"{table}: {error}")
            found.problems.append(Problem(where, str(error), "its captions are not used"))
    if asked and len(refused) == len(found.tables):
        raise UserError(refused[0])


def _finder(names: _ClipNames, place: Path, folder: Path) -> Callable[[str], list[str]]:
    known: dict[str, list[str]] = {}

    def find(name: str) -> list[str]:
        if name not in known:
            known[name] = names.find(place, folder, name)
        return known[name]

    return find


def _add_texts(folder: Path, found: _Found, captions: dict[str, list[str]]) -> None:
    """Put the captions of texts to the clips of their names, and say which texts are no clip's."""
    texts: dict[str, list[Path]] = defaultdict(list)
    folded: dict[str, list[Path]] = defaultdict(list)
    for path in found.texts:
        key = file_key(path.relative_to(folder).as_posix()[: -len(path.suffix)])
        texts[key].append(path)
        folded[key.casefold()].append(path)
    keys = {name: list(_text_keys(name, path)) for name, path in found.clips.items()}
    # A text in other letters of case is a clip's only if it is not another clip's own.
    taken = {text for keys_of_clip in keys.values() for key in keys_of_clip for text in texts.get(key, ())}
    unused = dict.fromkeys(found.texts)
    contents: dict[Path, tuple[str, ...]] = {}
    for name, keys_of_clip in keys.items():
        fitting: dict[Path, None] = {}
        for key in keys_of_clip:
            others = [text for text in folded.get(key.casefold(), ()) if text not in taken]
            fitting |= dict.fromkeys(texts.get(key) or others)
        for text in fitting:
            unused.pop(text, None)
            if text not in contents:
                contents[text] = _captions_of(text, folder, found.problems)
            captions[name] += contents[text]
    if unused:
        listed = shortened([path.relative_to(folder).as_posix() for path in unused])
        found.remarks.append(f"passed over: texts that have no clip's name ({listed})")


def _text_keys(name: str, path: Path) -> Iterable[str]:
    """Where the captions of a clip may stand, without `.txt`."""
    key = PurePosixPath(file_key(name))
    for one in dict.fromkeys([str(key), file_key(_without_suffix(name, path))]):
        yield one
        yield str(PurePosixPath(one).parent / "captions" / PurePosixPath(one).name)
        if len(key.parts) > 1:
            yield f"captions/{one}"
    if path.is_dir():
        yield from (f"{key}/{stem}" for stem in (key.name, "caption", "captions"))


def _captions_of(text: Path, folder: Path, problems: list[Problem]) -> tuple[str, ...]:
    where = text.relative_to(folder).as_posix()
    try:
        given = read_captions(text)
    except UserError as error:
        problems.append(Problem(where, str(error), "its captions are not used"))
        return ()
    problems += [
        Problem(where, f"has a caption without a word ({caption!r})", "passed over")
        for caption in given
        if not has_words(caption)
    ]
    return tuple(filter(has_words, given))
