"""A drawing step takes and gives tensors alone, so that the compiler takes it whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

KINDS = ["plain", "mixture", "alignment", "categories"]


def test_a_whole_step_compiles_to_what_it_is() -> None:
    """With AOT autograd, of the first kind also the gradients. `inductor` in place of `aot_eager` takes 30 to 50 s."""
    program = Path(__file__).with_name("compile_steps.py")
    run = subprocess.run(
        [sys.executable, str(program), "aot_eager", *KINDS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout)
    assert list(found["apart"]) == KINDS
    assert max(found["apart"].values()) < 1e-5
    assert found["graphs"] == len(KINDS)
