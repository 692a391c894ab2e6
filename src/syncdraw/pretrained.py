"""Models on disk: a card (cards.py) and model.safetensors, the weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from syncdraw import legacy
from syncdraw.building import build
from syncdraw.cards import CARD_FILE, SHIPPED, WEIGHTS_FILE, find, load_card, read_card, shipped_models, write_card
from syncdraw.config import SyncDrawConfig, VGANConfig
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.model import SyncDraw
from syncdraw.reading import read_regular, read_settings
from syncdraw.vgan import VGAN

__all__ = [
    "CARD_FILE", "SHIPPED", "WEIGHTS_FILE", "check_numbers", "find", "load", "load_any", "load_card", "load_weights",
    "model_config", "read_tensors", "save", "serialised", "shipped_models", "write_card",
]  # fmt: skip

_WEIGHTS_BYTES = 2**31


def save(model: SyncDraw | VGAN, folder: str | Path, *, half: bool = False, **card: Any) -> None:
    """Write a model: config.json with the model's config, a checksum and `card`; model.safetensors with the weights.

    Args:
        half: store float16, and a first look's matrices with 8 bits; loading gives float32 again.
        card: anything JSON that a reader of the folder should know, such as `metrics`.
    """
    folder = Path(folder)
    content = serialised(model.state_dict(), half=half)
    written = {
        "model": dataclasses.asdict(model.config),
        "sha256": hashlib.sha256(content).hexdigest(),
        **card,
    }
    # Both are written before either takes its place, so that a disk that fills up leaves the old pair. The weights go
    # first: a reader that catches the pair between the two is told so by the checksum.
    with atomic_path(folder / CARD_FILE) as card_path:
        card_path.write_text(json.dumps(written, indent=1) + "\n")
        with atomic_path(folder / WEIGHTS_FILE) as path:
            path.write_bytes(content)


def serialised(tensors: Mapping[str, Tensor], *, half: bool = False) -> bytes:
    """What a file of weights holds: equal tensors give equal bytes."""
    host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return tensors_to_bytes({name: _halved(name, t) if half else t for name, t in host.items()})


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    # A first look only has to tell layers apart: matrices of 8 bits cost mnist2 2 of 1,361 nats, mnist2-captions 0.1.
    return tensor.to(torch.float8_e4m3fn) if name.startswith("glance.") and tensor.ndim == 2 else tensor.half()


def load(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    build_model: Callable[[SyncDrawConfig], SyncDraw] = build,
) -> SyncDraw:
    """A model ready to draw: by the name of a shipped one, from a folder (a run's, say), or from the hub.

    Args:
        name: such as "mnist1", "runs/mine", or "hub:somebody/their-model" on the Hugging Face hub.
        build_model: what the model was trained with, where it has an attention, prior or conditioner of yours.

    Raises:
        UserError: nothing of that name, or a file that is missing, truncated, corrupt or of another version.
    """
    model = load_any(name, device=device, build_model=build_model)
    if not isinstance(model, SyncDraw):
        raise UserError(
            f"{name} is a VGAN, which has no bound, no captions and no canvases; syncdraw generate draws from it, "
            "syncdraw picture shows its samples, and syncdraw evaluate compare measures them"
        )
    return model


def load_any(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    build_model: Callable[[SyncDrawConfig], SyncDraw] = build,
) -> SyncDraw | VGAN:
    """As `load`, where a VGAN will do, too: for what needs samples alone."""
    folder = find(str(name))
    path, card = folder / CARD_FILE, load_card(folder)
    if "model" not in card:
        raise UserError(f"{path} has no field 'model'; it is not the config of a Sync-DRAW model")
    config = model_config(card, f"{path} does not describe a model of this version")
    tensors = read_tensors(folder / WEIGHTS_FILE, card.get("sha256"))
    try:
        model = VGAN(config) if isinstance(config, VGANConfig) else build_model(config)
    except (RuntimeError, ValueError) as error:  # a UserError is a ValueError
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not describe a model of this version: {reason}") from error
    old = legacy.is_old(read_card(path))
    load_weights(model, legacy.new_tensors(tensors) if old else tensors, folder / WEIGHTS_FILE)
    return model.to(device).eval()


def model_config(card: dict[str, Any], source: str) -> SyncDrawConfig | VGANConfig:
    """What a model's card says of its shape.

    Args:
        source: for messages.
    """
    kind: type[VGANConfig | SyncDrawConfig] = VGANConfig if card["model"].get("kind") == "vgan" else SyncDrawConfig
    return read_settings(kind, card["model"], source)


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, checked against a checksum where there is one.

    Raises:
        UserError: the file is missing, truncated or corrupt, or holds NaN or infinity.
    """
    content = read_regular(path, _WEIGHTS_BYTES)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is damaged: its checksum is not the one in {CARD_FILE}; copy or train it again")
    try:
        tensors = load_tensors(content)
        check_numbers(tensors)
        return tensors
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); copy or train it again") from error


def check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError with a tensor's name where it holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Put tensors into a module, as float32.

    Raises:
        UserError: names or shapes do not fit.
    """
    try:
        model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{source} does not fit its config: {reason[:300]}") from error
