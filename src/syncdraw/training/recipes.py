"""Recipes: one YAML for each model, with its stages in order.

A recipe holds the settings of a run (model, data, bouncing, train), `extends` with the name of a recipe whose settings
it takes over, and `stages`, of which each changes some settings and begins from the model of the stage before it.
"""

from __future__ import annotations

import dataclasses
import difflib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from syncdraw import pretrained
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.reading import read_settings
from syncdraw.training.run import train
from syncdraw.training.run_folder import RunFolder, write_yaml
from syncdraw.training.settings import RunConfig, as_dict

RECIPES = Path(__file__).parents[1] / "recipes"
RECIPE_FILE, STAGES = "recipe.yaml", "stages"
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


def read_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe, with settings changed in all of its stages.

    Args:
        name: of a recipe, or a YAML file.
        changes: nested, as in the YAML.

    Raises:
        UserError: there is no such recipe, or a setting that is unknown or out of range; it says which.
    """
    path = find_recipe(name)
    values = _extended(_read(path), path)
    stages = values.pop("stages", None) or [{}]
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise UserError(f"{path}: stages is {stages!r}; it must be a list of sections of settings")
    made = []
    for number, stage in enumerate(stages, start=1):
        label = str(stage.pop("name", number))
        config = read_settings(RunConfig, merged(merged(values, stage), changes or {}), str(path))
        made.append(Stage(label, config))
    return Recipe(path.stem if path.parent == RECIPES else name.removesuffix(path.suffix), tuple(made))


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
    return merged(_extended(_read(source), source, (*above, path)), values)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold the sections {', '.join(SECTIONS)}, and may hold extends and stages")
    return values


def train_recipe(
    recipe: Recipe, out: str | Path, *, resume: bool = False, progress: bool = True, device: str | None = None,
    train: Callable[..., Path] = train,
) -> Path:  # fmt: skip
    """Train all stages of a recipe; the run folder then holds the last one's model.

    A recipe of one stage is a run; of several, each is a run in `stages/`. With `resume`, finished stages are not
    trained again, and the one that was broken off goes on.

    Returns:
        The run folder.
    """
    out = Path(out)
    if len(recipe.stages) == 1:
        return train(recipe.stages[0].config, out, resume=resume, progress=progress, device=device)
    written = out / RECIPE_FILE
    if not resume and (written.exists() or RunFolder(out).holds_run):
        raise UserError(f"{out} already holds a run; add --resume to continue it, or choose another folder")
    if resume and not written.exists():
        raise UserError(f"{out} holds no run of {len(recipe.stages)} stages to resume; start it without --resume")
    stages = [{"name": stage.name, **as_dict(stage.config)} for stage in recipe.stages]
    write_yaml(written, {"recipe": recipe.name, "stages": stages})
    before: Path | None = None
    history = []
    for number, stage in enumerate(recipe.stages, start=1):
        folder = out / STAGES / f"{number}-{stage.name}"
        if not _finished(folder, stage.config):
            if progress:
                print(f"stage {number} of {len(recipe.stages)}: {stage.name}", flush=True)
            begun = RunFolder(folder).holds_run
            train(_after(stage.config, before), folder, resume=begun, progress=progress, device=device)
        history.append({"stage": stage.name, **pretrained.load_card(folder)["trained"]})
        before = folder
    assert before is not None
    _publish(before, out, recipe.name, history)
    return out


def resumable(out: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe with which a run folder was begun, to go on with it.

    Raises:
        UserError: the folder holds no run.
    """
    out = Path(out)
    if (out / RECIPE_FILE).is_file():
        return read_recipe(str(out / RECIPE_FILE), changes)
    run = RunFolder(out)
    run.check(resume=True)
    path = str(out / "config.yaml")
    return Recipe(path, (Stage("run", read_settings(RunConfig, merged(run.config(), changes or {}), path)),))


def _after(config: RunConfig, before: Path | None) -> RunConfig:
    if before is None:
        return config
    start = dataclasses.replace(config.train.start, model=str(before))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, start=start))


def _finished(folder: Path, config: RunConfig) -> bool:
    if not (folder / pretrained.CARD_FILE).is_file():
        return False
    trained = pretrained.load_card(folder).get("trained", {})
    return bool(trained.get("steps", 0) >= config.train.max_steps)


def _publish(last: Path, out: Path, recipe: str, history: list[dict[str, Any]]) -> None:
    """The last stage's model, as that of the whole run."""
    trained = {
        "steps": sum(stage["steps"] for stage in history),
        "clips_seen": sum(stage["clips_seen"] for stage in history),
        "minutes": round(sum(stage["minutes"] for stage in history), 1),
        "stages": history,
    }
    with atomic_path(out / pretrained.WEIGHTS_FILE) as path:
        shutil.copyfile(last / pretrained.WEIGHTS_FILE, path)
    pretrained.write_card({**pretrained.load_card(last), "recipe": recipe, "trained": trained}, out)
