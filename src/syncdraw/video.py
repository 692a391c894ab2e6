"""Videos read from files of any kind: the one reader, for `read_video` and for the preparation of data sets.

PyAV decodes films and GIFs; Pillow decodes WebP, animated PNG, AVIF and folders of pictures. A file's content decides,
not its suffix, and nothing that stands in its metadata can make it unreadable. Frames are counted by decoding them:
edit lists, hidden, dropped and reordered frames make every other number wrong.

Files may mean harm: only regular files are opened, as one of a few containers that hold their pictures themselves; the
size of a frame is checked before there is memory for it; and one frame is held at a time.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, features

from syncdraw.containers import DEFAULT_FRAMES_PER_SECOND, SHORTEST_FRAME, gif_images, is_cut_short, promises_too_much
from syncdraw.errors import UserError
from syncdraw.fitting import MOST_PIXELS, Shape, Unreadable, check_size, fit_frame, picture_frame

if TYPE_CHECKING:
    from torch import Tensor

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".gif", ".webp", ".apng",
     ".avif"}
)  # fmt: skip
FRAME_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})

#: What a folder of pictures is played at where it does not say; slow enough to watch ten frames.

_OPTIONS = {
    # Containers that hold their pictures themselves. A playlist under a video's name must not open other files or
    # hosts, nor a session description wait on a socket.
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,avi,matroska,webm,gif,mpeg,mpegts,mpegvideo,ogg,asf,flv,h264,hevc,m4v",
    "max_pixels": str(MOST_PIXELS),
}
_PICTURES = {b"\xff\xd8\xff": "a JPEG picture", b"\x89PNG": "a PNG picture", b"BM": "a BMP picture",
             b"II*\0": "a TIFF picture", b"MM\0*": "a TIFF picture",
             b"<!DOCTYPE": "a web page", b"<!doctype": "a web page", b"<html": "a web page"}  # fmt: skip
_FRAME_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_MOST_VALUES = 1 << 29  # in a video that `read_video` gives: 2 GiB of float32


class Damaged(Unreadable):
    """A file of which some frames, at its end or between, do not decode. Those that do come before this is raised."""


@dataclass(frozen=True)
class Frame:
    """One frame of a file.

    Attributes:
        start: when it appears, seconds.
        end: when it disappears, seconds.
    """

    start: float
    end: float
    _render: Callable[[Shape | None], NDArray[np.uint8]]

    def pixels(self, shape: Shape | None = None) -> NDArray[np.uint8]:
        """The frame as a player shows it, uint8 `[channel, height, width]`, scaled to `shape` or as large as it is.

        To be asked for before the next frame is.

        Raises:
            Unreadable: it cannot be converted.
        """
        with reading():
            return self._render(shape)


def read_video(
    path: str | Path, *, frames: int | None = None, shape: tuple[int, int, int] | None = None, fit: str = "pad"
) -> tuple[Tensor, float]:
    """Read a GIF, WebP, APNG, AVIF, MP4, AVI, MKV, WebM, ... or a folder of frames.

    Args:
        path: the file or folder. What is in it counts, not its suffix.
        frames: read the first so many, and decode no further; None for all.
        shape: `(channels, height, width)` to bring each frame to, such as a model's; None for the file's own.
        fit: how: `pad`, `crop` or `stretch`, as `ClipConfig` explains them.

    Returns:
        The video, `float32 [frame, channel, height, width]` in [0, 1], and its frames a second. Without a `shape` there
        is one channel if the three colours agree in every pixel, else three. The rate is the mean one, frames over
        total duration: use `decode` for files whose frames last unequally long. A folder not written by `save_video`
        has no rate, and is given 5 a second.

    Raises:
        UserError: the path is missing, empty, damaged, cut short or not a video; it has fewer frames than asked for;
            its frames differ in size; the video would not fit into memory; or an argument is out of range.
    """
    import torch

    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no video {path}")
    wanted = _Shape(*shape, fit) if shape else None
    if frames is not None and frames < 1:
        raise UserError(f"frames is {frames}; it must be 1 or more")
    if shape and (shape[0] not in (1, 3) or min(shape) < 1):
        raise UserError(f"shape is {shape}; it must be 1 or 3 channels, a height and a width")
    if fit not in ("pad", "crop", "stretch"):
        raise UserError(f"fit is {fit!r}; it must be one of pad, crop, stretch")
    images: list[NDArray[np.uint8]] = []
    starts, ends = [], []
    try:
        with closing(decode(path)) as decoded:
            for frame in islice(decoded, frames):
                image = frame.pixels(wanted)
                _check_image(path, image, images)
                images.append(image)
                starts.append(frame.start)
                ends.append(frame.end)
    except Unreadable as error:
        known = path.is_dir() or kind_of(path) == "clip"
        advice = "" if known else "; give a folder of frames, or a video such as .gif, .webp or .mp4"
        raise UserError(f"cannot read {path}: {error}{advice}") from error
    if len(images) < (frames or 1):
        raise UserError(f"{path} has {len(images)} frames; {frames or 1} are needed")
    if wanted is None and all((image == image[:1]).all() for image in images):
        images = [image[:1] for image in images]
    video = torch.empty(len(images), *images[0].shape)
    for number, image in enumerate(images):
        video[number] = torch.from_numpy(image)
    seconds = max(ends) - min(starts)
    return video.div_(255), round(len(images) / seconds, 6) if seconds > 0 else DEFAULT_FRAMES_PER_SECOND


class _Shape(NamedTuple):
    channels: int
    height: int
    width: int
    fit: str
    ground: str = "white"

    @property
    def inner(self) -> tuple[int, int]:
        return self.height, self.width


def _check_image(path: Path, image: NDArray[np.uint8], before: list[NDArray[np.uint8]]) -> None:
    _, height, width = image.shape
    if before and image.shape != before[0].shape:
        raise UserError(
            f"{path}: frame {len(before) + 1} is {height} x {width} pixels and the first one "
            f"{before[0].shape[1]} x {before[0].shape[2]}; all frames must have one size"
        )
    if (len(before) + 1) * image.size > _MOST_VALUES:
        raise UserError(
            f"{path} is too long to be read whole at {height} x {width} pixels; "
            f"ask for at most {_MOST_VALUES // image.size} frames, or for smaller ones"
        )


def decode(path: Path) -> Generator[Frame]:
    """The frames of a file or folder in order, one at a time; no further than they are asked for.

    Raises:
        Unreadable: the file is missing, not regular, or not a video, or no frame of it decodes.
        Damaged: after the last frame that decodes, if others do not.
    """
    with reading():
        if path.is_dir():
            yield from _decode_folder(path)
            return
        with open_file(path) as file:
            head = file.read(4096)
        if (animation := _animation(head)) is not None:
            yield from _decode_animation(path, animation)
            return
        for start, kind in _PICTURES.items():
            if head.lstrip().startswith(start):
                raise Unreadable(f"it is {kind}, not a video")
        if head[:4] != b"GIF8":
            yield from _decode_film(path)
            return
        # A GIF does not say how many frames it has; and half a frame decodes without an error.
        with open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            images, whole = gif_images(data)
        if not images:
            raise Unreadable("it breaks off before the end of its first frame")
        yield from islice(_decode_film(path), len(images))
        if not whole:
            raise Damaged(f"it breaks off after {len(images)} whole frames")


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever a decoder raises into `Unreadable`; what each raises on nonsense, nobody has listed."""
    try:
        yield
    except (Unreadable, UserError):
        raise
    except Exception as error:
        reason = "it is damaged, cut short, or of a kind that cannot be decoded"
        if isinstance(error, OSError) and error.errno and not isinstance(error, FFmpegError):
            reason = f"{error.strerror}"
        raise Unreadable(reason) from error


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file, and nothing else: a pipe would wait for ever, a device give for ever.

    Raises:
        Unreadable: it is not regular, or cannot be opened.
    """
    with reading():
        # Asked once it is open, and not before, for it could change in between.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
        raise Unreadable("it is not a regular file")


def kind_of(path: Path) -> Literal["clip", "frame", "other"]:
    """Whether a file, by its suffix, is a video or a picture that may be a frame in a folder.

    PNG and WebP can be both; there the content says which.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".webp"):
        return "clip" if suffix in VIDEO_SUFFIXES else "frame" if suffix in FRAME_SUFFIXES else "other"
    head = b""
    with suppress(Unreadable), open_file(path) as file:
        head = file.read(4096)
    if suffix == ".png":
        return "clip" if _animation(head) else "frame"
    return "frame" if head[8:12] == b"WEBP" and not (head[12:16] == b"VP8X" and head[20] & 2) else "clip"


def frame_files(folder: Path) -> list[Path]:
    """The pictures in a folder of frames, in the order that their numbers give: 2.png comes before 10.png."""
    pictures = [
        path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".")
    ]
    return sorted(
        pictures,
        key=lambda path: (
            [(int(digits or -1), text) for digits, text in re.findall(r"([0-9]+)|([^0-9]+)", path.name)], path.name
        ),
    )  # fmt: skip


def _animation(head: bytes) -> str | None:
    """Pillow's name of the format of a file that begins so, if it is one that Pillow is to decode."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"  # FFmpeg's WebP decoder knows single pictures only
    if head[:4] == b"\x89PNG" and b"acTL" in head.partition(b"IDAT")[0]:
        return "PNG"
    if head[4:8] == b"ftyp" and (b"avif" in head[8:64] or b"avis" in head[8:64]):
        return "AVIF"
    return None


def _decode_folder(folder: Path) -> Iterator[Frame]:
    reformatter = VideoReformatter()
    files = frame_files(folder)
    if not files:
        raise Unreadable("it holds no frames: expected pictures such as frame_0001.png")
    rate = DEFAULT_FRAMES_PER_SECOND
    with suppress(Exception), open_file(files[0]) as file, Image.open(file, formats=["PNG"]) as image:
        rate = min(max(float(image.info["frames_per_second"]), 0.001), 1000.0)
    for number, path in enumerate(files):
        yield Frame(number / rate, (number + 1) / rate, partial(_render_file, path, reformatter))


def _render_file(path: Path, reformatter: VideoReformatter, shape: Shape | None) -> NDArray[np.uint8]:
    try:
        with open_file(path) as file, Image.open(file, formats=_FRAME_FORMATS) as image:
            return fit_frame(picture_frame(image), shape, reformatter)
    except Unreadable as error:
        raise Unreadable(f"its frame {path.name}: {error}") from error
    except Exception as error:
        raise Unreadable(f"its frame {path.name} cannot be decoded") from error


def _decode_animation(path: Path, kind: str) -> Iterator[Frame]:
    if kind == "AVIF" and not features.check("avif"):
        raise Unreadable("it is an AVIF, which this version of Pillow cannot decode; install a newer one")
    reformatter = VideoReformatter()
    end = 0.0
    with open_file(path) as file, Image.open(file, formats=[kind]) as image:
        check_size(image.width, image.height)
        count = getattr(image, "n_frames", 1)
        # The first picture of an animated PNG may be for those who cannot show the animation.
        first = int(bool(image.info.get("default_image")))
        for number in range(first, count):
            try:
                image.seek(number)
                image.load()
            except Exception as error:
                if number == first:
                    raise
                raise Damaged(f"it breaks off after {number - first} of {count - first} frames") from error
            duration = image.info.get("duration", 0) / 1000  # of a WebP, known once the frame has been decoded
            start, end = end, end + (duration if duration >= SHORTEST_FRAME else 0.1)
            yield Frame(start, end, lambda shape: fit_frame(picture_frame(image), shape, reformatter))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    # With "file:" in front, a name such as "http:x.gif" is still a name.
    with av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace") as container:
        yield container


def _decode_film(path: Path) -> Iterator[Frame]:
    if promises_too_much(path):
        raise Unreadable("its index promises more frames than any film has")
    reformatter = VideoReformatter()
    with _opened(path) as container:
        stream = container.streams[_film(path, container)]
        decoder = _decoder(stream)
        check_size(decoder.width, decoder.height)
        decoder.options = {"max_pixels": str(MOST_PIXELS)}
        decoder.thread_count = 1  # files are decoded side by side; threads within one gain nothing
        aspect = stream.sample_aspect_ratio
        # Uncompressed AVI has four bytes a pixel, of which the fourth means nothing, and often is 0.
        layout = "rgb24" if (container.format.name, decoder.name) == ("avi", "rawvideo") else None
        interval = float(1 / (stream.average_rate or stream.guessed_rate or DEFAULT_FRAMES_PER_SECOND))
        number = lost = 0
        end = 0.0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                break  # what comes before the end of a truncated file counts
            if packet is None:
                break
            if not packet.size and packet.dts is not None:
                continue  # a dropped frame: the one before it is shown for longer
            try:
                # A damaged packet costs its own frame, not the rest of the file.
                frames = [] if packet.is_corrupt else decoder.decode(packet)
                lost += packet.is_corrupt and number > 0
            except FFmpegError:
                frames = []
                lost += number > 0  # a film that was cut out of another may begin with frames that lean on missing ones
            for frame in frames:
                if frame.is_corrupt:
                    lost += number > 0
                    continue
                start = end if frame.time is None else frame.time
                end = start + (float(frame.duration * (frame.time_base or 0)) or interval)
                yield Frame(start, end, partial(_render_frame, frame, layout, aspect, reformatter))
                number += 1
        if number == 0:
            raise Unreadable("none of its frames can be decoded")
        seconds = float((stream.duration or 0) * (stream.time_base or 0)) or (container.duration or 0) / av.time_base
        due = max(seconds, interval * stream.frames)
    # What a header promises proves nothing, nor does a missing end: it may have held sound or an index. Both do.
    if (not due or end + interval / 2 < due) and is_cut_short(path):
        where = f", at {end:.2f} of {due:.2f} seconds" if due else ""
        raise Damaged(f"it breaks off after {number} frames{where}")
    if lost:
        raise Damaged(f"{lost} of its frames cannot be decoded, {number} can")


def _render_frame(
    frame: av.VideoFrame, layout: str | None, aspect: Any, reformatter: VideoReformatter, shape: Shape | None
) -> NDArray[np.uint8]:
    return fit_frame(reformatter.reformat(frame, format=layout), shape, reformatter, aspect)


def _film(path: Path, container: Any) -> int:
    """The index of the stream to decode: moving pictures before a still one, then the largest, then the default."""
    no_film = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [one for one in container.streams.video if not one.disposition & no_film]
    if not films:
        raise Unreadable("it has no video stream")
    # Without a decoder there is no context; asking such a stream to decode would end the process.
    films = [one for one in films if one.codec_context is not None]
    if not films:
        raise Unreadable("its video is in a format that cannot be decoded")
    packets: Counter[int] = Counter({films[0].index: 2})
    if len(films) > 1:
        packets.clear()
        with _opened(path) as again, suppress(FFmpegError):
            for packet in again.demux([again.streams[one.index] for one in films]):
                packets[packet.stream_index] += packet.size > 0
                if all(packets[one.index] > 1 for one in films):
                    break
    best = max(
        films,
        key=lambda one: (
            packets[one.index] > 1, one.codec_context.width * one.codec_context.height,
            bool(one.disposition & Disposition.default),
        ),
    )  # fmt: skip
    return int(best.index)


def _decoder(stream: Any) -> Any:
    """What decodes a stream. FFmpeg's own decoders of VP8 and VP9 leave out the transparency that libvpx's decode."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name, "")
    if stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return stream.codec_context
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.width, decoder.height = stream.codec_context.width, stream.codec_context.height
    return decoder
