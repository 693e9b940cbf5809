"""Groups of images, by which results are compared: the columns kept for that, ages in bands, sexes in one spelling."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from medzoo.data.tables.conventions import fold_name
from medzoo.errors import DataError, nearest

RESERVED = ("id", "split", "label", "patient")
RESERVED_STARTS = ("score_", "label_", "logit_")
LONGEST_GROUP = 80  # characters in a cell of a group column
AGE_COLUMNS = frozenset({"age", "patientage", "ageapprox", "ageyears", "ageinyears"})
SEX_COLUMNS = frozenset({"sex", "gender", "patientsex", "patientgender"})
AGE_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (121, "80+"))  # years below, name
UNITS = {"": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}  # in years
AGE = re.compile(
    r"[>≥]?\s*(\d+(?:\.\d*)?)\s*\+?\s*(?:(y|m|w|d)|(y)rs?|(y)ears?|(m)onths?|(w)eeks?|(d)ays?)?", re.I
)
CHOSEN_BY = ("fraction", "fold")  # columns of split files, by which rows are chosen: never left out
# What names a person, compared as columns are; it is a group only where someone asks for it.
IDENTIFYING = frozenset(
    {
        *("patientname", "name", "firstname", "lastname", "surname", "familyname", "givenname"),
        *(
            "birthdate",
            "dateofbirth",
            "dob",
            "patientbirthdate",
            "patientdob",
            "accessionnumber",
            "accession",
        ),
        *("mrn", "medicalrecordnumber", "ssn", "socialsecuritynumber", "insurancenumber", "nhsnumber"),
        *("address", "patientaddress", "phone", "telephone", "phonenumber", "email", "zipcode", "postcode"),
        *("referringphysician", "referringphysicianname", "operatorsname", "performingphysicianname"),
    }
)
SEXES = {"f": "female", "female": "female", "woman": "female", "m": "male", "male": "male", "man": "male"}
Values = TypeVar("Values")


def parse_age(text: str) -> float | None:
    """Read an age in years as tables and DICOM write it, or None where it is missing or nobody's age.

    A bare number is years; Y, M, W and D are years, months, weeks and days.  NIH's 414 years are nobody's.

    >>> parse_age("060Y"), parse_age("061"), parse_age("18M"), parse_age("54.0"), parse_age("414"), parse_age("")
    (60.0, 61.0, 1.5, 54.0, None, None)
    """
    found = AGE.fullmatch(text.strip())
    if found is None:
        return None
    unit = next((part for part in found.groups()[1:] if part), "")
    years = float(found[1]) * UNITS[unit.lower()]
    return years if years < AGE_BANDS[-1][0] else None


def band_age(text: str) -> str:
    """Name the age band of an age as tables write it, "" where it is unknown.

    >>> band_age("060Y"), band_age("17.9"), band_age("90+"), band_age("unknown")
    ('60-79', '0-17', '80+', '')
    """
    years = parse_age(text)
    return "" if years is None else next(name for limit, name in AGE_BANDS if years < limit)


def choose_groups(
    cells: pd.DataFrame, taken: Collection[str], wanted: Sequence[str] | None, path: Path
) -> dict[str, pd.Series]:
    """Choose the columns that stay as groups, under names that a predictions table does not need for itself.

    Without `wanted`, all columns but those `taken`, those that name a person, and those of long text, such as
    reports.  Derived are
    `age_band` from a column of ages, and `sex_group` (female, male) where a column spells sexes in several
    ways; both "" where unknown.  Raises DataError for a wanted column that does not exist.
    """
    derived = derive_groups(cells)
    if wanted is not None:
        known = [*cells.columns, *derived]
        for name in wanted:
            if name not in known:
                raise DataError(
                    f"{path} has no column {name!r}", nearest(name, known), "--group-columns NAMES"
                )
        kept = [*wanted, *(name for name in CHOSEN_BY if name in cells.columns and name not in wanted)]
        return rename_groups({name: derived[name] if name in derived else cells[name] for name in kept})
    named = {*taken, *list_identifying(cells.columns)}
    free = [column for column in cells.columns if column not in named]
    groups = {column: cells[column] for column in free if cells[column].str.len().max() <= LONGEST_GROUP}
    return rename_groups(groups | derived)


def list_identifying(columns: Collection[str]) -> list[str]:
    """List the columns that name a person, such as a name or a date of birth.

    >>> list_identifying(["Patient Name", "sex", "Accession_Number"])
    ['Patient Name', 'Accession_Number']
    """
    return [column for column in columns if fold_name(column) in IDENTIFYING]


def derive_groups(cells: pd.DataFrame) -> dict[str, pd.Series]:
    """Derive age bands, and sexes in one spelling, from the first column of each; none that is there already."""
    derived: dict[str, pd.Series] = {}
    ages = next((column for column in cells.columns if fold_name(column) in AGE_COLUMNS), None)
    if ages is not None and "age_band" not in cells:
        bands = map_cells(cells[ages], band_age)
        if (bands != "").any():
            derived["age_band"] = bands
    sexes = next((column for column in cells.columns if fold_name(column) in SEX_COLUMNS), None)
    if sexes is not None and "sex_group" not in cells:
        spellings = [value for value in cells[sexes].unique() if value.lower() in SEXES]
        if len(spellings) > len({SEXES[value.lower()] for value in spellings}):
            derived["sex_group"] = map_cells(cells[sexes], lambda value: SEXES.get(value.lower(), ""))
    return derived


def map_cells(column: pd.Series, answer: Callable[[str], str]) -> pd.Series:
    """Answer for every cell of a column, asking once for each value."""
    codes, values = pd.factorize(column)
    answers = np.array([answer(value) for value in values], dtype=object)
    return pd.Series(answers[codes], index=column.index)


def rename_groups(groups: Mapping[str, Values]) -> dict[str, Values]:
    """Put `csv_` before the names that a table or a predictions file keeps for itself.

    >>> list(rename_groups({"sex": ["F"], "id": ["7"], "score_ai": [".5"]}))
    ['sex', 'csv_id', 'csv_score_ai']
    """
    renamed: dict[str, Values] = {}
    for column, values in groups.items():
        name = column
        while name in RESERVED or name.startswith(RESERVED_STARTS) or (name != column and name in groups):
            name = f"csv_{name}"
        renamed[name] = values
    return renamed
