"""Weizmann's actions: ten actions of nine people, filmed in colour, 180 x 144, 25 frames a second.

L. Gorelick, M. Blank, E. Shechtman, M. Irani, R. Basri, "Actions as space-time shapes", TPAMI 2007. The films come from
the authors' page, a zip for each action, and are for research only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from syncdraw.datasets.crossing import find_person, small_frames
from syncdraw.datasets.decode import DecodedSequence, read_sequence
from syncdraw.datasets.folders import look_under
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig, Split
from syncdraw.datasets.sources import Problem, Source
from syncdraw.errors import UserError
from syncdraw.video import kind_of

PERSONS = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
ACTIONS = {
    "bend": "bending",
    "jack": "doing jumping jacks",
    "jump": "jumping forward",
    "pjump": "jumping in place",
    "run": "running",
    "side": "galloping sideways",
    "skip": "skipping",
    "walk": "walking",
    "wave1": "waving one hand",
    "wave2": "waving both hands",
}
"""The actions by their names in files, and what captions say of them."""

CROSSING = ("jump", "run", "side", "skip", "walk")  # the actions that cross the picture, and so have a direction

# As `syncdraw train --data` would choose: the films' own shape, so that nothing is padded or cut, with about as many
# pixels as 64 x 64. At every other frame, a clip shows three quarters of a second.
WEIZMANN_CLIPS = ClipConfig(frames=10, channels=3, height=56, width=70, stride=2, clips_per_file=0)

# Of an action that somebody does twice, a number tells the films apart: lena_walk1, lena_walk2.
_NAME = re.compile(r"([a-z]+)_(wave[12]|[a-z]+)[12]?", re.IGNORECASE)

Pair = tuple[int, int]
"""A person and an action, by their places in `PERSONS` and `ACTIONS`."""


def list_weizmann(source: Path) -> Listing:
    """Weizmann: whole films, captioned 'person 3 is waving both hands', 'person 1 is running left to right'.

    Persons are numbered by the alphabet. The direction of those who cross the picture is measured by the difference
    from the background; where none is clear, the caption has none, and the report says so.

    A quarter of the pairs of a person and an action is kept from training, one half of them for validation and the
    other for test. Each person and each action is seen in training with others. All films of a pair are in one split,
    and clips are mirrored in training alone, if `mirror` says so. `validation_share` and `test_share` are not used.

    Args:
        source: the folder with the films, `daria_bend.avi` and so on, flat or in a folder for each action; folders of
            frames of such names do as well.

    Raises:
        UserError: there are no such films.
    """
    content = look_under(source)
    films: list[Path] = []
    for place, files in content.files.items():
        clips = [path for path in files if kind_of(path) == "clip"]
        frames = any(kind_of(path) == "frame" for path in files)
        films += clips or ([place] if frames and place != source else [])
    problems = content.problems
    found: dict[str, tuple[Path, Pair]] = {}
    for path in films:
        stem = _stem(path)
        pair = _pair(stem)
        if isinstance(pair, str):
            problems.append(Problem(path.relative_to(source).as_posix(), pair))
        elif stem in found:
            problems.append(Problem(path.relative_to(source).as_posix(), "a second copy of a film"))
        else:
            found[stem] = path, pair
    if not found:
        raise UserError(f"{source} has no films of Weizmann such as daria_bend.avi, and no folders of frames so named")
    pairs = {pair for _, pair in found.values()}
    held = held_out(pairs)
    sources = [
        Source(path.relative_to(source).as_posix(), path, (_caption(*pair),), held.get(pair, "train"))
        for path, pair in found.values()
    ]
    said = f"{len(held)} of {len(pairs)} pairs of a person and an action are kept from training"
    return Listing("weizmann", sources, WEIZMANN_CLIPS, problems, [*content.remarks, said], _read_film)


def held_out(pairs: Iterable[Pair]) -> dict[Pair, Split]:
    """The pairs that are kept from training, and the split of each: of all 90, 12 for validation and 11 for test.

    Which they are does not depend on what else is there, except that a pair stays in training that has the last film of
    its person or of its action.
    """
    train = set(pairs)
    held: dict[Pair, Split] = {}
    for person, action in sorted(train):
        others = train - {(person, action)}
        seen = any(other == person for other, _ in others) and any(other == action for _, other in others)
        if (person + action) % 4 == 0 and seen:
            held[person, action] = "test" if (person + action) % 8 else "validation"
            train = others
    return held


def _caption(person: int, action: int) -> str:
    return f"person {person + 1} is {list(ACTIONS.values())[action]}"


def _stem(path: Path) -> str:
    return (path.name if path.is_dir() else path.stem).lower()


def _pair(stem: str) -> Pair | str:
    """The person and the action that a film's name tells of; or what is wrong with it."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return "not named as Weizmann's films are (daria_bend.avi)"
    person, action = match.groups()
    if person not in PERSONS:
        return f"{person!r} is none of the persons {', '.join(PERSONS)}"
    if action not in ACTIONS:
        return f"{action!r} is none of the actions {', '.join(ACTIONS)}"
    return PERSONS.index(person), list(ACTIONS).index(action)


def _read_film(source: Source, config: ClipConfig) -> Iterator[DecodedSequence | Problem]:
    """A whole film, with the direction of who crosses the picture."""
    match = _NAME.fullmatch(_stem(source.path))
    assert match is not None
    crossing, direction = match[2] in CROSSING, ""
    if crossing:
        small = small_frames(source.path, config)
        direction = find_person(small, 0, len(small))[2]
    for found in read_sequence(source, config):
        yield found if isinstance(found, Problem) else replace(found, measured=direction)
    if crossing and not direction:
        yield Problem(source.name, "has no clear direction", "captioned without one")
