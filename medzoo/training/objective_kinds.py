"""Which objective fits which labels: refusals before anything is computed, and what classes' names say of order."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medzoo.data.dataset import Dataset
from medzoo.errors import ConfigError, nearest
from medzoo.training.settings import ObjectiveSection, TrainingSection

#: The objectives that can be asked for.
KINDS = ("auto", "softmax", "sigmoid", "ordinal", "regression")

#: Those that are no cross-entropy, so that nothing that bends one fits them.
OF_DISTANCE = ("ordinal", "regression")


def resolve_kind(kind: str, exclusive: bool) -> str:
    """Give the objective that is meant, and never "auto".

    Raises:
        ConfigError: it does not exist, or is one of exclusive classes for several labels, or the reverse.

    >>> resolve_kind("auto", exclusive=False)
    'sigmoid'
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no objective {kind!r}", nearest(kind, KINDS))
    if kind == "auto":
        return "softmax" if exclusive else "sigmoid"
    if exclusive and kind == "sigmoid":
        raise ConfigError(
            "the sigmoid objective, where an image has one of several classes",
            "softmax, ordinal or regression",
            "--set objective.kind=softmax",
        )
    if not exclusive and kind in ("softmax", "ordinal"):
        raise ConfigError(
            f"the {kind} objective, where an image may have several labels or none",
            "sigmoid, of which each label is a question of its own",
            "--set objective.kind=sigmoid",
        )
    return kind


def refuse_unfit(kind: str, weighted: bool, focal: float, label_smoothing: float) -> None:
    """Refuse what changes a cross-entropy and an objective of distances does not have.

    Raises:
        ConfigError: weights, focal or label smoothing with such an objective, or a value out of range.
    """
    if not 0 <= focal < math.inf:
        raise ConfigError(f"a focal γ of {focal}", "0 or a positive number", "--set objective.focal=2")
    if not 0 <= label_smoothing < 1:
        raise ConfigError(
            f"label smoothing of {label_smoothing}",
            "0 or more and below 1",
            "--set objective.label_smoothing=.1",
        )
    if kind not in OF_DISTANCE:
        return
    if weighted:
        raise ConfigError(
            f"weights with the {kind} objective", "weights in a cross-entropy alone", "--balance oversample"
        )
    for name, value in (("focal", focal), ("label_smoothing", label_smoothing)):
        if value:
            raise ConfigError(
                f"{name} of {value:g} with the {kind} objective",
                f"{name} in a cross-entropy alone",
                f"--set objective.{name}=0",
            )


def check_objective(dataset: Dataset, objective: ObjectiveSection, training: TrainingSection) -> None:
    """Refuse an objective that does not fit the labels or the balance, before anything is computed.

    Raises:
        ConfigError: what does not fit, and the setting that does.
    """
    kind = resolve_kind(objective.kind, dataset.exclusive)
    refuse_unfit(kind, training.balance == "weights", objective.focal, objective.label_smoothing)
    if kind == "regression" and not dataset.exclusive:
        raise ConfigError(
            "the regression objective, where an image may have several labels or none",
            "classes whose names are numbers, one an image",
            "--set objective.kind=sigmoid",
        )
    if kind == "regression":
        read_grades(dataset.classes)
    if kind == "ordinal":
        check_order(dataset.classes, "the ordinal objective", "--set objective.kind=softmax")


def read_grades(classes: Sequence[str]) -> NDArray[np.float64]:
    """Read the classes' names as numbers (k,), which regression takes the distances between.

    Raises:
        ConfigError: a name that is no finite number, or numbers that are all the same.

    >>> read_grades(("0", "1", "2.5"))
    array([0. , 1. , 2.5])
    """
    remedy = "--set objective.kind=ordinal for an order alone, or softmax"
    for name in classes:
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", name, re.ASCII):
            raise ConfigError(
                f"the regression objective of a class named {name!r}", "names that are numbers", remedy
            )
    return check_values(np.array([float(name) for name in classes]))


def check_values(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the classes' numbers (k,) if a squared distance between them means something.

    Raises:
        ConfigError: other shapes, numbers that are not finite, or all the same.
    """
    if values.ndim != 1 or not np.isfinite(values).all() or len(np.unique(values)) < 2:
        raise ConfigError(
            f"values of classes {values.tolist()}", "a finite number for each, not all the same"
        )
    return values


def check_order(classes: Sequence[str], what: str, remedy: str) -> None:
    """Refuse more than two classes whose names do not tell that they stand in their order.

    Names sorted by spelling (mild, moderate, none, severe) have an order that means nothing. Those that rise begin
    with a number each, or have one after the same text: 0_none and 1_mild, or grade 1 and grade 2.

    Raises:
        ConfigError: the names' numbers do not rise, or there are none.
    """
    if len(classes) <= 2:
        return
    found = [
        re.fullmatch(r"(\D*?)([+-]?\d+(?:\.\d+)?)(?:\D.*)?", name, re.ASCII | re.DOTALL) for name in classes
    ]
    told = [match for match in found if match is not None]
    numbers = [float(match[2]) for match in told]
    alike = len(told) == len(classes) and len({match[1] for match in told}) == 1
    if not alike or any(after <= before for before, after in pairwise(numbers)):
        named = ", ".join(map(repr, classes[:4])) + (", …" if len(classes) > 4 else "")
        raise ConfigError(
            f"{what} of classes {named}, whose order is unknown",
            "names with rising numbers, such as 0_none, 1_mild",
            f"renaming the classes, or {remedy}",
        )
