"""Tables of captions as people and programs write them: what is understood, and what is said of the rest."""

from __future__ import annotations

import json
import time
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncdraw.datasets.caption_files import has_words, read_text
from syncdraw.datasets.caption_tables import CAPTION_COLUMNS, FILE_COLUMNS, read_table
from syncdraw.errors import UserError
from syncdraw.words import normalise

CLIPS = {"a.gif", "b.mp4", "sub/c.avi", "a", "b", "sub/c"}


def table(tmp_path, text, name="captions.csv", encoding="utf-8", **columns):
    """The captions of a table by file, and its complaints by line."""
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    rows = list(read_table(path, CLIPS.__contains__, **columns))
    captions = [(row.file, caption) for row in rows for caption in row.captions]
    return captions, {row.line: row.complaint for row in rows if row.complaint}


# ---- columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_columns_in_any_order_beside_others(tmp_path, suffix):
    row = {"url": "https://x.org/64", "file_name": "a.gif", "seconds": "64", "text": "one, two"}
    for names in permutations(row):
        values = [row[name] for name in names]
        if suffix == "jsonl":
            text = json.dumps({name: row[name] for name in names})
        else:
            separator = "\t" if suffix == "tsv" else ","
            text = f"{separator.join(names)}\n{separator.join(json.dumps(value) for value in values)}\n"
        assert table(tmp_path, text, f"metadata.{suffix}") == ([("a.gif", "one, two")], {})


@pytest.mark.parametrize("file", FILE_COLUMNS)
@pytest.mark.parametrize("caption", CAPTION_COLUMNS)
def test_known_names(tmp_path, file, caption):
    if file != caption:
        assert table(tmp_path, f"{caption},n,{file}\none,64,a.gif\n") == ([("a.gif", "one")], {})
        title = f"n,{file.replace('_', ' ').title()},{caption.upper()}"
        assert table(tmp_path, f"{title}\n64,a.gif,one\n") == ([("a.gif", "one")], {})


def test_of_several_columns_that_may_name_the_file_the_one_is_taken_that_does(tmp_path):
    text = "video,name,path,caption\nhttps://x.org/1,First,a.gif,one\nhttps://x.org/2,Second,b.mp4,two\n"
    assert table(tmp_path, text)[0] == [("a.gif", "one"), ("b.mp4", "two")]
    assert table(tmp_path, "key,caption\na,one\n")[0] == [("a", "one")]  # 'key' is unknown, but does name clips
    assert table(tmp_path, "label,video,caption\n3,a.gif,one\n")[0] == [("a.gif", "one")]


@pytest.mark.parametrize(
    "text",
    [
        "url,seconds\nhttps://x.org,64\n",
        "clip_id,duration,source\na,64,web\n",
        "file,seconds\na.gif,64\n",
        "1,2\n",
        "a man walks,a.gif\n",
        "one\ntwo\n",
    ],
)
def test_a_first_row_that_tells_nothing_is_no_caption(tmp_path, text):
    with pytest.raises(UserError, match="names no file") as caught:
        table(tmp_path, text)
    message = str(caught.value)
    for word in (*text.split("\n")[0].split(","), "file_name", "video_path", "prompt", "--file_column"):
        assert word in message
    assert "\n" not in message


def test_objects_that_tell_nothing(tmp_path):
    with pytest.raises(UserError, match=r"its first row \(url, seconds\) names no file"):
        table(tmp_path, '{"url": "https://x.org", "seconds": 64}\n', "captions.jsonl")
    mixed = '{"file": "a.gif", "caption": "one"}\n{"url": "x"}\n{"video": "b.mp4", "text": ["two", "three"]}\n'
    captions, complaints = table(tmp_path, mixed, "captions.jsonl")
    assert captions == [("a.gif", "one"), ("b.mp4", "two"), ("b.mp4", "three")]
    assert complaints == {2: "has no file and caption"}


def test_columns_that_the_user_names(tmp_path):
    text = "Datei,text,Beschreibung\na.gif,64,eins\n"
    assert table(tmp_path, text, file_column="datei", caption_column="Beschreibung")[0] == [("a.gif", "eins")]
    assert table(tmp_path, text, caption_column="beschreibung")[0] == [("a.gif", "eins")]
    with pytest.raises(UserError, match="it has no column 'film'; its columns are Datei, text, Beschreibung"):
        table(tmp_path, text, file_column="film")
    with pytest.raises(UserError, match="no column 'film'"):
        table(tmp_path, '{"file": "a.gif", "text": "one"}', "captions.jsonl", file_column="film")


def test_without_a_heading(tmp_path):
    assert table(tmp_path, "a.gif,one, two\nz.gif,three\n")[0] == [("a.gif", "one, two"), ("z.gif", "three")]
    assert table(tmp_path, "gone.webm,one\nb,two\n")[0] == [("gone.webm", "one"), ("b", "two")]
    for second in ("64", "https://x.org", "0:12.5"):
        with pytest.raises(UserError, match="several columns and no first row that names them"):
            table(tmp_path, f"a.gif,{second},one\nb.mp4,{second},two\n")


# ---- rows that are not clean -----------------------------------------------------------------------------------------


def test_the_last_column_takes_the_rest(tmp_path):
    text = "n,file,caption\n1,a.gif,red, green, and blue\n2,b.mp4,plain\n"
    assert table(tmp_path, text)[0] == [("a.gif", "red, green, and blue"), ("b.mp4", "plain")]
    captions, complaints = table(tmp_path, "file,caption,source\na.gif,red, green,web\nb.mp4,plain,web\n")
    assert captions == [("b.mp4", "plain")]
    assert complaints == {2: "has 4 columns, but the first row 3; put quotation marks around its caption"}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "metadata.csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("heading", [True, False])
def test_separators_by_content(tmp_path, separator, name, encoding, heading):
    rows = [("a.gif", "é: one thing. And another"), ("sub/c", "two")]
    lines = [separator.join(row) for row in ([("video", "text")] if heading else []) + rows]
    for ending in ("\n", "\r\n", "\r"):
        assert table(tmp_path, ending.join(lines) + ending, name, encoding) == (rows, {})


def test_quotation_marks(tmp_path):
    text = (
        "file,caption\n"
        'a.gif, "one, two"\n'  # a blank before the mark
        '"b.mp4" ,"she says ""no"""\n'
        'a.gif,"up" and, "down"\n'  # a pair that does not embrace the cell
        'a.gif,5" screen\n'
        'a.gif,"two\nlines"\n'
        'b.mp4,"last"\n'
    )
    assert table(tmp_path, text) == (
        [
            ("a.gif", "one, two"),
            ("b.mp4", 'she says "no"'),
            ("a.gif", '"up" and, "down"'),
            ("a.gif", '5" screen'),
            ("a.gif", "two lines"),
            ("b.mp4", "last"),
        ],
        {},
    )


@pytest.mark.parametrize(
    "after",
    [
        ["b.mp4,two", "sub/c,three"],
        ["b.mp4,two", 'sub/c,"three, four"'],
        ["b.mp4,two", 'sub/c,three"'],
        ['b.mp4,"two"', "sub/c,three"],
    ],
)
def test_a_mark_that_is_never_closed_costs_its_own_row(tmp_path, after):
    captions, complaints = table(tmp_path, "\n".join(["file,caption", 'a.gif,"one, zero', *after]))
    assert complaints == {2: "has a quotation mark that is not closed"}
    assert [file for file, _ in captions] == ["b.mp4", "sub/c"]


def test_lines_are_counted_as_an_editor_does(tmp_path):
    text = 'file,caption\r\n\r\na.gif,"two\r\nlines"\r\nb.mp4\r\n\r\nb.mp4,\r\n'
    assert table(tmp_path, text)[1] == {5: "has no file and caption", 7: "has no caption for b.mp4"}


def test_captions_without_a_word(tmp_path):
    captions, complaints = table(tmp_path, "file,caption\na.gif,???\nb.mp4,\N{GRINNING FACE}\nb.mp4,a face\n")
    assert captions == [("b.mp4", "a face")]
    assert complaints == {
        2: "has a caption without a word for a.gif ('???')",
        3: "has a caption without a word for b.mp4 ('\N{GRINNING FACE}')",
    }
    several = '{"file": "a.gif", "captions": ["the", "", "a face"]}'
    captions, complaints = table(tmp_path, several, "captions.jsonl")
    assert (captions, list(complaints)) == ([("a.gif", "a face")], [1])


def test_halves_of_characters(tmp_path):
    captions, _ = table(tmp_path, r'{"file": "a.gif", "caption": "a \ud83d face \ud83d\ude00"}', "captions.jsonl")
    assert captions == [("a.gif", "a ? face \N{GRINNING FACE}")]


def test_another_code_page_is_reported_with_its_line(tmp_path):
    with pytest.raises(UserError, match=r"captions\.csv is not UTF-8 text \(line 3 has .*save it as UTF-8"):
        table(tmp_path, "file,caption\na.gif,one\nb.mp4,café\n", encoding="cp1252")


def test_a_long_table_is_read_in_time_that_grows_with_its_length(tmp_path):
    text = "file,caption\n" + 'a.gif,"never closed\n' * 20_000
    began = time.process_time()
    captions, complaints = table(tmp_path, text)
    assert (len(captions), len(complaints)) == (0, 20_000)
    assert time.process_time() - began < 20


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1), max_size=5))
def test_what_the_csv_module_writes_is_read_back(tmp_path, captions):
    import csv

    path = tmp_path / "captions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["file", "caption"], *(["a.gif", caption] for caption in captions)])
    found, complaints = table(tmp_path, read_text(path))
    expected = [" ".join(caption.split()) for caption in captions]
    assert found == [("a.gif", caption) for caption in expected if normalise(caption)]
    assert len(complaints) == sum(not normalise(caption) for caption in expected)


@given(st.text(max_size=20) | st.sampled_from(["the", "The!", "???", "don't", "\u2019", "\u200d", "\u0301", "３", "²"]))
def test_words_are_what_the_vocabulary_takes_for_words(text):
    assert has_words(text) == bool(normalise(text))
