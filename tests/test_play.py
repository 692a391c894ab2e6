"""The Play page: the generator in a real browser draws what `generate` draws, and the page does what it shows.

Its files are those of the docs site (docs/theme/play.py makes them, and keeps them in build/play)."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from syncdraw import SyncDraw, pretrained, read_video
from syncdraw.exporting import WORDS
from syncdraw.wordings import understood

ROOT = Path(__file__).parents[1]
SENTENCE = "digit 7 is moving up and down"


@pytest.fixture(scope="module")
def making() -> ModuleType:
    """What makes the page when the site is built."""
    spec = importlib.util.spec_from_file_location("making_the_page", ROOT / "docs" / "theme" / "play.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def made(making: ModuleType) -> list[Path]:
    """The page's files, once the site has been built: to export the generator takes a minute."""
    if not all(path.is_file() for path in making.cached()):
        pytest.skip("the page's files are not there: make docs makes them")
    try:
        return list(making.page_files())
    except making.UnavailableError as error:
        pytest.skip(f"the page cannot be made: {error}")


@pytest.fixture(scope="module")
def model() -> SyncDraw:
    return pretrained.load("mnist1-captions")


@pytest.fixture(scope="module")
def site(making: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on its own, without the site around it."""
    files = made(making)
    folder = tmp_path_factory.mktemp("site")
    (folder / "play").mkdir()
    for path in files:
        (folder / "play" / path.name).symlink_to(path)
    fragment = (making.SOURCES / "page.html").read_text()
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    (folder / "index.html").write_text(
        f'{head}<title>Play</title><link rel="icon" href="data:,"><main>{fragment}</main>'
    )
    return folder


@pytest.fixture(scope="module")
def link(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *values: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page(chromium: Any, link: str) -> Iterator[Any]:
    """The page with its first clip, on a telephone. It asks nobody else for anything, and complains of nothing."""
    context = chromium.new_context(viewport={"width": 375, "height": 800}, accept_downloads=True)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    context.on("console", lambda message: complaints.append(message.text))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    opened = context.new_page()
    opened.goto(link)
    drawn(opened, "digit 3 is moving left and right, seed 0")
    yield opened
    # A GIF is handed over as a blob, which is no request to anybody.
    assert [url for url in asked if not url.startswith((f"{link}/", "data:", "blob:"))] == []
    assert complaints == []
    context.close()


def drawn(page: Any, what: str) -> None:
    """Wait until this is what the page shows."""
    page.locator(f'#player[data-drawn="{what}"]').wait_for(timeout=120_000)


def number(page: Any, name: str) -> int:
    return int(page.locator(f"#play-{name}").input_value())


def test_the_shipped_generator_is_small_and_draws_the_same(making: ModuleType, model: SyncDraw) -> None:
    """4.3 MB: in single precision its weights alone would take more than 8."""
    runtime = pytest.importorskip("onnxruntime")
    made(making)
    file, notes = making.exported()
    assert file.stat().st_size < 5e6
    assert json.loads(notes.read_text())["licence"] == "Apache-2.0 AND CC-BY-SA-3.0"
    captions = [SENTENCE, "digit 4", "digit 0 is moving diagonally"]
    noise = model.noise(3, 5)
    tokens = model.tokenise(captions, 3)
    assert tokens is not None
    values = {
        "tokens": functional.pad(tokens, (0, WORDS - tokens.shape[1])),
        "latents": noise.latents,
        "prior": noise.prior,
    }
    session = runtime.InferenceSession(str(file))
    canvases, *_ = session.run(["canvases"], {name: value.numpy() for name, value in values.items()})
    expected = model.generate(captions, seed=5, return_canvases=True)
    assert np.abs(canvases - expected.numpy()).max() < 1e-3


def test_the_browser_draws_what_generate_draws(page: Any, model: SyncDraw) -> None:
    noise = model.noise(1, 11)
    tokens = model.tokenise([SENTENCE], 1)
    assert tokens is not None
    values = {
        "tokens": functional.pad(tokens, (0, WORDS - tokens.shape[1]))[0].tolist(),
        "noise": {"latents": noise.latents.flatten().tolist(), "prior": noise.prior.flatten().tolist()},
    }
    text = page.evaluate(
        """async ({ tokens, noise }) => {
            const { Generator } = await import("/play/generator.js");
            const generator = await Generator.load();
            const { canvases, windows, alignment } = await generator.draw(tokens, noise);
            const own = generator.noise(11);
            // As text: so many numbers take Playwright seconds.
            return JSON.stringify({
                canvases: [...canvases], windows: [...windows], alignment: [...alignment],
                latents: [...own.latents], prior: [...own.prior],
            });
        }""",
        values,
    )
    found = json.loads(text)
    with torch.no_grad():
        drawing = model(None, [SENTENCE], noise=noise, return_canvases=True)
    assert drawing.canvases is not None
    shape = tuple(drawing.canvases.shape)
    canvases = torch.tensor(found["canvases"]).view(shape)
    assert (canvases - drawing.canvases).abs().max() < 1e-3
    assert (canvases[:, -1] - model.generate(SENTENCE, seed=11)).abs().max() < 1e-3
    windows = torch.tensor(found["windows"]).view(1, 8, 10, 4)
    rows = torch.stack([step.write_window.row_centre for step in drawing.steps], dim=1)
    assert (windows[..., 0] - rows).abs().max() < 1e-2  # pixels
    assert drawing.alignment is not None
    alignment = torch.tensor(found["alignment"]).view(1, 8, WORDS)
    assert (alignment[..., : drawing.alignment.shape[2]] - drawing.alignment).abs().max() < 1e-3
    # A seed's noise is that of Python, too.
    assert (torch.tensor(found["latents"]) - noise.latents.flatten()).abs().max() < 1e-5
    assert (torch.tensor(found["prior"]) - noise.prior.flatten()).abs().max() < 1e-5


def test_captions_are_read_as_in_python(page: Any, model: SyncDraw) -> None:
    texts = [
        "seven",
        "7 left",
        "The digit 0 is moving up and down.",
        "digit 9 goes diagonally",
        "number two",
        "digit 5!",
    ]
    found = page.evaluate(
        """async (texts) => {
            const { Captions } = await import("/play/captions.js");
            const captions = new Captions((await (await fetch("/play/model.json")).json()).captions);
            return texts.map((text) => captions.read(text)).map(({ sentence, problem }) => ({
                sentence, problem, tokens: sentence && captions.tokens(sentence),
            }));
        }""",
        [*texts, "digit 3 is flying left", "digit 3 and digit 4", "", "😀", "x" * 10_000],
    )
    for text, read in zip(texts, found, strict=False):
        assert read["sentence"] == understood(text)
        tokens = model.tokenise([understood(text)], 1)
        assert tokens is not None
        assert read["tokens"] == functional.pad(tokens, (0, WORDS - tokens.shape[1]))[0].tolist()
    wrong = [read["problem"] for read in found[len(texts) :]]
    assert re.search("“flying” is unknown.*“moving”.*Did you mean “digit 3 is moving left and right”", wrong[0])
    assert wrong[1] == "This page draws one digit; name one."
    assert all(wrong)
    assert max(map(len, wrong)) < 200


def test_a_visit_by_keyboard(page: Any, model: SyncDraw, tmp_path: Path) -> None:
    caption = page.get_by_label("Caption", exact=True)
    caption.fill("digit 3 is flying")
    caption.press("Enter")
    page.get_by_role("alert").filter(has_text="The word “flying” is unknown").wait_for()
    caption.fill("seven up")
    page.get_by_label("Seed", exact=True).fill("4")
    caption.press("Enter")
    drawn(page, f"{SENTENCE}, seed 4")
    assert page.locator("#play-problem").text_content() == ""
    assert page.locator("#play-command").inner_text() == f'syncdraw generate "{SENTENCE}" --seed 4 -o clip.gif'
    for name, pressed in (("7", "true"), ("6", "false"), ("up and down", "true"), ("still", "false")):
        assert page.get_by_role("button", name=name, exact=True).get_attribute("aria-pressed") == pressed

    # The clip plays, and stops where it is told to.
    before = number(page, "frame")
    page.wait_for_function("(before) => document.getElementById('play-frame').value != before", arg=before)
    page.locator("#play-frame").press("Home")
    assert (number(page, "frame"), page.locator("#play-pause").inner_text()) == (1, "Play")

    def shown() -> str:
        content: str = page.evaluate("document.getElementById('play-frames').toDataURL()")
        return content

    steps = page.locator("#play-step")
    steps.press("Home")
    first = shown()
    assert number(page, "step") == 1
    steps.press("End")
    last = shown()
    assert (number(page, "step"), first != last) == (8, True)
    page.get_by_label("Write windows").press(" ")
    assert shown() != last
    page.get_by_label("Write windows").press(" ")
    assert shown() == last

    # What is kept is the clip, pixel by pixel.
    for button, steps_kept in (("Keep the clip (GIF)", 1), ("Keep the drawing (GIF)", 8)):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=button).press("Enter")
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        assert path.name.startswith("digit-7-is-moving-up-and-down-seed4")
        assert b"made by syncdraw" in path.read_bytes()
        video, _ = read_video(path)
        expected = model.generate(SENTENCE, seed=4, return_canvases=True)[0, -steps_kept:].flatten(0, 1)
        assert video.shape == (10 * steps_kept, 1, 256, 256)
        assert (video[:, :, 2::4, 2::4] - expected).abs().max() < 2 / 255

    page.get_by_role("button", name="Another seed").press("Enter")
    drawn(page, f"{SENTENCE}, seed 5")
    page.get_by_role("button", name="2", exact=True).press("Enter")
    drawn(page, "digit 2 is moving up and down, seed 5")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_without_npm_the_page_says_so(making: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site is built by mkdocs: make docs installs it")
    monkeypatch.setattr(making, "CACHE", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(making.UnavailableError, match="npm, which fetches onnxruntime-web, is not installed"):
        making.page_files()
    assert making.on_files([], None) == []
    text = making.on_page_markdown((ROOT / "docs" / "play.md").read_text(), None)
    assert "built without the generator: npm, which fetches onnxruntime-web, is not installed." in text
    assert "page.html" not in text


def test_another_archive_than_the_pinned_one_is_refused(
    making: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\necho other > "$5/gifenc-1.0.3.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setattr(making, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    with pytest.raises(ValueError, match=r"gifenc-1\.0\.3\.tgz is not the pinned one"):
        making.fetch(making.PACKAGES[1])
    assert list((tmp_path / "cache").iterdir()) == []
