"""The notebook runs in a Jupyter kernel of its own, and shows what is in its file."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
BYTES = 400_000
AGAIN = "run it again: jupyter execute --inplace docs/notebook.ipynb"


def pixels(shown: Any) -> np.ndarray:
    """A picture of a cell, or the first frame of its clip, as numbers."""
    (kind,) = [kind for kind in shown if kind.startswith("image/")]
    return np.array(Image.open(io.BytesIO(base64.b64decode(shown[kind]))).convert("RGB"), dtype=float)


def shown_by(cell: Any) -> list[Any]:
    """What a cell gives; not what it says meanwhile, such as a progress bar."""
    return [output.data for output in cell.outputs if output.output_type != "stream"]


@pytest.fixture(scope="module")
def cells() -> list[tuple[Any, Any]]:
    """Each cell of code as it is in the file, and as it is when it has run."""
    kept = nbformat.read(NOTEBOOK, as_version=4)
    run = nbformat.read(NOTEBOOK, as_version=4)
    for cell in run.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(run, timeout=200, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    return [pair for pair in zip(kept.cells, run.cells, strict=True) if pair[0].cell_type == "code"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the client's own packages
def test_it_shows_what_is_in_its_file(cells: list[tuple[Any, Any]]) -> None:
    pictures = 0
    for kept, run in cells:
        before, after = shown_by(kept), shown_by(run)
        assert [sorted(one) for one in before] == [sorted(one) for one in after], AGAIN
        for old, new in zip(before, after, strict=True):
            assert old.get("text/markdown") == new.get("text/markdown"), AGAIN
            if any(kind.startswith("image/") for kind in old):
                old_pixels, new_pixels = pixels(old), pixels(new)
                assert old_pixels.shape == new_pixels.shape, AGAIN
                assert np.abs(old_pixels - new_pixels).mean() < 3, AGAIN  # of 255; other processors round otherwise
                assert new_pixels.std() > 5  # something is to be seen
                pictures += 1
    assert pictures == 10


def test_it_is_small_and_speaks_of_no_machine() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < BYTES
    assert "/home/" not in text
    assert "/tmp/" not in text
    assert '"output_type": "stream"' not in text


def test_it_is_linked() -> None:
    for page in ("README.md", "docs/index.md", "docs/papers.md"):
        assert "notebook.ipynb" in (NOTEBOOK.parents[1] / page).read_text()
