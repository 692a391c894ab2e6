"""UCF-101: 13,320 videos of 101 actions, 320 x 240, in colour.

K. Soomro, A. R. Zamir, M. Shah, "UCF101: A dataset of 101 human actions classes from videos in the wild", 2012.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from syncdraw.datasets.caption_files import read_text
from syncdraw.datasets.folders import look_under
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig, Split
from syncdraw.datasets.sources import Problem, Source
from syncdraw.errors import UserError

# "Each video in the training dataset from UCF-101 contained 32 colored frames" (section 4.7), of VGAN's 64 x 64.
UCF101_CLIPS = ClipConfig(frames=32, channels=3, height=64, width=64, fit="crop", test_share=0.0)

_VIDEO_NAME = re.compile(r"v_([A-Za-z]+)_g(\d\d)_c(\d\d)\.avi", re.IGNORECASE)


def list_ucf101(source: Path, fold: int = 1) -> Listing:
    """UCF-101, with the class's name as caption ('apply eye makeup').

    The data set has three ways to divide it into training and test; it has no validation set. Ours is taken from the
    training list, whole groups at a time, because the videos of a group are cut from one recording; `test_share` is
    not used.

    Args:
        source: the folder with the videos, `v_ApplyEyeMakeup_g01_c01.avi` and so on, flat or in a folder for each
            class, and with `classInd.txt`, `trainlist01.txt` and `testlist01.txt` anywhere in it.
        fold: 1, 2 or 3: which pair of lists.

    Raises:
        UserError: a list or all videos are missing.
    """
    if fold not in (1, 2, 3):
        raise UserError(f"fold is {fold}; it must be 1, 2 or 3")
    content = look_under(source)
    problems = content.problems
    videos = [path for path in content if path.suffix.lower() == ".avi"]
    lists = {path.name.lower(): path for path in content if path.suffix.lower() == ".txt"}
    wanted = ("classInd.txt", f"trainlist0{fold}.txt", f"testlist0{fold}.txt")
    for name in wanted:
        if name.lower() not in lists:
            raise UserError(f"{source} has no {name}; put UCF-101's class list and lists of videos into it")
    classes, complaints = read_classes(lists[wanted[0].lower()])
    problems += complaints
    listed: dict[str, Split] = {}
    halves: tuple[Split, Split] = ("train", "test")
    for name, half in zip(wanted[1:], halves, strict=True):
        names, complaints = read_list(lists[name.lower()], classes)
        problems += complaints
        # Names are compared without case: the folder HandstandPushups holds v_HandStandPushups_g01_c01.avi.
        listed |= dict.fromkeys((one.lower() for one in names), half)

    known = {name.lower(): name for name in classes.values()}
    sources = []
    found = set()
    for path in videos:
        name = path.relative_to(source).as_posix()
        match = _VIDEO_NAME.fullmatch(path.name)
        if match is None or match[1].lower() not in known:
            problems.append(Problem(name, "not named as UCF-101's videos are (v_Archery_g01_c01.avi)"))
        elif path.name.lower() in found:
            problems.append(Problem(name, "a second copy of a video"))
        elif path.name.lower() not in listed:
            problems.append(Problem(name, f"in neither list of fold {fold}"))
        else:
            split = listed[path.name.lower()]
            group = f"{match[1]}_g{match[2]}".lower() if split == "train" else ""
            sources.append(Source(name, path, (class_words(known[match[1].lower()]),), split, group))
            found.add(path.name.lower())
    if not sources:
        raise UserError(f"{source} has none of the videos that {wanted[1]} and {wanted[2]} list")
    gone = len(listed.keys() - found)
    remarks = content.remarks
    if gone:
        remarks.append(f"{gone} of {len(listed)} videos that the lists of fold {fold} name are not there")
    return Listing("ucf101", sources, UCF101_CLIPS, problems, remarks)


def class_words(name: str) -> str:
    """A class's name as a caption: ApplyEyeMakeup is 'apply eye makeup', YoYo is 'yo yo'."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def read_classes(path: Path) -> tuple[dict[int, str], list[Problem]]:
    """`classInd.txt`: the classes by number, from 1; and its lines of no use.

    Raises:
        UserError: the file cannot be read or names no class.
    """
    classes = {}
    problems = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if len(words) == 2 and re.fullmatch("[0-9]{1,4}", words[0]):
            classes[int(words[0])] = words[1]
        elif words:
            problems.append(Problem(f"{path.name}, line {number}", "must be a number and a class", "passed over"))
    if not classes:
        raise UserError(f"{path} names no classes; expected lines such as '1 ApplyEyeMakeup'")
    return classes, problems


def read_list(path: Path, classes: dict[int, str]) -> tuple[list[str], list[Problem]]:
    """`trainlist01.txt` or `testlist01.txt`: file names without their folder; and lines of no use.

    A line may end in the class's number (the official training lists do) or not (the official test lists do not); where
    it does, the number must fit the folder.

    Raises:
        UserError: the file cannot be read.
    """
    names = []
    problems = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        video = PurePosixPath(words[0].replace("\\", "/"))
        complaint = ""
        if not _VIDEO_NAME.fullmatch(video.name) or len(words) > 2:
            complaint = "must be a video such as Archery/v_Archery_g01_c01.avi, with or without a class number"
        elif len(words) == 2:
            named = classes.get(int(words[1])) if re.fullmatch("[0-9]{1,4}", words[1]) else None
            if named is None or video.parent.name.lower() not in ("", named.lower()):
                complaint = f"says class {words[1]}, which is {named or 'none of the class list'}"
        if complaint:
            problems.append(Problem(f"{path.name}, line {number}", complaint, "passed over"))
        else:
            names.append(video.name)
    return names, problems
