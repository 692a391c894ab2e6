"""syncdraw rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from syncdraw.cli.options import Count, CountOrNone, Seed, start_torch
from syncdraw.errors import UserError


def rate(
    study: Path, sources: list[str] | None = None, /, *, report: bool = False, csv: Path | None = None,
    clips: Count | None = None, per_rater: Count | None = None, examples: CountOrNone | None = None,
    seed: Seed | None = None, fps: float | None = None, host: str | None = None, port: CountOrNone | None = None,
) -> None:  # fmt: skip
    """Let people rate clips: make a study, serve it, report what they said (v2 section 4.6.2).

    With sources, a new study is made and served; without, an old one is served again. A source is a model, a folder of
    videos, or real clips, real:MODEL or real:FOLDER; NAME= before it is what the report calls it.

    Args:
        study: the folder of the study.
        sources: say real:mnist1 mnist1 mnist1-captions.
        report: print what raters have said so far, and serve nothing.
        csv: with --report, write every rating there.
        clips: of each source in a new study; 10 unless given.
        per_rater: clips of each source that one rater of a new study rates; all of them unless given.
        examples: real clips of each data set that raters of a new study see first, as what a 10 looks like; 2 unless
            given.
        seed: of a new study's clips and orders, or of a report's bootstrap; 0 unless given.
        fps: frames a second of a new study's clips; 5 unless given.
        host: whom to serve; localhost unless given, which is this machine alone. 0.0.0.0 is every machine that can
            reach this one; the link then holds a token.
        port: of the link; 8000 unless given.
    """

    def named(**options: Any) -> dict[str, Any]:
        return {name: value for name, value in options.items() if value is not None}

    making = named(clips=clips, per_rater=per_rater, examples=examples, fps=fps, seed=None if report else seed)
    serving, reporting = named(host=host, port=port), named(csv=csv, seed=seed if report else None)
    for meant, options, place in (
        (bool(sources), making, "a new study; name its sources with it"),
        (not report, serving, "a study that is served; leave out --report"),
        (report, reporting, "a report; add --report"),
    ):
        if options and not meant:
            raise UserError(f"--{next(iter(options))} is for {place}")
    if report and sources:
        raise UserError("--report is for a study that has been made; leave the sources out")
    start_torch()
    from syncdraw.apps import rating

    if report:
        rating.report_study(study, **reporting)
        return
    if sources:
        rating.create_study(study, sources, **making)
    rating.serve_study(study, **serving)
