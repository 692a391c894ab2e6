"""Text that people wrote: in whatever encoding their programs chose, with captions one a line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from syncdraw.errors import UserError


def clean(text: str) -> str:
    """A caption with single spaces and no line breaks; halves of characters, which JSON allows, are replaced."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def has_words(caption: str) -> bool:
    """Whether `syncdraw.vocabulary.normalise` leaves a word of the caption: '???', an emoji or 'the' has none."""
    text = unicodedata.normalize("NFKC", caption.casefold())
    letters = ((character, unicodedata.category(character)) for character in text)
    # As there: apostrophes and joiners stand inside words, all else that is no letter, mark or number separates.
    kept = (
        character if kind[0] in "LMN" else "" if character in "'\u2019" or kind == "Cf" else " "
        for character, kind in letters
    )
    return any(word != "the" for word in "".join(kept).split())


def file_key(name: str) -> str:
    """A file name such that two spellings of one name are equal: slashes, a leading `./`, composed accents."""
    name = unicodedata.normalize("NFC", name.strip().replace("\\", "/"))
    while name.startswith("./"):
        name = name[2:]
    return name


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 as spreadsheets write it, with or without a byte-order mark.

    Raises:
        UserError: the file cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
        return content.decode(_encoding(content))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} is not UTF-8 text (line {line} has a character of another code page); save it as UTF-8"
        ) from error


def _encoding(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Without a mark, UTF-16 shows in the zeros of its first character, which is a Latin letter or punctuation.
    if len(content) % 2 == 0 and b"\0" in content[:2]:
        return "utf-16-be" if content[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def read_captions(path: Path) -> tuple[str, ...]:
    """The captions in a text file, one a line, in UTF-8 or UTF-16, with or without a byte-order mark.

    Raises:
        UserError: as `read_text`.
    """
    return tuple(line for line in map(clean, read_text(path).splitlines()) if line)
