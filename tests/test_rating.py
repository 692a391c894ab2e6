"""The rating study: orders are balanced, no rating is lost or counted twice, the numbers are right, nothing tells the
source. What raters do is done in a real browser, where there is one."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from making_models import randomised
from syncdraw import pretrained, read_video
from syncdraw.apps.listening import listen
from syncdraw.apps.rating import making as rating_making
from syncdraw.apps.rating import report as rating_report
from syncdraw.apps.rating import report_study, serve_study
from syncdraw.apps.rating import server as rating_server
from syncdraw.apps.rating import sources as rating_sources
from syncdraw.apps.rating.making import create_study
from syncdraw.apps.rating.ratings import NotSavedError, Rating, Ratings
from syncdraw.apps.rating.report import agreement, source_scores
from syncdraw.apps.rating.sources import find_source
from syncdraw.apps.rating.study import Source, Study, load_study, order_for
from syncdraw.config import CaptionConfig, SyncDrawConfig
from syncdraw.datasets.bouncing_mnist import BouncingMNIST, BouncingMNISTConfig, parse_caption, unseen_combinations
from syncdraw.errors import UserError
from syncdraw.media import save_video


def make_folder(path: Path, grey: float, count: int = 6) -> Path:
    """Videos of one grey each, which tells where a clip comes from."""
    path.mkdir(parents=True)
    for number in range(count):
        save_video(torch.full((2, 1, 16, 16), grey + number / 255), path / f"{number}.gif")
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two sources of two clips each, and two examples: four clips for each rater."""
    make_folder(tmp_path / "originals", 0.8)
    make_folder(tmp_path / "drawn", 0.2)
    sources = [f"photographed=real:{tmp_path / 'originals'}", f"invented={tmp_path / 'drawn'}"]
    return create_study(tmp_path / "study", sources, clips=2)


def saved(study: Path) -> list[tuple[int, int, int]]:
    """Rater, position and score of each rating on the disk."""
    return [(one.rater, one.position, one.score) for one in Ratings(study).all()]


# --- Orders ----------------------------------------------------------------------------------------------------------


def study_of(sources: int, clips: int, per_rater: int, seed: int) -> Study:
    return Study(
        name="x",
        token="y",
        seed=seed,
        per_rater=per_rater,
        sources=tuple(Source(str(number)) for number in range(sources)),
        examples=(),
        clips=tuple(tuple(f"{source}-{clip}" for clip in range(clips)) for source in range(sources)),
    )


@given(
    sources=st.integers(1, 6),
    clips=st.integers(1, 12),
    share=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    raters=st.integers(1, 15),
)
@settings(max_examples=60, deadline=None)
def test_orders_are_balanced(sources: int, clips: int, share: int, seed: int, raters: int) -> None:
    made = study_of(sources, clips, min(share, clips), seed)
    shown: Counter[str] = Counter({clip: 0 for of_one in made.clips for clip in of_one})
    for number in range(raters):
        order = order_for(made, number)
        assert len(order) == len(set(order)) == made.clips_a_rater
        assert order == order_for(made, number)
        for start in range(0, len(order), sources):  # a clip of each source in every block, so in every beginning
            assert {clip.split("-")[0] for clip in order[start : start + sources]} == set(map(str, range(sources)))
        shown.update(order)
    assert max(shown.values()) - min(shown.values()) <= 1


def test_orders_are_random() -> None:
    made = study_of(sources=3, clips=10, per_rater=10, seed=4)
    orders = [order_for(made, number) for number in range(300)]
    assert len({tuple(order) for order in orders}) == 300
    first = Counter(order[0].split("-")[0] for order in orders)
    assert all(70 < count < 130 for count in first.values())  # 100 +- 8 by chance
    last = Counter(order[-1] for order in orders)
    assert len(last) == 30  # each clip comes last for somebody
    other = study_of(sources=3, clips=10, per_rater=10, seed=5)
    assert order_for(other, 0) != orders[0]


# --- Making a study --------------------------------------------------------------------------------------------------


def test_clips_come_from_their_sources_and_do_not_tell(study: Path) -> None:
    made = load_study(study)
    assert [source.name for source in made.sources] == ["photographed", "invented"]
    for clips, grey in ((made.clips[0], 0.8), (made.clips[1], 0.2), (made.examples, 0.8)):
        for clip in clips:
            assert abs(read_video(study / "clips" / clip)[0].mean().item() - grey) < 0.03
    names = sorted(path.name for path in (study / "clips").iterdir())
    assert names == [f"{number:04d}.webp" for number in range(1, 7)]
    assert sorted([*made.examples, *made.source_of()]) == names  # an example is never rated
    contents = {(study / "clips" / name).read_bytes() for name in names}
    assert len(contents) == 6


def test_the_seed_decides(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", 0.1)
    make_folder(tmp_path / "b", 0.6)
    sources = [f"real:{tmp_path / 'a'}", str(tmp_path / "b")]
    once, again, other = (
        create_study(tmp_path / f"study{number}", sources, clips=3, seed=seed) for number, seed in enumerate((1, 1, 2))
    )
    assert load_study(once).clips == load_study(again).clips != load_study(other).clips
    for name in sorted(path.name for path in (once / "clips").iterdir()):
        assert (once / "clips" / name).read_bytes() == (again / "clips" / name).read_bytes()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with captions that has learned nothing, of two digits, by the hard split."""
    words = ("and", "digit", "down", "is", "left", "moving", "right", "up", *"0123456789")
    config = SyncDrawConfig(
        frames=2, height=32, width=32, draw_steps=2, grid_size=2, hidden_size=8, latent_size=2,
        captions=CaptionConfig("alignment", 4, vocabulary=words),
    )  # fmt: skip
    bouncing = {"digits": 2, "shape": [2, 1, 32, 32], "combinations": "seen", "extra_motions": 0.5}
    pretrained.save(randomised(config), tmp_path / "model", data="bouncing_mnist", bouncing=bouncing)
    return tmp_path / "model"


def test_models_draw_from_captions_that_training_kept_back(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    draw = rating_sources.sample_batches

    def recorded(network: Any, captions: list[str], seed: int) -> Iterator[torch.Tensor]:
        asked.extend(captions)
        return draw(network, captions, seed)

    monkeypatch.setattr(rating_sources, "sample_batches", recorded)
    origin = find_source(f"ours={model}")
    assert origin.source == Source("ours", captions=True, column="Two Digit MNIST")
    assert origin.draw is not None
    drawn = origin.draw(5, 3)
    assert [tuple(video.shape) for video in drawn] == [(2, 1, 32, 32)] * 5
    assert len(set(asked)) > 1
    unseen = {tuple(sorted(combination)) for combination in unseen_combinations(2)}
    assert {tuple(sorted(parse_caption(caption))) for caption in asked} <= unseen


def test_real_clips_are_test_clips_of_the_models_data(model: Path, tmp_path: Path) -> None:
    made = load_study(create_study(tmp_path / "study", [f"real:{model}", str(model)], clips=3, examples=2))
    assert made.sources[0] == Source(f"real:{model}", real=True, column="Two Digit MNIST")
    config = BouncingMNISTConfig(digits=2, shape=(2, 1, 32, 32))
    test = BouncingMNIST(config, "test")
    known = {video.tobytes() for video in test.take(np.arange(len(test))).videos}
    shown = [(read_video(tmp_path / "study/clips" / clip)[0] * 255).round().to(torch.uint8).numpy().tobytes()
             for clip in (*made.examples, *made.clips[0])]  # fmt: skip
    assert len(set(shown)) == 5
    assert set(shown) <= known


def test_shipped_models_find_their_columns() -> None:
    columns = {name: (find_source(name).source.column, find_source(name).source.captions)
               for name in ("mnist1", "mnist1-captions", "mnist2", "mnist2-captions")}  # fmt: skip
    assert columns == {
        "mnist1": ("One Digit MNIST", False),
        "mnist1-captions": ("One Digit MNIST", True),
        "mnist2": ("Two Digit MNIST", False),
        "mnist2-captions": ("Two Digit MNIST", True),
    }
    assert find_source("mnist1").data == find_source("mnist1-captions").data  # one set of examples for both


@pytest.mark.parametrize(
    ("sources", "options", "said"),
    [
        (["real:full", "empty"], {}, "empty has no clips: expected files such as"),
        (["real:full", "nowhere"], {}, "unknown model 'nowhere'"),
        (["real:full", "no-model"], {}, "no-model is not a Sync-DRAW model"),
        (["full"], {}, "add real:MODEL or real:FOLDER"),
        ([], {}, "a study needs sources"),
        (["real:full"], {"clips": 5}, "full has 6 clips, but 7 are needed"),
        (["real:full", "full", "full"], {}, "the source full is named twice"),
        (["real:full", "=full"], {}, "source '=full' is not complete"),
        (["real:full"], {"per_rater": 3}, "3 of 2 clips"),
        (["real:full"], {"per_rater": 0}, "0 of 2 clips"),
        (["real:full"], {"examples": -1}, "must be 0 or more"),
        (["real:full", "large"], {}, "is too large to be rated in a page"),
    ],
)
def test_a_bad_study_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], options: dict[str, int], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rating_sources, "_MOST_PIXELS", 3000)
    make_folder(Path("full"), 0.5)
    Path("empty").mkdir()
    Path("no-model").mkdir()
    Path("no-model/config.json").write_text("{}")
    Path("large").mkdir()
    for number in range(2):
        save_video(torch.zeros(2, 1, 48, 48), f"large/{number}.gif")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=re.escape(said)):
        create_study(Path("study"), sources, **{"clips": 2, **options})
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "full", 0.5)
    written: list[Path] = []

    def fill(video: torch.Tensor, path: Path, **options: float) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        save_video(video, path)

    monkeypatch.setattr(rating_making, "save_video", fill)
    with pytest.raises(UserError, match=r"^cannot write .*study: No space left on device$"):
        create_study(tmp_path / "study", [f"real:{folder}"], clips=2)
    assert len(written) == 2
    assert list(tmp_path.iterdir()) == [folder]


def test_a_study_that_exists_is_not_replaced(study: Path, tmp_path: Path) -> None:
    Ratings(study).begin(lambda number: order_for(load_study(study), number))
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="is a study already; leave the sources out to go on"):
        create_study(study, [f"real:{tmp_path / 'originals'}"], clips=2)
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 2}', '{"format": 1, "sources": [{}]}'])
def test_a_damaged_study_is_one_sentence(study: Path, content: str) -> None:
    (study / "study.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.json (is damaged|was made by another version)"):
        serve_study(study)


def test_no_study_is_one_sentence(tmp_path: Path) -> None:
    for action in (serve_study, report_study):
        with pytest.raises(UserError, match="is no study"):
            action(tmp_path / "nothing")


# --- Ratings and their report ----------------------------------------------------------------------------------------


def test_ratings_of_many_at_once_are_all_kept(study: Path) -> None:
    made = load_study(study)
    keys: list[str] = []

    def rater() -> None:
        ratings = Ratings(study)
        key = ratings.begin(lambda number: order_for(made, number))
        keys.append(key)
        for position in range(1, 5):
            assert ratings.rate(key, position, 5)
            assert ratings.rate(key, position, 5 + position)  # a changed mind does not count twice

    threads = [threading.Thread(target=rater) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert saved(study) == [(number, place, 5 + place) for number in range(1, 7) for place in range(1, 5)]
    assert not Ratings(study).rate(keys[0], 5, 5)
    assert not Ratings(study).rate("nobody", 1, 5)
    with pytest.raises(NotSavedError, match="CHECK constraint"):
        Ratings(study).rate(keys[0], 1, 11)


def test_ratings_never_go_into_a_new_file(study: Path) -> None:
    ratings = Ratings(study)
    key = ratings.begin(lambda number: order_for(load_study(study), number))
    study.rename(study.with_name("moved"))
    with pytest.raises(NotSavedError, match="is not there any more"):
        ratings.rate(key, 1, 5)
    study.mkdir()
    with pytest.raises(NotSavedError, match="is not there any more"):
        ratings.rate(key, 1, 5)
    assert list(study.iterdir()) == []


def as_ratings(scores: dict[tuple[int, str], int]) -> list[Rating]:
    return [Rating(rater, 1, clip, score, "") for (rater, clip), score in scores.items()]


def test_numbers_are_those_computed_by_hand() -> None:
    ratings = as_ratings({(1, "a"): 8, (1, "b"): 6, (2, "a"): 10, (2, "b"): 9})
    scores = source_scores(ratings)
    assert (scores.ratings, scores.raters, scores.mean) == (4, 2, 8.25)
    assert scores.deviation == pytest.approx((8.75 / 3) ** 0.5)  # deviations -0.25, -2.25, 1.75, 0.75
    # Of two raters with means 7 and 9.5, both draws are the same one in half of all cases.
    assert (scores.low, scores.high) == (7.0, 9.5)
    alone = source_scores(ratings[:1])
    assert (alone.mean, alone.deviation, alone.low, alone.high) == (8.0, None, None, None)
    assert source_scores([]).mean is None


def test_the_interval_covers_the_mean_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_report, "_RESAMPLES", 1000)
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        # Raters differ from each other by more than their scores do: an interval over ratings would be too narrow.
        severity = generator.normal(0, 1.5, size=20)
        scores = np.rint(5.5 + severity[:, None] + generator.normal(0, 0.5, (20, 5))).astype(int)
        ratings = as_ratings({(rater, str(clip)): int(scores[rater, clip]) for rater, clip in np.ndindex(20, 5)})
        one = source_scores(ratings)
        assert one.low is not None
        assert one.high is not None
        covered += one.low <= 5.5 <= one.high
    assert 86 <= covered <= 99  # 95 are expected, a little fewer with 20 raters


def test_agreement_is_krippendorffs() -> None:
    # The example of Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), part C: four observers.
    table = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    scores = {
        (rater, str(unit)): int(value)
        for rater, row in enumerate(table)
        for unit, value in enumerate(row)
        if value != "."
    }
    assert agreement(as_ratings(scores), "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert agreement(as_ratings(scores), "interval") == pytest.approx(0.849, abs=5e-4)
    assert agreement([], "ordinal") is None
    assert agreement(as_ratings({(1, "a"): 3, (1, "b"): 5}), "ordinal") is None  # one rater
    assert agreement(as_ratings({(1, "a"): 3, (2, "b"): 5}), "ordinal") is None  # no clip in common
    assert agreement(as_ratings({(1, "a"): 3, (2, "a"): 3}), "ordinal") is None  # nothing to disagree about


def test_the_report_has_the_form_of_tables_2_and_3(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads((study / "study.json").read_text())
    about["sources"][0] |= {"column": "One Digit MNIST"}
    about["sources"][1] |= {"column": "Two Digit MNIST", "captions": True}
    (study / "study.json").write_text(json.dumps(about))
    made, ratings = load_study(study), Ratings(study)
    # The first rater goes to the end: 9 and 10 for real clips, 3 for drawn ones. The second rates one clip.
    for number, positions in enumerate((range(1, 5), range(1, 2))):
        key = ratings.begin(lambda number: order_for(made, number))
        for position in positions:
            clip = order_for(made, number)[position - 1]
            ratings.rate(key, position, 9 + made.clips[0].index(clip) if clip in made.clips[0] else 3)
    result = report_study(study, csv=tmp_path / "ratings.csv")
    shown = capsys.readouterr().out
    assert (result["raters"], result["finished"], result["ratings"]) == (2, 1, 5)

    second, third, rest = re.split("Table 3|every source", shown)
    header = next(line for line in second.splitlines() if "KTH" in line)
    columns = [header.index(name) for name in ("One Digit MNIST", "Two Digit MNIST", "KTH Dataset")]
    rows = {line[: columns[0]].strip(): line for line in second.splitlines()}
    cells = {name: [line[a:b].strip() for a, b in pairwise([*columns, 999])] for name, line in rows.items()}
    assert cells["Sync-DRAW (paper)"] == ["9.37 ± 0.63", "7.86 ± 0.75", "7.27 ± 0.80"]
    mean, deviation = result["sources"]["photographed"]["mean"], result["sources"]["photographed"]["deviation"]
    assert cells["photographed"] == [f"{mean:.2f} ± {deviation:.2f}", "", ""]
    assert "invented" not in second
    assert re.search(r"Sync-DRAW \(paper\) +9\.43 ± 0\.60 +8\.97 ± 0\.83 +9\.10 ± 0\.77\n", third)
    assert re.search(r"invented {20,}3\.00 ± 0\.00\n", third)
    assert re.search(r"photographed +\d +\d +9\.\d\d ± 0\.\d\d ", rest)

    with (tmp_path / "ratings.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(int(row["rater"]), int(row["position"]), int(row["score"])) for row in table] == saved(study)
    assert all((row["source"] == "invented") == (row["score"] == "3") for row in table)
    assert {row["source"]: (row["captions"], row["real"]) for row in table} == {
        "photographed": ("0", "1"),
        "invented": ("1", "0"),
    }


def test_a_report_before_the_first_rating(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = report_study(study)
    assert result["sources"]["invented"]["mean"] is None
    assert "no ratings" in capsys.readouterr().out


# --- The server ------------------------------------------------------------------------------------------------------


@contextmanager
def serving(study: Path, token: str | None = None, port: int = 0) -> Iterator[str]:
    """The study's pages, served by a thread; gives their address."""
    import uvicorn

    listening = listen("localhost", port)
    config = uvicorn.Config(rating_server.application(study, token), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://localhost:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


def fetch(address: str, data: bytes | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            content, status, said = response.read(), response.status, response.headers
    except urllib.error.HTTPError as error:
        content, status, said = error.read(), error.code, error.headers
    return status, content.decode("latin-1"), {name.lower(): value for name, value in said.items()}


def test_nothing_that_is_sent_tells_the_source(study: Path) -> None:
    made = load_study(study)
    key = Ratings(study).begin(lambda number: order_for(made, number))
    with serving(study) as link:
        for position in range(1, 5):
            page = fetch(f"{link}r/{key}/{position}")[1]
            assert order_for(made, 0)[position - 1] in page
            assert not re.search("photographed|invented|originals|drawn", page)
            fetch(f"{link}r/{key}/{position}", b"score=3")
        sent = {}
        for clip in made.source_of():
            status, _, headers = fetch(f"{link}clips/{clip}")
            assert status == 200
            sent[clip] = {name: value for name, value in headers.items() if name not in ("content-length", "date")}
        assert len({tuple(headers.items()) for headers in sent.values()}) == 1
        for outside in (
            "clips/..%2fstudy.json",
            "clips/study.json",
            "study.json",
            "page/../clip.html",
            "r/" + key[:-1],
        ):
            assert fetch(link + outside)[0] == 404


@pytest.mark.parametrize("body", [b"", b"score=0", b"score=11", b"score=7.5", b"score=%F0%9F%98%80", b"score=07"])
def test_a_rating_is_a_number_from_1_to_10(study: Path, body: bytes) -> None:
    key = Ratings(study).begin(lambda number: order_for(load_study(study), number))
    with serving(study) as link:
        status, page, _ = fetch(f"{link}r/{key}/1", body)
        assert status == 400
        assert "A rating is a whole number from 1 to 10." in page
        assert fetch(f"{link}r/{key}/1", b"score=" + b"1" * 5000)[0] == 413
        assert fetch(f"{link}r/{key}/2", b"score=5")[0] == 200  # which comes after 1: it is the page of 1 that is given
    assert saved(study) == []


def test_other_machines_need_the_token(study: Path) -> None:
    token = load_study(study).token
    assert len(token) > 20
    with serving(study, token) as link:
        for wrong in ("", "start", f"{token[:-1]}/", "r/x/1", "page/clip.html"):
            status, page, _ = fetch(link + wrong)
            assert status == 404
            assert "open the whole link that you were given" in page
            assert token not in page
        status, page, _ = fetch(f"{link}{token}/")
        assert status == 200
        assert f'action="/{token}/start"' in page
        assert fetch(f"{link}page/rating.js")[0] == 200


def test_this_machine_alone_means_its_own_names(study: Path) -> None:
    with serving(study) as link:
        assert fetch(link)[0] == 200
        assert fetch(link, Host="elsewhere.example")[0] == 400


def test_a_port_in_use_is_named_with_the_next(study: Path) -> None:
    with listen("localhost", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^port {port} is in use; (\d+) is free: give --port \1$") as caught:
            serve_study(study, port=port)
        free = int(re.findall(r"\d+", str(caught.value))[1])
        listen("localhost", free).close()
    with pytest.raises(UserError, match="--port is 70000"):
        serve_study(study, port=70000)
    with pytest.raises(UserError, match="is no address of this machine"):
        serve_study(study, host="192.0.2.1")


@contextmanager
def process(study: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`serve_study` in a process of its own, and the link that it prints."""
    command = [sys.executable, "-m", "syncdraw", "rate", str(study), "--port", "0", *options]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        found = re.search(r"http\S+", running.stdout.readline())
        assert found, running.communicate()
        yield running, found[0]
    finally:
        running.kill()
        running.communicate()


# --- In a browser ----------------------------------------------------------------------------------------------------


def begin(context: Any, link: str) -> Any:
    """A page of a new rater, at the first video."""
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Start").click()
    page.get_by_role("link", name="Begin rating").click()
    return page


def at(page: Any, heading: str) -> None:
    """Wait until this page is there with its video, ready for keys."""
    page.get_by_role("heading", name=heading, exact=True).wait_for()
    # A promise, not wait_for_function: that evaluates strings in the page, which the page's own policy forbids.
    page.evaluate("() => Promise.all([...document.images].map(image => image.decode()))")


def test_a_whole_session(study: Path, browser: Any) -> None:
    with serving(study) as link:
        context = browser.new_context()
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        complaints: list[str] = []
        context.on("console", lambda message: complaints.append(message.text))
        page = context.new_page()
        page.goto(link)
        assert "4 short videos" in page.inner_text("main")
        page.get_by_role("button", name="Start").click()
        at(page, "This is what a 10 looks like")
        assert page.locator("figcaption").all_inner_texts() == ["10", "10"]
        page.get_by_role("link", name="Begin rating").click()

        at(page, "Video 1 of 4")
        page.keyboard.press("0")
        at(page, "Video 2 of 4")
        assert saved(study) == [(1, 1, 10)]
        page.reload()
        at(page, "Video 2 of 4")
        page.get_by_role("button", name="7").click()
        at(page, "Video 3 of 4")
        page.keyboard.press("ArrowLeft")
        at(page, "Video 2 of 4")
        assert page.locator("[aria-pressed=true]").inner_text() == "7"
        page.keyboard.press("4")  # another mind; and on to the first that has no score
        at(page, "Video 3 of 4")
        page.close()

        page = context.new_page()  # a closed tab: the cookie remembers
        page.goto(link)
        assert "You have rated 2 of 4." in page.inner_text("main")
        page.get_by_role("link", name="Continue").click()
        at(page, "Video 3 of 4")
        page.locator("#keys").uncheck()  # keys can be turned off
        page.keyboard.press("9")
        page.locator("#keys").check()
        page.keyboard.press("5")
        at(page, "Video 4 of 4")
        personal = page.get_by_role("link", name="this link").get_attribute("href")
        elsewhere = browser.new_context().new_page()  # another device: the link remembers
        elsewhere.goto(link.rstrip("/") + personal)
        at(elsewhere, "Video 4 of 4")
        elsewhere.keyboard.press("1")
        at(elsewhere, "Thank you")
        assert saved(study) == [(1, 1, 10), (1, 2, 4), (1, 3, 5), (1, 4, 1)]
        elsewhere.go_back()  # what the browser kept is not shown
        at(elsewhere, "Video 4 of 4")
        assert elsewhere.locator("[aria-pressed=true]").inner_text() == "1"
        assert all(url.startswith(link) for url in asked)
        assert complaints == []


def test_two_raters_and_two_tabs(study: Path, browser: Any) -> None:
    with serving(study) as link:
        contexts = [browser.new_context() for _ in range(2)]
        pages = [begin(context, link) for context in contexts]
        for position in (1, 2):
            for page, score in zip(pages, "38", strict=True):
                at(page, f"Video {position} of 4")
                page.keyboard.press(score)
        for page in pages:
            at(page, "Video 3 of 4")
        assert saved(study) == [(1, 1, 3), (1, 2, 3), (2, 1, 8), (2, 2, 8)]

        context = browser.new_context()
        first, second = context.new_page(), context.new_page()
        for tab in (first, second):
            tab.goto(link)
        for tab in (first, second):  # both were opened before there was a cookie
            tab.get_by_role("button", name="Start").click()
            tab.get_by_role("link", name="Begin rating").click()
            at(tab, "Video 1 of 4")
        first.keyboard.press("2")
        at(first, "Video 2 of 4")
        second.keyboard.press("6")
        at(second, "Video 2 of 4")
        assert saved(study)[4:] == [(3, 1, 6)]


def test_a_killed_server_loses_nothing(study: Path, browser: Any) -> None:
    with process(study) as (server, link):
        page = begin(browser.new_context(), link)
        for position, score in enumerate("57", 1):
            at(page, f"Video {position} of 4")
            page.keyboard.press(score)
        at(page, "Video 3 of 4")
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        assert saved(study) == [(1, 1, 5), (1, 2, 7)]
        page.keyboard.press("9")
        page.get_by_text("The server does not answer. Your 9 is not saved yet.").wait_for()
    with serving(study, port=int(re.findall(r":(\d+)/", link)[0])):
        at(page, "Video 4 of 4")  # by itself
        assert saved(study) == [(1, 1, 5), (1, 2, 7), (1, 3, 9)]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can limit the files of another process")
def test_a_full_disk_and_a_folder_that_is_gone_lose_nothing(study: Path, browser: Any) -> None:
    sentence = "Ratings cannot be saved at the moment; please tell whoever gave you the link."
    token = load_study(study).token
    with process(study, "--host", "0.0.0.0") as (server, printed):
        assert printed.endswith(f"/{token}/")
        own = f"http://127.0.0.1:{re.findall(r':([0-9]+)/', printed)[0]}/"
        link = f"{own}{token}/"
        assert fetch(own)[0] == 404
        page = begin(browser.new_context(), link)
        at(page, "Video 1 of 4")
        limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, limits[1]))  # no file can grow
        page.keyboard.press("8")
        page.get_by_text(f"{sentence} What you have rated before is kept. Your 8 is not saved yet.").wait_for()
        assert saved(study) == []
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
        at(page, "Video 2 of 4")
        assert saved(study) == [(1, 1, 8)]

        study.rename(study.with_name("moved"))
        page.keyboard.press("6")
        page.get_by_text("Your 6 is not saved yet.").wait_for()
        status, shown, _ = fetch(link + "r/x/1")
        assert status == 503
        assert sentence in shown
        assert not re.search("Traceback|moved|sqlite", shown)
        study.with_name("moved").rename(study)
        at(page, "Video 3 of 4")
        assert saved(study) == [(1, 1, 8), (1, 2, 6)]

        server.send_signal(signal.SIGINT)  # Ctrl-C
        out, err = server.communicate(timeout=30)
        assert (server.returncode, out.splitlines()[-1]) == (0, "stopped")
        assert any("ratings.sqlite cannot be used" in line for line in err.splitlines())
        assert any("ratings.sqlite is not there any more; put the study's folder" in line for line in err.splitlines())
        assert all(line.startswith("syncdraw: error: ") for line in err.splitlines())


def test_a_telephone_a_keyboard_and_a_screen_reader(study: Path, browser: Any) -> None:
    with serving(study) as link:
        context = browser.new_context(viewport={"width": 320, "height": 568}, has_touch=True, is_mobile=True)
        page = begin(context, link)
        at(page, "Video 1 of 4")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        group = page.get_by_role("group", name="How good does this video look?")
        buttons = group.get_by_role("button")
        assert buttons.count() == 10
        boxes = [button.bounding_box() for button in buttons.all()]
        assert all(box["width"] >= 44 and box["height"] >= 44 for box in boxes)
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 320 for box in boxes)
        assert max(box["y"] + box["height"] for box in boxes) <= 568  # all in sight with the video
        assert page.get_by_role("img", name="The video to rate").count() == 1
        assert page.get_by_role("button", name="10, as good as a real video").count() == 1
        group.get_by_role("button", name="6").tap()
        at(page, "Video 2 of 4")
        assert page.title() == "Video 2 of 4"

        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.value") == "1"
        for _ in range(3):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        at(page, "Video 3 of 4")
        assert saved(study) == [(1, 1, 6), (1, 2, 4)]


def test_without_javascript(study: Path, browser: Any) -> None:
    with serving(study, "secret-of-the-study") as link:
        page = begin(browser.new_context(java_script_enabled=False), f"{link}secret-of-the-study/")
        for position in range(1, 5):
            page.get_by_role("heading", name=f"Video {position} of 4", exact=True).wait_for()
            page.get_by_role("button", name=str(position), exact=True).or_(
                page.get_by_role("button", name=f"{position}, ")
            ).click()
        page.get_by_role("heading", name="Thank you").wait_for()
    assert saved(study) == [(1, place, place) for place in range(1, 5)]
