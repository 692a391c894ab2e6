"""What a model makes of a clip, and what lies between two of its videos."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from syncdraw.errors import UserError
from syncdraw.extensions import continuing
from syncdraw.extensions.refinement import generators_of_videos
from syncdraw.model import Drawing, Noise, SyncDraw
from syncdraw.video import read_video

_AT_ONCE = 50  # videos that are drawn together


def read_clip(model: SyncDraw, path: str | Path) -> Tensor:
    """The first frames of a video of any size, as the model's targets: `[1, frame, channel, height, width]`.

    Frames keep their proportions, and what they leave free is black.

    Raises:
        UserError: the file cannot be read, or has fewer frames than the model draws.
    """
    frames, channels, height, width = model.shape
    video, _ = read_video(path, frames=frames, shape=(channels, height, width))
    return model.targets((video[None] * 255).round().byte())


@torch.no_grad()
def reconstruct(
    model: SyncDraw, clips: Tensor, captions: list[str] | None = None, *, seed: int = 0, return_canvases: bool = False
) -> Drawing:
    """Clips, read by Q and drawn again.

    Args:
        clips: `[batch, frame, channel, height, width]` in [0, 1], such as `read_clip` gives them.
        captions: one a clip, for a model with captions.
        seed: of the latents.
        return_canvases: keep the canvas after each drawing step.

    Raises:
        UserError: the clips do not have the model's shape, or the captions do not fit the model.
    """
    if model.captioned and captions is None:
        raise UserError("this model reads a clip together with its caption; give one")
    generator = torch.Generator().manual_seed(seed)
    return model(clips.to(model.device), captions, generator=generator, return_canvases=return_canvases)


def prolong(
    model: SyncDraw,
    videos: Tensor,
    captions: list[str] | None = None,
    *,
    frames: int,
    overlap: int | None = None,
    seed: int = 0,
    first: int = 0,
) -> Tensor:
    """Videos that go on where they end, window by window (v2 section 5): those that a model drew, or real ones.

    Under a progress bar where it takes more than two seconds.

    Args:
        videos: `[batch, frame, channel, height, width]` in [0, 1], of `overlap` frames or more.
        captions: one a video, for a model with captions.
        frames: that the videos have in the end.
        overlap: frames that each window shares with what is there; half a window unless given.
        seed: of the latents.
        first: the number of the first video. A video depends on the seed and its number, not on those beside it.

    Returns:
        `[batch, frames, channel, height, width]` in [0, 1].

    Raises:
        UserError: the captions do not fit the model, or there are too few frames to begin with.
    """
    if model.captioned and captions is None:
        raise UserError("this model goes on with a video together with its caption; give one")
    tokens = model.tokenise(captions, len(videos))
    windows = -(-(frames - videos.shape[1]) // (model.shape[0] - continuing.shared_frames(model, overlap)))
    with tqdm(total=windows * continuing.STEPS, desc="going on", unit="step", delay=2, leave=False) as bar:
        return continuing.prolong(
            model,
            videos.to(model.device),
            None if tokens is None else tokens.to(model.device),
            frames=frames,
            overlap=overlap,
            generators=generators_of_videos(seed, first, len(videos)),
            after_step=bar.update,
        )


@torch.no_grad()
def interpolate(
    model: SyncDraw, captions: list[str] | None = None, *, seeds: tuple[int, int] = (0, 1), count: int = 8
) -> Tensor:
    """Videos from one noise to another, in equal steps on the sphere on which both lie.

    Args:
        captions: for a model with captions: one for the whole way; or two, of which the first half of the way has the
            first, and the second half the second.
        seeds: of the noise at both ends. Equal ones keep it, so that only the caption changes.
        count: videos, both ends among them.

    Returns:
        `[video, frame, channel, height, width]` in [0, 1].

    Raises:
        UserError: there are no or too many captions, or fewer than two videos are asked for.
    """
    if count < 2:
        raise UserError(f"a walk has {count} videos; it must have 2 or more, its two ends")
    if model.captioned != bool(captions) or len(captions or []) > 2:
        raise UserError("a model with captions walks from one caption to another: give one or two"
                        if model.captioned else "this model draws without captions; leave them out")  # fmt: skip
    ends = [model.noise(1, seed) for seed in seeds]
    videos = []
    for way in torch.linspace(0, 1, count).split(_AT_ONCE):
        noise = Noise(*(torch.cat([_between(a, b, float(share)) for share in way]) for a, b in zip(*ends, strict=True)))
        texts = [captions[0] if share < 0.5 else captions[-1] for share in way] if captions else None
        videos.append(model(None, texts, noise=noise).videos)
    return torch.cat(videos)


def _between(start: Tensor, end: Tensor, share: float) -> Tensor:
    # On a straight line, the middle of two normal vectors would be shorter than any normal vector is.
    if not start.numel():
        return start
    cosine = torch.nn.functional.cosine_similarity(start.flatten(), end.flatten(), dim=0).clamp(-1, 1)
    angle = cosine.arccos()
    if angle.sin() < 1e-4:
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / angle.sin()
