"""The commands whose options stand in their signatures; those of train and prepare are made of settings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from syncdraw.devices import start_torch
from syncdraw.errors import UserError
from syncdraw.options import (
    Computer,
    Count,
    CountOrNone,
    FramesPerSecond,
    Model,
    Out,
    Scale,
    Seed,
    Temperature,
)


def models(*, json: bool = False) -> None:
    """List the models that come with the package: what each draws, its size, and how to draw with it.

    Args:
        json: everything that is known of them, measurements included.
    """
    from syncdraw import cards

    print(cards.shipped_cards() if json else cards.table())


def generate(
    captions: list[str] | None = None, /, *, model: Model | None = None, num: Count = 1, seed: Seed = 0,
    temperature: Temperature = 1.0, out: Out = Path("syncdraw.gif"), captions_file: Path | None = None,
    steps: bool = False, frames: Count | None = None, scale: Scale = 4, fps: FramesPerSecond = 5.0,
    device: Computer = "auto",
) -> None:  # fmt: skip
    """Generate videos, from captions or from nothing.

    Unless --model says otherwise, captions are for the shipped model that understands them (`syncdraw models` shows one
    for each), and without captions the model is mnist1.

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
    from syncdraw.datasets.caption_files import read_captions
    from syncdraw.wordings import model_for

    texts = [*(captions or []), *(read_captions(captions_file) if captions_file else [])]
    if captions_file and not texts:
        raise UserError(f"{captions_file} holds no caption; give a text file with a caption on each line")
    network, sentences = model_for(texts, model, device, any_kind=True)
    from syncdraw import drawing

    started = time.perf_counter()
    count = drawing.write(network, sentences, num, out, names=texts, seed=seed, temperature=temperature, steps=steps,
                          frames=frames, scale=scale, frames_per_second=fps)  # fmt: skip
    seconds = time.perf_counter() - started
    shown = str(out) if out.suffix else f"{count} files in {out}"
    print(f"wrote {shown} ({count} video{'s' * (count > 1)}, seed {seed}, drawn in {seconds:.1f} s)")


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
    from syncdraw.wordings import model_for

    network, sentences = model_for([] if caption is None else [caption], model)
    from syncdraw import drawing

    found = drawing.write_again(network, video, sentences, out, seed=seed, scale=scale, frames_per_second=fps)
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
    from syncdraw.wordings import model_for

    network, sentences = model_for(captions or [], model)
    from syncdraw import drawing

    drawing.write_walk(network, sentences, num, out, seeds=seeds, scale=scale, frames_per_second=fps)
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


def demo(models: list[str] | None = None, /, *, host: str = "localhost", port: CountOrNone = 7860) -> None:
    """Open a page in which models draw: captions, drawing steps, walks, clips of your own, and training curves.

    Args:
        models: run folders, or hub:OWNER/NAME, beside the models that ship.
        host: whom to serve; localhost is this machine alone. 0.0.0.0 is every machine that can reach this one; the
            link then holds a token.
        port: of the link; 0 for any that is free.
    """
    from syncdraw.apps.demo import serve_demo

    serve_demo(models or [], host, port)


def rate(
    study: Path, sources: list[str] | None = None, /, *, report: bool = False, csv: Path | None = None,
    clips: Count | None = None, per_rater: Count | None = None, examples: CountOrNone | None = None,
    seed: Seed | None = None, fps: float | None = None, host: str | None = None, port: CountOrNone | None = None,
) -> None:  # fmt: skip
    """Let people rate clips: make a study, serve it, report what they said (v2 section 4.6.2).

    With sources, a new study is made and served; without, an old one is served again. A source is a model, a folder of
    videos, or real clips, real:MODEL or real:FOLDER; NAME= before it is what the report calls it.

    Args:
        study: the folder of the study.
        sources: say real:mnist1 mnist1 mnist1-captions.
        report: print what raters have said so far, and serve nothing.
        csv: with --report, write every rating there.
        clips: of each source in a new study; 10 unless given.
        per_rater: clips of each source that one rater of a new study rates; all of them unless given.
        examples: real clips of each data set that raters of a new study see first, as what a 10 looks like; 2 unless
            given.
        seed: of a new study's clips and orders, or of a report's bootstrap; 0 unless given.
        fps: frames a second of a new study's clips; 5 unless given.
        host: whom to serve; localhost unless given, which is this machine alone. 0.0.0.0 is every machine that can
            reach this one; the link then holds a token.
        port: of the link; 8000 unless given.
    """
    if sources:  # are drawn; to serve and to report needs no torch, which takes seconds to import
        start_torch()
    from syncdraw.apps import rating

    rating.run_study(study, sources or [], report, clips=clips, per_rater=per_rater, examples=examples, fps=fps,
                     host=host, port=port, csv=csv, seed=seed)  # fmt: skip


def export(model: Model, /, *, out: Out = Path("model.onnx")) -> None:
    """Write a model's generator to an ONNX or .pt2 file.

    It draws without this package, in a browser or elsewhere: it takes noise, and captions' numbers where the model has
    captions, and gives the canvas after every drawing step, and where each was written. What it takes and knows is
    noted in the file.

    Args:
        out: .onnx for ONNX (needs the extra `export`), .pt2 for torch.export.
    """
    start_torch()
    from syncdraw import exporting, pretrained

    made = exporting.export(pretrained.load(model), out, name=model, card=pretrained.load_card(model))
    precision = "half" if made.half else "single"
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, weights in {precision} precision)")


def push(
    model: Model, name: str, /, *, license: str, measured: list[Path] | None = None, private: bool = False
) -> None:
    """Put a model on the Hugging Face hub, with a card. `hf auth login` says who you are.

    Args:
        name: OWNER/NAME on the hub.
        license: under which others may use the weights, by the hub's word for it: apache-2.0, cc-by-4.0, ...
        measured: a file that syncdraw evaluate wrote with --json_file, for the card; may be given several times.
        private: nobody else sees it.
    """
    from syncdraw import hub

    print(f"wrote {hub.push(model, name, license=license, measured=measured or [], private=private)}: "
          f"syncdraw generate --model hub:{name} draws")  # fmt: skip
