"""The estimate of a run's memory is near to what was measured (docs/measured/scaling.json)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from syncdraw import SyncDrawConfig
from syncdraw.training.memory import resident, training_memory

SCALING = json.loads((Path(__file__).parents[1] / "docs" / "measured" / "scaling.json").read_text())
POINTS = [point for points in SCALING.values() for point in points]


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p['batch_size']} of {p['frames']} x {p['size']}")
def test_the_estimate_is_within_a_quarter(point: dict[str, float]) -> None:
    names = "frames", "draw_steps", "grid_size", "channels"
    size = int(point["size"])
    config = SyncDrawConfig(height=size, width=size, **{name: int(point[name]) for name in names})
    estimate = training_memory(config, int(point["batch_size"]))
    assert estimate / 1e9 == pytest.approx(point["gigabytes"], rel=0.25)
    assert estimate / 1e9 == pytest.approx(point["estimated_gigabytes"], abs=0.001)


def test_this_process_has_memory() -> None:
    if not Path("/proc/self/status").exists():
        assert resident() == 0
    else:
        assert 2e7 < resident() < 1e11
