"""syncdraw reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from syncdraw.cli.options import Computer, Count, Out, start_torch

app = App(name="reproduce", help="Train and measure a table of the papers again.")


@app.command
def table1(
    *, out: Out = Path("runs/table1"), budget: Count | Literal["smoke", "full"] = "smoke",
    batch_size: Count | None = None, test_clips: Count | None = None, seeds: Count = 1, paper_start: bool = False,
    device: Computer = "auto",
) -> None:  # fmt: skip
    """Train and measure the cells of v2's Table 1, and write them beside the paper's figures.

    Stop it with Ctrl-C at any time; the same command goes on, and with a larger budget it trains the cells further.

    Args:
        out: the folder of the runs, of table1.md and of table1.json.
        budget: training clips for each cell: a number, or smoke (2,000; ten minutes or so on two cores), or full
            (5,000,000, as in the authors' script; for a GPU).
        batch_size: clips a step; 100 with full, else 20, which learns faster by the clip.
        test_clips: measured in each cell; 200 with smoke, 10,000 with full, else 1,000.
        seeds: runs of each cell. The table shows their mean and standard deviation.
        paper_start: begin with the papers' black-and-white canvas of zero and filters of 1 pixel, not with a learned
            canvas and smooth filters, which learn many times faster.
    """
    chosen = start_torch(device)
    from syncdraw import reproduce

    reproduce.table1(out, budget=budget, batch_size=batch_size, test_clips=test_clips, seeds=seeds,
                     paper_start=paper_start, device=chosen)  # fmt: skip
