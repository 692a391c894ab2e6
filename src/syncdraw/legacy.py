"""Models that were stored before settings were nested and Q and P became modules (versions before 0.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_MODULES = {
    "read_parameters": "inference.read_parameters",
    "video_parameters": "inference.video_parameters",
    "encoder": "inference.lstm",
    "posterior": "inference.posterior",
    "later_starts": "inference.later_starts",
    "prior": "generator.prior",
    "decoder": "generator.lstm",
    "write_parameters": "generator.write_parameters",
    "content": "generator.content",
    "first_canvas": "generator.first_canvas",
    "recogniser": "conditioner.recogniser",
}
_WORD_VECTORS = ("conditioner.words.words.vectors.weight", "conditioner.encoder.words.vectors.weight")


def is_old(card: dict[str, Any]) -> bool:
    """Whether a model's card has the flat settings."""
    model = card.get("model")
    return isinstance(model, dict) and "window_start" in model


def new_card(card: dict[str, Any]) -> dict[str, Any]:
    """The card with nested settings.

    Raises:
        KeyError: a setting is missing.
    """
    old, bouncing = card["model"], card.get("bouncing")
    model = {name: old[name] for name in ("frames", "channels", "height", "width", "draw_steps", "grid_size",
                                          "hidden_size", "latent_size", "canvas", "protocol")}  # fmt: skip
    model |= {
        "layers": old.get("layers", 1),
        "attention": {
            "kind": old["attention"],
            "write_grid_size": old["write_grid_size"],
            "read_from": old["read_from"],
            "smooth_start": old["window_start"] == "smooth",
            "content": old["content"],
        },
        "prior": {
            "kind": old["prior"],
            "components": old.get("prior_components", 1),
            "categories": old.get("categories", 0),
        },
        "captions": {
            "route": old["encoder"] if old["captions"] == "sentence" else old["captions"],
            "size": old["caption_size"],
            "vocabulary": old["vocabulary"],
            "encoder_version": old["encoder_version"],
        },
    }
    renewed = {**card, "model": model}
    if bouncing is not None:
        renewed["bouncing"] = {
            "digits": bouncing["digits"],
            "shape": [bouncing[side] for side in ("frames", "channels", "height", "width")],
            "clips": bouncing["clips"],
            "combinations": bouncing["combinations"],
            "extra_motions": round(bouncing.get("stills", 0) + bouncing.get("diagonals", 0), 2),
            "glyphs": bouncing["glyphs"],
        }
    return renewed


def new_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under their names of today."""
    renamed = {}
    for name, tensor in tensors.items():
        module, dot, rest = name.partition(".")
        if name in _WORD_VECTORS:  # the last row stood for words that were hidden in training
            renamed[name.replace(".words.vectors", ".vectors")] = tensor[:-1]
        else:
            renamed[_MODULES.get(module, module) + dot + rest] = tensor
    return renamed
