"""Where the time of one `syncdraw generate` goes: python benchmarks/startup.py [--model mnist1] [--num 16]

Each line is the median of several fresh processes; every line contains those above it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(command: list[str], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mnist1")
    parser.add_argument("--num", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    python = [sys.executable, "-c"]
    load = f"import syncdraw; model = syncdraw.load({arguments.model!r})"
    with tempfile.TemporaryDirectory() as folder:
        generate = ["-m", "syncdraw", "generate", "--model", arguments.model, "--num", str(arguments.num)]
        rows = {
            "python": [*python, "pass"],
            "import torch": [*python, "import torch"],
            "import syncdraw": [*python, "import syncdraw"],
            f"load {arguments.model}": [*python, load],
            f"draw {arguments.num} videos": [*python, f"{load}; model.generate({arguments.num})"],
            "syncdraw generate": [sys.executable, *generate, "-o", str(Path(folder) / "out.gif")],
        }
        for name, command in rows.items():
            print(f"{name:<20} {seconds(command, arguments.repeats):6.2f} s")


if __name__ == "__main__":
    main()
