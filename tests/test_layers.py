"""Imports point one way: from the command line down to the data, never back. What is heavy is imported when used."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import syncdraw
from syncdraw import SyncDrawConfig
from syncdraw.building import build
from syncdraw.config import CaptionConfig

SOURCE = Path(syncdraw.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def names_in(module: str, tree: ast.AST) -> Iterator[str]:
    """The full names of what the statements anywhere in a module import, inside functions, too.

    What stands under `if TYPE_CHECKING` is never imported: it names types.
    """
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def imported(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for name in names_in(module, ast.parse(MODULES[module].read_text())):
        # `from syncdraw.model import SyncDraw` names something in syncdraw.model.
        candidates = [name, name.rpartition(".")[0]]
        found |= {next((c for c in candidates if c in MODULES), "")} - {""}
    return found


LAYERS: dict[str, tuple[str, ...]] = {
    "ground": (
        "containers",
        "devices",
        "errors",
        "files",
        "fitting",
        "gaussian",
        "legacy",
        "native",
        "options",
        "reading",
        "video",
        "vocabulary",
        "words",
    ),
    "data and pictures": ("datasets", "media", "plots"),
    "model": ("attention", "captions", "config", "encoders", "interface", "likelihoods", "model", "priors", "vgan"),
    "extensions": ("extensions",),
    "building": ("building",),
    "storing": ("cards", "pretrained"),
    "evaluation": ("evaluation",),
    "training": ("training",),
    "package": ("",),
    "reports": ("apps", "drawing", "exporting", "exploring", "figures", "hub", "reproduce", "wordings"),
    "command line": ("cli", "__main__"),
}
"""From the bottom up: modules and packages by their names in `syncdraw`. Each imports from its own layer and from those
above it in this list, never from those below."""


def within(module: str, *names: str) -> bool:
    """Whether a module is one of these, or in one of these packages."""
    parts = module.split(".")
    return (parts[1] if len(parts) > 1 else "") in names


def members(layer: str) -> set[str]:
    return {module for module in MODULES if within(module, *LAYERS[layer])}


def assert_none(modules: set[str], forbidden: set[str]) -> None:
    wrong = {f"{module} imports {name}" for module in modules for name in imported(module) & forbidden}
    assert not wrong


def test_the_parser_sees_what_is_there() -> None:
    """These imports exist, so that the tests below are about something."""
    assert "syncdraw.model" in imported("syncdraw.training.run")
    assert "syncdraw.pretrained" in imported("syncdraw.training.run")  # from syncdraw import pretrained
    assert "syncdraw.errors" in imported("syncdraw.cli")
    assert "syncdraw.evaluation.bound_report" in imported("syncdraw.cli.evaluate")  # inside a function
    assert "syncdraw.model" not in imported("syncdraw.wordings")  # for type checkers alone
    assert "syncdraw.datasets.clips" in imported("syncdraw.datasets.bouncing_mnist")
    assert "syncdraw.datasets" in imported("syncdraw.training.settings")


def test_every_module_has_its_place() -> None:
    """A new module must be put into one of the layers, and one that is gone be taken out."""
    named = [name for names in LAYERS.values() for name in names]
    assert len(named) == len(set(named))
    there = {module.split(".")[1] if "." in module else "" for module in MODULES}
    assert set(named) == there


def test_imports_point_one_way() -> None:
    below: set[str] = set(MODULES)
    for layer in reversed(LAYERS):
        below -= members(layer)
        assert_none(below, members(layer))


def test_the_model_knows_nothing_of_data_and_pictures() -> None:
    """Nor do the extensions, but for what clusters clips."""
    data = members("data and pictures")
    assert_none(members("model") | members("building"), data)
    assert_none(members("extensions") - {"syncdraw.extensions.clustering"}, data)


def test_the_model_does_not_speak_of_its_extensions() -> None:
    """They enter through its parts; model.py has none of their words, in its comments either."""
    text = MODULES["syncdraw.model"].read_text().lower()
    words = ("mixture", "categor", "layer", "refine", "cluster")
    assert [word for word in words if word in text] == []
    assert all(any(word in path.read_text() for path in SOURCE.glob("extensions/*.py")) for word in words)


def test_data_know_nothing_of_pictures() -> None:
    datasets = {module for module in MODULES if within(module, "datasets")}
    assert_none(datasets, {"syncdraw.plots", "syncdraw.media"})


def test_the_judge_knows_nothing_of_models() -> None:
    models = members("model") | members("extensions") | members("building") | members("storing")
    assert_none({"syncdraw.evaluation.judge"}, models)


def test_the_training_loop_knows_no_model_but_by_its_functions() -> None:
    """evaluation/models.py says which functions; it knows no model either."""
    models = (members("model") | members("extensions") | members("building")) - {"syncdraw.config"}
    contract = {"syncdraw.evaluation.models"} & MODULES.keys()
    assert_none({"syncdraw.training.loop", *contract}, models | (members("evaluation") - contract))


def test_nothing_imports_the_command_line() -> None:
    command_line = {module for module in MODULES if within(module, "cli")}
    assert [m for m in MODULES if imported(m) & command_line and m not in command_line] == ["syncdraw.__main__"]


def test_no_module_imports_itself_in_a_circle() -> None:
    done: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for name in sorted(imported(module)):
                visit(name, (*path, module))
            done.append(module)

    for module in MODULES:
        visit(module, ())


# --- What importing costs --------------------------------------------------------------------------------------------

HEAVY = ("accelerate", "matplotlib", "tensorboard", "sentence_transformers", "transformers", "huggingface_hub",
         "cyclopts")  # fmt: skip


def test_importing_and_generating_load_nothing_heavy(tmp_path: Path) -> None:
    """A fresh interpreter does one thing after another, and says what it has loaded after each: for generating,
    cyclopts, which reads the command line, and nothing of training or of the hub. Training is imported when it is asked
    for.
    """
    draw = "from syncdraw.cli import main\nmain(['generate', *{words}, '--model', '{name}', '-o', '{name}.gif'])"
    words = CaptionConfig("alignment", 4, ("digit", "one"))
    for name, captions in (("plain", CaptionConfig()), ("captions", words)):
        config = SyncDrawConfig(
            frames=2, height=8, width=8, draw_steps=1, grid_size=2, hidden_size=4, latent_size=2, captions=captions
        )
        syncdraw.save(build(config), tmp_path / name)
    does: dict[str, list[str]] = {
        "import syncdraw": [],
        "import syncdraw.plots": [],
        draw.format(words=[], name="plain"): ["cyclopts"],
        draw.format(words=["digit one"], name="captions"): ["cyclopts"],
    }
    says = f"\nprint('loaded:', [m for m in {HEAVY!r} if m in sys.modules])\n"
    trains = (
        "assert 'syncdraw.training' not in sys.modules; assert callable(syncdraw.train)\n"
        "assert 'syncdraw.training' in sys.modules and 'train' in syncdraw.__all__"
    )
    run = subprocess.run(
        [sys.executable, "-c", "import sys\n" + "".join(statements + says for statements in does) + trains],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = [ast.literal_eval(line) for line in re.findall(r"^loaded: (.*)$", run.stdout, re.MULTILINE)]
    assert dict(zip(does, loaded, strict=True)) == does
    assert all((tmp_path / f"{name}.gif").stat().st_size > 0 for name in ("plain", "captions"))
