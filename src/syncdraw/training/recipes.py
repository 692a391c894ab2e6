"""Recipes: one YAML for each model, with its stages in order.

A recipe holds the settings of a run (model, data, bouncing, train), `extends` with the name of a recipe whose settings
it takes over, and `stages`, of which each changes some settings and begins from the model of the stage before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncdraw.cards import RECIPES
from syncdraw.errors import UserError, did_you_mean
from syncdraw.reading import merged, read_yaml
from syncdraw.training.settings import RunConfig, read_run


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
    hint = did_you_mean(name, [*known, *(k.split("/")[-1] for k in known)], 0.4)
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
    values = _extended(read_yaml(path), path)
    stages = values.pop("stages", None) or [{}]
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise UserError(f"{path}: stages is {str(stages)[:60]}; it must be a list of sections of settings")
    label = values.pop("recipe", path.stem if path.parent == RECIPES else name.removesuffix(path.suffix))
    made = []
    for number, stage in enumerate(stages, start=1):
        title = str(stage.pop("name", number))
        if not re.fullmatch(r"\w[\w -]{,40}", title):
            raise UserError(f"{path}: the name of stage {number} is {title[:60]!r}; it must be a word or two")
        place = f"{path}, stage {title}" if len(stages) > 1 else str(path)
        settings = merged(merged(values, stage), changes or {})
        made.append(Stage(title, read_run(settings, source or place)))
    return Recipe(str(label), tuple(made))


def _extended(values: dict[str, Any], path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    base = values.pop("extends", None)
    if base is None:
        return values
    source = find_recipe(str(base))
    if source.resolve() in (above := (*above, path.resolve())):
        raise UserError(f"{path}: extends goes in a circle by way of {base}")
    return merged(_extended(read_yaml(source), source, above), values)
