"""syncdraw prepare: a command for each data set, with the options of its list and of what is cut from its files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from cyclopts import App

from syncdraw.datasets.public import DATA_SETS, prepare_data_set
from syncdraw.options import Count, Out, options_of

app = App(name="prepare", help="Prepare a data set for training: decode it once, into one folder.")


def _command(name: str) -> Callable[..., None]:
    def command(
        source: Path, /, *, out: Out | None = None, check: bool = False, workers: Count | None = None,
        quiet: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        """
        Args:
            out: the prepared folder to make; data/NAME unless given. Called again, only what is new is decoded.
            check: write nothing, and say which clips would be used and what is wrong with the others.
            workers: files to decode at once; one for each processor unless given.
            quiet: no progress bar.
        """
        place = prepare_data_set(name, source, out, check=check, workers=workers, progress=not quiet, **options)
        if not check:
            print(f"wrote {place}: train on it with --data {place}")

    list_files, usual = DATA_SETS[name]
    command.__annotations__["options"] = Unpack[options_of(list_files, usual, leave_out=("source",))]
    command.__doc__ = (inspect.getdoc(list_files) or "").replace("Args:", inspect.getdoc(command) or "")
    return command


for _name in DATA_SETS:
    app.command(_command(_name), name=_name)
