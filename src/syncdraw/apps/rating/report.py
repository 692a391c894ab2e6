"""What raters said, in the form of v2's Tables 2 and 3."""

from __future__ import annotations

import csv as csv_files
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syncdraw.apps.rating.ratings import HIGHEST, LOWEST, Rating, Ratings
from syncdraw.apps.rating.study import KTH, ONE_DIGIT, PAPER_COLUMNS, TWO_DIGITS, Study, load_study
from syncdraw.errors import UserError
from syncdraw.files import atomic_path, named

PAPER = {
    "without captions": {
        "Sync-DRAW (paper)": {ONE_DIGIT: (9.37, 0.63), TWO_DIGITS: (7.86, 0.75), KTH: (7.27, 0.80)},
        "Baseline (paper)": dict.fromkeys(PAPER_COLUMNS, (2.7, 0.53)),
    },
    "with captions": {"Sync-DRAW (paper)": {ONE_DIGIT: (9.43, 0.60), TWO_DIGITS: (8.97, 0.83), KTH: (9.10, 0.77)}},
}
"""v2's Tables 2 and 3: means and standard deviations of the scores of 37 raters, 10 clips of each experiment."""

_RESAMPLES = 10_000


@dataclass(frozen=True)
class SourceScores:
    """The scores of one source. A number that there are too few ratings for is None.

    Attributes:
        ratings: how many.
        raters: by how many raters.
        mean: of all ratings, 1 to 10.
        deviation: sample standard deviation of all ratings.
        low: where the 95 % interval of the mean begins.
        high: where it ends.
    """

    ratings: int
    raters: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None


def report_study(study: Path, csv: Path | None = None, seed: int = 0) -> dict[str, Any]:
    """Print what raters have said so far, in the form of v2's Tables 2 and 3 beside the paper's numbers.

    Mean and standard deviation are those of all ratings of a source. The interval of the mean comes from a bootstrap
    over raters, for the ratings of one rater are not independent of each other. Krippendorff's alpha says how far
    raters agree: 1 is perfect agreement, 0 what chance gives.

    Args:
        study: the folder of the study. Raters may go on meanwhile.
        csv: write every rating there: rater, position, clip, source, captions, real, score, rated.
        seed: of the bootstrap.

    Returns:
        `raters`, `finished`, `ratings`, `sources` (the scores by name) and `alpha` (by level of measurement).

    Raises:
        UserError: there is no such study, or the CSV file cannot be written.
    """
    if csv is not None:
        named(csv)
    made = load_study(study)
    ratings = Ratings(study).all()
    sources = made.source_of()
    scores = {
        source.name: source_scores([r for r in ratings if sources[r.clip] is source], seed) for source in made.sources
    }
    alpha = {level: agreement(ratings, level) for level in ("ordinal", "interval")}
    counts = np.unique([rating.rater for rating in ratings], return_counts=True)[1]
    finished = int((counts == made.clips_a_rater).sum())
    print(f"{study}: {len(counts)} raters, {finished} of them to the end; {len(ratings)} ratings, "
          f"from {LOWEST} to {HIGHEST}")  # fmt: skip
    print()
    print(_tables(made, scores))
    print(_agreement_line(alpha))
    if csv is not None:
        _write_csv(csv, made, ratings)
        print(f"wrote {csv}")
    return {
        "raters": len(counts),
        "finished": finished,
        "ratings": len(ratings),
        "sources": {name: asdict(one) for name, one in scores.items()},
        "alpha": alpha,
    }


def source_scores(ratings: Sequence[Rating], seed: int = 0) -> SourceScores:
    """Mean, standard deviation and a 95 % interval of the mean.

    The interval is the percentile bootstrap over raters: draw as many raters with replacement, each with all of its
    ratings, and take the mean of what they said.
    """
    scores = np.array([rating.score for rating in ratings], np.float64)
    raters, which = np.unique([rating.rater for rating in ratings], return_inverse=True)
    low = high = None
    if len(raters) > 1:
        sums, counts = np.bincount(which, scores), np.bincount(which)
        drawn = np.random.default_rng(seed).multinomial(
            len(raters), np.full(len(raters), 1 / len(raters)), size=_RESAMPLES
        )
        low, high = np.quantile(drawn @ sums / (drawn @ counts), [0.025, 0.975]).tolist()
    return SourceScores(
        ratings=len(scores),
        raters=len(raters),
        mean=float(scores.mean()) if len(scores) else None,
        deviation=float(scores.std(ddof=1)) if len(scores) > 1 else None,
        low=low,
        high=high,
    )


def agreement(ratings: Sequence[Rating], level: Literal["ordinal", "interval"]) -> float | None:
    """Krippendorff's alpha over all clips. None where no clip has two ratings, or all ratings are the same.

    Raises:
        UserError: the library is not installed.
    """
    try:
        import krippendorff
    except ImportError:
        raise UserError("the agreement between raters needs the extra app: pip install 'syncdraw[app]'") from None
    raters, row = np.unique([rating.rater for rating in ratings], return_inverse=True)
    clips, column = np.unique([rating.clip for rating in ratings], return_inverse=True)
    scores: NDArray[np.float64] = np.full((len(raters), len(clips)), np.nan)
    scores[row, column] = [rating.score for rating in ratings]
    shared = scores[:, (~np.isnan(scores)).sum(axis=0) > 1]
    if len(np.unique(shared[~np.isnan(shared)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=scores, level_of_measurement=level))


def _tables(study: Study, scores: dict[str, SourceScores]) -> str:
    lines = []
    for number, (kind, paper) in enumerate(PAPER.items(), 2):
        rows = {name: {column: _plus_minus(*cell) for column, cell in cells.items()} for name, cells in paper.items()}
        for source in study.sources:
            # The paper's raters had real clips before them in both experiments; they are the measure of both tables.
            if source.column is not None and (source.real or source.captions == (kind == "with captions")):
                one = scores[source.name]
                rows[source.name] = {source.column: _plus_minus(one.mean, one.deviation)}
        lines.append(f"Table {number}: average score ± standard deviation, {kind}")
        lines += _aligned(
            [["", *PAPER_COLUMNS], *([name, *(c.get(k, "") for k in PAPER_COLUMNS)] for name, c in rows.items())]
        )
        lines.append("")
    header = ["every source", "ratings", "raters", "average ± deviation", "95 % interval of the average"]
    cells = [
        [name, str(one.ratings), str(one.raters), _plus_minus(one.mean, one.deviation), _interval(one)]
        for name, one in scores.items()
    ]
    return "\n".join([*lines, *_aligned([header, *cells]), ""])


def _plus_minus(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "no ratings"
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _interval(scores: SourceScores) -> str:
    return "needs two raters" if scores.low is None else f"{scores.low:.2f} to {scores.high:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _agreement_line(alpha: dict[str, float | None]) -> str:
    if None in alpha.values():
        return "Krippendorff's alpha needs two raters of the same clips, and scores that are not all the same"
    return "Krippendorff's alpha: " + ", ".join(f"{value:.3f} ({level})" for level, value in alpha.items())


def _write_csv(path: Path, study: Study, ratings: Sequence[Rating]) -> None:
    sources = study.source_of()
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv_files.writer(file)
        table.writerow(["rater", "position", "clip", "source", "captions", "real", "score", "rated"])
        for rating in ratings:
            source = sources[rating.clip]
            table.writerow([rating.rater, rating.position, rating.clip, source.name, int(source.captions),
                            int(source.real), rating.score, rating.rated])  # fmt: skip
