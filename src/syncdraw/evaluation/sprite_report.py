"""Do samples of sprites show what their captions say? As the reader of sprites sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncdraw.datasets.sprite_captions import VALUES, Character, parse_character
from syncdraw.datasets.sprites import Sprites
from syncdraw.errors import UserError
from syncdraw.evaluation.distances import unit
from syncdraw.evaluation.models import DrawingModel
from syncdraw.evaluation.reports import Report
from syncdraw.evaluation.samples import sample_batches
from syncdraw.evaluation.sprite_reader import SpriteReader

NOTHING_SAID = "a person"
"""The caption that leaves everything open."""

ATTRIBUTES = tuple(name.replace("_", " ") for name in VALUES)


def fidelity(found: Tensor, captions: Sequence[str]) -> dict[str, float]:
    """How well clips show what their captions say.

    Args:
        found: what the reader sees in each, int64 `[batch, 9]`.
        captions: one for each clip.

    Returns:
        `caption_match`: the share of clips that show all that is said; and of each attribute, the share of the clips
        of which it is said that show it. Where nobody says it, it is left out.
    """
    said = [Character() if text == NOTHING_SAID else parse_character(text) for text in captions]
    told = torch.tensor([[-1 if number is None else number for number in character] for character in said])
    spoken, right = told >= 0, (found == told) | (told < 0)
    shares = {"caption_match": right.all(dim=1).float().mean().item()}
    for number, name in enumerate(ATTRIBUTES):
        if spoken[:, number].any():
            shares[name] = right[spoken[:, number], number].float().mean().item()
    return shares


def entropies(scores: Sequence[Tensor]) -> dict[str, float]:
    """How clear and how varied clips are, by the numbers that follow Li and Mandt (ICML 2018): of action and direction.

    Args:
        scores: log probabilities `[batch, value]` of each attribute.

    Returns:
        `intra_entropy`, H(y|x): of what the reader says of one clip, nats; 0 where it is sure. `inter_entropy`, H(y):
        of all clips together; log 20 = 3.00 where all actions and directions are as frequent. `inception_score`: the
        exponential of their difference.
    """
    action, direction = (scores[list(VALUES).index(name)] for name in ("action", "direction"))
    joint = (action[:, :, None] + direction[:, None]).flatten(1).double()
    intra = -(joint.exp() * joint).sum(dim=1).mean().item()
    mean = joint.exp().mean(dim=0)
    inter = -(mean * mean.clamp(min=1e-12).log()).sum().item()
    return {"intra_entropy": intra, "inter_entropy": inter, "inception_score": math.exp(inter - intra)}


def sprite_report(
    model: DrawingModel, *, samples: int, seed: int, temperature: float = 1.0, reader: SpriteReader | None = None
) -> Report:
    """What the reader sees in samples, for captions seen in training and unseen ones, beside real clips and chance.

    All captions are of characters that no training clip shows; the unseen ones are of clothes and hair, too, that
    training keeps from this action, or from this direction. Chance is the samples against captions dealt out anew.

    Raises:
        UserError: the model draws clips of another shape, or without captions.
    """
    test = Sprites("test", "seen")
    if not model.captioned or model.shape != test.shape:
        raise UserError("the reader of sprites measures models that draw sprites from captions; this one does not")
    if not 1 <= samples <= len(test):
        raise UserError(f"samples is {samples}; it must be from 1 to {len(test)}, the number of test clips")
    reader = reader or SpriteReader.load()
    values: dict[str, Any] = {"samples": samples, "seed": seed, "temperature": temperature}
    rows: list[tuple[str, dict[str, float]]] = []
    for kind in ("seen", "unseen"):
        clips = Sprites("test", kind).take(np.arange(samples))
        captions = clips.captions or []
        dealt = [captions[i] for i in np.random.default_rng(seed).permutation(samples)]
        real = torch.cat([reader.read(unit(some)) for some in torch.from_numpy(clips.videos).split(100)])
        drawn = torch.cat([reader.read(some) for some in sample_batches(model, captions, seed, temperature)])
        rows += [
            (f"real test clips, {kind} captions", fidelity(real, captions)),
            (f"samples, {kind} captions", fidelity(drawn, captions)),
            (f"samples, {kind} captions dealt anew", fidelity(drawn, dealt)),
        ]
    values |= dict(rows)
    free = [reader.scores(some) for some in sample_batches(model, [NOTHING_SAID] * samples, seed, temperature)]
    values[f"samples for {NOTHING_SAID!r}"] = entropies([torch.cat(scores) for scores in zip(*free, strict=True)])
    columns = ("caption_match", *ATTRIBUTES)
    names = ("whole caption", *ATTRIBUTES)
    lines = [
        f"{samples} clips for each row, seed {seed}, temperature {temperature:g}; shares in percent, by the reader of "
        "sprites", "", " " * 36 + "  ".join(names),
    ]  # fmt: skip
    for label, shares in rows:
        cells = (f"{100 * shares[c]:{len(n)}.1f}" if c in shares else " " * len(n)
                 for c, n in zip(columns, names, strict=True))  # fmt: skip
        lines.append(f"{label:<36}" + "  ".join(cells))
    found = values[f"samples for {NOTHING_SAID!r}"]
    lines += [
        "", "whole caption: all that is said is shown. The others: of the clips of which it is said, those that show",
        "it.",
        f"{samples} samples for {NOTHING_SAID!r}, of actions and directions: H(y|x) {found['intra_entropy']:.3f} nats, "
        f"H(y) {found['inter_entropy']:.3f} nats (at most {math.log(_KINDS):.3f}), inception score "
        f"{found['inception_score']:.2f} (at most {_KINDS})",
    ]  # fmt: skip
    return Report("\n".join(lines), values)


_KINDS = len(VALUES["action"]) * len(VALUES["direction"])
