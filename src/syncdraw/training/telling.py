"""What a run says of itself: before its first step, beside the progress bar, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from syncdraw.config import Protocol
from syncdraw.datasets.clips import Dataset
from syncdraw.evaluation.bounds import anchor_costs, batches, clip_count, entropy_floor
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
        floor: what no model can go below: the entropy of the targets, 0 for `binary`.
    """

    mean_image: float
    floor: float

    @classmethod
    def of(cls, train: Dataset, dataset: Dataset, protocol: Protocol) -> Yardstick:
        """That of the first clips of a data set, by the mean of the first training clips."""
        count = clip_count(dataset, CLIPS)
        anchors = anchor_costs(train, dataset, protocol, count, seen=CLIPS)
        floors = [entropy_floor(clips, protocol) for clips in batches(dataset, count, 20)]
        return cls(anchors["mean_pixel"], torch.cat(floors).mean().item())

    def explained(self, cost: float) -> float:
        """How far L_X has come from the mean image to the floor: 0 to 1; below 0 where the mean image is better."""
        return (self.mean_image - cost) / max(self.mean_image - self.floor, 1e-9)


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
    return (
        f"{said}\nL_X of a clip: the mean image costs {yardstick.mean_image:,.1f} nats, and nothing less than "
        f"{yardstick.floor:,.1f}; in percent, how far a model has come from the one to the other"
    )


def beside_the_bar(yardstick: Yardstick | None, line: Mapping[str, float]) -> str:
    """The numbers of a line of metrics that the progress bar shows."""
    if yardstick is None:
        return ", ".join(f"{name} {line[name]:.4g}" for name in [*line][:2])
    return f"L_X {line['L_X']:.1f} ({100 * yardstick.explained(line['L_X']):.0f} %), L_Z {line['L_Z']:.1f}"


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
            f"held-out clips ({protocol}): L_X {cost:,.1f} + L_Z {values['validation_L_Z']:,.1f} nats; the mean "
            f"image costs {yardstick.mean_image:,.1f}, and nothing less than {yardstick.floor:,.1f}: "
            f"{100 * yardstick.explained(cost):.0f} % of the way"
        )
    if "sample_sharpness" in values:
        moves = f", and {values['sample_motion']:.2f} times as much moves" if "sample_motion" in values else ""
        said.append(f"samples are {values['sample_sharpness']:.2f} times as sharp as real clips{moves}")
    if "caption_match" in values:
        said.append(f"samples that show what their caption says: {100 * values['caption_match']:.0f} %")
    return said
