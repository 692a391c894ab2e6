"""Settings as they come from YAML, the command line or a stranger's file: checked strictly, field by field."""

from __future__ import annotations

import dataclasses
import difflib
import json
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from syncdraw.errors import UserError

Kind = TypeVar("Kind")


def read_settings(kind: type[Kind], values: Any, source: str) -> Kind:
    """A dataclass of settings from nested values, as JSON or YAML give them.

    Args:
        source: the file that they are from, for messages.

    Raises:
        UserError: a field is unknown, of another type, or out of range; it names the file and the field.
    """
    try:
        # By way of JSON, whose strict types are those that settings have: no text for a number, but a list for a tuple.
        return _adapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error, kind)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{source} cannot be read as settings ({' '.join(str(error).split())[:200]})") from None


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _sentence(error: ValidationError, kind: type[Any]) -> str:
    first = error.errors(include_url=False)[0]
    if isinstance(first.get("ctx", {}).get("error"), UserError):
        return str(first["ctx"]["error"])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where} is no setting{_nearest(where, kind)}"
    if first["type"] in ("dataclass_type", "dataclass_exact_type"):
        return f"{where or 'all'} is {str(first['input'])[:60]!r}; it must be a section of settings"
    message = first["msg"]
    return f"{where} is {str(first['input'])[:60]!r}: {message[:1].lower()}{message[1:]}"


def _nearest(unknown: str, kind: type[Any]) -> str:
    near = difflib.get_close_matches(unknown, setting_names(kind), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def setting_names(kind: type[Any], prefix: str = "") -> list[str]:
    """The dotted names of all settings in a dataclass, those of its sections included."""
    names = []
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        names.append(prefix + field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            names += setting_names(hints[field.name], f"{prefix}{field.name}.")
    return names
