"""A data set, an attention, a prior and a conditioner of one's own go through training, saving and loading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as TorchDataset

import syncdraw
from syncdraw import UserError, pretrained
from syncdraw.attention import FrameAttention
from syncdraw.building import build
from syncdraw.captions import Caption, Condition
from syncdraw.config import SyncDrawConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.from_torch import AsTorch, TorchClips, as_clips
from syncdraw.gaussian import Gaussian
from syncdraw.model import SyncDraw
from syncdraw.priors import Single, StandardPrior
from training_runs import ALIGNED, DATA, MODEL, RUN, assert_same, broken_off, changed, go, metrics, state

pytestmark = pytest.mark.usefixtures("quickly")


class Squares(TorchDataset[Any]):
    """Bright squares in rows of their own, as torch's data sets have them."""

    def __init__(self, kind: type = torch.Tensor, captions: bool = True) -> None:
        self.kind, self.captions = kind, captions

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < 12:
            raise IndexError(index)
        video = torch.zeros(3, 1, 32, 32)
        video[:, :, index : index + 4, 4:8] = 1
        made = video if self.kind is torch.Tensor else (255 * video).byte().numpy()
        return (made, f"square in row {index}") if self.captions else made


class Stream(IterableDataset[Any]):
    """Has no length."""

    def __iter__(self) -> Any:
        return iter([])


# --- Data sets -------------------------------------------------------------------------------------------------------


def test_syncdraw_train_is_there() -> None:
    assert syncdraw.train is syncdraw.training.train
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        syncdraw.trian  # noqa: B018


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_torch_data_set_is_trained_on(wrapped: bool, tmp_path: Path) -> None:
    """Or a DataLoader over it. Broken off and resumed, the run is the same; its card says whose data they were."""
    data: Any = DataLoader(Squares(), batch_size=4, shuffle=True) if wrapped else Squares()
    config = changed(RUN, {"model": ALIGNED, "train.max_steps": 5})
    out = syncdraw.train(config, tmp_path / "run", dataset=data, validation=Squares(), progress=False, device="cpu")
    model = syncdraw.load(out)
    assert model.config.shape == (3, 1, 32, 32)
    assert "square" in model.config.captions.vocabulary
    assert model.generate("square in row 3").shape == (1, 3, 1, 32, 32)
    assert pretrained.load_card(out)["data"] == "a data set of your own"
    assert "validation_negative_elbo" in metrics(out)[-1]
    broken = broken_off(config, tmp_path / "broken", 4, dataset=data, validation=Squares())
    go(config, broken, resume=True, dataset=data, validation=Squares())
    assert_same(state(broken)["model"], state(out)["model"])


def test_what_a_torch_data_set_gives() -> None:
    for kind, captions in ((torch.Tensor, True), (np.ndarray, True), (torch.Tensor, False)):
        clips = TorchClips(Squares(kind, captions)).take(np.array([3, 0]))
        assert clips.videos.shape == (2, 3, 1, 32, 32)
        assert clips.videos.dtype == np.uint8
        assert clips.videos[0, 0, 0, 3:7, 4:8].min() == 255
        assert clips.videos.sum() == 2 * 3 * 16 * 255
        assert clips.captions == (["square in row 3", "square in row 0"] if captions else None)
    assert len(TorchClips(Squares()).wordings()) == 12
    assert TorchClips(Squares(captions=False)).wordings() == []
    ours = BouncingMNIST(DATA)
    assert as_clips(ours) is ours


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "must have clips"),
        (3, "must have clips"),
        (Stream(), "must have clips"),
        (
            [torch.zeros(3, 32, 32)],
            r"item 0 of the data set is torch\.float32 \[3, 32, 32\]; it must be \[frame, channel",
        ),
        ([torch.zeros(3, 1, 8, 8, dtype=torch.int64)], r"item 0 of the data set is torch\.int64"),
        ([torch.full((3, 1, 8, 8), 255.0)], r"item 0 of the data set has pixels outside of \[0, 1\]"),
        ([torch.full((3, 1, 8, 8), float("nan"))], r"item 0 of the data set has pixels outside of \[0, 1\]"),
        (
            [torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 9)],
            r"item 1 of the data set is \[3, 1, 8, 9\], item 0 \[3, 1",
        ),
    ],
)
def test_what_no_clips_are_is_told(items: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TorchClips(items).take(np.arange(len(items)))


def test_our_data_sets_as_torchs() -> None:
    ours = BouncingMNIST(DATA)
    videos, captions = next(iter(DataLoader(AsTorch(ours), batch_size=4)))
    expected = ours.take(np.arange(4))
    assert torch.equal(videos, torch.from_numpy(expected.videos))
    assert list(captions) == expected.captions
    assert len(list(AsTorch(ours))) == 20
    with pytest.raises(UserError, match="endless"):
        AsTorch(BouncingMNIST(BouncingMNISTConfig(shape=DATA.shape, clips=0)))


def test_an_endless_data_set_of_ones_own_is_trained_on(tmp_path: Path) -> None:
    """It has a length of 0, and is there all the same."""
    endless = BouncingMNIST(BouncingMNISTConfig(shape=DATA.shape, clips=0))
    seen: list[int] = []
    take = endless.take

    def counted(indices: Any) -> Any:
        seen.extend(indices.tolist())
        return take(indices)

    endless.take = counted  # type: ignore[method-assign]
    syncdraw.train(RUN, tmp_path / "run", dataset=endless, validation=BouncingMNIST(DATA, "validation"), progress=False)
    assert set(range(3 * 11)) <= set(seen)  # eleven steps of three clips


# --- Parts -----------------------------------------------------------------------------------------------------------


class Sharp(FrameAttention):
    """Windows that begin in the upper left corner."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.window_start = self.window_start - 0.1


class Wide(StandardPrior):
    """N(0, s^2), with deviations that are learned."""

    def __init__(self, latent_size: int) -> None:
        super().__init__(0, 0, latent_size)
        self.log_deviation = nn.Parameter(torch.zeros(latent_size))

    def forward(self, h_dec: Tensor, caption: Tensor, belief: Tensor) -> Single:
        deviation = self.log_deviation.exp().expand(len(h_dec), -1)
        return Single(Gaussian(torch.zeros_like(deviation), deviation), belief)


class FirstWord(nn.Module):
    """Both LSTMs are told a number for the digit that a caption names first."""

    encoder_size, decoder_size, noise_size = 1, 1, 0

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        return torch.tensor([[float(next(word for word in text.split() if word.isdigit()))] for text in captions])

    def prepare(self, tokens: Tensor | None, videos: Tensor | None, choice: Tensor) -> Condition:
        assert tokens is not None
        return Condition(self.scale * tokens[:, None])

    def attend(self, condition: Condition, h_dec: Tensor) -> Caption:
        return Caption(condition.states[:, 0], condition.states[:, 0])


def build_mine(config: SyncDrawConfig) -> SyncDraw:
    attention = Sharp(*config.shape, config.grid_size), Sharp(*config.shape, config.grid_size)
    prior, conditioner = Wide(config.latent_size), FirstWord() if config.captioned else None
    return build(
        config, read_attention=attention[0], write_attention=attention[1], prior=prior, conditioner=conditioner
    )


@pytest.mark.parametrize("captioned", [False, True])
def test_parts_of_ones_own_are_trained_saved_and_loaded(captioned: bool, tmp_path: Path) -> None:
    config = changed(RUN, {"model": ALIGNED if captioned else MODEL, "train.max_steps": 5})
    out = go(config, tmp_path / "run", build_model=build_mine)
    with pytest.raises(UserError, match=r"model\.safetensors does not fit its config"):
        pretrained.load(out)
    model = pretrained.load(out, build_model=build_mine)
    prior = model.generator.prior
    assert isinstance(prior, Wide)
    assert prior.log_deviation.abs().min() > 0  # it has learned
    if captioned:
        assert isinstance(model.conditioner, FirstWord)
        assert model.conditioner.scale.item() != 1
    what: Any = ["digit 3 is moving up and down"] if captioned else 1
    assert model.generate(what).shape == (1, *MODEL.shape)
    # Resumed, and as the start of another run.
    go(changed(config, {"train.max_steps": 6}), out, resume=True, build_model=build_mine)
    assert state(out)["step"] == 6
    further = changed(config, {"train.start.model": str(out), "train.optimizer.learning_rate": 1e-9})
    go(further, tmp_path / "further", build_model=build_mine)
    kept, before = (pretrained.load(run, build_model=build_mine) for run in (tmp_path / "further", out))
    torch.testing.assert_close(kept.state_dict(), before.state_dict(), atol=1e-6, rtol=1e-5)
