"""Models do what they did when golden.json was recorded: a change of the code has changed no number.

On the machine that recorded them numbers agree to about 1e-6. Another processor adds in another order; 1e-4 of each
number leaves room for that, and a change that matters is larger.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

import golden

RECORDED: dict[str, dict[str, Any]] = json.loads(golden.FILE.read_text())
MODELS = golden.models()
AGAIN = f"if that was meant, record what it does with `{golden.COMMAND}`"


def test_every_model_is_recorded() -> None:
    assert RECORDED.keys() == MODELS.keys(), AGAIN
    assert set(golden.WITH_GRADIENTS) <= RECORDED.keys()


@pytest.mark.parametrize("name", RECORDED)
def test_a_model_does_what_it_did(name: str) -> None:
    recorded = dict(RECORDED[name])
    assert recorded.pop("sha256") == golden.checksum(MODELS[name]), f"the weights of {name} have changed; {AGAIN}"
    found = golden.measure(name, MODELS[name])
    assert found.keys() == recorded.keys()
    for clips in ("L_X", "L_Z"):
        assert found[clips] == pytest.approx(recorded[clips], rel=1e-4)
    for drawn, expected in zip(found["frame_sums"], recorded["frame_sums"], strict=True):
        assert drawn == pytest.approx(expected, rel=1e-4)
    if "gradients" in recorded:
        assert found["gradients"] == pytest.approx(recorded["gradients"], rel=1e-4)
