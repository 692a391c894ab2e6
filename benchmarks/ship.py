"""Measure a trained run and put it among the shipped models: python benchmarks/ship.py RUN NAME --about "..."

The weights are stored in half precision, and what is measured is the stored model. Bounds are of the first 2,000 clips
of the test split; samples, at temperatures 1 and 0.7, are read by the judge. The runs that this one began from have to
be where its config.yaml names them, for their times to be counted.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from syncdraw import evaluate, pretrained

COOL = 0.7


def stages(run: Path) -> list[dict[str, float]]:
    """What was trained for this run: itself last, before it the run that it began from, and so on."""
    trained = pretrained.load_card(str(run))["trained"]
    if "all_stages" in trained:  # a shipped model, which has counted them
        return [trained["all_stages"]]
    source = yaml.safe_load((run / "config.yaml").read_text())["train"]["start_from"]
    return [*(stages(Path(source)) if source else []), trained]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--about", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--hardware", default="1 thread of a 2-core CPU that other work shared")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    folder = pretrained.SHIPPED / arguments.name
    known = pretrained.load_card(arguments.run)
    card = {key: known[key] for key in ("trained", "data", "bouncing") if key in known}
    done = stages(Path(arguments.run))
    clips, minutes = (sum(stage[name] for stage in done) for name in ("clips_seen", "minutes"))
    count = sum(int(stage.get("stages", 1)) for stage in done)
    card["trained"] |= {"all_stages": {"stages": count, "clips_seen": clips, "minutes": round(minutes, 1)}}
    card |= {"about": arguments.about, "recipe": arguments.recipe, "hardware": arguments.hardware}
    pretrained.save(pretrained.load(arguments.run), folder, half=True, **card)
    model = pretrained.load(folder)
    bounds = evaluate.bound_report(model, card, data=None, split="test", clips=arguments.clips, seed=0)
    fidelity = evaluate.caption_report(model, card, samples=arguments.samples, seed=0)
    cool = evaluate.caption_report(model, card, samples=arguments.samples, seed=0, temperature=COOL)
    print(bounds.text, fidelity.text, cool.text, sep="\n\n")
    metrics = {}
    for protocol in ("binary", "grey"):
        values = bounds.values[protocol]
        total, error = values["negative_elbo"], values["standard_error"]
        parts = ", ".join(
            f"{name} {values[key]:.1f}"
            for name, key in (("L_X", "reconstruction"), ("L_Z", "divergence"), ("floor", "entropy_floor"))
        )
        metrics[f"-ELBO, {protocol}"] = f"{total:.1f} +- {error:.1f} nats ({parts}; {arguments.clips} test clips)"
    named = [
        *fidelity.values.items(),
        *((f"{n}, temperature {COOL}", v) for n, v in cool.values.items() if "samples" in n),
    ]
    for name, values in named:
        if isinstance(values, dict):
            shown = ", ".join(f"{key.replace('_', ' ')} {100 * share:.1f} %" for key, share in values.items())
            metrics[f"{name} ({arguments.samples})"] = shown
    pretrained.save(model, folder, half=True, **card, metrics=metrics)
    Path("docs/measured").mkdir(parents=True, exist_ok=True)
    record = Path("docs/measured") / f"{arguments.name}.json"
    measured = {"trained": card["trained"], "bounds": bounds.values, "samples": fidelity.values, "cool": cool.values}
    record.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"wrote {folder} and {record}")


if __name__ == "__main__":
    main()
