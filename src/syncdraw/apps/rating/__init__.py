"""The human rating study of v2, section 4.6.2: make one, let people rate, report what they said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from syncdraw.apps.rating.report import report_study
from syncdraw.apps.rating.server import serve_study
from syncdraw.errors import UserError

__all__ = ["report_study", "run_study", "serve_study"]

_MAKING, _SERVING, _REPORTING = ("clips", "per_rater", "examples", "fps", "seed"), ("host", "port"), ("csv", "seed")
_MEANT_FOR = {
    **dict.fromkeys(_REPORTING, "a report; add --report"),
    **dict.fromkeys(_SERVING, "a study that is served; leave out --report"),
    **dict.fromkeys(_MAKING, "a new study; name its sources with it"),
}


def run_study(study: Path, sources: list[str], report: bool, **options: Any) -> None:
    """Make a study of some sources and serve it, or serve an old one, or report what raters said.

    Args:
        study: its folder.
        sources: as for `making.create_study`.
        report: as `report_study` does, and nothing else.
        options: of `making.create_study`, `serve_study` and `report_study`; None stands for the usual.

    Raises:
        UserError: an option is given that would be passed over; or as those functions do.
    """
    if report and sources:
        raise UserError("--report is for a study that has been made; leave the sources out")
    known = _REPORTING if report else (*_MAKING, *_SERVING) if sources else _SERVING
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            raise UserError(f"--{name} is for {_MEANT_FOR[name]}")
    if report:
        report_study(study, **given)
        return
    if sources:
        from syncdraw.apps.rating.making import create_study  # which imports torch; raters do without

        create_study(study, sources, **{name: given[name] for name in _MAKING if name in given})
    serve_study(study, **{name: given[name] for name in _SERVING if name in given})
