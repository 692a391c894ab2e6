"""Many files decoded side by side, and handed out in the order they were asked for.

Threads do it, not processes: PyAV decodes and scales outside the interpreter's lock (`benchmarks/decode.py` compares).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syncdraw.datasets.decode import DecodedSequence, content_hash, missing_frames
from syncdraw.datasets.prepared import ClipConfig, SequenceRecord
from syncdraw.datasets.sources import Problem, Source
from syncdraw.fitting import Unreadable
from syncdraw.video import frame_files

Decoder = Callable[[Source, ClipConfig], Iterable[DecodedSequence | Problem]]
"""Finds the sequences of a source; raises `Unreadable`."""


@dataclass(frozen=True)
class Entry:
    """All that came of one source: a line of the journal."""

    source: str
    size: int
    modified: int
    records: list[SequenceRecord] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, int, int]:
        return self.source, self.size, self.modified

    @property
    def frames(self) -> int:
        """Frames of all its sequences."""
        return sum(record.length for record in self.records)


@dataclass
class Previous:
    """What the destination holds already, decoded in the same way: each source's entry, and its first of `frames`."""

    frames: NDArray[np.uint8]
    entries: dict[tuple[str, int, int], tuple[Entry, int]] = field(default_factory=dict)


NOTHING = Previous(np.empty(0, np.uint8))


def file_stamp(source: Source) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds, (-1, 0) if it is gone.

    Of parts, or a folder of frames, the sum of the sizes, and a number that changes with any name, size or time.
    """
    try:
        if not source.parts and not source.path.is_dir():
            found = source.path.stat()
            return found.st_size, found.st_mtime_ns
        stats = [(part.name, part.stat()) for part in source.parts or frame_files(source.path)]
    except OSError:
        return -1, 0
    listed = repr([(name, found.st_size, found.st_mtime_ns) for name, found in stats])
    digest = hashlib.blake2b(listed.encode("utf-8", "surrogateescape"), digest_size=7).digest()
    return sum(found.st_size for _, found in stats), int.from_bytes(digest)


def _decode_one(
    source: Source, config: ClipConfig, decoder: Decoder, previous: Previous, spool_folder: Path | None
) -> tuple[Entry, IO[bytes]]:
    """Decode one source; its frames go to a file, which is in memory while it is small."""
    entry = Entry(source.name, *file_stamp(source))
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(1 << 24, dir=str(spool_folder) if spool_folder else None)  # noqa: SIM115 (the writer closes it)
    if entry.key in previous.entries:
        entry, start = previous.entries[entry.key]
        for frame in previous.frames[start : start + entry.frames]:
            spool.write(frame.data)
        return entry, spool
    whole = 0
    try:
        hashed = content_hash(source.path, source.parts)
        for found in decoder(source, config):
            if isinstance(found, Problem):
                entry.problems.append(found)
                continue
            length = 0
            for length, frame in enumerate(found.frames, 1):  # noqa: B007 (it is counted)
                if spool_folder is not None:
                    spool.write(frame.data)
            if problem := missing_frames(length, config):
                entry.problems.append(Problem(source.name, problem))
                break
            whole = spool.tell()
            entry.records.append(
                SequenceRecord(
                    source.name, found.first, length, hashed, entry.size, entry.modified, "train", [], found.measured
                )
            )
    except Unreadable as error:
        entry.problems.append(Problem(source.name, f"unreadable ({error})"))
    # What a decoder gave before it failed is whole, and stays.
    spool.truncate(whole)
    return entry, spool


def decode_in_order(
    sources: Sequence[Source],
    config: ClipConfig,
    decoder: Decoder,
    previous: Previous,
    spool_folder: Path | None,
    workers: int | None,
    progress: bool,
    done: int,
) -> Iterator[tuple[Entry, IO[bytes]]]:
    """Decode side by side, hand out in order; the frames of only a few files are held at any time."""
    workers = workers or os.cpu_count() or 1
    waiting: deque[Future[tuple[Entry, IO[bytes]]]] = deque()
    bar = tqdm(total=done + len(sources), initial=done, unit="file", disable=not progress)
    with bar, ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(_decode_one, source, config, decoder, previous, spool_folder))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
        finally:
            for future in waiting:
                future.cancel()
