"""KTH Human Actions: six actions, 25 people, four scenes, grey, 160 x 120, 25 frames a second.

C. Schuldt, I. Laptev, B. Caputo, "Recognizing human actions: a local SVM approach", ICPR 2004. The videos and the file
`00sequences.txt`, which says which frames of each are an action, come from the authors' page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from syncdraw.datasets.caption_files import read_text
from syncdraw.datasets.crossing import find_person, small_frames
from syncdraw.datasets.decode import DecodedSequence, missing_frames, read_frames
from syncdraw.datasets.folders import look_under
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig, Split
from syncdraw.datasets.sources import Problem, Source
from syncdraw.errors import UserError
from syncdraw.fitting import Unreadable

Action = Literal["boxing", "handclapping", "handwaving", "jogging", "running", "walking"]
ACTIONS: tuple[Action, ...] = get_args(Action)
CROSSING = ("jogging", "running", "walking")  # the actions that cross the picture, and so have a direction

# "We resized the frames to 120 x 120": section 4.4 of the paper. Where it means padding (v1, TGIF), it says so.
KTH_CLIPS = ClipConfig(frames=10, channels=1, height=120, width=120, fit="stretch")

# The split of the authors' page, by person.
_VALIDATION = frozenset({19, 20, 21, 23, 24, 25, 1, 4})
_TEST = frozenset({22, 2, 3, 5, 6, 7, 8, 9, 10})

_SEQUENCES = "00sequences.txt"
_VIDEO_NAME = re.compile(r"(person(\d\d)_([a-z]+)_d\d)(_uncomp)?\.avi", re.IGNORECASE)
_LINE = re.compile(r"(person\d\d_[a-z]+_d\d)\s+(?:frames\s+)?(.*)", re.IGNORECASE)
_RANGES = re.compile(r"\d+\s*-\s*\d+(\s*,\s*\d+\s*-\s*\d+)*\s*,?")

Ranges = list[tuple[int, int]]


def list_kth(source: Path, actions: Sequence[Action] = ACTIONS) -> Listing:
    """KTH: clips from each sub-sequence, captioned 'person 1 is boxing', 'person 3 is running left to right'.

    People walk, jog and run into the picture and out of it. Their clips are cut from the frames in which they are
    visible, and the direction in their captions is measured, both by the difference from the background. Where no
    direction is clear, the caption has none, and the report says so.

    Train, validation and test have the people that the authors' page assigns to them. `clips_per_file` counts for each
    sub-sequence.

    Args:
        source: the folder with the videos, `person01_walking_d1_uncomp.avi` and so on, flat or in a folder for each
            action, and with `00sequences.txt`.
        actions: those to take. The paper's captioned model has walking and running (section 4.5.3).

    Raises:
        UserError: `00sequences.txt` or all videos are missing.
    """
    for unknown in set(actions) - set(ACTIONS):
        raise UserError(f"actions has {unknown!r}; it must be made of {', '.join(ACTIONS)}")
    content = look_under(source)
    tables = [path for path in content if path.name.lower() == _SEQUENCES]
    videos = {path.relative_to(source).as_posix(): path for path in content if path.suffix.lower() == ".avi"}
    if not tables:
        raise UserError(f"{source} has no {_SEQUENCES}; put the list of sub-sequences from KTH's page into it")
    ranges, missing, complaints = read_sequences(tables[0])
    problems = [*content.problems, *complaints]

    sources = []
    seen = set()
    for name, path in videos.items():
        match = _VIDEO_NAME.fullmatch(path.name)
        if match is None or match[3].lower() not in ACTIONS:
            problems.append(Problem(name, "not named as KTH's videos are (person01_walking_d1_uncomp.avi)"))
            continue
        key, person, action = match[1].lower(), int(match[2]), match[3].lower()
        if action not in actions:
            continue
        if key in seen:
            problems.append(Problem(name, "a second copy of a video"))
        elif key not in ranges:
            problems.append(Problem(name, f"{tables[0].name} has no frames for it"))
        else:
            words = action.replace("hand", "hand ")
            split: Split = "validation" if person in _VALIDATION else "test" if person in _TEST else "train"
            sources.append(Source(name, path, (f"person {person} is {words}",), split))
        seen.add(key)
    if not sources:
        raise UserError(f"{source} has no videos of KTH such as person01_walking_d1_uncomp.avi, for these actions")
    expected = {key for key in ranges if key.split("_")[1] in actions}
    remarks = content.remarks
    if expected - seen:
        remarks.append(f"{len(expected - seen)} of {len(expected)} videos that {_SEQUENCES} lists are not there")
    missing = {key for key in missing if key.split("_")[1] in actions}
    if missing:
        remarks.append(f"missing in the data set itself: {', '.join(sorted(missing))}")
    return Listing("kth", sources, KTH_CLIPS, problems, remarks, partial(_read_sequences_of_video, ranges))


def read_sequences(path: Path) -> tuple[dict[str, Ranges], set[str], list[Problem]]:
    """`00sequences.txt`: for each video its ranges of frames, 0-based and inclusive (the file counts from 1).

    Returns:
        the ranges by video (`person01_walking_d1`), the videos that it calls missing, and its lines of no use.

    Raises:
        UserError: the file cannot be read.
    """
    ranges: dict[str, Ranges] = {}
    missing: set[str] = set()
    problems = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue  # a blank line, or prose
        key, rest = match[1].lower(), match[2]
        pairs = [(int(first) - 1, int(last) - 1) for first, last in re.findall(r"(\d{1,9})\s*-\s*(\d{1,9})", rest)]
        if "missing" in rest:
            missing.add(key)
        elif not _RANGES.fullmatch(rest) or any(first < 0 or last < first for first, last in pairs):
            problems.append(Problem(f"{path.name}, line {number}", f"{rest!r} is no list of ranges", "passed over"))
        else:
            ranges[key] = pairs
    return ranges, missing, problems


def _read_sequences_of_video(
    ranges: dict[str, Ranges], source: Source, config: ClipConfig
) -> Iterator[DecodedSequence | Problem]:
    """The sub-sequences of one video."""
    match = _VIDEO_NAME.fullmatch(source.path.name)
    assert match is not None
    crossing = match[3].lower() in CROSSING
    small = small_frames(source.path, config) if crossing else None
    total = sum(1 for _ in read_frames(source.path, config, ())) if small is None else len(small)
    if total == 0:
        raise Unreadable("none of its frames can be decoded")

    chosen: list[tuple[int, int, str]] = []
    for number, (first, last) in enumerate(ranges[match[1].lower()], 1):
        label = f"sub-sequence {number} (frames {first + 1}-{last + 1})"
        start, stop, direction = min(first, total), min(last + 1, total), ""
        if small is not None:
            start, stop, direction = find_person(small, start, stop)
        if problem := missing_frames(stop - start, config):
            shown = " while the person is visible" if crossing else ""
            yield Problem(source.name, f"{label} is {problem}{shown}")
            continue
        if crossing and not direction:
            yield Problem(source.name, f"{label} has no clear direction", "captioned without one")
        chosen.append((start, stop, direction))
    # A video of KTH is short; its sub-sequences may overlap.
    wanted = {number for start, stop, _ in chosen for number in range(start, stop)}
    kept = {number: image for number, image in read_frames(source.path, config, wanted) if image is not None}
    for start, stop, direction in chosen:
        yield DecodedSequence([kept[number] for number in range(start, stop)], start, direction)
