"""Makes a study: draws the clips of every source once, and puts them into a folder under names that tell nothing."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from syncdraw.apps.rating.ratings import RATINGS_FILE, create_ratings
from syncdraw.apps.rating.sources import Origin, RealClips, find_source
from syncdraw.apps.rating.study import CLIPS_FOLDER, FORMAT, STUDY_FILE, Study
from syncdraw.errors import UserError
from syncdraw.files import atomic_path, named
from syncdraw.media import save_video


def create_study(
    study: Path,
    sources: list[str],
    clips: int = 10,
    per_rater: int | None = None,
    examples: int = 2,
    seed: int = 0,
    fps: float = 5.0,
) -> Path:
    """Make a study: draw the clips of every source once, and put them into a new folder under names that tell nothing.

    A source is a model (a shipped one, a run folder, or a hub id), a folder of videos, or real clips: real:MODEL for
    test clips of the data that the model was trained on, real:FOLDER for real videos. NAME= before it is what the
    report calls it, as in VGAN=videos/vgan. A model with captions draws from captions of test clips that it has not
    been trained on.

    Args:
        study: the folder to make; it must not exist yet.
        sources: one or more, say real:mnist1 mnist1 mnist1-captions. All are shown at the same rate and size.
        clips: clips of each source in the study; v2 has 10.
        per_rater: clips of each source that one rater rates; all of them unless given.
        examples: real clips of each data set that raters see first, as what a 10 looks like.
        seed: of the clips, and of the orders in which raters see them.
        fps: frames a second.

    Raises:
        UserError: a source cannot be found or has too few clips, the folder exists, or a number makes no sense.
    """
    study = named(study)
    per_rater = clips if per_rater is None else per_rater
    if not 1 <= per_rater <= clips:
        raise UserError(f"a rater is to rate {per_rater} of {clips} clips of each source; give 1 or more, and no more "
                        "per rater than there are")  # fmt: skip
    if examples < 0 or seed < 0:
        raise UserError("--examples and --seed must be 0 or more")
    _refuse_existing(study)
    if not sources:
        raise UserError("a study needs sources: name some, such as real:mnist1 mnist1 mnist1-captions")
    origins = [find_source(text) for text in sources]
    repeated = [name for name, count in Counter(origin.source.name for origin in origins).items() if count > 1]
    if repeated:
        raise UserError(f"the source {repeated[0]} is named twice; name it once, or give each a name as in NAME=SOURCE")
    shown, rated = _make_clips(origins, clips, examples, seed)

    # All clips in one random order, so that neither the names nor the times of writing tell the source.
    order = np.random.default_rng(seed).permutation(len(shown) + clips * len(origins))
    names = [f"{number + 1:04d}.webp" for number in order.tolist()]
    videos = [*shown, *(video for one in rated for video in one)]
    grouped = names[len(shown) :]
    made = Study(
        name=secrets.token_hex(4),
        token=secrets.token_urlsafe(16),
        seed=seed,
        per_rater=per_rater,
        sources=tuple(origin.source for origin in origins),
        examples=tuple(names[: len(shown)]),
        clips=tuple(tuple(grouped[start : start + clips]) for start in range(0, len(grouped), clips)),
    )
    with atomic_path(study) as temporary:
        (temporary / CLIPS_FOLDER).mkdir(parents=True)
        for name, video in sorted(zip(names, videos, strict=True), key=lambda pair: pair[0]):
            save_video(video, temporary / CLIPS_FOLDER / name, frames_per_second=fps)
        (temporary / STUDY_FILE).write_text(json.dumps({"format": FORMAT, **asdict(made)}, indent=1) + "\n")
        create_ratings(temporary / RATINGS_FILE)
        _refuse_existing(study)  # another one may have been made meanwhile, and its ratings are not ours to replace
    print(f"wrote {study}: {clips} clips of each of {len(origins)} sources, {made.clips_a_rater} for each rater")
    return study


def _refuse_existing(study: Path) -> None:
    if study.exists() or study.is_symlink():
        if (study / STUDY_FILE).exists():
            raise UserError(f"{study} is a study already; leave the sources out to go on with it, or name a new folder")
        raise UserError(f"{study} exists, and is no study; name a new folder")


def _make_clips(
    origins: Sequence[Origin], clips: int, examples: int, seed: int
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The real clips that are shown first, and the clips of each source."""
    opened: dict[str, RealClips] = {}
    shown: list[Tensor] = []
    for origin in origins:
        needed = examples > 0 or origin.draw is None
        if origin.open_real is not None and needed and origin.data not in opened:
            opened[origin.data] = origin.open_real(seed)
            shown += opened[origin.data].take(examples)
    if examples and not shown:
        raise UserError(
            "no source tells what real clips look like, to be shown as examples of a 10: add real:MODEL or real:FOLDER "
            "to the sources, or leave examples out with --examples 0"
        )
    rated = []
    for number, origin in enumerate(origins):
        if origin.draw is None:
            rated.append(opened[origin.data].take(clips))
        else:
            # Sources differ in their seeds, so that two models do not draw from the same noise.
            rated.append(origin.draw(clips, seed + 1000 * number))
    return shown, rated
