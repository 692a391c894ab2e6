"""Captions from files: a `.txt` beside each clip, or a table of all of them."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from syncdraw.errors import UserError

TABLE_NAMES = ("captions.csv", "captions.tsv", "captions.jsonl")
FILE_COLUMNS = ("file", "file_name", "filename", "path", "video", "clip", "name")
CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "description")


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


def clean(text: str) -> str:
    """A caption with single spaces and no line breaks."""
    return " ".join(text.split())


def file_key(name: str) -> str:
    """A file name such that two spellings of one name are equal: slashes, a leading `./`, composed accents."""
    name = unicodedata.normalize("NFC", name.strip().replace("\\", "/"))
    while name.startswith("./"):
        name = name[2:]
    return name


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, as spreadsheets write it.

    Raises:
        UserError: the file cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (at byte {error.start}); save it as UTF-8") from error


def read_captions(path: Path) -> tuple[str, ...]:
    """The captions in a `.txt` file, one a line.

    Raises:
        UserError: as `read_text`.
    """
    return tuple(line for line in map(clean, read_text(path).splitlines()) if line)


def read_table(path: Path) -> Iterator[CaptionRow]:
    """The rows of `captions.csv`, `.tsv` or `.jsonl`.

    A first line that names its columns (`file` and `caption`, or one of `FILE_COLUMNS` and `CAPTION_COLUMNS`) says
    where they are; without one, the first column is the file and the second the caption. A clip may have several rows.
    In `.jsonl`, each line is an object with the same names, and its caption may be a list of captions.

    Raises:
        UserError: the file cannot be read, or is in another encoding.
    """
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _object_row(number, line)
        return
    first = text.partition("\n")[0]
    # Where the comma is the decimal sign, spreadsheets separate columns by semicolons.
    separator = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in first and "," not in first else ","
    # Tab-separated files have no quotes: a caption may begin with a quotation mark.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting)
    file, caption = 0, 1
    heading = True
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield CaptionRow(rows.line_num, complaint=f"is damaged ({error})")
            continue
        if not any(cell.strip() for cell in row):
            continue
        if heading:
            heading = False
            names = [cell.strip().lower() for cell in row]
            files = [place for place, name in enumerate(names) if name in FILE_COLUMNS]
            captions = [place for place, name in enumerate(names) if name in CAPTION_COLUMNS]
            if files and captions:
                file, caption = files[0], captions[0]
                continue
        if len(row) <= max(file, caption):
            yield CaptionRow(rows.line_num, complaint="has no file and caption")
        else:
            yield _row(rows.line_num, row[file], [row[caption]])


def _object_row(number: int, line: str) -> CaptionRow:
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return CaptionRow(number, complaint=f"is not JSON ({error})")
    if not isinstance(values, dict):
        return CaptionRow(number, complaint="is not a JSON object")
    file = next((values[name] for name in FILE_COLUMNS if name in values), None)
    captions = next((values[name] for name in CAPTION_COLUMNS if name in values), None)
    if isinstance(captions, str):
        captions = [captions]
    if not isinstance(file, str) or not isinstance(captions, list) or not all(isinstance(one, str) for one in captions):
        return CaptionRow(number, complaint='must have a "file" and a "caption"')
    return _row(number, file, captions)


def _row(number: int, file: str, captions: list[str]) -> CaptionRow:
    kept = tuple(caption for caption in map(clean, captions) if caption)
    if not file.strip():
        return CaptionRow(number, complaint="names no file")
    if not kept:
        return CaptionRow(number, complaint=f"has no caption for {file.strip()}")
    return CaptionRow(number, file_key(file), kept)
