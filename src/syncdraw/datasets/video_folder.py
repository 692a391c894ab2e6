"""A folder of your own clips, nested or flat, with captions or without.

A clip is a video file, a GIF or WebP, or a folder of pictures, one a frame, named so that their numbers give the order.
Its captions stand in a text file of its name (`walk.mp4`, `walk.txt`; one caption a line), or in a table
`captions.csv`, `captions.tsv` or `captions.jsonl` in any folder above it, or nowhere.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from syncdraw.datasets.caption_files import TABLE_NAMES, file_key, read_captions, read_table
from syncdraw.datasets.decode import read_clips
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.sources import Problem, Report, Source
from syncdraw.errors import UserError
from syncdraw.video import kind_of

FOLDER_CLIPS = ClipConfig()


def prepare_folder(
    source: Path,
    destination: Path | None = None,
    config: ClipConfig = FOLDER_CLIPS,
    *,
    check: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Decode a folder of clips once, into a prepared folder that `PreparedClips` reads.

    Called again, it does nothing if neither the clips nor the settings have changed, decodes only what is new if clips
    have been added or removed, and decodes all anew if the settings have changed; the old content stays in place until
    the new is complete. A run that was broken off goes on where it stopped.

    A file that cannot be used never stops the others: it is named in the report.

    Args:
        source: the folder of clips.
        destination: the prepared folder to make; not needed with `check`.
        config: what to cut from each clip.
        check: decode everything, write nothing, and report what a preparation would do.
        workers: files to decode at once; None for one each processor.
        progress: show a bar on standard error.

    Returns:
        how many clips came of it, and each file that is unreadable, too short or without a caption.

    Raises:
        UserError: there are no clips, or none can be used; or the destination cannot be written or holds other things.
    """
    sources, problems, remarks = find_clips(source)
    return prepare(
        "folder",
        sources,
        destination,
        config,
        read_clips,
        check=check,
        workers=workers,
        progress=progress,
        problems=problems,
        remarks=remarks,
    )


def find_clips(folder: Path) -> tuple[list[Source], list[Problem], list[str]]:
    """The clips under a folder with their captions, what is wrong with them as far as names tell, and remarks.

    Raises:
        UserError: the folder is missing or has no clips.
    """
    clips, texts, tables, problems, remarks = _walk(folder)
    if not clips:
        raise UserError(
            f"{folder} has no clips: expected files such as .mp4, .avi, .mkv, .webm, .gif or .webp, or folders of "
            ".png or .jpg frames"
        )
    captions: dict[str, list[str]] = defaultdict(list)
    problems += _add_tables(folder, clips, tables, captions)
    for name, path in clips.items():
        text = texts.get(_without_suffix(name, path) + ".txt")
        if text is not None:
            try:
                captions[name] += read_captions(text)
            except UserError as error:
                problems.append(Problem(text.relative_to(folder).as_posix(), str(error), "its captions are not used"))
    if any(captions.values()):
        problems += [
            Problem(name, "no caption", "kept, but passed over where captions are used")
            for name in clips
            if not captions.get(name)
        ]
    else:
        remarks.append("no captions were found: the clips can train models that need none")
    sources = [Source(name, path, tuple(dict.fromkeys(captions.get(name, ())))) for name, path in clips.items()]
    return sources, problems, remarks


def under(folder: Path) -> Iterable[tuple[Path, list[Path], list[Problem]]]:
    """Each folder under `folder` with its visible files, in order, and with what could not be listed.

    Raises:
        UserError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder that the data set lies in")
    failed: list[Problem] = []

    def unlisted(error: OSError) -> None:
        name = os.path.relpath(error.filename or folder, folder)
        failed.append(Problem(name, f"cannot be listed ({error.strerror})"))

    for root, folders, files in os.walk(folder, onerror=unlisted):
        # Hidden names are not clips: .DS_Store, the ._clip.mp4 of a copy made by a Mac, our own unfinished work.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(root), [Path(root, name) for name in sorted(files) if not name.startswith(".")], []
    if failed:
        yield folder, [], failed


def _walk(folder: Path) -> tuple[dict[str, Path], dict[str, Path], list[Path], list[Problem], list[str]]:
    """The clips by name, the texts by name, the tables of captions, problems, and remarks on what is no clip."""
    clips: dict[str, Path] = {}
    texts: dict[str, Path] = {}
    tables: list[Path] = []
    problems: list[Problem] = []
    others: Counter[str] = Counter()
    stray = 0
    for root, files, failed in under(folder):
        problems += failed
        kinds: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            kinds[kind_of(path)].append(path)
        for path in kinds["other"]:
            if path.name.lower() in TABLE_NAMES:
                tables.append(path)
            elif path.suffix.lower() == ".txt":
                texts[path.relative_to(folder).as_posix()] = path
            else:
                others[path.suffix.lower() or "no suffix"] += 1
        for path in kinds["clip"]:
            clips[path.relative_to(folder).as_posix()] = path
        if kinds["frame"] and kinds["clip"]:
            stray += len(kinds["frame"])
        elif kinds["frame"]:
            clips[root.relative_to(folder).as_posix() if root != folder else folder.resolve().name] = root
    remarks = []
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        remarks.append(f"passed over, by their suffix: {listed}")
    if stray:
        remarks.append(f"passed over: {stray} pictures beside videos")
    return clips, texts, tables, problems, remarks


def _without_suffix(name: str, path: Path) -> str:
    # A folder of frames may have a dot in its name.
    return name if path.is_dir() else str(PurePosixPath(name).with_suffix(""))


def _add_tables(
    folder: Path, clips: dict[str, Path], tables: Iterable[Path], captions: dict[str, list[str]]
) -> list[Problem]:
    """Put the captions of tables to the clips that their rows name, with or without the suffix."""
    problems = []
    named: dict[str, list[str]] = defaultdict(list)
    for name, path in clips.items():
        for key in dict.fromkeys([file_key(name), file_key(_without_suffix(name, path))]):
            named[key].append(name)
    for table in tables:
        where = table.relative_to(folder)
        prefix = file_key(f"{where.parent.as_posix()}/")
        try:
            for row in read_table(table):
                found = named.get(file_key(prefix + row.file), []) if row.file else []
                for name in found:
                    captions[name] += row.captions
                if not found:
                    complaint = row.complaint or f"names {row.file}, which is not there"
                    problems.append(Problem(f"{where.as_posix()}, line {row.line}", complaint, "passed over"))
        except UserError as error:
            problems.append(Problem(where.as_posix(), str(error), "its captions are not used"))
    return problems
