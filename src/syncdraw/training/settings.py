"""How a model is trained: what a recipe's YAML holds, and a run's config.yaml."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from syncdraw.config import MOST_NUMBERS, STRICT, SyncDrawConfig, VGANConfig, at_least
from syncdraw.datasets import open_dataset
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.datasets.clips import Dataset
from syncdraw.errors import UserError
from syncdraw.reading import read_settings


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are moved. Adam's beta1 is 0.5 and gradients are clipped to a norm of 10, as in v2 section 4.

    Attributes:
        learning_rate: of Adam.
        matrix_learning_rate: of Muon, which then trains the matrices between hidden layers in Adam's place (ours).
        warmup_steps: steps over which the rates grow from zero.
        final_learning_rate: of Adam, reached at max_steps on a cosine, and Muon's falls with it; None keeps both.
        gradient_ratio: at every drawing step, a video's gradient is scaled down to so many times the median of its
            batch; None leaves it (ours).
        ema: decay of the moving average of the weights that is saved and sampled from; 0 for none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    learning_rate: float = 1e-3
    matrix_learning_rate: float | None = None
    warmup_steps: int = 0
    final_learning_rate: float | None = None
    gradient_ratio: float | None = None
    ema: float = 0.0

    def __post_init__(self) -> None:
        at_least(0, "train.optimizer.", self, "warmup_steps")
        for name in ("learning_rate", "matrix_learning_rate", "final_learning_rate"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < float("inf"):
                raise UserError(f"train.optimizer.{name} is {rate}; it must be more than 0")
        if self.gradient_ratio is not None and not 1 <= self.gradient_ratio < float("inf"):
            raise UserError(f"train.optimizer.gradient_ratio is {self.gradient_ratio}; it must be at least 1")
        if not 0 <= self.ema < 1:
            raise UserError(f"train.optimizer.ema is {self.ema}; it must be at least 0 and below 1")


@dataclass(frozen=True)
class StartConfig:
    """What training begins from. A recipe's stages begin from the one before.

    Attributes:
        model: whose weights training begins from. It may differ in captions, layers, drawing steps, canvas, prior and
            protocol; what it does not have begins anew.
        only_inference: train what encodes a video and leave what draws it as it is.
        first_look: a model of several layers that takes the first look; or, in a recipe, the name of an earlier stage,
            and then this one begins from `model` and not from the stage before.
        cluster_from: begin a mixture prior or categories from clusters of the latents of this drawing step and the
            later ones; from where they say what is drawn and no longer where. Categories that the model has already are
            kept, and a mixture prior beside them begins from the steps before this one.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    model: str | None = None
    only_inference: bool = False
    first_look: str | None = None
    cluster_from: int | None = None

    def __post_init__(self) -> None:
        if self.cluster_from is not None:
            at_least(1, "train.start.", self, "cluster_from")


@dataclass(frozen=True)
class TrainConfig:
    """How long, on how much, and from what.

    Attributes:
        max_steps: optimiser steps.
        batch_size: clips a step, over all processes.
        accumulate: in how many equal parts a step's clips are computed, one after the other, where all of them do not
            fit in the memory of a GPU at once. Gradients add up, so the result is the same.
        seed: of weights, order of clips, and noise.
        divergence_weight: of L_Z in the loss. 1 is the bound; more keeps the posterior nearer to the prior.
        every: steps from one validation, picture of samples and checkpoint to the next.
        optimizer: how weights are moved.
        start: what training begins from.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    max_steps: int = 50_000
    batch_size: int = 100
    accumulate: int = 1
    seed: int = 0
    divergence_weight: float = 1.0
    every: int = 500
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    start: StartConfig = field(default_factory=StartConfig)

    def __post_init__(self) -> None:
        at_least(1, "train.", self, "max_steps", "batch_size", "accumulate", "every")
        at_least(0, "train.", self, "seed")
        if self.seed >= 2**32:
            raise UserError(f"train.seed is {self.seed}; it must be below 2**32")
        if self.max_steps > 2**40 or self.batch_size > 2**20:
            raise UserError(
                f"train.max_steps is {self.max_steps} and train.batch_size {self.batch_size}; no more than {2**40:,} "
                f"and {2**20:,} are possible"
            )
        if self.batch_size % self.accumulate:
            raise UserError(
                f"train.batch_size is {self.batch_size}; it must be a multiple of train.accumulate, which is "
                f"{self.accumulate}"
            )
        if self.accumulate > 1 and self.optimizer.gradient_ratio is not None:
            raise UserError(
                f"train.accumulate is {self.accumulate}, and train.optimizer.gradient_ratio compares all clips of a "
                "batch at once: set accumulate to 1, or gradient_ratio to none"
            )
        if not 0 <= self.divergence_weight < float("inf"):
            raise UserError(f"train.divergence_weight is {self.divergence_weight}; it must be 0 or more")


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
        model: shape of the model.
        data: bouncing_mnist, mnist_stories, sprites, binarized_mnist, or a folder made by `syncdraw prepare`.
        bouncing: settings of the data, where it is bouncing_mnist or mnist_stories; of sprites, combinations alone.
        train: how it is trained.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    model: SyncDrawConfig = field(default_factory=SyncDrawConfig)
    data: str = "bouncing_mnist"
    bouncing: BouncingMNISTConfig = field(default_factory=BouncingMNISTConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if math.prod(self.bouncing.shape) > MOST_NUMBERS or self.bouncing.digits > 1000:
            raise UserError(
                f"bouncing.shape is {list(self.bouncing.shape)} and bouncing.digits {self.bouncing.digits}; a clip has "
                f"no more than {MOST_NUMBERS:,} numbers, and 1,000 digits"
            )


@dataclass(frozen=True)
class VGANRunConfig(RunConfig):
    """A run of VGAN, which v2 section 4.7 compares with: `model.kind` is vgan.

    Attributes:
        model: shape of the VGAN.
        data: as in every run.
        bouncing: likewise.
        train: how it is trained. Its loss is the critic's: there is no divergence to weigh, and it begins from nothing.
    """

    model: VGANConfig = field(default_factory=VGANConfig)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train.start != StartConfig() or self.train.divergence_weight != 1:
            raise UserError(
                "a VGAN begins from nothing and has no L_Z: leave out train.start and train.divergence_weight"
            )
        if self.train.accumulate > 1:
            raise UserError(
                f"train.accumulate is {self.train.accumulate}, but the batch norm of a VGAN needs the whole batch at "
                "once; set it to 1"
            )


def read_run(values: Mapping[str, Any], source: str) -> RunConfig:
    """The settings of a run from nested values, as JSON or YAML give them; `model.kind` says of which kind of model.

    Raises:
        UserError: a field is unknown, of another type, or out of range; it names the source and the field.
    """
    model = values.get("model")
    peer = isinstance(model, Mapping) and model.get("kind") == "vgan"
    return read_settings(VGANRunConfig if peer else RunConfig, values, source)


Split = Literal["train", "validation", "test"]
MOST_IN_A_BATCH = 2**33
"""Bytes of pixels: 8 GiB. Beyond that a machine is out of memory before it can say so."""


def dataset_of(config: RunConfig, split: Split) -> Dataset:
    """The data set that a run trains or is validated on.

    Raises:
        UserError: it is not there.
    """
    return open_dataset(config.data, config.bouncing, split, captions=True if config.model.captioned else None)


def complete(config: RunConfig, dataset: Dataset, known: tuple[str, ...] = ()) -> RunConfig:
    """Fill in what the data decide: the shape, the vocabulary of a trained encoder, the version of a pretrained one.

    A vocabulary that is `known` already is kept where it has every word, and with it what was learned of the words.
    """
    # Here, for they need torch, and who asks for the settings alone should not wait for it.
    from syncdraw.encoders import load_encoder
    from syncdraw.vocabulary import Vocabulary

    frames, channels, height, width = dataset.shape
    numbers = config.train.batch_size * math.prod(dataset.shape)
    if numbers > MOST_IN_A_BATCH:
        raise UserError(
            f"train.batch_size is {config.train.batch_size}, and a clip has {math.prod(dataset.shape):,} numbers: no "
            f"more than {MOST_IN_A_BATCH:,} may be in a batch"
        )
    shape: dict[str, Any] = {"frames": frames, "channels": channels, "height": height, "width": width}
    if isinstance(config, VGANRunConfig):
        return dataclasses.replace(config, model=dataclasses.replace(config.model, **shape))
    captions = config.model.captions
    if captions.pretrained:
        captions = dataclasses.replace(captions, encoder_version=load_encoder(captions.route).version)
    elif config.model.captioned and not captions.vocabulary:
        words = Vocabulary.from_captions(dataset.wordings()).words
        captions = dataclasses.replace(captions, vocabulary=known if set(words) <= set(known) else words)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **shape, captions=captions))


def as_dict(config: RunConfig) -> dict[str, Any]:
    """As JSON and YAML hold it, with tuples as lists."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values
