"""A folder of one's own clips as the data of a run: prepared, and the settings that fit them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from syncdraw.datasets import BUILT_IN
from syncdraw.datasets.own_clips import prepare_clips
from syncdraw.datasets.prepared import ABOUT, ClipConfig
from syncdraw.datasets.video_folder import list_folder
from syncdraw.errors import UserError
from syncdraw.fitting import Unreadable
from syncdraw.training.settings import RunConfig
from syncdraw.video import decode

_LOOKED_AT = 8
"""Clips of which the first frame is looked at, for colour."""


def with_own_clips(
    config: RunConfig, changes: Mapping[str, Any], prepared: Path | None = None, *, choose: bool = False
) -> dict[str, Any]:
    """Further changes to the settings of a run, where its data are a folder of clips: the folder is prepared.

    Args:
        config: the run.
        changes: what somebody has settled.
        prepared: a folder for prepared clips; beside the clips unless given.
        choose: settle what `changes` leaves open by the clips: captions are learned where most clips have some, and
            colours where there are any. Says what was chosen.

    Raises:
        UserError: the folder is missing, or has no clips.
    """
    folder = Path(config.data)
    if config.data in BUILT_IN:
        return {}
    if (folder / ABOUT).is_file():
        return {"data": str(folder.absolute())}  # the run may be used from elsewhere
    if not folder.is_dir():
        raise UserError(f"--data {config.data} is not a folder; give a folder of clips, or {', or '.join(BUILT_IN)}")
    model: dict[str, Any] = {}
    channels = config.model.channels
    if choose:
        settled = changes.get("model", {})
        sources = list_folder(folder).sources
        captioned = sum(bool(source.captions) for source in sources)
        if "route" not in settled.get("captions", {}) and 2 * captioned > len(sources):
            model["captions"] = {"route": "alignment"}
            print(f"{captioned} of {len(sources)} clips have captions, which are learned word by word; "
                  "--model.captions.route none leaves them out")  # fmt: skip
        elif "route" not in settled.get("captions", {}):
            print(f"{captioned} of {len(sources)} clips have captions: the model draws without; "
                  "--model.captions.route alignment learns from those that have one")  # fmt: skip
        if "channels" not in settled:
            channels = 3 if any(map(_has_colour, (source.path for source in sources[:_LOOKED_AT]))) else 1
            model["channels"] = channels
            print(f"the clips are in {'colour' if channels == 3 else 'grey'}; "
                  f"--model.channels {4 - channels} makes them {'grey' if channels == 3 else 'colour'}")  # fmt: skip
    frames, _, height, width = config.model.shape
    clips = ClipConfig(frames=frames, channels=channels, height=height, width=width, clips_per_file=0)
    place, report = prepare_clips(folder, clips, prepared=prepared)
    print(report)
    return {"data": str(place)} | ({"model": model} if model else {})


def _has_colour(path: Path) -> bool:
    frame = None
    with suppress(Unreadable), closing(decode(path)) as frames:  # the preparation says what is wrong with it
        frame = next(frames).pixels()
    return frame is not None and bool((frame != frame[:1]).any())
