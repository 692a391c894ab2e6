"""The data sets that can be prepared, by the names that the command line knows them by.

Each is a function that lists the files of a folder; what it takes beside the folder are its own options. `prepare` does
the rest: `prepare(list_kth(folder), "data/kth")`.
"""

from __future__ import annotations

from collections.abc import Callable

from syncdraw.datasets.kth import KTH_CLIPS, list_kth
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.tgif import TGIF_CLIPS, list_tgif
from syncdraw.datasets.ucf101 import UCF101_CLIPS, list_ucf101
from syncdraw.datasets.vgan_layout import VGAN_CLIPS, list_vgan
from syncdraw.datasets.video_folder import FOLDER_CLIPS, list_folder

DATA_SETS: dict[str, tuple[Callable[..., Listing], ClipConfig]] = {
    "folder": (list_folder, FOLDER_CLIPS),
    "kth": (list_kth, KTH_CLIPS),
    "ucf101": (list_ucf101, UCF101_CLIPS),
    "tgif": (list_tgif, TGIF_CLIPS),
    "vgan": (list_vgan, VGAN_CLIPS),
}
"""How a data set is listed, and what is cut from its files unless the caller says otherwise."""
