"""Which models there are, and what their cards say: a model is a folder with config.json and model.safetensors.

Those that ship lie in weights/; the repository has more in models/, for which the package has no room. Nothing here
needs torch; pretrained.py reads and writes the weights.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from syncdraw import legacy
from syncdraw.errors import UserError, did_you_mean
from syncdraw.files import atomic_path
from syncdraw.reading import TEXT_BYTES, read_regular

SHIPPED = Path(__file__).parent / "weights"
BESIDE = Path(__file__).parents[2] / "models"
"""The repository's models/, where the package is used from a checkout; elsewhere it is not there."""
RECIPES = Path(__file__).parent / "recipes"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "config.json"


def shipped_models() -> dict[str, Path]:
    """Names and folders of the models that come with the package."""
    return {
        card.parent.name: card.parent for card in sorted(SHIPPED.glob(f"*/{CARD_FILE}")) if "model" in read_card(card)
    }


def write_card(card: dict[str, Any], folder: Path) -> None:
    """config.json of a folder."""
    with atomic_path(folder / CARD_FILE) as path:
        path.write_text(json.dumps(card, indent=1) + "\n")


def load_card(name: str | Path) -> dict[str, Any]:
    """config.json of a model: its `model` config, and what was written beside it, such as `metrics`.

    Raises:
        UserError: nothing of that name, or a file that cannot be read.
    """
    path = find(str(name)) / CARD_FILE
    card = read_card(path)
    if not legacy.is_old(card):
        return card
    try:
        return legacy.new_card(card)
    except (AttributeError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} does not describe a model of this version or of the one before ({reason})") from error


def find(name: str) -> Path:
    """The folder of a model.

    Raises:
        UserError: there is none of that name; it suggests the nearest.
    """
    models = shipped_models()
    if name in models:
        return models[name]
    if Path(name).name == name and (BESIDE / name / CARD_FILE).is_file():
        return BESIDE / name
    if name.startswith("hub:"):
        return _download(name.removeprefix("hub:"))
    folder = Path(name).expanduser()
    if (folder / CARD_FILE).is_file():
        return folder
    # A run of several stages that is not finished: the newest stage that has a model.
    stages = sorted(
        (card for card in folder.glob(f"stages/*/{CARD_FILE}") if re.match(r"[0-9]{1,4}-", card.parent.name)),
        key=lambda card: int(card.parent.name.partition("-")[0]),
    )
    if stages:
        return stages[-1].parent
    if folder.is_dir():
        raise UserError(
            f"{name} has no {CARD_FILE}: give the folder of a trained model, or of a run that has saved one"
        )
    if (RECIPES / f"{name}.yaml").is_file():
        raise UserError(
            f"the model {name} does not come with the package: syncdraw train {name} makes it; in a checkout of the "
            f"repository it may be there, as models/{name}"
        )
    hint = did_you_mean(name.rstrip("/").split("/")[-1], models, 0.4)
    shipped = f"shipped are {', '.join(models)}" if models else "no model is shipped"
    raise UserError(f"unknown model {name!r}: {hint}{shipped}; a folder works too, or hub:OWNER/NAME")


def shipped_cards() -> str:
    """The cards of the shipped models, as JSON."""
    return json.dumps({name: load_card(name) for name in shipped_models()}, indent=1)


def table() -> str:
    """The shipped models: what each draws, its size, and how to draw from a caption with it; and where others are."""
    models = shipped_models()
    width = max(map(len, models), default=0)
    lines, before = [], ""
    for name, folder in models.items():
        card = load_card(name)
        size = (folder / WEIGHTS_FILE).stat().st_size / 1e6
        example = "digit 3 is moving left and right"
        if card.get("bouncing", {}).get("digits") == 2:
            example = "3 left and right and 5 up and down"  # in few words, so that lines fit on a screen
        lines.append(f"{name:<{width}}  {card.get('about', '')} ({size:.1f} MB)")
        example = card.get("example", example) if card["model"]["captions"]["route"] != "none" else ""
        if example and example != before:  # a sibling of the model above draws from the same captions
            lines.append(f'{"":<{width}}  syncdraw generate "{example}" --model {name}')
        before = example
    lines += ["", "The others need no caption:", f"{'':<{width}}  syncdraw generate --model mnist1"]
    lines += ["--model also takes a run folder, or hub:OWNER/NAME; syncdraw models --json tells what was measured"]
    return "\n".join(lines)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CARD_FILE, WEIGHTS_FILE]))
    except Exception as error:  # of the hub, of the network library beneath it, of the disk
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{name!r} is no folder here, and the hub did not give it ({reason})") from error


_KINDS = {"model": dict, "sha256": str, "trained": dict, "data": str, "bouncing": dict, "metrics": dict, "example": str}
"""What config.json holds that is used; the rest is for whoever reads it."""


def read_card(path: Path) -> dict[str, Any]:
    """config.json as it stands.

    Raises:
        UserError: it is missing, or is no such file.
    """
    if not path.exists():
        raise UserError(f"{path} is missing")
    try:
        card = json.loads(read_regular(path, TEXT_BYTES).decode())
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(card, dict):
        raise UserError(f"{path} holds {type(card).__name__}; it must hold a JSON object")
    for name, kind in _KINDS.items():
        if name in card and not isinstance(card[name], kind):
            raise UserError(f"{path}: {name} is {str(card[name])[:60]}; it must be {_JSON[kind]}")
    return card


_JSON = {dict: "an object", str: "text"}
