"""The diffusion model that benchmarks/diffusion.py sets beside ours."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.evaluation.models import drawn

if importlib.util.find_spec("diffusers") is None:
    pytest.skip("diffusers is not installed: pip install '.[benchmarks]'", allow_module_level=True)

BOUNCING = BouncingMNISTConfig(clips=0, combinations="seen", extra_motions=0.6)
TEXTS = ["digit 3 is moving left and right", "digit 3"]


@pytest.fixture(scope="module")
def diffusion() -> ModuleType:
    """Importing it takes seconds, in every process that collects tests."""
    import diffusion

    return diffusion


@pytest.fixture(scope="module")
def tiny(diffusion: ModuleType) -> Any:
    return diffusion.Settings(fold=8, channels=(8, 16), head=8, words=8, batch_size=2)


@pytest.fixture
def model(diffusion: ModuleType, tiny: Any) -> Any:
    return diffusion.Training(tiny, BOUNCING).model


def test_a_run_goes_on_exactly(diffusion: ModuleType, tiny: Any, tmp_path: Path) -> None:
    straight = diffusion.Training(tiny, BOUNCING)
    losses = [straight.step() for _ in range(4)]
    begun = diffusion.Training(tiny, BOUNCING)
    assert [begun.step(), begun.step()] == losses[:2]
    begun.save(tmp_path / "run.pt")
    torch.rand(3)  # what else draws numbers does not matter
    resumed = diffusion.Training.load(tmp_path / "run.pt")
    assert [resumed.step(), resumed.step()] == losses[2:]
    for name, value in straight.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name


def test_folding_keeps_every_pixel_in_its_place(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = type("Answer", (), {})()

    def unet(folded: torch.Tensor, levels: torch.Tensor, told: torch.Tensor) -> object:
        assert folded.shape == (2, 64, 10, 8, 8)
        answer.sample = folded
        return answer

    monkeypatch.setattr(model.unet, "forward", unet)
    clips = torch.rand(2, *model.shape)
    assert torch.equal(model(clips, torch.zeros(2), model.encode(TEXTS)), clips)


def test_what_knows_the_clip_draws_it(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule, the prediction and the range of pixels belong together."""
    clips = torch.rand(2, *model.shape)
    monkeypatch.setattr(model, "forward", lambda noisy, levels, words: 2 * clips - 1)
    assert torch.allclose(model.generate(TEXTS), clips, atol=1e-3)
    assert model.loss(2 * clips - 1, model.encode(TEXTS)) == 0


def test_clips_follow_their_seed_captions_and_guidance(
    diffusion: ModuleType, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "SAMPLING_STEPS", 3)
    clips = model.generate(TEXTS, seed=3)
    assert clips.shape == (2, *model.shape)
    assert clips.min() >= 0
    assert clips.max() <= 1
    assert torch.equal(clips, model.generate(TEXTS, seed=3))
    assert torch.allclose(clips[1:], drawn(model, TEXTS, 3, slice(1, 2)), atol=1e-5)
    assert not torch.allclose(clips, model.generate(2, seed=3))  # from no caption
    model.guidance = 2.0
    assert not torch.allclose(clips, model.generate(TEXTS, seed=3))


def test_the_commands(
    diffusion: ModuleType,
    tiny: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(diffusion, "Settings", lambda **other: dataclasses.replace(tiny, **other))
    monkeypatch.setattr(diffusion, "SAMPLING_STEPS", 2)
    run, numbers, picture = tmp_path / "run", tmp_path / "numbers.json", tmp_path / "picture.webp"
    with pytest.raises(SystemExit, match=r"run.*diffusion\.pt does not exist"):
        diffusion.main(["compare", str(run), "mnist1-captions"])
    train = ["train", str(run), "--minutes", "0.001"]
    diffusion.main(train)
    assert f"wrote {run / 'diffusion.pt'}: " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="exists: go on with --resume"):
        diffusion.main(train)
    steps = diffusion.Training.load(run / "diffusion.pt").steps
    diffusion.main([*train, "--resume"])  # its minutes are over
    assert diffusion.Training.load(run / "diffusion.pt").steps == steps >= 1
    words = ["--samples", "6", "--guidance", "2", "--json", str(numbers), "--picture", str(picture)]
    diffusion.main(["compare", str(run), "mnist1-captions", *words])
    values = json.loads(numbers.read_text())
    assert picture.stat().st_size > 1000
    for name in ("Sync-DRAW", "diffusion", "diffusion, guidance 2"):
        assert values["comparison"][name]["parameters"] > 1000
        assert "samples, unseen captions" in values["captions"][name]
        assert 0 <= values["neighbourhoods"][name]["recall"] <= 1
    assert values["comparison"]["Sync-DRAW"]["caption match"] > values["comparison"]["diffusion"]["caption match"]
    (run / "diffusion.pt").write_bytes(b"no run")
    with pytest.raises(SystemExit, match="cannot be read as a run"):
        diffusion.main(["compare", str(run), "mnist1-captions"])
