"""Training: from a config to a run folder, from a recipe to a run of several stages."""

from syncdraw.training.recipes import Recipe, Stage, read_recipe, recipe_names, train_recipe
from syncdraw.training.run import train
from syncdraw.training.settings import OptimizerConfig, RunConfig, StartConfig, TrainConfig

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
