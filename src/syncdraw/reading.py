"""What people and strangers write is read here: files of a bounded size, YAML, and settings, checked strictly."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from syncdraw.errors import UserError

TEXT_BYTES = 2**22
"""No file of settings is longer. A vocabulary of 100,000 words takes a third of it."""

Kind = TypeVar("Kind")


def read_regular(path: Path, at_most: int) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: it cannot be read, is no regular file (a pipe never ends), or is longer than `at_most` bytes.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path} cannot be read (it is no regular file)")
        if found.st_size > at_most:
            raise UserError(f"{path} cannot be read (it has {found.st_size:,} bytes; no more than {at_most:,} may be)")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        UserError: it cannot be read, is no YAML, holds no mapping, or refers to itself by `*`: a few such lines can
            stand for more than fits in memory.
    """
    try:
        values = yaml.load(read_regular(path, TEXT_BYTES).decode(), _Loader)  # which is a safe one
    except UserError:
        raise
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML ({_line(error)})") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UserError(f"{path} holds no settings; it must hold sections such as model and train")
    return values


class _Loader(yaml.SafeLoader):
    """Takes no aliases, and 1e-3 for the number that it is; YAML 1.1 asks for 1.0e-3."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("write out what * stands for")
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one; where both have a value, the one above counts."""
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def read_settings(kind: type[Kind], values: Any, source: str) -> Kind:
    """A dataclass of settings from nested values, as JSON or YAML give them.

    Args:
        source: the file that they are from, for messages.

    Raises:
        UserError: a field is unknown, of another type, or out of range; it names the file and the field.
    """
    try:
        # By way of JSON, whose strict types are those that settings have: no text for a number, but a list for a tuple.
        adapter: TypeAdapter[Kind] = _adapter(kind)  # type: ignore[arg-type]
        return adapter.validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error, kind)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{source} cannot be read as settings ({_line(error)})") from None


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _sentence(error: ValidationError, kind: type[Any]) -> str:
    first = error.errors(include_url=False)[0]
    if isinstance(first.get("ctx", {}).get("error"), UserError):
        return str(first["ctx"]["error"])
    where, value = ".".join(str(part) for part in first["loc"]), _line(first["input"])[:60]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where} is no setting{_nearest(where, kind)}"
    if first["type"].startswith("dataclass"):
        return f"{where or 'what it holds'} is {value!r}; it must be a section of settings"
    message = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"{where} is {value!r}: {message}" if where else message


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]


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
