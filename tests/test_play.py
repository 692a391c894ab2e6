"""The Play page: the generator in a real browser draws what `generate` draws, and the page does what it shows.

Its files are those of the docs site (docs/theme/play.py makes them, and keeps them in build/play)."""

from __future__ import annotations

import base64
import functools
import http.server
import importlib.util
import json
import random
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
from syncdraw.datasets import sprite_captions
from syncdraw.errors import UserError
from syncdraw.exporting import WORDS
from syncdraw.vocabulary import Vocabulary
from syncdraw.wordings import understood, understood_character

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
    """The page's files, once the site has been built: to export the generators takes minutes."""
    if not all(path.is_file() for model in making.MODELS for path in making.cached(model)):
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
    file, notes = making.cached("mnist1-captions")
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
            const generator = await Generator.load("mnist1-captions");
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
            const { Digits } = await import("/play/captions.js");
            const { tokens } = await import("/play/words.js");
            const rules = (await (await fetch("/play/mnist1-captions.json")).json()).captions;
            const captions = new Digits(rules);
            return texts.map((text) => captions.read(text)).map(({ sentence, problem }) => ({
                sentence, problem, tokens: sentence && tokens(sentence, rules),
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
    assert wrong[1] == "This model draws one digit; name one."
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


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("sprites-captions", "a green-skinned man with short red hair in a blue tunic is walking, facing right"),
        ("emoji-captions", "a person with medium dark skin is biking in the mountains"),
    ],
)
def test_the_browser_draws_in_colour_what_generate_draws(page: Any, name: str, caption: str) -> None:
    model = pretrained.load(name)
    found = page.evaluate(
        """async ([name, caption]) => {
            const { Generator } = await import("/play/generator.js");
            const { tokens } = await import("/play/words.js");
            const generator = await Generator.load(name);
            const numbers = tokens(caption, generator.notes.captions);
            const { canvases } = await generator.draw(numbers, generator.noise(7));
            const size = canvases.byteLength / generator.notes.draw_steps;
            const last = new Uint8Array(canvases.buffer, canvases.byteOffset + canvases.byteLength - size, size);
            const texts = [];
            for (let i = 0; i < last.length; i += 8192) texts.push(String.fromCharCode(...last.subarray(i, i + 8192)));
            return btoa(texts.join(""));
        }""",
        [name, caption],
    )
    video = torch.from_numpy(np.frombuffer(base64.b64decode(found), np.float32).copy()).view(model.config.shape)
    assert (video - model.generate(caption, seed=7)[0]).abs().max() < 1e-3
    assert (video[:, 0] - video[:, 1]).abs().max() > 0.1  # in colour


def test_captions_of_characters_are_read_as_in_python(page: Any) -> None:
    """In all wordings, with slips, mixed up, and nonsense."""
    chance = random.Random(0)

    def slipped(text: str) -> str:
        place = chance.randrange(len(text))
        return text[:place] + chance.choice(["", "x", "e", "é", "ß", " "]) + text[place + chance.randrange(2) :]

    def said() -> str:
        share = chance.random()
        counts = map(len, sprite_captions.VALUES.values())
        values = [chance.randrange(count) if chance.random() < share else None for count in counts]
        return sprite_captions.tell(sprite_captions.Character(*values), chance.randrange(sprite_captions.WORDINGS))

    known = sorted(sprite_captions.KNOWN_WORDS)
    texts = ["", "😀", "a person", "The LADY, facing us!", "a man, a woman", "x" * 199]
    for _ in range(60):
        texts += [said(), slipped(said()), slipped(slipped(said())).upper(), f"{said()} and {said()}"]
        texts += [" ".join(chance.choices(known, k=3)), " ".join(chance.sample(words := said().split(), len(words)))]
    found = page.evaluate(
        """async (texts) => {
            const { Characters } = await import("/play/captions.js");
            const captions = new Characters((await (await fetch("/play/sprites-captions.json")).json()).captions);
            return texts.map((text) => captions.read(text)).map(({ sentence, problem, picked }) => [
                sentence ?? null, problem ?? null, picked ? captions.tell(picked) : null,
            ]);
        }""",
        texts,
    )
    reasons = ("says two things of the", "is not understood there", "says nothing of a character")
    accepted, met = 0, set()
    for text, (sentence, problem, told) in zip(texts, found, strict=True):
        try:
            expected = understood_character(text)
        except UserError as error:
            assert (sentence, told) == (None, None), text
            assert len(problem) < 200
            told_why = [[reason for reason in reasons if reason in message] for message in (problem, str(error))]
            assert told_why[0] == told_why[1] != [] or not text.strip("😀"), text
            met.update(told_why[0])
        else:
            assert (sentence, problem, told) == (expected, None, expected), text
            accepted += 1
    assert 100 < accepted < len(texts) - 100
    assert met == set(reasons)


def test_captions_of_emoji_are_words_that_the_model_knows(page: Any, making: ModuleType) -> None:
    words = Vocabulary(tuple(pretrained.load_card("emoji-captions")["model"]["captions"]["vocabulary"]))
    rules = making.emoji_rules()
    known = [kind.format(skin) for _, kinds in rules["kinds"] for kind in kinds for skin in rules["skins"]]
    texts = [*known, "Surfing woman, dark!", "the", "", "a woman with dark skin is surfng"]
    found = page.evaluate(
        """async (texts) => {
            const { Emoji } = await import("/play/captions.js");
            const { tokens } = await import("/play/words.js");
            const rules = (await (await fetch("/play/emoji-captions.json")).json()).captions;
            const captions = new Emoji(rules);
            return texts.map((text) => captions.read(text)).map(({ sentence, problem, picked }) => [
                sentence && tokens(sentence, rules).filter(Boolean), problem, picked && captions.tell(picked),
            ]);
        }""",
        texts,
    )
    assert len(known) == 570  # 95 kinds in six skins
    for text, (numbers, problem, picked) in zip(known, found, strict=False):
        assert (numbers, problem, picked) == (words.encode([text])[0].tolist(), None, text)
    mixed, *refused = found[len(known) :]
    assert mixed == [words.encode(["surfing woman dark"])[0].tolist(), None, None]
    assert [numbers for numbers, *_ in refused] == [None] * 3
    assert "“surfng” is unknown; the nearest that is known is “surfing”" in refused[2][1]


def kept(page: Any, folder: Path) -> Any:
    """The clip that the page hands over, [frame, channel, 64, 64]."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Keep the clip (GIF)").press("Enter")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert b"made by syncdraw" in path.read_bytes()
    video, _ = read_video(path)
    return video[:, :, 2::4, 2::4]


def command(page: Any) -> str:
    text: str = page.locator("#play-command").inner_text()
    return text


def test_characters_and_emoji_by_keyboard(page: Any, link: str, tmp_path: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{link}/index.html")
    drawn(page, "digit 3 is moving left and right, seed 0")
    page.get_by_label("Seed", exact=True).fill("6")
    page.get_by_role("button", name="8", exact=True).press("Enter")
    drawn(page, digits := "digit 8 is moving left and right, seed 6")
    assert not any("sprites" in url or "emoji" in url for url in asked)

    # The next of the three, by an arrow key.
    page.get_by_role("radio", name="Digits").press("ArrowDown")
    drawn(page, f"{sprite_captions.EXAMPLE}, seed 0")
    assert page.evaluate("location.hash") == "#characters"
    assert page.get_by_label("Hair style").input_value() == "long"
    caption = page.get_by_label("Caption", exact=True)
    for label, value in (("Build", "man"), ("Hair style", ""), ("Hair colour", ""), ("Top", "red shirt")):
        page.get_by_label(label, exact=True).select_option(value)
    sentence = "a man in a red shirt is casting a spell, facing left"
    assert caption.input_value() == sentence
    drawn(page, f"{sentence}, seed 0")
    assert command(page) == f'syncdraw generate "{sentence}" --model sprites-captions --seed 0 -o clip.gif'
    assert number(page, "step") in range(1, 9)
    assert page.locator("#play-step").get_attribute("max") == "8"
    video = kept(page, tmp_path)
    assert video.shape == (8, 3, 64, 64)
    difference = (video - pretrained.load("sprites-captions").generate(sentence, seed=0)[0]).abs()
    assert difference.mean() < 2 / 255
    assert difference.max() < 24 / 255
    caption.fill("a man with a kettle")
    caption.press("Enter")
    page.get_by_role("alert").filter(has_text="“kettle” is not understood there; one says, for example,").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375

    page.get_by_role("radio", name="Characters").press("ArrowDown")
    drawn(page, "a woman with dark skin is surfing, seed 0")
    assert page.locator("#play-problem").inner_text() == ""
    page.get_by_label("Who or what").select_option(label="a waving hand")
    drawn(page, sentence := "a waving hand with dark skin, seed 0")
    assert kept(page, tmp_path).shape == (12, 3, 64, 64)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375

    # Each keeps its own.
    page.get_by_role("radio", name="Emoji").press("ArrowDown")
    drawn(page, digits)
    assert page.get_by_label("Seed", exact=True).input_value() == "6"
    assert kept(page, tmp_path).shape == (10, 1, 64, 64)
    page.get_by_role("radio", name="Digits").press("ArrowUp")
    drawn(page, sentence)
    assert caption.input_value() == "a waving hand with dark skin"
    files = [url.rpartition("/")[2] for url in asked if url.endswith(".onnx")]
    assert files.count("sprites-captions.onnx") == files.count("emoji-captions.onnx") == 1


def test_what_a_caption_can_say_is_told_alike(making: ModuleType) -> None:
    """The parts of sentences that the page is given, put together, are `tell`'s."""
    parts = making.character_rules()["parts"]
    assert parts["skin"][0] == "light-skinned"
    assert (parts["top"][0], parts["top"][-1]) == ("a red shirt", "golden armour")
    assert (parts["action"][1], parts["direction"][0]) == ("is casting a spell", ", facing left")


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
