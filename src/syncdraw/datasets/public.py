"""The data sets that can be prepared, by the names that the command line knows them by.

Each is a function that lists the files of a folder; what it takes beside the folder are its own options. `prepare` does
the rest: `prepare(list_kth(folder), "data/kth")`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from syncdraw.datasets.kth import KTH_CLIPS, list_kth
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.sprite_sheets import SPRITE_CLIPS, list_sprites
from syncdraw.datasets.tgif import TGIF_CLIPS, list_tgif
from syncdraw.datasets.ucf101 import UCF101_CLIPS, list_ucf101
from syncdraw.datasets.vgan_layout import VGAN_CLIPS, list_vgan
from syncdraw.datasets.video_folder import FOLDER_CLIPS, list_folder
from syncdraw.datasets.weizmann import WEIZMANN_CLIPS, list_weizmann

DATA_SETS: dict[str, tuple[Callable[..., Listing], ClipConfig]] = {
    "folder": (list_folder, FOLDER_CLIPS),
    "kth": (list_kth, KTH_CLIPS),
    "ucf101": (list_ucf101, UCF101_CLIPS),
    "tgif": (list_tgif, TGIF_CLIPS),
    "vgan": (list_vgan, VGAN_CLIPS),
    "weizmann": (list_weizmann, WEIZMANN_CLIPS),
    "sprites": (list_sprites, SPRITE_CLIPS),
}
"""How a data set is listed, and what is cut from its files unless the caller says otherwise."""


def prepare_data_set(
    name: str, source: Path, place: Path | None = None, *, check: bool = False, workers: int | None = None,
    progress: bool = True, **options: Any,
) -> Path:  # fmt: skip
    """List one of these data sets and `prepare` it; print the report.

    Args:
        name: of the data set.
        source: its folder.
        place: the prepared folder to make; `data/NAME` unless given, where NAME is the data set's or the folder's own.
        check: as for `prepare`.
        workers: likewise.
        progress: likewise.
        options: of its list, and fields of `ClipConfig`.

    Returns:
        The prepared folder.

    Raises:
        UserError: as `prepare` does; with `check`, too, where there is no clip to train on.
    """
    list_files, usual = DATA_SETS[name]
    config = replace(usual, **{key: options.pop(key) for key in vars(usual).keys() & options.keys()})
    place = place or Path("data") / (source.resolve().name if name == "folder" else name)
    report = prepare(list_files(source, **options), place, config, check=check, workers=workers, progress=progress)
    print(report)
    if check:
        report.require_clips()
    return place
