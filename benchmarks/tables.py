"""Fill the tables of README.md and docs/*.md from docs/measured and the package: python benchmarks/tables.py

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; this file is where each NAME is made from
what was measured, or from the settings and recipes themselves. A test holds the pages equal to it, so that no number in
them is older than its measurement, and no setting older than the code.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from communication import sent
from syncdraw import pretrained
from syncdraw.config import FROM_DATA, FROM_FIRST_LOOK
from syncdraw.evaluation.sprite_report import ATTRIBUTES as SPRITE_ATTRIBUTES
from syncdraw.evaluation.stories import ATTRIBUTES
from syncdraw.training import RunConfig, read_recipe

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "docs" / "measured"
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

TABLE_1 = {
    "mnist1": 340.39, "mnist1-grey": 340.39, "mnist1-binary": 340.39,
    "mnist1-captions": 327.11, "mnist1-captions-binary": 327.11,
    "mnist2": 639.71, "mnist2-grey": 639.71, "mnist2-binary": 639.71,
    "mnist2-captions": 524.41, "mnist2-captions-binary": 524.41,
}  # fmt: skip
"""Sync-DRAW's lines of v2's Table 1, nats per video, beside each shipped model of its data."""

DIGITS = (*TABLE_1, "mnist-stories")
"""All models of digits."""

BESIDE = ROOT / "models"
"""Where models lie that do not fit in the package."""

SPRITES = "sprites-captions"

OF_CLIPS = {"emoji-captions": "animated emoji, from a caption", "people": "a film of six people, from a caption"}
"""The shipped models of other things than digits, and what they draw."""


@cache
def measured(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((MEASURED / f"{name}.json").read_text())
    return values


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return ["", lines[0], "|" + "---|" * len(head), *lines[1:], ""]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def bound(values: dict[str, Any]) -> str:
    return f"{values['negative_elbo']:,.1f} +- {values['standard_error']:.1f}"


def of_samples(name: str) -> tuple[str, str]:
    """Under which names a model's samples and the real clips beside them are recorded."""
    shares = measured(name)["samples"]
    kind = "seen" if "samples, seen captions" in shares else "all"
    drawn = "samples" if isinstance(shares["samples"], dict) else f"samples, {kind} captions"
    return drawn, f"real test clips, {kind} captions"


def place(name: str) -> str:
    """What commands call a model: its name, or where it lies beside the package."""
    return f"{BESIDE.name}/{name}" if (BESIDE / name).is_dir() else name


def card(name: str) -> dict[str, Any]:
    beside = BESIDE / name
    return pretrained.load_card(beside if beside.is_dir() else name)


def models() -> list[str]:
    """README's: four columns."""
    rows = []
    for name in DIGITS:
        digits = "two digits" if name.startswith("mnist2") else "one digit"
        samples, real = of_samples(name)
        drawn = f"{digits}, {'from nothing' if samples == 'samples' else 'from a caption'}"
        drawn += " that says more" * (name not in TABLE_1)
        paper = f" ({TABLE_1[name]:,.0f})" if name in TABLE_1 else ""
        shares = measured(name)["samples"]
        readable = f"{percent(shares[samples]['readable_share'])} ({percent(shares[real]['readable_share'])})"
        binary = measured(name)["bounds"]["binary"]["negative_elbo"]
        rows.append([f"`{place(name)}`", drawn, readable, f"{binary:,.0f}{paper}"])
    for name, drawn in OF_CLIPS.items():
        reading = measured(name)["samples"]["reading"]
        shown = f"read as captioned: {percent(reading['seen'])}; unseen captions: {percent(reading['unseen'])}"
        rows.append([f"`{name}`", drawn, shown, ""])
    shares = measured(SPRITES)["samples"]
    matched = (percent(shares[f"samples, {kind} captions"]["caption_match"]) for kind in ("seen", "unseen"))
    shown = "captions matched: {}; unseen captions: {}".format(*matched)
    rows.append([f"`{SPRITES}`", "small characters, from a caption", shown, ""])
    head = ["model", "draws", "samples that can be read (of real clips)", "-ELBO, binary pixels (the paper's Table 1)"]
    return table(head, rows)


def bounds() -> list[str]:
    rows = []
    for name, paper in TABLE_1.items():
        grey, binary = (measured(name)["bounds"][protocol] for protocol in ("grey", "binary"))
        rows.append([f"`{name}`", f"{bound(grey)} ({grey['entropy_floor']:.1f})", bound(binary), f"{paper}"])
    return table(["model", "-ELBO `grey` (floor)", "-ELBO `binary`", "Table 1"], rows)


def training() -> list[str]:
    rows = []
    for name in (*DIGITS, *OF_CLIPS, SPRITES):
        trained = measured(name)["trained"]
        whole = trained.get("all_stages", trained)
        stages = whole.get("stages", 1)
        count = stages if isinstance(stages, int) else len(stages)
        hardware = card(name)["hardware"]
        rows.append([f"`{name}`", f"{count}", f"{whole['clips_seen']:,}", f"{whole['minutes']:.0f}", hardware])
    return table(["model", "stages", "training clips", "minutes", "its own stages on"], rows)


BY_RECIPE = {
    "mnist1": "its recipe",
    "mnist1-grey": "its recipe",
    "mnist1-captions": "its recipe",
    "mnist-stories": "its recipe",
    "people": "its recipe",
    "emoji-captions": "its recipe",
    "sprites-captions": "its recipe",
    "mnist2": "its recipe",
    "mnist2-captions": "its recipe",
    "mnist1-binary": "its recipe",
    "mnist1-captions-binary": "its recipe",
    "mnist2-grey": "its recipe",
    "mnist2-binary": "its recipe",
    "mnist2-captions-binary": "its recipe",
}
"""The shipped models that `syncdraw train NAME` has made."""


def recipes() -> list[str]:
    """What `syncdraw train NAME` does for each shipped model, and whether the model was made by it."""
    rows = []
    for name in (*DIGITS, *OF_CLIPS, SPRITES):
        stages = read_recipe(name).stages
        start = stages[0].config.train.start
        sources = " and ".join(f"`{source}`" for source in (start.model, start.first_look) if source) or "nothing"
        steps = " + ".join(f"{stage.config.train.max_steps:,}" for stage in stages)
        clips = sum(stage.config.train.max_steps * stage.config.train.batch_size for stage in stages)
        made = BY_RECIPE.get(name, "a history that cannot be repeated")
        rows.append([f"`{name}`", sources, steps, f"{clips:,}", made])
    return table(["model", "its recipe begins from", "steps of each stage", "clips", "what ships was made by"], rows)


def captions() -> list[str]:
    rows = []
    for name in TABLE_1:
        values = measured(name)
        if "samples, unseen captions" not in values["samples"]:
            continue
        matched = [
            f"{percent(values['samples'][which]['caption_match'])} ({percent(values['cool'][which]['caption_match'])})"
            for which in ("samples, seen captions", "samples, unseen captions")
        ]
        others = [
            percent(values["samples"][which][key])
            for which, key in (
                ("samples, unseen captions", "motion_accuracy"),
                ("real test clips, unseen captions", "caption_match"),
                ("samples, unseen captions dealt anew", "caption_match"),
            )
        ]
        rows.append([f"`{name}`", *matched, *others])
    return table(
        [
            "captions matched", "seen captions (at temperature 0.7)", "unseen captions (at temperature 0.7)",
            "motion right, unseen captions", "real test clips", "captions dealt anew",
        ],
        rows,
    )  # fmt: skip


def stories() -> list[str]:
    """What samples of MNIST stories show of their captions, beside real clips and captions that were dealt anew."""
    names = {"caption_match": "whole captions"} | {name: name for name in ATTRIBUTES} | {"readable_share": "readable"}
    rows = []
    for kind in ("seen", "unseen"):
        for which, shown in (("samples", "samples"), ("cool", "samples at temperature 0.7")):
            shares = measured("mnist-stories")[which][f"samples, {kind} captions"]
            rows.append([f"{shown}, {kind} captions", *(percent(shares[name]) for name in names)])
        for key in (f"real test clips, {kind} captions", f"samples, {kind} captions dealt anew"):
            shares = measured("mnist-stories")["samples"][key]
            rows.append([key, *(percent(shares[name]) for name in names)])
    return table(["", *names.values()], rows)


def sprites() -> list[str]:
    """What samples of sprites show of their captions, beside real clips and captions that were dealt anew."""
    names = {"caption_match": "whole captions"} | {name: name for name in SPRITE_ATTRIBUTES}
    rows = []
    for kind in ("seen", "unseen"):
        for which, shown in (("samples", "samples"), ("cool", "samples at temperature 0.7")):
            shares = measured(SPRITES)[which][f"samples, {kind} captions"]
            rows.append([f"{shown}, {kind} captions", *(percent(shares[name]) for name in names)])
        for key in (f"real test clips, {kind} captions", f"samples, {kind} captions dealt anew"):
            shares = measured(SPRITES)["samples"][key]
            rows.append([key, *(percent(shares[name]) for name in names)])
    return table(["", *names.values()], rows)


def sprite_reader() -> list[str]:
    """What the reader of sprites reads of real test clips."""
    shares = json.loads((pretrained.SHIPPED / "sprite_reader" / "config.json").read_text())["measured"]
    names = [name for name in shares if name not in ("clips", "whole")]
    return table(
        ["all of it", *(name.replace("_", " ") for name in names)],
        [[percent(shares["whole"]), *(percent(shares[name]) for name in names)]],
    )


def films_content() -> list[str]:
    names = {"per_frame": "a patch for each frame", "shared": "one for all frames", "both": "the sum of both"}
    rows = []
    for row in measured("films-content")["rows"]:
        training = [
            f"{row['training'][step]['L_X']:,.1f}" if step in row["training"] else "" for step in ("250", "400", "500")
        ]
        held = [f"{row['held_out'][step]:,.1f}" if step in row["held_out"] else "" for step in ("250", "500")]
        rows.append([names[row["content"]], row["optimizer"], *training, *held])
    steps = [f"L_X, step {step}" for step in (250, 400, 500)] + [f"held-out -ELBO, step {step}" for step in (250, 500)]
    return table(["what is written", "by", *steps], rows)


def films_sizes() -> list[str]:
    values = measured("films-sizes")
    rows = []
    for name, row in values["results"].items():
        middle, last = (row["held_out"][f"{values['steps'] // part}"] for part in (2, 1))
        seen = row["training"][f"{values['steps']}"]
        held = [f"{step['validation_L_X'] + step['validation_L_Z']:,.1f}" for step in (middle, last)]
        rows.append([
            name, f"{seen['L_X']:,.1f}", f"{seen['L_Z']:.1f}", *held,
            f"{last['sample_sharpness']:.2f}", f"{last['sample_motion']:.2f}",
        ])  # fmt: skip
    ends = [f"held-out -ELBO, step {values['steps'] // part}" for part in (2, 1)]
    return table(["", "L_X, training", "L_Z, training", *ends, "sharpness", "motion"], rows)


def sprites_painted() -> list[str]:
    rows = []
    for row in measured("sprites-painted")["rows"]:
        ends = [row["held_out"].get(step) for step in ("500", "1000")]
        held = [f"{end['validation_L_X'] + end['validation_L_Z']:,.1f}" if end else "" for end in ends]
        seen = [f"{row['training'][step]['L_X']:,.1f}" for step in ("250", "500")]
        speed = statistics.median(line["clips_per_second"] for line in row["training"].values())
        grid = f"{row['write_grid_size']} x {row['write_grid_size']}"
        rows.append([row["written"], f"{row['draw_steps']}", grid, row["matrices"], *seen, *held, f"{speed:.0f}"])
    ends = ["L_X, step 250", "L_X, step 500", "held-out -ELBO, step 500", "held-out -ELBO, step 1,000"]
    return table(["what is written", "T", "to write with", "matrices by", *ends, "clips a second"], rows)


def looking() -> list[str]:
    every = measured("looking")
    head = [f"`{name}`, `{values['protocol']}`, {values['clips']} clips" for name, values in every.items()]
    rows = []
    for number, row in enumerate(next(iter(every.values()))["rows"]):
        name = {"told": "told what each layer has"}.get(row["looks"], row["looks"])
        cells = []
        for values in every.values():
            one = values["rows"][number]
            share = f"; {100 * one['misplaced']:.1f} %" if "misplaced" in one else ""
            cells.append(f"{one['negative_elbo']:,.1f} +- {one['standard_error']:.1f}{share}")
        rows.append([name, *cells])
    return table(["-ELBO; light given to the wrong layer", *head], rows)


def films_settings() -> list[str]:
    """Weights of the KL divergence, and Muon beside small batches by Adam."""
    rows = []
    for row in measured("films-settings")["rows"]:
        steps, held = list(row["held_out"].items())[-1]
        last = row["training"][steps]
        rows.append([
            f"{row['optimizer']}, batches of {row['batch_size']}", f"{row['divergence_weight']}", steps,
            f"{last['seconds']:.0f}", f"{last['L_X']:,.0f}", f"{last['L_Z']:.0f}", f"{held['negative_elbo']:,.0f}",
            f"{held['L_Z']:.0f}", f"{held['sample_motion']:.2f}",
        ])  # fmt: skip
    head = ["steps", "seconds", "L_X, training", "L_Z, training", "-ELBO, held out", "L_Z, held out", "motion"]
    return table(["by", "KL weight", *head], rows)


def films(name: str) -> list[str]:
    """What a run on a folder of own clips has learned."""
    values = measured(name)
    rows = []
    for split in ("train", "validation", "test"):
        part = values[split]
        costs = (part[name] for name in ("mean_image", "L_X", "floor", "L_Z"))
        rows.append(
            [split, f"{values['clips'][split]}", *(f"{cost:,.1f}" for cost in costs), percent(part["explained"])]
        )
    return table(["clips", "how many", "mean image", "L_X", "floor", "L_Z", "of the way"], rows)


def films_likelihoods(*runs: tuple[str, str]) -> list[str]:
    """The same run with one likelihood and another: pairs of what a row is called and what was measured."""
    rows = []
    for shown, run in runs:
        values = measured(run)
        bits, looks, read = values["bits_per_dimension"], values["looks"], values["captions"]["reading"]
        cells = [f"{bits[split]:.2f}" for split in ("train", "validation")]
        said = [f"{values[split]['L_Z']:.0f}" for split in ("train", "validation")]
        look = [f"{looks[name]:.2f}" for name in ("sample_sharpness", "sample_motion")]
        rows.append([shown, *cells, *said, *look, percent(read["seen"]), percent(read["unseen"])])
    head = ["-ELBO in bits, training", "held out", "L_Z, training", "held out", "sharpness", "motion", "captions read"]
    return table(["trained for", *head, "other captions"], rows)


def films_captions(name: str) -> list[str]:
    reading = measured(name)["captions"]["reading"]
    names = {
        "real_seen": "real clips, captions of training", "real_unseen": "real clips, other captions",
        "seen": "samples, captions of training", "unseen": "samples, other captions", "chance": "chance",
    }  # fmt: skip
    rows = [[shown, percent(reading[name])] for name, shown in names.items() if name in reading]
    return table(["read as their own caption", ""], rows)


def films_beside() -> list[str]:
    values = measured("beside-vgan-film")
    rows = []
    for key, name in (("real", "real test clips"), ("runs/film-ours", "Sync-DRAW"), ("runs/film-vgan", "VGAN")):
        row = values[key]
        rows.append([name, *(f"{row[look]:.1f}" for look in ("sharpness", "motion", "still part")), *costs(row)])
    head = ["sharpness", "motion", "motion where least moves", "trained", "parameters", "a clip"]
    return table([f"{values['samples']} samples of each", *head], rows)


def emoji_parts(name: str) -> list[str]:
    """Which parts of captions real clips and samples are read to show."""
    values = measured(name)
    names = {
        "real_seen": "real clips, captions of training", "real_unseen": "real clips, other captions",
        "seen": "samples, captions of training", "unseen": "samples, other captions",
    }  # fmt: skip
    parts = ("whole", "all but the skin", "what", "who", "skin")
    rows = [[f"{shown} ({values[key]['clips']:,})", *(percent(values[key][part]) for part in parts)]
            for key, shown in names.items()]  # fmt: skip
    return table(["read as in the caption", "the whole caption", *parts[1:]], rows)


def films_taken_for(name: str) -> list[str]:
    """What samples for captions that training never had are taken for."""
    found = measured(name)["captions"]["reading"]["unseen_taken_for"]
    rows = [[caption, most["caption"], percent(most["share"])] for caption, most in found.items()]
    return table(["caption", "read most often as", "of its samples"], rows)


def readable() -> list[str]:
    rows = []
    for name in TABLE_1:
        samples, real = of_samples(name)
        warm, cool = measured(name)["samples"], measured(name)["cool"]
        shares = [warm[samples]["one_axis"], *(v["readable_share"] for v in (warm[samples], cool[samples], warm[real]))]
        shown = f"`{name}`" + samples.removeprefix("samples")
        rows.append([shown, *map(percent, shares)])
    head = ["model", "every glyph moves along one axis", "readable", "readable at temperature 0.7", "real test clips"]
    return table(head, rows)


def draw() -> list[str]:
    values = measured("draw-mnist")
    weighted = values["importance_weighted"]
    return table(
        ["", "nats per digit (lower is better)"],
        [
            ["DRAW, Gregor et al. 2015", "at most 80.97"],
            ["public re-implementations", "81.9 to 90.5"],
            ["`draw-mnist`, -ELBO", bound(values["binary"])],
            [
                f"`draw-mnist`, importance-weighted, {weighted['samples']} samples",
                f"{weighted['importance_weighted']:.1f} +- {weighted['standard_error']:.1f}",
            ],
        ],
    )


METHODS = {"frame": "Sync-DRAW", "global": "Global", "cuboid": "Baseline"}


def table1() -> list[str]:
    cells = measured("table1")["cells"]
    rows = []
    for method, protocol in [*((method, "binary") for method in METHODS), ("frame", "grey")]:
        row = [f"{METHODS[method]}, `{protocol}`"]
        for cell in cells:  # in the order of the paper's columns
            if (cell["attention"], cell["protocol"]) == (method, protocol):
                floor = f"floor {cell['bound']['entropy_floor']:,.1f}"
                beside = floor if protocol == "grey" else f"{cell['paper']:,.1f}"
                row.append(f"{bound(cell['bound'])} ({beside})")
        rows.append(row)
    return table(["", "one digit", "one digit*", "two digits", "two digits*"], rows)


def table1_cells() -> list[str]:
    rows = []
    for cell in measured("table1")["cells"]:
        digits = "one digit" if cell["digits"] == 1 else "two digits"
        name = f"{METHODS[cell['attention']]}, {digits}{'*' * cell['captions']}, `{cell['protocol']}`"
        parts = [f"{cell['bound'][part]:,.1f}" for part in ("reconstruction", "divergence")]
        rows.append([name, *parts, f"{cell['steps']:,}", f"{cell['minutes']}", cell["hardware"]])
    return table(["cell", "L_X", "L_Z", "steps", "minutes", "hardware"], rows)


def refined() -> list[str]:
    rows = []
    for name, protocol in (
        ("mnist2-binary-stage2", "binary"), ("mnist2-binary-stage1", "binary"), ("mnist1-binary", "binary"),
        ("mnist1-grey-stage2", "grey"),
    ):  # fmt: skip
        values = measured(f"{name}-refined")
        paper = f"{TABLE_1[name.partition('-stage')[0]]}" if protocol == "binary" else ""
        clips = f"{values[protocol]['clips']}"
        rows.append([f"`{name}`, `{protocol}`", clips, bound(values[protocol]), bound(values["refined"]), paper])
    return table(["", "clips", "-ELBO, the encoder's Q", "-ELBO, Q refined", "Table 1"], rows)


def distances() -> list[str]:
    columns = {
        "`mnist1`": ("mnist1-distances", "all captions"),
        "`mnist1`, temperature 0.7": ("mnist1-distances-cool", "all captions"),
        "`mnist1-captions`, seen": ("mnist1-captions-distances", "seen captions"),
        "unseen": ("mnist1-captions-distances", "unseen captions"),
        "seen, temperature 0.7": ("mnist1-captions-distances-cool", "seen captions"),
    }
    found = [measured(record)[kind] for record, kind in columns.values()]
    motion = "digits and motion"
    frechet, kernel = (f"{which} distance, {motion}" for which in ("Frechet", "kernel"))
    rows = [
        [frechet, *(f"{v[frechet]['samples']:.1f} ({v[frechet]['ratio']:.1f})" for v in found),
         f"{found[0][frechet]['real']:.1f}"],
        [kernel, *(f"{v[kernel]['samples']:.1f} +- {v[kernel]['samples_standard_error']:.1f}" for v in found),
         f"{found[0][kernel]['real']:.1f} +- {found[0][kernel]['real_standard_error']:.1f}"],
        *([key, *(f"{v[key]['samples']:.3f}" for v in found), f"{found[0][key]['real']:.2f}"]
          for key in ("precision", "recall", "density", "coverage")),
        *([f"{key}, ratio", *(f"{v[key]['ratio']:.2f}" for v in found), "1"]
          for key in ("nearest training glyph", "nearest training clip")),
    ]  # fmt: skip
    return table(["2,000 samples (ratio to real against real)", *columns, "real"], rows)


def longer() -> list[str]:
    values = measured("longer")
    rows = []
    for name in ("mnist1-captions", "mnist1"):
        for frames in ("10", "20", "30"):
            row = values[name][frames]
            matched = percent(row["caption_match"]) if "caption_match" in row else ""
            rows.append([f"`{name}`", frames, percent(row["identity_kept"]), percent(row["turns_at_edges"]), matched])
    return table(
        ["model", "frames", "the same digit in all frames", "turns at the frame's edge alone", "caption matched"], rows
    )


def costs(row: dict[str, Any]) -> list[str]:
    """Of a model that was compared with others; of real clips, nothing."""
    if "parameters" not in row:
        return ["", "", ""]
    return [
        f"{row['minutes of training']:.0f} minutes",
        f"{row['parameters']:,}",
        f"{row['milliseconds a clip']:.0f} ms",
    ]


def beside() -> list[str]:
    values = measured("beside-vgan")
    rows = []
    for key, name in (("real", "real clips"), ("runs/beside-ours", "Sync-DRAW"), ("runs/beside-vgan", "VGAN")):
        row = values[key]
        shares = [percent(row[share]) for share in ("readable", "identity", "one axis")]
        looks = [f"{row['Frechet']:,.0f}", f"{row['motion']:.1f}", f"{row['still part']:.1f}"]
        rows.append([name, *shares, *looks, *costs(row)])
    head = ["500 clips of each", "readable", "one digit in all frames", "one axis", "Frechet distance", "motion",
            "motion where nothing moves", "trained", "parameters", "a clip"]  # fmt: skip
    return table(head, rows)


def beside_diffusion() -> list[str]:
    values = measured("beside-diffusion")
    rows = []
    for name in ("real", *values["captions"]):
        row, read = values["comparison"][name], values["captions"]["Sync-DRAW" if name == "real" else name]
        whose = "real test clips" if name == "real" else "samples"
        shares = [row["readable"], row["identity"], row["one axis"]]
        matched = [read[f"{whose}, {kind} captions"]["caption_match"] for kind in ("seen", "unseen")]
        costs = [f"{row['minutes of training']:.0f} minutes", f"{row['parameters']:,}",
                 f"{row['milliseconds a clip']:,.0f} ms"] if "parameters" in row else ["", "", ""]  # fmt: skip
        rows.append(
            ["real clips" if name == "real" else name, *map(percent, shares), f"{row['Frechet']:,.0f}",
             percent(values["neighbourhoods"][name]["recall"]), *map(percent, matched), f"{row['motion']:.1f}",
             f"{row['still part']:.1f}", *costs]
        )  # fmt: skip
    head = [f"{values['comparison']['samples']} clips of each", "readable", "one digit in all frames", "one axis",
            "Frechet distance", "recall", "seen captions matched", "unseen captions matched", "motion",
            "motion where nothing moves", "trained", "parameters", "a clip"]  # fmt: skip
    return table(head, rows)


def goals() -> list[str]:
    def matched(name: str) -> str:
        warm, cool = (measured(name)[key]["samples, unseen captions"]["caption_match"] for key in ("samples", "cool"))
        real = measured(name)["samples"]["real test clips, unseen captions"]["caption_match"]
        return f"{percent(warm)}; {percent(cool)} at temperature 0.7; {percent(real)} of real test clips"

    def frechet(record: str, kind: str) -> str:
        return f"{measured(record)[kind]['Frechet distance, digits and motion']['ratio']:.1f} times"

    def above(name: str) -> str:
        return f"{measured(name)['bounds']['grey']['excess']:.1f} (`{name}`)"

    def binary(name: str) -> str:
        return f"{measured(name)['bounds']['binary']['negative_elbo']:,.0f} (`{name}`)"

    warm, cool = (measured("mnist1")[key]["samples"]["readable_share"] for key in ("samples", "cool"))
    captions = [frechet("mnist1-captions-distances", f"{kind} captions") for kind in ("seen", "unseen")]
    return table(
        ["goal", "reached"],
        [
            ["samples of one digit without captions that can be read: 90 %",
             f"{percent(warm)}; {percent(cool)} at temperature 0.7"],
            ["unseen captions of one digit matched: 95 %", matched("mnist1-captions")],
            ["unseen captions of two digits matched: 85 %", matched("mnist2-captions")],
            ["Frechet distance at most twice real against real",
             f"{frechet('mnist1-distances', 'all captions')} (`mnist1`), {captions[0]} and {captions[1]} "
             "(`mnist1-captions`, seen and unseen)"],
            ["`grey`: L_X at most 80 nats above its floor for one digit, 160 for two",
             ", ".join(map(above, ("mnist1-grey", "mnist2-grey", "mnist2", "mnist2-captions")))],
            ["-ELBO `binary` at most 170 nats for one digit, 320 for two",
             f"{binary('mnist1-binary')}, {binary('mnist2-binary')}"],
            ["the same with captions: 163 and 262",
             f"{binary('mnist1-captions-binary')}, {binary('mnist2-captions-binary')}"],
        ],
    )  # fmt: skip


PLAIN = {
    "ours": "**ours**",
    "canvas zero": "the canvas begins at zero",
    "window_start paper": "windows 1 pixel wide at the start",
    "content per_frame": "content for each frame (ours: shared)",
    "prior standard": "N(0, I) as the prior",
    "latent_size 100": "100 latents a step (ours: 16)",
    "batch_size 100": "batches of 100 (ours: 20)",
    "divergence_weight 1": "a KL weight of 1 (ours here: 3)",
    "divergence_weight 8": "a KL weight of 8 (ours here: 3)",
    "Adam alone": "by Adam alone",
}


def equal_time(record: str) -> list[str]:
    rows = []
    for name, values in measured(record)["results"].items():
        start, _, change = name.rpartition("but ")
        shown = start + "but " * bool(start) + PLAIN.get(change, change)
        pixels = [f"{values[p]:,.0f} +- {values[f'{p}_standard_error']:.0f}" for p in ("grey", "binary")]
        shares = [percent(values[key]) for key in ("one_axis", "readable_share")]
        rows.append([shown, f"{values['clips_seen']:,}", *pixels, *shares])
    return table(["", "clips seen", "-ELBO `grey`", "-ELBO `binary`", "one axis", "readable"], rows)


WHO = {
    "everyone": (
        "data", "bouncing.digits", "bouncing.clips", "bouncing.glyphs", "model.captions.route", "train.max_steps",
        "train.batch_size", "train.accumulate", "train.seed", "train.every", "train.start.model",
    ),
    "researchers": (
        "model.draw_steps", "model.grid_size", "model.hidden_size", "model.latent_size", "model.canvas",
        "model.protocol", "model.layers", "model.attention.kind", "model.attention.read_from", "model.prior.kind",
        "model.captions.size", "bouncing.shape", "bouncing.combinations", "train.divergence_weight",
        "train.optimizer.learning_rate", "train.optimizer.warmup_steps", "train.optimizer.final_learning_rate",
    ),
    "recipes": (
        "model.attention.write_grid_size", "model.attention.smooth_start", "model.attention.content",
        "model.prior.components", "model.prior.categories", "bouncing.extra_motions",
        "train.optimizer.matrix_learning_rate", "train.optimizer.gradient_ratio", "train.optimizer.ema",
        "train.start.only_inference", "train.start.first_look", "train.start.cluster_from",
    ),
    "the data": tuple(f"model.{name}" for name in FROM_DATA + FROM_FIRST_LOOK),
}  # fmt: skip
"""Who is expected to set what. What the data decide, or the model that takes a first look, is no setting."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of `RunConfig` or of what it holds.

    Attributes:
        name: dotted, as on the command line.
        default: as YAML has it. choices: of a setting with a few values, else nothing.
        meaning: from the docstring of its class.
    """

    name: str
    default: str
    choices: tuple[str, ...]
    meaning: str


def settings(kind: type[Any] = RunConfig, prefix: str = "") -> Iterator[Setting]:
    """All settings, in the order of their fields.

    Raises:
        KeyError: a field is not explained in its class's docstring.
    """
    types, meanings = get_type_hints(kind), attributes(kind)
    default = kind()
    for field in dataclasses.fields(kind):
        name, meaning, value = prefix + field.name, meanings[field.name], getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings(type(value), f"{name}.")
        else:
            shown = json.dumps(value).strip('"') if value not in (None, "", ()) else "none"
            choices = get_args(types[field.name]) if get_origin(types[field.name]) is Literal else ()
            yield Setting(name, shown, choices, meaning)


def attributes(kind: type[Any]) -> dict[str, str]:
    """What a docstring says under "Attributes", by name."""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    section = re.split(r"^\S", section, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def settings_of(who: str) -> Callable[[], list[str]]:
    """The settings that somebody sets, as a table."""

    def made() -> list[str]:
        rows = []
        for setting in settings():
            if setting.name in WHO[who]:
                others = ", ".join(f"`{choice}`" for choice in setting.choices if choice != setting.default)
                default = f"`{setting.default}`" + f" (or {others})" * bool(others)
                meaning = re.sub("^from the (data|first look): ", "", setting.meaning).replace("|", "\\|")
                rows.append([f"`{setting.name}`", default, meaning])
        return table(["setting", "default", "meaning"], rows)

    return made


def gpu() -> list[str]:
    values = measured("gpu")
    rows = []
    for row in values["rows"]:
        if "how" in row:
            how = {"compiled attention": "captured, the attention compiled"}.get(row["how"], row["how"])
            what = [f"a step, {how}", f"{row['batch_size']:,}", f"{row['ms']:.1f} ms", f"{row['ms_fed']:.1f} ms"]
            memory = [f"{row['ready_s']:.1f} s", f"{row['gib']:.1f} GiB"]
        else:
            what, memory = ["drawing from nothing", f"{row['count']:,}", "", ""], ["", ""]
        rows.append([*what, f"{row['clips_per_second']:,.0f}", *memory])
    head = [
        values["device"],
        "clips at once",
        "alone",
        "with its clips made",
        "clips a second",
        "ready after",
        "memory",
    ]
    return table(head, rows)


CPU_RECIPES = {"paper/mnist1": "`paper/mnist1`, K = 10", "ours": "`ours`"}


PROCESSORS = ["cpu-avx2", "cpu-avx512"]


def cpu() -> list[str]:
    rows = []
    for values in map(measured, PROCESSORS):
        for recipe, name in CPU_RECIPES.items():
            for how, seconds in values[recipe]["seconds"].items():
                share = f"{100 * values[recipe]['share_of_limit'][how]:.0f} %"
                clips = f"{values['batch_size'] / seconds:.0f}"
                rows.append([values["processor"], name, how, f"{seconds:.2f} s", clips, share])
    return table(["processor", "", "a step", "of one thread", "clips a second", "of the limit"], rows)


def cpu_parts() -> list[str]:
    rows = []
    for values in map(measured, PROCESSORS):
        for recipe, name in CPU_RECIPES.items():
            for how, parts in values[recipe]["shares_of_time"].items():
                largest = sorted(parts.items(), key=lambda part: -part[1])
                shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in largest)
                rows.append([values["processor"], name, how, shares])
    return table(["processor", "", "a step", "where its time goes"], rows)


def scaling() -> list[str]:
    rows = []
    for name, points in measured("scaling").items():
        cells = [f"{point[name]}: {point['seconds']:.2f} s, {point['gigabytes']:.2f} GB" for point in points]
        worst = max(abs(point["estimated_gigabytes"] / point["gigabytes"] - 1) for point in points)
        rows.append([name.replace("_", " "), "; ".join(cells), f"{100 * worst:.0f} %"])
    return table(["grows", "seconds and memory of a step", "furthest that the estimate is off"], rows)


def story_judge() -> list[str]:
    names = {"caption_match": "whole captions"} | {name: name for name in ATTRIBUTES}
    rows = [
        [str(row["digits"]), row["captions"], f"{row['clips']:,}", *(percent(row[name]) for name in names)]
        for row in measured("story-judge")["rows"]
    ]
    return table(["digits", "captions", "clips", *names.values()], rows)


def feed() -> list[str]:
    values = measured("feed")
    columns = [f"{kind}_{when}" for kind in ("ms", "worked_ms") for when in ("before", "now")]
    rows = [
        [f"`{row['recipe']}`", f"{row['threads']}", *(f"{row[column]:.0f} ms" for column in columns)]
        for row in values["rows"]
    ]
    name = f"{values['processor']}, {values['cores']} cores"
    return table([name, "threads", "a batch, before", "now", "work of all threads, before", "now"], rows)


def communication() -> list[str]:
    rows = []
    for row in measured("communication")["rows"]:
        own = sent(row["averaged_bytes"], 100 * row["gathered_bytes_a_clip"], 8)
        at = [f"{1000 * own / speed:.2g} ms" for speed in (300e9, 12.5e9, 1.25e9)]
        megabytes = [f"{row['averaged_bytes'] / 1e6:.1f} MB", f"{own / 1e6:.1f} MB"]
        rows.append([f"`{row['recipe']}`", f"{row['parameters']:,}", *megabytes, f"{row['operations']}", *at])
    speeds = ["at 300 GB/s", "at 100 Gbit/s", "at 10 Gbit/s"]
    return table(["a step of", "parameters", "averaged", "sent by each of 8", "operations", *speeds], rows)


TABLES: dict[str, Callable[[], list[str]]] = {
    "models": models, "bounds": bounds, "training": training, "captions": captions, "readable": readable,
    "films-content": films_content, "films-likelihoods": partial(
        films_likelihoods,
        ("`grey`", "kth-grey"),
        ("`levels`", "kth-levels"),
        ("`levels`, KL weight 10, batches of ten by Adam", "kth-levels-small"),
    ),
    "people-likelihoods": partial(
        films_likelihoods,
        ("`levels`, by Adam", "people-levels"),
        ("`grey`, by Adam", "people-grey"),
        ("`grey`, by Muon", "people-film"),
    ),
    "looking": looking, "films-settings": films_settings, "films-sizes": films_sizes,
    "films": partial(films, "kth-person1"), "films-captions": partial(films_captions, "kth-person1"),
    "people": partial(films, "people-film"), "people-captions": partial(films_captions, "people-film"),
    "people-taken-for": partial(films_taken_for, "people-film"),
    "emoji": partial(films, "emoji-parts"), "emoji-parts": partial(emoji_parts, "emoji-parts"),
    "stories": stories, "sprites": sprites, "sprites-painted": sprites_painted,
    "sprite-reader": sprite_reader, "draw": draw, "table1": table1, "table1-cells": table1_cells, "refined": refined,
    "distances": distances, "longer": longer, "beside": beside, "films-beside": films_beside,
    "beside-diffusion": beside_diffusion, "goals": goals,
    "equal-time": lambda: equal_time("ablation"),
    "equal-time-muon": lambda: equal_time("ablation-two-minutes"), "recipes": recipes, "gpu": gpu,
    "cpu": cpu, "cpu-parts": cpu_parts, "scaling": scaling,
    "story-judge": story_judge,
    "feed": feed, "communication": communication,
    "settings-everyone": settings_of("everyone"), "settings-researchers": settings_of("researchers"),
    "settings-recipes": settings_of("recipes"), "settings-data": settings_of("the data"),
}  # fmt: skip


def filled(text: str) -> str:
    """A page with its tables as they were measured."""

    def one(place: re.Match[str]) -> str:
        before, name, after = place.groups()
        return before + "\n".join(TABLES[name]()) + "\n" + after

    return PLACE.sub(one, text)


def main() -> None:
    for page in PAGES:
        text = page.read_text()
        if (new := filled(text)) != text:
            page.write_text(new)
            print(f"filled {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
