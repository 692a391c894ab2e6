"""What people type for a clip, as the sentence that models were trained on, and which model that is for."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from syncdraw.cards import load_card, shipped_models
from syncdraw.datasets import BUILT_IN, sprite_captions
from syncdraw.datasets.bouncing_mnist import DIAGONAL, MOTIONS, STILL, caption
from syncdraw.datasets.story_captions import KNOWN_WORDS, NUMBERS, USUAL, Story, parse_story, tell
from syncdraw.devices import Device, start_torch
from syncdraw.errors import UserError
from syncdraw.words import normalise

if TYPE_CHECKING:
    from syncdraw.model import SyncDraw
    from syncdraw.vgan import VGAN

# These two and NUMBERS are public for the page on which the generator runs in a browser; it reads captions by them.
_SIDEWAYS, _UPRIGHT = range(len(MOTIONS))
WAYS = {
    "left and right": _SIDEWAYS, "right and left": _SIDEWAYS, "left": _SIDEWAYS, "right": _SIDEWAYS,
    "sideways": _SIDEWAYS, "horizontally": _SIDEWAYS, "up and down": _UPRIGHT, "down and up": _UPRIGHT,
    "up": _UPRIGHT, "down": _UPRIGHT, "vertically": _UPRIGHT, "diagonally": DIAGONAL,
}  # fmt: skip
GLYPH = (
    rf"(?:(?:the|a) )?(?:(?:digit|number) )?(?P<number>[0-9]|{'|'.join(NUMBERS)})"
    rf"(?: (?:(?:is )?moving|(?:that )?moves|goes|going|bouncing))?(?: (?P<way>{'|'.join(WAYS)}))?"
)


def understood(text: str) -> str:
    """The sentence of `datasets.bouncing_mnist.caption` that somebody means.

    'seven', '7' and 'the digit 7' are 'digit 7'; '7 left' is 'digit 7 is moving left and right'. Glyphs are joined by
    'and', a comma, or both.

    Raises:
        UserError: the text means no such sentence; it suggests the nearest that there is.
    """
    rest = " ".join(re.sub(r"([,.!])", r" \1 ", text.casefold()).replace("-and-", " and ").split()).rstrip(" .!")
    labels, motions = [], []
    while found := re.match(GLYPH + r"(?: ?(?:, and|,|and) |$)", rest):
        labels.append(_number(found["number"]))
        motions.append(WAYS[found["way"]] if found["way"] else STILL)
        rest = rest[found.end() :]
        if not rest:
            return caption(labels, motions)
    raise UserError(f"the caption {text!r} is not understood; did you mean {_nearest(text)!r}?")


def understood_story(text: str) -> str:
    """The sentence of `datasets.story_captions.tell` that somebody means, of a clip of MNIST stories.

    What is said may come in any order and wording, and a word that is mistyped is taken as the nearest one:
    'slwly a three goes sideways' is 'digit 3 is moving slowly left and right'.

    Raises:
        UserError: the text means no such sentence; it suggests the sentence without what is not known of it.
    """
    nearest = [word and _known(word) for part in text.split(",") for word in (*normalise(part), "")]
    try:
        likely = tell(parse_story(" ".join("," if word == "" else word for word in nearest if word is not None)))
        if None not in nearest:
            return likely
    except UserError:
        likely = caption([3], [_SIDEWAYS])
    raise UserError(f"the caption {text!r} is not understood; did you mean {likely!r}?")


def understood_character(text: str) -> str:
    """The sentence of `datasets.sprite_captions.tell` that somebody means, of a clip of sprites.

    What is said may come in any order, and a word that is mistyped is taken as the nearest one.

    Raises:
        UserError: the text means no such sentence; it says which word is not known, or what is said twice.
    """
    nearest = (_known(word, sprite_captions.KNOWN_WORDS) or word for word in normalise(text))
    return sprite_captions.tell(sprite_captions.parse_character(" ".join(nearest)))


LIKENESS = 0.75
"""How like a known word (difflib's ratio) a mistyped one has to be. Public for the page in a browser, too."""


def _known(word: str, words: Collection[str] = KNOWN_WORDS) -> str | None:
    """The word that somebody has typed, if there is one like it among `words`; numbers are not guessed."""
    if word in words:
        return word
    return next(iter(difflib.get_close_matches(word, sorted(words), n=1, cutoff=LIKENESS)), None)


def _nearest(text: str) -> str:
    words = unicodedata.normalize("NFKC", text).casefold()
    named = re.findall(r"[0-9]|" + "|".join(NUMBERS), words)
    states = list(product(range(10), (STILL, _SIDEWAYS, _UPRIGHT, DIAGONAL)))
    # A text that names two digits is compared with sentences of two.
    known = [caption(*zip(*chosen, strict=True)) for chosen in product(states, repeat=min(max(len(named), 1), 2))]
    likely = caption([_number(named[0])], [STILL]) if named else caption([3], [_SIDEWAYS])
    return (difflib.get_close_matches(words, known, n=1) or [likely])[0]


def _number(word: str) -> int:
    return int(word) if word.isdigit() else NUMBERS.index(word)


def suited_model(captions: Sequence[str]) -> str:
    """The shipped model for some captions, or for none.

    Captions that say how fast a digit is, from where it comes or what it does then are for `mnist-stories`. Captions of
    other things are for the model that was trained on somebody's clips and knows most of their words.

    Raises:
        UserError: a caption means nothing that a shipped model knows, or they name different numbers of digits.
    """
    if not captions:
        return "mnist1"
    try:
        counts = {understood(text).count("digit") for text in captions}
    except UserError:
        stories = [_story(text) for text in captions]
        if None not in stories and any(map(_says_more, stories)):
            return "mnist-stories"
        if name := _of_clips(captions):
            return name
        for text in captions:
            _refuse_strange(text)
        raise
    if len(counts) != 1:
        raise UserError("captions must all name as many digits as the first; for others choose a --model")
    return "mnist1-captions" if counts == {1} else "mnist2-captions"


def _of_other_things() -> dict[str, dict[str, Any]]:
    """The cards of those shipped models that draw other things than digits."""
    cards = {name: load_card(name) for name in shipped_models()}
    digits = set(BUILT_IN) - {"sprites"}
    return {name: card for name, card in cards.items() if card.get("data") not in digits}


def _of_clips(captions: Sequence[str]) -> str | None:
    """The shipped model of other things than digits that knows most words, if nearly all; it says which it lacks."""
    words = {word for text in captions for word in normalise(text)}
    known = {
        name: len(words.intersection(card["model"].get("captions", {}).get("vocabulary", ())))
        for name, card in _of_other_things().items()
    }
    likely = max(known, key=known.__getitem__, default=None)
    return likely if likely and 4 * known[likely] > 3 * len(words) else None


def _refuse_strange(text: str) -> None:
    """Where a text names no digit, name a caption for each kind of thing that can be drawn.

    Raises:
        UserError: it names none.
    """
    words = unicodedata.normalize("NFKC", text).casefold()
    if not re.search(rf"digit|number|[0-9]|\b(?:{'|'.join(NUMBERS)})\b", words):
        others = [repr(card["example"]) for card in _of_other_things().values() if "example" in card]
        such = " or ".join([repr(caption([3], [_SIDEWAYS])), *others])
        raise UserError(f"the caption {text!r} is not understood; did you mean {such}?")


def _story(text: str) -> Story | None:
    """What a text says of one digit, if somebody may mean a sentence of MNIST stories by it."""
    try:
        (story, *others) = parse_story(understood_story(text))
    except UserError:
        return None
    return None if others else story


def _says_more(story: Story | None) -> bool:
    """Whether a story says something that no caption of Bouncing MNIST can say, or leaves out which digit it is."""
    if story is None:
        return False
    told = story.speed != USUAL or story.start is not None or len(story.motions or ()) > 1
    return told or story.label is None or story.motions is None


def model_for(
    captions: Sequence[str], name: str | None = None, device: Device = "cpu", *, any_kind: bool = False
) -> tuple[Any, list[str] | None]:
    """A model, which the captions choose unless it is named; and the captions as it knows them.

    Args:
        any_kind: a VGAN will do, too.

    Raises:
        UserError: the model is not there, or the captions are not for it.
    """
    name = name or suited_model(captions)
    # Only now: a caption that is not understood is refused before the two seconds that importing torch takes.
    usable = start_torch(device)
    from syncdraw import pretrained

    model = (pretrained.load_any if any_kind else pretrained.load)(name, device=usable)
    return model, sentences_for(model, captions, load_card(name), name)


def sentences_for(model: SyncDraw | VGAN, captions: Sequence[str], card: dict[str, Any], name: str) -> list[str] | None:
    """The captions as a model knows them, which was trained on Bouncing MNIST or on other data; None for no captions.

    Args:
        card: of the model.
        name: of the model, for messages.

    Raises:
        UserError: the model draws without captions, or from captions alone; or it does not know what one means.
    """
    if captions and not model.captioned:
        raise UserError(f"model {name} draws without captions; leave the captions out, or choose a model with them")
    if not model.captioned:
        return None
    digits = card.get("data") == "bouncing_mnist" and not card.get("bouncing", {}).get("glyphs")
    stories = card.get("data") == "mnist_stories"
    if captions:
        ways = {"mnist_stories": understood_story, "sprites": understood_character}
        read = ways.get(card.get("data", ""), understood if digits else str)
        return [read(text) for text in captions]
    config: Any = model.config  # of a SyncDraw, for no other draws from captions
    words = ", ".join(config.captions.vocabulary[:20])
    such = card.get("example") or (f"one of the words {words}" if words else "a sentence")
    such = caption([3], [0]) if digits or stories else such
    raise UserError(f"model {name} draws from captions: give one, such as {such!r}")
