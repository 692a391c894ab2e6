"""How a file of any kind becomes frames of one size: open, choose, decode, fit.

Videos and GIFs are decoded with PyAV, WebP and folders of pictures with Pillow, whatever the file's suffix says. Only
the chosen frames are converted, in one step from the decoder's own format to the size and colours of the clip.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from syncdraw.datasets.fitting import MOST_PIXELS, Unreadable, fit_frame, fit_picture
from syncdraw.datasets.prepared import ClipConfig
from syncdraw.datasets.sources import Problem, Source

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".gif", ".webp"}
)
FRAME_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})

# Containers that hold their pictures themselves. A playlist under a video's name must not open other files or hosts.
_CONTAINERS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,avi,matroska,webm,gif,mpeg,mpegts,mpegvideo,ogg,asf,flv,h264,hevc,m4v",
}


class TooShort(Exception):
    """A file with fewer frames than a clip needs; the message gives both numbers."""


@dataclass(frozen=True)
class DecodedClip:
    """One clip.

    Attributes:
        video: uint8 `[frame, channel, height, width]`.
        frames: the numbers of its frames in the file, the first being 0.
        measured: what the pixels said about it, appended to its captions.
    """

    video: NDArray[np.uint8]
    frames: list[int]
    measured: str = ""


def content_hash(path: Path) -> str:
    """BLAKE2b of a file's bytes, or of the names and bytes of a folder's frames, 32 hexadecimal digits.

    Raises:
        Unreadable: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with reading():
        for part in frame_files(path) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(part.name.encode("utf-8", "surrogateescape") + b"\0")
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()


def frame_files(folder: Path) -> list[Path]:
    """The pictures in a folder of frames, in the order that their numbers give: 2.png comes before 10.png."""
    pictures = (
        path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".")
    )
    return sorted(
        pictures, key=lambda path: [(int(part), "") if part.isdigit() else (-1, part) for part in _pieces(path.name)]
    )


def _pieces(name: str) -> list[str]:
    return [piece for piece in re.split(r"([0-9]+)", name) if piece]


def choose_frames(start: int, stop: int, config: ClipConfig, seed: Sequence[int]) -> list[NDArray[np.int64]]:
    """The frame numbers of each clip that is cut from frames `start` to `stop` (exclusive) of a file.

    Raises:
        TooShort: there are not enough frames for one clip.
    """
    total = stop - start
    if total < config.span:
        at_stride = f" ({config.frames} at a stride of {config.stride})" if config.stride > 1 else ""
        raise TooShort(f"it has {_counted(total, 'frame')}, a clip needs {config.span}{at_stride}")
    random = np.random.default_rng(list(seed))
    fitting = total // config.span
    clips = fitting if config.clips_per_file == 0 else min(fitting, config.clips_per_file)
    chosen = []
    for clip in range(clips):
        first, last = total * clip // clips, total * (clip + 1) // clips
        if config.choice == "neighbours":
            begin = random.integers(first, last - config.span, endpoint=True)
            frames = begin + config.stride * np.arange(config.frames, dtype=np.float64)
        elif config.choice == "spread":
            frames = np.linspace(first, last - 1, config.frames).round()
        else:
            frames = np.sort(first + random.choice(last - first, config.frames, replace=False))
        chosen.append(frames.astype(np.int64) + start)
    return chosen


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def read_clips(source: Source, config: ClipConfig, seed: Sequence[int]) -> Iterator[DecodedClip | Problem]:
    """The clips of one file or folder of frames, as `config` asks for them, and what is to be said about them.

    Raises:
        Unreadable: nothing of the file can be decoded.
        TooShort: fewer frames can be decoded than a clip needs.
    """
    path = source.path
    seeming, damage = count_frames(path)
    if seeming == 0:
        raise Unreadable("it has no frames")
    found = False
    for clip in gather(path, config, choose_frames(0, seeming, config, seed)):
        found = True
        yield clip
    if not found:
        # Some of the frames do not decode. Choose again, among those that do.
        decodable = sum(1 for _ in read_frames(path, config, ()))
        if decodable == 0:
            raise Unreadable("none of its frames can be decoded")
        damage = f"{decodable} of {seeming} frames can be decoded"
        yield from gather(path, config, choose_frames(0, decodable, config, seed))
    if damage:
        yield Problem(source.name, f"damaged ({damage})", "used as far as it goes")


def gather(path: Path, config: ClipConfig, chosen: list[NDArray[np.int64]]) -> Iterator[DecodedClip]:
    """The clips with these frame numbers. Decodes the file once, up to the last frame that is needed.

    A clip is given as soon as it is whole; one whose frames do not all decode is not given.

    Raises:
        Unreadable: the file cannot be opened.
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for clip, frames in enumerate(chosen):
        for position, number in enumerate(frames.tolist()):
            places.setdefault(number, []).append((clip, position))
    videos: dict[int, NDArray[np.uint8]] = {}
    missing = [config.frames] * len(chosen)
    with closing(read_frames(path, config, places)) as frames_of_file:
        for number, image in frames_of_file:
            if image is None:
                continue
            for clip, position in places.pop(number):
                videos.setdefault(clip, np.empty(config.shape, np.uint8))[position] = image
                missing[clip] -= 1
                if missing[clip] == 0:
                    yield DecodedClip(videos.pop(clip), chosen[clip].tolist())
            if not places:
                return


def count_frames(path: Path) -> tuple[int, str]:
    """How many frames a file seems to hold, and how it is damaged, if that can be seen without decoding a frame.

    Returns:
        the number of frames, of which not all need decode; and `47 of 60 frames are there`, or an empty string.

    Raises:
        Unreadable: the file cannot be opened.
    """
    with reading():
        if path.is_dir():
            return len(frame_files(path)), ""
        if _is_webp(path):
            with Image.open(path, formats=["WEBP"]) as image:
                return int(getattr(image, "n_frames", 1)), ""
        with path.open("rb") as file:
            if file.read(4) == b"GIF8":
                # A GIF does not say how many frames it has; and half a frame decodes without an error.
                images, whole = _gif_frames(b"GIF8" + file.read())
                return images, "" if whole else f"it breaks off after {images} whole frames"
        present = corrupt = 0
        end = 0.0
        with _open_video(path) as (container, stream):
            # A truncated file may end in an error: what comes before it counts.
            with suppress(FFmpegError):
                for packet in container.demux(stream):
                    corrupt += packet.is_corrupt
                    present += packet.size > 0 and not packet.is_corrupt
                    if packet.pts is not None:
                        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            promised = max(stream.frames, present + corrupt)
            if present < promised - 1 or corrupt:
                return present, f"{present} of {promised} frames are there"
            # Matroska and WebM write no number of frames, but the time at which the last one ends.
            hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
            minutes, _, seconds = rest.partition(":")
            with suppress(ValueError):
                due = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
                if end < 0.95 * due:
                    return present, f"{end:.1f} of {due:.1f} seconds are there"
        return present, ""


def _gif_frames(data: bytes) -> tuple[int, bool]:
    """The number of whole images in a GIF, and whether it ends as it should."""

    def palette_size(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    images = 0
    try:
        position = 13 + palette_size(data[10])
        while data[position] != 0x3B:
            is_image = data[position] == 0x2C
            if not is_image and data[position] != 0x21:
                return images, False
            # An image has a descriptor, a palette and a code size; an extension has two bytes of introduction.
            position += 11 + palette_size(data[position + 9]) if is_image else 2
            while data[position]:  # blocks of data, each led by its length, the last of length 0
                position += 1 + data[position]
            position += 1
            images += is_image
    except IndexError:
        return images, False
    return images, True


def read_frames(
    path: Path, config: ClipConfig, wanted: Collection[int] | None = None
) -> Generator[tuple[int, NDArray[np.uint8] | None]]:
    """The frames of a file or folder in order, each with its number from 0.

    Args:
        path: a video, GIF, WebP or folder of pictures.
        config: its size, colours and `fit`.
        wanted: the numbers of the frames to convert; None for all. The others are decoded, because later ones depend
            on them, and given as None.

    Yields:
        the number and the frame, uint8 `[channel, height, width]`.

    Raises:
        Unreadable: the file cannot be opened, or a picture of a folder cannot be read.
    """
    with reading():
        if path.is_dir():
            yield from _read_pictures(path, config, wanted)
        elif _is_webp(path):
            yield from _read_webp(path, config, wanted)
        else:
            yield from _read_video(path, config, wanted)


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever a decoder raises into `Unreadable`; what each raises on nonsense, nobody has listed."""
    try:
        yield
    except (Unreadable, TooShort):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreadable(" ".join(reason.split())[:200]) from error


def _is_webp(path: Path) -> bool:
    # FFmpeg's WebP decoder knows single pictures only.
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    # With "file:" in front, a name such as "http:x.gif" is still a name.
    with av.open(f"file:{path}", options=_CONTAINERS) as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        stream = container.streams.video[0]
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        stream.codec_context.thread_count = 1  # files are decoded side by side; threads within one gain nothing
        yield container, stream


def _read_video(
    path: Path, config: ClipConfig, wanted: Collection[int] | None
) -> Generator[tuple[int, NDArray[np.uint8] | None]]:
    # One reformatter for the whole file: setting up the scaler for each frame costs 25 times the scaling.
    reformatter = VideoReformatter()
    number = 0
    with _open_video(path) as (container, stream):
        aspect = stream.sample_aspect_ratio
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    continue
                try:
                    frames = packet.decode()
                except FFmpegError:
                    continue  # a damaged packet costs its own frame, not the rest of the file
                for frame in frames:
                    if frame.is_corrupt:
                        continue
                    image = None
                    if wanted is None or number in wanted:
                        image = fit_frame(frame, reformatter, aspect, config)
                    yield number, image
                    number += 1
        except FFmpegError:
            if number == 0:
                raise


def _read_webp(
    path: Path, config: ClipConfig, wanted: Collection[int] | None
) -> Generator[tuple[int, NDArray[np.uint8] | None]]:
    with Image.open(path, formats=["WEBP"]) as image:
        for number in range(getattr(image, "n_frames", 1)):
            if wanted is not None and number not in wanted:
                yield number, None
                continue
            try:
                image.seek(number)
                picture = fit_picture(image, config)
            except Exception:
                if number == 0:
                    raise
                return  # truncated: the frames before the break stand
            yield number, picture


def _read_pictures(
    folder: Path, config: ClipConfig, wanted: Collection[int] | None
) -> Generator[tuple[int, NDArray[np.uint8] | None]]:
    for number, path in enumerate(frame_files(folder)):
        if wanted is not None and number not in wanted:
            yield number, None
            continue
        try:
            with Image.open(path, formats=["PNG", "JPEG"]) as image:
                yield number, fit_picture(image, config)
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(f"its frame {path.name} cannot be decoded") from error
