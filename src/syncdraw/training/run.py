"""One run: data, model and optimisation are put together, then the loop has them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncdraw import pretrained
from syncdraw.building import build
from syncdraw.config import SyncDrawConfig, VGANConfig
from syncdraw.datasets import BUILT_IN
from syncdraw.datasets.clips import Clips, Dataset
from syncdraw.datasets.from_torch import as_clips
from syncdraw.errors import UserError, within_memory
from syncdraw.evaluation.bounds import bound
from syncdraw.evaluation.looks import Looks
from syncdraw.evaluation.scorer import Scorer
from syncdraw.evaluation.stories import Digits
from syncdraw.extensions.held_gradients import hold_gradients
from syncdraw.extensions.looking import first_look_of
from syncdraw.model import SyncDraw
from syncdraw.training.batches import Batches
from syncdraw.training.learning import AdversarialLearner, BoundLearner, Learner
from syncdraw.training.loop import Evaluator, fit
from syncdraw.training.memory import TOO_LARGE
from syncdraw.training.optimization import Optimization
from syncdraw.training.processes import Processes
from syncdraw.training.run_folder import RunFolder
from syncdraw.training.settings import RunConfig, as_dict, complete, dataset_of
from syncdraw.training.telling import Yardstick, about, beside_the_bar, farewell
from syncdraw.training.trackers import MakeTracker
from syncdraw.training.warm_start import begin, first_look_model, starting_model
from syncdraw.vgan import VGAN

OWN = "a data set of your own"
"""What a run's config and its model's card say where the data set was handed to `train`."""

VALIDATION_CLIPS, EXAMPLES = 200, 16
"""Held-out clips measured at each validation, and as many samples; and those shown beside samples."""


def train(
    config: RunConfig,
    out: str | Path,
    *,
    dataset: Any = None,
    validation: Any = None,
    resume: bool = False,
    progress: bool = True,
    device: str | None = None,
    build_model: Callable[[SyncDrawConfig], SyncDraw] = build,
    evaluators: Sequence[Evaluator] = (),
    trackers: Sequence[MakeTracker] = (),
) -> Path:
    """Train until `max_steps`, or until interrupted.

    Args:
        config: the run. With `resume` it must be the one that the run began with, but for settings under `train` other
            than `seed` and `batch_size`.
        out: the run folder.
        dataset: of yours, in place of the one that the config names: a `datasets.clips.Dataset`, or a torch Dataset or
            DataLoader, as `datasets.from_torch` takes it.
        validation: held-out clips beside it.
        device: cpu, cuda or mps; the fastest that there is unless given.
        build_model: makes the model, with an attention, prior or conditioner of yours, say.
        evaluators: measure the model at each validation, beside the bound on held-out clips; of several processes, in
            the first one.
        trackers: where metrics and samples go beside the folder, `training.trackers.WeightsAndBiases` say.

    Returns:
        The run folder.

    Raises:
        UserError: the folder holds a run and `resume` is False, or the other way round; or a setting is wrong.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once the state is saved.
    """
    run, processes = RunFolder(out), Processes.join(device)
    progress = progress and processes.first
    if dataset is not None:
        dataset, validation = as_clips(dataset), as_clips(dataset if validation is None else validation)
        config = dataclasses.replace(config, data=OWN)
    with processes.together(), run.owned() if processes.first else nullcontext(), within_memory(TOO_LARGE):
        run.check(resume)
        if resume:
            run.check_same(config)
        # Not `dataset or ...`: an endless data set has a length of 0, so it would count as missing.
        dataset = dataset_of(config, "train") if dataset is None else dataset
        validation = _held_out(config) if validation is None else validation
        # A run that was broken off before it saved anything begins at its first step again.
        state = run.load_state() if resume and run.saved else None
        config = _with_first_look(config, run if state else None, build_model)
        config = complete(config, dataset, _known_words(config, run if state else None, build_model))
        processes.share(config.train.batch_size, config.train.accumulate)
        torch.manual_seed(config.train.seed)
        model, learner = _made(config, dataset, processes, progress, state is None, build_model)
        if state is not None:
            _restore(state, model, learner, run)
        state = state or {"step": 0, "seconds": 0.0}
        processes.share_weights(model)
        processes.wait()  # all have read the folder by now, and the first may begin to write
        if processes.first:
            run.write_config(config)
            run.begin_metrics(state["step"], [begun(run.path, as_dict(config)) for begun in trackers])
        batches = Batches(
            model, dataset, config.train.batch_size, config.train.seed, processes, _caption_length(model, dataset)
        )
        examples = _first(validation, EXAMPLES)
        examples = examples if model.captioned else Clips(examples.videos, None)
        yardstick, bounded = None, isinstance(model, SyncDraw)
        if progress:
            yardstick = Yardstick.of(dataset, dataset, config.model.protocol) if bounded else None
            print(about(config, dataset, model, processes, state["step"], yardstick), file=sys.stderr)
        own = evaluators if processes.first else []
        try:
            fit(model, batches, learner, config.train, run, resumed=state,
                evaluators=[*usual_evaluators(validation, config, processes), *own], examples=examples,
                save_model=lambda reached: _save_model(model, run, config, reached, examples.captions),
                shown=partial(beside_the_bar, yardstick), progress=progress)  # fmt: skip
        finally:
            run.close()
        if progress and state["step"] < config.train.max_steps:
            yardstick = Yardstick.of(dataset, validation, config.model.protocol) if bounded else None
            print(*farewell(run.last_validation(), yardstick, config.model.protocol), sep="\n", file=sys.stderr)
    return run.path


def usual_evaluators(validation: Dataset, config: RunConfig, processes: Processes) -> list[Evaluator]:
    """The bound on held-out clips, which a VGAN has not, and of samples, what the judge sees in MNIST's digits, or of
    other clips, how sharp they are and how much moves.

    Each process measures its part.
    """
    seed = config.train.seed

    def bounded(model: Any) -> dict[str, float]:
        result = bound(
            model, validation, protocol=config.model.protocol, clips=VALIDATION_CLIPS, seed=seed, sharing=processes
        )
        return {
            "validation_L_X": result.reconstruction,
            "validation_L_Z": result.divergence,
            "validation_negative_elbo": result.negative_elbo,
        }

    digits = isinstance(validation, Digits) and validation.config.glyphs is None
    scorers: list[Scorer | Looks] = []

    def seen(model: Any) -> dict[str, float]:
        if not scorers:
            clips = _first(validation, VALIDATION_CLIPS)
            if isinstance(validation, Digits) and digits:
                scorers.append(Scorer(clips, validation.config, processes))
            else:
                scorers.append(Looks(clips, processes))
        return scorers[0].scores(model, seed)

    return [seen] if isinstance(config.model, VGANConfig) else [bounded, seen]


def _first(dataset: Dataset, count: int) -> Clips:
    """The first clips of a data set, as many as that if there are."""
    return dataset.take(np.arange(min(count, len(dataset) or count), dtype=np.int64))


def _held_out(config: RunConfig) -> Dataset:
    """The validation split; of a folder with very few clips, which has none, the training split."""
    try:
        return dataset_of(config, "validation")
    except UserError as error:
        dataset = dataset_of(config, "train")
        print(f"{error}: validation measures training clips instead", file=sys.stderr)
        return dataset


def _with_first_look(
    config: RunConfig, resumed: RunFolder | None, build_model: Callable[[SyncDrawConfig], SyncDraw]
) -> RunConfig:
    """Fill in what the model that takes the first look decides."""
    if isinstance(config.model, VGANConfig) or config.train.start.first_look is None:
        return config
    if resumed is not None:
        look = resumed.config().model.first_look
    else:
        look = first_look_of(first_look_model(config.train.start.first_look, build_model).config)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, first_look=look))


def _known_words(
    config: RunConfig, resumed: RunFolder | None, build_model: Callable[[SyncDrawConfig], SyncDraw]
) -> tuple[str, ...]:
    if isinstance(config.model, VGANConfig):
        return ()
    if resumed is not None:
        return resumed.config().model.captions.vocabulary
    if config.train.start.model is not None and config.model.captioned:
        return starting_model(config.train.start.model, build_model).config.captions.vocabulary
    return ()


def _made(
    config: RunConfig,
    dataset: Dataset,
    processes: Processes,
    progress: bool,
    fresh: bool,
    build_model: Callable[[SyncDrawConfig], SyncDraw],
) -> tuple[SyncDraw | VGAN, Learner]:
    """The model, begun where the run is fresh, and how it learns."""
    if isinstance(config.model, VGANConfig):
        vgan = VGAN(config.model).to(processes.device)
        return vgan, AdversarialLearner(vgan, config.train.optimizer, config.train.max_steps, processes)
    model = build_model(config.model).to(processes.device)
    if fresh:
        begin(model, config, dataset, progress, build_model)
    if config.train.start.only_inference:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("inference."))
    if config.train.optimizer.gradient_ratio is not None:
        hold_gradients(model, config.train.optimizer.gradient_ratio, processes.gather)
    optimization = Optimization(model, config.train.optimizer, config.train.max_steps, processes)
    return model, BoundLearner(model, optimization, config.train.divergence_weight, config.train.accumulate)


def _restore(state: dict[str, Any], model: SyncDraw | VGAN, learner: Learner, run: RunFolder) -> None:
    run.check_model(state)
    try:
        pretrained.check_numbers(state["model"])
        model.load_state_dict(state["model"])
        learner.load_state_dict(state)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the state in {run} cannot be resumed from: it is of another model ({reason})") from error


def _caption_length(model: SyncDraw | VGAN, dataset: Dataset) -> int:
    if isinstance(model, VGAN) or not model.captioned or model.config.captions.pretrained:
        return 0
    wordings = dataset.wordings()
    tokens = model.tokenise(wordings, len(wordings))
    return 0 if tokens is None else tokens.shape[-1]


def _save_model(
    model: SyncDraw | VGAN, run: RunFolder, config: RunConfig, reached: dict[str, Any], captions: Sequence[str] | None
) -> None:
    steps, seconds = reached["step"], reached["seconds"]
    trained = {
        "steps": steps,
        "clips_seen": steps * config.train.batch_size,
        "minutes": round(seconds / 60, 1),
        "state": reached["state"],
    }
    card: dict[str, Any] = {"data": config.data, "bouncing": dataclasses.asdict(config.bouncing)}
    if captions and config.data not in BUILT_IN:
        card["example"] = captions[0]
    pretrained.save(model, run.path, trained=trained, **card)
