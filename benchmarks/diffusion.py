"""A diffusion model beside Sync-DRAW, on the same captioned clips, for the same minutes of one processor core:

    OMP_NUM_THREADS=1 python benchmarks/diffusion.py train runs/beside-diffusion --minutes 45
    OMP_NUM_THREADS=1 python benchmarks/diffusion.py compare runs/beside-diffusion runs/beside-diffusion-ours

A small 3-D U-Net from diffusers (`pip install '.[benchmarks]'`) denoises whole clips (Ho et al., "Video Diffusion
Models", 2022). A caption's words are embedded for the cross attention of the U-Net, and one caption in ten is left out,
so that captions can be followed more strictly than they were trained (Ho and Salimans, "Classifier-Free Diffusion
Guidance", 2022). The network predicts the clip, not the noise or the velocity: squares of 8 x 8 pixels become channels
before it, and Li and He argue that noise in so many pixels needs more channels than clips do ("Back to Basics: Let
Denoising Generative Models Denoise", 2025). Errors are weighted by the signal-to-noise ratio plus one, at most by 5
(after Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", 2023), under the cosine schedule
(Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021). Clips are drawn in 25 steps without
noise in between (Song et al., "Denoising Diffusion Implicit Models", 2021), by the moving average of the weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from syncdraw import plots, pretrained
from syncdraw.datasets import open_dataset
from syncdraw.datasets.bouncing_mnist import SPEED, BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.prepared import streamed
from syncdraw.errors import UserError
from syncdraw.evaluation.captions import caption_report
from syncdraw.evaluation.comparison import comparison_report
from syncdraw.evaluation.distances import neighbourhoods
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.readings import clip_features
from syncdraw.evaluation.reports import data_of
from syncdraw.evaluation.samples import sample_batches
from syncdraw.files import atomic_path
from syncdraw.training.batches import mix
from syncdraw.training.recipes import read_recipe
from syncdraw.vocabulary import PADDING, Vocabulary

try:
    from diffusers import DDIMScheduler, UNet3DConditionModel
except ImportError:
    raise SystemExit("this benchmark needs the package diffusers: pip install '.[benchmarks]'") from None

RECIPE = "mnist1-captions"
"""Whose training clips are taken: what is trained of ours beside it."""

NOISE_LEVELS = 1000
SAMPLING_STEPS = 25
HEAVIEST = 5.0
"""The weight of clips that are nearly without noise, where there is nothing to learn."""

CHECKPOINT = "diffusion.pt"
SAVED_EVERY = 60.0
"""Seconds of computing."""


@dataclass(frozen=True)
class Settings:
    """What is trained, and how.

    Attributes:
        fold: each square of so many by so many pixels becomes the channels of one.
        channels: of the U-Net, at full resolution, at half of it, and so on.
        layers: residual blocks at each resolution.
        head: numbers in a head of its attention.
        words: numbers in the embedding of a word.
        batch_size: clips a step.
        learning_rate: Adam's, reached after `warmup` steps.
        average: how much of the weights' moving average remains at each step.
        unnamed: share of the clips whose caption is left out.
        seed: of the first weights, and of the clips and the noise of each step.
    """

    fold: int = 8
    channels: tuple[int, ...] = (48, 96)
    layers: int = 1
    head: int = 8
    words: int = 64
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup: int = 100
    average: float = 0.998
    unnamed: float = 0.1
    seed: int = 0


class Diffusion(nn.Module):
    """A U-Net that denoises clips, with the methods that measuring asks for (`evaluation.models.DrawingModel`).

    Args:
        shape: frames, channels, height and width of the clips; height and width are multiples of the fold and of the
            U-Net's halvings.
        captions: which hold every word that there will be.
    """

    captioned = True

    def __init__(self, settings: Settings, shape: tuple[int, int, int, int], captions: Sequence[str]) -> None:
        super().__init__()
        self.settings, self.shape = settings, shape
        self.vocabulary = Vocabulary.from_captions(captions)
        self.longest = self.vocabulary.encode(captions).shape[1]
        self.guidance = 1.0  # as trained
        self.words = nn.Embedding(len(self.vocabulary.words) + 1, settings.words)
        self.places = nn.Parameter(torch.zeros(self.longest, settings.words))
        folded, last = shape[1] * settings.fold**2, len(settings.channels) - 1
        self.unet = UNet3DConditionModel(
            in_channels=folded, out_channels=folded, block_out_channels=settings.channels,
            down_block_types=("DownBlock3D",) + ("CrossAttnDownBlock3D",) * last,
            up_block_types=("CrossAttnUpBlock3D",) * last + ("UpBlock3D",),
            layers_per_block=settings.layers, norm_num_groups=8, cross_attention_dim=settings.words,
            attention_head_dim=settings.head,
        )  # fmt: skip
        for module in self.unet.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # no clip is seen twice
        self.schedule = DDIMScheduler(
            NOISE_LEVELS, beta_schedule="squaredcos_cap_v2", prediction_type="sample",
            timestep_spacing="trailing", clip_sample=True,
        )  # fmt: skip

    def encode(self, captions: Sequence[str]) -> Tensor:
        """The numbers of the captions' words `[clip, word]`, all equally long."""
        numbers = self.vocabulary.encode(captions)
        return functional.pad(numbers, (0, self.longest - numbers.shape[1]), value=PADDING)

    def forward(self, noisy: Tensor, levels: Tensor, words: Tensor) -> Tensor:
        """Clips without noise, from noisy ones `[clip, frame, channel, height, width]`; without noise in [-1, 1].

        Args:
            levels: of the noise, `[clip]`. words: from `encode`; a row of `PADDING` says nothing.
        """
        folded = functional.pixel_unshuffle(noisy, self.settings.fold).transpose(1, 2)
        told = self.words(words) + self.places
        return functional.pixel_shuffle(self.unet(folded, levels, told).sample.transpose(1, 2), self.settings.fold)

    def loss(self, videos: Tensor, words: Tensor) -> Tensor:
        """The mean squared error at a random level of noise for each of the clips, in [-1, 1].

        It is weighted by the ratio of signal to noise plus one, as if of the velocity, at most by `HEAVIEST`.
        """
        noise = torch.randn_like(videos)
        # One level from each of equal parts of the range: the mean over a batch is less noisy.
        parts = (torch.arange(len(videos)) + torch.rand(len(videos))) / len(videos)
        levels = (NOISE_LEVELS * parts).long()
        silent = torch.rand(len(videos), 1) < self.settings.unnamed
        noisy = self.schedule.add_noise(videos, noise, levels)
        errors = (self(noisy, levels, words.masked_fill(silent, PADDING)) - videos).square().flatten(1).mean(dim=1)
        weights = 1 / (1 - self.schedule.alphas_cumprod[levels])
        return (weights.clamp(max=HEAVIEST) * errors).mean()

    def noise(self, which: int | Sequence[torch.Generator | None], seed: int = 0) -> Tensor:
        """What so many clips begin from, under a seed and the same for any count; or one from each generator."""
        generators = [torch.Generator().manual_seed(seed)] * which if isinstance(which, int) else which
        return torch.stack([torch.randn(self.shape, generator=one) for one in generators])

    @torch.no_grad()
    def generate(
        self, what: int | Sequence[str], *, seed: int | torch.Generator = 0, temperature: float = 1.0
    ) -> Tensor:
        """A clip for each caption, or so many without, in [0, 1], `[clip, frame, channel, height, width]`."""
        count = what if isinstance(what, int) else len(what)
        nothing = torch.full((count, self.longest), PADDING)
        words = nothing if isinstance(what, int) else self.encode(what)
        clips = temperature * (self.noise(count, seed) if isinstance(seed, int) else self.noise([seed] * count))
        self.eval()
        self.schedule.set_timesteps(SAMPLING_STEPS)
        for level in self.schedule.timesteps:
            levels = level.expand(count)
            clean = self(clips, levels, words)
            if self.guidance != 1:
                untold = self(clips, levels, nothing)
                clean = untold + self.guidance * (clean - untold)
            clips = self.schedule.step(clean, level, clips).prev_sample
        return (clips.clamp(-1, 1) + 1) / 2


class Drawn:
    """A model that keeps what it drew, for three reports measure the same clips.

    Its minutes of drawing are those of the first report, which counts them.
    """

    captioned = True

    def __init__(self, model: Any) -> None:
        self.model, self.shape = model, model.shape
        self.parameters, self.noise = model.parameters, model.noise
        self.kept: dict[tuple[tuple[str, ...], int, float], Tensor] = {}

    def generate(self, what: Sequence[str], *, seed: int, temperature: float = 1.0) -> Tensor:
        key = (tuple(what), seed, temperature)
        if key not in self.kept:
            self.kept[key] = self.model.generate(what, seed=seed, temperature=temperature)
        return self.kept[key]


class Training:
    """A run: the model, its moving average, and all that it needs to go on exactly."""

    def __init__(self, settings: Settings, bouncing: BouncingMNISTConfig) -> None:
        self.settings, self.bouncing = settings, bouncing
        self.dataset = open_dataset("bouncing_mnist", bouncing, "train")
        assert isinstance(self.dataset, BouncingMNIST)
        torch.manual_seed(settings.seed)
        self.model = Diffusion(settings, self.dataset.shape, self.dataset.wordings())
        self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), settings.learning_rate, betas=(0.9, 0.99))
        self.steps, self.seconds, self.curve = 0, 0.0, list[tuple[int, float, float]]()

    def step(self) -> float:
        """One step, which is a function of the seed, of its number and of what is trained so far alone."""
        count = self.settings.batch_size
        clips = streamed(self.dataset, self.steps * count, count, self.settings.seed)
        torch.manual_seed(mix(self.settings.seed, self.steps))
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * min(
            1.0, (self.steps + 1) / self.settings.warmup
        )
        videos = torch.from_numpy(clips.videos).float() / 127.5 - 1
        loss = self.model.train().loss(videos, self.model.encode(clips.captions or []))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.averaged.update_parameters(self.model)
        self.steps += 1
        return loss.item()

    def save(self, path: Path) -> None:
        state = {
            "settings": dataclasses.asdict(self.settings), "bouncing": dataclasses.asdict(self.bouncing),
            "model": self.model.state_dict(), "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(), "steps": self.steps, "seconds": self.seconds,
            "curve": self.curve,
        }  # fmt: skip
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    @classmethod
    def load(cls, path: Path) -> Training:
        """A run as it was saved.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        if not path.is_file():
            raise UserError(f"{path} does not exist; python benchmarks/diffusion.py train {path.parent} makes it")
        try:
            state = torch.load(path, weights_only=True)
            settings = Settings(**state["settings"])
            run = cls(settings, BouncingMNISTConfig(**state["bouncing"]))
            for name in ("model", "averaged", "optimizer"):
                getattr(run, name).load_state_dict(state[name])
            run.steps, run.seconds, run.curve = state["steps"], state["seconds"], state["curve"]
        except (OSError, RuntimeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path} cannot be read as a run of this benchmark: {reason}") from error
        return run

    def drawing(self) -> Diffusion:
        """What is measured: the moving average."""
        return self.averaged.module

    def card(self) -> dict[str, Any]:
        """What measuring asks of a model's card."""
        return {
            "data": "bouncing_mnist", "bouncing": dataclasses.asdict(self.bouncing),
            "trained": {"minutes": round(self.seconds / 60, 1), "steps": self.steps,
                        "clips_seen": self.steps * self.settings.batch_size},
        }  # fmt: skip


def train(out: Path, minutes: float, resume: bool) -> None:
    """Train until the process has computed for so many minutes, together with those before it was resumed.

    Seconds are those of this process's computing (`time.process_time`), so that what else the machine does costs
    nothing.
    """
    path = out / CHECKPOINT
    if path.exists() and not resume:
        raise UserError(f"{path} exists: go on with --resume, or name another folder")
    run = Training.load(path) if resume else Training(Settings(), read_recipe(RECIPE).stages[0].config.bouncing)
    budget, began, before = 60 * minutes, time.process_time(), run.seconds
    saved, losses = run.seconds, []
    with tqdm(total=round(budget), initial=round(before), unit="s") as bar:
        while run.seconds < budget:
            losses.append(run.step())
            run.seconds = before + time.process_time() - began
            bar.update(round(min(run.seconds, budget)) - bar.n)
            if len(losses) == 50:
                run.curve.append((run.steps, round(run.seconds, 1), float(np.mean(losses))))
                bar.set_postfix(steps=run.steps, loss=f"{run.curve[-1][2]:.4f}")
                losses = []
                if run.seconds - saved >= SAVED_EVERY:
                    run.save(path)
                    saved = run.seconds
    run.save(path)
    print(f"wrote {path}: {run.steps:,} steps, {run.steps * run.settings.batch_size:,} clips, "
          f"{run.seconds / 60:.1f} minutes on {torch.get_num_threads()} thread(s)")  # fmt: skip


def compare(
    out: Path, ours: str, samples: int, seed: int, guidance: float | None, json_file: Path | None, picture: Path | None
) -> None:
    """Measure both, and real clips, in the same way; and draw them one above the other.

    Reports are printed as they are made. What a model draws is the same in all of them.
    """
    run, card = Training.load(out / CHECKPOINT), pretrained.load_card(ours)
    models = {"Sync-DRAW": (Drawn(pretrained.load(ours)), card), "diffusion": (Drawn(run.drawing()), run.card())}
    if guidance is not None:
        guided = Training.load(out / CHECKPOINT).drawing()
        guided.guidance = guidance
        models[f"diffusion, guidance {guidance:g}"] = (Drawn(guided), run.card())
    if picture is not None:
        draw(models, card, seed, picture)
    report = comparison_report(models, data=None, samples=samples, seed=seed)
    print(report.text, flush=True)
    values: dict[str, Any] = {
        "threads": torch.get_num_threads(), "sampling_steps": SAMPLING_STEPS,
        "diffusion": {"settings": dataclasses.asdict(run.settings), **run.card()["trained"], "curve": run.curve},
        "ours": card.get("trained", {}), "comparison": report.values, "captions": {},
        "neighbourhoods": variety(models, card, samples, seed),
    }  # fmt: skip
    for name, (model, of_model) in models.items():
        read = caption_report(model, of_model, samples=samples, seed=seed)
        print(f"\n{name}\n{read.text}", flush=True)
        values["captions"][name] = read.values
    if json_file is not None:
        with atomic_path(json_file) as path:
            path.write_text(json.dumps(values, indent=1) + "\n")
        print(f"wrote {json_file}")


def variety(
    models: dict[str, tuple[Drawn, dict[str, Any]]], card: dict[str, Any], samples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Precision, recall, density and coverage in the judge's features, of samples and of real clips, beside the other
    real clips that `comparison_report` takes. Recall and coverage tell how many of the real clips have a sample like
    them.
    """
    judge, clips = Judge.load(), data_of(card, None, "test").take(np.arange(2 * samples))
    real = torch.from_numpy(clips.videos).float() / 255
    sets = {"real": real[:samples]}
    for name, (model, _) in models.items():
        sets[name] = torch.cat(list(sample_batches(model, (clips.captions or [])[:samples], seed)))

    def features(videos: Tensor) -> Tensor:
        return torch.cat([clip_features(judge.read(part, 1, SPEED)) for part in videos.split(100)])

    reference = features(real[samples:])
    return {name: neighbourhoods(reference, features(videos))._asdict() for name, videos in sets.items()}


def draw(models: dict[str, tuple[Drawn, dict[str, Any]]], card: dict[str, Any], seed: int, out: Path) -> None:
    """The first eight test clips, and uncurated samples of each model for their captions."""
    clips = data_of(card, None, "test").take(np.arange(8))
    sources = {"real": torch.from_numpy(clips.videos).float() / 255}
    for name, (model, of_model) in models.items():
        minutes = of_model["trained"]["minutes"]
        sources[f"{name} ({minutes:g} minutes of training)"] = model.generate(clips.captions or [], seed=seed)
    plots.save_picture(plots.side_by_side(sources), out)
    print(f"wrote {out}", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the diffusion model")
    training.add_argument("out", type=Path, help="the run's folder")
    training.add_argument("--minutes", type=float, default=45, help="of computing, all in all")
    training.add_argument("--resume", action="store_true", help="go on where the run stopped")
    comparing = commands.add_parser("compare", help="measure it beside a run of ours, and beside real clips")
    comparing.add_argument("out", type=Path, help="the run's folder")
    comparing.add_argument("ours", help=f"a run of {RECIPE}, or a shipped model")
    comparing.add_argument("--samples", type=int, default=500, help="of each model")
    comparing.add_argument("--seed", type=int, default=0, help="of the samples")
    comparing.add_argument("--guidance", type=float, help="measure the diffusion model also with captions followed so "
                           "many times as strictly as they were trained, say 2")  # fmt: skip
    comparing.add_argument("--json", type=Path, dest="json_file", help="write all numbers to a file")
    comparing.add_argument("--picture", type=Path, help="draw real clips and samples to a file")
    values = vars(parser.parse_args(words))
    torch.set_flush_denormal(True)
    try:
        {"train": train, "compare": compare}[values.pop("command")](**values)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; a run that has trained for a minute goes on with --resume") from None


if __name__ == "__main__":
    main()
