"""The tables of numbers in README.md, from docs/measured: python benchmarks/tables.py writes them there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parents[1] / "docs" / "measured"
README = MEASURED.parents[1] / "README.md"
TABLE_1 = {
    "mnist1": 340.39, "mnist1-grey": 340.39, "mnist1-binary": 340.39,
    "mnist1-captions": 327.11, "mnist1-captions-binary": 327.11,
    "mnist2": 639.71, "mnist2-binary": 639.71, "mnist2-captions": 524.41, "mnist2-captions-binary": 524.41,
}  # fmt: skip
"""Sync-DRAW's lines of v2's Table 1."""


def bound_row(name: str, measured: dict[str, Any]) -> str:
    bounds, stages = measured["bounds"], measured["trained"]["all_stages"]
    grey, binary = (bounds[protocol] for protocol in ("grey", "binary"))
    shown = (
        f"`{name}`",
        f"{grey['negative_elbo']:,.1f} +- {grey['standard_error']:.1f} ({grey['entropy_floor']:.1f})",
        f"{binary['negative_elbo']:,.1f} +- {binary['standard_error']:.1f}",
        f"{TABLE_1[name]}",
        f"{stages['clips_seen']:,} in {stages['stages']} stages",
        f"{stages['minutes']:.0f}",
    )
    return "| " + " | ".join(shown) + " |"


def caption_row(name: str, measured: dict[str, Any]) -> str:
    def share(which: str, key: str = "caption_match", temperature: str = "samples") -> str:
        return f"{100 * measured[temperature][which][key]:.1f}"

    shown = (
        f"`{name}`",
        *(f"{share(f'samples, {kind} captions')} ({share(f'samples, {kind} captions', temperature='cool')}) %"
          for kind in ("seen", "unseen")),
        f"{share('samples, unseen captions', 'motion_accuracy')} %",
        f"{share('real test clips, unseen captions')} %",
        f"{share('samples, unseen captions dealt anew')} %",
    )  # fmt: skip
    return "| " + " | ".join(shown) + " |"


def readable_row(name: str, measured: dict[str, Any]) -> str:
    kind = "seen" if "samples, seen captions" in measured["samples"] else "all"
    which = f"samples, {kind} captions" if "captions" in name else "samples"
    real = f"real test clips, {kind} captions"
    rows = [measured["samples"][which], measured["cool"][which], measured["samples"][real]]
    shown = (
        f"`{name}`" + f", {kind} captions" * ("captions" in name),
        f"{100 * rows[0]['one_axis']:.1f} %",
        *(f"{100 * row['readable_share']:.1f} %" for row in rows),
    )
    return "| " + " | ".join(shown) + " |"


def tables() -> list[list[str]]:
    """Rows of the three tables, in README's order."""
    measured = {name: json.loads((MEASURED / f"{name}.json").read_text()) for name in TABLE_1}
    captioned = {name: values for name, values in measured.items() if "samples, unseen captions" in values["samples"]}
    return [
        [bound_row(*item) for item in measured.items()],
        [caption_row(*item) for item in captioned.items()],
        [readable_row(*item) for item in measured.items()],
    ]


def main() -> None:
    lines = README.read_text().splitlines()
    place = 0
    for table in tables():
        place = next(i for i in range(place, len(lines)) if lines[i].startswith("| `mnist1"))
        end = next(i for i in range(place, len(lines)) if not lines[i].startswith("| `mnist"))
        lines[place:end] = table
        place += len(table)
    README.write_text("\n".join(lines) + "\n")
    print(f"wrote the tables of {README.name}")


if __name__ == "__main__":
    main()
