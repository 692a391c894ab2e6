"""A study on disk: what is fixed when it is made, by `making`. What raters say is kept beside it, by `ratings`.

The folder holds `study.json` (the settings, and which clip comes from which source), `clips/` (the clips, whose names
say nothing about their sources) and `ratings.sqlite`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syncdraw.errors import UserError

STUDY_FILE, CLIPS_FOLDER = "study.json", "clips"
FORMAT = 1

ONE_DIGIT, TWO_DIGITS, KTH = PAPER_COLUMNS = ("One Digit MNIST", "Two Digit MNIST", "KTH Dataset")
"""The data sets that v2's Tables 2 and 3 have a column for."""


@dataclass(frozen=True)
class Source:
    """Where rated clips come from.

    Attributes:
        name: as the report names it.
        real: whether its clips are real ones.
        captions: whether its clips were drawn from captions.
        column: the column of v2's Tables 2 and 3 that it belongs to, or None.
    """

    name: str
    real: bool = False
    captions: bool = False
    column: str | None = None


@dataclass(frozen=True)
class Study:
    """What is fixed when a study is made.

    Attributes:
        name: random; tells this study's cookies from those of others on the same machine.
        token: the part of the link that lets raters in from other machines.
        seed: of the clips and of the orders.
        per_rater: clips of each source that one rater rates.
        sources: where the clips come from.
        examples: file names of the real clips that are shown first.
        clips: file names of the rated clips of each source, in the order of `sources`.
    """

    name: str
    token: str
    seed: int
    per_rater: int
    sources: tuple[Source, ...]
    examples: tuple[str, ...]
    clips: tuple[tuple[str, ...], ...]

    @property
    def clips_a_rater(self) -> int:
        """How many clips one rater rates."""
        return self.per_rater * len(self.sources)

    def source_of(self) -> dict[str, Source]:
        """The source of each rated clip, by file name."""
        return {clip: source for source, clips in zip(self.sources, self.clips, strict=True) for clip in clips}


def order_for(study: Study, number: int) -> list[str]:
    """The clips that rater `number` (0, 1, 2, ...) rates, in order.

    Every `len(study.sources)` clips in a row, counted from the first, hold one clip of each source, in random order. So
    a rater who stops early has rated all sources equally often, to within one clip. Each rater goes on with a source's
    clips where the one before stopped, so that all clips of a source are shown equally often, to within once.
    """
    generator = np.random.default_rng((study.seed, number))
    chosen = []
    for clips in study.clips:
        own = [clips[(number * study.per_rater + place) % len(clips)] for place in range(study.per_rater)]
        chosen.append(generator.permutation(own).tolist())
    return [chosen[source][turn] for turn in range(study.per_rater) for source in generator.permutation(len(chosen))]


def load_study(folder: Path) -> Study:
    """A study that `making.create_study` has made.

    Raises:
        UserError: there is none, or its file is damaged or of another version.
    """
    path = folder / STUDY_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise UserError(f"{path} was made by another version of syncdraw, which this one cannot read")
        values["sources"] = tuple(Source(**source) for source in values["sources"])
        values["clips"] = tuple(map(tuple, values["clips"]))
        values["examples"] = tuple(values["examples"])
        return Study(**values)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is no study (it has no {STUDY_FILE}); make one by naming its sources") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({error}); restore it from a copy") from error
