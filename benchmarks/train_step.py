"""Training speed, ours beside the literal version, in one run: python benchmarks/train_step.py

Both do the same work (forward, backward, clipping, Adam) on the same clips with the same weights, turn by turn.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from literal import losses
from syncdraw.building import build
from syncdraw.config import SyncDrawConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--flush-denormal", action="store_true", help="for both, as the command line does")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.flush_denormal:
        torch.set_flush_denormal(True)
    torch.manual_seed(0)
    config = SyncDrawConfig(grid_size=10)  # the released script's: N=10, T=10, K=10, LSTM 256, latent 100
    clips = BouncingMNIST(BouncingMNISTConfig()).take(np.arange(arguments.batch_size))
    models = {"literal": build(config), "syncdraw": build(config)}
    models["literal"].load_state_dict(models["syncdraw"].state_dict())
    optimizers = {name: torch.optim.Adam(m.parameters(), 1e-3, (0.5, 0.999)) for name, m in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(arguments.rounds + 1):
        for name, model in models.items():
            videos = model.targets(torch.from_numpy(clips.videos))
            noise = model.noise([None] * len(videos))
            start = time.perf_counter()
            if name == "literal":
                reconstruction, divergence = losses(model, videos, noise.latents)
            else:
                drawing = model(videos, noise=noise)
                reconstruction, divergence = drawing.reconstruction, drawing.divergence
            optimizers[name].zero_grad()
            (reconstruction + divergence).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizers[name].step()
            if turn:  # the first is for warming up
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:<9} {value:.3f} s a step of {arguments.batch_size}, {arguments.batch_size / value:.0f} videos/s")
    print(f"syncdraw is {median['literal'] / median['syncdraw']:.1f} times as fast ({arguments.threads} threads)")


if __name__ == "__main__":
    main()
