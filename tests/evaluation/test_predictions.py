from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medzoo.errors import DataError
from medzoo.evaluation.predictions import (
    Predictions,
    load_predictions,
    read_predictions,
    write_predictions,
)

BINARY = "id,split,label,score_benign,score_malignant\n"
LABELS = "id,label_edema,label_mass,score_edema,score_mass\n"

NAMES = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=6)


def read(folder: Path, text: str | bytes) -> Predictions:
    path = folder / "p.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_predictions(path)


def refuse(folder: Path, text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text)
    assert "\n" not in str(caught.value)
    assert "p.csv" in str(caught.value)
    return str(caught.value)


def test_reads_every_column(tmp_path):
    text = (
        "\ufeffid,patient,split,label,score_b,score_a,logit_b,logit_a,sex,age group\n"
        'x,p1,train,a,0.25,0.75,-1,1,F,"60, over"\n\ny,p1,validation,,1,0,2,3,,NA\n'
    )
    predictions = read(tmp_path, text)
    assert predictions.classes == ("b", "a")
    assert predictions.exclusive
    assert predictions.ids.tolist() == ["x", "y"]
    assert predictions.patients is not None
    assert predictions.patients.tolist() == ["p1", "p1"]
    assert predictions.splits.tolist() == ["train", "validation"]
    np.testing.assert_array_equal(predictions.labels, [[0, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(predictions.scores, [[0.25, 0.75], [1, 0]])
    assert {name: values.tolist() for name, values in predictions.groups.items()} == {
        "sex": ["F", ""],
        "age group": ["60, over", "NA"],
    }


def test_names_that_look_like_missing_or_numbers_survive(tmp_path):
    predictions = read(
        tmp_path, "id,label,score_None,score_NA,score_0\n007,NA,0,1,0\n1e5,None,1,0,0\nnan,0,0,0,1\n"
    )
    assert predictions.classes == ("None", "NA", "0")
    assert predictions.ids.tolist() == ["007", "1e5", "nan"]
    np.testing.assert_array_equal(predictions.labels, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_independent_labels_may_be_unknown_one_by_one(tmp_path):
    predictions = read(tmp_path, LABELS + "x,1,,0.9,0.8\ny,0,1.0,0.2,0.1\n")
    assert not predictions.exclusive
    np.testing.assert_array_equal(predictions.labels, [[1, np.nan], [0, 1]])
    assert predictions.splits.tolist() == ["test", "test"]
    assert predictions.patients is None


def test_a_single_score_column_is_the_last_class(tmp_path):
    predictions = read(tmp_path, "id,label,score_malignant\nx,malignant,0.9\ny,healthy,0.2\nz,,0.5\n")
    assert predictions.classes == ("healthy", "malignant")
    np.testing.assert_array_equal(predictions.labels, [[0, 1], [1, 0], [np.nan, np.nan]])
    np.testing.assert_allclose(predictions.scores, [[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]], atol=1e-15)


def test_a_single_score_and_only_its_class(tmp_path):
    assert read(tmp_path, "id,label,score_1\nx,1,0.9\n").classes == ("not 1", "1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        (BINARY, ["zero rows"]),
        (b"id,label\n\xff\xfe,\x80\n", ["UTF-8"]),
        ('id,label,score_a,score_b\nx,"a"b,1,0\n', ["not a CSV table"]),
        ("id;label;score_a\nx;a;1\n", ["single column", "';'"]),
        (BINARY + "x,test,benign,1\n", ["row 1 (line 2)", "4 values", "expected 5"]),
        ("id,id,label,score_a\nx,x,a,1\n", ["two columns named 'id'"]),
        ("id,label,p\nx,a,1\n", ["no score columns", "'p'", "score_<class>"]),
        ("id,score_a,score_b\nx,1,0\n", ["no label column", "'label'"]),
        ("id,label,label_a,score_a,score_b\nx,a,1,1,0\n", ["'label' and a column 'label_a'"]),
        ("id,label_edem,score_edema\nx,1,1\n", ["no 'score_edem'", "'edema'"]),
        ("id,label_edema,score_edema,score_mass\nx,1,1,1\n", ["no 'label_mass'", "empty column"]),
        (BINARY + "x,test,benign,1,0\ny,test,malignent,1,0\n", ["row 2 (line 3)", "'malignant'"]),
        (BINARY + "x,test,benign,-2,3\n", ["row 1 (line 2)", "score_benign is '-2'", "logit_benign"]),
        (BINARY + "x,test,benign,1,1.0000001\n", ["score_malignant", "0 to 1"]),
        (BINARY + "x,test,benign,nan,0\n", ["score_benign is 'nan'", "number"]),
        (BINARY + "x,test,benign,,0\n", ["score_benign is ''", "number"]),
        (BINARY + "x,test,benign,high,0\n", ["score_benign is 'high'", "number"]),
        (BINARY + "x,test,benign,1,0\nx,test,benign,1,0\n", ["row 2 (line 3)", "id 'x'", "row 1"]),
        (BINARY + ",test,benign,1,0\n", ["the id is empty"]),
        ("case,label,score_a,score_b\nx,a,1,0\n", ["no column 'id'"]),
        (BINARY + "x,val,benign,1,0\n", ["row 1 (line 2)", "no split 'val'", "'validation'"]),
        (BINARY + "x,,benign,1,0\n", ["no split ''", "'train'"]),
        (BINARY + "x,test,benign,0.5,0.498\n", ["row 1 (line 2)", "sum to 0.998", "softmax"]),
        (LABELS + "x,1,yes,1,1\n", ["row 1 (line 2)", "label_mass is 'yes'", "0, 1"]),
        (LABELS + "x,1,-1,1,1\n", ["label_mass is '-1'"]),
        ("id,label,score_a\nx,a,1\ny,b,1\nz,c,0\n", ["single score column", "'a', 'b', 'c'"]),
        ("id,label,score_malignant\nx,1,1\ny,0,0\n", ["single score column", "label_malignant"]),
    ],
)
def test_refuses_in_one_line(tmp_path, text, words):
    message = refuse(tmp_path, text)
    for word in words:
        assert word in message


def test_the_line_is_the_file_s_own_after_blank_lines_and_line_ends_in_quotes(tmp_path):
    message = refuse(tmp_path, BINARY + '"x\nx",test,benign,1,0\n\ny,test,benign,2,0\n')
    assert "row 2 (line 5)" in message


def test_scores_rounded_to_three_decimals_are_taken(tmp_path):
    assert len(read(tmp_path, "id,label,score_a,score_b,score_c\nx,a,0.333,0.333,0.333\n")) == 1


def test_an_id_may_be_in_two_splits(tmp_path):
    assert len(read(tmp_path, BINARY + "x,test,benign,1,0\nx,train,benign,1,0\n")) == 2


def test_missing_files_and_folders_without_predictions(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_predictions(tmp_path / "absent")
    with pytest.raises(DataError, match=r"interrupted.*finished run"):
        load_predictions(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path)


def test_loads_a_run_or_a_file(tmp_path):
    read(tmp_path, BINARY + "x,test,benign,1,0\n")
    (tmp_path / "p.csv").rename(tmp_path / "predictions.csv")
    assert len(load_predictions(tmp_path)) == 1
    assert len(load_predictions(str(tmp_path / "predictions.csv"))) == 1


@st.composite
def tables(draw: st.DrawFn) -> tuple[Predictions, np.ndarray]:
    exclusive = draw(st.booleans())
    classes = draw(st.lists(NAMES, min_size=2 if exclusive else 1, max_size=4, unique=True))
    count, width = draw(st.integers(1, 5)), len(classes)
    scores = draw(arrays(np.float64, (count, width), elements=st.floats(0, 1)))
    if exclusive:
        scores = (scores + 1e-3) / (scores + 1e-3).sum(axis=1, keepdims=True)
        labels = np.vstack([np.eye(width), np.full(width, np.nan)])[
            draw(arrays(int, count, elements=st.integers(0, width)))
        ]
    else:
        labels = draw(arrays(np.float64, (count, width), elements=st.sampled_from([0.0, 1.0, np.nan])))
    texts = arrays(np.dtype("U6"), count, elements=NAMES)
    predictions = Predictions(
        ids=np.array(draw(st.lists(NAMES, min_size=count, max_size=count, unique=True))),
        labels=labels,
        scores=scores,
        classes=tuple(classes),
        splits=draw(
            arrays(np.dtype("U10"), count, elements=st.sampled_from(["train", "validation", "test"]))
        ),
        patients=draw(st.none() | texts),
        groups={"sex": draw(texts), "logits": draw(texts)},
        exclusive=exclusive,
    )
    return predictions, draw(arrays(np.float64, (count, width), elements=st.floats(-1e30, 1e30)))


@settings(max_examples=60, deadline=None)
@given(tables())
def test_writing_then_reading_gives_the_same_bits(table):
    predictions, logits = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.csv"
        write_predictions(predictions, path, logits)
        back = read_predictions(path)
        assert [file.name for file in Path(folder).iterdir()] == ["p.csv"]
    assert back.scores.tobytes() == np.ascontiguousarray(predictions.scores).tobytes()
    np.testing.assert_array_equal(back.labels, predictions.labels)
    assert (back.classes, back.exclusive) == (predictions.classes, predictions.exclusive)
    for name in ("ids", "splits", "patients"):
        np.testing.assert_array_equal(getattr(back, name), getattr(predictions, name))
    assert list(back.groups) == ["sex", "logits"]
    for name, values in predictions.groups.items():
        np.testing.assert_array_equal(back.groups[name], values)


def test_logits_are_written_beside_the_scores(tmp_path, make_predictions):
    predictions = make_predictions([0, 1], [0.25, 0.5])
    write_predictions(predictions, tmp_path / "p.csv", np.array([[0.1, -2.0], [3.0, 4.0]]))
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines == [
        "id,split,label,score_a,score_b,logit_a,logit_b",
        "0,test,a,0.75,0.25,0.1,-2.0",
        "1,test,b,0.5,0.5,3.0,4.0",
    ]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, make_predictions, monkeypatch):
    path = tmp_path / "p.csv"
    path.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_predictions(make_predictions([0, 1], [0, 1]), path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["p.csv"]


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path, make_predictions):
    path = tmp_path / "p.csv"
    path.write_text("old")
    with path.open() as reader:
        write_predictions(make_predictions([0, 1], [0, 1]), path)
        assert reader.read() == "old"
    assert len(read_predictions(path)) == 2


def test_refuses_to_write_what_could_not_be_read_back(tmp_path, make_predictions):
    for name in ("label", "id", "score_x"):
        with pytest.raises(DataError, match=name):
            write_predictions(make_predictions([0], [0], groups={name: ["x"]}), tmp_path / "p.csv")
    with pytest.raises(DataError, match="logits of shape"):
        write_predictions(make_predictions([0], [0]), tmp_path / "p.csv", np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("labels", "scores", "options", "word"),
    [
        ([[1, 0]], [[1, 0, 0]], {}, "scores of shape"),
        ([[1, 1]], [[1, 0]], {}, "one-hot"),
        ([[1, np.nan]], [[1, 0]], {}, "one-hot"),
        ([[1]], [[1]], {}, "one exclusive class"),
        ([[2, -1]], [[1, 0]], {"exclusive": False}, "0, 1 and NaN"),
        ([[1, 0]], [[1.5, 0]], {}, "probabilities"),
        ([[1, 0]], [[np.nan, 0]], {}, "probabilities"),
        ([[1, 0]], [[1, 0]], {"splits": ["val"]}, "train, validation or test"),
        ([[1, 0]], [[1, 0]], {"patients": ["p", "q"]}, "patients of shape"),
        ([[1, 0]], [[1, 0]], {"groups": {"sex": ["F", "M"]}}, "sex of shape"),
    ],
)
def test_refuses_arrays_that_do_not_fit(make_predictions, labels, scores, options, word):
    with pytest.raises(DataError, match=word):
        make_predictions(labels, scores, **options)


def test_take_and_of_split_keep_rows_together(make_predictions):
    predictions = make_predictions(
        [0, 1, 1], [0.1, 0.2, 0.3], patients=["p", "q", "r"], groups={"sex": ["F", "M", "F"]},
        splits=["test", "train", "test"],
    )  # fmt: skip
    test = predictions.of_split("test")
    assert test.ids.tolist() == ["0", "2"]
    assert test.patients.tolist() == ["p", "r"]
    assert test.groups["sex"].tolist() == ["F", "F"]
    np.testing.assert_array_equal(test.scores[:, 1], [0.1, 0.3])
    assert len(predictions.of_split("validation")) == 0
    with pytest.raises(DataError, match="'validation'"):
        predictions.of_split("val")


@pytest.mark.slow
def test_evaluation_loads_no_framework():
    modules = ["predictions", "metrics.discrimination", "uncertainty.bootstrap", "scores"]
    lines = [f"import medzoo.evaluation.{name}" for name in modules]
    lines += [
        "import sys",
        "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
