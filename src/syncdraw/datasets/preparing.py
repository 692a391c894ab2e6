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
import math
import os
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from syncdraw.datasets.decode import content_hash
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.parallel import NOTHING, Entry, Previous, decode_in_order, file_stamp
from syncdraw.datasets.prepared import (
    ABOUT,
    FORMAT,
    FRAMES,
    MANIFEST,
    SPLITS,
    ClipConfig,
    SequenceRecord,
    Split,
    read_about,
    read_manifest,
)
from syncdraw.datasets.sources import BY_CONTENT, Problem, Report, Source, shortened
from syncdraw.errors import UserError
from syncdraw.files import atomic_path, named, remove_tree
from syncdraw.fitting import Unreadable
from syncdraw.reading import read_settings


def prepare(
    listing: Listing,
    destination: str | Path | None = None,
    config: ClipConfig | None = None,
    *,
    check: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Decode a data set once, into a prepared folder that `PreparedClips` reads.

    Called again, it does nothing if neither the clips nor the settings have changed, decodes only what is new if clips
    have been added or removed, and decodes all anew if the settings have changed; the old content stays in place until
    the new is complete. A run that was broken off goes on where it stopped.

    A file that cannot be used never stops the others: it is named in the report.

    Args:
        listing: the files, as one of the `list_*` functions found them.
        destination: the prepared folder to make; not needed with `check`.
        config: what to cut from each file; None for what suits the data set.
        check: decode everything, write nothing, and report what a preparation would do, even if that is nothing.
        workers: files to decode at once; None for one each processor.
        progress: show a bar on standard error.

    Returns:
        how many clips came of it, and each file that is unreadable, too short or without a caption.

    Raises:
        UserError: no clip can be used, or `destination` cannot be written or holds something else.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; it must be 1 or more")
    config = config or listing.config
    if check:
        decoded = decode_in_order(listing.sources, config, listing.decoder, NOTHING, None, workers, progress, 0)
        return _report([entry for entry, _ in decoded], listing, config, listing.remarks)
    if destination is None:
        raise UserError("a destination folder is needed to write to; only a check works without")
    return _Job(listing, Path(destination), config, workers, progress).run()


# ---- splits ----------------------------------------------------------------------------------------------------------


def _records(entries: Sequence[Entry], sources: Sequence[Source], config: ClipConfig) -> list[SequenceRecord]:
    """All sequences in order, with what does not come from their pixels: split and captions."""
    pairs = [(record, source) for entry, source in zip(entries, sources, strict=True) for record in entry.records]
    captioned = {_shared(record, source) for record, source in pairs if source.captions}
    # How many clips there are of each file (or group, or content): apart for those of which a list says that they are
    # not for test, and for those with captions, so that each split has some of them.
    counts: dict[tuple[bool, bool], Counter[str]] = defaultdict(Counter)
    for record, source in pairs:
        if _is_drawn(source):
            shared = _shared(record, source)
            counts[source.split is None, shared in captioned][shared] += config.clips_in(record.length)
    splits: dict[tuple[bool, str], Split] = {}
    for (free, _), counted in counts.items():
        shares = config if free else replace(config, test_share=0.0)
        splits |= {(free, shared): split for shared, split in _splits(counted, shares).items()}
    records = []
    for record, source in pairs:
        split = source.split
        if split is None or _is_drawn(source):
            split = splits[split is None, _shared(record, source)]
        captions = [f"{caption} {record.measured}".strip() for caption in source.captions]
        records.append(replace(record, split=split, captions=captions))
    return records


def _is_drawn(source: Source) -> bool:
    """Whether a hash decides on the split, wholly or between training and validation."""
    return source.split is None or (source.split == "train" and bool(source.group))


def _shared(record: SequenceRecord, source: Source) -> str:
    """What all sequences of one split have in common, as a hash: their group, else their file's content."""
    by_content = source.group in ("", BY_CONTENT)
    return record.hash if by_content else hashlib.blake2b(source.group.encode()).hexdigest()


_FEW = 1000


def _splits(counts: Mapping[str, int], config: ClipConfig) -> dict[str, Split]:
    """The split of each file by its hash, given how many clips each has.

    Of many files, the hash alone decides, so that further files do not move it. Of few, chance would leave a split much
    too large, small or empty; so those with the lowest hashes are held out, as many as the shares say. Of files of very
    different length, the largest go to train until it has half of its share; and a split without any gets the smallest
    of train's.
    """
    splits: dict[str, Split] = {hashed: config.split_of(hashed) for hashed in counts}
    if len(counts) < _FEW:
        test = round(config.test_share * len(counts))
        validation = test + round(config.validation_share * len(counts))
        for place, hashed in enumerate(sorted(counts)):
            splits[hashed] = "test" if place < test else "validation" if place < validation else "train"
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


def _report(entries: Sequence[Entry], listing: Listing, config: ClipConfig, remarks: Sequence[str]) -> Report:
    records = _records(entries, listing.sources, config)
    splits: dict[str, int] = {split: _clips(records, config, split) for split in SPLITS}
    size = sum(record.length for record in records) * _frame_bytes(config)
    large = [f"the frames take {size / 1e9:.1f} GB on disk"] if size > _LARGE else []
    return Report(
        sources=len(listing.sources),
        clips=sum(splits.values()),
        captioned=_clips([record for record in records if record.captions], config),
        splits=splits,
        problems=[*listing.problems, *(problem for entry in entries for problem in entry.problems)],
        remarks=[*remarks, *_of_few(records, listing.sources, config), *large],
    )


_LARGE = 10**9


def _clips(records: Sequence[SequenceRecord], config: ClipConfig, split: Split | None = None) -> int:
    """Clips of all sequences, or of those of a split."""
    return sum(config.clips_in(record.length) for record in records if split in (None, record.split))


def _of_few(records: Sequence[SequenceRecord], sources: Sequence[Source], config: ClipConfig) -> list[str]:
    """What training and evaluation will miss: clips that are held out, or captions."""
    remarks = []
    captioned = [record for record in records if record.captions]
    if 0 < len(captioned) < len(records):
        remarks.append(
            f"{_clips(captioned, config)} of {_clips(records, config)} clips have a caption: a model that draws from "
            "captions trains on these alone"
        )
    usable, what = (captioned, "clip with a caption") if captioned else (records, "clip")
    shares = {"validation": config.validation_share, "test": config.test_share}
    empty = [split for split, share in shares.items() if share > 0 and all(one.split != split for one in usable)]
    if empty and usable and all(source.split is None for source in sources):
        files = len({record.hash for record in usable})
        remarks.append(
            f"no {what} is held out for {' and '.join(empty)}: whole files are, and there "
            + ("is only one" if files == 1 else f"are only {files}")
        )
    return remarks


# ---- writing, resuming, replacing ------------------------------------------------------------------------------------


@dataclass
class _Job:
    listing: Listing
    destination: Path
    config: ClipConfig
    workers: int | None
    progress: bool

    def run(self) -> Report:
        there = named(self.destination)
        kind, config = self.listing.kind, asdict(self.config)
        self._settings = {"kind": kind, "format": FORMAT, "config": config}
        # All else is added to what is decoded, or chosen from it, so a change of it costs no decoding.
        fitted = [config[name] for name in ("channels", "height", "width", "fit")]
        fitted += [config["ground"]] * (config["ground"] != "white")  # folders of older versions have it on white
        fitted += [config["travel"]] * bool(config["travel"])
        self._pixels = _digest([kind, FORMAT, fitted, self.config.least_frames])
        work = there.with_name(f".{there.name}.preparing")
        try:
            self._check_replaceable(there)
            # Without the lock first: what is up to date may lie where nothing can be written.
            if not os.path.lexists(work) and (report := self._up_to_date(self._about(), self._stamps())):
                return report
            with _locked(work, self.progress):
                about, stamps = self._about(), self._stamps()
                if report := self._up_to_date(about, stamps):
                    remove_tree(work, inside=work.parent)
                    return report
                return self._build(work, about, stamps)
        except OSError as error:
            raise UserError(f"cannot write {there}: {error.strerror or error}") from error

    def _stamps(self) -> list[tuple[int, int]]:
        return [file_stamp(source) for source in self.listing.sources]

    def _up_to_date(self, about: dict[str, Any], stamps: Sequence[tuple[int, int]]) -> Report | None:
        """The report of an earlier preparation, if neither the clips nor the settings have changed since."""
        listed = [
            # The group only where there is one: folders that were prepared without keep their fingerprint.
            [source.name, *stamp, source.captions, source.split, *filter(None, [source.group])]
            for source, stamp in zip(self.listing.sources, stamps, strict=True)
        ]
        self._fingerprint = _digest([self._settings, [asdict(one) for one in self.listing.problems], listed])
        if about.get("fingerprint") != self._fingerprint:
            return None
        stored = dict(about["report"])
        told = [Problem(**one) for one in stored.pop("problems")]
        return replace(Report(**stored, problems=told), unchanged=True)

    @staticmethod
    def _check_replaceable(there: Path) -> None:
        """Only what `prepare` made may be replaced, and only if nothing else lies in it.

        Raises:
            UserError: something else would be lost.
        """
        if not there.exists():
            return
        held = {path.name for path in there.iterdir()} if there.is_dir() else {there.name}
        if held and ABOUT not in held:
            raise UserError(f"{there} exists and was not made by syncdraw prepare; give a new folder, or delete it")
        if others := sorted(held - {ABOUT, FRAMES, MANIFEST, _FORMER}):
            raise UserError(f"{there} holds {shortened(others)} beside prepared clips; give a new folder, or move them")

    def _about(self) -> dict[str, Any]:
        """`prepared.json` of the destination as it is, or nothing if it or what it tells of is missing or damaged."""
        with suppress(UserError, Unreadable, OSError, KeyError, TypeError):
            about = read_about(self.destination)
            read_settings(Report, about["report"], str(self.destination / ABOUT))
            shape = (about["frames"], *ClipConfig(**about["config"]).stored_shape)
            array = self.destination / FRAMES
            with array.open("rb") as file:
                whole = file.read(_HEADER) == _npy_header(shape) and array.stat().st_size == _HEADER + np.prod(shape)
            if whole and about["manifest"] == content_hash(self.destination / MANIFEST):
                return about
        return {}

    def _build(self, work: Path, about: dict[str, Any], stamps: Sequence[tuple[int, int]]) -> Report:
        previous = self._previous(about)
        entries, offset = self._resumed(work, stamps)
        frames = sum(entry.frames for entry in entries)
        with (work / FRAMES).open("r+b") as array, (work / "journal.jsonl").open("r+b") as journal:
            array.truncate(_HEADER + frames * _frame_bytes(self.config))
            array.seek(0, os.SEEK_END)
            journal.truncate(offset)
            journal.seek(offset)
            rest = self.listing.sources[len(entries) :]
            for entry, spool in decode_in_order(
                rest, self.config, self.listing.decoder, previous, work, self.workers, self.progress, len(entries)
            ):
                with spool:
                    spool.seek(0)
                    shutil.copyfileobj(spool, array, 1 << 20)
                # The array first: a line in the journal promises that its frames are there.
                array.flush()
                journal.write(json.dumps(asdict(entry)).encode() + b"\n")
                journal.flush()
                entries.append(entry)
                frames += entry.frames
            array.seek(0)
            array.write(_npy_header((frames, *self.config.stored_shape)))
            array.flush()
            os.fsync(array.fileno())
        remarks = [*self.listing.remarks, *_changes(about, self._settings)]
        if reused := sum(entry.key in previous.entries for entry in entries):
            remarks.append(f"{reused} files had not changed; their frames were copied, not decoded")
        report = _report(entries, self.listing, self.config, remarks)
        if report.clips:
            self._publish(work / FRAMES, entries, report)
        remove_tree(work, inside=work.parent)
        report.require_clips()
        return report

    def _previous(self, about: dict[str, Any]) -> Previous:
        """The frames of the destination as it is, if they were decoded in the same way."""
        if about.get("pixels") != self._pixels:
            return NOTHING
        records = read_manifest(self.destination)
        previous = Previous(np.asarray(np.load(self.destination / FRAMES, mmap_mode="r")))
        said: dict[str, list[Problem]] = {}
        for one in about["decoding"]:
            said.setdefault(one["name"], []).append(Problem(**one))
        start = 0
        for record in records:
            fresh = Entry(record.source, record.size, record.modified, problems=said.get(record.source, []))
            entry, _ = previous.entries.setdefault(fresh.key, (fresh, start))
            entry.records.append(record)
            start += record.length
        return previous

    def _resumed(self, work: Path, stamps: Sequence[tuple[int, int]]) -> tuple[list[Entry], int]:
        """What a run that was broken off has left: its entries, and how many bytes of the journal are good."""
        array, journal = work / FRAMES, work / "journal.jsonl"
        head = json.dumps({"pixels": self._pixels}).encode() + b"\n"
        entries: list[Entry] = []
        frames, offset = 0, len(head)
        with suppress(OSError, ValueError, TypeError, KeyError):
            held = (array.stat().st_size - _HEADER) // _frame_bytes(self.config)
            lines = journal.read_bytes().splitlines(keepends=True)
            if not lines or lines[0] != head:
                lines = []
            for line, source, stamp in zip(lines[1:], self.listing.sources, stamps, strict=False):
                values = json.loads(line)
                entry = Entry(
                    **{**values, "records": [SequenceRecord(**record) for record in values["records"]],
                       "problems": [Problem(**problem) for problem in values["problems"]]}
                )  # fmt: skip
                same = entry.key == (source.name, *stamp)
                if not same or not line.endswith(b"\n") or frames + entry.frames > held:
                    break
                entries.append(entry)
                frames += entry.frames
                offset += len(line)
        if not entries:
            array.write_bytes(bytes(_HEADER))
            journal.write_bytes(head)
        return entries, offset

    def _publish(self, array: Path, entries: Sequence[Entry], report: Report) -> None:
        with atomic_path(self.destination) as folder:
            folder.mkdir()
            with (folder / MANIFEST).open("w", encoding="utf-8") as manifest:
                for record in _records(entries, self.listing.sources, self.config):
                    manifest.write(json.dumps(asdict(record)) + "\n")
            about = {
                **self._settings,
                "pixels": self._pixels,
                "frames": sum(entry.frames for entry in entries),
                "manifest": content_hash(folder / MANIFEST),
                "fingerprint": self._fingerprint,
                "report": asdict(report),
                "decoding": [asdict(problem) for entry in entries for problem in entry.problems],
            }
            (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            os.replace(array, folder / FRAMES)


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
_FORMER = "clips.npy"  # what a prepared folder of format 1 has in the place of the frames


def _frame_bytes(config: ClipConfig) -> int:
    return math.prod(config.stored_shape)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The head of a .npy file, padded to `_HEADER` bytes so that it can be written once the frames are counted."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    text = buffer.getvalue()[10:].rstrip()
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text.ljust(_HEADER - 11) + b"\n"


@contextmanager
def _locked(work: Path, progress: bool) -> Iterator[None]:
    """One process at a time in the folder `work`; others wait. Without the lock, two runs would mix their frames."""
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
