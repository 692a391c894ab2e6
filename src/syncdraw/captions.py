"""What conditions the drawing: nothing, the caption's words one by one (v1), or the caption as one vector (v2).

Each conditioner keeps one contract: `prepare` looks at the captions once a batch, `attend` says at every drawing step
what the two LSTMs are given. `encoder_size` and `decoder_size` are the widths of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from syncdraw.encoders import RecurrentEncoder, SentenceEncoder, WordStates
from syncdraw.errors import UserError
from syncdraw.vocabulary import check_captions, normalise


class Words(NamedTuple):
    """The captions of a batch, as a conditioner keeps them from one drawing step to the next."""

    states: Float[Tensor, "batch word size"]
    keys: Float[Tensor, "batch word hidden"]
    mask: Bool[Tensor, "batch word"]
    columns: Int[Tensor, "batch word"] | None = None  # of one clause: where its words stand in the caption
    width: int = 0  # of the caption, in words

    def place(self, alignment: Float[Tensor, "batch word"] | None) -> Float[Tensor, "batch caption_word"] | None:
        """An alignment with the words of a clause as one with those of the whole caption."""
        if alignment is None or self.columns is None:
            return alignment
        return alignment.new_zeros(len(alignment), self.width).scatter_add(1, self.columns, alignment)


class Caption(NamedTuple):
    """What the captions say at one drawing step."""

    encoder: Float[Tensor, "batch encoder_size"]
    decoder: Float[Tensor, "batch decoder_size"]
    alignment: Float[Tensor, "batch word"] | None = None


@runtime_checkable
class Conditioner(Protocol):
    """What the model needs to know of captions."""

    encoder_size: int
    decoder_size: int

    def prepare(self, captions: Sequence[str] | None, batch: int) -> Words: ...
    def attend(self, words: Words, h_dec: Tensor) -> Caption: ...


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


def by_layer(conditioner: Conditioner, captions: Sequence[str] | None, batch: int, layers: int) -> list[Words]:
    """What each layer of a video is drawn from: where there are several, each from a clause of its own.

    Raises:
        UserError: a caption is empty, or does not have as many clauses as there are layers.
    """
    if layers == 1 or captions is None or conditioner.decoder_size == 0:
        return [conditioner.prepare(captions, batch)] * layers
    captions = check_captions(captions)
    split = [clauses(caption) for caption in captions]
    for caption, parts in zip(captions, split, strict=True):
        if len(parts) != layers:
            raise UserError(
                f"the caption {caption!r} says {len(parts)} {'thing' if len(parts) == 1 else 'things'}; this model "
                f"draws {layers}, as in 'digit 3 is moving up and down and digit 0 is moving left and right'"
            )
    width = max(len(normalise(caption)) for caption in captions)
    prepared = []
    for parts_of_layer in zip(*split, strict=True):
        words = conditioner.prepare([" ".join(clause) for _, clause in parts_of_layer], batch)
        starts = torch.tensor([start for start, _ in parts_of_layer])
        columns = (starts[:, None] + torch.arange(words.mask.shape[1])).clamp(max=width - 1)  # beyond it, padding
        prepared.append(words._replace(columns=columns.to(words.mask.device), width=width))
    return prepared


class NoCaptions(nn.Module):
    """Videos from nothing."""

    encoder_size = 0
    decoder_size = 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(1, 0), persistent=False)
        self.nothing: Tensor

    def prepare(self, captions: Sequence[str] | None, batch: int) -> Words:
        nothing = self.nothing.expand(batch, 0)
        return Words(nothing, nothing, nothing)

    def attend(self, words: Words, h_dec: Float[Tensor, "batch hidden"]) -> Caption:
        return Caption(encoder=words.states, decoder=words.states)


def _required(captions: Sequence[str] | None, batch: int) -> Sequence[str]:
    if captions is None:
        raise UserError("this model draws from captions: give one caption for each video")
    if len(captions) != batch:
        raise UserError(f"got {len(captions)} captions for {batch} videos; give one caption for each video")
    return captions


class WordAlignment(nn.Module):
    """Soft alignment of the words with what was drawn so far (v1 section 3.2, eqs 12-14).

    Args:
        words: the bidirectional LSTM over the words, h^lang.
        hidden_size: width of h_dec.
        alignment_size: width of the layer inside eq 13.
    """

    encoder_size = 0

    def __init__(self, words: WordStates, hidden_size: int, alignment_size: int) -> None:
        super().__init__()
        self.words = words
        self.decoder_size = words.size
        self.key = nn.Linear(words.size, alignment_size)  # U and b
        self.query = nn.Linear(hidden_size, alignment_size, bias=False)  # W
        self.score = nn.Linear(alignment_size, 1, bias=False)  # v

    def prepare(self, captions: Sequence[str] | None, batch: int) -> Words:
        """h^lang for every word, and U h^lang + b, which no drawing step changes."""
        states, mask = self.words(_required(captions, batch))
        return Words(states, self.key(states), mask)

    def attend(self, words: Words, h_dec: Float[Tensor, "batch hidden"]) -> Caption:
        """s_t and the weights alpha^t (eqs 12-13)."""
        scores = self.score((words.keys + self.query(h_dec)[:, None]).tanh()).squeeze(-1).float()
        alignment = scores.masked_fill(~words.mask, float("-inf")).softmax(dim=1)
        sentence = (alignment[..., None] * words.states).sum(dim=1)
        return Caption(encoder=sentence[:, :0], decoder=sentence, alignment=alignment)


class SentenceVector(nn.Module):
    """One vector S for the caption, given to both LSTMs at every step (v2 section 3.1.4, eqs 11-13).

    Args:
        encoder: captions to vectors. A frozen encoder is asked once for each distinct caption.
    """

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.encoder_size = self.decoder_size = encoder.size
        self._known: dict[str, Tensor] = {}
        self.register_buffer("device_marker", torch.zeros(0), persistent=False)
        self.device_marker: Tensor

    def prepare(self, captions: Sequence[str] | None, batch: int) -> Words:
        """S (eq 11)."""
        captions = _required(captions, batch)
        if isinstance(self.encoder, RecurrentEncoder):
            sentence = self.encoder(captions)
        else:
            new = sorted(set(captions) - self._known.keys())
            if new:
                self._known.update(zip(new, self.encoder(new).float().cpu(), strict=True))
            sentence = torch.stack([self._known[caption] for caption in captions]).to(self.device_marker.device)
        mask = torch.ones(batch, 1, dtype=torch.bool, device=sentence.device)
        return Words(sentence[:, None], sentence[:, None], mask)

    def attend(self, words: Words, h_dec: Float[Tensor, "batch hidden"]) -> Caption:
        sentence = words.states[:, 0]
        return Caption(encoder=sentence, decoder=sentence)
