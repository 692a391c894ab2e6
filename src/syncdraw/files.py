"""How files reach the disk: whole, or not at all. The only place in the package that removes a folder."""

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
        UserError: the target has no name of its own ('.', '..', '/' or nothing), its folder cannot be written, or the
            disk is full.
    """
    target = named(target)
    try:
        if target.parent.exists() and not target.parent.is_dir():
            raise UserError(f"cannot write {target}: {target.parent} is a file, not a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        # The name is cut, for with its additions it must not be longer than names may be.
        with scratch_folder(target.parent, prefix=f".{target.name[:40]}.") as holder:
            # A folder of our own, so that the writer is free to create a file or a folder of the final name in it.
            temporary = holder / target.name
            yield temporary
            if not os.path.lexists(temporary):
                raise AssertionError(f"nothing was written to {temporary}")  # a mistake of ours, not of the disk
            if target.is_dir() and temporary.is_dir():
                # A folder with content cannot be replaced in one step. Should the second step fail, the old one comes
                # back.
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
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


def named(target: str | Path) -> Path:
    """A path that can be written to, because it ends in a name.

    Raises:
        UserError: it is empty, or ends in '.', '..' or '/', so that writing to it would replace the folder itself.
    """
    # Path('a/.') is Path('a'), so what was typed has to be looked at.
    text = os.fspath(target)
    if not text or Path(text).name in ("", "..") or os.path.basename(text) == ".":
        raise UserError(f"cannot write {text!r}: it names no file; give a path that ends in a name, such as out.json")
    return Path(text)


def named_file(target: str | Path) -> Path:
    """As `named`, where it is to be a file: said before hours of measuring, not after them.

    Raises:
        UserError: likewise; or it is a folder.
    """
    path = named(target)
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; give a path that ends in a name, such as out.json")
    return path


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is gone with all that it holds when the block is left."""
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield made
    finally:
        remove_tree(made, inside=parent)


def remove_tree(folder: Path, inside: Path) -> None:
    """Remove a folder that was made by this package in `inside`, and what it holds.

    A link is removed itself, never what it points to. A folder that is not there any more is no error.

    Raises:
        ValueError: the folder is not directly in `inside`.
        OSError: something could not be removed.
    """
    if not folder.name or folder.name in (".", "..") or folder.parent != inside:
        raise ValueError(f"{folder} is not a folder in {inside}")
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
