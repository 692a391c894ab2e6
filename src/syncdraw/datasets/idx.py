"""Reading idx files, the format of MNIST and of the glyph sets that followed it (Fashion-MNIST, EMNIST, KMNIST).

The format: two zero bytes, a type code (8 is uint8), the number of dimensions, each dimension as a big-endian 32-bit
number, then the values in row-major order. The files are usually gzipped.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syncdraw.errors import UserError
from syncdraw.reading import read_regular

GLYPH_SIZE = 28  # pixels, height and width of every glyph

_UINT8 = 8  # the type code
_MOST_BYTES = 2**30  # EMNIST, the largest such set, has 0.6 GB


def read_images(path: str | Path) -> NDArray[np.uint8]:
    """Read an idx file of 28 x 28 glyphs, gzipped or not.

    Returns:
        uint8 `[glyph, 28, 28]`, read-only.

    Raises:
        UserError: the file is missing, unreadable, corrupt, shorter or longer than its header says, or holds
            something else than at least one 28 x 28 glyph.
    """
    images = _read(Path(path), dimensions=3)
    if images.shape[1:] != (GLYPH_SIZE, GLYPH_SIZE):
        height, width = images.shape[1:]
        raise UserError(f"{path} holds images of {height} x {width} pixels, where glyphs of 28 x 28 are needed")
    return images


def read_labels(path: str | Path) -> NDArray[np.uint8]:
    """Read an idx file of labels, gzipped or not.

    Returns:
        uint8 `[glyph]`, read-only.

    Raises:
        UserError: the file is missing, unreadable, corrupt, shorter or longer than its header says, or holds no labels.
    """
    return _read(Path(path), dimensions=1)


def read_glyphs(images: str | Path, labels: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a pair of idx files: glyphs uint8 `[glyph, 28, 28]` and their labels uint8 `[glyph]`.

    Raises:
        UserError: either file is bad (see `read_images`, `read_labels`), or they differ in length.
    """
    glyphs, classes = read_images(images), read_labels(labels)
    if len(glyphs) != len(classes):
        raise UserError(
            f"{images} holds {len(glyphs)} glyphs but {labels} holds {len(classes)} labels, where each glyph needs one"
        )
    return glyphs, classes


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an idx file of uint8 with so many dimensions."""
    try:
        path.stat()  # what is missing is called that
        content = read_regular(path, _MOST_BYTES)
        if content[:2] == b"\x1f\x8b":  # gzip's own mark: the name may or may not end in .gz
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:  # which may stand for more than fits in memory
                content = packed.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UserError(f"{path} holds more than {_MOST_BYTES:,} bytes; no set of glyphs is so large")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist, where an idx file is needed") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:  # BadGzipFile is an OSError: it must come first
        raise UserError(f"{path} is a damaged gzip file ({error}), so fetch it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error

    expected = bytes((0, 0, _UINT8, dimensions))
    if content[:4] != expected:
        raise UserError(
            f"{path} begins with the bytes {content[:4].hex() or '(none)'}, "
            f"where an idx file of uint8 with {dimensions} dimension(s) begins with {expected.hex()}"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise UserError(f"{path} ends inside its header of {start} bytes, so fetch it again")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    size = 1
    for length in shape:  # Python's integers: a forged header cannot overflow
        size *= length
    if len(content) - start != size:
        raise UserError(f"{path} holds {len(content) - start} values, where its header says {size}, so fetch it again")
    if size == 0:
        raise UserError(f"{path} is empty, where at least one value is needed")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
