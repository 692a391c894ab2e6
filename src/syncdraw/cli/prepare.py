"""syncdraw prepare: a command for each data set, with the options of its list and of what is cut from its files."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App
from cyclopts import Parameter as Option

from syncdraw.cli.options import Count, Out, explained
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.public import DATA_SETS

app = App(name="prepare", help="Prepare a data set for training: decode it once, into one folder.")


def _command(name: str, list_files: Callable[..., Listing], usual: ClipConfig) -> Callable[..., None]:
    def command(
        source: Path, /, *, out: Out | None = None, check: bool = False, workers: Count | None = None,
        quiet: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        config = dataclasses.replace(usual, **{key: options.pop(key) for key in cut.keys() & options.keys()})
        place = out or Path("data") / (source.resolve().name if name == "folder" else name)
        report = prepare(
            list_files(source, **options), None if check else place, config, check=check, workers=workers,
            progress=not quiet,
        )  # fmt: skip
        print(report)
        if check:
            report.require_clips()
        else:
            print(f"wrote {place}: train on it with --data {place}")

    cut = explained(ClipConfig, usual)
    own = [_own(p) for p in inspect.signature(list_files, eval_str=True).parameters.values() if p.name != "source"]
    common = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
    settings = [Parameter(key, Parameter.KEYWORD_ONLY, annotation=cut[key], default=getattr(usual, key)) for key in cut]
    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [*common, *own, *settings]
    )
    command.__annotations__ = {option.name: option.annotation for option in [*common, *own, *settings]}
    command.__doc__ = (inspect.getdoc(list_files) or "").replace("Args:", _COMMON)
    return command


def _own(option: Parameter) -> Parameter:
    """An option of a data set's list; one that is on is switched off by --no-NAME."""
    if option.default is True:
        option = option.replace(annotation=Annotated[bool, Option(negative=f"--no-{option.name}")])
    return option.replace(kind=Parameter.KEYWORD_ONLY)


_COMMON = """Args:
    out: the prepared folder to make; data/NAME unless given. Called again, only what is new is decoded.
    check: write nothing, and say which clips would be used and what is wrong with the others.
    workers: files to decode at once; one for each processor unless given.
    quiet: no progress bar."""

for _name, (_list_files, _usual) in DATA_SETS.items():
    app.command(_command(_name, _list_files, _usual), name=_name)
