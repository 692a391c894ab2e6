"""How much memory training takes, from shapes, before it begins; and what to do where there is less."""

from __future__ import annotations

from syncdraw.config import SyncDrawConfig

TOO_LARGE = (
    "training does not fit in memory: lower train.batch_size, model.draw_steps or model.hidden_size, raise "
    "train.accumulate, or take smaller or fewer frames"
)
"""Said of training for which there is not enough."""


def training_memory(config: SyncDrawConfig, batch_size: int) -> float:
    """Bytes that a step of training takes on a CPU, for a batch, or as much of it as is computed at once, beyond what
    the process has without a model.

    Each drawing step keeps for the gradient its canvas, filters, what is read and written, and LSTM states.
    """
    frames, channels, height, width = config.shape
    pixels = frames * channels * height * width
    kept = 0
    for grid, glimpses in ((config.grid_size, 2), (config.write_grid_size, 1)):
        kept += frames * grid * (height + width) + glimpses * frames * channels * grid * (width + 2 * grid)
    kept += 24 * config.hidden_size
    if config.attention.content == "painted":  # what its convolutions take and give, which is not kept twice
        kept += 15 * frames * config.write_grid_size**2
    each = 12 * pixels + config.draw_steps * 2 * (pixels + kept)
    return 4.0 * (5 * config.parameters + batch_size * each) + 1.1e8


def resident() -> float:
    """Bytes that this process has now; 0 where that cannot be known."""
    from pathlib import Path

    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0.0)
