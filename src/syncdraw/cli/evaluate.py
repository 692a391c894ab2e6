"""syncdraw evaluate bounds, captions and distances."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cyclopts import App

from syncdraw.devices import Device, start_torch
from syncdraw.evaluation.trust import ask_for_trust
from syncdraw.options import Computer, Count, CountOrNone, JsonFile, Model, Seed, Temperature

app = App(name="evaluate", help="Measure a model: its bounds, its captions, its distance from real clips.")


@app.command
def bounds(
    model: Model, /, *, data: str | None = None, split: Literal["train", "validation", "test"] = "test",
    clips: Count | None = None, seed: Seed = 0, refine_steps: CountOrNone = 0, importance_samples: CountOrNone = 0,
    json_file: JsonFile = None, device: Computer = "auto",
) -> None:  # fmt: skip
    """Measure the bound on held-out clips, in nats per video, under both protocols.

    Args:
        data: the data set, where it is not the one that the model was trained on.
        split: of the data set.
        clips: only the first so many of the split; all unless given.
        seed: of the latents.
        refine_steps: add the bound with the encoder's Q refined for each clip by so many gradient steps, say 50 (a step
            takes three times as long as the plain bound): what is lost in the encoder, not in what draws.
        importance_samples: tighten the bound on binary clips with so many samples of the latents for each, say 100
            (with that many a clip takes 100 times as long).
    """
    from syncdraw.evaluation.bound_report import bound_report

    bound_report(*_loaded(model, device), data=data, split=split, clips=clips, seed=seed, refine_steps=refine_steps,
                 importance_samples=importance_samples).publish(json_file)  # fmt: skip


@app.command
def captions(
    model: Model, /, *, data: str | None = None, samples: Count = 1000, seed: Seed = 0,
    temperature: Temperature = 1.0, json_file: JsonFile = None, device: Computer = "auto",
) -> None:  # fmt: skip
    """Measure what captions do: whether samples show the digits and motions that theirs say, as the judge reads them.

    Where clips show no digits, two readers of captions are trained on the real clips, which takes a minute or two. They
    say how many samples read as the caption that they were drawn for; and it is measured what the bound loses when
    clips are given each other's captions.

    Args:
        data: the data set, where it is not the one that the model was trained on.
        samples: how many samples, for seen and for unseen captions each; or how many test clips.
        seed: of the samples.
        temperature: of the samples, as in syncdraw generate.
    """
    from syncdraw.evaluation.captions import suited_report

    report = suited_report(*_loaded(model, device), data=data, samples=samples, seed=seed, temperature=temperature)
    report.publish(json_file)


@app.command
def distances(
    model: Model, /, *, data: str | None = None, samples: Count | None = None, seed: Seed = 0,
    temperature: Temperature = 1.0, i3d: Path | None = None, trust_i3d: bool = False, json_file: JsonFile = None,
    device: Computer = "auto",
) -> None:  # fmt: skip
    """Measure how far samples are from real test clips: Frechet and kernel distance, precision and recall, and more.

    Args:
        data: the data set, where it is not the one that the model was trained on.
        samples: how many; 2,000 unless given, or half of the test clips where that is less.
        seed: of the samples.
        temperature: of the samples, as in syncdraw generate.
        i3d: the network I3D as a TorchScript file, for FVD. Such a file can do whatever a program can: you are asked
            whether you trust it.
        trust_i3d: do not ask. For those who measure where nobody can answer, and know where the file is from.
    """
    if i3d is not None and i3d.exists() and not trust_i3d:
        ask_for_trust(i3d)
    from syncdraw.evaluation.distance_report import distance_report

    distance_report(*_loaded(model, device, any_kind=True), data=data, samples=samples, seed=seed,
                    temperature=temperature, i3d=i3d).publish(json_file)  # fmt: skip


@app.command
def compare(
    models: list[str], /, *, data: str | None = None, samples: Count = 200, seed: Seed = 0, json_file: JsonFile = None,
    device: Computer = "auto",
) -> None:  # fmt: skip
    """Measure models side by side, of whatever kind, and beside real clips: what is drawn, how it moves, what it costs.

    Args:
        models: shipped models, run folders, or hub:OWNER/NAME; all of one shape of clips.
        data: the data set, where it is not the one that the first model was trained on.
        samples: of each model.
        seed: of the samples.
    """
    from syncdraw.evaluation.comparison import comparison_report

    loaded = {model: _loaded(model, device, any_kind=True) for model in models}
    comparison_report(loaded, data=data, samples=samples, seed=seed).publish(json_file)


def _loaded(model: str, device: Device, any_kind: bool = False) -> tuple[Any, dict[str, Any]]:
    from syncdraw import pretrained

    load = pretrained.load_any if any_kind else pretrained.load
    return load(model, device=start_torch(device)), pretrained.load_card(model)
