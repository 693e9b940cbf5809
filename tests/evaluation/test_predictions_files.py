"""Predictions of any origin: logits alone, Parquet of many types, odd CSV, tables that memory does not hold."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.errors import DataError
from medzoo.evaluation.predictions import (
    Predictions,
    load_predictions,
    read_predictions,
    write_predictions,
)
from medzoo.evaluation.tables import csv_table, memory, table
from medzoo.evaluation.tables.csv_table import read_csv_table

ENDINGS = (".csv", ".parquet")


def read(folder: Path, text: str) -> Predictions:
    (folder / "p.csv").write_text(text, newline="")
    return read_predictions(folder / "p.csv")


def read_frame(folder: Path, frame: pd.DataFrame) -> Predictions:
    frame.to_parquet(folder / "p.parquet")
    return read_predictions(folder / "p.parquet")


def refuse(folder: Path, source: str | pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, source) if isinstance(source, str) else read_frame(folder, source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same(a: Predictions, b: Predictions) -> None:
    assert (a.classes, a.exclusive, list(a.groups)) == (b.classes, b.exclusive, list(b.groups))
    for name in ("ids", "labels", "scores", "splits"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("patients", "logits"):
        assert (getattr(a, name) is None) == (getattr(b, name) is None), name
        if getattr(a, name) is not None:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name, cells in a.groups.items():
        np.testing.assert_array_equal(cells, b.groups[name])


def test_logits_alone_are_a_softmax(tmp_path):
    rows = read(tmp_path, "id,label,logit_b,logit_a\nx,a,0,1.0986122886681098\ny,b,1000,-1000\n")
    assert rows.classes == ("b", "a")
    np.testing.assert_allclose(rows.scores, [[0.25, 0.75], [1, 0]], rtol=1e-15)
    np.testing.assert_array_equal(rows.logits, [[0, 1.0986122886681098], [1000, -1000]])


def test_logits_of_independent_labels_are_sigmoids(tmp_path):
    text = "id,label_e,label_m,logit_e,logit_m\nx,1,,0,-1000\ny,0,1,-1.0986122886681098,1000\n"
    rows = read(tmp_path, text)
    assert not rows.exclusive
    np.testing.assert_allclose(rows.scores, [[0.5, 0], [0.25, 1]], rtol=1e-15)


def test_a_single_logit_is_the_last_class(tmp_path):
    rows = read(tmp_path, "id,label,logit_yes\nx,yes,1.0986122886681098\ny,no,0\n")
    assert rows.classes == ("no", "yes")
    np.testing.assert_allclose(rows.scores, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)
    np.testing.assert_array_equal(rows.logits[:, 0], 0)


def test_scores_stay_where_logits_say_otherwise(tmp_path):
    rows = read(tmp_path, "id,label,score_b,score_a,logit_b,logit_a\nx,a,0.5,0.5,-3,3\n")
    np.testing.assert_array_equal(rows.scores, [[0.5, 0.5]])
    np.testing.assert_array_equal(rows.logits, [[-3, 3]])


def test_logits_of_some_classes_are_neither_kept_nor_groups(tmp_path):
    rows = read(tmp_path, "id,label,score_b,score_a,logit_b,logit_other\nx,a,0.5,0.5,-3,word\n")
    assert rows.logits is None
    assert {name: cells.tolist() for name, cells in rows.groups.items()} == {"logit_other": ["word"]}


def test_both_logits_beside_a_single_score(tmp_path):
    rows = read(tmp_path, "id,label,score_a,logit_a,logit_b\nx,a,0.5,-3,2\ny,b,0.25,1,0\n")
    assert rows.classes == ("b", "a")
    np.testing.assert_array_equal(rows.logits, [[2, -3], [0, 1]])
    assert not rows.groups


def test_logits_go_where_rows_go(make_predictions, tmp_path):
    rows = make_predictions([0, 1, 1], [0.1, 0.2, 0.3], splits=["test", "train", "test"])
    assert rows.logits is None
    assert rows.of_split("test").logits is None
    write_predictions(rows, tmp_path / "p.csv", np.arange(6.0).reshape(3, 2))
    rows = read_predictions(tmp_path / "p.csv")
    np.testing.assert_array_equal(rows.of_split("test").logits, [[0, 1], [4, 5]])
    np.testing.assert_array_equal(rows.take(np.array([2, 0])).logits, [[4, 5], [0, 1]])
    with pytest.raises(DataError, match=r"logits of shape \(3, 1\)"):
        Predictions(rows.ids, rows.labels, rows.scores, rows.classes, rows.splits, logits=np.zeros((3, 1)))


def test_every_row_of_a_split_is_no_copy(make_predictions):
    rows = make_predictions([0, 1], [0.1, 0.2])
    assert rows.of_split("test") is rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label,logit_a,logit_b\nx,a,1,0\ny,a,nan,0\n", ["row 2 (line 3)", "logit_a is 'nan'", "finite"]),
        ("id,label,logit_a,logit_b\nx,a,1,\n", ["row 1 (line 2)", "logit_b is ''"]),
        ("id,label,logit_a,logit_b\nx,a,inf,0\n", ["logit_a is 'inf'"]),
        ("id,label,score_a,score_b,logit_a,logit_b\nx,a,1,0,NA,0\n", ["logit_a is 'NA'", "scores suffice"]),
        ("id,label,logit_a,logit_b\nx,c,1,0\n", ["label 'c' has no column 'logit_c'", "logit column"]),
        ("id,logit_a,logit_b\nx,1,0\n", ["no label column", "label_a"]),
        ("id,label_a,label_c,logit_a\nx,1,1,0\n", ["'label_c' and no 'logit_c'"]),
        ("id,label,logit_a\nx,a,1\ny,b,1\nz,c,0\n", ["single logit column 'logit_a'"]),
    ],
)
def test_refuses_logits_in_one_line(tmp_path, text, words):
    message = refuse(tmp_path, text)
    for word in words:
        assert word in message


#: What cells, quotes and line ends are made of, so that every way of joining them comes up.
TOKENS = ['"', '""', ",", "\n", "\r\n", "\r", "a", " ", "é", "0.5", "1", "\n\n"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=24), st.booleans(), st.sampled_from([1, 3, 8, 2**22]))
def test_the_quick_reader_reads_what_the_precise_one_does_or_nothing(tokens, marked, window):
    text = "\ufeff" * marked + "id,b,score_c\nx,y,0.5\n" + "".join(tokens)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_table, "WINDOW", window)
        path = Path(folder) / "p.csv"
        path.write_text(text, newline="")
        header = csv_table.read_header(path)
        quick = csv_table._read_quickly(path, header)
        if quick is None:
            return
        precise = csv_table._read_precisely(path, header)
    for name in ("id", "b"):
        assert quick[name].to_pylist() == precise[name].to_pylist()
    for quick_number, text_of_it in zip(
        quick["score_c"].to_pylist(), precise["score_c"].to_pylist(), strict=True
    ):
        assert quick_number == (float(text_of_it) if text_of_it else None)


CELLS = st.text(st.characters(categories=("L", "N", "P", "Zs"), include_characters='",\n\r'), max_size=5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from([2, 5, 2**22]))
def test_cells_that_csv_quotes_are_read_quickly(rows, window):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "sex"), *rows])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_table, "WINDOW", window)
        path = Path(folder) / "p.csv"
        path.write_text(text.getvalue(), newline="")
        has_odd_ends = text.getvalue().count("\r") != text.getvalue().count("\r\n")
        assert (csv_table._look_for_quotes(path) is None) == has_odd_ends
        table = read_csv_table(path)
    found = list(zip(table.columns["id"].to_pylist(), table.columns["sex"].to_pylist(), strict=True))
    assert found == rows


@pytest.mark.parametrize("quote", ["", '"'])
def test_blocks_that_know_other_words_agree(tmp_path, monkeypatch, quote):
    monkeypatch.setattr(csv_table, "BLOCK", 256)
    monkeypatch.setattr(csv_table, "_read_precisely", None)
    words = ["north", "so\nuth" if quote else "south", "east", "west"]
    labels = [f"{place // 50}" for place in range(200)]
    lines = ["id,label,score_0,score_1,score_2,score_3,split,site"]
    lines += [
        f"{row},{label},.25,.25,.25,.25,{'train' if row < 90 else 'test'},{quote}{words[int(label)]}{quote}"
        for row, label in enumerate(labels)
    ]
    rows = read(tmp_path, "\n".join(lines))
    np.testing.assert_array_equal(rows.labels, np.eye(4)[np.arange(200) // 50])
    assert rows.splits.tolist() == ["train"] * 90 + ["test"] * 110
    assert rows.groups["site"].tolist() == [words[place // 50] for place in range(200)]
    assert rows.ids.tolist() == [str(row) for row in range(200)]


@pytest.mark.parametrize("score", ["+0.5", "0.500_0", " .5"])
def test_numbers_that_only_python_takes(tmp_path, score):
    rows = read(tmp_path, f"id,label,score_a\nx,a,{score}\ny,b,0.25\n")
    np.testing.assert_array_equal(rows.scores, [[0.5, 0.5], [0.75, 0.25]])


def test_the_precise_reader_takes_many_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "ROWS_AT_A_TIME", 3)
    lines = [f'x{row}, "y",a,+0.{row}' for row in range(8)]
    rows = read(tmp_path, "\n".join(["id,sex,label,score_a", *lines]))
    assert rows.ids.tolist() == [f"x{row}" for row in range(8)]
    np.testing.assert_array_equal(rows.scores[:, 1], [row / 10 for row in range(8)])
    assert rows.groups["sex"].tolist() == [' "y"'] * 8


def test_the_first_wrong_row_among_many_is_named(tmp_path):
    lines = [f"{row},a,0.5,0.5" for row in range(50_000)]
    lines[40_000] = "40000,a,0.5,0.75"
    message = refuse(tmp_path, "\n".join(["id,label,score_a,score_b", *lines]))
    assert "row 40001 (line 40002): the scores sum to 1.25" in message
    lines[40_000] = "39999,a,0.5,0.5"
    message = refuse(tmp_path, "\n".join(["id,label,score_a,score_b", *lines]))
    assert "row 40001 (line 40002): id '39999' is in row 40000 too" in message


@pytest.mark.parametrize("text", ["id,label,score_a\nx,a,1\n", "id,label,score_a\nx,a, 1\n"])
def test_more_than_memory_holds_is_refused_before(tmp_path, monkeypatch, text):
    for free, word in ((10, "its bytes take"), (60, "its 1 rows take")):
        monkeypatch.setattr(memory, "find_free_memory", lambda free=free: free)
        message = refuse(tmp_path, text)
        assert word in message
        assert f"{free / 1e6:.1f} MB are free" in message
    monkeypatch.setattr(memory, "find_free_memory", lambda: None)
    assert len(read(tmp_path, text)) == 1


def test_a_long_id_counts_for_every_row(tmp_path, monkeypatch):
    text = "id,label,score_a\n" + "x" * 100_000 + ",a,1\n" + "".join(f"{row},b,0\n" for row in range(1000))
    monkeypatch.setattr(memory, "find_free_memory", lambda: 10**8)
    assert "its 1,001 rows take about 400." in refuse(tmp_path, text)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("exclusive", [True, False])
def test_files_of_both_kinds_say_the_same(tmp_path, ending, exclusive):
    labels = (
        np.array([[1, 0], [0, 1], [np.nan] * 2]) if exclusive else np.array([[1, np.nan], [0, 1], [1, 1]])
    )
    scores = np.array([[1 / 3, 2 / 3], [0.1, 0.9], [1, 0]])
    rows = Predictions(
        np.array(["007", "é, ü", 'say "no"\n']), labels, scores, ("None", "0"),
        np.array(["train", "validation", "test"]), np.array(["p", "", "p"]),
        {"age": np.array(["060Y", "NA", ""])}, exclusive, np.array([[1e-30, -1e30], [0.1, 2], [3, 4]]),
    )  # fmt: skip
    write_predictions(rows, tmp_path / f"p{ending}")
    assert_same(read_predictions(tmp_path / f"p{ending}"), rows)
    assert [file.name for file in tmp_path.iterdir()] == [f"p{ending}"]


def test_no_patient_and_no_logits_stay_so(tmp_path, make_predictions):
    rows = make_predictions([0, 1], [0.5, 0.25])
    for ending in ENDINGS:
        write_predictions(rows, tmp_path / f"p{ending}")
        assert_same(read_predictions(tmp_path / f"p{ending}"), rows)


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pd.Series([7, 8], dtype="int32"), ["7", "8"]),
        (pd.Series([7.0, np.nan]), ["7", ""]),
        (pd.Series([7.5, np.nan]), ["7.5", ""]),
        (pd.Series([7, None], dtype="Int8"), ["7", ""]),
        (pd.Series([True, None], dtype="boolean"), ["True", ""]),
        (pd.Series(["F", None], dtype="category"), ["F", ""]),
        (pd.Series(["F", None], dtype=object), ["F", ""]),
        (pd.Series([None, None], dtype=object), ["", ""]),
    ],
)
def test_parquet_cells_are_spelled_as_csv_would(tmp_path, column, texts):
    frame = pd.DataFrame({"id": [1, 2], "label": ["a", None], "score_a": [0.25, 1], "site": column})
    rows = read_frame(tmp_path, frame)
    assert rows.ids.tolist() == ["1", "2"]
    assert rows.groups["site"].tolist() == texts
    np.testing.assert_array_equal(rows.labels, [[0, 1], [np.nan, np.nan]])


@pytest.mark.parametrize(
    "labels",
    [np.array([1, np.nan]), pd.array([1, None], dtype="Int8"), pd.array([True, None], dtype="boolean")],
)
def test_parquet_labels_of_many_types(tmp_path, labels):
    frame = pd.DataFrame({"id": ["x", "y"], "label_e": labels, "score_e": np.array([0.5, 1], np.float32)})
    rows = read_frame(tmp_path, frame)
    np.testing.assert_array_equal(rows.labels, [[1], [np.nan]])
    np.testing.assert_array_equal(rows.scores, [[0.5], [1]])


def test_parquet_nan_is_nothing_and_whole_numbers_have_no_point(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = {"id": [1e16, 2.0], "label_e": [1.0, np.nan], "score_e": [0.5, 1.0], "age": [np.nan, 63.0]}
    parquet.write_table(pyarrow.table(table), tmp_path / "p.parquet")
    rows = read_predictions(tmp_path / "p.parquet")
    assert rows.ids.tolist() == ["10000000000000000", "2"]
    np.testing.assert_array_equal(rows.labels, [[1], [np.nan]])
    assert rows.groups["age"].tolist() == ["", "63"]


def test_classes_that_pandas_made_floats(tmp_path):
    frame = pd.DataFrame({"id": ["x", "y"], "label": [1.0, np.nan], "score_0": [0.5, 1], "score_1": [0.5, 0]})
    np.testing.assert_array_equal(read_frame(tmp_path, frame).labels, [[0, 1], [np.nan, np.nan]])


def test_a_stored_index_is_no_group(tmp_path):
    frame = pd.DataFrame({"id": ["x", "y"], "label": ["a", "b"], "score_a": [1, 0]}, index=[5, 3])
    assert not read_frame(tmp_path, frame).groups
    named = frame.set_index("id")
    assert read_frame(tmp_path, named).ids.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"score_a": [0.5, np.nan]}, ["row 2: score_a is ''", "number"]),
        ({"score_a": [0.5, 1.5]}, ["row 2: score_a is '1.5'", "0 to 1"]),
        ({"score_a": ["0.5", "high"]}, ["row 2: score_a is 'high'"]),
        ({"id": ["x", "x"]}, ["row 2: id 'x' is in row 1 too"]),
        ({"id": ["x", None]}, ["row 2: the id is empty"]),
        ({"split": ["test", "val"]}, ["row 2: there is no split 'val'"]),
        ({"scan": [[1, 2], [3]]}, ["column 'scan' holds list"]),
        ({"score_a": [[1.0], [2.0]]}, ["column 'score_a' holds list", "numbers"]),
    ],
)
def test_refuses_parquet_in_one_line(tmp_path, columns, words):
    frame = pd.DataFrame({"id": ["x", "y"], "label": ["a", "b"], "score_a": [1.0, 0.0]} | columns)
    message = refuse(tmp_path, frame)
    for word in ["p.parquet", *words]:
        assert word in message


def test_refuses_files_that_are_no_parquet(tmp_path):
    path = tmp_path / "p.parquet"
    with pytest.raises(DataError, match="does not exist"):
        read_predictions(path)
    path.write_text("id,label,score_a\nx,a,1\n")
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_predictions(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_predictions(path)
    pd.DataFrame({"id": [], "label": [], "score_a": []}).to_parquet(path)
    with pytest.raises(DataError, match="zero rows"):
        read_predictions(path)


def test_a_folder_may_hold_parquet(tmp_path, make_predictions):
    write_predictions(make_predictions([0, 1], [0.5, 0.25]), tmp_path / "predictions.parquet")
    assert len(load_predictions(tmp_path)) == 2


def test_groups_that_would_be_read_as_something_else_are_not_written(tmp_path, make_predictions):
    for name in ("patient", "label_a", "logit_b", "score_z"):
        rows = make_predictions([0], [0], groups={name: ["x"]})
        for ending in ENDINGS:
            with pytest.raises(DataError, match=name):
                write_predictions(rows, tmp_path / f"p{ending}")
    rows = make_predictions([[1, 0]], [[0, 0]], exclusive=False, groups={"label_c": ["x"]})
    with pytest.raises(DataError, match="label_c"):
        write_predictions(rows, tmp_path / "p.csv")
    rows = make_predictions([0], [0], groups={"label_of_box": ["x"], "logit_z": ["y"]})
    write_predictions(rows, tmp_path / "p.csv")
    assert list(read_predictions(tmp_path / "p.csv").groups) == ["label_of_box", "logit_z"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6), max_size=9
    )
)
def test_texts_of_any_script_and_length_become_an_array(texts):
    import pyarrow

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ROWS_AT_A_TIME", 2)
        plain = pyarrow.chunked_array([texts[:4], [], texts[4:]], pyarrow.string())
        for column in (
            plain,
            plain.dictionary_encode(),
            pyarrow.chunked_array(plain.chunks, pyarrow.string()),
        ):
            found = table.to_texts(column)
            assert found.tolist() == texts
            assert found.dtype.itemsize == 4 * max(1, *(len(text) for text in ["", *texts]))
