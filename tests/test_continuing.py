"""Videos that go on after their last frame: windows that overlap, with Q refined on what is known."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

import syncdraw
from making_models import randomised
from syncdraw import SyncDraw, SyncDrawConfig, UserError, pretrained
from syncdraw.captions import Caption, Condition
from syncdraw.cli import main
from syncdraw.config import CaptionConfig, FirstLookConfig, PriorConfig
from syncdraw.drawing import drawn
from syncdraw.extensions import continuing
from syncdraw.extensions.categories import Categories
from syncdraw.extensions.continuing import CANDIDATES, follow, prolong
from syncdraw.extensions.refinement import generators_of_videos

TINY = SyncDrawConfig(frames=4, height=16, width=16, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
WORDS = CaptionConfig("alignment", 8, vocabulary=("digit", "one", "two"))
KINDS = {
    "plain": TINY,
    "binary": dataclasses.replace(TINY, protocol="binary"),
    "captions": dataclasses.replace(TINY, captions=WORDS, prior=PriorConfig("network", components=2)),
    "layers": dataclasses.replace(TINY, layers=2),
    "categories": dataclasses.replace(TINY, prior=PriorConfig("network", categories=3)),
    "categories in layers": dataclasses.replace(TINY, layers=2, prior=PriorConfig("network", categories=3)),
    "a first look": dataclasses.replace(TINY, layers=2, first_look=FirstLookConfig(2), captions=WORDS),
    "colour": dataclasses.replace(TINY, channels=3),
}


def begun(model: SyncDraw, count: int = 2, frames: int = 4) -> tuple[Tensor, Tensor | None]:
    videos = torch.rand(count, frames, *model.shape[1:], generator=torch.Generator().manual_seed(1))
    captions = [" and ".join([text] * model.config.layers) for text in ("digit one", "digit two")[:count]]
    return videos, model.tokenise(captions if model.captioned else None, count)


@pytest.mark.parametrize(("kind", "overlap"), [(kind, None) for kind in KINDS] + [("plain", 1), ("plain", 3)])
def test_what_is_there_stays_and_a_video_does_not_depend_on_its_neighbours(
    kind: str, overlap: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuing, "STEPS", 3)
    monkeypatch.setattr(continuing, "GUESSES", 2)
    model = randomised(KINDS[kind], 0.4)
    videos, tokens = begun(model)
    whole = prolong(model, videos, tokens, frames=7, overlap=overlap, generators=generators_of_videos(0, 0, 2))
    assert whole.shape == (2, 7, *model.shape[1:])
    assert 0 <= whole.min() < whole.max() <= 1
    assert torch.equal(whole[:, :4], videos)
    second = prolong(
        model, videos[1:], None if tokens is None else tokens[1:], frames=7, overlap=overlap,
        generators=generators_of_videos(0, 1, 1),
    )  # fmt: skip
    torch.testing.assert_close(second[0], whole[1], atol=1e-3, rtol=1e-3)
    other = prolong(model, videos, tokens, frames=7, overlap=overlap, generators=generators_of_videos(1, 0, 2))
    assert not torch.equal(other[:, 4:], whole[:, 4:])


def test_the_known_frames_are_drawn_as_they_are() -> None:
    """Nearer with every gradient step; and of several windows, the one with the lowest cost is kept."""
    model = randomised(KINDS["plain"], 0.4)
    with torch.no_grad():
        drawn = model(None, noise=model.noise(3, seed=8)).videos  # something that the model can draw
    known = drawn[:, :3]

    def distance(steps: int, candidates: int) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(continuing, "STEPS", steps)
            patch.setattr(continuing, "CANDIDATES", candidates)
            found = follow(model, known, None, generators_of_videos(0, 0, 3))[:, :3]
        return functional.binary_cross_entropy(found, known, reduction="none").flatten(1).sum(1)

    assert distance(60, 1).mean() < distance(1, 1).mean() - 0.1
    assert distance(5, 8).mean() < distance(5, 1).mean()


@pytest.mark.parametrize(("kind", "frames"), [("categories", 4), ("categories", 2), ("categories in layers", 4)])
def test_categories_stay_those_of_the_first_window(kind: str, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are recognised once, in each layer, and all further windows are told."""
    model = randomised(KINDS[kind], 0.4)
    videos, _ = begun(model, frames=frames)
    found = [torch.tensor([2, 0]), torch.tensor([1, 1])][: model.config.layers]
    vectors = [model.conditioner.vectors(category) for category in found]  # type: ignore[attr-defined]
    told: list[Tensor] = []
    categories = iter(found)
    original = Categories.attend

    def attend(self: Categories, condition: Condition, h_dec: Tensor) -> Caption:
        told.append(condition.states[:, 0])
        return original(self, condition, h_dec)

    monkeypatch.setattr(continuing, "STEPS", 1)
    monkeypatch.setattr(Categories, "recognise", lambda self, videos: next(categories))
    monkeypatch.setattr(Categories, "attend", attend)
    whole = prolong(model, videos, None, frames=9, generators=generators_of_videos(0, 0, 2))
    assert whole.shape[1] == 9
    expected = [vector.repeat_interleave(CANDIDATES, dim=0) for vector in vectors]
    later = [states for states in told if len(states) == 2 * CANDIDATES]
    assert len(later) > 9 * len(vectors)
    assert all(any(torch.equal(states, vector) for vector in expected) for states in later)
    assert all(any(torch.equal(states, vector) for states in later) for vector in expected)


def test_the_model_is_left_as_it_is() -> None:
    model = randomised(KINDS["plain"], 0.4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    videos, _ = begun(model)
    syncdraw.prolong(model, videos, frames=6)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_go_on_is_said() -> None:
    model = randomised(KINDS["captions"])
    videos, _ = begun(model)
    with pytest.raises(UserError, match="together with its caption"):
        syncdraw.prolong(model, videos, frames=6)
    with pytest.raises(UserError, match="overlap is 4; windows of 4 frames share 1 to 3"):
        syncdraw.prolong(model, videos, ["digit one", "digit two"], frames=6, overlap=4)
    with pytest.raises(UserError, match="there are 1 frames to begin with; 2 or more are needed"):
        syncdraw.prolong(model, videos[:, :1], ["digit one", "digit two"], frames=6)


def test_generate_draws_longer_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrained.save(randomised(KINDS["plain"], 0.4), tmp_path / "model")
    command = ["generate", "--model", str(tmp_path / "model"), "--num", "2", "--seed", "3"]
    main([*command, "--frames", "9", "-o", str(tmp_path / "long.gif")])
    main([*command, "-o", str(tmp_path / "short.gif")])
    long, short = (syncdraw.read_video(tmp_path / name)[0] for name in ("long.gif", "short.gif"))
    assert (len(long), len(short)) == (9, 4)
    assert torch.equal(long[:4], short)
    capsys.readouterr()
    for options, message in (
        (["--frames", "3"], "--frames is 3; this model draws 4 frames, and more are possible"),
        (["--frames", "9", "--steps"], "--frames is for videos of Sync-DRAW as they are when they are finished"),
    ):
        with pytest.raises(SystemExit):
            main([*command, *options, "-o", str(tmp_path / "no.gif")])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "no.gif").exists()


def test_a_videos_number_does_not_hang_on_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is silent where the user wants none."""
    model = randomised(KINDS["plain"], 0.4)
    monkeypatch.setattr(continuing, "STEPS", 1)
    monkeypatch.setattr("syncdraw.drawing._VALUES_AT_ONCE", 1)  # one at a time
    shown = list(drawn(model, None, 2, seed=0, temperature=1.0, frames=6))
    monkeypatch.setattr("syncdraw.drawing.tqdm", partial(tqdm, disable=True))
    silent = list(drawn(model, None, 2, seed=0, temperature=1.0, frames=6))
    assert all(map(torch.equal, shown, silent))
