"""The numbers of a predictions table: scores, or logits and the scores that they stand for, each checked."""

from __future__ import annotations

import numpy as np

from medzoo.errors import DataError
from medzoo.evaluation.tables.table import FloatArray, Table, to_numbers

#: How far the scores of exclusive classes may sum from 1: three decimals, as tables are often rounded.
SUM_TOLERANCE = 1e-3


def read_scores(
    table: Table, named: tuple[str, ...], classes: tuple[str, ...], exclusive: bool
) -> FloatArray:
    """Read probabilities (n, k); the first of two classes is 1 − p where only the last is `named`.

    Raises DataError with the first row that holds no probability, or whose exclusive classes do not sum to 1.
    """
    scores = np.empty((len(table), len(classes)))
    first = len(classes) - len(named)
    for place, name in enumerate(named, first):
        column = f"score_{name}"
        scores[:, place] = to_numbers(table.columns[column])
        wrong = np.flatnonzero(~((scores[:, place] >= 0) & (scores[:, place] <= 1)))
        if wrong.size:
            raise _explain_score(table, column, int(wrong[0]), bool(np.isnan(scores[wrong[0], place])))
    if first:
        scores[:, 0] = 1 - scores[:, 1]
    elif exclusive:
        _check_sums(table, scores)
    return scores


def _explain_score(table: Table, column: str, row: int, is_no_number: bool) -> DataError:
    """Say what is wrong with a score."""
    found = f"{table.locate(row)}: {column} is {table.show(column, row)!r}"
    if is_no_number:
        return DataError(
            found, "a probability, a number from 0 to 1", "predicting this row again, or deleting it"
        )
    logit = column.replace("score_", "logit_", 1)
    return DataError(
        found,
        "a probability from 0 to 1",
        f"dividing by 100 if these are percent, or renaming it {logit}, and the others likewise, if these are logits",
    )


def _check_sums(table: Table, scores: FloatArray) -> None:
    """Refuse exclusive classes whose probabilities do not sum to 1."""
    sums = scores.sum(axis=1)
    # The slack keeps 1.001, as typed, inside the tolerance whatever its float64 sum rounds to.
    wrong = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE + 1e-9)
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"{table.locate(row)}: the scores sum to {sums[row]:.6g}",
            "1, since each row has one class",
            "a softmax, or label_<name> columns if the labels are independent",
        )


def read_logits(
    table: Table, classes: tuple[str, ...], named: tuple[str, ...], is_only: bool
) -> FloatArray | None:
    """Read logits (n, k), or None where the table has not those of every class.

    Where one of two classes is `named`, the other's logit is 0: then their softmax is the sigmoid of the one.
    Raises DataError with the first row that holds no finite number.
    """
    present = [name for name in classes if f"logit_{name}" in table.columns]
    if not set(named) <= set(present) or (len(present) < len(classes) and len(named) == len(classes)):
        return None
    logits = np.zeros((len(table), len(classes)))
    for place, name in enumerate(classes):
        column = f"logit_{name}"
        if name not in present:
            continue
        logits[:, place] = to_numbers(table.columns[column])
        wrong = np.flatnonzero(~np.isfinite(logits[:, place]))
        if wrong.size:
            row = int(wrong[0])
            raise DataError(
                f"{table.locate(row)}: {column} is {table.show(column, row)!r}",
                "a logit, a finite number",
                "predicting this row again, or deleting it"
                if is_only
                else "deleting the logit columns: the scores suffice",
            )
    return logits


def squash(logits: FloatArray, exclusive: bool) -> FloatArray:
    """Turn logits (n, k) into probabilities: a softmax of exclusive classes, a sigmoid of each independent label.

    >>> squash(np.array([[0.0, 0.0], [1e5, -1e5]]), exclusive=True)
    array([[0.5, 0.5],
           [1. , 0. ]])
    >>> squash(np.array([[0.0, -1e5]]), exclusive=False)
    array([[0.5, 0. ]])
    """
    if not exclusive:
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    return np.asarray(scores)
