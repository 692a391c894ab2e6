"""Captions in a table of all clips: `captions.csv` or `metadata.csv`, tab-separated, or one JSON object a line.

So lay out Hugging Face's data sets of videos and images theirs, and so write spreadsheets and people, who forget
quotation marks, forget to close them, and name their columns as they like. What cannot be understood is said, with its
line; it is never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from syncdraw.datasets.caption_files import clean, file_key, has_words, read_text
from syncdraw.errors import UserError
from syncdraw.video import FRAME_SUFFIXES, VIDEO_SUFFIXES

TABLE_NAMES = tuple(f"{stem}.{suffix}" for stem in ("captions", "metadata") for suffix in ("csv", "tsv", "jsonl"))

FILE_COLUMNS = (
    "file_name", "file", "video_file_name", "video_path", "video_file", "video_name", "file_path", "video", "clip",
    "clip_path", "clip_name", "path", "image", "image_path", "image_file_name", "gif", "name",
)  # fmt: skip
"""Names of the column that says which clip a row is about, the surer ones first."""

CAPTION_COLUMNS = (
    "caption", "captions", "text", "texts", "prompt", "sentence", "sentences", "description", "label", "class",
    "action", "title", "name",
)  # fmt: skip
"""Names of the column that holds the captions, the surer ones first. A lone `name` beside captions names a file."""

_SEPARATORS = "\t,;|"
_LONGEST_FIELD = 1 << 16  # characters in quotation marks; a mark that is not closed by then never will be
_LOOKED_AT = 1000  # rows, to find out which column names clips


@dataclass(frozen=True)
class CaptionRow:
    """A row of a table: one or more captions of one clip; or, if `complaint` is set, a row of no use.

    Attributes:
        line: its number in the file, from 1.
        file: the clip as the row names it, with forward slashes.
        captions: at least one, each on one line.
        complaint: what is wrong with the row, else empty.
    """

    line: int
    file: str = ""
    captions: tuple[str, ...] = ()
    complaint: str = ""


@dataclass(frozen=True)
class _Line:
    """The cells of a row, still without meaning, and as they were written; or what is wrong with it."""

    number: int
    cells: list[Any]
    complaint: str = ""
    written: tuple[str, ...] = ()


def read_table(
    path: Path,
    names_clip: Callable[[str], object],
    file_column: str | None = None,
    caption_column: str | None = None,
) -> Iterator[CaptionRow]:
    """The rows of a table of captions.

    The first row names the columns, in any order and beside any others; of several that may name the file, the one is
    taken that does name clips. Without such a row, the first column is the file and all that follows the caption,
    if the first row names a file there. A clip may have several rows. In `.jsonl`, each line is an object, and its
    caption may be a list of captions.

    Args:
        path: the table.
        names_clip: something true if there is a clip of this name.
        file_column: the column that names the clips, if it has none of the `FILE_COLUMNS` as its name.
        caption_column: the column of captions, if it has none of the `CAPTION_COLUMNS` as its name.

    Raises:
        UserError: the file cannot be read, is in another encoding, or does not say where files and captions stand.
    """
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        yield from _read_objects(text, names_clip, file_column, caption_column)
        return
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    separator, lines, places = _separated(text, names_clip, file_column, caption_column)
    width = 2
    if places is not None:
        width = len(lines[0].cells)
        lines = lines[1:]
    file, caption = places or (0, 1)
    for line in lines:
        cells = line.cells
        if len(cells) > width and caption == width - 1:
            cells = [*cells[:caption], separator.join(line.written[caption:])]
        if line.complaint:
            yield CaptionRow(line.number, complaint=line.complaint)
        elif len(cells) > width:
            wrong = f"has {len(cells)} columns, but the first row {width}; put quotation marks around its caption"
            yield CaptionRow(line.number, complaint=wrong)
        elif len(cells) <= max(file, caption):
            yield CaptionRow(line.number, complaint="has no file and caption")
        else:
            yield from _rows(line.number, cells[file], cells[caption])


def _read_objects(
    text: str, names_clip: Callable[[str], object], file_column: str | None, caption_column: str | None
) -> Iterator[CaptionRow]:
    kinds: dict[tuple[str, ...], list[_Line]] = {}
    lines: list[tuple[_Line, tuple[str, ...]]] = []
    for number, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        line, names = _Line(number, [], "is not a JSON object"), tuple[str, ...]()
        try:
            values: Any = json.loads(content)
            if isinstance(values, dict):
                line, names = _Line(number, list(values.values())), tuple(values)
        except (ValueError, RecursionError) as error:
            line = _Line(number, [], f"is not JSON ({error})")
        lines.append((line, names))
        if not line.complaint:
            kinds.setdefault(names, []).append(line)
    places: dict[tuple[str, ...], tuple[int, int]] = {}
    complaints: dict[tuple[str, ...], UserError] = {}
    for names, alike in kinds.items():
        try:
            places[names] = _places(names, alike, names_clip, file_column, caption_column)
        except UserError as error:
            complaints[names] = error
    if complaints and not places:
        raise next(iter(complaints.values()))
    for line, names in lines:
        if line.complaint or names in complaints:
            yield CaptionRow(line.number, complaint=line.complaint or "has no file and caption")
        else:
            file, caption = places[names]
            yield from _rows(line.number, line.cells[file], line.cells[caption])


def _rows(number: int, file: Any, captions: Any) -> Iterator[CaptionRow]:
    if isinstance(captions, str):
        captions = [captions]
    if not isinstance(file, str) or not isinstance(captions, list) or not all(isinstance(one, str) for one in captions):
        yield CaptionRow(number, complaint="must have a file's name and a caption, or a list of captions, as text")
        return
    given = [caption for caption in map(clean, captions) if caption]
    kept = tuple(caption for caption in given if has_words(caption))
    if not file.strip():
        yield CaptionRow(number, complaint="names no file")
    elif not given:
        yield CaptionRow(number, complaint=f"has no caption for {file.strip()}")
    else:
        for caption in given:
            if caption not in kept:
                yield CaptionRow(number, complaint=f"has a caption without a word for {file.strip()} ({caption!r})")
        if kept:
            yield CaptionRow(number, file_key(file), kept)


# ---- which column is which -------------------------------------------------------------------------------------------


def _separated(
    text: str, names_clip: Callable[[str], object], file_column: str | None, caption_column: str | None
) -> tuple[str, list[_Line], tuple[int, int] | None]:
    """The separator, all rows, and the places of file and caption if the first row is a heading that tells them."""
    first = text.strip("\n").partition("\n")[0]
    separators = [separator for separator in _SEPARATORS if separator in first] or [","]
    tables = {separator: _lines(text, separator, names_clip) for separator in separators}
    tables = {separator: lines for separator, lines in tables.items() if lines}
    if not tables:
        return ",", [], None
    complaints = {}
    for separator, lines in tables.items():
        try:
            return separator, lines, _places(lines[0].cells, lines[1:], names_clip, file_column, caption_column)
        except UserError as error:
            complaints[len(lines[0].cells)] = error
    if file_column is None and caption_column is None:
        for separator, lines in tables.items():
            if _names_file(lines[0].cells[0], names_clip):
                if all(len(line.cells) > 2 and re.fullmatch(r"\s*(\d[\d.:]*|\w+://.*|)\s*", line.cells[1])
                       for line in lines if not line.complaint):  # fmt: skip
                    raise UserError("it has several columns and no first row that names them; add such a row")
                return separator, lines, None
    raise complaints[max(complaints)]


def _places(
    heading: Sequence[str],
    lines: Sequence[_Line],
    names_clip: Callable[[str], object],
    file_column: str | None,
    caption_column: str | None,
) -> tuple[int, int]:
    """The columns of the file and of the caption.

    Raises:
        UserError: the heading does not tell.
    """
    names = [_plain(name) for name in heading]
    captions = _named(names, heading, caption_column, CAPTION_COLUMNS)
    files = _named(names, heading, file_column, FILE_COLUMNS)

    def clips_in(place: int) -> int:
        cells = [line.cells[place] for line in lines[:_LOOKED_AT] if len(line.cells) > place]
        return sum(isinstance(cell, str) and bool(names_clip(cell)) for cell in cells)

    scores = {place: clips_in(place) for place in files}
    if not any(scores.values()) and file_column is None:
        # A column of another name will do if it does name clips: the heading is known by its captions.
        others = {place: clips_in(place) for place in range(len(names)) if place not in (*files, *captions)}
        scores |= {place: score for place, score in others.items() if score}
    file = max(scores, key=lambda place: scores[place], default=None)
    captions = [place for place in captions if place != file]
    if file is None or not captions:
        raise UserError(_unknown(heading))
    return file, captions[0]


def _named(names: list[str], heading: Sequence[str], asked: str | None, known: Sequence[str]) -> list[int]:
    """The columns of these names, in the order of `known`; or the one that was asked for."""
    if asked is not None:
        if _plain(asked) not in names:
            raise UserError(f"it has no column {asked!r}; its columns are {_listed(heading)}")
        return [names.index(_plain(asked))]
    return [place for one in known for place, name in enumerate(names) if name == _plain(one)]


def _plain(name: str) -> str:
    """'File name', 'file_name' and 'fileName' are one name."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _names_file(cell: str, names_clip: Callable[[str], object]) -> bool:
    return bool(names_clip(cell)) or PurePosixPath(file_key(cell)).suffix.lower() in VIDEO_SUFFIXES | FRAME_SUFFIXES


def _unknown(heading: Sequence[str]) -> str:
    return (
        f"its first row ({_listed(heading)}) names no file and not both a column of files and one of captions; known "
        f"names are {', '.join(FILE_COLUMNS)}, and {', '.join(CAPTION_COLUMNS)}; others are given as --file_column and "
        "--caption_column"
    )


def _listed(heading: Sequence[str]) -> str:
    return ", ".join(clean(name)[:40] for name in heading[:20])


# ---- from text to cells ----------------------------------------------------------------------------------------------


def _lines(text: str, separator: str, names_clip: Callable[[str], object]) -> list[_Line]:
    """The rows of a separated text, without the empty ones.

    A cell in quotation marks may hold separators, line breaks and doubled marks, and may stand behind a blank. Marks in
    the middle of a cell are part of it, and so is a pair that does not embrace the whole cell.
    """
    between = re.escape(separator)
    blank = "[ ]*+" if separator == "\t" else r"[ \t]*+"
    quoted = re.compile(rf'{blank}"((?:[^"]++|"")*+)"{blank}(?={between}|\n|\Z)')
    plain = re.compile(rf"[^{between}\n]*+")
    lines = []
    position = 0
    number = 1
    while position < len(text):
        start, cells, written, complaint = position, list[str](), list[str](), ""
        while True:
            end = text.find("\n", position)
            rest = text[position : end if end >= 0 else len(text)]
            match = quoted.match(text, position, position + _LONGEST_FIELD) if rest.lstrip().startswith('"') else None
            if match is not None and _swallows_rows(match[1], separator, names_clip):
                match = None
            if match is not None:
                cells.append(match[1].replace('""', '"'))
            else:
                if rest.lstrip().startswith('"') and rest.count('"') % 2:
                    complaint = "has a quotation mark that is not closed"
                match = plain.match(text, position)
                assert match is not None
                cells.append(match[0])
            written.append(match[0])
            position = match.end()
            if position == len(text) or text[position] == "\n":
                break
            position += 1
        if any(cell.strip() for cell in cells):
            lines.append(_Line(number, cells, complaint, tuple(written)))
        position += 1
        number += text.count("\n", start, position)
    return lines


def _swallows_rows(cell: str, separator: str, names_clip: Callable[[str], object]) -> bool:
    """Whether a quoted cell goes on over a line that is a row of its own: then its mark was never closed."""
    following = cell.split("\n")[1:]
    return any(names_clip(part) for line in following if separator in line for part in line.split(separator))
