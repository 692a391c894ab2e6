"""An exported generator draws what `generate` draws, by programs that know nothing of this package."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from making_models import randomised
from syncdraw import SyncDraw, exporting, pretrained
from syncdraw.cli import main
from syncdraw.config import AttentionConfig, CaptionConfig, FirstLookConfig, PriorConfig, SyncDrawConfig
from syncdraw.errors import UserError

WORDS = ("0", "1", "and", "digit", "is", "left", "moving", "right")
ONE, TWO = "digit 0 is moving left and right", "digit 1 and digit 0 is moving left and right"
ALIGNED, RECURRENT = (CaptionConfig(route, 4, WORDS) for route in ("alignment", "recurrent"))
SHAPE: dict[str, Any] = {
    "frames": 3, "height": 8, "width": 7, "draw_steps": 2, "grid_size": 2, "hidden_size": 6, "latent_size": 3,
}  # fmt: skip
KINDS: dict[str, SyncDrawConfig] = {
    "categories": SyncDrawConfig(**SHAPE | {"draw_steps": 1}, channels=3, prior=PriorConfig("network", 3, 4)),
    "captions in layers, painted": SyncDrawConfig(
        **SHAPE,
        layers=2,
        first_look=FirstLookConfig(2),
        captions=RECURRENT,
        canvas="image",
        attention=AttentionConfig("frame", 4, content="painted"),
    ),
}
ALIGNMENT_IN_A_CUBOID = SyncDrawConfig(
    **SHAPE, attention=AttentionConfig("cuboid"), captions=ALIGNED, prior=PriorConfig("caption")
)


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting takes time for each of a caption's words; `ONE` has seven, and is filled up like any other."""
    monkeypatch.setattr(exporting, "WORDS", 8)


def made(config: SyncDrawConfig, half: bool = True) -> SyncDraw:
    model = randomised(config, 0.5)
    if half:
        with torch.no_grad():
            for tensor in model.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(tensor.half())
    return model.eval()


def captions_for(model: SyncDraw, count: int) -> list[str] | None:
    texts = [TWO] * count if model.config.layers == 2 else [ONE, "digit 1 left", "digit"]
    return texts[:count] if model.captioned else None


def values_for(model: SyncDraw, captions: list[str] | None, count: int, seed: int) -> dict[str, Tensor]:
    """What an exported file takes for these captions and this seed, by the names in its notes."""
    values = {name: part for name, part in model.noise(count, seed)._asdict().items() if part.numel()}
    tokens = model.tokenise(captions, count)
    if tokens is not None:
        values["tokens"] = functional.pad(tokens, (0, exporting.WORDS - tokens.shape[-1]))
    return values


def run_onnx(path: Path, values: dict[str, Tensor]) -> dict[str, np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {name: t.numpy() for name, t in values.items()}), strict=True))


def assert_draws_the_same(model: SyncDraw, draw: Any) -> None:
    """For batches and captions of several lengths, none of which is that of the example."""
    for count, seed in ((1, 7), (3, 8)):
        captions = captions_for(model, count)
        found = draw(values_for(model, captions, count, seed))
        with torch.no_grad():
            drawing = model(None, captions, noise=model.noise(count, seed), return_canvases=True)
        expected = model.generate(captions or count, seed=seed, return_canvases=True)
        assert expected.std() > 0.01  # so that something is compared
        assert np.abs(found["canvases"] - expected.numpy()).max() < 1e-3
        frames = model.config.frames
        for t, step in enumerate(drawing.steps):
            window = step.write_window
            for place, number in enumerate((window.row_centre, window.column_centre, window.stride)):
                wanted = number.expand(-1, frames).numpy()
                np.testing.assert_allclose(found["windows"][:, t, :, place], wanted, rtol=1e-3, atol=1e-3)
            deviation = window.variance.expand(-1, frames).numpy() ** 0.5
            np.testing.assert_allclose(found["windows"][:, t, :, 3], deviation, rtol=1e-3)
        if drawing.alignment is not None:
            words = drawing.alignment.shape[2]
            np.testing.assert_allclose(found["alignment"][:, :, :words], drawing.alignment.numpy(), atol=1e-3)
            assert not found["alignment"][:, :, words:].any()


def assert_noted(path: Path, notes: dict[str, Any]) -> None:
    """The notes stand in the file, and are right about its inputs."""
    onnx = pytest.importorskip("onnx")
    file = onnx.load(path)
    assert {entry.key: json.loads(entry.value) for entry in file.metadata_props} == {"syncdraw": notes}
    assert (notes["name"], notes["licence"], notes["mark"]) == ("tiny", "CC0-1.0", "made by syncdraw")
    shapes = {
        one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
        for one in file.graph.input
    }
    assert shapes == notes["inputs"]
    if notes["captions"]:
        assert notes["captions"]["vocabulary"] == list(WORDS)
    assert notes["weights"] == "float16"


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_draws_what_generate_draws(kind: str, tmp_path: Path) -> None:
    model = made(KINDS[kind])
    notes = exporting.export(model, tmp_path / "model.onnx", name="tiny", card={"licence": "CC0-1.0"}).notes
    assert_noted(tmp_path / "model.onnx", notes)
    assert_draws_the_same(model, lambda values: run_onnx(tmp_path / "model.onnx", values))


def test_the_command_writes_a_pt2_that_draws_what_generate_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = made(ALIGNMENT_IN_A_CUBOID)
    pretrained.save(model, "run", about="tiny")
    main(["export", "run", "-o", "out/drawn.pt2"])
    said = capsys.readouterr().out
    assert re.fullmatch(r"wrote out/drawn.pt2 \(0\.\d MB, weights in half precision\)\n", said)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["drawn.pt2"]

    extra = {"syncdraw.json": ""}
    program = torch.export.load("out/drawn.pt2", extra_files=extra).module()
    notes = json.loads(extra["syncdraw.json"])
    card = pretrained.load_card("run")
    assert notes == exporting.notes_of(model, exporting.inputs_of(model), "run", card, half=True)

    def draw(values: dict[str, Tensor]) -> dict[str, np.ndarray]:
        found = program(*(values[name] for name in notes["inputs"]))
        return {name: value.numpy() for name, value in found.items()}

    assert_draws_the_same(model, draw)


def test_weights_that_half_precision_would_change_are_kept(tmp_path: Path) -> None:
    config = ALIGNMENT_IN_A_CUBOID
    assert exporting.halves_well(*parts_of(made(config)))
    fine = made(config, half=False)
    with torch.no_grad():
        for weight in fine.generator.parameters():
            weight.mul_(8)
    assert not exporting.halves_well(*parts_of(fine))
    generates, inputs = parts_of(fine)
    whole = exporting.Stored(generates, torch.float32)(*inputs.values())["canvases"]
    assert torch.equal(whole, generates(*inputs.values())["canvases"])


def parts_of(model: SyncDraw) -> tuple[exporting.Generates, dict[str, Tensor]]:
    inputs = exporting.inputs_of(model)
    extra = tuple(name for name in inputs if name in ("prior", "condition"))
    return exporting.Generates(model, model.captioned, extra), inputs


@pytest.mark.parametrize(
    ("out", "message"),
    [("drawn.bin", "suffix must be .onnx or .pt2"), ("drawn.onnx", r"onnxscript is needed: pip install .*\[export\]")],
)
def test_what_cannot_be_written_is_said(
    out: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(UserError, match=message):
        exporting.export(made(ALIGNMENT_IN_A_CUBOID), tmp_path / out)
    assert not list(tmp_path.iterdir())


class Own(nn.Module):
    """A conditioner of one's own, for captions."""

    encoder_size = decoder_size = noise_size = 0


def test_captions_in_a_way_of_ones_own_are_refused(tmp_path: Path) -> None:
    model = made(ALIGNMENT_IN_A_CUBOID)
    model.conditioner = Own()  # type: ignore[assignment]
    with pytest.raises(UserError, match="your own Own as conditioner cannot be exported"):
        exporting.export(model, tmp_path / "drawn.pt2")
