"""A folder of one's own clips as the data of a run: prepared, and the settings that fit them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
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
"""Clips whose first frames are looked at, for colour, shape and length."""

_SIDE = 64
"""Pixels: frames are learned that have about the area of a square with this side."""


def with_own_clips(
    config: RunConfig, changes: Mapping[str, Any], prepared: Path | None = None, *, choose: bool = False
) -> dict[str, Any]:
    """Further changes to the settings of a run, where its data are a folder of clips: the folder is prepared.

    Args:
        config: the run.
        changes: what somebody has settled.
        prepared: a folder for prepared clips; beside the clips unless given.
        choose: settle what `changes` leaves open by the clips: captions are learned where most clips have some, and
            colours where there are any; frames get the shape of the clips' own, so that little is padded, and clips as
            many frames as the shortest has, but no more than the recipe says. Says what was chosen.

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
    model = _chosen(config, changes.get("model", {}), folder) if choose else {}
    frames, channels, height, width = config.model.shape
    shape = {"frames": frames, "channels": channels, "height": height, "width": width}
    clips = ClipConfig(**{name: model.get(name, usual) for name, usual in shape.items()}, clips_per_file=0)
    place, report = prepare_clips(folder, clips, prepared=prepared)
    print(report)
    return {"data": str(place)} | ({"model": model} if model else {})


def _chosen(config: RunConfig, settled: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings of the model that fit the clips of a folder, and a line about each."""
    model: dict[str, Any] = {}
    sources = list_folder(folder).sources
    captioned = sum(bool(source.captions) for source in sources)
    if "route" not in settled.get("captions", {}) and 2 * captioned > len(sources):
        model["captions"] = {"route": "alignment"}
        print(f"{captioned} of {len(sources)} clips have captions, which are learned word by word; "
              "--model.captions.route none leaves them out")  # fmt: skip
    elif "route" not in settled.get("captions", {}):
        print(f"{captioned} of {len(sources)} clips have captions: the model draws without; "
              "--model.captions.route alignment learns from those that have one")  # fmt: skip
    # Of files from all over the folder: neighbours are often of one camera.
    looked_at = [sources[len(sources) * n // _LOOKED_AT].path for n in range(_LOOKED_AT)] if sources else []
    looks = [look for path in dict.fromkeys(looked_at) if (look := _Look.at(path, config.model.frames))]
    if not looks:
        return model  # the preparation says what is wrong with them
    if "channels" not in settled:
        model["channels"] = channels = 3 if any(look.colour for look in looks) else 1
        print(f"the clips are in {'colour' if channels == 3 else 'grey'}; "
              f"--model.channels {4 - channels} makes them {'grey' if channels == 3 else 'colour'}")  # fmt: skip
    if not {"height", "width"} & settled.keys():
        height, width = _learned_size([(look.height, look.width) for look in looks])
        model |= {"height": height, "width": width}
        print(f"frames are learned as {width} x {height}; --model.width and --model.height choose the size")
        other = next((look for look in looks if abs(math.log(look.width * height / look.height / width)) > 0.05), None)
        if other:
            print(f"frames of another shape, such as {other.width} x {other.height}, are padded; "
                  "syncdraw prepare folder --fit crop cuts them instead")  # fmt: skip
    shortest = min(look.frames for look in looks)
    if "frames" not in settled and 2 <= shortest < config.model.frames:
        model["frames"] = shortest
        print(f"there are clips of no more than {shortest} frames, so {shortest} are learned; --model.frames chooses")
    return model


def _learned_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Height and width, even numbers: of the shape that is in the middle of all shapes, as nearly as may be, so that
    hardly a pixel is padded, and then of the area that is learned."""
    shapes = sorted(width / height for height, width in sizes)
    shape = min(max(shapes[len(shapes) // 2], 0.25), 4.0)
    fitting = [
        (height, width)
        for height in range(16, 2 * _SIDE + 1, 2)
        if 0.8 <= height * (width := 2 * round(height * shape / 2)) / _SIDE**2 <= 1.1
    ]

    def unlike(size: tuple[int, int]) -> tuple[float, float]:
        height, width = size
        # In steps of half a pixel of the longer side: less cannot be seen.
        off = abs(math.log(width / height / shape)) * max(size)
        return round(2 * off), abs(math.log(height * width / _SIDE**2))

    return min(fitting, key=unlike)


@dataclass(frozen=True)
class _Look:
    """What the first frames of a clip tell.

    Attributes:
        colour: whether there is any in its first frame.
        height: of its first frame, pixels.
        width: likewise.
        frames: how many it has, as far as they were counted.
    """

    colour: bool
    height: int
    width: int
    frames: int

    @classmethod
    def at(cls, path: Path, most: int) -> _Look | None:
        """Look at a file or folder, at no more than so many frames; None where it cannot be read."""
        first, count = None, 0
        with suppress(Unreadable), closing(decode(path)) as frames:
            for frame in islice(frames, most):
                first = frame.pixels() if first is None else first
                count += 1
        if first is None:
            return None
        _, height, width = first.shape
        return cls(bool((first != first[:1]).any()), height, width, count)
