"""What somebody asks to be trained: a recipe or clips of their own, with changed settings; or a run that goes on.

Whatever can be refused is refused before torch is imported, which takes two seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syncdraw.devices import Device, start_torch
from syncdraw.errors import UserError, within_memory
from syncdraw.reading import merged, read_yaml
from syncdraw.training.memory import TOO_LARGE
from syncdraw.training.recipes import Recipe, read_recipe
from syncdraw.training.trackers import TRACKERS, TrackerName


def train_as_asked(
    recipe: str | None, changes: Mapping[str, Any], *, out: Path | None = None, resume: bool = False,
    config: Path | None = None, prepared: Path | None = None, tracker: TrackerName | None = None,
    device: Device = "auto",
) -> Path | None:  # fmt: skip
    """Train a recipe, by the name or the file of one, or go on with a run.

    Args:
        recipe: `folder` unless given, where `changes` name data.
        changes: nested settings, which go before those of `config`, and both before the recipe's.
        out: the run folder; runs/RECIPE unless given.
        resume: go on with the run in `out`, with the settings that it began with.
        config: a YAML file of further settings.
        prepared: a folder for prepared clips; beside the clips unless given.
        tracker: reports, too.
        device: on which to train.

    Returns:
        The run folder; of several processes, in the first alone.

    Raises:
        UserError: it is not clear what to train, a setting is wrong, or the run or the clips are not there.
    """
    if recipe is None and not resume:
        if "data" not in changes:
            raise UserError("say what to train: a recipe, such as mnist1, or --data with a folder of clips")
        recipe = "folder"
    if out is None and recipe is None:
        raise UserError("say which run to go on with: its recipe, or --out with the run folder")
    out = out or Path("runs") / Path(str(recipe)).stem

    def read(changes: Mapping[str, Any], source: str | None = None) -> Recipe:
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
    usable = start_torch(device)
    from syncdraw.training.own_clips import with_own_clips
    from syncdraw.training.processes import Processes
    from syncdraw.training.stages import train_recipe

    processes = Processes.join(usable)
    with within_memory(TOO_LARGE), processes.together():
        # One process prepares the clips, and tells the others where they are.
        own = [with_own_clips(made.stages[0].config, changes, prepared, choose=recipe == "folder")
               for _ in range(processes.first)]  # fmt: skip
        made = read(merged(changes, processes.collect(own)[0]), "the command line")
        trackers = [TRACKERS[tracker]] if tracker else []
        folder = train_recipe(made, out, resume=resume, device=usable, trackers=trackers)
    return folder if processes.first else None
