"""Pictures of what a model did: their sizes, and that what they mark lies where it should."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from syncdraw import plots
from syncdraw.errors import UserError
from syncdraw.media import Pixels

RED = (235, 64, 52)


class Window(NamedTuple):
    """As the attentions make them, with entries that are of no interest here."""

    row_centre: Tensor
    column_centre: Tensor
    stride: Tensor
    variance: Tensor
    time_centre: Tensor | None = None


def window(row: float, column: float, stride: float, variance: float = 0.01, frames: int = 1) -> Window:
    return Window(*(torch.full((frames,), value) for value in (row, column, stride, variance)))


def red(picture: Pixels) -> tuple[Pixels, Pixels]:
    rows, columns = np.nonzero((picture == RED).all(axis=-1))
    return rows, columns


def test_canvases_have_a_row_for_each_drawing_step() -> None:
    canvases = torch.zeros(5, 3, 1, 8, 6)
    canvases[4, 2] = 1
    picture = plots.canvases_over_time(canvases, scale=2)
    assert picture.shape == (5 * 16 + 4 * 2, 3 * 12 + 2 * 2, 3)
    assert (picture[-16:, -12:] == 255).all()
    assert (picture[:16, :12] == 0).all()
    with pytest.raises(ValueError, match=r"those of one clip; these are \[3, 1, 8, 6\]"):
        plots.canvases_over_time(canvases[0])


@pytest.mark.parametrize("scale", [1, 3, 4, 8])
@pytest.mark.parametrize("margin", [0, 4])
@pytest.mark.parametrize(
    ("row", "column", "stride", "grid_size"), [(20, 12, 3, 5), (20.5, 30.5, 2, 4), (16, 32, 1, 10)]
)
def test_the_outline_runs_through_the_outermost_gaussians(
    row: float, column: float, stride: float, grid_size: int, scale: int, margin: int
) -> None:
    picture = plots.windows_on_frames(
        torch.zeros(1, 1, 40, 60), [window(row, column, stride)], grid_size, scale=scale, margin=margin
    )
    assert picture.shape == ((40 + 2 * margin) * scale, (60 + 2 * margin) * scale, 3)
    for marked, centre in zip(red(picture), (row, column), strict=True):
        # Back from the picture's pixels to the video's coordinates, in which the first pixel's middle is 1.
        first, last = ((edge + 0.5) / scale + 0.5 - margin for edge in (marked.min(), marked.max()))
        reach = stride * (grid_size - 1) / 2
        assert first == pytest.approx(centre - reach, abs=0.51 / scale)
        assert last == pytest.approx(centre + reach, abs=0.51 / scale)
    rows, columns = red(picture)
    inside = (rows > rows.min()) & (rows < rows.max()) & (columns > columns.min()) & (columns < columns.max())
    assert not inside.any()  # an outline one pixel thick


def test_the_outline_is_as_thick_as_the_filters_are_wide() -> None:
    def thickness(variance: float) -> int:
        picture = plots.windows_on_frames(torch.zeros(1, 1, 40, 40), [window(20, 20, 4, variance)], 5, scale=8)
        return len(np.unique(red(picture[: 24 * 8, 23 * 8 : 24 * 8])[0]))  # the upper edge

    assert [thickness(variance) for variance in (1e-9, 0.25, 1, 2.25, 1e6)] == [1, 4, 8, 12, 16]


def test_every_row_and_frame_has_its_own_window_and_channels_stay() -> None:
    video = torch.zeros(2, 3, 20, 20)
    video[:, 1] = 1
    numbers = torch.tensor([[[5, 6], [5, 15], [2, 1], [0, 0]], [[15, 9], [5, 9], [2, 1], [0, 0]]]).float()
    batch = [Window(*(torch.stack([torch.zeros(2), values]) for values in row)) for row in numbers]  # clip 1 is drawn
    picture = plots.windows_on_frames(video, batch, 3, clip=1, scale=1, margin=0)
    assert picture.shape == (42, 42, 3)
    for (top, left), (row, column, reach) in {
        (0, 0): (4, 4, 2), (0, 22): (5, 14, 1), (22, 0): (14, 4, 2), (22, 22): (8, 8, 1),
    }.items():  # fmt: skip
        tile = picture[top : top + 20, left : left + 20]
        rows, columns = red(tile)
        assert (rows.min(), rows.max()) == (row - reach, row + reach)
        assert (columns.min(), columns.max()) == (column - reach, column + reach)
        assert (tile[0, -1] == (0, 255, 0)).all()


def test_one_window_serves_all_frames_and_canvases_differ_by_row() -> None:
    canvases = torch.stack([torch.zeros(3, 1, 9, 9), torch.ones(3, 1, 9, 9)])
    picture = plots.windows_on_frames(canvases, [window(5, 5, 2)] * 2, 3, scale=1, margin=0)
    assert (red(picture[:9])[0] == red(picture[11:])[0]).all()
    assert len(red(picture)[0]) == 2 * 3 * 16
    assert (picture[0, 0] == 0).all()
    assert (picture[-1, -1] == 255).all()


def test_windows_far_off_the_frame_are_no_trouble() -> None:
    picture = plots.windows_on_frames(torch.zeros(1, 1, 9, 9), [window(-1e9, 1e9, 1e6, 1e9)], 8)
    assert not len(red(picture)[0])


def test_bad_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        plots.windows_on_frames(torch.zeros(1, 1, 9, 9), [window(float("nan"), 1, 1)], 8)
    for videos in (torch.zeros(1, 1, 9, 9), torch.zeros(3, 1, 1, 9, 9), torch.zeros(2, 1, 2, 9, 9)):
        with pytest.raises(ValueError, match="with 1 or 3 channels and one window a row"):
            plots.windows_on_frames(videos, [] if videos.ndim == 4 else [window(1, 1, 1)] * 2, 8)


def test_a_sample_sheet_has_room_for_its_captions() -> None:
    videos = torch.zeros(5, 4, 1, 16, 16)
    plain = plots.sample_sheet(videos, columns=2)
    assert plain.shape == (3 * (16 + 8) + 8, 2 * (4 * 16 + 3 * 2 + 8) + 8, 3)
    assert (plain[-16 - 8 :, -70 - 8 :] == 255).all()  # the place of the sixth clip
    captions = ["digit 3", "", "one that needs several lines for itself", "цифра", "x" * 100]
    captioned = plots.sample_sheet(videos, captions, columns=2)
    text_height = (captioned.shape[0] - plain.shape[0]) / 3
    assert text_height >= 36
    assert (captioned[8 : 8 + int(text_height), 8:78] < 128).any()
    assert (captioned[8 : 8 + int(text_height), 86:156] == 255).all()
    with pytest.raises(ValueError, match="1 captions do not go with 5 clips"):
        plots.sample_sheet(videos, ["digit 3"])
    with pytest.raises(ValueError, match="a sheet needs"):
        plots.sample_sheet(videos[0])


def test_alignment_is_darkest_where_the_step_attends() -> None:
    weights = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.5, 0.5]])
    picture = plots.alignment(weights, ["moving", "up", "down"], cell=20)
    squares = picture[-60:, -40:]
    values = [[int(squares[20 * word + 10, 20 * step + 10].sum()) for step in range(2)] for word in range(3)]
    assert values[0][0] < values[1][1] == values[2][1] < values[1][0] < values[2][0] == values[0][1] == 3 * 255
    assert (picture[-60:-40, :-40] < 128).any()  # the first word
    for wrong in (torch.zeros(2, 2), -weights, weights * float("nan")):
        with pytest.raises(ValueError, match="weights"):
            plots.alignment(wrong, ["moving", "up", "down"])


def test_bars_grow_with_the_divergence() -> None:
    picture = plots.divergence_by_step(torch.tensor([1.0, 4.0]))
    assert picture.shape == (350, 600, 3)
    blue = (picture == (31, 85, 163)).all(axis=-1)
    first, second = blue[:, :300].sum(), blue[:, 300:].sum()
    assert second / first == pytest.approx(4, rel=0.05)
    with pytest.raises(ValueError, match="choose a clip or average"):
        plots.divergence_by_step(torch.zeros(3, 10))


def test_training_curves_take_the_lines_of_a_run() -> None:
    training = [{"step": step, "seconds": 1.0, "L_X": 500.0 / step, "L_Z": 10.0} for step in range(1, 50)]
    validation = [{"step": 25, "validation_L_X": 300.0, "validation_L_Z": 9.0}]
    both = plots.training_curves(training + validation, videos_per_step=100)
    assert both.shape == (350, 1200, 3)
    reds = (both == RED).all(axis=-1)
    assert all(reds[:, left : left + 400].any() for left in (0, 400, 800))
    assert not (plots.training_curves(training) == RED).all(axis=-1)[:, 400:].any()
    judged = [{"step": 25, "readable_share": 0.5, "frechet_distance": 9.0}, {"step": 49, "frechet_distance": 5.0}]
    five = plots.training_curves(training + judged)
    assert five.shape == (350, 2000, 3)
    reds = (five == RED).all(axis=-1)
    assert [bool(reds[:, left : left + 400].any()) for left in range(0, 2000, 400)] == [False] * 3 + [True] * 2
    plots.training_curves([*training, {"step": 50, "L_X": float("nan"), "L_Z": float("inf")}])
    with pytest.raises(ValueError, match=r"metrics\.jsonl"):
        plots.training_curves([{"step": 1, "learning_rate": 1e-3}])


def test_curves_without_matplotlib_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'syncdraw\[plots\]'"):
        plots.divergence_by_step(torch.ones(3))


@pytest.mark.parametrize("name", ["picture.png", "Bild 1 – ü.PNG", "picture.jpg", "picture.webp"])
def test_pictures_are_saved(name: str, tmp_path: Path) -> None:
    picture = np.zeros((6, 4, 3), np.uint8)
    picture[:3] = 255
    plots.save_picture(picture, tmp_path / "new" / name)
    result = np.asarray(Image.open(tmp_path / "new" / name).convert("RGB"))
    assert np.abs(result.astype(int) - picture).max() <= (0 if name.lower().endswith("png") else 40)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == [name]


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    picture = np.zeros((6, 4, 3), np.uint8)
    with pytest.raises(UserError, match=r"picture\.docx: a picture's suffix must be one of \.png"):
        plots.save_picture(picture, tmp_path / "picture.docx")
    with pytest.raises(ValueError, match=r"a picture is uint8 \[height, width, 3\]; this is float32 \[6, 4, 3\]"):
        plots.save_picture(picture.astype(np.float32), tmp_path / "picture.png")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file, not a folder"):
        plots.save_picture(picture, tmp_path / "file" / "picture.png")
