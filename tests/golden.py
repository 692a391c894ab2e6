"""What the shipped models do, as numbers. `python tests/golden.py` records those of models whose weights have changed.

golden.json holds for each model the checksum of its weights, L_X and L_Z (nats per video) of the first clips of its
test data (or of noise), the sum of each frame of videos drawn under seed 0, and of three models the norm of each
layer's gradient. test_golden.py measures them anew, so that a change of the code which should change no number is seen
to change none.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncdraw import pretrained
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.clips import Clips
from syncdraw.datasets.sprites import Sprites
from syncdraw.reading import read_settings

FILE = Path(__file__).with_suffix(".json")
COMMAND = "python tests/golden.py"
CLIPS = 8
SIDES = "frames", "channels", "height", "width"
WITH_GRADIENTS = ("mnist1", "mnist1-binary", "mnist2-captions")


def models() -> dict[str, Path]:
    """Names and folders of the models in the package and beside it."""
    beside = Path(__file__).parents[1] / "models"
    return pretrained.shipped_models() | {
        card.parent.name: card.parent for card in sorted(beside.glob("*/config.json"))
    }


def checksum(folder: Path) -> str:
    """SHA-256 of a model's weights."""
    return hashlib.sha256((folder / pretrained.WEIGHTS_FILE).read_bytes()).hexdigest()


def clips_for(card: dict[str, Any], name: str) -> Clips:
    """Test clips of digits; for a model of clips that do not ship, noise with the card's caption."""
    if card.get("data") == "sprites":
        return Sprites("test").take(np.arange(CLIPS))
    if "bouncing" in card:
        config = read_settings(BouncingMNISTConfig, card["bouncing"], name)
        return BouncingMNIST(config, "test").take(np.arange(CLIPS))
    shape = CLIPS, *(card["model"][side] for side in SIDES)
    return Clips(np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8), [card["example"]] * CLIPS)


def measure(name: str, folder: Path) -> dict[str, Any]:
    """A model's numbers."""
    model, card = pretrained.load(folder), pretrained.load_card(folder)
    data = clips_for(card, name)
    bound = model.bound(model.prepare(data.videos, data.captions, torch.Generator().manual_seed(0)))
    samples = model.generate(data.captions if model.captioned else CLIPS, seed=0)
    found = {
        "L_X": bound.reconstruction.tolist(),
        "L_Z": bound.divergence.tolist(),
        "frame_sums": samples.double().flatten(2).sum(dim=2).tolist(),
    }
    if name in WITH_GRADIENTS:
        bound.negative_elbo.mean().backward()
        gradients = {layer: p.grad for layer, p in model.named_parameters() if p.grad is not None}
        found["gradients"] = {layer: gradient.double().norm().item() for layer, gradient in gradients.items()}
    return found


def rounded(value: Any) -> Any:
    """With seven digits, which is what float32 has."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else float(f"{value:.7g}")


def main() -> None:
    torch.set_num_threads(1)
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    golden = {}
    for name, folder in models().items():
        golden[name] = recorded.get(name)
        if golden[name] is None or golden[name]["sha256"] != checksum(folder):
            golden[name] = {"sha256": checksum(folder), **rounded(measure(name, folder))}
            print(f"recorded {name}", flush=True)
    lines = [f"{json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in golden.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
