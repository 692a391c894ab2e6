"""Recipes are trained stage by stage; a run that was broken off goes on in whichever stage that was."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from syncdraw import pretrained
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.training.loop import interruptible
from syncdraw.training.processes import Processes
from syncdraw.training.recipes import Recipe, Stage, read_recipe
from syncdraw.training.run import train
from syncdraw.training.run_folder import RECIPE_FILE, STAGES, RunFolder, write_yaml
from syncdraw.training.settings import RunConfig, as_dict
from syncdraw.training.trackers import MakeTracker


def train_recipe(
    recipe: Recipe, out: str | Path, *, resume: bool = False, progress: bool = True, device: str | None = None,
    trackers: Sequence[MakeTracker] = (), train: Callable[..., Path] = train,
) -> Path:  # fmt: skip
    """Train all stages of a recipe; the run folder then holds the last one's model.

    A recipe of one stage is a run; of several, each is a run in `stages/`. With `resume`, finished stages are not
    trained again, and the one that was broken off goes on.

    Args:
        trackers: as for `train`; each stage is a run.

    Returns:
        The run folder.
    """
    options = {"progress": progress, "device": device, "trackers": trackers}
    if len(recipe.stages) == 1:
        return train(recipe.stages[0].config, out, resume=resume, **options)
    run, processes = RunFolder(out), Processes.join(device)
    written = run.path / RECIPE_FILE
    with processes.together(), run.owned() if processes.first else nullcontext():
        if not resume:
            run.check(resume)
        elif not written.exists():
            raise UserError(f"{out} holds no run of {len(recipe.stages)} stages to resume; start it without --resume")
        processes.wait()  # all have looked
        if processes.first:
            stages = [{"name": stage.name, **as_dict(stage.config)} for stage in recipe.stages]
            write_yaml(written, {"recipe": recipe.name, "stages": stages})
        done: dict[str, Path] = {}
        history = []
        for number, stage in enumerate(recipe.stages, start=1):
            folder = run.path / STAGES / f"{number}-{stage.name}"
            if not _finished(folder, stage.config):
                if progress and processes.first:
                    print(f"stage {number} of {len(recipe.stages)}: {stage.name}", flush=True)
                begun = RunFolder(folder).saved
                with one_of_several(f"stopped in stage {stage.name}; syncdraw train --resume --out {out} goes on"):
                    train(_after(stage.config, done), folder, resume=begun, **options)
            history.append({"stage": stage.name, **_trained(folder)})
            done[stage.name] = folder
        if processes.first:
            _publish(folder, run.path, recipe.name, history)
        processes.wait()
    return run.path


@contextmanager
def one_of_several(message: str) -> Iterator[None]:
    """For one run of several: a signal ends them all with this message, also where it came in the run's last step."""
    with interruptible() as interrupted:
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(message) from None
    if interrupted.is_set():
        raise KeyboardInterrupt(message)


def resumable(out: str | Path, changes: Mapping[str, Any] | None = None, source: str | None = None) -> Recipe:
    """The recipe with which a run folder was begun, to go on with it.

    Args:
        out: the run folder.
        changes: as for `read_recipe`.
        source: likewise.

    Raises:
        UserError: the folder holds no run.
    """
    out = Path(out)
    if (out / RECIPE_FILE).is_file():
        return read_recipe(str(out / RECIPE_FILE), changes, source)
    run = RunFolder(out)
    run.check(resume=True)
    return Recipe(str(out), (Stage("run", run.config(changes)),))


def _after(config: RunConfig, done: Mapping[str, Path]) -> RunConfig:
    """A stage's settings, given the folders of those before it, in order.

    It begins from the last one; or from the model that it names, where one before it takes its first look.
    """
    start = config.train.start
    if start.first_look is not None and start.first_look in done:
        start = dataclasses.replace(start, first_look=str(done[start.first_look]))
    elif done:
        start = dataclasses.replace(start, model=str([*done.values()][-1]))
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
