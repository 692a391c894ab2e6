"""What the outermost parts of a file tell before anything in it is decoded: whether its end is there; what it promises.

A part says how long it is and what it is: RIFF chunks (AVI), ISO boxes (MP4, MOV), EBML elements (Matroska, WebM), ASF
objects (WMV), and the blocks of a GIF.
"""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# FFmpeg makes room for every frame that the index of an MP4 promises, and a few bytes can promise a thousand million.
# So many are 46 hours at 25 frames a second.
_MOST_FRAMES = 1 << 22

_EBML_HEADER, _EBML_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF_OBJECT = b"\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa"  # bytes 1 to 11 of what begins the header and the data
_ISO_FOLDERS = frozenset({b"moov", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"})


DEFAULT_FRAMES_PER_SECOND = 5.0
#: Seconds; browsers and FFmpeg show a frame of a GIF that has a shorter delay for 0.1 s.
SHORTEST_FRAME = 0.02

DRAWN_MARK = b"made by syncdraw"
"""A comment in the first or last 4,096 bytes of a video that was drawn, not filmed, so that it never becomes a training
clip by accident."""


def is_cut_short(path: Path) -> bool:
    """Whether one of a file's outermost parts is longer than what is left of the file, so that its end is missing."""
    size, end = path.stat().st_size, 0
    with path.open("rb") as file:
        while end < size:
            file.seek(end)
            length = _part_length(file.read(24))
            if length <= 0:
                return False
            end += length
    return end > size


def _part_length(head: bytes) -> int:
    """How many bytes the part has that begins so; 0 where it does not say."""
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return length + 8 if 0 < length < 0xFFFFFFFF else 0
    if head[:4] in (_EBML_HEADER, _EBML_SEGMENT):
        width = 9 - head[4].bit_length()
        unknown = (1 << 7 * width) - 1
        length = int.from_bytes(head[4 : 4 + width], "big") & unknown
        return 4 + width + length if length != unknown else 0
    if head[1:12] == _ASF_OBJECT:
        return int.from_bytes(head[16:24], "little")
    return _box(head)[0] if head[4:8].isalpha() else 0


def _box(head: bytes) -> tuple[int, bytes, bytes]:
    """The length of an ISO box, its name and the beginning of what it holds."""
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        return int.from_bytes(head[8:16], "big"), head[4:8], head[16:]
    return length, head[4:8], head[8:]


def promises_too_much(path: Path) -> bool:
    """Whether the index of an MP4 or MOV has more frames than any film, so that it must not be opened."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return _frames_promised(file, 0, size) > _MOST_FRAMES


def _frames_promised(file: BinaryIO, start: int, end: int) -> int:
    """The frames in the index of the tracks and fragments between two places in a file."""
    found: dict[bytes, list[int]] = defaultdict(list)
    fragments = tracks = 0
    for name, begin, stop, content in _boxes(file, start, end):
        numbers = [int.from_bytes(content[place : place + 4], "big") for place in range(0, 20, 4)]
        if name == b"trak":
            tracks += _frames_promised(file, begin, stop)
        elif name == b"cmov":
            return _MOST_FRAMES + 1  # a compressed index can promise anything
        elif name == b"trun":
            fragments += numbers[1]
        else:
            found[name] += numbers
    frames = sum(found[b"stsz"][2::5]) + sum(found[b"stz2"][2::5])
    # Of sound whose samples last one tick each, FFmpeg keeps chunks; an hour has 170 million samples.
    is_sound = found[b"hdlr"][2:3] == [int.from_bytes(b"soun", "big")] and found[b"stts"][1:4:2] == [1, 1]
    # Each edit may show the whole track once more.
    return tracks + fragments + (0 if is_sound else frames * max([1, *found[b"elst"][1::5]]))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int, bytes]]:
    """The boxes between two places, those in folders too: name, where the content begins and ends, its beginning."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(40)
        length, name, content = _box(head)
        begin = start + len(head) - len(content)
        stop = min(end, start + length) if length else end
        if stop < begin:
            return
        if name in _ISO_FOLDERS:
            yield from _boxes(file, begin, stop)
        else:
            yield name, begin, stop, content
        start = stop


def gif_images(data: bytes | mmap.mmap) -> tuple[list[tuple[int, int]], bool]:
    """Where the whole images of a GIF begin and end, each with its descriptor and palette; and whether the GIF ends."""

    def palette_size(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    images: list[tuple[int, int]] = []
    try:
        position = 13 + palette_size(data[10])
        while data[position] != 0x3B:
            start = position
            is_image = data[position] == 0x2C
            if not is_image and data[position] != 0x21:
                return images, False
            # An image has a descriptor, a palette and a code size; an extension has two bytes of introduction.
            position += 11 + palette_size(data[position + 9]) if is_image else 2
            while data[position]:  # blocks of data, each led by its length, the last of length 0
                position += 1 + data[position]
            position += 1
            if is_image:
                images.append((start, position))
    except IndexError:
        return images, False
    return images, True
