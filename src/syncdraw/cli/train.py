"""syncdraw train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from cyclopts import App

from syncdraw.cli.options import Computer, given, start_torch
from syncdraw.errors import UserError
from syncdraw.reading import merged, read_yaml
from syncdraw.training.recipes import Recipe, read_recipe, recipe_names
from syncdraw.training.settings import RunConfig
from syncdraw.training.trackers import TRACKERS, TrackerName

app = App(name="train", help_epilogue=f"Recipes: {', '.join(recipe_names())}.")
app.command("syncdraw.evaluation.judge_training:train_judge", name="judge", help="Train the reader of digits.")


@app.default
def train(
    recipe: str | None = None, /, *, out: Path | None = None, resume: bool = False, config: Path | None = None,
    prepared: Path | None = None, tracker: TrackerName | None = None, device: Computer = "auto", **changes: Any,
) -> None:  # fmt: skip
    """Train a model, by a recipe or on clips of your own.

    `syncdraw train mnist1` goes through all stages of a recipe. `syncdraw train --data my_clips/ --out runs/mine` takes
    the recipe folder, and prepares the clips first. Ctrl-C saves the run; the same command with --resume goes on.

    Every setting below can be changed; what is changed holds for all stages. The defaults are the papers', and a recipe
    has its own.

    Args:
        recipe: a name from the list below, or a YAML file.
        out: the run folder; runs/RECIPE unless given.
        resume: go on with the run in --out, with the settings that it began with.
        config: a YAML file of further settings, which go before the recipe's; those named here go before both.
        prepared: a folder for prepared clips; beside the clips unless given.
        tracker: report to Weights & Biases or MLflow, too. TensorBoard's files are written wherever it is installed.
    """
    if recipe is None and not resume:
        if "data" not in changes:
            raise UserError("say what to train: a recipe, such as mnist1, or --data with a folder of clips")
        recipe = "folder"
    if out is None and recipe is None:
        raise UserError("say which run to go on with: its recipe, or --out with the run folder")
    out = out or Path("runs") / Path(str(recipe)).stem

    def read(changes: dict[str, Any], source: str | None = None) -> Recipe:
        if not resume:
            return read_recipe(str(recipe), changes, source)
        from syncdraw.training.stages import resumable

        return resumable(out, changes, source)

    read({})  # so that a fault of the recipe is called that
    if config is not None:
        more = read_yaml(config)
        read(more, str(config))
        changes = merged(more, changes)
    made = read(changes, "the command line")
    from syncdraw.training.own_clips import with_own_clips
    from syncdraw.training.processes import Processes
    from syncdraw.training.stages import train_recipe

    usable = start_torch(device)
    chosen = None if device == "auto" else usable
    processes = Processes.join(chosen)
    trackers = [TRACKERS[tracker]] if tracker else []
    with processes.together():
        # One process prepares the clips, and tells the others where they are.
        own = [with_own_clips(made.stages[0].config, changes, prepared, choose=recipe == "folder")
               for _ in range(processes.first)]  # fmt: skip
        made = read(merged(changes, processes.collect(own)[0]), "the command line")
        folder = train_recipe(made, out, resume=resume, device=chosen, trackers=trackers)
    if processes.first:
        print(f"wrote {folder}: syncdraw generate --model {folder} draws, syncdraw evaluate bounds {folder} measures")


# What the data decide is no option.
train.__annotations__["changes"] = Unpack[given(RunConfig, RunConfig(), ("vocabulary", "encoder_version"))]
