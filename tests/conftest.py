"""Shapes are checked while tests run: every call into the model's modules is held to its jaxtyping annotations."""

from collections.abc import Iterator

import pytest
import torch
from jaxtyping import install_import_hook

# Before any test imports the package. Tiny models are fastest on one thread, and the same everywhere.
CHECKED = ("attention", "captions", "config", "encoders", "extensions", "gaussian", "model", "priors", "vgan")
install_import_hook([f"syncdraw.{name}" for name in CHECKED], "beartype.beartype")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def numbers_as_they_are() -> Iterator[None]:
    """The command line flushes denormal numbers for its whole process, which here is that of all tests."""
    yield
    torch.set_flush_denormal(False)
