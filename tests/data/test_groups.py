"""Groups: which columns stay, ages in bands, sexes in one spelling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.data.tables.groups import AGE_BANDS, band_age, parse_age
from medzoo.data.tables.manifest import ManifestOptions, read_manifest

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("060Y", 60),
        ("061", 61),
        ("54.0", 54),
        ("18M", 1.5),
        ("026W", 0.5),
        ("5D", 5 / 365.25),
        ("90+", 90),
        (">89", 89),
        ("7 years", 7),
        ("6 months", 0.5),
        (" 3 yrs ", 3),
        ("0", 0),
        ("120", 120),
    ],
)
def test_ages_are_read_in_years(text: str, years: float) -> None:
    assert parse_age(text) == pytest.approx(years, abs=2e-3)


@pytest.mark.parametrize("text", ["", "unknown", "nan", "-1", "414", "411Y", "12X", "6mo nths", "1e2", "Y"])
def test_what_is_no_age_is_unknown(text: str) -> None:
    assert parse_age(text) is None
    assert band_age(text) == ""


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("0", "0-17"),
        ("17.99", "0-17"),
        ("18", "18-39"),
        ("39", "18-39"),
        ("40", "40-59"),
        ("060Y", "60-79"),
        ("79.9", "60-79"),
        ("80", "80+"),
        ("216M", "18-39"),
    ],
)
def test_ages_fall_into_bands(text: str, band: str) -> None:
    assert band_age(text) == band


@settings(deadline=None)
@given(st.integers(0, 999), st.sampled_from(["", "Y", "M", "W", "D"]))
def test_every_age_is_in_one_band_or_unknown(number: int, unit: str) -> None:
    years = parse_age(f"{number:03d}{unit}")
    if years is None:
        assert number > 120
        assert unit in ("", "Y")
        return
    assert 0 <= years <= number
    assert band_age(f"{number:03d}{unit}") in {name for _, name in AGE_BANDS}


@settings(deadline=None)
@given(st.text(max_size=8))
def test_no_text_breaks_the_reader_of_ages(text: str) -> None:
    years = parse_age(text)
    assert years is None or 0 <= years < 121


def test_age_bands_are_a_group(write_manifest: Write) -> None:
    rows = [("a", "no", "060Y"), ("b", "yes", ""), ("c", "yes", "414Y")]
    table = read_manifest(write_manifest(("file", "label", "Patient Age"), rows)).table
    assert list(table) == ["id", "label", "Patient Age", "age_band"]
    assert table["age_band"].tolist() == ["60-79", "", ""]
    assert table["Patient Age"].tolist() == ["060Y", "", "414Y"]


def test_bands_of_the_tables_own_stay_as_they_are(write_manifest: Write) -> None:
    path = write_manifest(("file", "label", "age", "age_band"), [("a", "no", "60", "old")])
    assert read_manifest(path).table["age_band"].tolist() == ["old"]


def test_sexes_in_several_spellings_become_a_group(write_manifest: Write) -> None:
    header = ("file", "label", "Sex")
    rows = [("a", "no", "F"), ("b", "no", "female"), ("c", "no", "M"), ("d", "no", "?"), ("e", "no", "")]
    table = read_manifest(write_manifest(header, rows)).table
    assert table["sex_group"].tolist() == ["female", "female", "male", "", ""]
    assert "sex_group" not in read_manifest(write_manifest(header, rows[1:])).table


def test_only_wanted_groups_stay(write_manifest: Write) -> None:
    path = write_manifest(("file", "label", "age", "site", "report"), [("a", "no", "60", "north", "x" * 99)])
    assert list(read_manifest(path).table) == ["id", "label", "age", "site", "age_band"]
    for wanted in (("site",), (), ("age_band", "report")):
        table = read_manifest(path, ManifestOptions(group_columns=wanted)).table
        assert list(table) == ["id", "label", *wanted]
