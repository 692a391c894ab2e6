"""Where the clips of a folder are kept once they are prepared: one place for each way to cut them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.sources import Report
from syncdraw.datasets.video_folder import FOLDER_CLIPS, list_folder
from syncdraw.errors import UserError


def prepare_clips(
    folder: Path,
    config: ClipConfig = FOLDER_CLIPS,
    *,
    prepared: Path | None = None,
    file_column: str | None = None,
    caption_column: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[Path, Report]:
    """Prepare a folder of clips for training, in a place of its own, or find it prepared.

    Args:
        folder: the clips, with captions or without; see `list_folder`.
        config: what to cut from each file. Another one gets another place, so that runs do not disturb each other.
        prepared: the folder for prepared clips; None for `my_clips.prepared` beside `my_clips`.
        file_column: as for `list_folder`.
        caption_column: likewise.
        workers: as for `prepare`.
        progress: likewise.

    Returns:
        the prepared folder, as an absolute path, so that a run finds it from anywhere; and the report.

    Raises:
        UserError: there are no clips, or none can be used; or the place cannot be written.
    """
    listing = list_folder(folder, file_column, caption_column)
    place = prepared_place(folder, config, prepared, file_column, caption_column)
    try:
        return place, prepare(listing, place, config, workers=workers, progress=progress)
    except UserError as error:
        if place.parent.is_dir() and os.access(place.parent, os.W_OK):
            raise
        raise UserError(f"{error}; name a folder for prepared clips with --prepared") from error


def prepared_place(
    folder: Path,
    config: ClipConfig,
    prepared: Path | None = None,
    file_column: str | None = None,
    caption_column: str | None = None,
) -> Path:
    """Where `prepare_clips` keeps the clips of a folder, as an absolute path: `my_clips.prepared/10x1x64x64-1f0c2a9b`.

    The name tells the shape (frames, channels, height, width), and by a digest all else that the clips depend on.

    Raises:
        UserError: the folder has no name, and `prepared` is not given.
    """
    decides: list[object] = [asdict(config), file_column, caption_column]
    # A link keeps the place beside itself: what it leads to may be read-only, or be called otherwise tomorrow.
    home = folder.resolve() if ".." in folder.parts else Path(os.path.abspath(folder))
    if prepared is None:
        if not home.name:
            raise UserError(f"{home} has no folder beside it; name a folder for prepared clips with --prepared")
        parent = home.with_name(f"{home.name}.prepared")
    else:
        # Folders of the same name may meet here.
        parent = Path(os.path.abspath(prepared))
        decides.append(str(folder.resolve()))
    digest = hashlib.blake2b(json.dumps(decides).encode(), digest_size=4).hexdigest()
    return parent / f"{'x'.join(map(str, config.shape))}-{digest}"
