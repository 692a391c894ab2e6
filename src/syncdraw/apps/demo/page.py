"""The page itself: which controls there are, and what each of them does."""

from __future__ import annotations

import base64
import functools
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio

from syncdraw import figures
from syncdraw.apps.demo import works
from syncdraw.apps.demo.kept import Kept
from syncdraw.apps.demo.studio import Studio
from syncdraw.apps.demo.works import HOTTEST, MOST_CLIPS, MOST_ON_A_WALK, Work
from syncdraw.errors import UserError
from syncdraw.training.run_folder import METRICS_FILE

PARTS = Path(__file__).parent / "page"
FORMATS = {".gif": "GIF", ".mp4": "MP4", ".webp": "WebP", ".png": "PNG sheet"}

_ONE = ("digit 3 is moving left and right", "digit 7 is moving up and down", "digit 0 is moving diagonally")
_TWO = ("digit 1 is moving left and right and digit 5 is moving up and down",)
_EXAMPLES = (*_ONE, *_TWO)
_EVERY = 3  # seconds between two looks at a run that is training


def theme() -> Any:
    """Gradio's, with the reader's own fonts: none is fetched from anywhere."""
    return gradio.themes.Default(
        primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate",
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"],
    )  # fmt: skip


def build_page(studio: Studio, kept: Kept) -> Any:
    """The page, as Gradio's Blocks."""
    with gradio.Blocks(title="Sync-DRAW", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        suits = ("the one that suits the caption", "")
        with gradio.Row():
            with gradio.Column(scale=3, min_width=300):
                gradio.Markdown("# Sync-DRAW\nShort videos, drawn from a caption or from nothing, all frames at once.")
            with gradio.Column(scale=2, min_width=300):
                model = gradio.Dropdown(
                    [suits, *studio.choices()], value="", label="Model", allow_custom_value=studio.any_folder,
                    info="A shipped one, or the folder of a run." if studio.any_folder else None,
                )  # fmt: skip
        with gradio.Tabs():
            with gradio.Tab("Draw"):
                _draw_tab(page, studio, kept, model)
            with gradio.Tab("Walk"):
                _walk_tab(studio, kept, model)
            with gradio.Tab("Read"):
                _read_tab(studio, kept, model)
            with gradio.Tab("Training") as training:
                _training_tab(studio, training)
    page.queue(max_size=100)
    return page


def _draw_tab(page: Any, studio: Studio, kept: Kept, model: Any) -> None:
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            caption = gradio.Textbox(
                _EXAMPLES[0], label="Caption", lines=2, max_lines=4, submit_btn=False, elem_id="caption",
                info="Digits and how they move, or a film. A model that draws from nothing passes over it.",
            )  # fmt: skip
            with gradio.Row(elem_classes="examples"):
                texts = (*_EXAMPLES, *studio.examples())
                examples = [gradio.Button(text, size="sm", min_width=130) for text in texts]
            with gradio.Row():
                go = gradio.Button("Draw", variant="primary", min_width=130)
                another = gradio.Button("Another seed", min_width=130)
            with gradio.Row():
                seed = gradio.Number(0, precision=0, minimum=0, label="Seed", min_width=130)
                count = gradio.Slider(1, MOST_CLIPS, 1, step=1, label="Clips", min_width=130)
            temperature = gradio.Slider(
                0, HOTTEST, 1, step=0.05, label="Temperature", info="Less gives clearer and less varied clips."
            )
        result = _Result(kept, studio)
    asked = [model, caption, count, seed, temperature]
    draw = result.shows(lambda *values: works.draw(studio, *values))
    options: dict[str, Any] = {"inputs": asked, "outputs": result.outputs}
    for event in (go.click, caption.submit):
        result.explain(event(draw, **options, **_QUEUED))
    for example in examples:
        chosen = example.click(lambda text: text, example, caption, queue=False, api_visibility="private")
        result.explain(chosen.then(draw, **options, **_QUEUED))
    next_seed = another.click(lambda value: int(value or 0) + 1, seed, seed, queue=False, api_visibility="private")
    result.explain(next_seed.then(draw, **options, **_QUEUED))
    result.explain(page.load(draw, **options, **_QUEUED))


def _walk_tab(studio: Studio, kept: Kept, model: Any) -> None:
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            first = gradio.Textbox("digit 2 is moving left and right", label="From the caption", lines=2)
            last = gradio.Textbox(
                "digit 2 is moving up and down", label="To the caption", lines=2,
                info="Leave it empty to walk from seed to seed under one caption.",
            )  # fmt: skip
            with gradio.Row():
                start = gradio.Number(0, precision=0, minimum=0, label="From seed", min_width=130)
                end = gradio.Number(1, precision=0, minimum=0, label="To seed", min_width=130)
            count = gradio.Slider(2, MOST_ON_A_WALK, 8, step=1, label="Clips")
            go = gradio.Button("Walk", variant="primary")
        result = _Result(kept, studio, explained=False)
    walk = result.shows(lambda name, one, two, a, b, many: works.walk(studio, name, one, two, (a, b), many))
    go.click(walk, [model, first, last, start, end, count], result.outputs, **_QUEUED)


def _read_tab(studio: Studio, kept: Kept, model: Any) -> None:
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            upload = gradio.File(label="A video, up to 50 MB", height=140)
            caption = gradio.Textbox(label="Its caption", lines=2, info="For a model with captions.")
            seed = gradio.Number(0, precision=0, minimum=0, label="Seed")
            go = gradio.Button("Read it and draw it again", variant="primary")
        result = _Result(kept, studio)
    read = result.shows(lambda *values: works.read(studio, *values))
    result.explain(go.click(read, [model, upload, caption, seed], result.outputs, **_QUEUED))


def _training_tab(studio: Studio, tab: Any) -> None:
    run = gradio.Dropdown(
        studio.named, value=next(iter(studio.named), None), label="Run folder", allow_custom_value=studio.any_folder,
        info="Its curves and its latest samples, as they come in: runs/mine, say.",
    )  # fmt: skip
    sentence = _sentence()
    curves = gradio.HTML(elem_classes="wide")
    samples = gradio.HTML(elem_classes="samples")
    seen = gradio.State("")
    timer = gradio.Timer(_EVERY, active=False)

    def look(name: str | None, before: str) -> tuple[Any, Any, Any, str]:
        """What is new; nothing where nothing is."""
        if not name:
            return "", "", "", ""
        try:
            folder = studio.folder(name)
            stages = figures.stages_of(folder)
            files = [path for stage in stages for path in sorted(stage.glob("samples/step_*.gif"))][-1:]
            metrics = [stage / METRICS_FILE for stage in stages if (stage / METRICS_FILE).exists()]
            now = str([(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in (*files, *metrics)])
            if now == before and before:
                return gradio.skip(), gradio.skip(), gradio.skip(), before
            picture = works.as_image(figures.curves(folder))
            shown = f'<img src="{picture}" alt="Training curves: L_X, L_Z and their sum over the training steps">'
            drawn = ""
            for path in files:
                content = base64.b64encode(path.read_bytes()).decode()
                step = path.stem.removeprefix("step_").lstrip("0")
                drawn = (f'<p>Samples after step {int(step or 0):,}</p><img alt="What the model drew then" '
                         f'src="data:image/gif;base64,{content}">')  # fmt: skip
            return shown, drawn, "", now
        except UserError as error:
            return "", "", _as_sentence(error), ""
        except OSError as error:
            return "", "", _as_sentence(UserError(f"{name} cannot be read ({error.strerror})")), ""

    options: dict[str, Any] = {
        "inputs": [run, seen], "outputs": [curves, samples, sentence, seen], "show_progress": "hidden",
        "api_visibility": "private",
    }  # fmt: skip
    timer.tick(look, **options)
    run.change(lambda name: look(name, ""), run, options["outputs"], show_progress="hidden", api_visibility="private")
    tab.select(lambda name: (gradio.Timer(active=True), *look(name, "")), run, [timer, *options["outputs"]],
               show_progress="hidden", api_visibility="private")  # fmt: skip


class _Result:
    """Where a work is shown: what is wrong, the clips, the files, the command, and the figures."""

    def __init__(self, kept: Kept, studio: Studio, *, explained: bool = True) -> None:
        self._kept, self._studio = kept, studio
        self._key = gradio.State("")
        with gradio.Column(scale=3, min_width=300):
            self._sentence = _sentence()
            self._clips = gradio.HTML(
                "", html_template=(PARTS / "player.html").read_text(), js_on_load=(PARTS / "player.js").read_text(),
                apply_default_css=False,
            )  # fmt: skip
            self._said = gradio.HTML(elem_classes="said")
            self._files = gradio.HTML()
            self._command = gradio.HTML()
        if explained:
            with gradio.Column(scale=2, min_width=260):
                self._figures = gradio.HTML()
        self.outputs = [self._sentence, self._clips, self._said, self._files, self._command, self._key]

    def shows(self, ask: Callable[..., Work]) -> Callable[..., tuple[Any, ...]]:
        """A function for Gradio's events. Where a sentence has to be said, what was shown before stays."""

        @functools.wraps(ask)
        def answer(*values: Any) -> tuple[Any, ...]:
            try:
                work = self._studio.compute(lambda: ask(*values))
            except UserError as error:
                return (_as_sentence(error), *[gradio.skip()] * 4, "")
            key = self._kept.add(work)
            said, command = (html.escape(text) for text in (work.said, work.command))
            command = f'<div class="command">The same on the command line: <code>{command}</code></div>'
            return "", work.clips, f"<p>{said}.</p>", _links(key, work.name), command, key

        return answer

    def explain(self, event: Any) -> None:
        """Draw the figures after the clips, which are to play at once."""
        event.then(self._explained, self._key, self._figures, show_progress="hidden", **_PRIVATE)

    def _explained(self, key: str) -> Any:
        work = self._kept.get(key)
        if work is None:
            return gradio.skip()
        try:
            made = self._studio.compute(work.figures)
        except UserError as error:  # there is no matplotlib, say
            return f"<p>{html.escape(_as_sentence(error))}</p>"
        titles = ("When the model reads the first clip", "Which words each step looked at")
        shown = [
            f'<figure><figcaption>{title}</figcaption><img alt="{html.escape(figure.words)}" '
            f'src="{works.as_image(figure.pixels)}"></figure>'
            for title, figure in zip(titles, made, strict=False)
        ]
        return f'<div class="figures">{"".join(shown)}</div>'


_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
_QUEUED: dict[str, Any] = {**_PRIVATE, "show_progress": "minimal"}


def _sentence() -> Any:
    """Where the page says what is wrong; a screen reader reads it out when it changes."""
    return gradio.HTML("", html_template='<div role="alert" class="sentence">${value}</div>', js_on_load=None)


def _as_sentence(error: UserError) -> str:
    text = str(error)
    end = "" if text.endswith((".", "?")) else "."
    return html.escape(f"{text[:1].upper()}{text[1:]}{end}")


def _links(key: str, name: str) -> str:
    links = [f'<a href="kept/{key}/{name}{suffix}" download>{title}</a>' for suffix, title in FORMATS.items()]
    return f'<div class="files"><span>Download:</span>{"".join(links)}</div>'
