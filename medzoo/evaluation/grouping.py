"""Groups of images by what a table says of them: values of a column, bands of a number, crossings of columns."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError, DataError, nearest
from medzoo.evaluation.predictions import FloatArray, Predictions, TextArray

#: Between the columns of a crossing and between the values of its groups.
CROSS = " × "

#: A column of more groups than this is no grouping but a name or a measurement.
MOST_GROUPS = 100

#: Years at which a column called age begins a new band, where none are given.
AGE_EDGES = (18.0, 40.0, 60.0, 80.0)

#: An age as DICOM writes it, 045Y, and how many years its unit is.
_DICOM_AGE = re.compile(r"(\d{3})([DWMY])")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}

IndexArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grouping:
    """Rows by group: the columns' title, the rows (m,) of each group by name, and those of which it is not known."""

    title: str
    members: Mapping[str, IndexArray]
    not_known: IndexArray


def band(values: TextArray, edges: Sequence[float]) -> TextArray:
    """Name the band of each number (n,): `<18`, `18–39`, `40–59`, `60+` for the edges 18, 40 and 60.

    An edge begins a band. The bands of whole edges are written as whole numbers, so 39.5 years are in `18–39`; others
    as `1.5 to <2.5`. Ages as DICOM has them (`045Y`, `018M`) are read as years. What is no number is "".

    Raises:
        ConfigError: no edges, or edges that do not rise.
        DataError: there are values and none of them is a number.

    >>> band(np.array(["17", "39.5", "060Y", "", "unknown"]), [18, 40, 60]).tolist()
    ['<18', '18–39', '60+', '', '']
    """
    codes, names = _find_bands(values, edges)
    named: TextArray = np.array([*names, ""], dtype=np.str_)[codes]
    return named


def split_crossing(column: str, known: Mapping[str, object]) -> list[str]:
    """Give the columns that are crossed: `sex×age` or `sex*age` stands for two, unless a column is called that.

    >>> split_crossing("sex × age", {"sex": 0, "age": 0}), split_crossing("site", {"site": 0})
    (['sex', 'age'], ['site'])
    """
    parts = [column] if column in known else re.split(r"\s*[×*]\s*", column)
    return list(dict.fromkeys(parts))


def check_bands(
    columns: Sequence[str], bands: Mapping[str, Sequence[float]], known: Mapping[str, object]
) -> None:
    """Refuse bands of a column that is not grouped by.

    Raises:
        ConfigError: the nearest column is named.
    """
    used = {name for column in columns for name in split_crossing(column, known)}
    stray = next((name for name in bands if name not in used), None)
    if stray is not None:
        raise ConfigError(f"bands of {stray!r}, which is not grouped by", nearest(stray, used))


def group_rows(
    rows: Predictions, column: str, bands: Mapping[str, Sequence[float]] | None = None
) -> Grouping:
    """Group rows by the values of a column, or by the combinations of several: `sex × age`.

    `bands` gives the edges for columns of numbers; a column called age has `AGE_EDGES` without. Rows in which one of
    the columns is empty, or is no number where bands are asked for, are not known.

    Raises:
        ConfigError: edges that do not rise.
        DataError: no such column (the nearest are named), or more than `MOST_GROUPS` groups.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.eye(2), ("no", "yes"), np.array(["test"] * 2),
    ...                    groups={"sex": np.array(["F", "M"]), "age": np.array(["30", "71"])})
    >>> list(group_rows(rows, "sex").members), list(group_rows(rows, "sex×age", {"age": (50,)}).members)
    (['sex=F', 'sex=M'], ['sex=F × age=<50', 'sex=M × age=50+'])
    """
    names = split_crossing(column, rows.groups)
    edges = bands or {}
    coded = [_code_column(rows, name, edges.get(name)) for name in names]
    sizes = tuple(len(labels) for _, labels in coded)
    unknown = np.zeros(len(rows), dtype=bool)
    cell = np.zeros(len(rows), dtype=np.int64)
    for (codes, _), size in zip(coded, sizes, strict=True):
        unknown |= codes < 0
        cell = cell * size + codes
    cells = np.unique(cell[~unknown]).tolist()
    if len(cells) > MOST_GROUPS:
        raise DataError(
            f"{CROSS.join(names)} has {len(cells):,} groups",
            f"{MOST_GROUPS} or fewer",
            "bands, or fewer columns",
        )
    members = {}
    for number in cells:
        values = zip(names, coded, np.unravel_index(number, sizes), strict=True)
        title = CROSS.join(f"{name}={labels[place]}" for name, (_, labels), place in values)
        members[title] = np.flatnonzero(~unknown & (cell == number)).astype(np.int64)
    return Grouping(CROSS.join(names), members, np.flatnonzero(unknown).astype(np.int64))


def _code_column(
    rows: Predictions, name: str, edges: Sequence[float] | None
) -> tuple[IndexArray, tuple[str, ...]]:
    """Number the value of each row (n,), −1 where it is not known, and name the values in order."""
    if name not in rows.groups:
        found = f"there is no group column {name!r}"
        if not rows.groups:
            raise DataError(
                found, "a group column; these predictions have none", "adding a column to the table"
            )
        raise DataError(found, nearest(name, rows.groups), "a column that the predictions have")
    values = rows.groups[name]
    if edges is None and name.casefold() in ("age", "patient_age", "patientage"):
        numbers = _read_numbers(values)
        if len(np.unique(numbers[~np.isnan(numbers)])) > len(AGE_EDGES) + 1:
            edges = AGE_EDGES
    if edges is not None:
        return _find_bands(values, edges, name)
    labels, codes = np.unique(values, return_inverse=True)
    if len(labels) > MOST_GROUPS:
        raise DataError(
            f"the column {name!r} has {len(labels):,} values",
            f"a group column of {MOST_GROUPS} or fewer",
            f"bands of its numbers, such as {name}=20,40,60",
        )
    if labels.size and labels[0] == "":  # "" sorts first
        return codes.astype(np.int64) - 1, tuple(map(str, labels[1:]))
    return codes.astype(np.int64), tuple(map(str, labels))


def _find_bands(
    values: TextArray, edges: Sequence[float], name: str = "values"
) -> tuple[IndexArray, tuple[str, ...]]:
    """Number the band of each value, −1 where it is no number, and name the bands in order."""
    borders = np.asarray(edges, dtype=np.float64)
    if not borders.size or not np.isfinite(borders).all() or (np.diff(borders) <= 0).any():
        raise ConfigError(
            f"the edges {', '.join(f'{edge:g}' for edge in edges)}", "numbers that rise", "18,40,60,80"
        )
    numbers = _read_numbers(values)
    if (values != "").any() and np.isnan(numbers).all():
        first = str(values[values != ""][0])
        raise DataError(f"no number in {name!r}, which begins with {first!r}", "numbers", "no bands for it")
    # A comparison with NaN is false, which digitize would call the last band.
    codes = np.where(np.isnan(numbers), -1, np.digitize(numbers, borders))
    return codes.astype(np.int64), _name_bands(borders)


def _name_bands(edges: FloatArray) -> tuple[str, ...]:
    """Name the bands below, between and above edges."""
    if (edges == np.round(edges)).all():
        between = [
            f"{low:.0f}–{high - 1:.0f}" if high - low > 1 else f"{low:.0f}"
            for low, high in itertools.pairwise(edges)
        ]
    else:
        between = [f"{low:g} to <{high:g}" for low, high in itertools.pairwise(edges)]
    return (f"<{edges[0]:g}", *between, f"{edges[-1]:g}+")


def _read_numbers(values: TextArray) -> FloatArray:
    """Read numbers and DICOM's ages, in years; NaN for everything else."""
    texts, places = np.unique(values, return_inverse=True)  # a column of ages has a hundred different ones
    numbers: FloatArray = np.array([_read_number(str(text)) for text in texts], dtype=np.float64)[places]
    return numbers


def _read_number(text: str) -> float:
    """Read one number, NaN where it is none."""
    age = _DICOM_AGE.fullmatch(text.strip())
    if age:
        return int(age[1]) * _YEARS[age[2]]
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
