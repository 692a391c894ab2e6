"""The demo: what its page plays, downloads and says is what the command line makes, in a real browser where there is
one; and it asks nothing of anybody else."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import training_runs
from syncdraw import cli, pretrained, read_video, save_video
from syncdraw.apps.demo import serve_demo, works
from syncdraw.apps.demo.server import Demo
from syncdraw.apps.demo.studio import Studio
from syncdraw.apps.listening import listen
from syncdraw.errors import UserError

if importlib.util.find_spec("gradio") is None:  # importing it takes seconds, in every process that collects tests
    pytest.skip("the extra app is not installed", allow_module_level=True)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio"),  # of pandas, about how Gradio calls it
]

SEVEN = "digit 7 is moving up and down"
OTHERS = "Method not implemented|Canvas2D: Multiple readback"
"""Complaints about Gradio's own script, and about this test's looking at pixels."""
THREE = "digit 3 is moving left and right"
STILL = {"reduced_motion": "reduce"}
"""Of visitors who do not watch: clips that play cost a browser without a graphics card much time."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run `mine`, whose model has captions and has learned nothing, and two copies that go away."""
    made = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        training_runs.quick(patch)
        training_runs.go(training_runs.changed(changes={"model": training_runs.ALIGNED}), made / "mine")
    for copy in ("leaving", "watched"):
        shutil.copytree(made / "mine", made / copy)
    return made


@contextmanager
def serving(demo: Demo) -> Iterator[str]:
    """The demo, served by a thread; gives its address."""
    import uvicorn

    listening = listen("localhost", 0)
    server = uvicorn.Server(uvicorn.Config(demo.application(), log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://localhost:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        assert demo.failure is None


@pytest.fixture(scope="module")
def link(folder: Path) -> Iterator[str]:
    with serving(Demo([str(folder / name) for name in ("watched", "mine", "leaving")])) as address:
        wait_until_ready(address)
        yield address


def wait_until_ready(address: str) -> None:
    ends = time.monotonic() + 60
    while fetch(address + "ready")[0] != 200:
        assert time.monotonic() < ends
        time.sleep(0.05)


def fetch(address: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, answer.read().decode(errors="replace"), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace"), dict(error.headers)


# --- Works -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("", "x" * 10_000, 1, 0, 1), "the caption has 10,000 letters; it may have at most 500"),
        (("", "🐱", 1, 0, 1), f"the caption '🐱' is not understood; did you mean {THREE!r}"),
        (("", "digit 7 is mooving up and down", 1, 0, 1), f"did you mean {SEVEN!r}"),
        (("", SEVEN, 0, 0, 1), "the number of clips is 0; it must be a whole number from 1 to 9"),
        (("", SEVEN, 1.5, 0, 1), "the number of clips is 1.5"),
        (("", SEVEN, 1, None, 1), "the seed is missing; it must be a whole number"),
        (("", SEVEN, 1, -1, 1), "the seed is -1"),
        (("", SEVEN, 1, float("nan"), 1), "the seed is nan"),
        (("", SEVEN, 1, 0, 9), "the temperature is 9; it must be from 0 to 1.5"),
        (("nowhere", SEVEN, 1, 0, 1), "unknown model 'nowhere'"),
        (("hub:some/model", SEVEN, 1, 0, 1), "start it with the model's name: syncdraw demo hub:some/model"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(asked: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        works.draw(Studio(), *asked)


def test_visitors_from_elsewhere_name_no_folders(folder: Path) -> None:
    studio = Studio([str(folder / "mine")], any_folder=False)
    assert studio.choose(str(folder / "mine")).network.captioned
    for ask in (studio.choose, studio.folder):
        with pytest.raises(UserError, match="is not among the models of this page"):
            ask(str(folder / "leaving"))


def test_a_model_that_was_trained_further_is_loaded_again(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "mine", tmp_path / "run")
    studio = Studio([str(run)])
    first = studio.choose(str(run))
    assert studio.choose(str(run)) is first
    pretrained.save(first.network, run, data="bouncing_mnist", about="newer")
    assert studio.choose(str(run)).card["about"] == "newer"


def test_a_name_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown model 'nowhere'"):
        serve_demo(["nowhere"])


def test_a_page_that_cannot_be_made_ends_the_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} has no config.json"):
        serve_demo([str(tmp_path)], port=0)


# --- The server ------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_named_with_the_next() -> None:
    with listen("localhost", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^port {port} is in use; (\d+) is free: give --port \1$"):
            serve_demo(port=port)


def test_other_machines_need_the_token_and_see_a_page_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = threading.Event()
    build = Demo._build
    monkeypatch.setattr(Demo, "_build", lambda demo: may_go_on.wait(30) and build(demo))
    with serving(Demo(token="secret")) as address:
        try:
            status, page, headers = fetch(address + "secret/")
            assert status == 200
            assert "The page is starting" in page
            assert headers["content-security-policy"].startswith("default-src 'self'")
            assert fetch(address + "secret/ready")[0] == 202
        finally:
            may_go_on.set()
        for path in ("", "ready", "config", "secre/", "kept/a/b.gif"):
            assert fetch(address + path)[0] == 404
        wait_until_ready(address + "secret/")
        status, page, _ = fetch(address + "secret/")
        assert status == 200
        assert "gradio" in page
        assert fetch(address + "secret/kept/unknown/seven.gif")[:2] == (
            404, "This clip is not kept any more; draw it again."
        )  # fmt: skip


def test_this_machine_alone_means_its_own_names(link: str) -> None:
    assert fetch(link)[0] == 200
    assert fetch(link, Host="elsewhere.example")[0] == 400


# --- In a browser ----------------------------------------------------------------------------------------------------


class Visitor:
    """Somebody at the page, and what their browser asked for and complained of."""

    def __init__(self, browser: Any, link: str, **options: Any) -> None:
        context = browser.new_context(**options)
        context.set_default_timeout(20_000)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("console", lambda message: self.complaints.append(message.text))
        self.page = context.new_page()
        self.page.goto(link)
        self.button("Draw").wait_for()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def choose(self, model: str) -> None:
        self.page.get_by_role("combobox", name="Model").click()
        self.page.get_by_role("option", name=model).click()

    def draw(self, caption: str, seed: int = 0) -> None:
        self.page.get_by_role("textbox", name=re.compile("^Caption")).fill(caption)
        self.page.get_by_role("spinbutton", name="Seed").fill(str(seed))
        self.button("Draw").click()

    def see(self, label: str) -> Any:
        """The picture of that label, once it is there."""
        found = self.page.get_by_role("img", name=label)
        found.wait_for()
        return found

    def slide(self, name: str, value: int) -> None:
        self.page.get_by_role("slider", name=name).fill(str(value))

    def said(self, word: str) -> str:
        """The sentence with that word, once the page says it."""
        alert = self.page.get_by_role("alert").filter(has_text=word)
        alert.wait_for()
        return str(alert.inner_text())

    def command(self) -> list[str]:
        """The words of the command that makes the same."""
        return shlex.split(self.page.locator(".command code:visible").inner_text())

    def download(self, title: str, folder: Path, suffix: str) -> Path:
        """A file that the page gives, which is the one that the command makes."""
        with self.page.expect_download() as waiting:
            self.page.get_by_role("link", name=title).click()
        file, made = folder / f"downloaded{suffix}", folder / f"made{suffix}"
        waiting.value.save_as(file)
        cli.main([*self.command()[1:-1], str(made)])
        assert file.read_bytes() == made.read_bytes()
        return file


def pixels(canvas: Any, side: int) -> np.ndarray:
    """The middle of each pixel of a video that is shown, `[side, side]`."""
    program = """(canvas, side) => {
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const size = canvas.width / side;
        const at = (number) => Math.floor((number + 0.5) * size);
        return [...Array(side * side).keys()].map(
            (number) => data[4 * (at(Math.floor(number / side)) * canvas.width + at(number % side))]);
    }"""
    return np.array(canvas.evaluate(program, side)).reshape(side, side)


def test_a_caption_becomes_a_clip(link: str, folder: Path, browser: Any, tmp_path: Path) -> None:
    visitor, other = Visitor(browser, link), Visitor(browser, link)
    model = str(folder / "mine")
    for person, caption, seed in ((visitor, SEVEN, 5), (other, THREE, 6)):  # both at once
        person.choose(model)
        person.draw(caption, seed)
    for person, caption, seed in ((visitor, SEVEN, 5), (other, THREE, 6)):
        canvas = person.see(f"{caption}, clip")
        expected = pretrained.load(model).generate([caption], seed=seed, return_canvases=True)[0]
        for step, frame in ((2, 1), (1, 3)):
            person.slide("Frame", frame)  # and stops there
            person.slide("Drawing step", step)
            wanted = (expected[step - 1, frame - 1, 0] * 255).round().numpy()
            assert np.abs(pixels(canvas, 32) - wanted).max() <= 1

    page = visitor.page
    before = canvas_bytes(page)
    visitor.button("Play").click()
    page.get_by_text("1 of 3", exact=True).wait_for()  # it goes round
    visitor.button("Pause").click()
    visitor.button("Watch it form").click()
    page.get_by_text("1 of 2", exact=True).wait_for()
    page.get_by_text("2 of 2", exact=True).wait_for()
    page.get_by_label("Show the windows").check()
    assert canvas_bytes(page) != before
    assert red_share(page) > 0.001
    page.get_by_label("Show the windows").uncheck()
    assert red_share(page) == 0

    page.get_by_role("img", name="KL in nats at each drawing step. step 1: ").wait_for()
    page.get_by_role("img", name="The word that each drawing step looks at most. step 1: ").wait_for()

    assert visitor.command()[-1] == "digit-7-is-moving-up-and-down-seed5.gif"
    for title, suffix in (("GIF", ".gif"), ("MP4", ".mp4"), ("WebP", ".webp"), ("PNG sheet", ".png")):
        file = visitor.download(title, tmp_path, suffix)
        if suffix == ".png":
            assert Image.open(file).size == (3 * 128 + 2 * 2, 128)
        else:
            assert read_video(file)[0].shape == (3, 1, 128, 128)

    for person in (visitor, other):
        assert all(url.startswith((link, "data:", "blob:")) for url in person.asked)
        assert [text for text in person.complaints if not re.search(OTHERS, text)] == []


def canvas_bytes(page: Any) -> str:
    return str(page.evaluate("document.querySelector('canvas').toDataURL()"))


def red_share(page: Any) -> float:
    return float(
        page.evaluate("""() => {
        const canvas = document.querySelector("canvas");
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let red = 0;
        for (let at = 0; at < data.length; at += 4) red += data[at] > data[at + 1] + 100;
        return red / (data.length / 4);
    }""")
    )


def test_what_cannot_be_done_is_said_in_the_page(link: str, folder: Path, browser: Any, tmp_path: Path) -> None:
    visitor = Visitor(browser, link, **STILL)
    canvas = visitor.see(f"{THREE}, clip")  # what the page begins with
    visitor.draw("x" * 10_000)
    assert visitor.said("letters") == "The caption has 10,000 letters; it may have at most 500."
    visitor.draw("digit 7 is mooving up and down")
    assert visitor.said("mooving").endswith(f"is not understood; did you mean {SEVEN!r}?")
    assert canvas.count() == 1  # what was drawn before stays

    visitor.choose(str(folder / "leaving"))
    visitor.draw(SEVEN)
    visitor.see(f"{SEVEN}, clip")
    shutil.rmtree(folder / "leaving")
    visitor.draw(THREE)
    assert visitor.said("not any more") == f"{folder / 'leaving'} holds no model, or not any more; choose another one."

    visitor.page.get_by_role("tab", name="Read").click()
    (tmp_path / "letter.txt").write_text("Dear reader")
    with (tmp_path / "long.mp4").open("wb") as file:
        file.truncate(51 * 2**20)
    upload = visitor.page.locator("input[type=file]")
    upload.set_input_files(tmp_path / "long.mp4")
    visitor.page.get_by_text('File(s) exceed the maximum allowed size of 50.0 Mb: "long.mp4"').wait_for()
    upload.set_input_files(tmp_path / "letter.txt")
    visitor.page.get_by_text(".txt", exact=True).wait_for()
    visitor.choose("mnist1: ")
    visitor.button("Read it and draw it again").click()
    assert visitor.said("letter.txt").startswith("Cannot read letter.txt: it is damaged")


def test_a_walk_and_a_clip_that_is_read(
    link: str, folder: Path, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor(browser, link, **STILL)
    model = pretrained.load(folder / "mine")
    visitor.choose(str(folder / "mine"))
    visitor.page.get_by_role("tab", name="Walk").click()
    visitor.page.get_by_role("spinbutton", name="Clips").fill("3")
    visitor.button("Walk").click()
    visitor.see("clip 3 of 3 on the way")
    visitor.slide("Frame", 2)
    ends = [
        model.generate(["digit 2 is moving left and right"], seed=0),
        model.generate([SEVEN.replace("7", "2")], seed=1),
    ]
    for number, video in ((1, ends[0]), (3, ends[1])):
        shown = pixels(visitor.see(f"clip {number} of 3 on the way"), 32)
        assert np.abs(shown - (video[0, 1, 0] * 255).round().numpy()).max() <= 1

    assert Image.open(visitor.download("PNG sheet", tmp_path, ".png")).size == (3 * 64 + 2 * 2, 3 * 64 + 2 * 2)

    clip = torch.zeros(3, 1, 32, 32)
    clip[:, :, 8:20, 10:14] = 1
    save_video(clip, tmp_path / "bar.gif")
    visitor.page.get_by_role("tab", name="Read").click()
    visitor.page.locator("input[type=file]").set_input_files(tmp_path / "bar.gif")
    visitor.page.get_by_text(".gif", exact=True).wait_for()
    visitor.page.get_by_role("textbox", name=re.compile("^Its caption")).fill(SEVEN)
    visitor.button("Read it and draw it again").click()
    visitor.see("bar.gif, drawn again")
    assert np.array_equal(pixels(visitor.see("bar.gif, the clip"), 32), clip[0, 0] * 255)
    monkeypatch.chdir(tmp_path)  # the command names the clip without its folder
    assert read_video(visitor.download("GIF", tmp_path, ".gif"))[0].shape == (3, 1, 128, 2 * 128 + 2)
    visitor.page.get_by_role("img", name="KL in nats at each drawing step. step 1: ").wait_for()


def test_training_on_a_telephone_with_a_keyboard(link: str, folder: Path, browser: Any) -> None:
    visitor = Visitor(browser, link, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    page = visitor.page
    visitor.see(f"{THREE}, clip")
    unnamed = """[...document.querySelectorAll("input, textarea, select, button")].filter((one) => one.offsetParent
        && !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim())).length"""
    page.get_by_role("tab", name="Draw").focus()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.type"))
    assert [word for word in reached if word in ("textarea", "Draw", "Pause", "range", "GIF")][:2] == [
        "textarea",
        "Draw",
    ]
    assert {"Pause", "Watch it form", "range", "checkbox", "GIF", "PNG sheet"} <= set(reached)
    for tab in ("Draw", "Walk", "Read", "Training"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert page.evaluate(unnamed) == 0

    curves = page.get_by_role("img", name="Training curves")
    curves.wait_for()
    before = curves.get_attribute("src")
    page.get_by_text("Samples after step 11").wait_for()
    watched = folder / "watched"
    with (watched / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 15, "seconds": 9.0, "L_X": 1.0, "L_Z": 2.0}) + "\n")
    shutil.copy(watched / "samples/step_0000011.gif", watched / "samples/step_0000015.gif")
    page.get_by_text("Samples after step 15").wait_for()
    assert curves.get_attribute("src") != before
    shutil.rmtree(watched)
    assert visitor.said("folder") == f"There is no folder {watched}; give the folder of a run, such as runs/mine."
