"""TGIF: 102,068 animated GIFs from Tumblr, with 125,782 sentences that describe them.

Y. Li et al., "TGIF: A new dataset and benchmark on animated GIF description", CVPR 2016. The data set is a table of web
addresses and sentences; the GIFs are fetched from those addresses, and some of them are gone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import unquote, urlsplit

from syncdraw.datasets.caption_files import clean, read_text
from syncdraw.datasets.decode import read_clips
from syncdraw.datasets.persons import persons_in
from syncdraw.datasets.prepared import SPLITS, ClipConfig, Split
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.sources import Problem, Report, Source
from syncdraw.datasets.tgif_download import download_gifs
from syncdraw.datasets.video_folder import under
from syncdraw.errors import UserError

# v1, section 4.4: grey, "resized to 128 x 128 after appropriately padding with zeros", "10 random frames from each GIF
# (maintaining their sequence)".
TGIF_CLIPS = ClipConfig(frames=10, channels=1, height=128, width=128, fit="pad", choice="random")

_SPLIT_LISTS: dict[str, Split] = {"train.txt": "train", "val.txt": "validation", "test.txt": "test"}


def prepare_tgif(
    source: Path,
    destination: Path | None = None,
    config: ClipConfig = TGIF_CLIPS,
    *,
    table: Path | None = None,
    one_person: bool = True,
    download: bool = False,
    check: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Prepare TGIF: the GIFs that show one person, as in v1, as far as their sentences tell (`persons_in`).

    A GIF is taken if one of its sentences tells of exactly one person and none of several.

    Args:
        source: the folder with the GIFs, at any depth, named as the last part of their addresses, and with the lists
            `train.txt`, `val.txt` and `test.txt` of addresses, if they are at hand; without them, GIFs are divided by
            the hash of their content.
        destination: the prepared folder to make; not needed with `check`.
        config: what to cut.
        table: the table of addresses and sentences; None for the `.tsv` file in `source`.
        one_person: False takes every GIF.
        download: fetch those GIFs that are not there, slowly, into the folder `gifs` in `source`. Stopped and called
            again, it goes on.
        check: decode everything, write nothing, and report what a preparation would do.
        workers: files to decode at once; None for one each processor.
        progress: show a bar on standard error.

    Raises:
        UserError: there is no table, or none of its GIFs are there, or no clip can be used; or the destination cannot
            be written; or, while downloading, the network fails.
    """
    gifs, tables, lists, problems = _look(source)
    if table is None:
        if len(tables) != 1:
            listed = ", ".join(path.name for path in tables) or "none"
            raise UserError(f"{source} must have one .tsv table of addresses and sentences (it has: {listed}); name it")
        table = tables[0]
    rows, complaints = read_table(table)
    problems += complaints
    sentences: dict[str, list[str]] = defaultdict(list)
    for address, sentence in rows:
        sentences[address].append(sentence)
    splits = {
        address: split
        for split, path in lists.items()
        for address in map(str.strip, read_text(path).splitlines())
        if address
    }
    taken = [address for address in sentences if not one_person or _tells_of_one(sentences[address])]
    remarks = _kept(rows, splits, set(taken)) if one_person else []

    if download:
        fetched = download_gifs([one for one in taken if gif_name(one) not in gifs], source / "gifs", progress=progress)
        remarks += [str(fetched)]
        gifs = _look(source)[0]
    present = [address for address in taken if gif_name(address) in gifs]
    if not present:
        raise UserError(f"{source} has none of the {len(taken)} GIFs of {table.name}; fetch them with download")
    if len(present) < len(taken):
        remarks.append(f"{len(taken) - len(present)} of these {len(taken)} GIFs are not there")
    sources = [
        Source(
            gifs[gif_name(address)].relative_to(source).as_posix(),
            gifs[gif_name(address)],
            tuple(dict.fromkeys(sentences[address])),
            splits.get(address),
        )
        for address in present
    ]
    return prepare(
        "tgif",
        sources,
        destination,
        config,
        read_clips,
        check=check,
        workers=workers,
        progress=progress,
        problems=problems,
        remarks=remarks,
    )


def _look(source: Path) -> tuple[dict[str, Path], list[Path], dict[Split, Path], list[Problem]]:
    """The GIFs by file name, the tables, the lists of splits, and folders that cannot be read."""
    gifs: dict[str, Path] = {}
    tables: list[Path] = []
    lists: dict[Split, Path] = {}
    problems: list[Problem] = []
    for _, files, failed in under(source):
        problems += failed
        gifs |= {path.name: path for path in files if path.suffix.lower() == ".gif"}
        tables += [path for path in files if path.suffix.lower() == ".tsv"]
        lists |= {_SPLIT_LISTS[path.name.lower()]: path for path in files if path.name.lower() in _SPLIT_LISTS}
    return gifs, tables, lists, problems


def gif_name(address: str) -> str:
    """The last part of a web address: the name that the GIF has on disk."""
    try:
        return unquote(urlsplit(address).path).rpartition("/")[2]
    except ValueError:
        return ""


def read_table(path: Path) -> tuple[list[tuple[str, str]], list[Problem]]:
    """The rows of TGIF's table, address and sentence, in order; addresses may repeat; and its lines of no use.

    Raises:
        UserError: the file cannot be read.
    """
    rows = []
    problems = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        address, tab, sentence = line.partition("\t")
        address, sentence = address.strip(), clean(sentence)
        if not line.strip():
            continue
        if tab and sentence and gif_name(address).lower().endswith(".gif"):
            rows.append((address, sentence))
        else:
            complaint = "must be the address of a GIF, a tab and a sentence"
            problems.append(Problem(f"{path.name}, line {number}", complaint, "passed over"))
    return rows, problems


def _kept(rows: list[tuple[str, str]], splits: dict[str, Split], taken: set[str]) -> list[str]:
    """How many rows the rule of one person keeps, in all and of each split."""
    total: Counter[str] = Counter(splits.get(address, "") for address, _ in rows)
    kept: Counter[str] = Counter(splits.get(address, "") for address, _ in rows if address in taken)
    parts = [f"{kept[split]} of {total[split]} in {split}" for split in SPLITS if total[split]]
    said = f"{kept.total()} of {total.total()} rows are of GIFs that show one person, by their sentences"
    return [f"{said} ({', '.join(parts)})" if parts else said]


def _tells_of_one(sentences: list[str]) -> bool:
    told = {persons_in(sentence) for sentence in sentences}
    return "one" in told and "several" not in told
