"""syncdraw generate, picture, reconstruct and interpolate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from syncdraw.cli.options import (
    Computer,
    Count,
    FramesPerSecond,
    Model,
    Out,
    Scale,
    Seed,
    Temperature,
    start_torch,
)
from syncdraw.errors import UserError

if TYPE_CHECKING:
    from syncdraw.model import SyncDraw


def generate(
    captions: list[str] | None = None, /, *, model: Model | None = None, num: Count = 1, seed: Seed = 0,
    temperature: Temperature = 1.0, out: Out = Path("syncdraw.gif"), captions_file: Path | None = None,
    steps: bool = False, frames: Count | None = None, scale: Scale = 4, fps: FramesPerSecond = 5.0,
    device: Computer = "auto",
) -> None:  # fmt: skip
    """Generate videos, from captions or from nothing.

    With captions the model is mnist1-captions or mnist2-captions unless --model says otherwise; without, mnist1.

    Args:
        captions: one or more, each in quotes.
        num: videos for each caption, or in all where there are none.
        seed: of the noise; the same seed with another caption keeps it.
        temperature: how far from the middle the noise goes. 1 samples the model; 0.7, say, gives clearer and less
            varied videos.
        out: .gif, .mp4 or .webp for one animation of all videos side by side; .png for a contact sheet; a folder
            (no suffix) for a GIF of each video.
        captions_file: a text file with a caption on each line.
        steps: show how the video is drawn: it plays as it stood after each drawing step.
        frames: of each video, where it is to go on after those that the model draws; this takes some seconds a video.
    """
    texts = list(captions or [])
    if captions_file is not None:
        from syncdraw.datasets.caption_files import read_captions

        texts += read_captions(captions_file)
        if not texts:
            raise UserError(f"{captions_file} holds no caption; give a text file with a caption on each line")
    from syncdraw.wordings import suited_model

    name = model or suited_model(texts)
    chosen = start_torch(device)
    from syncdraw import drawing, pretrained

    network = pretrained.load_any(name, device=chosen)
    sentences = drawing.sentences_for(network, texts, pretrained.load_card(name), name)

    started = time.perf_counter()
    count = drawing.write(network, sentences, num, out, names=texts, seed=seed, temperature=temperature, steps=steps,
                          frames=frames, scale=scale, frames_per_second=fps)  # fmt: skip
    seconds = time.perf_counter() - started
    shown = str(out) if out.suffix else f"{count} files in {out}"
    print(f"wrote {shown} ({count} video{'s' * (count > 1)}, seed {seed}, drawn in {seconds:.1f} s)")


def _loaded(model: str | None, captions: list[str]) -> tuple[SyncDraw, list[str] | None]:
    """A model, chosen by the captions unless it is named; and the captions as it knows them."""
    from syncdraw.wordings import suited_model

    name = model or suited_model(captions)
    start_torch()
    from syncdraw import drawing, pretrained

    network = pretrained.load(name)
    return network, drawing.sentences_for(network, captions, pretrained.load_card(name), name)


def reconstruct(
    model: Model, video: Path, /, *, caption: str | None = None, seed: Seed = 0,
    out: Out = Path("reconstruction.gif"), scale: Scale = 4, fps: FramesPerSecond = 5.0,
) -> None:  # fmt: skip
    """Read a clip, and draw it again: the clip and what the model makes of it, side by side.

    Args:
        video: a clip of any size, as long as those of the model or longer.
        caption: of the clip, for a model with captions.
        seed: of the latents.
        out: .gif, .mp4 or .webp; .png for a contact sheet.
    """
    network, sentences = _loaded(model, [caption] if caption is not None else [])
    import torch

    from syncdraw import exploring, media

    clip = exploring.read_clip(network, video)
    found = exploring.reconstruct(network, clip, sentences, seed=seed)
    media.save_video(torch.cat([clip, found.videos]).cpu(), out, frames_per_second=fps, scale=scale)
    bounds = f"L_X {found.reconstruction.item():.1f}, L_Z {found.divergence.item():.1f} nats"
    print(f"wrote {out} (the clip, and how it was drawn again: {bounds})")


def interpolate(
    captions: list[str] | None = None, /, *, model: Model | None = None, seeds: tuple[Seed, Seed] = (0, 1),
    num: Count = 8, out: Out = Path("walk.png"), scale: Scale = 2, fps: FramesPerSecond = 5.0,
) -> None:  # fmt: skip
    """Walk from one generated video to another: from seed to seed, and from caption to caption where there are two.

    Args:
        captions: for a model with captions, one for the whole way, or two.
        seeds: of the noise at both ends.
        num: videos on the way, both ends among them.
        out: .png for a sheet, a video a row; .gif, .mp4 or .webp for an animation.
    """
    network, sentences = _loaded(model, captions or [])
    from syncdraw import drawing, exploring, media

    drawing.check_room(out, num, network.shape, scale)
    videos = exploring.interpolate(network, sentences, seeds=seeds, count=num)
    media.save_video(videos.cpu(), out, frames_per_second=fps, scale=scale)
    print(f"wrote {out} ({num} videos, from seed {seeds[0]} to seed {seeds[1]})")


def picture(
    model: Model,
    kind: Literal[
        "samples", "real", "compare", "canvases", "write_windows", "read_windows", "divergence", "alignment", "curves"
    ],
    /, *, caption: str | None = None, video: Path | None = None, num: Count = 64, seed: Seed = 0,
    beside: list[str] | None = None, out: Out | None = None, scale: Scale = 2,
) -> None:  # fmt: skip
    """Draw one of the papers' figures of a model.

    - samples: uncurated clips as strips of frames
    - real: test clips of the model's data, to compare; or clips of a data set: bouncing_mnist, or a prepared folder
    - compare: real clips, and uncurated samples of the model and of those in --beside (v2 figures 11 to 13)
    - canvases: the clip after each drawing step (v2 figure 2c)
    - write_windows, read_windows: where the model writes and reads at each step
    - divergence: KL of each step; alignment: caption words by drawing steps (v1 eq 13)
    - curves: the training curves of a run

    Args:
        kind: which figure.
        caption: for a model with captions.
        video: a clip of any size to read, for canvases, windows, divergence and alignment. A test clip of the model's
            data is read where the figure needs one.
        num: how many samples; with compare, no more than 8 of each.
        seed: of the noise.
        beside: a model to compare with; name it again for more.
        out: a .png, .jpg or .webp file; named after the model and the figure unless given.
    """
    start_torch()
    from syncdraw import figures

    print(f"wrote {figures.picture(model, kind, caption, video, num, seed, out, scale, beside or ())}")
