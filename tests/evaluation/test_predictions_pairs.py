"""Two models' predictions of the same images, and parts of one model's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import DataError
from medzoo.evaluation.predictions import Predictions, align, join
from medzoo.evaluation.tables import repeats
from medzoo.evaluation.tables.repeats import find_repeat


@pytest.fixture
def rows(make_predictions) -> Predictions:
    """Six rows, an id in two splits, with patients, a group and logits."""
    made = make_predictions(
        [0, 1, 1, 0, 1, 0], [0.1, 0.9, 0.4, 0.2, 0.7, 0.3], patients=list("ppqrss"), groups={"sex": list("FFMMFM")},
        splits=["test", "test", "validation", "validation", "test", "train"],
    )  # fmt: skip
    return replace(made, ids=np.array(["x", "y", "x", "z", "w", "v"]), logits=np.arange(12.0).reshape(6, 2))


@given(st.permutations(range(6)))
def test_align_undoes_any_order_of_rows(order):
    ids, splits = np.array(list("xyxzwv")), np.array(["test", "test", "train", "train", "test", "test"])
    a = Predictions(ids, np.eye(2)[[0, 1, 1, 0, 0, 1]], np.full((6, 2), 0.5), ("n", "y"), splits)
    scores = np.arange(6)[:, None] / 10 * [1, -1] + [0, 1]
    b = replace(a, scores=scores, groups={"row": np.array(list("012345"))})
    first, second = align(a, b.take(np.array(order)))
    assert first is a or first.ids.tolist() == a.ids.tolist()
    np.testing.assert_array_equal(second.scores, scores)
    assert second.groups["row"].tolist() == list("012345")


def test_align_brings_classes_into_order(rows):
    turned = replace(
        rows, classes=("b", "a"), labels=rows.labels[:, ::-1], scores=rows.scores[:, ::-1], logits=rows.logits[:, ::-1]
    )  # fmt: skip
    _, b = align(rows, turned)
    assert b.classes == rows.classes
    np.testing.assert_array_equal(b.scores, rows.scores)
    np.testing.assert_array_equal(b.labels, rows.labels)
    np.testing.assert_array_equal(b.logits, rows.logits)


def test_align_shares_patients_that_one_knows(rows):
    for a, b in ((rows, replace(rows, patients=None)), (replace(rows, patients=None), rows)):
        for side in align(a, b.take(np.array([5, 4, 3, 2, 1, 0]))):
            assert side.patients.tolist() == list("ppqrss")


def test_align_takes_unknown_labels_as_equal(rows):
    labels = rows.labels.copy()
    labels[2] = np.nan
    unknown = replace(rows, labels=labels)
    assert np.isnan(align(unknown, unknown)[1].labels[2]).all()


def test_align_names_what_differs(rows):
    def refuse(b: Predictions) -> str:
        with pytest.raises(DataError) as caught:
            align(rows, b, ("run A's", "run B's"))
        return str(caught.value)

    message = refuse(rows.take(np.array([0, 1, 2, 3])))
    assert "only run A's predictions have 'w' (test), 'v' (train);" in message
    message = refuse(replace(rows, ids=np.array(["x", "y", "x", "z", "w", "other"])))
    assert (
        "only run A's predictions have 'v' (train); only run B's predictions have 'other' (train)" in message
    )
    message = refuse(replace(rows, splits=np.array(["test"] * 2 + ["train"] + ["test"] * 3)))
    assert "'v' (train), 'x' (validation), 'z' (validation)" in message
    message = refuse(rows.take(np.array([5])))
    assert "only run A's predictions have 'w' (test), 'x' (test), 'y' (test) and 2 more" in message
    labels = rows.labels.copy()
    labels[[1, 4]] = [[1, 0], [np.nan, np.nan]]
    message = refuse(replace(rows, labels=labels))
    assert (
        "image 'y' is 'b' in run A's predictions and 'a' in run B's predictions, and 1 more rows" in message
    )
    assert "'a', 'b'" in refuse(replace(rows, classes=("a", "c")))
    assert "independent labels" in refuse(replace(rows, exclusive=False))
    message = refuse(replace(rows, patients=np.array(list("ppqrst"))))
    assert "image 'v' is of patient 's' in run A's predictions and 't' in run B's" in message
    assert "run B's predictions have id 'y' twice in split 'test'" in refuse(
        rows.take(np.array([0, 1, 1, 2, 3, 4]))
    )


def test_align_spells_independent_labels(make_predictions):
    a = make_predictions([[1, 0]], [[0.5, 0.5]], exclusive=False)
    b = make_predictions([[1, np.nan]], [[0.5, 0.5]], exclusive=False)
    with pytest.raises(
        DataError, match="'0' is a 1, b 0 in the first predictions and a 1, b unknown in the second"
    ):
        align(a, b)


def test_join_of_splits_is_the_whole(rows):
    parts = [rows.of_split(name) for name in ("test", "train", "validation")]
    whole, _ = align(join(parts), rows)
    order = [0, 1, 4, 5, 2, 3]
    np.testing.assert_array_equal(whole.scores, rows.scores[order])
    np.testing.assert_array_equal(whole.logits, rows.logits[order])
    assert whole.groups["sex"].tolist() == rows.groups["sex"][order].tolist()
    assert align(rows, join(parts))[1].patients.tolist() == rows.patients.tolist()


def test_join_fills_what_a_part_has_not(rows):
    test = rows.of_split("test")
    train = replace(rows.of_split("train"), patients=None, logits=None, groups={"site": np.array(["north"])})
    whole = join([test, train])
    assert whole.patients.tolist() == ["p", "p", "s", ""]
    assert whole.groups["sex"].tolist() == ["F", "F", "F", ""]
    assert whole.groups["site"].tolist() == ["", "", "", "north"]
    assert whole.logits is None


def test_join_refuses(rows):
    with pytest.raises(DataError, match="no predictions to join"):
        join([])
    with pytest.raises(DataError, match="id 'x' twice in split 'test'"):
        join([rows.of_split("test"), rows])
    with pytest.raises(DataError, match="'a', 'b' and with the classes 'b', 'a'"):
        join([rows.of_split("test"), replace(rows.of_split("train"), classes=("b", "a"))])


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "ab", "ba", "é"]), st.sampled_from(["train", "test"])))
)
def test_repeats_are_those_a_dictionary_finds(keys):
    seen: dict[tuple[str, str], int] = {}
    expected = None
    for row, key in enumerate(keys):
        if key in seen:
            expected = (row, seen[key])
            break
        seen[key] = row
    ids = np.array([key[0] for key in keys], dtype="U2")
    assert find_repeat(ids, np.array([key[1] for key in keys], dtype="U5")) == expected


def test_rows_of_one_hash_are_only_suspects(monkeypatch):
    monkeypatch.setattr(repeats, "hash_texts", lambda texts, hashes=None: np.zeros(len(texts), np.uint64))
    splits = np.array(["test"] * 4)
    assert find_repeat(np.array(list("abcd")), splits) is None
    assert find_repeat(np.array(list("abcb")), splits) == (3, 1)


def test_many_ids_have_many_hashes():
    ids = np.array([f"images/{row:07d}.png" for row in range(200_000)])
    assert len(np.unique(repeats.hash_texts(ids))) == 200_000
