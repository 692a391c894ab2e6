"""Train VGAN for some steps on Bouncing MNIST, and say how fast: python experiments/vgan_smoke.py --steps 20

Needs no more than torch, numpy, jaxtyping, safetensors and Pillow, on the CPU or, where there is one, a GPU. Into --out
go metrics.jsonl and samples.gif: sixteen videos, uncurated, beside their foreground, mask and background.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image

if importlib.util.find_spec("av") is None:
    # The package's own __init__ reads films, too, for which it needs PyAV. Its modules are found without it.
    package = ModuleType("syncdraw")
    package.__path__ = [str(Path(__file__).parents[1] / "src" / "syncdraw")]
    sys.modules["syncdraw"] = package

from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.vgan import VGAN, Scene, VGANConfig, adversarial_step


def batches(dataset: BouncingMNIST, size: int, steps: int) -> Iterator[torch.Tensor]:
    """uint8 batches; a thread makes the next one while the model works on this one."""

    def fetch(step: int) -> torch.Tensor:
        return torch.from_numpy(dataset.take(np.arange(step * size, (step + 1) * size)).videos)

    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = thread.submit(fetch, 0)
        for step in range(steps):
            batch = waiting.result()
            waiting = thread.submit(fetch, step + 1)
            yield batch


def save_samples(scene: Scene, path: Path) -> None:
    """Each row one video, its foreground, its mask and its background; four videos a row."""
    frames, channels = scene.video.shape[1:3]
    parts = [scene.video, scene.foreground, scene.mask.expand_as(scene.video), scene.background.expand_as(scene.video)]
    strips = torch.cat(parts, dim=4)
    height, width = strips.shape[3:]
    grid = strips.reshape(-1, 4, frames, channels, height, width).permute(2, 0, 4, 1, 5, 3)
    pixels = grid.reshape(frames, -1, 4 * width, channels).expand(-1, -1, -1, 3).clamp(0, 1)
    images = [Image.fromarray(frame) for frame in (pixels * 255).round().byte().cpu().numpy()]
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, loop=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--digits", type=int, default=1)
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/vgan-smoke"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    model = VGAN(VGANConfig()).to(device)
    optimizers = model.optimizers()
    dataset = BouncingMNIST(BouncingMNISTConfig(digits=arguments.digits, shape=model.shape, clips=0))
    sizes = [sum(p.numel() for p in network.parameters()) for network in (model.generator, model.critic)]
    print(f"{device}, generator {sizes[0]:,} parameters, critic {sizes[1]:,}", flush=True)

    started = logged = time.perf_counter()
    logged_step, seconds = 0, []
    window: list[torch.Tensor] = []
    with (arguments.out / "metrics.jsonl").open("w") as metrics:
        for done, batch in enumerate(batches(dataset, arguments.batch_size, arguments.steps), start=1):
            videos = batch.to(device).float() / 255
            noise = torch.randn(len(videos), model.config.latent_size, device=device)
            losses = adversarial_step(model, videos, noise, *optimizers, precision=arguments.precision)
            window.append(torch.stack(losses))
            if done == 1 or done % arguments.log_every == 0 or done == arguments.steps:
                # Asking for the numbers waits until the device has done the steps.
                critic, generator, sparsity = torch.stack(window).mean(dim=0).tolist()
                now = time.perf_counter()
                pace = (done - logged_step) / (now - logged)
                seconds.append(0 if done == 1 else now - logged)  # the first step warms up
                values = {"critic": critic, "generator": generator, "sparsity": sparsity, "steps_per_second": pace}
                line = {"step": done, "seconds": now - started} | values
                metrics.write(json.dumps({name: round(value, 6) for name, value in line.items()}) + "\n")
                metrics.flush()
                print(line, flush=True)
                window.clear()
                logged, logged_step = now, done
    if arguments.steps > 1:
        pace = (arguments.steps - 1) / sum(seconds)
        print(f"{pace:.3f} steps per second, {1 / pace:.3f} s a step of {arguments.batch_size} videos")
    if device.type == "cuda":
        print(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of device memory at most")
    model.eval()
    with torch.no_grad():
        save_samples(model.generator(model.noise(16, seed=0)), arguments.out / "samples.gif")


if __name__ == "__main__":
    main()
