"""syncdraw export."""

from __future__ import annotations

from pathlib import Path

from syncdraw.cli.options import Model, Out


def export(model: Model, /, *, out: Out = Path("model.onnx")) -> None:
    """Write the generator of a model to one file that draws without this package, in a browser or elsewhere.

    It takes noise, and captions' numbers where the model has captions; it gives the canvas after every drawing step,
    and where each was written. What it takes and knows is noted in the file.

    Args:
        out: .onnx for ONNX (needs the extra `export`), .pt2 for torch.export.
    """
    from syncdraw.cli.options import start_torch

    start_torch("cpu")
    from syncdraw import exporting, pretrained

    card = pretrained.load_card(model)
    if model in pretrained.shipped_models():
        card["licence"] = exporting.package_licence()
    made = exporting.export(pretrained.load(model), out, name=model, card=card)
    precision = "half" if made.half else "single"
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, weights in {precision} precision)")
