"""syncdraw train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from cyclopts import App

from syncdraw.options import Computer, options_of
from syncdraw.training.asked import train_as_asked
from syncdraw.training.recipes import recipe_names
from syncdraw.training.settings import RunConfig
from syncdraw.training.trackers import TrackerName

app = App(name="train", help_epilogue=f"Recipes: {', '.join(recipe_names())}.")
app.command("syncdraw.evaluation.judge_training:train_judge", name="judge", help="Train the reader of digits.")
app.command("syncdraw.evaluation.sprite_training:train_sprite_reader", name="sprite_reader",
            help="Train the reader of sprites.")  # fmt: skip


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
    folder = train_as_asked(recipe, changes, out=out, resume=resume, config=config, prepared=prepared, tracker=tracker,
                            device=device)  # fmt: skip
    if folder is not None:
        print(f"wrote {folder}: syncdraw generate --model {folder} draws, syncdraw evaluate bounds {folder} measures")


# What the data decide is no option.
train.__annotations__["changes"] = Unpack[options_of(RunConfig(), leave_out=("vocabulary", "encoder_version"))]
