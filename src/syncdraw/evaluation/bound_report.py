"""The bounds of a model between what a guess costs and what cannot be undercut: what `syncdraw evaluate` prints."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from syncdraw.config import Protocol
from syncdraw.errors import UserError
from syncdraw.evaluation.bounds import anchor_costs, bits_per_dimension, bound, clip_count
from syncdraw.evaluation.captions import caption_gap
from syncdraw.evaluation.reports import Report, Split, data_of
from syncdraw.evaluation.tighter_bounds import importance_bound, refined_bound
from syncdraw.model import SyncDraw


def bound_report(
    model: SyncDraw,
    card: dict[str, Any],
    *,
    data: str | None,
    split: Split,
    clips: int | None,
    seed: int,
    refine_steps: int = 0,
    importance_samples: int = 0,
) -> Report:
    """The bound under each protocol that suits the model, between what a guess costs and what cannot be undercut.

    Args:
        refine_steps: adds the bound of the model's own protocol with Q refined by so many steps; 0 for none.
        importance_samples: adds the importance-weighted bound of `binary` with so many; 0 for none.
    """
    own = model.config.protocol
    dataset = data_of(card, data, split)
    train = data_of(card, data, "train")
    count = clip_count(dataset, clips)
    lines = [f"{split} split, {count} clips, seed {seed}; nats per video; trained for {own}"]
    values: dict[str, Any] = {"split": split, "clips": count, "seed": seed, "trained_for": own}
    lines += ["", "protocol       L_X      L_Z     -ELBO    +-   floor   excess      mean      0.5"]
    protocols: list[Protocol] = ["binary", "grey"]
    if own == "levels":  # which needs a scale that was learned
        protocols.append(own)
    for protocol in protocols:
        result = bound(model, dataset, protocol=protocol, clips=count, seed=seed, progress=True)
        anchors = anchor_costs(train, dataset, protocol, np.arange(count))
        lines.append(
            f"{protocol:<8} {result.reconstruction:9.1f} {result.divergence:8.1f} {result.negative_elbo:9.1f} "
            f"{result.standard_error:5.1f} {result.entropy_floor:7.1f} {result.excess:8.1f} "
            f"{anchors['mean_pixel']:9.1f} {anchors['half']:8.0f}"
        )
        values[protocol] = {**dataclasses.asdict(result), "excess": result.excess, **anchors}
    steps = ", ".join(f"{nats:.1f}" for nats in values[own]["divergence_by_step"])
    lines += [
        "",
        f"L_Z by drawing step ({own}): {steps}",
        "-ELBO = L_X + L_Z bounds the negative log-likelihood from above (+-: standard error over clips); floor: the",
        "entropy of the targets, which L_X cannot undercut; excess: L_X above it; mean: predicting each pixel's mean",
        "over training clips; 0.5: predicting 0.5 everywhere.",
    ]
    if own == "levels":
        bits = {name: bits_per_dimension(values[own][name], dataset.shape) for name in ("negative_elbo", "mean_pixel")}
        values["bits_per_dimension"] = bits
        lines += [
            f"Under levels, -ELBO is {bits['negative_elbo']:.3f} bits per dimension, and the mean costs "
            f"{bits['mean_pixel']:.3f}; 0.5 stands for 256 levels",
            "that are equally likely, 8 bits.",
        ]
    if refine_steps:
        refined = refined_bound(model, dataset, steps=refine_steps, clips=count, seed=seed, progress=True)
        values["refined"] = {**dataclasses.asdict(refined), "excess": refined.excess}
        lines += [
            "",
            f"with Q refined for each clip by {refine_steps} gradient steps, {own}: "
            f"-ELBO {refined.negative_elbo:.1f} +- {refined.standard_error:.1f} "
            f"(L_X {refined.reconstruction:.1f}, L_Z {refined.divergence:.1f}, excess {refined.excess:.1f})",
        ]
    if importance_samples:
        tighter = importance_bound(model, dataset, samples=importance_samples, clips=count, seed=seed, progress=True)
        values["importance_weighted"] = dataclasses.asdict(tighter)
        lines += [
            "",
            f"importance-weighted bound, binary, {tighter.samples} samples for each clip: "
            f"{tighter.importance_weighted:.1f} +- {tighter.standard_error:.1f}",
            f"(one sample: {tighter.negative_elbo:.1f}; effective samples: {tighter.effective_samples:.1f})",
        ]
    if model.captioned:
        lines.append("")
        try:
            gap = caption_gap(model, dataset, clips=count, seed=seed, progress=True)
        except UserError as error:  # a few clips may all say the same; the bounds are worth having
            lines.append(f"what captions tell was not measured: {error}")
        else:
            values["caption_gap"] = dataclasses.asdict(gap)
            lines.append(
                f"what captions tell, {own}, {gap.clips} clips: -ELBO {gap.right:.1f} with their own captions, "
                f"{gap.wrong:.1f} with other clips': {gap.gap:.1f} +- {gap.standard_error:.1f} nats a clip"
            )
    return Report("\n".join(lines), values)
