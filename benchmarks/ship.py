"""Measure a model and put it among the shipped ones: python benchmarks/ship.py RUN NAME --about "two digits"

RUN is a run folder, or any folder with weights and a card. The weights are stored in half precision, and what is
measured is the stored model, so that a folder that holds weights in half precision already is measured as it is. To
measure a shipped model again: python benchmarks/ship.py src/syncdraw/weights/NAME NAME

Bounds are of the first 2,000 clips of the test split; samples, at temperatures 1 and 0.7, are read by the judge where
the model draws digits, and by the reader of sprites where it draws those.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from syncdraw import pretrained
from syncdraw.datasets import BUILT_IN
from syncdraw.errors import UserError
from syncdraw.evaluation.bound_report import bound_report
from syncdraw.evaluation.captions import JUDGED, clips_report, suited_report
from syncdraw.files import atomic_path
from syncdraw.training import read_recipe

COOL = 0.7


def all_stages(card: dict[str, Any]) -> dict[str, Any]:
    """What was trained for a model, with what those took that it begins from."""
    trained = card["trained"]
    if "all_stages" in trained:
        return dict(trained["all_stages"])
    stages = trained.get("stages", [trained])
    done = {"stages": len(stages), **{name: sum(s[name] for s in stages) for name in ("clips_seen", "minutes")}}
    start = read_recipe(card["recipe"]).stages[0].config.train.start
    for source in filter(None, (start.model, start.first_look)):
        before = all_stages(pretrained.load_card(source))
        done = {name: round(value + before.get(name, 0), 1) for name, value in done.items()}
    return done


def card_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the folder says already, and what the arguments add to it."""
    known = pretrained.load_card(arguments.run)
    card = {key: known[key] for key in ("trained", "data", "bouncing") if key in known}
    if card["data"] not in BUILT_IN:  # a folder of this machine
        card.pop("bouncing", None)
        card |= {"data": arguments.data or known["data"]}
    there = arguments.weights / arguments.name / pretrained.CARD_FILE
    before = pretrained.load_card(there.parent) if there.is_file() else {}
    if example := arguments.example or known.get("example") or before.get("example"):
        card["example"] = example
    for key in ("about", "recipe", "hardware", "command"):
        value = getattr(arguments, key) or known.get(key)
        if value is None and key == "command":
            value = f"syncdraw train {card['recipe']}"
        if value is None:
            raise UserError(f"the card of {arguments.run} says no {key}; give it with --{key}")
        card[key] = value
    if "trained" in card:
        card["trained"] = card["trained"] | {"all_stages": all_stages(card)}
    return card


def metrics_of(measured: dict[str, Any], clips: int, samples: int) -> dict[str, str]:
    """A line for each number that a reader of the card wants."""
    metrics = {}
    for protocol in ("binary", "grey", "levels"):
        values = measured["bounds"].get(protocol)
        if values is None:
            continue
        parts = ", ".join(
            f"{name} {values[key]:.1f}"
            for name, key in (("L_X", "reconstruction"), ("L_Z", "divergence"), ("floor", "entropy_floor"))
        )
        total, error = values["negative_elbo"], values["standard_error"]
        metrics[f"-ELBO, {protocol}"] = f"{total:.1f} +- {error:.1f} nats ({parts}; {clips} test clips)"
    if gap := measured["bounds"].get("caption_gap"):
        told = f"{gap['gap']:.1f} +- {gap['standard_error']:.1f} nats ({gap['clips']} test clips)"
        metrics["-ELBO with other clips' captions, over that with their own"] = told
    cool = {f"{n}, temperature {COOL}": v for n, v in measured.get("cool", {}).items() if "samples" in n}
    if reading := measured.get("samples", {}).get("reading"):
        kinds = [kind for kind in ("real_seen", "real_unseen", "seen", "unseen", "chance") if kind in reading]
        shown = ", ".join(f"{kind.replace('_', ' ')} {100 * reading[kind]:.1f} %" for kind in kinds)
        metrics[f"clips that read as their own caption ({samples} samples)"] = shown
    for name, values in (measured.get("samples", {}) | cool).items():
        if isinstance(values, dict) and name != "reading":
            shares = {key.replace("_", " "): share for key, share in values.items()}
            nats = "intra entropy" in shares
            shown = ", ".join(
                f"{key} {share:.3f}" if nats else f"{key} {100 * share:.1f} %" for key, share in shares.items()
            )
            metrics[f"{name} ({samples})"] = shown
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a folder with config.json and model.safetensors")
    parser.add_argument("name", help="of the shipped model")
    parser.add_argument("--about", help="what it draws, in a few words; the folder's own unless given, as all below")
    parser.add_argument("--recipe", help="by which it was trained")
    parser.add_argument("--hardware", help="on which it was trained")
    parser.add_argument("--command", help="that trains it; syncdraw train RECIPE unless given")
    parser.add_argument("--data", help="what the card calls clips that are a folder here")
    parser.add_argument("--example", help="a caption, where the clips are not of digits")
    parser.add_argument("--device", default="cpu", help="on which it is measured")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--weights", type=Path, default=pretrained.SHIPPED, help="the folder of shipped models")
    parser.add_argument("--measured", type=Path, default=Path("docs/measured"), help="the folder of what was measured")
    arguments = parser.parse_args()
    card = card_of(arguments)
    folder = arguments.weights / arguments.name
    pretrained.save(pretrained.load(arguments.run), folder, half=True, **card)
    model = pretrained.load(folder, device=arguments.device)
    data = None if card["data"] in BUILT_IN else pretrained.load_card(arguments.run)["data"]
    bounds = bound_report(model, card, data=data, split="test", clips=arguments.clips, seed=0)
    print(bounds.text, flush=True)
    measured: dict[str, Any] = {"trained": card.get("trained"), "bounds": bounds.values}
    if card["data"] in (*JUDGED, "sprites"):
        for key, temperature in (("samples", 1.0), ("cool", COOL)):
            report = suited_report(model, card, data=None, samples=arguments.samples, seed=0, temperature=temperature)
            print(report.text, flush=True)
            measured[key] = report.values
    elif model.captioned:
        saved = pretrained.load_card(folder)
        report = clips_report(model, saved, data=data, samples=arguments.samples, seed=0, temperature=1.0)
        print(report.text, flush=True)
        measured["samples"] = report.values
    metrics = metrics_of(measured, bounds.values["clips"], arguments.samples)
    pretrained.save(model, folder, half=True, **card, metrics=metrics)
    record = arguments.measured / f"{arguments.name}.json"
    with atomic_path(record) as path:
        path.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"wrote {folder} and {record}")


if __name__ == "__main__":
    main()
