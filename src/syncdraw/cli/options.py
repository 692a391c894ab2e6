"""Options that commands share, and options made of a dataclass of settings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_type_hints

from cyclopts import Parameter, Token
from cyclopts.validators import Number
from docstring_parser import parse


def _whole(kind: Any, tokens: tuple[Token, ...]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None  # Cyclopts would round 1.5 to 2


def _whole_or_none(kind: Any, tokens: tuple[Token, ...]) -> int | None:
    return None if tokens[0].value.lower() in ("none", "null") else _whole(kind, tokens)


def _switch(kind: Any, tokens: tuple[Token, ...]) -> bool:
    if tokens[0].value not in ("true", "false"):
        raise ValueError(f"{tokens[0].value!r} is neither true nor false")
    return tokens[0].value == "true"


Count = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1))]
CountOrNone = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0))]
Seed = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0, lt=2**63))]
Temperature = Annotated[float, Parameter(validator=Number(gte=0))]
Out = Annotated[Path, Parameter(alias="-o")]
Model = Annotated[str, Parameter(help="a shipped model (see `syncdraw models`), a run folder, or hub:OWNER/NAME.")]
Scale = Annotated[Count, Parameter(help="each pixel becomes so many pixels wide and high.")]
FramesPerSecond = Annotated[float, Parameter(help="frames a second.")]
JsonFile = Annotated[Path | None, Parameter(help="write the numbers there, too.")]
Device = Literal["auto", "cpu", "cuda", "mps"]
Computer = Annotated[Device, Parameter(help="where to compute; auto takes the fastest.")]


def explained(kind: type[Any], usual: Any, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Annotations for the settings in a dataclass, by their names: type, docstring line, and the usual value."""
    lines = {line.arg_name: line.description or "" for line in parse(inspect.getdoc(kind) or "").params}
    annotations: dict[str, Any] = {}
    converter: Callable[..., Any] | None
    for name, hint in get_type_hints(kind).items():
        value, converter = getattr(usual, name), None
        if name in leave_out or name not in lines:
            continue
        if dataclasses.is_dataclass(value):
            annotations[name] = given(type(value), value, leave_out)
            continue
        if hint is bool:
            # Cyclopts takes bool for a switch without a value, and checks what the converter makes by the type.
            hint, converter, value = Literal["true", "false", True, False], _switch, str(value).lower()
        elif hint in (int, int | None):
            converter = _whole if hint is int else _whole_or_none
        switch = converter is _switch
        about = f"{lines[name]} [default: {value}]" + " [choices: true, false]" * switch
        annotations[name] = Annotated[
            hint, Parameter(help=about, converter=converter, show_default=False, show_choices=not switch)
        ]
    return annotations


def given(kind: type[Any], usual: Any, leave_out: tuple[str, ...] = ()) -> Any:
    """The type of a dictionary that holds those settings of a dataclass which the command line names."""
    return TypedDict(kind.__name__, explained(kind, usual, leave_out), total=False)  # type: ignore[operator]


def start_torch(device: Device = "auto") -> str:
    """Make torch ready, and give the device to compute on: `auto` is the fastest.

    Raises:
        UserError: the device is not there.
    """
    import torch

    from syncdraw.errors import UserError

    # Denormal numbers are 100 times slower than others; this reaches only threads that start later.
    torch.set_flush_denormal(True)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {device} cannot be used here ({reason}); cpu always can") from None
    return device
