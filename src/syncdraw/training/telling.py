"""What a run says of itself: before its first step, beside the progress bar, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from syncdraw.config import Protocol
from syncdraw.datasets.clips import Dataset, spread
from syncdraw.evaluation.bounds import anchor_costs, bits_per_dimension, chosen, clip_count, entropy_floor
from syncdraw.model import SyncDraw
from syncdraw.training.memory import resident, training_memory
from syncdraw.training.processes import Processes
from syncdraw.training.settings import RunConfig
from syncdraw.vgan import VGAN

CLIPS = 200
"""Clips of which the yardstick is taken, at most."""


@dataclass(frozen=True)
class Yardstick:
    """What L_X is held against, nats per video.

    Attributes:
        mean_image: what it costs to predict each pixel's mean over training clips, whatever the clip.
        floor: what no model can go below: the entropy of the targets, 0 for `binary` and `levels`.
        shape: of the videos, where what is told is bits per dimension: for `levels`, whose floor is out of reach.
    """

    mean_image: float
    floor: float
    shape: tuple[int, ...] | None = None

    @classmethod
    def of(cls, train: Dataset, dataset: Dataset, protocol: Protocol, clips: int = CLIPS) -> Yardstick:
        """That of so many clips, by the mean of training clips.

        Training shows clips from all over its set, and so are these; of another data set they are the first ones, which
        are those that validation measures.
        """
        count = clip_count(dataset, clips)
        numbers = spread(len(dataset), count) if dataset is train else np.arange(count)
        anchors = anchor_costs(train, dataset, protocol, numbers, seen=CLIPS)
        floors = [entropy_floor(some, protocol) for some in chosen(dataset, numbers, 20)]
        shape = dataset.shape if protocol == "levels" else None
        return cls(anchors["mean_pixel"], torch.cat(floors).mean().item(), shape)

    def explained(self, cost: float) -> float:
        """How far L_X has come from the mean image to the floor: 0 to 1; below 0 where the mean image is better."""
        return (self.mean_image - cost) / max(self.mean_image - self.floor, 1e-9)

    def told(self) -> str:
        """What L_X is held against."""
        if self.shape is not None:
            return f"the mean image costs {self.mean_image:,.1f} nats, {self.beside(self.mean_image)}"
        return f"the mean image costs {self.mean_image:,.1f} nats, and nothing less than {self.floor:,.1f}"

    def beside(self, cost: float) -> str:
        """What an L_X means: how far it has come from the mean image to the floor, or bits per dimension."""
        if self.shape is not None:
            return f"{bits_per_dimension(cost, self.shape):.3f} bits per dimension"
        return f"{100 * self.explained(cost):.0f} %"


def about(
    config: RunConfig, dataset: Dataset, model: SyncDraw | VGAN, processes: Processes, step: int,
    yardstick: Yardstick | None,
) -> str:  # fmt: skip
    """What is trained on what, before the first step."""
    frames, channels, height, width = dataset.shape
    count = torch.get_num_threads()
    threads = f" ({count} thread{'s' * (count > 1)})" if processes.device.type == "cpu" else ""
    if threads and isinstance(model, SyncDraw):
        at_once = config.train.batch_size // (processes.count * config.train.accumulate)
        needed = resident() + training_memory(model.config, at_once)
        threads += f", which needs about {needed / 1e9:.1f} GB"
    clips = f"{len(dataset):,} clips" if len(dataset) else "endless clips"
    colour = "grey" if channels == 1 else "RGB"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    captions = f"captions by {config.model.captions.route}" if model.captioned else "no captions"
    said = (
        f"{config.data}: {clips} of {frames} frames, {width} x {height} {colour}, {captions}; "
        f"{parameters:,} parameters on {processes.device}{threads}; "
        f"steps {step:,} to {config.train.max_steps:,} of {config.train.batch_size} clips"
    )
    if yardstick is None:
        return said
    percent = "" if yardstick.shape else "; in percent, how far a model has come from the one to the other"
    return f"{said}\nL_X of a clip: {yardstick.told()}{percent}"


def beside_the_bar(yardstick: Yardstick | None, line: Mapping[str, float]) -> str:
    """The numbers of a line of metrics that the progress bar shows."""
    if yardstick is None:
        return ", ".join(f"{name} {line[name]:.4g}" for name in [*line][:2])
    return f"L_X {line['L_X']:.1f} ({yardstick.beside(line['L_X'])}), L_Z {line['L_Z']:.1f}"


def farewell(values: Mapping[str, float], yardstick: Yardstick | None, protocol: Protocol) -> list[str]:
    """How good the model is, from the run's last line about held-out clips: some sentences, or none.

    Args:
        values: that line of metrics.
        yardstick: of the held-out clips.
    """
    said = []
    if yardstick is not None and "validation_L_X" in values:
        cost = values["validation_L_X"]
        said.append(
            f"held-out clips ({protocol}): L_X {cost:,.1f} + L_Z {values['validation_L_Z']:,.1f} nats; "
            f"{yardstick.told()}: L_X is {'at ' if yardstick.shape else ''}{yardstick.beside(cost)}"
            f"{'' if yardstick.shape else ' of the way'}"
        )
    if "sample_sharpness" in values:
        moves = f", and {values['sample_motion']:.2f} times as much moves" if "sample_motion" in values else ""
        said.append(f"samples are {values['sample_sharpness']:.2f} times as sharp as real clips{moves}")
    if "caption_match" in values:
        said.append(f"samples that show what their caption says: {100 * values['caption_match']:.0f} %")
    return said
