"""The five examples of docs/extending.md run as they are printed there, and do what they say."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from syncdraw.model import Noise

ROOT = Path(__file__).parents[1]
EXAMPLES = {path.stem: path for path in sorted((ROOT / "docs" / "examples").glob("*.py"))}


def run(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    return runpy.run_path(str(EXAMPLES[name]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_shown(name: str) -> None:
    shown = f"docs/examples/{name}.py"
    assert f'--8<-- "{shown}"' in (ROOT / "docs" / "extending.md").read_text()
    assert f"({shown})" in (ROOT / "CONTRIBUTING.md").read_text()


def test_attention() -> None:
    names = run("attention")
    writing = names["model"].generator.write_parameters
    assert writing.weight.shape[0] == 7
    assert writing.weight.grad[5:].abs().max() > 0  # the two numbers that say how the window glides are learned
    with torch.no_grad():
        writing.bias[5:] = torch.tensor([0.5, -0.25])
    centres = names["model"](torch.rand(2, 6, 1, 16, 16)).steps[-1].write_window.row_centre
    moves = centres.diff(dim=1)
    assert moves.abs().min() > 0.1
    torch.testing.assert_close(moves, moves[:, :1].expand_as(moves))


def test_conditioner() -> None:
    names = run("conditioner")
    assert names["model"].conditioner.vectors.weight.grad[[0, 2]].abs().amin(dim=1).gt(0).all()
    assert not names["model"].conditioner.vectors.weight.grad[1].any()  # nothing of the batch was running
    noise = Noise(*(part.expand(3, -1, -1) for part in names["model"].noise(1, seed=0)))
    videos = names["model"](None, ["running", "waving", "running"], noise=noise).videos
    assert torch.equal(videos[0], videos[2])
    assert not torch.equal(videos[0], videos[1])


def test_likelihood() -> None:
    """What it adds to the papers' cost is the density's logarithm of its normalising constant."""
    names = run("likelihood")
    model, standard = names["model"], names["build"](names["config"])
    standard.load_state_dict(model.state_dict())
    assert model.generator.content.weight.grad.abs().max() > 0
    noise, videos = model.noise(2, seed=1), torch.rand(2, 6, 1, 16, 16)
    ours, theirs = model(videos, noise=noise), standard(videos, noise=noise)
    p = ours.videos.double()
    constant = torch.log(2 * torch.atanh(1 - 2 * p) / (1 - 2 * p)).flatten(1).sum(dim=1)
    torch.testing.assert_close(
        ours.reconstruction.double(), theirs.reconstruction.double() - constant, rtol=1e-3, atol=0.1
    )


def test_prior() -> None:
    names = run("prior")
    model, standard = names["model"], names["build"](names["config"])
    prior = model.generator.prior
    assert prior.mean.grad.abs().min() > 0
    assert prior.log_deviation.grad.abs().min() > 0
    # It begins at N(0, I), the prior of the model whose other weights these are.
    standard.load_state_dict({key: value for key, value in model.state_dict().items() if "prior" not in key})
    noise, videos = model.noise(2, seed=1), torch.rand(2, 6, 1, 16, 16)
    divergence = standard(videos, noise=noise).divergence
    torch.testing.assert_close(model(videos, noise=noise).divergence, divergence)
    with torch.no_grad():
        prior.mean += 1
    assert (model(videos, noise=noise).divergence - divergence).abs().min() > 0.1


def test_data_set() -> None:
    names = run("data_set")
    clips = names["squares"].take(torch.tensor([3, 5]).numpy())
    assert clips.captions == ["a square slides along row 3", "a square slides along row 5"]
    assert clips.videos[0, 2, 0, 3:7, 4:8].min() == 255
    assert clips.videos.sum() == 2 * 6 * 16 * 255
    assert len(names["squares"].wordings()) == 12
    assert names["losses"][-1] < 0.8 * names["losses"][0]
