"""What is said to the person at the keyboard: bad input, what was probably meant, and that memory is full."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


@contextmanager
def within_memory(otherwise: str) -> Iterator[None]:
    """Where memory is full, that is said in a sentence.

    torch has a class for a GPU's memory that is full, and none for a computer's.

    Args:
        otherwise: the sentence.

    Raises:
        UserError: in place of the several kinds of error that tell of it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        signs = ("out of memory", "allocate memory")
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in signs):
            raise
        raise UserError(otherwise) from error
