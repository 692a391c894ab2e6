"""The words of captions and their numbers. words.py says what a word is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from syncdraw.errors import UserError
from syncdraw.words import normalise

PADDING = 0
"""The index that stands for no word, `<pad>`; the words of a vocabulary are numbered from 1."""

_SHOWN = 40  # how many words of a vocabulary an error message lists


def check_captions(captions: Sequence[str]) -> list[str]:
    """The captions as a list.

    Raises:
        UserError: `captions` is one string instead of a list, or is empty, or a caption is no string or has no word.
    """
    if isinstance(captions, str):
        raise UserError(f"captions must be a list of strings, not the one string {captions!r}: put it in a list")
    if not captions:
        raise UserError("captions must hold at least one caption, but the list is empty")
    for caption in captions:
        if not isinstance(caption, str) or not normalise(caption):
            raise UserError(f"a caption must be a string that holds at least one word, not {caption!r}")
    return list(captions)


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows. `words[i]` has the index i + 1; 0 is padding.

    A JSON file stores `words` as a list; `Vocabulary(tuple(words))` takes it back.

    Raises:
        UserError: there is no word, a word occurs twice, or a word is not written as `normalise` writes it.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))  # a list would do as well, but would not hash
        if not self.words:
            raise UserError("words of a vocabulary must hold at least one word, but there is none")
        for word in self.words:
            if not isinstance(word, str) or normalise(word) != [word]:
                raise UserError(f"words of a vocabulary must be lower case without punctuation, but one is {word!r}")
        if len(self._index) != len(self.words):
            twice = next(word for word in self.words if self.words.count(word) > 1)
            raise UserError(f"words of a vocabulary must differ, but {twice!r} occurs twice")

    @classmethod
    def from_captions(cls, captions: Iterable[str]) -> Vocabulary:
        """The words that occur in `captions`, sorted, so that their order does not depend on that of the captions.

        Raises:
            UserError: there is no caption, or one of them is empty.
        """
        return cls(tuple(sorted({word for caption in check_captions(list(captions)) for word in normalise(caption)})))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, start=PADDING + 1)}

    def encode(self, captions: Sequence[str]) -> Int[Tensor, "batch word"]:
        """The numbers of the captions' words, int64, as wide as the longest caption, `PADDING` after its last word.

        Raises:
            UserError: a caption is empty or has a word that is not in the vocabulary.
        """
        places = {caption: place for place, caption in enumerate(dict.fromkeys(check_captions(captions)))}
        rows = [torch.tensor([self._find(word, caption) for word in normalise(caption)]) for caption in places]
        distinct = pad_sequence(rows, batch_first=True, padding_value=PADDING)
        return distinct[[places[caption] for caption in captions]]

    def _find(self, word: str, caption: str) -> int:
        if (index := self._index.get(word)) is not None:
            return index
        nearest = get_close_matches(word, self.words, n=3)
        hint = f" (did you mean {' or '.join(map(repr, nearest))}?)" if nearest else ""
        known = ", ".join(self.words[:_SHOWN])
        if len(self.words) > _SHOWN:
            known += f" and {len(self.words) - _SHOWN} more"
        raise UserError(f"the word {word!r} of the caption {caption!r} is unknown{hint}: the known words are {known}")
