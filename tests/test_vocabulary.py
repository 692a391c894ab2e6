"""Captions into words, words into numbers."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncdraw.errors import UserError
from syncdraw.vocabulary import PADDING, Vocabulary
from syncdraw.words import normalise

ONE_WORD = st.text(min_size=1).map(normalise).filter(bool).map(lambda words: words[0])
WORDS = st.lists(ONE_WORD, min_size=1, max_size=20, unique=True)


def test_both_papers_wordings_are_the_same_words() -> None:
    v2 = "digit 0 is moving up and down and digit 1 is moving left and right"
    v1 = "The digit 0 is moving up and down, and digit 1 is moving left and right."
    assert normalise(v1) == normalise(v2) == normalise(v2.upper()) == v2.split()


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("up-and-down", ["up", "and", "down"]),
        ("don't", ["dont"]),
        ("don’t", ["dont"]),
        ("  digit\t3\n", ["digit", "3"]),
        ("DIGIT ３", ["digit", "3"]),
        ("Straße", ["strasse"]),
        ("up\u00ad\u200bward", ["upward"]),
        ("क्या \u201cÉté\u201d", ["क्या", "été"]),
        ("the theory", ["theory"]),
        ("The, the!", []),
        ("?!", []),
    ],
)
def test_normalise(caption: str, words: list[str]) -> None:
    assert normalise(caption) == words


@given(st.text())
def test_normalised_words_stay_as_they_are(caption: str) -> None:
    words = normalise(caption)
    assert normalise(" ".join(words)) == words
    assert all(word and word != "the" and not word[0].isspace() for word in words)


def test_the_numbers_of_words_and_what_stands_behind_the_last() -> None:
    vocabulary = Vocabulary(("digit", "3", "moves"))
    tokens = vocabulary.encode(["Digit 3 moves.", "the digit"])
    assert tokens.tolist() == [[1, 2, 3], [1, PADDING, PADDING]]
    assert tokens.dtype == torch.int64


@given(words=WORDS, data=st.data())
def test_encoding_can_be_read_back(words: list[str], data: st.DataObject) -> None:
    vocabulary = Vocabulary(tuple(words))
    assert Vocabulary(tuple(json.loads(json.dumps(vocabulary.words)))) == vocabulary
    captions = data.draw(st.lists(st.lists(st.sampled_from(words), min_size=1), min_size=1, max_size=5))
    tokens = vocabulary.encode([" ".join(caption) for caption in captions])
    assert tokens.shape == (len(captions), max(map(len, captions)))
    for caption, row in zip(captions, tokens.tolist(), strict=True):
        assert [vocabulary.words[index - 1] for index in row[: len(caption)]] == caption
        assert set(row[len(caption) :]) <= {PADDING}


@given(st.lists(ONE_WORD, min_size=1))
def test_a_vocabulary_does_not_depend_on_the_order_of_the_captions(captions: list[str]) -> None:
    vocabulary = Vocabulary.from_captions(captions)
    assert vocabulary == Vocabulary.from_captions(reversed(captions))
    assert set(vocabulary.words) == set(captions)


def test_an_unknown_word_is_named_with_its_neighbours_and_the_vocabulary() -> None:
    vocabulary = Vocabulary.from_captions(["digit 3 is moving left and right"])
    message = (
        r"'rigth' of the caption 'Digit 3, rigth' .*did you mean 'right' .*: the known words are 3, and, digit, is"
    )
    with pytest.raises(UserError, match=message):
        vocabulary.encode(["digit 3", "Digit 3, rigth"])


def test_a_long_vocabulary_is_shortened_in_the_message() -> None:
    vocabulary = Vocabulary(tuple(f"word{number}" for number in range(1000)))
    with pytest.raises(UserError, match="and 960 more") as caught:
        vocabulary.encode(["xylophone"])
    assert "did you mean" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("caption", ["", "  ", "?!", "the"])
def test_an_empty_caption_is_refused(caption: str) -> None:
    with pytest.raises(UserError, match="at least one word"):
        Vocabulary(("digit",)).encode(["digit", caption])


@pytest.mark.parametrize(("captions", "message"), [("digit", "put it in a list"), ([], "is empty"), ([3], "not 3")])
def test_captions_must_be_a_list_of_strings(captions: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Vocabulary(("digit",)).encode(captions)


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "there is none"), (("Digit",), "'Digit'"), (("a b",), "'a b'"), (("a", "b", "a"), "'a' occurs twice")],
)
def test_bad_vocabularies(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Vocabulary(words)


def test_captions_without_words_make_no_vocabulary() -> None:
    with pytest.raises(UserError, match="at least one word"):
        Vocabulary.from_captions(["the", "..."])
