"""What a visitor asks for, drawn: what the page plays, what explains it, and the command that makes the same."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from syncdraw import drawing, exploring, media, plots
from syncdraw.apps.demo.studio import Chosen, Studio
from syncdraw.containers import DEFAULT_FRAMES_PER_SECOND
from syncdraw.errors import UserError
from syncdraw.media import Pixels
from syncdraw.model import Drawing, SyncDraw
from syncdraw.wordings import sentences_for
from syncdraw.words import normalise

MOST_CLIPS = 9
MOST_ON_A_WALK = 12
HOTTEST = 1.5  # temperature
_MOST_LETTERS = 500  # of a caption
_WALK_SCALE = 2  # that of `syncdraw interpolate`
_TILE_GAP = 2  # pixels between the tiles of `media.contact_sheet`


class Figure(NamedTuple):
    """A picture, and the same in words."""

    pixels: Pixels
    words: str


class Work(NamedTuple):
    """Something that was drawn.

    Attributes:
        clips: for player.js, as JSON.
        name: of a file, without its suffix.
        command: that makes such a file.
        said: one line about it.
        write: writes it into a file of any suffix that `media.save_video` knows.
        figures: of the first clip; slower than the clips, so that they are made later.
    """

    clips: str
    name: str
    command: str
    said: str
    write: Callable[[Path], object]
    figures: Callable[[], list[Figure]]


def draw(
    studio: Studio, model: str, caption: str, count: float | None, seed: float | None, temperature: float | None
) -> Work:
    """New clips, as `syncdraw generate` draws them.

    Raises:
        UserError: something that was asked for makes no sense.
    """
    count, seed = _whole(count, "the number of clips", 1, MOST_CLIPS), _seed(seed)
    if temperature is None or not 0 <= temperature <= HOTTEST:
        raise UserError(f"the temperature is {_shown(temperature)}; it must be from 0 to {HOTTEST:g}")
    texts = _captions(caption)
    chosen = studio.choose(model, texts)
    network, texts, sentences = _understood(chosen, texts)
    noise = network.noise(count, seed)
    noise = noise._replace(latents=temperature * noise.latents)
    drawn = network(None, sentences * count if sentences else None, noise=noise, return_canvases=True)
    assert drawn.canvases is not None
    windows = _windows(drawn, network, "write_window", network.config.write_grid_size)
    labels = [f"number {number}" if count > 1 else "" for number in range(1, count + 1)]
    what = texts[0] if texts else "a video from nothing"
    name = f"{drawing.file_name(texts[0] if texts else chosen.name)}-seed{seed}"
    options = [*_model(model), *_option("--num", count, 1), *_option("--seed", seed, 0),
               *_option("--temperature", temperature, 1)]  # fmt: skip
    first = drawn.videos[:1]
    return Work(
        clips=_player([
            _clip(label, f"{what}, {label or 'clip'}", canvases, windows and windows[number])
            for number, (label, canvases) in enumerate(zip(labels, drawn.canvases, strict=True))
        ]),
        name=name,
        command=shlex.join(["syncdraw", "generate", *texts, *options, "-o", f"{name}.gif"]),
        said=f"{chosen.name} drew {what}" + (f", as {sentences[0]}" if sentences and sentences != texts else ""),
        write=lambda path: drawing.write(network, sentences, count, path, names=texts, seed=seed,
                                         temperature=temperature),
        figures=lambda: _figures(exploring.reconstruct(network, _targets(network, first), sentences), drawn, sentences),
    )  # fmt: skip


def walk(studio: Studio, model: str, first: str, last: str, seeds: Sequence[float | None], count: float | None) -> Work:
    """Clips from one seed to another, and from one caption to another, as `syncdraw interpolate` draws them.

    Raises:
        UserError: something that was asked for makes no sense.
    """
    count = _whole(count, "the number of clips", 2, MOST_ON_A_WALK)
    start, end = (_seed(seed) for seed in seeds)
    texts = [*_captions(first), *_captions(last)]
    chosen = studio.choose(model, texts)
    network, texts, sentences = _understood(chosen, texts)
    videos = exploring.interpolate(network, sentences, seeds=(start, end), count=count)
    name = f"walk-seed{start}-to-seed{end}"
    options = [*_model(model), *(() if (start, end) == (0, 1) else ("--seeds", str(start), str(end))),
               *_option("--num", count, 8)]  # fmt: skip
    return Work(
        clips=_player([
            _clip(f"{number} of {count}", f"clip {number} of {count} on the way", video[None], None)
            for number, video in enumerate(videos, 1)
        ]),
        name=name,
        command=shlex.join(["syncdraw", "interpolate", *texts, *options, "-o", f"{name}.png"]),
        said=f"{chosen.name} walked from seed {start} to seed {end}" + "".join(
            f"{word} {text}" for word, text in zip((", from", " to"), texts, strict=False)),
        write=lambda path: media.save_video(videos.cpu(), path, scale=_WALK_SCALE),
        figures=list,
    )  # fmt: skip


def read(studio: Studio, model: str, upload: str | None, caption: str, seed: float | None) -> Work:
    """A clip, read and drawn again, as `syncdraw reconstruct` does it.

    Raises:
        UserError: it is no video, or something else that was asked for makes no sense.
    """
    if upload is None:
        raise UserError("there is no clip yet; choose a video file, such as a .gif or an .mp4")
    seed, texts = _seed(seed), _captions(caption)
    chosen = studio.choose(model, texts)
    network, texts, sentences = _understood(chosen, texts)
    path = Path(upload)
    try:
        clip = exploring.read_clip(network, path)
    except UserError as error:  # it names the file, and the folder into which it was uploaded
        raise UserError(str(error).replace(str(path), path.name)) from error
    again = exploring.reconstruct(network, clip, sentences, seed=seed, return_canvases=True)
    assert again.canvases is not None
    reads = _windows(again, network, "read_window", network.config.grid_size)
    writes = _windows(again, network, "write_window", network.config.write_grid_size)
    both = torch.cat([clip, again.videos])
    name = f"{drawing.file_name(path.stem)}-again"
    options = [*(("--caption", texts[0]) if texts else ()), *_option("--seed", seed, 0)]
    bounds = f"L_X {again.reconstruction.item():.1f}, L_Z {again.divergence.item():.1f} nats"
    return Work(
        clips=_player([
            _clip("the clip, and where it is read", f"{path.name}, the clip", clip, reads and reads[0]),
            _clip("drawn again", f"{path.name}, drawn again", again.canvases[0], writes and writes[0]),
        ]),
        name=name,
        command=shlex.join(["syncdraw", "reconstruct", chosen.name, path.name, *options, "-o", f"{name}.gif"]),
        said=f"{chosen.name} read {path.name} and drew it again: {bounds}",
        write=lambda out: media.save_video(both.cpu(), out, scale=4),
        figures=lambda: _figures(again, again, sentences),
    )  # fmt: skip


def as_image(pixels: Pixels) -> str:
    """A picture as a `data:` address."""
    picture = Image.fromarray(pixels)
    if (pixels == pixels[..., :1]).all():
        picture = picture.convert("L")
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


# What was asked for


def _whole(value: float | None, what: str, least: int, most: int) -> int:
    if value is None or not (least <= value <= most and value == int(value)):
        raise UserError(f"{what} is {_shown(value)}; it must be a whole number from {least} to {most:,}")
    return int(value)


def _seed(value: float | None) -> int:
    return _whole(value, "the seed", 0, 2**53)  # a browser's whole numbers


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:,}"


def _captions(text: str) -> list[str]:
    text = " ".join(text.split())
    if len(text) > _MOST_LETTERS:
        raise UserError(f"the caption has {len(text):,} letters; it may have at most {_MOST_LETTERS}")
    return [text] if text else []


def _understood(chosen: Chosen, texts: list[str]) -> tuple[SyncDraw, list[str], list[str] | None]:
    """The model, the captions as they were typed, and as it knows them. One without captions passes over them."""
    texts = texts if chosen.network.captioned else []
    return chosen.network, texts, sentences_for(chosen.network, texts, chosen.card, chosen.name)


def _model(name: str) -> list[str]:
    return ["--model", name] if name else []


def _option(name: str, value: float, usual: float) -> list[str]:
    return [] if value == usual else [name, f"{value:g}" if isinstance(value, float) else str(value)]


def _targets(model: SyncDraw, videos: Tensor) -> Tensor:
    return model.targets((videos * 255).round().byte())


# What is shown


def _player(clips: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"rate": DEFAULT_FRAMES_PER_SECOND, "gap": _TILE_GAP, "clips": clips})


def _clip(label: str, words: str, canvases: Tensor, windows: list[Any] | None) -> dict[str, Any]:
    """A clip for the player: one picture, a row a drawing step, a column a frame."""
    steps, frames, _, height, width = canvases.shape
    return {
        "label": label, "words": words, "steps": steps, "frames": frames, "height": height, "width": width,
        "picture": as_image(media.contact_sheet(canvases)), "windows": windows,
    }  # fmt: skip


def _windows(drawn: Drawing, model: SyncDraw, which: str, grid_size: int) -> list[Any] | None:
    """For each clip, drawing step and frame: the window's row and column in pixels from the frame's corner, half its
    side, and how far its outermost Gaussians reach. None where the windows are not those of single frames."""
    if model.config.attention.kind == "cuboid":
        return None
    every = []
    for step in drawn.steps:
        window = getattr(step, which)
        numbers = [window.row_centre - 0.5, window.column_centre - 0.5, window.stride * (grid_size - 1) / 2,
                   window.variance.sqrt()]  # fmt: skip
        every.append(torch.stack([part.expand(-1, model.shape[0]) for part in numbers], dim=-1))
    by_clip = torch.stack(every, dim=1).float().cpu().nan_to_num().double()
    rounded: list[Any] = (by_clip * 100).round().div(100).tolist()
    return rounded


def _figures(read_again: Drawing, drawn: Drawing, sentences: list[str] | None) -> list[Figure]:
    """Of the first clip: KL at each drawing step, when Q reads it; and which words each step looked at."""
    divergence = read_again.divergence_by_step[0]
    nats = ", ".join(f"step {number}: {value:.1f}" for number, value in enumerate(divergence.tolist(), 1))
    figures = [Figure(plots.divergence_by_step(divergence), f"KL in nats at each drawing step. {nats}")]
    if drawn.alignment is not None and sentences:
        words, weights = normalise(sentences[0]), drawn.alignment[0]
        most = [f"step {number}: {words[int(row.argmax())]}" for number, row in enumerate(weights, 1)]
        said = f"The word that each drawing step looks at most. {', '.join(most)}"
        figures.append(Figure(plots.alignment(weights, words), said))
    return figures
