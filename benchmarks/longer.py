"""How far videos hold that go on after the frames that a model was trained on: python benchmarks/longer.py

For each number of frames: clips whose digits read as the same in all frames, clips that move as their caption says, and
clips that turn round at the frame's edge alone, as the judge reads them.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

import syncdraw
from syncdraw.datasets.bouncing_mnist import SPEED, all_combinations, caption
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.readings import NO_MOTION, Reading, caption_fidelity, identity_kept
from syncdraw.extensions.continuing import CANDIDATES, GUESSES, STEPS

FREE = 64 - 28
"""Pixels that a digit's corner may move along one axis."""
NEAR = 9
"""Pixels: a turn is at an edge where the digit's corner is no farther from it. Ink ends before the 28 x 28 do, and a
step is 7.2 pixels long."""


def turns_at_edges(reading: Reading) -> float:
    """The share of clips in which no digit turns round in mid-frame."""
    positions = reading.positions
    axis = positions.diff(dim=2).abs().sum(2).argmax(-1)
    along = positions.gather(-1, axis[..., None, None].expand(*positions.shape[:3], 1))[..., 0]
    steps = along.diff(dim=2)
    turns = (steps[..., 1:] * steps[..., :-1] < 0) & (steps[..., 1:].abs() > 1) & (steps[..., :-1].abs() > 1)
    place = along[..., 1:-1]
    in_midst = turns & (place > NEAR) & (place < FREE - NEAR)
    return (~in_midst.flatten(1).any(1)).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["mnist1-captions", "mnist1"])
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/measured"))
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    judge, rows = Judge.load(), {}
    for name in arguments.models:
        model = syncdraw.load(name)
        digits, captions = model.config.layers, None
        if model.captioned:
            every = [caption([d for d, _ in one], [m for _, m in one]) for one in all_combinations(digits)]
            captions = [every[number % len(every)] for number in range(arguments.clips)]
        videos = model.generate(captions or arguments.clips, seed=arguments.seed)
        begun = time.perf_counter()
        videos = syncdraw.prolong(model, videos, captions, frames=arguments.frames, seed=arguments.seed)
        seconds = (time.perf_counter() - begun) / arguments.clips
        rows[name] = {"seconds_a_clip": round(seconds, 2)}
        for frames in range(model.shape[0], arguments.frames + 1, model.shape[0]):
            reading = judge.read(videos[:, :frames].clamp(0, 1), digits, SPEED)
            row = {
                "identity_kept": identity_kept(reading).float().mean().item(),
                "one_axis": (reading.motions != NO_MOTION).all(1).float().mean().item(),
                "turns_at_edges": turns_at_edges(reading),
            }
            if captions is not None:
                row["caption_match"] = caption_fidelity(reading, captions)["caption_match"]
            rows[name][str(frames)] = row
            print(name, frames, "frames:", ", ".join(f"{key} {value:.1%}" for key, value in row.items()), flush=True)
    found = {
        "clips": arguments.clips, "seed": arguments.seed, "guesses": GUESSES, "steps": STEPS, "candidates": CANDIDATES,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads", **rows,
    }  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "longer.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {arguments.out / 'longer.json'}")


if __name__ == "__main__":
    main()
