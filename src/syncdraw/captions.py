"""What conditions the drawing: nothing, the caption's words one by one (v1), or the caption as one vector (v2).

Each conditioner keeps one contract: `tokenise` turns captions into numbers ahead of the model, `prepare` looks at them
once a batch, `attend` says at every drawing step what the two LSTMs are given. `encoder_size` and `decoder_size` are
the widths of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from syncdraw.encoders import RecurrentEncoder, SentenceEncoder, WordStates
from syncdraw.errors import UserError
from syncdraw.vocabulary import PADDING
from syncdraw.words import normalise


class Condition(NamedTuple):
    """What a canvas is drawn from, as a conditioner keeps it from one drawing step to the next.

    Attributes:
        states: of the words, or one vector.
        keys: what the alignment compares h_dec with; empty without alignment.
        tokens: the words' numbers, `PADDING` where there is none; empty without alignment.
        cost: nats, `[batch]`, that it costs to know the condition before the drawing begins. A caption is given, so
            it costs nothing: None.
    """

    states: Float[Tensor, "batch word size"]
    keys: Tensor | None = None
    tokens: Tensor | None = None
    cost: Tensor | None = None


class Caption(NamedTuple):
    """What the captions say at one drawing step."""

    encoder: Float[Tensor, "batch encoder_size"]
    decoder: Float[Tensor, "batch decoder_size"]
    alignment: Float[Tensor, "batch word"] | None = None


@runtime_checkable
class Conditioner(Protocol):
    """What the model needs to know of captions. `noise_size` numbers a canvas make what the conditioner chooses."""

    encoder_size: int
    decoder_size: int
    noise_size: int

    def tokenise(self, captions: Sequence[str]) -> Tensor: ...
    def prepare(self, tokens: Tensor | None, videos: Tensor | None, choice: Tensor) -> Condition: ...
    def attend(self, condition: Condition, h_dec: Tensor) -> Caption: ...


def clauses(caption: str) -> list[tuple[int, list[str]]]:
    """What a caption says one thing after the other: for each, at which word it begins, and its words.

    'digit 3 is moving up and down and digit 0 is moving left and right' has two clauses, and the second begins at word
    8: a clause begins behind each 'and' after which the caption's first word comes again ('a' and 'an' are the same).
    """
    words = normalise(caption)
    same = ["a" if word == "an" else word for word in words]
    starts = [0, *(at + 1 for at in range(1, len(words) - 1) if same[at] == "and" and same[at + 1] == same[0])]
    ends = [*(start - 1 for start in starts[1:]), len(words)]
    return [(start, words[start:end]) for start, end in zip(starts, ends, strict=True)]


class NoCaptions(nn.Module):
    """Videos from nothing."""

    encoder_size = 0
    decoder_size = 0
    noise_size = 0

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        raise UserError("this model draws without captions; leave the captions out")

    def prepare(self, tokens: Tensor | None, videos: Tensor | None, choice: Float[Tensor, "batch 0"]) -> Condition:
        return Condition(choice[:, None])

    def attend(self, condition: Condition, h_dec: Float[Tensor, "batch hidden"]) -> Caption:
        nothing = condition.states[:, 0]
        return Caption(encoder=nothing, decoder=nothing)


def _required(tokens: Tensor | None) -> Tensor:
    if tokens is None:
        raise UserError("this model draws from captions: give one caption for each video")
    return tokens


class WordAlignment(nn.Module):
    """Soft alignment of the words with what was drawn so far (v1 section 3.2, eqs 12-14).

    Args:
        words: the bidirectional LSTM over the words, h^lang.
        hidden_size: width of h_dec.
        alignment_size: width of the layer inside eq 13.
    """

    encoder_size = 0
    noise_size = 0

    def __init__(self, words: WordStates, hidden_size: int, alignment_size: int) -> None:
        super().__init__()
        self.words = words
        self.decoder_size = words.size
        self.key = nn.Linear(words.size, alignment_size)  # U and b
        self.query = nn.Linear(hidden_size, alignment_size, bias=False)  # W
        self.score = nn.Linear(alignment_size, 1, bias=False)  # v

    def tokenise(self, captions: Sequence[str]) -> Int[Tensor, "batch word"]:
        return self.words.vocabulary.encode(captions)

    def prepare(self, tokens: Int[Tensor, "batch word"] | None, videos: Tensor | None, choice: Tensor) -> Condition:
        """h^lang for every word, and U h^lang + b, which no drawing step changes."""
        tokens = _required(tokens)
        states = self.words(tokens)
        return Condition(states, self.key(states), tokens)

    def attend(self, condition: Condition, h_dec: Float[Tensor, "batch hidden"]) -> Caption:
        """s_t and the weights alpha^t (eqs 12-13)."""
        assert condition.keys is not None
        scores = self.score((condition.keys + self.query(h_dec)[:, None]).tanh()).squeeze(-1).float()
        alignment = scores.masked_fill(condition.tokens == PADDING, float("-inf")).softmax(dim=1)
        sentence = (alignment[..., None] * condition.states).sum(dim=1)
        return Caption(encoder=sentence[:, :0], decoder=sentence, alignment=alignment)


class SentenceVector(nn.Module):
    """One vector S for the caption, given to both LSTMs at every step (v2 section 3.1.4, eqs 11-13).

    Args:
        encoder: captions to vectors. A pretrained encoder is asked once for each distinct caption.
    """

    noise_size = 0

    def __init__(self, encoder: RecurrentEncoder | SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.encoder_size = self.decoder_size = encoder.size
        self._known: dict[str, Tensor] = {}

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        """The words' numbers `[batch, word]` for an encoder that is trained, vectors `[batch, size]` of another."""
        if isinstance(self.encoder, RecurrentEncoder):
            return self.encoder.vocabulary.encode(captions)
        new = sorted(set(captions) - self._known.keys())
        if new:
            self._known.update(zip(new, self.encoder(new).float().cpu(), strict=True))
        return torch.stack([self._known[caption] for caption in captions])

    def prepare(self, tokens: Tensor | None, videos: Tensor | None, choice: Tensor) -> Condition:
        """S (eq 11)."""
        tokens = _required(tokens)
        sentence = self.encoder(tokens) if isinstance(self.encoder, RecurrentEncoder) else tokens
        return Condition(sentence[:, None])

    def attend(self, condition: Condition, h_dec: Float[Tensor, "batch hidden"]) -> Caption:
        sentence = condition.states[:, 0]
        return Caption(encoder=sentence, decoder=sentence)
