"""idx files: what is read, and that a bad file never gives anything but one clear sentence."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncdraw.datasets import bouncing_mnist, idx
from syncdraw.datasets.idx import read_glyphs, read_images, read_labels
from syncdraw.errors import UserError

MNIST = Path(bouncing_mnist.__file__).parent / "mnist"


def image_bytes(count: int = 3, size: int = 28) -> bytes:
    values = np.arange(count * size * size, dtype=np.uint32).astype(np.uint8)
    return struct.pack(">4I", 0x803, count, size, size) + values.tobytes()


def label_bytes(count: int = 3) -> bytes:
    return struct.pack(">2I", 0x801, count) + bytes(range(count))


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzipped", "plain"])
def test_values_come_back_whatever_the_name_says_of_compression(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels.gz"
    images.write_bytes(pack(image_bytes()))
    labels.write_bytes(pack(label_bytes()))
    glyphs, classes = read_glyphs(images, labels)
    assert glyphs.shape == (3, 28, 28)
    assert glyphs.dtype == np.uint8
    assert glyphs[1, 2, 3] == (784 + 2 * 28 + 3) % 256
    assert classes.tolist() == [0, 1, 2]


def test_bundled_mnist_is_the_known_one() -> None:
    glyphs, classes = read_glyphs(MNIST / "train-images-idx3-ubyte.gz", MNIST / "train-labels-idx1-ubyte.gz")
    assert glyphs.shape == (60_000, 28, 28)
    assert classes[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(classes).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert glyphs.mean() / 255 == pytest.approx(0.1307, abs=5e-5)  # the mean that every MNIST tutorial normalises by
    tests, _ = read_glyphs(MNIST / "t10k-images-idx3-ubyte.gz", MNIST / "t10k-labels-idx1-ubyte.gz")
    assert tests.shape == (10_000, 28, 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(image_bytes())[:-200], "damaged gzip"),
        (gzip.compress(image_bytes())[:100] + b"\xff" * 300, "damaged gzip"),
        (b"\x1f\x8b", "damaged gzip"),
        (image_bytes()[:-1], "holds 2351 values, where its header says 2352"),
        (gzip.compress(image_bytes() + b"\0"), "holds 2353 values, where its header says 2352"),
        (image_bytes()[:9], "ends inside its header"),
        (b"", "begins with the bytes \\(none\\)"),
        (label_bytes(), "begins with the bytes 00000801, where .* begins with 00000803"),
        (b"\x89PNG" + bytes(100), "begins with the bytes 89504e47"),
        (image_bytes(size=32), "32 x 32 pixels, where glyphs of 28 x 28"),
        (image_bytes(count=0), "is empty"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(16), "holds 16 values"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_images(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.gz does not exist"):
        read_images(tmp_path / "nothing.gz")
    with pytest.raises(UserError, match="cannot be read"):
        read_labels(tmp_path)


def test_each_glyph_needs_its_label(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(image_bytes(3))
    labels.write_bytes(label_bytes(4))
    with pytest.raises(UserError, match=r"images holds 3 glyphs but .*labels holds 4 labels"):
        read_glyphs(images, labels)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    mark=st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\0\0\x08\x03", b"\0\0\x08\x01"]),
    rest=st.binary(max_size=64),
    compress=st.booleans(),
)
def test_any_bytes_give_an_array_or_one_sentence(tmp_path: Path, mark: bytes, rest: bytes, compress: bool) -> None:
    path = tmp_path / "any"
    path.write_bytes(gzip.compress(mark + rest) if compress else mark + rest)
    for read in (read_images, read_labels):
        with suppress(UserError):
            assert read(path).size > 0


def test_what_stands_for_more_than_fits_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed file is unpacked no further than to its limit; and a pipe is not waited for."""
    monkeypatch.setattr(idx, "_MOST_BYTES", 10_000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10**7)))
    with pytest.raises(UserError, match="holds more than 10,000 bytes"):
        read_images(tmp_path / "bomb.gz")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is no regular file"):
        read_images(tmp_path / "pipe")
    (tmp_path / "small.gz").write_bytes(gzip.compress(image_bytes()))
    assert len(read_images(tmp_path / "small.gz")) == 3
