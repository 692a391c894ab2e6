"""Readers that are trained once and then frozen, and ship with the package: each a folder of weights and numbers."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from syncdraw.errors import UserError
from syncdraw.files import atomic_path


def fit(network: nn.Module, loss: Callable[[int], Tensor], steps: tqdm[int], learning_rate: float) -> None:
    """Train by AdamW, under a one-cycle schedule.

    Args:
        loss: of a step's batch, by the number of the step.
        steps: to take, under their progress bar.
        learning_rate: the peak of the schedule.
    """
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=len(steps))
    for step in steps:
        found = loss(step)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        schedule.step()


def load_frozen(reader: nn.Module, folder: Path, what: str) -> None:
    """Give a network the weights of a folder that `write_frozen` has written.

    Args:
        what: the reader is, for messages.

    Raises:
        UserError: a file is missing, or is not the one that config.json names by its checksum.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = (folder / "model.safetensors").read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the {what}'s {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'} is not JSON ({error}), so fetch it again") from error
    try:
        if hashlib.sha256(weights).hexdigest() != config["sha256"]:
            raise UserError(f"{folder / 'model.safetensors'} is damaged: its checksum is not the one in config.json")
        reader.load_state_dict(safetensors.torch.load(weights))  # half precision on disk, single here
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} does not hold a {what} that this version can load, so train it again") from error


def write_frozen(
    reader: nn.Module, folder: Path, command: str, arguments: dict[str, Any], started: float,
    measure: Callable[[], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Write a network's weights in half precision, and config.json, which says how it was trained and what it measures.

    Args:
        command: that trains it, without its arguments.
        started: when its training began, by `time.monotonic`.
        measure: called when the network holds what is stored.

    Returns:
        What config.json holds.

    Raises:
        UserError: the folder cannot be written.
    """
    seconds = round(time.monotonic() - started)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in reader.state_dict().items()
    }
    weights = safetensors.torch.save(state)
    reader.load_state_dict(state)
    given = " ".join(f"--{name} {value}" for name, value in arguments.items())
    config = {
        "command": f"{command} {given}",
        "hardware": f"{torch.get_num_threads()} thread(s) of a CPU with {os.cpu_count()} cores",
        "training_seconds": seconds,
        "measured": measure(),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    with atomic_path(folder / "model.safetensors") as path:
        path.write_bytes(weights)
    with atomic_path(folder / "config.json") as path:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config
