"""Recipes: what is shipped reads, stages follow each other, and what is wrong in one is said in a sentence."""

from __future__ import annotations

import dataclasses
import json
import shutil
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from syncdraw import UserError, pretrained
from syncdraw.config import FROM_DATA, FROM_FIRST_LOOK, CaptionConfig, PriorConfig, SyncDrawConfig
from syncdraw.training import RunConfig, read_recipe, recipe_names, train, train_recipe
from syncdraw.training.recipes import Recipe, Stage
from syncdraw.training.run_folder import RunFolder
from syncdraw.training.settings import OptimizerConfig, StartConfig, TrainConfig, VGANRunConfig
from syncdraw.training.stages import resumable
from training_runs import MODEL, RUN, PowerCutError, assert_same_run, break_before, changed, content, metrics, quick

pytestmark = pytest.mark.usefixtures("quickly")


def written(path: Path, values: Any) -> str:
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return str(path)


def refusal(name: str, changes: dict[str, Any] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_recipe(name, changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- What a recipe says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_is_shipped_reads(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert len({stage.name for stage in recipe.stages}) == len(recipe.stages)
    for stage in recipe.stages:
        starts = stage.config.train.start
        assert starts.model is None or starts.model in recipe_names()  # a shipped model, with a recipe of its own
        stages = [other.name for other in recipe.stages[: recipe.stages.index(stage)]]
        assert starts.first_look is None or starts.first_look in [*recipe_names(), *stages]
        if stage is recipe.stages[0] and starts.model is None:
            assert starts.cluster_from is None
            assert not starts.only_inference
            assert isinstance(stage.config, VGANRunConfig) or not stage.config.model.prior.categories


def test_no_recipe_goes_in_a_circle_by_the_models_that_it_begins_from() -> None:
    starts = {name: read_recipe(name).stages[0].config.train.start for name in recipe_names()}
    before = {name: [one for one in (start.model, start.first_look) if one] for name, start in starts.items()}
    for name in before:
        waiting = [(name, [name])]
        while waiting:
            at, seen = waiting.pop()
            assert not set(before[at]) & set(seen)
            waiting += [(one, [*seen, one]) for one in before[at]]


def test_stages_change_what_they_name_and_keep_the_rest(tmp_path: Path) -> None:
    base = written(tmp_path / "base.yaml", {"model": {"grid_size": 5, "prior": {"kind": "network"}},
                                            "train": {"batch_size": 7, "optimizer": {"ema": 0.5}}})  # fmt: skip
    mine = written(tmp_path / "mine.yaml", {
        "extends": base,
        "train": {"batch_size": 8},
        "stages": [
            {"name": "first", "train": {"max_steps": 5}},
            {"model": {"prior": {"components": 3}}, "train": {"optimizer": {"learning_rate": 0.5}}},
        ],
    })  # fmt: skip
    recipe = read_recipe(mine, {"train": {"seed": 3}})
    assert [stage.name for stage in recipe.stages] == ["first", "2"]
    first, second = (stage.config for stage in recipe.stages)
    for config in (first, second):  # what the base says, what goes over it, and changes, which apply to all stages
        assert (config.model.grid_size, config.train.batch_size, config.train.optimizer.ema) == (5, 8, 0.5)
        assert config.train.seed == 3
    assert (first.train.max_steps, first.model.prior) == (5, PriorConfig("network"))
    assert (second.train.max_steps, second.model.prior) == (50_000, PriorConfig("network", 3))
    assert second.train.optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: {mine}", "extends goes in a circle by way of {mine}"),
        ("extends: {other}", "extends goes in a circle by way of {mine}"),
        ("extends: nobody-s", "unknown recipe 'nobody-s'"),
        ("extends: [1]", "unknown recipe '[1]'"),
        ("stages: 3", "stages is 3; it must be a list of sections of settings"),
        ("stages: [3]", "stages is [3]; it must be a list of sections of settings"),
        ("stages: [{{name: ../../elsewhere}}]", "the name of stage 1 is '../../elsewhere'; it must be a word or two"),
        ("stages: [{{name: one}}, {{modle: 3}}]", "{mine}, stage 2: modle is no setting"),
        ("model: {{colour: red}}", "{mine}: model.colour is no setting"),
        ("modell: {{}}", "{mine}: modell is no setting"),
        ("train: {{optimizer: {{rate: 1}}}}", "{mine}: train.optimizer.rate is no setting"),
        ("train: 3", "{mine}: train is '3'; it must be a section of settings"),
        ("train: {{max_steps: 1.5}}", "{mine}: train.max_steps is '1.5'"),
        ("train: {{max_steps: '5'}}", "{mine}: train.max_steps is '5'"),
        ("train: {{max_steps:}}", "{mine}: train.max_steps is 'None'"),
        ("train: {{max_steps: 0}}", "{mine}: train.max_steps is 0; it must be a whole number, 1 or more"),
        ("train: {{start: {{cluster_from: 0}}}}", "{mine}: train.start.cluster_from is 0"),
        ("data: 3", "{mine}: data is '3'"),
        ("data: [a, b]", "{mine}: data is"),
        ("model: {{frames: 1000000000}}", "no more than 67,108,864"),
        ("- 1", "{mine} holds no settings"),
        ("", "{mine} holds no settings"),
        ("a: [", "{mine} cannot be read as YAML"),
        ("a: &b [1]\nc: *b", "write out what * stands for"),
        ("\udcff", "{mine} cannot be read as YAML"),
    ],
)
def test_what_is_wrong_in_a_recipe(text: str, message: str, tmp_path: Path) -> None:
    names = {"mine": str(tmp_path / "mine.yaml"), "other": str(tmp_path / "other.yaml")}
    written(tmp_path / "other.yaml", {"extends": names["mine"]})
    (tmp_path / "mine.yaml").write_text(text.format(**names), errors="surrogateescape")
    assert message.format(**names) in refusal(names["mine"])


def test_unknown_names() -> None:
    assert "did you mean mnist1-captions? Recipes are " in refusal("mnist1-caption")
    assert "did you mean mnist1-sentence?" in refusal("mnist1-sentences")
    assert refusal("nowhere/mine.yaml") == "recipe nowhere/mine.yaml does not exist"


def test_changes_are_checked_as_the_file_is() -> None:
    assert "train.max_steps is 'many'" in refusal("mnist1", {"train": {"max_steps": "many"}})
    assert "train.colour is no setting" in refusal("mnist1", {"train": {"colour": 3}})


# --- How many settings there are, and what they may be ---------------------------------------------------------------


def settings(kind: Any, prefix: str = "") -> list[str]:
    """The dotted names of all settings."""
    found: list[str] = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner, name = hints[field.name], f"{prefix}{field.name}"
        found += settings(inner, f"{name}.") if dataclasses.is_dataclass(inner) else [name]
    return found


def test_forty_settings_or_fewer() -> None:
    names = settings(RunConfig)
    filled = {f"model.{name}" for name in FROM_DATA + FROM_FIRST_LOOK}
    assert filled <= set(names)
    assert len(set(names) - filled) <= 40


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (TrainConfig, "max_steps", 0), (TrainConfig, "batch_size", 0), (TrainConfig, "every", 0),
        (TrainConfig, "max_steps", 2**41), (TrainConfig, "batch_size", 2**21), (TrainConfig, "seed", -1),
        (TrainConfig, "seed", 2**32), (TrainConfig, "divergence_weight", -1.0),
        (TrainConfig, "divergence_weight", float("nan")), (OptimizerConfig, "learning_rate", 0.0),
        (OptimizerConfig, "learning_rate", float("nan")), (OptimizerConfig, "final_learning_rate", float("nan")),
        (OptimizerConfig, "matrix_learning_rate", float("inf")), (OptimizerConfig, "warmup_steps", -1),
        (OptimizerConfig, "gradient_ratio", 0.5), (OptimizerConfig, "gradient_ratio", float("nan")),
        (OptimizerConfig, "ema", 1.0), (OptimizerConfig, "ema", float("nan")), (StartConfig, "cluster_from", 0),
        (SyncDrawConfig, "frames", 10**9), (SyncDrawConfig, "hidden_size", 10**9),
        (SyncDrawConfig, "latent_size", 10**9), (SyncDrawConfig, "grid_size", 10**9),
        (SyncDrawConfig, "draw_steps", 10**9),
        (SyncDrawConfig, "prior", PriorConfig("network", components=10**9)),
        (SyncDrawConfig, "captions", CaptionConfig(route="alignment", size=10**9)),
    ],
)  # fmt: skip
def test_settings_out_of_range(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"{name}|no more than 268,435,456 are built"):
        kind(**{name: value})


@pytest.mark.parametrize("name", ["mnist1", "mnist1-grey", "mnist2", "mnist2-captions"])
def test_the_number_of_weights_is_known_beforehand(name: str) -> None:
    if name not in pretrained.shipped_models():
        pytest.skip("not shipped")
    model = pretrained.load(name)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 0.95 * count < model.config.parameters < 1.3 * count


# --- Stages ----------------------------------------------------------------------------------------------------------


THREE = Recipe("three", tuple(
    Stage(name, changed(RUN, {"train.max_steps": steps, "train.start.model": None}))
    for name, steps in (("draw", 6), ("obey", 5), ("sharpen", 4))
))  # fmt: skip


def train_three(out: Path, resume: bool = False, recipe: Recipe = THREE) -> Path:
    return train_recipe(recipe, out, resume=resume, progress=False, device="cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three stages. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        return train_three(tmp_path_factory.mktemp("whole") / "run")


def test_stages_begin_from_the_one_before(whole: Path) -> None:
    stages = [whole / "stages" / name for name in ("1-draw", "2-obey", "3-sharpen")]
    assert sorted((whole / "stages").iterdir()) == stages
    starts = [RunFolder(stage).config().train.start.model for stage in stages]
    assert starts == [None, str(stages[0]), str(stages[1])]
    first = [metrics(stage)[0]["validation_L_X"] for stage in stages]  # each goes on where the one before has got to
    assert first == sorted(first, reverse=True)
    # What the run holds is the model of the last.
    last = load_file(stages[-1] / "model.safetensors")
    assert all(torch.equal(tensor, last[name]) for name, tensor in load_file(whole / "model.safetensors").items())
    card = pretrained.load_card(whole)
    assert card["recipe"] == "three"
    assert card["trained"]["steps"] == 15
    assert card["trained"]["clips_seen"] == 45
    assert [stage["stage"] for stage in card["trained"]["stages"]] == ["draw", "obey", "sharpen"]
    assert pretrained.load(whole).generate(1).shape == (1, *MODEL.shape)


def test_a_recipe_that_is_broken_off_goes_on_in_that_stage(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished stages are not trained again; the folder alone says what the recipe was."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        break_before(patch, 4)  # in the first stage, which has six steps
        with pytest.raises(PowerCutError):
            train_three(out)
    assert pretrained.find(str(out)) == out / "stages" / "1-draw"  # until there is a model of the whole
    with pytest.raises(UserError, match=r"already holds a run .*--resume"):
        train_three(out)
    with monkeypatch.context() as patch:
        done: list[Path] = []

        def broken(config: RunConfig, folder: Path, **options: Any) -> Path:
            done.append(folder)
            if folder.name == "2-obey":
                break_before(patch, 4)
            return train(config, folder, **options)

        recipe = resumable(out)
        assert (recipe.name, [stage.name for stage in recipe.stages]) == ("three", ["draw", "obey", "sharpen"])
        with pytest.raises(PowerCutError):
            train_recipe(recipe, out, resume=True, progress=False, device="cpu", train=broken)
        assert [folder.name for folder in done] == ["1-draw", "2-obey"]
    before = content(out / "stages" / "1-draw")
    train_three(out, resume=True, recipe=resumable(out))
    assert content(out / "stages" / "1-draw") == before
    for stage in ("1-draw", "2-obey", "3-sharpen"):
        one, other = out / "stages" / stage, whole / "stages" / stage
        for folder in (one, other):  # where the stage before lies is the one thing that may differ
            path = folder / "config.yaml"
            path.write_text(path.read_text().replace(str(out), "RUN").replace(str(whole), "RUN"))
        assert_same_run(one, other)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    cards = [pretrained.load_card(run) for run in (out, whole)]
    for card in cards:
        del card["trained"]
    assert cards[0] == cards[1]


def test_a_finished_recipe_is_not_trained_again(whole: Path) -> None:
    def never(*_: Any, **__: Any) -> Path:
        raise AssertionError("a finished stage is trained")

    recipe = resumable(whole)
    train_recipe(recipe, whole, resume=True, progress=False, device="cpu", train=never)
    assert pretrained.load_card(whole)["recipe"] == "three"


def test_more_steps_for_all_stages(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    recipe = resumable(tmp_path / "run", {"train": {"max_steps": 7}})
    assert [stage.config.train.max_steps for stage in recipe.stages] == [7, 7, 7]
    train_three(tmp_path / "run", resume=True, recipe=recipe)
    assert pretrained.load_card(tmp_path / "run")["trained"]["steps"] == 21


def test_nothing_of_several_stages_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run of 3 stages to resume"):
        train_three(tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="holds no run to resume"):
        resumable(tmp_path / "run")


def test_a_run_of_one_stage_is_resumed_by_its_config(tmp_path: Path) -> None:
    recipe = Recipe("one", (Stage("1", changed(RUN, {"train.max_steps": 3})),))
    train_recipe(recipe, tmp_path / "run", progress=False, device="cpu")
    again = resumable(tmp_path / "run", {"train": {"max_steps": 4}})
    train_recipe(again, tmp_path / "run", resume=True, progress=False, device="cpu")
    assert pretrained.load_card(tmp_path / "run")["trained"]["steps"] == 4


def test_the_owner_holds_the_folder_of_all_stages(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run").owned(), pytest.raises(UserError, match=r"process \d+ is training in"):
        train_three(tmp_path / "run")


@pytest.mark.parametrize(
    ("trained", "message"),
    [(3, "trained is 3; it must be an object"), ({}, "trained.steps is None; it must be a number"),
     ({"steps": "many"}, "trained.steps is many; it must be a number")],
)  # fmt: skip
def test_a_strangers_card_in_a_stage(trained: Any, message: str, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "stages" / "1-draw" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "trained": trained}))
    with pytest.raises(UserError, match=message):
        train_three(tmp_path / "run", resume=True)


def test_stages_of_other_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mixture prior is begun from clusters of what the stage before encodes; a canvas begins at the mean pixel."""
    monkeypatch.setattr("syncdraw.extensions.clustering.FIT_STEPS", 3)
    monkeypatch.setattr("syncdraw.extensions.clustering.CLIPS", 20)
    network = dataclasses.replace(MODEL, canvas="learned", prior=PriorConfig("network"))
    mixture = dataclasses.replace(network, prior=PriorConfig("network", components=2))
    recipe = Recipe("clusters", (
        Stage("draw", changed(RUN, {"model": network, "train.max_steps": 2})),
        Stage("sharpen", changed(RUN, {"model": mixture, "train.max_steps": 2, "train.start.cluster_from": 1})),
    ))  # fmt: skip
    train_three(tmp_path / "run", recipe=recipe)
    assert pretrained.load(tmp_path / "run").config.prior.components == 2
