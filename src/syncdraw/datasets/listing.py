"""What a data set says of itself before anything is decoded; `prepare` does all the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from syncdraw.datasets.decode import read_sequence
from syncdraw.datasets.parallel import Decoder
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.sources import Problem, Source


@dataclass(frozen=True)
class Listing:
    """The files of a data set, with their captions and splits.

    Attributes:
        kind: the data set's name; a folder that was prepared as another kind is decoded anew.
        sources: in the order that the clips are to have.
        config: what is cut from each file unless the caller says otherwise: the papers' shape.
        problems: the files, and lines of lists, that cannot be used, as far as names tell.
        remarks: what else is worth knowing, a sentence each.
        decoder: how the frames are read from a file; a data set has one of its own where its files are no plain videos.
    """

    kind: str
    sources: list[Source]
    config: ClipConfig
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    decoder: Decoder = read_sequence
