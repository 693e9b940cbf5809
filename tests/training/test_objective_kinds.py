"""Which objective the labels allow, and what classes' names say of their order; without a framework."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from medzoo.data.dataset import Dataset
from medzoo.errors import ConfigError
from medzoo.training.objective_kinds import KINDS, check_objective, check_order, read_grades, resolve_kind
from medzoo.training.settings import ObjectiveSection, TrainingSection


def make_dataset(classes: tuple[str, ...], exclusive: bool = True) -> Dataset:
    """Make a data set of one image, of which only the labels matter."""
    table = pd.DataFrame({"id": ["a"], "split": ["train"], "label": [classes[0]]})
    marks = None if exclusive else np.zeros((1, len(classes)), np.float32)
    return Dataset("d", classes, table, 1, (8, 8), None, marks=marks)


def check(dataset: Dataset, balance: str = "none", **objective: object) -> None:
    check_objective(
        dataset,
        ObjectiveSection.model_validate(objective),
        TrainingSection.model_validate({"balance": balance}),
    )


GRADED, NAMED = ("0", "1", "2"), ("mild", "none", "severe")


@pytest.mark.parametrize(
    ("classes", "exclusive", "objective"),
    [
        (NAMED, True, {}),
        (NAMED, True, {"kind": "softmax", "focal": 2.0, "label_smoothing": 0.1}),
        (NAMED, False, {"kind": "sigmoid", "focal": 2.0}),
        (GRADED, True, {"kind": "ordinal"}),
        (("benign", "malignant"), True, {"kind": "ordinal"}),
        (GRADED, True, {"kind": "regression"}),
    ],
)
def test_what_fits_is_taken(classes: tuple[str, ...], exclusive: bool, objective: dict[str, object]) -> None:
    check(make_dataset(classes, exclusive), **objective)


@pytest.mark.parametrize(
    ("classes", "exclusive", "objective", "says"),
    [
        (NAMED, False, {"kind": "softmax"}, "objective.kind=sigmoid"),
        (NAMED, True, {"kind": "sigmoid"}, "objective.kind=softmax"),
        (GRADED, False, {"kind": "ordinal"}, "several labels"),
        (GRADED, False, {"kind": "regression"}, "several labels"),
        (NAMED, True, {"kind": "ordinal"}, "order is unknown"),
        (NAMED, True, {"kind": "regression"}, "'mild'"),
        (GRADED, True, {"kind": "ordinal", "balance": "weights"}, "--balance oversample"),
        (GRADED, True, {"kind": "regression", "focal": 1.0}, "focal"),
    ],
)
def test_what_does_not_fit_is_refused(
    classes: tuple[str, ...], exclusive: bool, objective: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        check(make_dataset(classes, exclusive), **objective)


@pytest.mark.parametrize(
    "classes",
    [
        GRADED,
        ("0_none", "1_mild", "10_more"),
        ("grade 1", "grade 2", "grade 3"),
        ("-1", "0", "1.5"),
        NAMED[:2],
    ],
)
def test_names_that_tell_their_order(classes: tuple[str, ...]) -> None:
    check_order(classes, "kappa", "")


@pytest.mark.parametrize(
    "classes",
    [
        NAMED,
        ("grade 1", "grade 10", "grade 2"),
        ("0", "1", "none"),
        ("covid19", "flu22", "x33"),
        ("1a", "1b", "2"),
    ],
)
def test_names_that_do_not_tell_their_order(classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="order is unknown"):
        check_order(classes, "kappa", "another metric")


@pytest.mark.parametrize("name", ["nan", "inf", "", "one", "1e", "0x1", "1_0", "1,5", "١"])
def test_grades_are_plain_numbers(name: str) -> None:
    with pytest.raises(ConfigError, match="names that are numbers"):
        read_grades(("0", name))


def test_grades_that_are_one_number_are_refused() -> None:
    with pytest.raises(ConfigError, match="not all the same"):
        read_grades(("1", "1.0"))


def test_the_kinds_are_those_of_the_settings() -> None:
    assert get_args(ObjectiveSection.model_fields["kind"].annotation) == KINDS
    assert [resolve_kind("auto", exclusive) for exclusive in (True, False)] == ["softmax", "sigmoid"]
