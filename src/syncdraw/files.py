"""How files reach the disk: whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncdraw.errors import UserError


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; on success it takes the target's place, on failure it is removed.

    The block may create a file or a folder there. A file replaces an existing file in one step; a folder replaces an
    existing folder in two: for an instant there is none. Whoever reads `target` never sees a part of the old or new.

    The temporary name keeps the target's suffix, because many writers choose their format by it.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        if target.parent.exists() and not target.parent.is_dir():
            raise UserError(f"cannot write {target}: {target.parent} is a file, not a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        # A folder of our own, so that the writer is free to create a file or a folder of the final name in it.
        # The name is cut, for with its additions it must not be longer than names may be.
        holder = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
        temporary = holder / target.name
        yield temporary
        if target.is_dir() and temporary.is_dir():
            # A folder with content cannot be replaced in one step. Should the second step fail, the old one comes back.
            old = temporary.with_name("new" if target.name == "old" else "old")
            os.replace(target, old)
            try:
                os.replace(temporary, target)
            except BaseException:
                os.replace(old, target)
                raise
        else:
            os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and temporary is not None and not temporary.exists():
            raise  # the block forgot to write: a mistake of ours, not of the disk
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary.parent, ignore_errors=True)
