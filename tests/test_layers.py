"""Imports point one way: from the command line down to the data, never back. What is heavy is imported when used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import syncdraw
from syncdraw import SyncDraw, SyncDrawConfig

SOURCE = Path(syncdraw.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def names_in(module: str, tree: ast.AST) -> Iterator[str]:
    """The full names of what the statements anywhere in a module import, inside functions, too."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imported(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for name in names_in(module, ast.parse(MODULES[module].read_text())):
        # `from syncdraw.model import SyncDraw` names something in syncdraw.model.
        candidates = [name, name.rpartition(".")[0]]
        found |= {next((c for c in candidates if c in MODULES), "")} - {""}
    return found


IMPORTS = {module: imported(module) for module in MODULES}

BOTTOM = [m for m in MODULES if m.startswith("syncdraw.datasets")] + [
    f"syncdraw.{name}"
    for name in ("containers", "errors", "files", "fitting", "judge", "media", "plots", "video", "vocabulary")
]
MODEL = [f"syncdraw.{name}" for name in ("attention", "captions", "categories", "encoders", "model", "priors")]
TOP = [
    f"syncdraw.{name}"
    for name in (
        "pretrained",
        "refinement",
        "evaluate",
        "clustering",
        "distances",
        "figures",
        "gradients",
        "optimizers",
        "train",
        "reproduce",
        "cli",
        "__main__",
    )
]


def assert_none(modules: list[str], forbidden: list[str]) -> None:
    wrong = {f"{module} imports {name}" for module in modules for name in IMPORTS[module] & set(forbidden)}
    assert not wrong


def test_the_parser_sees_what_is_there() -> None:
    """These imports exist, so that the tests below are about something."""
    assert "syncdraw.model" in IMPORTS["syncdraw.train"]
    assert "syncdraw.evaluate" in IMPORTS["syncdraw.train"]  # from syncdraw import evaluate
    assert "syncdraw.train" in IMPORTS["syncdraw.cli"]  # inside a function
    assert "syncdraw.datasets.clips" in IMPORTS["syncdraw.datasets.bouncing_mnist"]
    assert "syncdraw.datasets" in IMPORTS["syncdraw.train"]
    assert {module for module in MODULES if module.count(".") == 1} >= {*MODEL, *TOP}


def test_every_module_has_its_place() -> None:
    """A new module must be put into one of the layers above."""
    known = {*BOTTOM, *MODEL, *TOP, "syncdraw"}
    assert {m for m in MODULES if not m.startswith("syncdraw.apps")} == known


def test_data_media_plots_and_judge_know_nothing_of_models() -> None:
    assert_none(BOTTOM, [*MODEL, *TOP, "syncdraw"])


def test_data_know_nothing_of_pictures_or_the_judge() -> None:
    datasets = [m for m in BOTTOM if m.startswith("syncdraw.datasets")]
    assert_none(datasets, [f"syncdraw.{name}" for name in ("judge", "plots", "media")])


def test_the_model_knows_nothing_of_its_training_or_its_files() -> None:
    assert_none(MODEL, [*TOP, *(f"syncdraw.{name}" for name in ("judge", "plots", "media")), "syncdraw"])
    assert not [name for module in MODEL for name in IMPORTS[module] if name.startswith("syncdraw.datasets")]


def test_loading_and_measuring_do_not_train() -> None:
    assert_none(["syncdraw.pretrained"], ["syncdraw.evaluate", "syncdraw.figures", "syncdraw.train", "syncdraw.cli"])
    assert_none(["syncdraw.refinement"], ["syncdraw.evaluate", "syncdraw.figures", "syncdraw.train", "syncdraw.cli"])
    assert_none(["syncdraw.evaluate"], ["syncdraw.figures", "syncdraw.train", "syncdraw.cli"])
    assert_none(["syncdraw.figures"], ["syncdraw.train", "syncdraw.cli"])
    assert_none(["syncdraw.train"], ["syncdraw.cli", "syncdraw.figures"])


def test_nothing_imports_the_command_line() -> None:
    assert [module for module in MODULES if "syncdraw.cli" in IMPORTS[module]] == ["syncdraw.__main__"]


def test_no_module_imports_itself_in_a_circle() -> None:
    done: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for name in sorted(IMPORTS[module]):
                visit(name, (*path, module))
            done.append(module)

    for module in MODULES:
        visit(module, ())


# --- What importing costs --------------------------------------------------------------------------------------------

HEAVY = ("accelerate", "matplotlib", "tensorboard", "sentence_transformers", "transformers", "huggingface_hub",
         "jsonargparse")  # fmt: skip


def heavy_after(statements: str, folder: Path) -> list[str]:
    """Which heavy modules a fresh interpreter has loaded after these statements."""
    program = f"import sys\n{statements}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    result = ast.literal_eval(run.stdout.splitlines()[-1])
    assert isinstance(result, list)
    return result


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    assert heavy_after("import syncdraw", tmp_path) == []


@pytest.mark.parametrize("kind", ["plain", "captions"])
def test_generating_loads_nothing_heavy(kind: str, tmp_path: Path) -> None:
    """jsonargparse reads the command line; nothing of training or of the hub is needed."""
    captions = (
        {"captions": "alignment", "caption_size": 4, "vocabulary": ("digit", "one")} if kind == "captions" else {}
    )
    config = SyncDrawConfig(frames=2, height=8, width=8, draw_steps=1, grid_size=2, hidden_size=4, latent_size=2)
    syncdraw.save(SyncDraw(SyncDrawConfig(**{**vars(config), **captions})), tmp_path / "tiny")
    words = ["digit one"] if captions else []
    arguments = ["generate", *words, "--model", "tiny", "-o", "a.gif"]
    statements = f"from syncdraw.cli import main\nmain({arguments!r})"
    assert heavy_after(statements, tmp_path) == ["jsonargparse"]
    assert (tmp_path / "a.gif").stat().st_size > 0
