"""The clips of VGAN: one JPEG each, its square frames stacked from top to bottom, and a text file that lists them.

C. Vondrick, H. Pirsiavash, A. Torralba, "Generating videos with scene dynamics", NIPS 2016. Their frames are 128 x 128,
and their loader scales them to 64 x 64.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from syncdraw.datasets.caption_files import read_text
from syncdraw.datasets.decode import DecodedSequence, missing_frames
from syncdraw.datasets.folders import look_under
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.sources import Problem, Source
from syncdraw.errors import UserError
from syncdraw.fitting import Unreadable, check_size, fit_frame, picture_frame
from syncdraw.video import reading

VGAN_CLIPS = ClipConfig(frames=32, channels=3, height=64, width=64, fit="stretch")


def list_vgan(source: Path, list_file: Path | None = None) -> Listing:
    """Clips in VGAN's layout. They have no captions, and are divided by the hash of their content.

    A clip with fewer frames than asked for ends in repetitions of its last one, as in VGAN's own loader.

    Args:
        source: the folder that the list's paths start from.
        list_file: a path to a JPEG on each line; what follows it on the line is not read. None for the only `.txt` file
            in `source`, or, if there is none, for every JPEG under it.

    Raises:
        UserError: there is no such list or more than one, or it names no clip that is there.
    """
    content = look_under(source)
    problems = content.problems
    texts = [path for path in content.files.get(source, ()) if path.suffix.lower() == ".txt"]
    pictures = [path.relative_to(source).as_posix() for path in content if path.suffix.lower() in (".jpg", ".jpeg")]
    if list_file is None and len(texts) > 1:
        raise UserError(f"{source} has several lists ({', '.join(path.name for path in texts)}); say which one to take")
    names = pictures
    if list_file is not None or texts:
        listing = list_file or texts[0]
        names = [line.split()[0] for line in read_text(listing).splitlines() if line.split()]
        if not names:
            raise UserError(f"{listing} names no clip; expected the path of a JPEG on each line")
    if not names:
        raise UserError(f"{source} has no JPEGs, and no list of them; give the folder that VGAN's data lies in")
    sources = []
    for name in dict.fromkeys(name.replace("\\", "/").removeprefix("./") for name in names):
        path = source / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            problems.append(Problem(name, "not in the folder of the data set"))
        elif not path.is_file():
            problems.append(Problem(name, "is listed, but not there"))
        else:
            sources.append(Source(name, path))
    if not sources:
        raise UserError(f"{source} has none of the {len(names)} clips that are listed; the first is {names[0]}")
    return Listing("vgan", sources, VGAN_CLIPS, problems, content.remarks, _read_stack)


def _read_stack(source: Source, config: ClipConfig) -> Iterator[DecodedSequence | Problem]:
    """The frames of one stack."""
    with reading(), Image.open(source.path, formats=["JPEG"]) as image:
        side, height = image.size
        check_size(side, height)
        total, rest = divmod(height, side)
        if rest or total == 0:
            raise Unreadable(f"{side} x {height} pixels are no stack of square frames")
        reformatter = VideoReformatter()

        def frame(number: int) -> NDArray[np.uint8]:
            picture = image.crop((0, side * number, side, side * (number + 1)))
            return fit_frame(picture_frame(picture), config, reformatter)

        if problem := missing_frames(total, config):
            yield Problem(source.name, problem, "its last frame is repeated")
        yield DecodedSequence(frame(min(number, total - 1)) for number in range(max(total, config.least_frames)))
