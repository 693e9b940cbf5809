"""Tables as they lie on the disk, CSV or Parquet, read to text: every cell a string, every row with its number."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import JOINT
from medzoo.errors import DataError

PARQUET_SUFFIXES = (".parquet", ".pq")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ENCODINGS = {  # what a spreadsheet saves unless told otherwise, told apart by the first bytes
    b"\xff\xfe": ("UTF-16", "utf-16"),
    b"\xfe\xff": ("UTF-16", "utf-16"),
    b"": ("Windows-1252 (Latin-1)", "cp1252"),
}


@dataclass(frozen=True, eq=False)
class Fault:
    """Rows that cannot be used: their positions in the table (ascending), and for each what is wrong with it."""

    positions: NDArray[np.int_]
    texts: Sequence[str]
    expected: str = ""
    remedy: str = ""


def read_cells(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a table's cells as stripped text, and say what was left out; the index is the row's number.

    A CSV file's rows count as a spreadsheet counts them, the header being row 1; a Parquet file's from 1.
    Numbers of a Parquet file are written as short as they can be (13.0 is "13"), lists are joined by "|".
    Raises DataError for what is no UTF-8 CSV file with commas or no Parquet file, or holds no rows.
    """
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return read_parquet(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "a CSV or Parquet file") from error
    data = data.removeprefix(BYTE_ORDER_MARK)
    text = decode_text(data, path)
    plain = read_plain(data, path) if is_plain(data) else None
    return (read_quoted(text, path) if plain is None else plain), ()


def decode_text(data: bytes, path: Path) -> str:
    """Decode UTF-8, or say in which row it is none and what the file seems to be."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        seems, codec = next(names for mark, names in ENCODINGS.items() if data.startswith(mark))
        try:
            data.decode(codec)
        except UnicodeDecodeError:
            seems = ""
        raise DataError(
            f"{path}, row {row} is not UTF-8 text" + (f"; the file reads as {seems}" if seems else ""),
            "a UTF-8 CSV file",
            "saving it as 'CSV UTF-8'"
            + (f", or iconv -f {codec.upper()} -t UTF-8 '{path}' > utf8.csv" if seems else ""),
        ) from error


def is_plain(data: bytes) -> bool:
    """Tell whether rows can be counted and split without care: no empty lines, odd line ends or stray quotes."""
    body = data.rstrip(b"\r\n")
    return (
        b"\0" not in body
        and not body.startswith((b"\n", b"\r"))
        and b"\n\n" not in body
        and b"\n\r" not in body
        and body.count(b"\r") == body.count(b"\r\n")
        and (b'"' not in body or quotes_well(body))
    )


def quotes_well(body: bytes) -> bool:
    """Tell whether quotes open at the beginning of cells, close at their end, and are doubled within.

    >>> quotes_well(b'a,"b ""c"" d"'), quotes_well(b'a,"b"c'), quotes_well(b'a,b "c"')
    (True, False, False)
    """
    marks = np.frombuffer(b"\n" + body + b"\n", np.uint8)
    places = np.flatnonzero(marks == ord('"'))
    opening, closing = places[::2], places[1::2]
    return (
        len(opening) == len(closing)
        and bool(np.isin(marks[opening - 1], list(b',\n"')).all())
        and bool(np.isin(marks[closing + 1], list(b',\r\n"')).all())
    )


def read_plain(data: bytes, path: Path) -> pd.DataFrame | None:
    """Read a plain CSV file fast; None where it has no rows or is ragged, which `read_quoted` explains."""
    import pyarrow
    from pyarrow import compute
    from pyarrow import csv as arrow_csv

    first = data.split(b"\n", 1)[0]
    header = name_columns(next(csv.reader([first.decode()])), path) if first.count(b'"') % 2 == 0 else None
    if header is None:
        return None
    numbers = [str(number) for number in range(len(header))]
    try:
        # One thread: a pool of Arrow's would not survive the fork of a worker process.
        table = arrow_csv.read_csv(
            pyarrow.BufferReader(data),
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=numbers, skip_rows=1),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(numbers, pyarrow.string()), strings_can_be_null=False
            ),
        )
    except pyarrow.ArrowInvalid:
        return None
    columns = [compute.utf8_trim_whitespace(column).to_pandas() for column in table.columns]
    cells = pd.DataFrame(dict(zip(header, columns, strict=True)))
    cells.index = pd.RangeIndex(2, len(cells) + 2)
    empty = np.flatnonzero((cells.iloc[:, 0] == "").to_numpy(bool))
    blank = empty[(cells.iloc[empty] == "").all(axis=1).to_numpy(bool)]
    cells = cells.drop(index=cells.index[blank]) if len(blank) else cells
    return cells if len(cells) else None


def read_quoted(text: str, path: Path) -> pd.DataFrame:
    """Read any CSV file cell by cell; line breaks within quotes do not end a row."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [list(map(str.strip, line)) for line in reader]
    except csv.Error as error:
        raise DataError(f"cannot read {path}: {error}", "a CSV file") from error
    filled = [(row, line) for row, line in enumerate(lines, start=1) if any(line)]
    header = name_columns(filled[0][1], path) if filled else None
    if header is None or len(filled) < 2:
        raise DataError(
            f"{path} has no rows below the header" if filled else f"{path} is empty", "a row per image"
        )
    for row, line in filled[1:]:
        if len(line) != len(header):
            raise DataError(f"{path}, row {row} has {len(line)} cells", f"{len(header)}, as in the header")
    return pd.DataFrame(
        [line for _, line in filled[1:]], columns=header, index=[row for row, _ in filled[1:]]
    )


def name_columns(header: Sequence[str], path: Path) -> list[str] | None:
    """Name every column, by its number where it has no name; None where none has one.

    Raises DataError for one name twice, and for a header that is not divided by commas.
    """
    stripped = [name.strip() for name in header]
    if not any(stripped):
        return None
    names = [name or f"column {number}" for number, name in enumerate(stripped, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{path} has two columns {twice[0]!r}", "every column under its own name", "renaming one"
        )
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise DataError(
            f"{path} has a single column, {names[0]!r}", "cells between commas", "saving it with commas"
        )
    return names


def read_parquet(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a Parquet file's columns as text, and name those that are none, such as embedded images."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}", "a Parquet file") from error
    columns: dict[str, pd.Series] = {}
    left_out = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name.startswith("__index_level_"):  # pandas' own row numbers
            continue
        if name in columns:
            raise DataError(
                f"{path} has two columns {name!r}", "every column under its own name", "renaming one"
            )
        try:
            columns[name] = write_text(column)
        except pyarrow.ArrowException:
            left_out.append(name)
    if not columns or not len(table):
        raise DataError(f"{path} has no rows of text or numbers", "a row per image")
    cells = pd.DataFrame(columns)
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    listed = ", ".join(map(repr, left_out))
    return cells, (f"{path.name}: columns that are no text were left out: {listed}",) * bool(left_out)


def write_text(column: Any) -> pd.Series:
    """Write one of Arrow's columns as text, "" for what is missing.

    Raises ArrowException for what has no text.
    """
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif types.is_list(kind) or types.is_large_list(kind):
        column = compute.binary_join(column.cast(pyarrow.list_(pyarrow.string())), JOINT)
    elif types.is_floating(kind):  # NaN is pandas' missing number
        column = compute.if_else(compute.is_nan(column), pyarrow.scalar(None, kind), column)
    text = compute.utf8_trim_whitespace(column.cast(pyarrow.string()))
    return text.fill_null("").to_pandas()


def settle_faults(
    cells: pd.DataFrame, faults: Sequence[Fault], path: Path, on_error: Literal["fail", "skip"]
) -> tuple[NDArray[np.int_], tuple[str, ...]]:
    """Give the positions of the rows that stay, and a line for each that is left out, in the table's order.

    A row with several faults is named for the first.  Raises DataError with "fail" for the first fault's first
    row, saying how many there are; with "skip" where no row stays.
    """
    reasons: dict[int, str] = {}
    for fault in faults:
        if on_error == "fail" and len(fault.positions):
            count = len(fault.positions)
            more = f" (the first of {count} such rows)" if count > 1 else ""
            row = cells.index[fault.positions[0]]
            raise DataError(f"{path}, row {row} {fault.texts[0]}{more}", fault.expected, fault.remedy)
        for position, text in zip(fault.positions.tolist(), fault.texts, strict=True):
            reasons.setdefault(position, text)
    if len(reasons) == len(cells):
        position = min(reasons)
        raise DataError(
            f"{path}: every row is left out, row {cells.index[position]} because it {reasons[position]}",
            "some rows that can be used",
        )
    stay = np.setdiff1d(np.arange(len(cells)), list(reasons), assume_unique=True)
    return stay, tuple(f"row {cells.index[position]}: {reasons[position]}" for position in sorted(reasons))
