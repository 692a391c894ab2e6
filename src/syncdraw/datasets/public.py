"""The data sets that can be prepared, by the names that the command line knows them by."""

from __future__ import annotations

from collections.abc import Callable

from syncdraw.datasets.kth import prepare_kth
from syncdraw.datasets.sources import Report
from syncdraw.datasets.tgif import prepare_tgif
from syncdraw.datasets.ucf101 import prepare_ucf101
from syncdraw.datasets.vgan_layout import prepare_vgan
from syncdraw.datasets.video_folder import prepare_folder

PREPARERS: dict[str, Callable[..., Report]] = {
    "folder": prepare_folder,
    "kth": prepare_kth,
    "ucf101": prepare_ucf101,
    "tgif": prepare_tgif,
    "vgan": prepare_vgan,
}
