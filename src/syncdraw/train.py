"""Training: one loop, from a config to a run folder.

A run folder holds `config.yaml`, the model to load (`config.json`, `model.safetensors`), `state/` to resume from,
`metrics.jsonl`, `samples/` and TensorBoard events. Everything random in step n is drawn from (seed, n), and the clips
of step n are a function of the number of clips seen, so a resumed run goes on exactly as if it had not stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from tqdm import tqdm

from syncdraw import evaluate, media, pretrained
from syncdraw.clustering import cluster_prior, find_categories, recognise_layers
from syncdraw.datasets import open_dataset
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.clips import Clips, Dataset, shuffled
from syncdraw.datasets.prepared import PreparedClips
from syncdraw.distances import Scorer
from syncdraw.encoders import load_encoder
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.gradients import limit_gradients
from syncdraw.model import INFERENCE, SyncDraw, SyncDrawConfig
from syncdraw.optimizers import build_optimizers
from syncdraw.vocabulary import Vocabulary

CONFIG_FILE, METRICS_FILE, STATE_FILE = "config.yaml", "metrics.jsonl", "state/training.pt"


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are the papers' (v2 section 4).

    Attributes:
        max_steps: optimiser steps.
        batch_size: clips a step, over all processes.
        learning_rate: of Adam.
        matrix_learning_rate: of Muon, which then trains the matrices between hidden layers in Adam's place.
        warmup_steps: steps over which the rates grow from zero.
        final_learning_rate: of Adam, reached at max_steps on a cosine, and Muon's falls with it; None keeps both.
        beta1: of Adam.
        beta2: of Adam.
        gradient_norm: gradients are scaled down to this global norm.
        gradient_ratio: before that, at every drawing step, a video's gradient is scaled down to so many times the
            median of its batch; None leaves it.
        divergence_weight: of L_Z in the loss. 1 is the bound; more keeps the posterior nearer to the prior.
        ema: decay of the moving average of the weights that is saved and sampled from; 0 for none.
        precision: no, or bf16 for autocast.
        checkpointing: compute drawing steps again in the backward pass: less memory, more time.
        start_from: model whose weights training begins from. It may differ in captions, layers, drawing steps, canvas,
            prior and protocol; layers that it does not have begin anew.
        only_inference: with start_from, train what encodes a video (the reading windows, the encoder LSTM and Q) and
            leave what draws it as it is.
        cluster_from: with start_from, begin a mixture prior or categories from clusters of the latents of this drawing
            step and the later ones; from where they say what is drawn and no longer where. Categories that start_from
            has already are kept, and a mixture prior beside them begins from the steps before this one.
        fresh_captions: with start_from, leave its caption layers behind and begin them anew.
        seed: of weights, order of clips, and noise.
        validation_clips: held-out clips measured at each validation; of MNIST's digits, as many samples are, too.
        validate_every: steps.
        sample_every: steps from one picture of samples to the next.
        save_every: steps from one checkpoint to the next.
        log_every: steps that one line of metrics averages.
    """

    max_steps: int = 50_000
    batch_size: int = 100
    learning_rate: float = 1e-3
    matrix_learning_rate: float | None = None
    warmup_steps: int = 0
    final_learning_rate: float | None = None
    beta1: float = 0.5
    beta2: float = 0.999
    gradient_norm: float = 10.0
    gradient_ratio: float | None = None
    divergence_weight: float = 1.0
    ema: float = 0.0
    precision: Literal["no", "bf16"] = "no"
    checkpointing: bool = False
    start_from: str | None = None
    only_inference: bool = False
    cluster_from: int | None = None
    fresh_captions: bool = False
    seed: int = 0
    validation_clips: int = 500
    validate_every: int = 500
    sample_every: int = 500
    save_every: int = 500
    log_every: int = 50

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "validation_clips", "validate_every", "sample_every", "save_every",
                     "log_every"):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"train.{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("learning_rate", "matrix_learning_rate", "gradient_norm"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UserError(f"train.{name} is {getattr(self, name)}; it must be more than 0")
        if self.gradient_ratio is not None and not self.gradient_ratio >= 1:
            raise UserError(f"train.gradient_ratio is {self.gradient_ratio}; it must be at least 1")
        for name in ("beta1", "beta2", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"train.{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"train.seed is {self.seed}; it must be at least 0 and below 2**32")
        for name in ("only_inference", "cluster_from"):
            if getattr(self, name) and self.start_from is None:
                raise UserError(f"train.{name} needs a trained model: name it with train.start_from")
        if self.divergence_weight < 0 or self.warmup_steps < 0:
            raise UserError("train.divergence_weight and train.warmup_steps must be 0 or more")


@dataclass(frozen=True)
class RunConfig:
    """A whole run: what a recipe's YAML holds.

    Attributes:
        model: shape of the model.
        data: bouncing_mnist, binarized_mnist, or a folder made by `syncdraw prepare`.
        bouncing: settings of the data, where it is bouncing_mnist.
        train: how it is trained.
    """

    model: SyncDrawConfig = field(default_factory=SyncDrawConfig)
    data: str = "bouncing_mnist"
    bouncing: BouncingMNISTConfig = field(default_factory=BouncingMNISTConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def dataset_of(config: RunConfig, split: Literal["train", "validation", "test"]) -> Dataset:
    """The data set that a run trains or is validated on.

    Raises:
        UserError: it is not there, or its clips do not have the model's shape.
    """
    needs_captions = True if config.model.captions != "none" else None
    dataset = open_dataset(config.data, config.bouncing, split, captions=needs_captions)
    if dataset.shape != config.model.shape:
        raise UserError(
            f"{config.data} has clips of [frames, channels, height, width] = {list(dataset.shape)}, "
            f"the model takes {list(config.model.shape)}; set model.frames and so on to the data's"
        )
    return dataset


def _held_out(config: RunConfig) -> Dataset:
    """The validation split; of a folder with very few clips, which has none, the training split."""
    try:
        return dataset_of(config, "validation")
    except UserError as error:
        dataset = dataset_of(config, "train")
        print(f"{error}: validation measures training clips instead", file=sys.stderr)
        return dataset


def complete(config: RunConfig, dataset: Dataset, known: tuple[str, ...] = ()) -> RunConfig:
    """Fill in what the captions decide: the vocabulary of a trained encoder, the version of a frozen one.

    A vocabulary that is `known` already is kept where it has every word, and with it what was learned of the words.
    """
    model = config.model
    if model.captions == "none":
        return config
    if model.captions == "sentence" and model.encoder != "recurrent":
        version = load_encoder(model.encoder).version
        return dataclasses.replace(config, model=dataclasses.replace(model, encoder_version=version))
    if model.vocabulary:
        return config
    words = Vocabulary.from_captions(dataset.wordings()).words
    words = known if set(words) <= set(known) else words
    return dataclasses.replace(config, model=dataclasses.replace(model, vocabulary=words))


def train(config: RunConfig, out: str | Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train until `max_steps`, or until interrupted.

    Args:
        config: the run. With `resume` it must be the one that the run began with, but for settings under `train` other
            than `seed` and `batch_size`.
        out: the run folder.

    Returns:
        The run folder.

    Raises:
        UserError: the folder holds a run and `resume` is False, or the other way round; or a setting is wrong.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the state is saved.
    """
    out = Path(out)
    _check_folder(out, resume)
    if resume:
        _check_same(config, out)
    # A run that was broken off before it saved anything begins at its first step again.
    saved = resume and (out / STATE_FILE).is_file()
    # Autocast is entered below: Accelerate has one precision for the whole process, and this may not be its only run.
    accelerator = Accelerator(mixed_precision="no")
    dataset, validation = dataset_of(config, "train"), _held_out(config)
    known: tuple[str, ...] = ()
    if saved:
        known = tuple(yaml.safe_load((out / CONFIG_FILE).read_text(encoding="utf-8"))["model"]["vocabulary"])
    elif config.train.start_from is not None and config.model.captions != "none":
        known = _starting_model(config.train.start_from).config.vocabulary
    config = complete(config, dataset, known)
    if resume:
        _check_same(config, out)
    settings = config.train
    if config.model.categories and settings.start_from is None:
        raise UserError(
            f"model.categories is {config.model.categories}: they are clusters of what a trained model encodes; "
            "name it with train.start_from"
        )
    _share(settings.batch_size, accelerator)
    set_seed(settings.seed)
    model = SyncDraw(config.model)
    if settings.start_from is not None and not saved:
        source = start_from(model, settings.start_from, settings.fresh_captions, settings.cluster_from is not None)
        _find_clusters(model, source, dataset, settings, progress)
    else:
        model.set_first_canvas(_mean_pixel(dataset, model))
    if settings.only_inference:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.partition(".")[0] in INFERENCE)
    if settings.gradient_ratio is not None:
        limit_gradients(model, settings.gradient_ratio)
    betas = (settings.beta1, settings.beta2)
    optimizers = build_optimizers(model, settings.learning_rate, settings.matrix_learning_rate, betas)
    shares = (1.0, (settings.matrix_learning_rate or 0.0) / settings.learning_rate)
    average = [parameter.detach().clone() for parameter in model.parameters()]
    state: dict[str, Any] = {"step": 0, "seconds": 0.0}
    if saved:
        state = _load_state(out / STATE_FILE, model, optimizers, average)
        for group in optimizers[0].param_groups:  # the state brings those that the run began with
            group["betas"] = betas
    first, clock = int(state["step"]), time.monotonic() - state["seconds"]
    if accelerator.is_main_process:
        write_config(config, out)  # on resuming, too: it says what the run goes on with
        _truncate_metrics(out / METRICS_FILE, first)
    average = [tensor.to(accelerator.device) for tensor in average]
    wrapped, *optimizers = accelerator.prepare(model, *optimizers)
    board = _board(out, first) if accelerator.is_main_process else None

    # What the next line of metrics averages; saved, so that the line does not depend on where a run was broken off.
    window: list[Tensor] = [parts.to(accelerator.device) for parts in state.get("window", [])]
    logged, logged_step = time.monotonic(), first
    bar = tqdm(
        total=settings.max_steps, initial=first, unit="step", disable=not (progress and accelerator.is_main_process),
        smoothing=0.05, dynamic_ncols=True,
    )  # fmt: skip

    scorer: Scorer | None = None

    def validate() -> dict[str, float]:
        nonlocal scorer
        result = evaluate.bound(model, validation, clips=settings.validation_clips, seed=settings.seed)
        values = {
            "validation_L_X": result.reconstruction, "validation_L_Z": result.divergence,
            "validation_negative_elbo": result.negative_elbo,
        }  # fmt: skip
        # The judge reads MNIST's digits, and a distribution's covariance needs two clips.
        if isinstance(validation, BouncingMNIST) and validation.config.glyphs is None and result.clips > 1:
            if scorer is None:
                scorer = Scorer(validation.take(np.arange(result.clips)), validation.config)
            values |= scorer.scores(model, settings.seed)
        return values

    def save(step: int) -> None:
        if accelerator.is_main_process:
            reached = {"step": step, "seconds": time.monotonic() - clock, "window": window}
            _save(out, config, model, optimizers, average, reached)

    with ExitStack() as stack:
        stack.enter_context(bar)
        if board is not None:
            stack.callback(board.close)
        interrupted = stack.enter_context(_interruptible())
        for step, batch in _ahead(dataset, settings, accelerator, first):
            rate = learning_rate(settings, step)
            for optimizer, share in zip(optimizers, shares, strict=False):
                for group in optimizer.param_groups:
                    group["lr"] = rate * share
            # One seed a step and process, so that noise and word dropout need no state to resume from.
            torch.manual_seed(_mix(settings.seed, step, accelerator.process_index))
            wrapped.train()
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                drawing = wrapped(
                    model.targets(torch.from_numpy(batch.videos)),
                    batch.captions if config.model.captions != "none" else None,
                    checkpointing=settings.checkpointing,
                )
            loss = (drawing.reconstruction + settings.divergence_weight * drawing.divergence).mean()
            for optimizer in optimizers:
                optimizer.zero_grad()
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), settings.gradient_norm)
            if not torch.isfinite(norm):
                raise UserError(
                    f"training diverged at step {step}: the gradient is {norm.item()}; what {out} holds is from "
                    "before: resume it with a lower train.learning_rate"
                )
            for optimizer in optimizers:
                optimizer.step()
            decay = min(settings.ema, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1 - decay)
            parts = torch.stack([drawing.reconstruction.mean(), drawing.divergence.mean(), norm]).detach()
            window.append(parts)
            done = step + 1
            bar.update()

            if done % settings.log_every == 0 or done == settings.max_steps:
                reconstruction, divergence, gradient = torch.stack(window).mean(dim=0).tolist()
                videos_per_second = settings.batch_size * (done - logged_step) / (time.monotonic() - logged)
                bar.set_postfix_str(
                    f"L_X {reconstruction:.1f}, L_Z {divergence:.1f}, {videos_per_second:.0f} videos/s", refresh=False
                )
                _log(out, board, accelerator, done, clock, {
                    "L_X": reconstruction, "L_Z": divergence, "gradient_norm": gradient, "learning_rate": rate,
                    "videos_per_second": videos_per_second,
                })  # fmt: skip
                window.clear()
                logged, logged_step = time.monotonic(), done
            last = done == settings.max_steps
            validates, samples = done % settings.validate_every == 0, done % settings.sample_every == 0
            if (validates or samples or last) and accelerator.is_main_process:
                with _averaged(model, average, settings.ema):
                    if validates or last:
                        _log(out, board, accelerator, done, clock, validate())
                    if samples or last:
                        _sample(out, model, validation, done)
            if done % settings.save_every == 0 or last:
                save(done)
            if interrupted.is_set() and not last:
                save(done)
                raise KeyboardInterrupt(f"stopped at step {done}; syncdraw train --resume --out {out} goes on")
    accelerator.end_training()
    return out


def learning_rate(settings: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant, or a cosine to the final rate."""
    rate = settings.learning_rate
    if settings.final_learning_rate is not None:
        progress = min(step / settings.max_steps, 1.0)
        rate = (
            settings.final_learning_rate
            + (rate - settings.final_learning_rate) * (1 + math.cos(math.pi * progress)) / 2
        )
    return rate * min(1.0, (step + 1) / (settings.warmup_steps + 1))


def start_from(model: SyncDraw, name: str, fresh_captions: bool = False, clusters: bool = False) -> SyncDraw:
    """Copy a trained model's weights into another, where their layers have the same meaning.

    Captions come last in every layer's input, so that a layer which gains or loses them keeps what it has learned of
    the rest. Words are compared by their text: caption layers are copied only where both models know the same words,
    by the same encoder, and categories only where both models have as many; others have to be found by `clusters`.

    Returns:
        The trained model.

    Raises:
        UserError: there is no such model, or it differs in a size that decides what the numbers in a layer stand for.
    """
    trained = source = _starting_model(name)
    for field_name in _SHARED_SIZES:
        theirs, ours = _size_of(source.config, field_name), _size_of(model.config, field_name)
        if theirs != ours:
            raise UserError(
                f"train.start_from: {name} has model.{field_name} {theirs}, this model {ours}; they must be equal"
            )
    fresh = fresh_captions or not _same_captions(source.config, model.config)
    if model.config.categories and fresh and not clusters:
        raise UserError(
            f"model.categories is {model.config.categories}: they are clusters of what {name} encodes; say from which "
            "drawing step on with train.cluster_from"
        )
    if fresh:
        plain = SyncDraw(dataclasses.replace(source.config, captions="none", vocabulary=(), categories=0))
        _copy_overlap(source, plain)
        source = plain
    _copy_overlap(source, model)
    return trained


def _starting_model(name: str) -> SyncDraw:
    try:
        return pretrained.load(name)
    except UserError as error:
        raise UserError(f"train.start_from: {error}; a recipe that begins from a run needs that run first") from error


def _same_captions(source: SyncDrawConfig, target: SyncDrawConfig) -> bool:
    return all(getattr(source, name) == getattr(target, name) for name in _CAPTION_LAYERS)


def _find_clusters(model: SyncDraw, source: SyncDraw, dataset: Dataset, settings: TrainConfig, progress: bool) -> None:
    """What a model that began from another needs to know before it is trained: categories, and a prior's components."""
    categories, from_step = model.config.categories, settings.cluster_from
    kept = categories and not settings.fresh_captions and _same_captions(source.config, model.config)
    if kept and model.config.layers > source.config.layers:
        right = recognise_layers(model, seed=settings.seed, progress=progress)
        print(f"{categories} categories; {right:.1%} of its own layers are recognised", file=sys.stderr)
    if from_step is None:
        return
    if kept or not categories:
        cluster_prior(model, dataset, from_step=from_step, seed=settings.seed, progress=progress)
        return
    right = find_categories(model, source, dataset, from_step=from_step, seed=settings.seed, progress=progress)
    print(f"{categories} categories; {right:.1%} of clips not shown are recognised", file=sys.stderr)


# Where one of these differs, the parts of a layer's input or output do not lie where they lie in the other model.
_SHARED_SIZES = (
    "frames", "channels", "attention", "content", "grid_size", "write_grid_size", "hidden_size", "latent_size"
)  # fmt: skip
_CAPTION_LAYERS = ("captions", "caption_size", "encoder", "encoder_version", "vocabulary", "categories")


def _size_of(config: SyncDrawConfig, name: str) -> Any:
    value = getattr(config, name)
    return config.grid_size if name == "write_grid_size" and value is None else value


@torch.no_grad()
def _copy_overlap(source: SyncDraw, target: SyncDraw) -> None:
    """Copy what tensors of the same name have in common."""
    tensors = source.state_dict()
    for name, theirs in target.state_dict().items():
        ours = tensors.get(name)
        if ours is None or ours.ndim != theirs.ndim:
            continue
        if name == "first_canvas" and target.config.canvas == "zero":
            continue  # what it promises, whatever the other has learned
        if name.startswith("video_parameters") and ours.shape != theirs.shape:
            continue  # other pixels
        overlap = tuple(slice(min(a, b)) for a, b in zip(ours.shape, theirs.shape, strict=True))
        theirs[overlap] = ours[overlap]


def write_config(config: RunConfig, out: Path) -> None:
    """config.yaml of a run."""
    with atomic_path(out / CONFIG_FILE) as path:
        text = yaml.dump(_plain(config), Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True)
        path.write_text(text, encoding="utf-8")


class _QuotingDumper(yaml.SafeDumper):
    """Quotes strings that look like anything else: YAML's versions do not agree on what `1e3` is."""

    def represent_text(self, value: str) -> yaml.ScalarNode:
        style = None if re.fullmatch(r"[^\W\d]\w*", value) else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_QuotingDumper.add_representer(str, _QuotingDumper.represent_text)


def _check_folder(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out must name a folder")
    if resume and not (out / CONFIG_FILE).is_file():
        raise UserError(f"{out} holds no run to resume; start it without --resume")
    if resume and (out / pretrained.WEIGHTS_FILE).exists() and not (out / STATE_FILE).is_file():
        raise UserError(f"{out / STATE_FILE} is missing, without which the run cannot be resumed")
    if not resume:
        for name in (CONFIG_FILE, STATE_FILE, pretrained.WEIGHTS_FILE):
            if (out / name).exists():
                raise UserError(
                    f"{out} already holds a run ({name}); add --resume to continue it, or choose another folder"
                )


def _check_same(config: RunConfig, out: Path) -> None:
    """Raise UserError at the first setting that must not differ from those in a run's config.yaml, and does.

    A vocabulary and an encoder's version that are not filled in yet are passed over.
    """
    path = out / CONFIG_FILE
    try:
        # A file from an older version lacks the newer settings, which then had no effect: their defaults.
        before = {**_flat(RunConfig()), **_flat(yaml.safe_load(path.read_text(encoding="utf-8")))}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as a run's settings ({reason})") from error
    for name, value in _flat(config).items():
        free = name.startswith("train.") and name not in ("train.seed", "train.batch_size")
        unknown = name in ("model.vocabulary", "model.encoder_version") and not value
        if not (free or unknown) and value != before[name]:
            raise UserError(
                f"{name} is {_short(value)}, but the run in {out} began with {_short(before[name])}; "
                "a resumed run keeps its model, data, seed and batch size"
            )


def _flat(config: RunConfig | dict[str, Any]) -> dict[str, Any]:
    """Settings by their dotted names, as YAML gives them back. The data come first, for they decide other settings."""
    values = _plain(config) if isinstance(config, RunConfig) else config
    flat = {"data": values["data"]}
    for part in ("bouncing", "model", "train"):
        flat |= {f"{part}.{name}": value for name, value in values[part].items()}
    return flat


def _plain(config: RunConfig) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))  # tuples as lists
    return values


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _mean_pixel(dataset: Dataset, model: SyncDraw) -> Tensor:
    count = min(len(dataset) or 256, 256)
    sample = model.targets(torch.from_numpy(dataset.take(np.arange(count, dtype=np.int64)).videos))
    return sample.mean(dim=(0, 1, 3, 4)).cpu()


def _share(batch_size: int, accelerator: Accelerator) -> int:
    if batch_size % accelerator.num_processes:
        raise UserError(
            f"train.batch_size is {batch_size}; it must be a multiple of the {accelerator.num_processes} processes"
        )
    return batch_size // accelerator.num_processes


def _ahead(
    dataset: Dataset, settings: TrainConfig, accelerator: Accelerator, first: int
) -> Iterator[tuple[int, Clips]]:
    """Steps and their clips; the next batch is made by a thread while the model works on this one."""
    share = _share(settings.batch_size, accelerator)

    def fetch(step: int) -> Clips:
        start = step * settings.batch_size + accelerator.process_index * share
        indices = shuffled(len(dataset), start, share, settings.seed)
        if isinstance(dataset, PreparedClips):
            return dataset.take(indices, caption_seed=_mix(settings.seed, step))
        return dataset.take(indices)

    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = thread.submit(fetch, first) if first < settings.max_steps else None
        for step in range(first, settings.max_steps):
            assert waiting is not None
            batch = waiting.result()
            if step + 1 < settings.max_steps:
                waiting = thread.submit(fetch, step + 1)
            yield step, batch


def _mix(*numbers: int) -> int:
    """One seed from several numbers; neighbours give unrelated streams."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "big")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event, so that the step in hand is finished and saved; a second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _averaged(model: nn.Module, average: list[Tensor], ema: float) -> Iterator[None]:
    """Inside, the model has its averaged weights."""
    if ema == 0:
        yield
        return
    parameters = [parameter.detach() for parameter in model.parameters()]
    own = [parameter.clone() for parameter in parameters]
    with torch.no_grad():
        torch._foreach_copy_(parameters, average)
        try:
            yield
        finally:
            torch._foreach_copy_(parameters, own)


def _save(
    out: Path, config: RunConfig, model: SyncDraw, optimizers: list[Any], average: list[Tensor], reached: dict[str, Any]
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "average": average,
        "state": reached,
    }
    # By way of memory, because torch.save reports a full disk in ways of its own, some of which end the process.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_path(out / STATE_FILE) as path:
        path.write_bytes(buffer.getbuffer())
    steps, minutes = reached["step"], round(reached["seconds"] / 60, 1)
    trained = {"steps": steps, "clips_seen": steps * config.train.batch_size, "minutes": minutes}
    with _averaged(model, average, config.train.ema):
        bouncing = dataclasses.asdict(config.bouncing)
        pretrained.save(model, out, trained=trained, data=config.data, bouncing=bouncing)


def _load_state(
    path: Path, model: SyncDraw, optimizers: list[torch.optim.Optimizer], average: list[Tensor]
) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(saved["model"])
        states = saved["optimizers"] if "optimizers" in saved else [saved["optimizer"]]  # before there was Muon
        if len(states) != len(optimizers):
            began = "with" if len(states) == 2 else "without"
            raise UserError(f"the run in {path.parents[1]} began {began} train.matrix_learning_rate; resume it so")
        for optimizer, theirs in zip(optimizers, states, strict=True):
            optimizer.load_state_dict(theirs)
        for mine, theirs in zip(average, saved["average"], strict=True):
            mine.copy_(theirs)
        return dict(saved["state"])
    except UserError:
        raise
    except Exception as error:  # torch.load raises half a dozen kinds for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be resumed from: it is damaged or of another model ({reason})") from error


def _truncate_metrics(path: Path, step: int) -> None:
    """Drop lines of steps that were not saved and will be done again."""
    if path.is_file():
        lines = [line for line in path.read_text(errors="replace").splitlines() if _step_of(line) <= step]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # half a line, from a break


def _log(out: Path, board: Any, accelerator: Accelerator, step: int, clock: float, values: dict[str, float]) -> None:
    if not accelerator.is_main_process:
        return
    line = {"step": step, "seconds": round(time.monotonic() - clock, 1), **{k: round(v, 6) for k, v in values.items()}}
    with (out / METRICS_FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")
    if board is not None:
        for name, value in values.items():
            board.add_scalar(name, value, step)


def _board(out: Path, first: int) -> Any:
    """A TensorBoard writer, where the extra `log` is installed. What was written of later steps is hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"), purge_step=first + 1)


def _sample(out: Path, model: SyncDraw, validation: Dataset, step: int) -> None:
    """Sixteen samples as an animation; with captions, those of the first validation clips."""
    what: int | list[str] = 16
    if model.config.captions != "none":
        what = validation.take(np.arange(min(16, len(validation)), dtype=np.int64)).captions or []
    media.save_video(model.generate(what, seed=0).cpu(), out / "samples" / f"step_{step:07d}.gif", scale=2)
