"""The generator as one file that draws without this package: ONNX, or a program of `torch.export`.

What is exported is the drawing loop without videos: P, its prior, and what tells them of captions. Q stays behind.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from syncdraw.attention import Window
from syncdraw.captions import SentenceVector, WordAlignment
from syncdraw.cards import shipped_models
from syncdraw.containers import DRAWN_MARK
from syncdraw.errors import UserError
from syncdraw.files import atomic_path, named
from syncdraw.interface import Noise
from syncdraw.model import SyncDraw
from syncdraw.vocabulary import PADDING

SUFFIXES = (".onnx", ".pt2")

WORDS = 32
"""Words of a caption, or of a clause of it: the numbers of shorter ones are filled up with `PADDING`, which changes
nothing. The LSTM over the words can only be exported for one length."""

TOLERANCE = 1e-3
"""By how much a pixel of an exported generator may differ from `generate`."""

NOTES = "syncdraw"
"""The name of the notes, which are JSON, in the metadata of an ONNX file; in a .pt2 they are syncdraw.json."""

_BATCH = 2  # of the example; torch takes 0 and 1 for constants


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        notes: what the file says of itself.
        half: whether weights are stored as float16; they are computed with as float32 either way.
    """

    notes: dict[str, Any]
    half: bool


class Generates(nn.Module):
    """`SyncDraw` without videos, as a function of tensors alone.

    Args:
        model: to export.
        captioned: whether it takes captions' numbers.
        extra: which parts of its noise it takes, beside the latents: those that have any numbers.
    """

    def __init__(self, model: SyncDraw, captioned: bool, extra: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.captioned = captioned
        self.extra = extra

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Inputs in the order of `inputs_of`.

        Returns:
            `canvases`, sigma(C^1) to sigma(C^T), `[batch, draw_step, frame, channel, height, width]`; `windows`, where
            each was written, `[batch, draw_step, frame, 4]`: the centre's row and column, the stride and the deviation,
            pixels; `alignment` `[batch, draw_step, word]`, where words are aligned.
        """
        rest = list(inputs)
        tokens = rest.pop(0) if self.captioned else None
        latents = rest.pop(0)
        parts = {"prior": latents[:, :, :0], "condition": latents[:, :, :0], **dict(zip(self.extra, rest, strict=True))}
        canvases: list[Tensor] = []
        _, steps = self.model.trace(
            tokens, Noise(latents, **parts), None, None, lambda state: canvases.append(state.canvas.video)
        )
        found = {"canvases": torch.stack(canvases, dim=1)}
        windows = [step.write_window for step in steps]
        if all(isinstance(window, Window) for window in windows):  # an attention of one's own may have no such thing
            found["windows"] = torch.stack([self._placed(window) for window in windows], dim=1)
        alignment = [step.caption.alignment for step in steps if step.caption.alignment is not None]
        if alignment:
            found["alignment"] = torch.stack(alignment, dim=1)
        return found

    def _placed(self, window: Window) -> Tensor:
        numbers = (window.row_centre, window.column_centre, window.stride, window.variance.sqrt())
        return torch.stack([number.expand(-1, self.model.config.frames) for number in numbers], dim=2)


class Stored(nn.Module):
    """`Generates` with its weights stored in a type of their own, and taken as float32."""

    def __init__(self, generates: Generates, dtype: torch.dtype) -> None:
        super().__init__()
        self._generates = [generates]  # a list hides it: its own weights are not to be stored beside these
        self._names = {}
        for name, tensor in generates.state_dict().items():
            if name.startswith(("model.inference.", "model.glance.")):
                continue
            self._names[name] = name.removeprefix("model.").replace(".", "_")
            self.register_buffer(self._names[name], tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        tensors = {name: getattr(self, stored) for name, stored in self._names.items()}
        weights = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        found: dict[str, Tensor] = functional_call(self._generates[0], weights, inputs)
        return found


def export(model: SyncDraw, path: str | Path, *, name: str = "", card: dict[str, Any] | None = None) -> Exported:
    """Write the generator of a model to one file.

    Weights are stored in half precision where that leaves the videos within `TOLERANCE` of those of `generate`, as it
    does for shipped models, whose weights are of that precision anyway; in single precision otherwise.

    Args:
        path: a .onnx or a .pt2 file.
        name: of the model, for the notes.
        card: of the model, for the notes.

    Raises:
        UserError: another suffix, packages that are missing, a conditioner or another part of one's own that cannot be
            exported, or a place that cannot be written.
    """
    path = named(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"cannot write {path}: a generator's suffix must be {' or '.join(SUFFIXES)}")
    missing = [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]
    if missing and path.suffix.lower() == ".onnx":
        raise UserError(f"to write {path}, {' and '.join(missing)} is needed: pip install 'syncdraw[export]'")
    model = model.cpu().eval()
    inputs = inputs_of(model)
    generates = Generates(model, model.captioned, tuple(key for key in inputs if key in ("prior", "condition")))
    half = halves_well(generates, inputs)
    stored = Stored(generates, torch.float16 if half else torch.float32)
    notes = notes_of(model, inputs, name, card or {}, half)
    with torch.no_grad(), _quiet():
        outputs = list(stored(*inputs.values()))
        try:
            shapes = (tuple({0: torch.export.Dim("batch", min=1)} for _ in inputs),)
            program = torch.export.export(stored, tuple(inputs.values()), dynamic_shapes=shapes)
            with atomic_path(path) as temporary:
                _write(program, temporary, list(inputs), outputs, json.dumps(notes))
        except UserError:
            raise
        except Exception as error:  # whatever an attention, a prior or a conditioner of one's own does
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"this model cannot be exported to {path.suffix} ({reason})") from error
    return Exported(notes, half)


def _write(
    program: torch.export.ExportedProgram, path: Path, inputs: list[str], outputs: list[str], notes: str
) -> None:
    if path.suffix.lower() == ".pt2":
        torch.export.save(program, path, extra_files={f"{NOTES}.json": notes})
        return
    made = torch.onnx.export(
        program,
        dynamo=True,
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=(tuple({0: "batch"} for _ in inputs),),  # gives the axis its name in the file
        verbose=False,
    )
    assert made is not None
    made.model.producer_name = NOTES
    made.model.metadata_props[NOTES] = notes
    made.save(path)


def inputs_of(model: SyncDraw) -> dict[str, Tensor]:
    """What an exported generator takes, by name, in order, with an example: two videos under seed 0.

    `tokens` are the captions' numbers (for several layers, those of each clause), or `sentences` their vectors, where a
    pretrained encoder makes them; `latents`, `prior` and `condition` are the parts of `Noise`.

    Raises:
        UserError: the model has a conditioner of one's own, which says what it takes to nobody.
    """
    inputs = {}
    layers = (model.config.layers,) if model.config.layers > 1 else ()
    if model.captioned:
        conditioner = model.conditioner
        if not isinstance(conditioner, WordAlignment | SentenceVector):
            raise UserError(
                f"a model with captions and with your own {type(conditioner).__name__} as conditioner cannot be "
                "exported; those of the package can"
            )
        generator = torch.Generator().manual_seed(0)
        words = len(model.config.captions.vocabulary)
        if words:
            tokens = torch.full((_BATCH, *layers, WORDS), PADDING)
            tokens[..., :8] = torch.randint(1, words + 1, (_BATCH, *layers, 8), generator=generator)
            inputs["tokens"] = tokens
        else:
            inputs["sentences"] = torch.randn(_BATCH, *layers, conditioner.encoder_size, generator=generator)
    noise = model.noise(_BATCH, 0)
    return inputs | {key: part for key, part in noise._asdict().items() if part.numel()}


def halves_well(generates: Generates, inputs: dict[str, Tensor]) -> bool:
    """Whether weights as float16 draw the same videos, as far as a few tell."""
    weights = [tensor for tensor in generates.state_dict().values() if tensor.is_floating_point()]
    if all(torch.equal(tensor, tensor.half().float()) for tensor in weights):
        return True
    halved = Stored(generates, torch.float16)
    model = generates.model
    with torch.no_grad():
        for seed in range(8):
            values = inputs | {key: part for key, part in model.noise(_BATCH, seed)._asdict().items() if part.numel()}
            exact, rounded = (module(*values.values())["canvases"] for module in (generates, halved))
            if not (exact - rounded).abs().max() < TOLERANCE / 2:
                return False
    return True


def notes_of(model: SyncDraw, inputs: dict[str, Tensor], name: str, card: dict[str, Any], half: bool) -> dict[str, Any]:
    """What a file says of itself: where it is from, what it takes and what it gives."""
    config = model.config
    package = metadata.metadata("syncdraw")
    licence = package["License-Expression"] if name in shipped_models() else "that of whoever trained it"
    captions: dict[str, Any] | None = None
    if config.captioned:
        vocabulary = list(config.captions.vocabulary)
        captions = {
            "route": config.captions.route,
            "vocabulary": vocabulary,  # the word of number 1 first
            "padding": PADDING,
            "longest": WORDS if vocabulary else None,
            "encoder": config.captions.encoder_version or None,
        }
    return {
        "name": name,
        "about": str(card.get("about", "")),
        "made_with": f"syncdraw {package['Version']}",
        "mark": DRAWN_MARK.decode(),
        "licence": str(card.get("licence", licence)),
        "weights": "float16" if half else "float32",
        "shape": list(config.shape),
        "draw_steps": config.draw_steps,
        "layers": config.layers,
        "write_grid_size": config.write_grid_size,
        "captions": captions,
        "inputs": {key: ["batch", *value.shape[1:]] for key, value in inputs.items()},
        "windows": ["row", "column", "stride", "deviation"],
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that nobody needs and of its own functions that will change."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
