"""Training: from a config to a run folder, from a recipe to a run of several stages."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syncdraw.training.recipes import Recipe, Stage, read_recipe, recipe_names
    from syncdraw.training.run import train
    from syncdraw.training.settings import OptimizerConfig, RunConfig, StartConfig, TrainConfig
    from syncdraw.training.stages import train_recipe

_HOMES = {
    "OptimizerConfig": "settings",
    "Recipe": "recipes",
    "RunConfig": "settings",
    "Stage": "recipes",
    "StartConfig": "settings",
    "TrainConfig": "settings",
    "read_recipe": "recipes",
    "recipe_names": "recipes",
    "train": "run",
    "train_recipe": "stages",
}

__all__ = [
    "OptimizerConfig",
    "Recipe",
    "RunConfig",
    "Stage",
    "StartConfig",
    "TrainConfig",
    "read_recipe",
    "recipe_names",
    "train",
    "train_recipe",
]


def __getattr__(name: str) -> Any:
    # Settings are read without torch, which takes two seconds to import.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
