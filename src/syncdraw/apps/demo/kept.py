"""Works that can still be downloaded: the newest ones, under names that nobody can guess."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock

from syncdraw.apps.demo.works import Work

_MOST = 200  # about 100 KB each, of which most are the pixels of a first clip


class Kept:
    """Works by their keys; the oldest make room for new ones."""

    def __init__(self) -> None:
        self._works: OrderedDict[str, Work] = OrderedDict()
        self._lock = Lock()

    def add(self, work: Work) -> str:
        """Keep a work; gives its key."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            # What the page plays has been sent by then.
            self._works[key] = work._replace(clips="")
            while len(self._works) > _MOST:
                self._works.popitem(last=False)
        return key

    def get(self, key: str) -> Work | None:
        """The work of that key, where it is still kept."""
        with self._lock:
            return self._works.get(key)
