"""Fetch GIFs from their web addresses, one at a time, politely, and go on where an earlier run stopped."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from syncdraw.datasets.caption_files import read_text
from syncdraw.errors import UserError
from syncdraw.files import atomic_path

DEAD_LINKS = "dead_links.txt"

_GONE = frozenset({400, 401, 403, 404, 410, 451})
_SLOW_DOWN = frozenset({429, 503})
_LARGEST = 64 << 20  # bytes; the largest GIF of the set has a few megabytes
_LONGEST_WAIT = 300.0  # seconds
_TRIES = 4
_FAILURES_IN_A_ROW = 10


@dataclass
class Download:
    """What came of a download: numbers of GIFs."""

    fetched: int = 0
    present: int = 0
    dead: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"download: {self.fetched} fetched, {self.present} there before, {self.dead} dead links, "
            f"{len(self.failed)} failed and to be tried again"
        )


class _Dead(Exception):
    """The address leads to no GIF, and will not next time."""


def download_gifs(
    addresses: Sequence[str], folder: Path, *, delay: float = 0.5, timeout: float = 30.0, progress: bool = True
) -> Download:
    """Fetch each GIF that is not in `folder` yet; each file appears whole or not at all.

    Addresses that lead to no GIF are noted in `dead_links.txt` in `folder` and not asked for again. A server that asks
    to be left in peace for a while is left in peace.

    Args:
        addresses: `http` or `https`; a GIF is named as the last part of its address.
        folder: where to put them.
        delay: seconds between two requests.
        timeout: seconds without an answer after which a request is given up.
        progress: show a bar on standard error.

    Raises:
        UserError: ten addresses in a row could not be reached, a server still refuses after several waits, or the
            folder cannot be written.
    """
    done = Download()
    dead_path = folder / DEAD_LINKS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        dead = set(read_text(dead_path).split()) if dead_path.exists() else set()
        in_a_row = 0
        for address in tqdm(list(dict.fromkeys(addresses)), unit="GIF", disable=not progress):
            name = _file_name(address)
            if address in dead:
                done.dead += 1
            elif name and (folder / name).exists():
                done.present += 1
            else:
                try:
                    if not name:
                        raise _Dead
                    content = _fetch(address, delay, timeout)
                except _Dead:
                    with dead_path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                        file.write("".join(address.split()) + "\n")
                    done.dead += 1
                    in_a_row = 0
                except (OSError, HTTPException) as error:
                    done.failed.append(address)
                    in_a_row += 1
                    if in_a_row == _FAILURES_IN_A_ROW:
                        raise UserError(
                            f"{in_a_row} addresses in a row cannot be reached, the last being {address} ({error}); "
                            f"{done.fetched} GIFs were fetched, run again to go on"
                        ) from error
                else:
                    with atomic_path(folder / name) as temporary:
                        temporary.write_bytes(content)
                    done.fetched += 1
                    in_a_row = 0
                time.sleep(delay)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    return done


def _file_name(address: str) -> str:
    """The last part of an address, or nothing if the address is none that we would ask, or the name no plain name."""
    try:
        parts = urlsplit(address)
        name = unquote(parts.path).rpartition("/")[2]
    except ValueError:
        return ""
    # urllib would also open file: and ftp: addresses.
    plain = parts.scheme in ("http", "https") and parts.hostname and address.isascii() and not re.search(r"\s", address)
    return name if plain and re.fullmatch(r"[\w-][\w.-]*\.gif", name, re.IGNORECASE | re.ASCII) else ""


def _fetch(address: str, delay: float, timeout: float) -> bytes:
    """The GIF at an address, after several tries if need be.

    Raises:
        _Dead: there is no GIF.
        OSError, HTTPException: the server cannot be reached.
        UserError: the server refuses for now.
    """
    request = Request(address, headers={"User-Agent": "syncdraw (research data set; one request at a time)"})
    for attempt in range(_TRIES):
        pause = delay * 2 ** (attempt + 1)
        try:
            with urlopen(request, timeout=timeout) as response:
                content: bytes = response.read(_LARGEST + 1)
                expected = response.headers.get("Content-Length", "")
            if expected.isdecimal() and len(content) < min(int(expected), _LARGEST + 1):
                raise HTTPException("the connection broke off")
            if not content.startswith((b"GIF87a", b"GIF89a")) or len(content) > _LARGEST:
                raise _Dead
            return content
        except HTTPError as error:
            with error:
                if error.code in _GONE:
                    raise _Dead from error
                if attempt + 1 == _TRIES:
                    if error.code in _SLOW_DOWN:
                        raise UserError(
                            f"the server of {address} answers {error.code} (too many requests); run again later"
                        ) from error
                    raise
                asked = error.headers.get("Retry-After", "")
                if asked.isdecimal():
                    pause = min(float(asked), _LONGEST_WAIT)
        except (OSError, HTTPException):
            if attempt + 1 == _TRIES:
                raise
        time.sleep(pause)
    raise AssertionError("unreachable")
