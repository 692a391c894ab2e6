"""Types of options, which say what may be given; and options made of a dataclass's settings or a function's keywords.

A function that is a command, such as `reproduce.table1`, has them in its signature. Called from Python, they are plain
numbers, paths and words.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_type_hints

from cyclopts import Parameter, Token
from cyclopts.validators import Number
from docstring_parser import parse

from syncdraw.devices import Device
from syncdraw.files import named_file


def _whole(kind: Any, tokens: tuple[Token, ...]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None  # Cyclopts would round 1.5 to 2


def _whole_or_none(kind: Any, tokens: tuple[Token, ...]) -> int | None:
    return None if tokens[0].value.lower() in ("none", "null") else _whole(kind, tokens)


def _budget(kind: Any, tokens: tuple[Token, ...]) -> int | str:
    value = tokens[0].value
    if value not in ("smoke", "full") and not (value.isdecimal() and int(value)):
        raise ValueError(f"{value!r} is no whole number above 0, nor smoke or full")
    return int(value) if value.isdecimal() else value


_CONVERTERS: dict[Any, Callable[..., Any]] = {int: _whole, int | None: _whole_or_none}

Count = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1))]
CountOrNone = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0))]
Seed = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0, lt=2**63))]
Budget = Annotated[int | Literal["smoke", "full"], Parameter(converter=_budget)]
Temperature = Annotated[float, Parameter(validator=Number(gte=0))]
Out = Annotated[Path, Parameter(alias="-o")]
Model = Annotated[str, Parameter(help="a shipped model (see `syncdraw models`), a run folder, or hub:OWNER/NAME.")]
Scale = Annotated[Count, Parameter(help="each pixel becomes so many pixels wide and high.")]
FramesPerSecond = Annotated[float, Parameter(help="frames a second.")]
JsonFile = Annotated[
    Path | None,
    Parameter(help="write the numbers there, too.", validator=lambda kind, path: path and named_file(path)),
]
Computer = Annotated[Device, Parameter(help="where to compute; auto takes the fastest.")]


def options_of(*owners: Any, leave_out: tuple[str, ...] = ()) -> Any:
    """The type of a dictionary with those options that the command line names: for `**options: Unpack[...]`.

    Each option has its type, its line of the docstring, and says what is usual.

    Args:
        owners: settings in a dataclass, each with its usual value; or a function, whose keywords that are true or false
            become switches without a value.
        leave_out: what is no option, also in dataclasses within a dataclass.
    """
    options: dict[str, Any] = {}
    for owner in owners:
        kind = type(owner) if dataclasses.is_dataclass(owner) else owner
        lines = {line.arg_name: line.description or "" for line in parse(inspect.getdoc(kind) or "").params}
        hints = get_type_hints(kind)
        for name, field in inspect.signature(kind).parameters.items():
            value, hint = getattr(owner, name, field.default), hints[name]
            if name in leave_out or name not in lines:
                continue
            if dataclasses.is_dataclass(value):
                options[name] = options_of(value, leave_out=leave_out)
                continue
            off = f"--no-{name}" if kind is owner and value is True else ()
            if hint is bool and kind is not owner:
                hint = Literal[True, False]  # Cyclopts takes bool for a switch
            usual = Parameter(help=f"{lines[name]} [default: {value}]", converter=_CONVERTERS.get(hint), negative=off)
            options[name] = Annotated[hint, usual]
    return TypedDict("Options", options, total=False)  # type: ignore[operator]
