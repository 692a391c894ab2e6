"""Recipes: one YAML for each model, with its stages in order.

A recipe holds the settings of a run (model, data, bouncing, train), `extends` with the name of a recipe whose settings
it takes over, and `stages`, of which each changes some settings and begins from the model of the stage before it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from syncdraw.errors import UserError
from syncdraw.reading import read_settings
from syncdraw.training.settings import RunConfig

RECIPES = Path(__file__).parents[1] / "recipes"
SECTIONS = tuple(field.name for field in dataclasses.fields(RunConfig))


@dataclass(frozen=True)
class Stage:
    """A part of a recipe: a run that begins from the one before it."""

    name: str
    config: RunConfig


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Attributes:
        name: of the recipe, or of its file.
        stages: one or more, in order.
    """

    name: str
    stages: tuple[Stage, ...]


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The file of a recipe, by its name or as a path.

    Raises:
        UserError: there is none; it suggests the nearest.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise UserError(f"recipe {name} does not exist")
        return Path(name)
    known = recipe_names()
    if name in known:
        return RECIPES / f"{name}.yaml"
    near = difflib.get_close_matches(name, [*known, *(k.split("/")[-1] for k in known)], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"unknown recipe {name!r}: {hint}Recipes are {', '.join(known)}; a YAML file works too")


def read_recipe(name: str, changes: Mapping[str, Any] | None = None, source: str | None = None) -> Recipe:
    """A recipe, with settings changed in all of its stages.

    Args:
        name: of a recipe, or a YAML file.
        changes: nested, as in the YAML.
        source: where the changes are from, for messages; the recipe's own file unless given.

    Raises:
        UserError: there is no such recipe, or a setting that is unknown or out of range; it says which.
    """
    path = find_recipe(name)
    values = _extended(read_sections(path), path)
    known_as = values.pop("recipe", None)  # a run of several stages says by what it was made
    stages = values.pop("stages", None) or [{}]
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise UserError(f"{path}: stages is {stages!r}; it must be a list of sections of settings")
    made = []
    for number, stage in enumerate(stages, start=1):
        label = str(stage.pop("name", number))
        config = read_settings(RunConfig, merged(merged(values, stage), changes or {}), source or str(path))
        made.append(Stage(label, config))
    usual = path.stem if path.parent == RECIPES else name.removesuffix(path.suffix)
    return Recipe(str(known_as or usual), tuple(made))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one; where both have a value, the one above counts."""
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _extended(values: dict[str, Any], path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    base = values.pop("extends", None)
    if base is None:
        return values
    source = find_recipe(str(base))
    if source in (*above, path):
        raise UserError(f"{path}: extends goes in a circle by way of {base}")
    return merged(_extended(read_sections(source), source, (*above, path)), values)


def read_sections(path: Path) -> dict[str, Any]:
    """What a YAML file of settings holds, which may be a part of them.

    Raises:
        UserError: the file cannot be read, or is no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold the sections {', '.join(SECTIONS)}, and may hold extends and stages")
    return values
