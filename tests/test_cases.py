"""The cases of cases.py, each a test: inputs of every kind at which users stumbled."""

from __future__ import annotations

from pathlib import Path

import pytest

import cases
from training_runs import quick


@pytest.mark.parametrize("one", cases.CASES, ids=lambda one: f"{one.item} {one.name}")
def test_what_users_hit(one: cases.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    assert one.try_it(tmp_path)
