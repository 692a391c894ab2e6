"""TGIF: 102,068 animated GIFs from Tumblr, with 125,782 sentences that describe them.

Y. Li et al., "TGIF: A new dataset and benchmark on animated GIF description", CVPR 2016. The data set is a table of web
addresses and sentences; the GIFs are fetched from those addresses, and some of them are gone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from syncdraw.datasets.caption_files import clean, read_text
from syncdraw.datasets.folders import FolderContent, look_under
from syncdraw.datasets.listing import Listing
from syncdraw.datasets.persons import persons_in
from syncdraw.datasets.prepared import SPLITS, ClipConfig, Split
from syncdraw.datasets.sources import Problem, Source
from syncdraw.datasets.tgif_download import download_gifs
from syncdraw.errors import UserError

# v1, section 4.4: grey, "resized to 128 x 128 after appropriately padding with zeros", "10 random frames from each GIF
# (maintaining their sequence)".
TGIF_CLIPS = ClipConfig(frames=10, channels=1, height=128, width=128, fit="pad", choice="random")

_SPLIT_LISTS: dict[str, Split] = {"train.txt": "train", "val.txt": "validation", "test.txt": "test"}


def list_tgif(source: Path, table: Path | None = None, one_person: bool = True, download: bool = False) -> Listing:
    """TGIF: the GIFs that show one person, as in v1, as far as their sentences tell (`persons_in`).

    A GIF is taken if one of its sentences tells of exactly one person and none of several. In the table, in the lists
    and on disk it is known by its name, the last part of its address: the rest of the address has changed over time.

    Args:
        source: the folder with the GIFs, at any depth, and with the lists `train.txt`, `val.txt` and `test.txt` of
            addresses, if they are at hand; without them, GIFs are divided by the hash of their content.
        table: the table of addresses and sentences; None for the `.tsv` file in `source`.
        one_person: take no GIF of nobody or of several persons.
        download: fetch those GIFs that are not there, slowly, into the folder `gifs` in `source`. Stopped and called
            again, it goes on.

    Raises:
        UserError: there is no table, or none of its GIFs are there; or, while downloading, the network fails.
    """
    content = look_under(source)
    problems, remarks = content.problems, content.remarks
    if table is None:
        tables = [path for path in content if path.suffix.lower() == ".tsv"]
        if len(tables) != 1:
            listed = ", ".join(path.name for path in tables) or "none"
            raise UserError(f"{source} must have one .tsv table of addresses and sentences (it has: {listed}); name it")
        table = tables[0]
    rows, complaints = read_table(table)
    problems += complaints
    addresses: dict[str, str] = {}
    sentences: dict[str, list[str]] = defaultdict(list)
    for address, sentence in rows:
        addresses[gif_name(address)] = address
        sentences[gif_name(address)].append(sentence)
    lists = {_SPLIT_LISTS[path.name.lower()]: path for path in content if path.name.lower() in _SPLIT_LISTS}
    splits = _read_splits(lists)
    taken = [name for name in sentences if not one_person or _tells_of_one(sentences[name])]
    if one_person:
        remarks += _kept(rows, splits, set(taken))

    gifs = _gifs(content)
    if download:
        missing = [addresses[name] for name in taken if name not in gifs]
        remarks.append(str(download_gifs(missing, source / "gifs")))
        gifs = _gifs(look_under(source))
    present = [name for name in taken if name in gifs]
    if not present:
        raise UserError(f"{source} has none of the {len(taken)} GIFs of {table.name}; fetch them with download")
    if len(present) < len(taken):
        remarks.append(f"{len(taken) - len(present)} of these {len(taken)} GIFs are not there")

    sources = []
    for name in present:
        where = gifs[name].relative_to(source).as_posix()
        split = splits.get(name)
        if split is None and "train" in lists:
            # It may belong to a list that is not at hand, which must not be trained on.
            unlisted: list[Split] = [one for one in ("test", "validation") if one not in lists]
            if not unlisted:
                problems.append(Problem(where, "in none of the lists of train, validation and test"))
                continue
            split = unlisted[0]
        sources.append(Source(where, gifs[name], tuple(dict.fromkeys(sentences[name])), split))
    return Listing("tgif", sources, TGIF_CLIPS, problems, remarks)


def _gifs(content: FolderContent) -> dict[str, Path]:
    """The GIFs by file name."""
    return {path.name: path for path in content if path.suffix.lower() == ".gif"}


def _read_splits(lists: Mapping[Split, Path]) -> dict[str, Split]:
    """The split of each GIF by its name; one that is in several lists is held out.

    Raises:
        UserError: a list cannot be read.
    """
    splits: dict[str, Split] = {}
    for split in SPLITS:  # training first, so that it is overruled
        if split in lists:
            names = (gif_name(line.strip()) for line in read_text(lists[split]).splitlines())
            splits |= {name: split for name in names if name}
    return splits


def gif_name(address: str) -> str:
    """The last part of a web address: the name that the GIF has on disk, and is known by."""
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
    total: Counter[str] = Counter(splits.get(gif_name(address), "") for address, _ in rows)
    kept: Counter[str] = Counter(
        splits.get(name, "") for name in (gif_name(address) for address, _ in rows) if name in taken
    )
    parts = [f"{kept[split]} of {total[split]} in {split}" for split in SPLITS if total[split]]
    said = f"{kept.total()} of {total.total()} rows are of GIFs that show one person, by their sentences"
    return [f"{said} ({', '.join(parts)})" if parts else said]


def _tells_of_one(sentences: list[str]) -> bool:
    told = {persons_in(sentence) for sentence in sentences}
    return "one" in told and "several" not in told
