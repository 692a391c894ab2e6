"""From a list of files to a prepared folder: decoded in parallel, once, resumable, and no file stops the others.

Files are decoded by threads (PyAV works outside the interpreter's lock) and written in the order of the list, so that
the result does not depend on the number of workers. Next to the destination, a hidden folder holds the growing array
and a journal with one line for each finished file. A run that was broken off goes on after the last whole line; one
that comes to its end puts the prepared folder in place in one step. Files that have not changed since the destination
was prepared with the same settings are copied from it, not decoded.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from syncdraw.datasets.decode import content_hash
from syncdraw.datasets.parallel import NOTHING, Decoder, Entry, Previous, decode_in_order, file_stamp
from syncdraw.datasets.prepared import (
    ABOUT,
    CLIPS,
    FORMAT,
    MANIFEST,
    SPLITS,
    ClipConfig,
    ClipRecord,
    Split,
    read_about,
    read_manifest,
)
from syncdraw.datasets.sources import Problem, Report, Source
from syncdraw.errors import UserError
from syncdraw.files import atomic_path, named, remove_tree
from syncdraw.fitting import Unreadable


def prepare(
    kind: str,
    sources: Sequence[Source],
    destination: str | Path | None,
    config: ClipConfig,
    decoder: Decoder,
    *,
    check: bool,
    workers: int | None,
    progress: bool,
    problems: Sequence[Problem] = (),
    remarks: Sequence[str] = (),
) -> Report:
    """Decode `sources` into a prepared folder. Data sets call this once they know their files.

    Args:
        kind: the data set's name; a folder that was prepared as another kind is decoded anew.
        sources: in the order that the clips are to have.
        destination: the folder to make. None only with `check`.
        config: what to cut from each file.
        decoder: how to cut it.
        check: decode everything and write nothing.
        workers: threads; None for one each processor.
        progress: show a bar on standard error.
        problems: those found so far, without decoding.
        remarks: for the report.

    Raises:
        UserError: there is nothing to prepare, no clip came of it, or `destination` cannot be written or holds
            something else.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; it must be 1 or more")
    if check:
        entries = [entry for entry, _ in decode_in_order(sources, config, decoder, NOTHING, None, workers, progress, 0)]
        return _report(entries, sources, config, problems, remarks)
    if destination is None:
        raise UserError("a destination folder is needed to write to; only a check works without")
    return _Job(kind, sources, Path(destination), config, decoder, workers, progress, problems, remarks).run()


def _records(entries: Sequence[Entry], sources: Sequence[Source], config: ClipConfig) -> list[ClipRecord]:
    """All clips in order, with what does not come from their pixels: split and captions."""
    counts: Counter[str] = Counter()
    for entry, source in zip(entries, sources, strict=True):
        if source.split is None:
            counts.update(record.hash for record in entry.records)
    splits = _splits(counts, config)
    return [
        replace(
            record,
            split=source.split or splits[record.hash],
            captions=[f"{caption} {record.measured}".strip() for caption in source.captions],
        )
        for entry, source in zip(entries, sources, strict=True)
        for record in entry.records
    ]


def _splits(counts: Mapping[str, int], config: ClipConfig) -> dict[str, Split]:
    """The split of each file by its hash, given how many clips each has.

    Of few files, or files of very different length, chance would leave a split empty or little to train on. So the
    largest files go to train until it has half of its share, and a split without any gets the smallest of train's.
    """
    splits = {hashed: config.split_of(hashed) for hashed in counts}
    by_size = sorted(counts, key=lambda hashed: (counts[hashed], hashed))
    due = (1 - config.validation_share - config.test_share) / 2 * sum(counts.values())
    held = sum(counts[hashed] for hashed in counts if splits[hashed] == "train")
    for hashed in reversed(by_size):
        if held < due and splits[hashed] != "train":
            splits[hashed] = "train"
            held += counts[hashed]
    shares: dict[Split, float] = {"validation": config.validation_share, "test": config.test_share}
    for split, share in shares.items():
        train = [hashed for hashed in by_size if splits[hashed] == "train"]
        if share > 0 and split not in splits.values() and len(train) > 1:
            splits[train[0]] = split
    return splits


def _report(
    entries: Sequence[Entry],
    sources: Sequence[Source],
    config: ClipConfig,
    problems: Sequence[Problem],
    remarks: Sequence[str],
) -> Report:
    records = _records(entries, sources, config)
    return Report(
        sources=len(sources),
        clips=len(records),
        captioned=sum(bool(record.captions) for record in records),
        splits={name: sum(record.split == name for record in records) for name in SPLITS},
        problems=[*problems, *(problem for entry in entries for problem in entry.problems)],
        remarks=list(remarks),
    )


# ---- writing, resuming, replacing ------------------------------------------------------------------------------------


@dataclass
class _Job:
    kind: str
    sources: Sequence[Source]
    destination: Path
    config: ClipConfig
    decoder: Decoder
    workers: int | None
    progress: bool
    problems: Sequence[Problem]
    remarks: Sequence[str]

    def run(self) -> Report:
        there = named(self.destination)
        if there.exists() and not (there / ABOUT).is_file() and (not there.is_dir() or any(there.iterdir())):
            raise UserError(f"{there} exists and was not made by syncdraw prepare; give a new folder, or delete it")
        config = asdict(self.config)
        self._settings = {"kind": self.kind, "format": FORMAT, "config": config}
        # Splits and captions are added to what is decoded, so a change of theirs costs no decoding.
        self._pixels = _digest(
            [self.kind, FORMAT, {name: config[name] for name in config if not name.endswith("_share")}]
        )
        work = there.with_name(f".{there.name}.preparing")
        try:
            with _locked(work, self.progress):
                stamps = [file_stamp(source.path) for source in self.sources]
                listed = [
                    [source.name, *stamp, source.captions, source.split]
                    for source, stamp in zip(self.sources, stamps, strict=True)
                ]
                self._fingerprint = _digest([self._settings, [asdict(one) for one in self.problems], listed])
                about = self._about()
                if about.get("fingerprint") == self._fingerprint:
                    remove_tree(work, inside=work.parent)
                    stored = dict(about["report"])
                    problems = [Problem(**one) for one in stored.pop("problems")]
                    return replace(Report(**stored, problems=problems), unchanged=True)
                return self._build(work, about, stamps)
        except OSError as error:
            raise UserError(f"cannot write {there}: {error.strerror or error}") from error

    def _about(self) -> dict[str, Any]:
        """`prepared.json` of the destination as it is, or nothing if it or what it tells of is missing or damaged."""
        with suppress(UserError, Unreadable, OSError, KeyError, TypeError):
            about = read_about(self.destination)
            shape = (about["report"]["clips"], *ClipConfig(**about["config"]).shape)
            array = self.destination / CLIPS
            with array.open("rb") as file:
                whole = file.read(_HEADER) == _npy_header(shape) and array.stat().st_size == _HEADER + np.prod(shape)
            if whole and about["manifest"] == content_hash(self.destination / MANIFEST):
                return about
        return {}

    def _build(self, work: Path, about: dict[str, Any], stamps: Sequence[tuple[int, int]]) -> Report:
        previous = self._previous(about)
        entries, rows, offset = self._resumed(work, stamps)
        with (work / CLIPS).open("r+b") as array, (work / "journal.jsonl").open("r+b") as journal:
            array.truncate(_HEADER + rows * self._clip_bytes)
            array.seek(0, os.SEEK_END)
            journal.truncate(offset)
            journal.seek(offset)
            rest = self.sources[len(entries) :]
            for entry, spool in decode_in_order(
                rest, self.config, self.decoder, previous, work, self.workers, self.progress, len(entries)
            ):
                with spool:
                    spool.seek(0)
                    shutil.copyfileobj(spool, array, 1 << 20)
                # The array first: a line in the journal promises that its clips are there.
                array.flush()
                journal.write(json.dumps(asdict(entry)).encode() + b"\n")
                journal.flush()
                entries.append(entry)
                rows += len(entry.records)
            array.seek(0)
            array.write(_npy_header((rows, *self.config.shape)))
            array.flush()
            os.fsync(array.fileno())
        remarks = [*self.remarks, *_changes(about, self._settings)]
        if reused := sum(entry.key in previous.entries for entry in entries):
            remarks.append(f"{reused} files had not changed; their clips were copied, not decoded")
        report = _report(entries, self.sources, self.config, self.problems, remarks)
        if report.clips:
            self._publish(work / CLIPS, entries, report)
        remove_tree(work, inside=work.parent)
        if not report.clips:
            why = f"; the first of {len(report.problems)} problems is {report.problems[0]}" if report.problems else ""
            raise UserError(f"no clip could be cut from {len(self.sources)} files{why}")
        return report

    @property
    def _clip_bytes(self) -> int:
        return int(np.prod(self.config.shape))

    def _previous(self, about: dict[str, Any]) -> Previous:
        """The clips of the destination as it is, if they were cut in the same way."""
        if about.get("pixels") != self._pixels:
            return NOTHING
        records = read_manifest(self.destination)
        previous = Previous(np.asarray(np.load(self.destination / CLIPS, mmap_mode="r")))
        said: dict[str, list[Problem]] = {}
        for one in about["decoding"]:
            said.setdefault(one["name"], []).append(Problem(**one))
        for row, record in enumerate(records):
            fresh = Entry(record.source, record.size, record.modified, problems=said.get(record.source, []))
            entry, rows = previous.entries.setdefault(fresh.key, (fresh, []))
            entry.records.append(record)
            rows.append(row)
        return previous

    def _resumed(self, work: Path, stamps: Sequence[tuple[int, int]]) -> tuple[list[Entry], int, int]:
        """What a run that was broken off has left: its entries, their number of clips, and the journal's good bytes."""
        array, journal = work / CLIPS, work / "journal.jsonl"
        head = json.dumps({"pixels": self._pixels}).encode() + b"\n"
        entries: list[Entry] = []
        rows, offset = 0, len(head)
        with suppress(OSError, ValueError, TypeError, KeyError):
            held = (array.stat().st_size - _HEADER) // self._clip_bytes
            lines = journal.read_bytes().splitlines(keepends=True)
            if not lines or lines[0] != head:
                lines = []
            for line, source, stamp in zip(lines[1:], self.sources, stamps, strict=False):
                values = json.loads(line)
                entry = Entry(
                    **{**values, "records": [ClipRecord(**record) for record in values["records"]],
                       "problems": [Problem(**problem) for problem in values["problems"]]}
                )  # fmt: skip
                same = entry.key == (source.name, *stamp)
                if not same or not line.endswith(b"\n") or rows + len(entry.records) > held:
                    break
                entries.append(entry)
                rows += len(entry.records)
                offset += len(line)
        if not entries:
            array.write_bytes(bytes(_HEADER))
            journal.write_bytes(head)
        return entries, rows, offset

    def _publish(self, array: Path, entries: Sequence[Entry], report: Report) -> None:
        with atomic_path(self.destination) as folder:
            folder.mkdir()
            with (folder / MANIFEST).open("w", encoding="utf-8") as manifest:
                for record in _records(entries, self.sources, self.config):
                    manifest.write(json.dumps(asdict(record)) + "\n")
            about = {
                **self._settings,
                "pixels": self._pixels,
                "manifest": content_hash(folder / MANIFEST),
                "fingerprint": self._fingerprint,
                "report": asdict(report),
                "decoding": [asdict(problem) for entry in entries for problem in entry.problems],
            }
            (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            os.replace(array, folder / CLIPS)


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def _changes(about: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Which settings replace those of the folder that was there."""
    if not about:
        return []
    old, new = about["config"], settings["config"]
    changed = [f"{name} {old.get(name)} is now {new[name]}" for name in new if old.get(name) != new[name]]
    if about["kind"] != settings["kind"]:
        changed.insert(0, f"{about['kind']} is now {settings['kind']}")
    return [f"replaced what was prepared with other settings ({', '.join(changed)})"] if changed else []


_HEADER = 256


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The head of a .npy file, padded to `_HEADER` bytes so that it can be written once the clips are counted."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    text = buffer.getvalue()[10:].rstrip()
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text.ljust(_HEADER - 11) + b"\n"


@contextmanager
def _locked(work: Path, progress: bool) -> Iterator[None]:
    """One process at a time in the folder `work`; others wait. Without the lock, two runs would mix their clips."""
    if sys.platform == "win32":
        work.mkdir(parents=True, exist_ok=True)
        yield
        return
    import fcntl

    while True:
        try:
            work.mkdir(parents=True, exist_ok=True)
            lock = (work / "lock").open("w")
        except (FileNotFoundError, FileExistsError):
            if os.path.lexists(work) and not work.is_dir():
                raise
            continue  # another process has finished, and removed the folder, in between
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if progress:
                    print("waiting for another process that prepares the same folder", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            # Whoever held the lock may have finished and removed the folder: then this is the lock of nothing.
            held = False
            with suppress(OSError):
                held = os.fstat(lock.fileno()).st_ino == (work / "lock").stat().st_ino
            if held:
                yield
                return
