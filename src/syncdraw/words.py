"""What the words of a caption are."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


def normalise(caption: str) -> list[str]:
    """The words of a caption: lower case, no punctuation, no 'the'.

    So v1's 'The digit 0 is moving up and down, and the digit 1 is moving left and right.' and v2's 'digit 0 is moving
    up and down and digit 1 is moving left and right' are the same words. An apostrophe joins ("don't" -> "dont"), all
    other punctuation separates ("up-and-down" -> "up", "and", "down"). Compatible forms of a character are one (a
    full-width 3 is a 3), and letters of every script are kept. May be empty.
    """
    return list(_words(caption))


@lru_cache(maxsize=2**14)  # training meets the same captions again and again
def _words(caption: str) -> tuple[str, ...]:
    # Case folding and dropped characters can each undo the normal form, so it is taken after each of them.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", caption).casefold())
    text = unicodedata.normalize("NFKC", "".join(map(_without_punctuation, text)))
    return tuple(word for word in text.split() if word != "the")


def _without_punctuation(character: str) -> str:
    category = unicodedata.category(character)
    if character in "'\u2019" or category == "Cf":  # format characters, such as joiners, stand inside words
        return ""
    # Punctuation, symbols, separators, controls. Not the pattern `\w`, which would cut words at vowel signs.
    return " " if category[0] in "PSZC" else character
