"""Every figure of a model is drawn and shows that model, or one sentence says why it cannot be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from making_clips import write_clip
from making_models import randomised
from syncdraw import SyncDrawConfig, UserError, exploring, media, plots, pretrained, read_video
from syncdraw.building import build
from syncdraw.config import AttentionConfig, CaptionConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.figures import Kind, picture

pytest.importorskip("matplotlib")

TINY = SyncDrawConfig(frames=3, height=32, width=32, draw_steps=2, grid_size=3, hidden_size=8, latent_size=3)
WORDS = (*"0123456789", "and", "digit", "down", "is", "left", "moving", "right", "up")
MODELS = {
    "plain": TINY,
    "aligned": dataclasses.replace(TINY, captions=CaptionConfig("alignment", 4, WORDS)),
    "sentence": dataclasses.replace(TINY, captions=CaptionConfig("recurrent", 4, WORDS)),
    "binary": dataclasses.replace(TINY, protocol="binary", attention=AttentionConfig(write_grid_size=4)),
    "global": dataclasses.replace(TINY, attention=AttentionConfig("global")),
    "cuboid": dataclasses.replace(TINY, attention=AttentionConfig("cuboid")),
    "colour": dataclasses.replace(TINY, channels=3),
}
CAPTION = "digit 3 is moving up and down"
BOUNCING = BouncingMNISTConfig(shape=(3, 1, 32, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, with training curves beside the first."""
    folder = tmp_path_factory.mktemp("models")
    for name, config in MODELS.items():
        bouncing = BouncingMNISTConfig(shape=config.shape)
        pretrained.save(
            randomised(config, 0.3), folder / name, data="bouncing_mnist", bouncing=dataclasses.asdict(bouncing)
        )
    lines = [{"step": 5, "L_X": 300.0, "L_Z": 2.0}, {"step": 5, "validation_L_X": 310.0, "validation_L_Z": 1.0},
             {"step": 10, "L_X": 250.0, "L_Z": 4.0}]  # fmt: skip
    (folder / "plain" / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


@pytest.fixture
def draw(folder: Path, tmp_path: Path) -> Callable[..., np.ndarray]:
    def drawn(model: str, kind: Kind, **options: Any) -> np.ndarray:
        out = tmp_path / f"{model}-{kind}-{len(list(tmp_path.iterdir()))}.png"
        assert picture(str(folder / model), kind, out=out, **options) == out
        return np.array(Image.open(out).convert("RGB"))

    return drawn


def clip(path: Path, frames: int = 3, size: int = 32, colour: bool = False) -> Path:
    video = torch.rand(frames, 3 if colour else 1, size, size, generator=torch.Generator().manual_seed(7))
    media.save_video(video, path)
    return path


POSSIBLE = [
    (model, kind)
    for model in MODELS
    for kind in get_args(Kind)
    if not (kind == "curves" and model != "plain")
    and not (kind == "alignment" and model != "aligned")
    and not (kind.endswith("windows") and model == "cuboid")
]


@pytest.mark.parametrize(("model", "kind"), POSSIBLE)
def test_every_kind(model: str, kind: Kind, draw: Any) -> None:
    pixels = draw(model, kind, num=3)
    assert pixels.std() > 1  # not one flat colour
    height, width, _ = pixels.shape
    assert min(height, width) > 32
    assert np.array_equal(draw(model, kind, num=3), pixels)  # the seed decides everything
    if kind in ("samples", "canvases", "write_windows"):
        assert not np.array_equal(draw(model, kind, num=3, seed=1), pixels)


def test_samples_are_those_of_generate(draw: Any, folder: Path) -> None:
    network = pretrained.load(folder / "binary")
    expected = plots.sample_sheet(network.generate(4, seed=9), columns=2, scale=1)
    assert np.array_equal(draw("binary", "samples", num=4, seed=9, scale=1), expected)
    network = pretrained.load(folder / "aligned")
    expected = plots.sample_sheet(network.generate([CAPTION] * 3, seed=9), [CAPTION] * 3, columns=2, scale=1)
    assert np.array_equal(draw("aligned", "samples", num=3, seed=9, scale=1, caption=CAPTION), expected)


def test_captions_are_those_of_test_clips(draw: Any, folder: Path) -> None:
    clips = BouncingMNIST(BOUNCING, "test").take(np.arange(3))
    network = pretrained.load(folder / "aligned")
    expected = plots.sample_sheet(network.generate(clips.captions, seed=0), clips.captions, columns=2, scale=1)
    assert np.array_equal(draw("aligned", "samples", num=3, scale=1), expected)


@pytest.mark.parametrize("model", ["plain", "binary", "aligned"])
def test_canvases_end_with_what_generate_gives(model: str, draw: Any, folder: Path) -> None:
    network = pretrained.load(folder / model)
    caption = CAPTION if model == "aligned" else None
    canvases = network.generate([CAPTION] if caption else 1, seed=2, return_canvases=True)
    assert canvases.shape[1] == TINY.draw_steps
    expected = plots.canvases_over_time(canvases[0], scale=1)
    assert np.array_equal(draw(model, "canvases", seed=2, scale=1, caption=caption), expected)


def test_real_clips(draw: Any) -> None:
    clips = BouncingMNIST(BOUNCING, "test").take(np.arange(3))
    videos = torch.from_numpy(clips.videos)
    grey, binary = videos.float() / 255, (videos > 127).float()
    assert np.array_equal(draw("plain", "real", num=3, scale=1), plots.sample_sheet(grey, columns=2, scale=1))
    assert np.array_equal(draw("binary", "real", num=3, scale=1), plots.sample_sheet(binary, columns=2, scale=1))


def test_divergence_is_the_mean_over_test_clips(draw: Any, folder: Path) -> None:
    network = pretrained.load(folder / "plain")
    clips = BouncingMNIST(BOUNCING, "test").take(np.arange(100))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        drawing = network(torch.from_numpy(clips.videos).float() / 255, generator=generator)
    assert np.array_equal(draw("plain", "divergence"), plots.divergence_by_step(drawing.divergence_by_step.mean(0)))


@pytest.mark.parametrize("kind", ["read_windows", "divergence"])
@pytest.mark.parametrize("model", ["plain", "binary", "aligned", "colour"])
def test_a_video_of_ones_own(model: str, kind: Kind, draw: Any, tmp_path: Path) -> None:
    path = clip(tmp_path / "mine.gif", colour=model == "colour")
    options = {"video": path, **({"caption": CAPTION} if model == "aligned" else {})}
    own = draw(model, kind, **options)
    assert not np.array_equal(own, draw(model, kind))


def test_a_video_is_seen_under_the_models_protocol(draw: Any, tmp_path: Path) -> None:
    """A clip and the same clip thresholded are one clip to a model of binary pixels."""
    video = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(7))
    media.save_video(video, tmp_path / "soft.gif")
    media.save_video((video > 0.5).float(), tmp_path / "hard.gif")
    soft, hard = (draw("binary", "read_windows", video=tmp_path / f"{name}.gif") for name in ("soft", "hard"))
    assert np.array_equal(soft, hard)
    soft, hard = (draw("plain", "read_windows", video=tmp_path / f"{name}.gif") for name in ("soft", "hard"))
    assert not np.array_equal(soft, hard)


def test_grey_video_for_a_model_of_colours(draw: Any, tmp_path: Path) -> None:
    """Files of grey clips are read with one channel."""
    assert draw("colour", "read_windows", video=clip(tmp_path / "grey.gif")).std() > 1


@pytest.mark.parametrize("options", [{"frames": 4}, {"size": 40}, {"colour": True}])
def test_a_video_of_any_size_is_made_to_fit(options: dict[str, Any], draw: Any, folder: Path, tmp_path: Path) -> None:
    """It is read as any reader of videos would be asked for it: the first frames, in the model's size and colours."""
    path = clip(tmp_path / "mine.gif", **options)
    video, _ = read_video(path, frames=3, shape=(1, 32, 32))
    network = pretrained.load(folder / "plain")
    drawing = exploring.reconstruct(network, network.targets((video[None] * 255).round().byte()))
    windows = [step.read_window for step in drawing.steps]
    expected = plots.windows_on_frames(video, windows, TINY.grid_size, scale=1)
    assert np.array_equal(draw("plain", "read_windows", video=path, scale=1), expected)


def test_named_after_model_and_figure(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert picture(str(folder / "plain"), "canvases") == Path("plain-canvases.png")
    assert (tmp_path / "plain-canvases.png").is_file()


# --- What cannot be drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind", "options", "message"),
    [
        ("plain", "samples", {"num": 0}, "--num is 0"),
        ("plain", "samples", {"num": -3}, "--num is -3"),
        ("plain", "real", {"num": 10_001}, "there are 10000 test clips"),
        ("aligned", "samples", {"num": 10_001}, "there are 10000 test clips"),
        ("plain", "samples", {"caption": CAPTION}, "draws without captions"),
        ("plain", "divergence", {"caption": CAPTION}, "draws without captions"),
        ("aligned", "samples", {"caption": "zebra"}, "'zebra'"),
        ("aligned", "divergence", {"caption": CAPTION}, "--caption with a --video"),
        ("plain", "alignment", {}, "does not align words"),
        ("sentence", "alignment", {}, "does not align words"),
        ("cuboid", "read_windows", {}, "space-time"),
        ("binary", "curves", {}, r"metrics\.jsonl is missing"),
        ("nobody", "samples", {}, "unknown model"),
        ("plain", "samples", {"scale": 0}, "scale"),
    ],
)
def test_one_sentence_says_why(
    model: str, kind: Kind, options: dict[str, Any], message: str, draw: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        draw(model, kind, **options)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".xyz", ".gif", ""])
def test_what_is_no_picture(suffix: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png"):
        picture(str(folder / "plain"), "canvases", out=tmp_path / f"a{suffix}")


def test_videos_that_do_not_fit(draw: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"short\.gif.* 2 frames"):
        draw("plain", "read_windows", video=clip(tmp_path / "short.gif", frames=2))
    with pytest.raises(UserError, match=r"none\.gif"):
        draw("plain", "read_windows", video=tmp_path / "none.gif")
    with pytest.raises(UserError, match="together with its caption; give one"):
        draw("aligned", "read_windows", video=clip(tmp_path / "fits.gif"))


def test_curves_of_a_run_of_several_stages(folder: Path, tmp_path: Path) -> None:
    """One after the other, in their order."""
    lines = [
        {"step": 1, "L_X": 5.0, "L_Z": 1.0},
        {"step": 2, "L_X": 4.0, "L_Z": 1.0},
        {"step": 3, "L_X": 3.0, "L_Z": 1.0},
    ]
    for name, some in (("2-second", lines[2:]), ("1-first", lines[:2])):
        stage = tmp_path / "run" / "stages" / name
        stage.mkdir(parents=True)
        own = [{**line, "step": number} for number, line in enumerate(some, start=1)]
        (stage / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in own))
    picture(str(tmp_path / "run"), "curves", out=tmp_path / "a.png")
    found = np.array(Image.open(tmp_path / "a.png"))
    assert np.array_equal(found, plots.training_curves(lines))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no L_X and L_Z yet"), ('{"step": 1, "gradient": 2}\n', "no L_X and L_Z yet"), ("{", "cannot be read"),
     ("3\n", "cannot be read")],
)  # fmt: skip
def test_curves_of_damaged_metrics(text: str, message: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "plain", tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        picture(str(tmp_path / "run"), "curves", out=tmp_path / "a.png")


def test_model_that_does_not_say_its_data(tmp_path: Path) -> None:
    pretrained.save(build(TINY), tmp_path / "bare")
    picture(str(tmp_path / "bare"), "samples", num=2, out=tmp_path / "a.png")  # needs no data
    with pytest.raises(UserError, match="does not say what it was trained on"):
        picture(str(tmp_path / "bare"), "real", out=tmp_path / "b.png")


@pytest.mark.parametrize("kind", ["samples", "real"])
def test_no_more_clips_than_a_picture_holds(kind: Kind, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.png would hold 10,000,000,000 videos, and has room for"):
        picture(str(folder / "plain"), kind, num=10**10, out=tmp_path / "x.png")


def test_data_without_a_model(tmp_path: Path) -> None:
    """Clips from all over a prepared folder, or of the digits."""
    for number in range(4):
        write_clip(tmp_path / "clips" / f"{number}.gif", np.full((6, 16, 16, 3), 40 * number + 20, np.uint8))
    config = ClipConfig(frames=1, channels=1, height=16, width=16, clips_per_file=1, test_share=0, validation_share=0)
    prepare(list_folder(tmp_path / "clips"), tmp_path / "data", config, progress=False)
    picture(str(tmp_path / "data"), "real", num=4, scale=1, out=tmp_path / "a.png")
    shown = np.array(Image.open(tmp_path / "a.png").convert("L"))
    assert {20, 60, 100, 140} <= set(np.unique(shown).tolist())
    picture("bouncing_mnist", "real", num=2, out=tmp_path / "b.png")
    assert np.array(Image.open(tmp_path / "b.png")).max() == 255
    with pytest.raises(UserError, match="unknown model 'binarised_mnist'"):
        picture("binarised_mnist", "real", out=tmp_path / "c.png")
