"""A drawing step takes and gives tensors alone, so that the compiler takes it whole."""

import json

import compile_steps
import forking

KINDS = ["plain", "mixture", "alignment", "categories"]


def test_a_whole_step_compiles_to_what_it_is() -> None:
    """With AOT autograd, of the first kind also the gradients. `inductor` in place of `aot_eager` takes 30 to 50 s."""
    run = forking.run(compile_steps.main, ["aot_eager", *KINDS])
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout)
    assert list(found["apart"]) == KINDS
    assert max(found["apart"].values()) < 1e-5
    assert found["graphs"] == len(KINDS)
