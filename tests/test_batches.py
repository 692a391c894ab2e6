"""The clips and the noise of a step are functions of the seed and the step, for any number of processes and threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from making_clips import textures, write_clip
from syncdraw.building import build
from syncdraw.datasets.bouncing_mnist import BouncingMNIST
from syncdraw.datasets.clips import shuffled
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.errors import UserError
from syncdraw.gaussian import normal_numbers
from syncdraw.model import Batch, Noise
from syncdraw.training.batches import Batches, mapped, mix, tensors_in
from syncdraw.training.processes import Processes
from training_runs import DATA, MODEL

CPU = torch.device("cpu")


def batches(batch_size: int = 6, seed: int = 0, processes: Processes | None = None, **options: Any) -> Batches:
    return Batches(build(MODEL), BouncingMNIST(DATA), batch_size, seed, processes or Processes(0, 1, CPU), **options)


def assert_equal(one: Any, other: Any) -> None:
    for a, b in zip(tensors_in(one), tensors_in(other), strict=True):
        assert torch.equal(a, b)


def test_clips_are_those_of_the_shuffled_stream() -> None:
    data = BouncingMNIST(DATA)
    for step in (0, 3, 7):
        expected = data.take(shuffled(20, 6 * step, 6, 0)).videos
        assert np.array_equal(batches().at(step).videos.numpy(), expected)


def test_a_step_is_a_function_of_seed_and_step_alone() -> None:
    one, other = batches(), batches()
    other.at(2)
    torch.manual_seed(5)
    assert_equal(one.at(7), other.at(7))
    assert not torch.equal(one.at(7).noise.latents, one.at(8).noise.latents)
    assert not torch.equal(one.at(7).noise.latents, batches(seed=1).at(7).noise.latents)
    assert not torch.equal(one.at(7).videos, batches(seed=1).at(7).videos)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(("first", "last"), [(0, 9), (5, 9), (8, 9), (9, 9)])
def test_batches_made_ahead_are_the_same_in_the_same_order(first: int, last: int, threads: int) -> None:
    made = batches()
    made.threads = threads
    found = list(made.ahead(first, last))
    assert [step for step, _ in found] == list(range(first, last))
    for step, batch in found:
        assert_equal(batch, batches().at(step))


def test_no_more_is_made_ahead_than_the_threads_need(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = Batches.at
    monkeypatch.setattr(Batches, "at", lambda self, step: made.append(step) or original(self, step))
    ahead = batches().ahead(0, 1000)
    next(ahead)
    next(ahead)
    ahead.close()
    assert len(made) <= 4


def test_an_error_of_a_thread_reaches_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Batches, step: int) -> Any:
        raise UserError(f"clip {step} is gone")

    monkeypatch.setattr(Batches, "at", fail)
    with pytest.raises(UserError, match="clip 3 is gone"):
        next(batches().ahead(3, 9))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_out_the_batch_and_its_noise(count: int) -> None:
    """One after the other, their shares are the batch that one process alone would see."""
    for step in (0, 4):
        shares = [batches(processes=Processes(rank, count, CPU)).at(step) for rank in range(count)]
        together = Batch(
            torch.cat([share.videos for share in shares]), None,
            Noise(*(torch.cat(parts) for parts in zip(*(share.noise for share in shares), strict=True))),
        )  # fmt: skip
        assert_equal(together, batches().at(step))


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.batch_size is 7; it must be a multiple of the 2 processes"):
        Processes(0, 2, CPU).share(7)
    with pytest.raises(UserError, match=r"multiple of the 2 processes times train\.accumulate, which is 3"):
        Processes(0, 2, CPU).share(10, accumulate=3)
    assert Processes(1, 2, CPU).share(12, accumulate=3) == slice(6, 12)


def test_captions_of_a_folder_are_chosen_by_seed_and_step(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "one.gif", textures(6))
    (tmp_path / "clips" / "one.txt").write_text("a square\na pattern\nsome squares\n")
    prepare(
        list_folder(tmp_path / "clips"), tmp_path / "data", ClipConfig(frames=3, height=32, width=32), progress=False
    )

    class Noting:
        def prepare(self, videos: Any, captions: Any, *_: Any) -> Any:
            return captions

    data = PreparedClips(tmp_path / "data", "train")
    found = [
        [Batches(Noting(), data, 1, seed, Processes(0, 1, CPU)).at(step)[0] for step in range(20)] for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]
    assert set(found[0]) == {"a square", "a pattern", "some squares"}


def test_a_batch_of_any_shape_is_mapped() -> None:
    batch = Batch(torch.zeros(2), None, Noise(torch.ones(1), torch.ones(2), torch.ones(3)))
    doubled = mapped(batch, lambda tensor: 2 * tensor)
    assert type(doubled) is Batch
    assert type(doubled.noise) is Noise
    assert doubled.tokens is None
    assert [tensor.tolist() for tensor in tensors_in(doubled)] == [[0, 0], [2], [2, 2], [2, 2, 2]]
    assert mapped((torch.ones(1),), lambda tensor: tensor + 1) == (torch.tensor([2.0]),)


def test_mixed_seeds_differ() -> None:
    assert len({mix(seed, step) for seed in range(20) for step in range(20)}) == 400
    assert mix(1, 23) != mix(12, 3)


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 40), (3, 13), (3, 14), (16, 16), (31, 2), (39, 1)])
def test_noise_of_a_place_does_not_depend_on_which_others_are_asked_for(first: int, count: int) -> None:
    whole = normal_numbers(5, 0, 40, (2, 3))
    assert torch.equal(normal_numbers(5, first, count, (2, 3)), whole[first : first + count])
    assert len({*whole.flatten().tolist()}) == whole.numel()
    assert not torch.isin(whole, normal_numbers(6, 0, 40, (2, 3))).any()
    many = normal_numbers(0, 0, 2000, (10,))
    assert abs(many.mean()) < 0.03
    assert abs(many.std() - 1) < 0.02
