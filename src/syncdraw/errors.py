"""What is said to the person at the keyboard: bad input, what was probably meant, and that memory is full."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message is one sentence that names the file, field or value and says what would be right.

    The command line prints the message without a traceback and exits with status 2.
    """


def did_you_mean(word: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """'did you mean NAME? ', with the nearest of some names; nothing where none is near.

    Args:
        cutoff: how alike both must be, 1 is equal.
    """
    near = difflib.get_close_matches(word, list(names), n=1, cutoff=cutoff)
    return f"did you mean {near[0]}? " if near else ""


def lacks_memory(error: Exception) -> bool:
    """Whether an error tells that memory is full. torch has a class for a GPU's, and none for a computer's."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in ("out of memory", "allocate memory"))
