"""Shapes are checked while tests run: every call into the model's modules is held to its jaxtyping annotations."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

import shape_checks

# Before any test imports the package. Tiny models are fastest on one thread, and the same everywhere.
CHECKED = (
    "attention", "captions", "config", "encoders", "extensions", "gaussian", "likelihoods", "model", "priors", "vgan",
)  # fmt: skip
shape_checks.install(f"syncdraw.{name}" for name in CHECKED)
torch.set_num_threads(1)
# An example may take as long as it takes: how fast the machine is says nothing of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# A suite that was started in the background ignores Ctrl-C, as a run there does; tests of it need the usual handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import training_runs  # noqa: E402


@pytest.fixture(autouse=True)
def numbers_as_they_are() -> Iterator[None]:
    """The command line flushes denormal numbers for its whole process, which here is that of all tests."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `training_runs.quick` says; for modules of tests that train, by `pytestmark`."""
    training_runs.quick(monkeypatch)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run of `training_runs.RUN`. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        training_runs.quick(patch)
        return training_runs.go(training_runs.RUN, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    return shutil.copytree(whole, tmp_path / "copy")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no browser is installed: apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=arguments)
        yield running
        running.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """A browser whose windows are closed after the test, so that their clips do not go on playing."""
    yield chromium
    for context in chromium.contexts:
        context.close()
