"""Shapes are checked while tests run: every call into the model's modules is held to its jaxtyping annotations."""

import gc
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKED = (
    "attention", "captions", "config", "encoders", "extensions", "gaussian", "likelihoods", "model", "priors", "vgan",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Before any test imports the package. Not in a process that only hands out tests: importing takes seconds, and
    the others wait for it."""
    if config.getoption("numprocesses", None):
        return
    gc.disable()  # until all is imported: a third of the time that collecting takes
    import torch
    from hypothesis import settings

    import shape_checks

    shape_checks.install(f"syncdraw.{name}" for name in CHECKED)
    # An example may take as long as it takes: how fast the machine is says nothing of what is tested.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    torch.set_num_threads(1)  # tiny models are fastest on one, and the same everywhere
    # A suite that was started in the background ignores Ctrl-C, as a run there does; tests of it need it as usual.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What has been imported stays, and is never searched for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def numbers_as_they_are() -> Iterator[None]:
    """The command line flushes denormal numbers for its whole process, which here is that of all tests."""
    yield
    import torch

    torch.set_flush_denormal(False)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `training_runs.quick` says; for modules of tests that train, by `pytestmark`."""
    import training_runs

    training_runs.quick(monkeypatch)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run of `training_runs.RUN`. Not to be changed."""
    import training_runs

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
