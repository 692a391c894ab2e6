"""Recipes: one YAML for each model, with its stages in order.

A recipe holds the settings of a run (model, data, bouncing, train), `extends` with the name of a recipe whose settings
it takes over, and `stages`, of which each changes some settings and begins from the model of the stage before it.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncdraw import pretrained
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.reading import merged, read_settings, read_yaml
from syncdraw.training.processes import Processes
from syncdraw.training.run import train
from syncdraw.training.run_folder import RECIPE_FILE, STAGES, RunFolder, write_yaml
from syncdraw.training.settings import RunConfig, as_dict

RECIPES = Path(__file__).parents[1] / "recipes"


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
        source = f"{path}, stage {title}" if len(stages) > 1 else str(path)
        made.append(Stage(title, read_settings(RunConfig, merged(merged(values, stage), changes or {}), source)))
    return Recipe(str(label), tuple(made))


def _extended(values: dict[str, Any], path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    base = values.pop("extends", None)
    if base is None:
        return values
    source = find_recipe(str(base))
    if source.resolve() in (above := (*above, path.resolve())):
        raise UserError(f"{path}: extends goes in a circle by way of {base}")
    return merged(_extended(read_yaml(source), source, above), values)


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
    if len(recipe.stages) == 1:
        return train(recipe.stages[0].config, out, resume=resume, progress=progress, device=device)
    run, processes = RunFolder(out), Processes.join(device)
    written = run.path / RECIPE_FILE
    with run.owned() if processes.first else nullcontext():
        if not resume:
            run.check(resume)
        elif not written.exists():
            raise UserError(f"{out} holds no run of {len(recipe.stages)} stages to resume; start it without --resume")
        processes.wait()  # all have looked
        if processes.first:
            stages = [{"name": stage.name, **as_dict(stage.config)} for stage in recipe.stages]
            write_yaml(written, {"recipe": recipe.name, "stages": stages})
        before: Path | None = None
        history = []
        for number, stage in enumerate(recipe.stages, start=1):
            folder = run.path / STAGES / f"{number}-{stage.name}"
            if not _finished(folder, stage.config):
                if progress and processes.first:
                    print(f"stage {number} of {len(recipe.stages)}: {stage.name}", flush=True)
                begun = RunFolder(folder).saved
                train(_after(stage.config, before), folder, resume=begun, progress=progress, device=device)
            history.append({"stage": stage.name, **_trained(folder)})
            before = folder
        assert before is not None
        if processes.first:
            _publish(before, run.path, recipe.name, history)
        processes.wait()
    return run.path


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
    return Recipe(str(out), (Stage("run", run.config(changes)),))


def _after(config: RunConfig, before: Path | None) -> RunConfig:
    if before is None:
        return config
    start = dataclasses.replace(config.train.start, model=str(before))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, start=start))


def _finished(folder: Path, config: RunConfig) -> bool:
    return (folder / pretrained.CARD_FILE).is_file() and bool(_trained(folder)["steps"] >= config.train.max_steps)


def _trained(folder: Path) -> dict[str, Any]:
    """What a stage's card says of its training.

    Raises:
        UserError: it says something else.
    """
    trained = pretrained.load_card(folder).get("trained", {})
    for name in ("steps", "clips_seen", "minutes"):
        if type(trained.get(name)) not in (int, float):
            raise UserError(
                f"{folder / pretrained.CARD_FILE}: trained.{name} is {trained.get(name)}; it must be a number"
            )
    return trained


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
