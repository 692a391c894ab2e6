"""What raters say, in SQLite: each rating is on the disk before the rater is told that it is saved.

The table `ratings` has a row for every clip that a rater is to see, made when the rater begins; rating it fills in the
score. So nothing can count twice, whatever two tabs or a repeated request do, and a changed mind replaces the score.

The file is opened for each request and must exist: where its folder was removed, moved or comes back, every request
says so for itself, and no rating goes into a file that nobody will see again.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from syncdraw.errors import UserError

RATINGS_FILE = "ratings.sqlite"
LOWEST, HIGHEST = 1, 10

_TABLES = f"""
CREATE TABLE raters (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- 1, 2, 3, ...
    key TEXT NOT NULL UNIQUE,                 -- random; whoever has it is this rater
    started TEXT NOT NULL                     -- UTC
);
CREATE TABLE ratings (
    rater INTEGER NOT NULL REFERENCES raters (number),
    position INTEGER NOT NULL,                -- 1, 2, 3, ... in this rater's order
    clip TEXT NOT NULL,
    score INTEGER CHECK (score BETWEEN {LOWEST} AND {HIGHEST}),
    rated TEXT,                               -- UTC; of the last change
    PRIMARY KEY (rater, clip),
    UNIQUE (rater, position)
);
"""


class NotSavedError(UserError):
    """The ratings cannot be read or written now. The message is for the organiser; raters are told less."""


@dataclass(frozen=True)
class Assigned:
    """A clip that a rater is to rate, and the score, if there is one."""

    clip: str
    score: int | None


@dataclass(frozen=True)
class Rating:
    """A rating, as it is reported."""

    rater: int
    position: int
    clip: str
    score: int
    rated: str


def create_ratings(path: Path) -> None:
    """Make the file, with nothing in it.

    Raises:
        UserError: it cannot be written.
    """
    try:
        connection = sqlite3.connect(path)
        try:
            # A write-ahead log survives a process that is killed, and lets others read while one writes. It stays set.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise NotSavedError(f"{path.name} cannot be made ({error})") from error


class Ratings:
    """The ratings in a study's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder.absolute() / RATINGS_FILE

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection within one transaction, which is on the disk when the block has been left."""
        if not self._path.is_file():
            raise NotSavedError(f"{self._path} is not there any more; put the study's folder back")
        try:
            # mode=rw: never make a new file. The timeout is how long one writer waits for another.
            connection = sqlite3.connect(f"{self._path.as_uri()}?mode=rw", uri=True, timeout=10, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")  # to the disk at each commit, not at some later time
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # rolls back what was not committed
        except sqlite3.Error as error:
            raise NotSavedError(f"{self._path} cannot be used ({error}); what was saved before is kept") from error

    def begin(self, order: Callable[[int], list[str]]) -> str:
        """Let a new rater in.

        Args:
            order: the clips for a rater, by number: 0, 1, 2, ...

        Returns:
            The rater's key.
        """
        key = secrets.token_urlsafe(12)
        with self._transaction() as connection:
            row = connection.execute("INSERT INTO raters (key, started) VALUES (?, ?)", (key, _now()))
            number = row.lastrowid
            assert number is not None
            connection.executemany(
                "INSERT INTO ratings (rater, position, clip) VALUES (?, ?, ?)",
                [(number, position, clip) for position, clip in enumerate(order(number - 1), 1)],
            )
        return key

    def assigned(self, key: str) -> list[Assigned]:
        """The clips of a rater in order; none where nobody has this key."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT clip, score FROM ratings JOIN raters ON rater = number WHERE key = ? ORDER BY position", (key,)
            )
            return [Assigned(*row) for row in rows]

    def rate(self, key: str, position: int, score: int) -> bool:
        """Save a score. False where this rater has no such clip."""
        with self._transaction() as connection:
            row = connection.execute(
                "UPDATE ratings SET score = ?, rated = ? "
                "WHERE position = ? AND rater = (SELECT number FROM raters WHERE key = ?)",
                (score, _now(), position, key),
            )
            return row.rowcount == 1

    def all(self) -> list[Rating]:
        """Every rating, by rater and position."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT rater, position, clip, score, rated FROM ratings WHERE score IS NOT NULL "
                "ORDER BY rater, position"
            )
            return [Rating(*row) for row in rows]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
