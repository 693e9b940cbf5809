"""A CSV file as columns: nothing is guessed, so that classes named "0", "NA" or "None" survive.

Arrow reads what every reader reads alike. Whatever is odd in a file, from a stray quote to a number that only Python
takes, is left to Python's csv module, which says what and where.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import DataError
from medzoo.evaluation.tables.memory import check_room
from medzoo.evaluation.tables.table import EXPECTED, Table, list_numbers

#: Bytes that Arrow parses at a time, and that are looked at for quotes at a time.
BLOCK = WINDOW = 2**22

#: Rows that the precise reader turns into columns at a time.
ROWS_AT_A_TIME = 2**16

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_csv_table(path: Path) -> Table:
    r"""Read a CSV file with a header and at least one row.

    Scores and logits are numbers, every other column text. A byte-order mark and blank lines are skipped. Raises
    DataError when the file is missing, empty, not UTF-8, not CSV, has rows of another length than the header, a
    column name twice, no rows, or more than memory holds.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "p.csv"
    ...     _ = path.write_text("id,label\na,NA\n")
    ...     read_csv_table(path).columns["label"].to_pylist()
    ['NA']
    """
    header = read_header(path)
    check_room(path, path.stat().st_size, "its bytes")
    columns = _read_quickly(path, header)
    if columns is None:
        columns = _read_precisely(path, header)

    def find(row: int) -> tuple[str, Mapping[str, str]]:
        """Read the file up to a row: only a row that is refused is ever asked for."""
        records = _iterate_records(path)
        next(records)
        line, record = next(pair for index, pair in enumerate(records) if index == row)
        return f"row {row + 1} (line {line})", dict(zip(header, record, strict=True))

    return Table(path, columns, find)


def read_header(path: Path) -> list[str]:
    """Read the names of a CSV file's columns.

    Raises DataError where the file is missing, empty or no CSV table, or a name is there twice.
    """
    _, header = next(_iterate_records(path), (0, []))
    if not header:
        raise DataError(f"{path} is empty", EXPECTED, "the path of a predictions file or of a finished run")
    if len(header) == 1:
        separator = next((mark for mark in (";", "\t", "|") if mark in header[0]), None)
        remedy = f"commas instead of {separator!r} as the separator" if separator else "another file"
        raise DataError(f"{path} has the single column {header[0][:60]!r}", EXPECTED, remedy)
    twice = next((name for index, name in enumerate(header) if name in header[:index]), None)
    if twice is not None:
        raise DataError(f"{path} has two columns named {twice!r}", "each column once", "renaming one of them")
    return header


def _iterate_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give the line on which each non-blank record ends, and the record."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for record in reader:
                if record:
                    yield reader.line_num, record
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist", "a predictions file or a run", "`medzoo evaluate --help`"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text", EXPECTED, "saving it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV table: {error}", EXPECTED, "saving it as CSV again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", EXPECTED, "another path") from None


def _read_quickly(path: Path, header: list[str]) -> dict[str, Any] | None:
    """Read columns with Arrow; None where it cannot, or might read otherwise than Python."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    has_quotes = _look_for_quotes(path)
    if has_quotes is None:
        return None
    numbers = list_numbers(header)
    words = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = {name: pyarrow.float64() if name in numbers else words for name in header}
    types["id"] = pyarrow.string()  # one name per row: nothing to share
    try:
        with pyarrow.OSFile(str(path)) as stream:
            table = arrow_csv.read_csv(
                stream,
                read_options=arrow_csv.ReadOptions(block_size=BLOCK),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=has_quotes),
                convert_options=arrow_csv.ConvertOptions(column_types=types, null_values=[""]),
            )
    except pyarrow.ArrowInvalid:
        return None
    if not table.num_rows or table.column_names != header:
        return None
    return {name: table.column(name) for name in header}


def _look_for_quotes(path: Path) -> bool | None:
    """Tell whether a file has quotes; None where one is not at the edge of a cell, or a line ends in CR alone."""
    marked = False
    inside = 0
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = len(_BYTE_ORDER_MARK) if stream.read(3) == _BYTE_ORDER_MARK else 0
        for start in range(first, size, WINDOW):
            # One byte before and one after: what a quote or a CR stands beside.
            stream.seek(max(first, start - 1))
            before = min(1, start - first)
            window = stream.read(before + WINDOW + 1)
            stop = min(len(window), before + WINDOW)
            returns = window.count(b"\r", before, stop)
            if returns and returns != window.count(b"\r\n", before, stop + 1):
                return None
            if window.find(b'"', before, stop) < 0:
                continue
            marked = True
            padded = np.frombuffer(b"\n" * (1 - before) + window + b"\n", np.uint8)
            quotes = np.flatnonzero(padded[1 : 1 + stop - before] == ord('"')) + 1
            edges = np.frombuffer(b',\r\n"', np.uint8)
            opening, closing = quotes[inside % 2 :: 2], quotes[1 - inside % 2 :: 2]
            if not (np.isin(padded[opening - 1], edges).all() and np.isin(padded[closing + 1], edges).all()):
                return None
            inside += quotes.size
    return marked if inside % 2 == 0 else None


def _read_precisely(path: Path, header: list[str]) -> dict[str, Any]:
    """Read every column as text with Python's csv module, refusing a row of another length than the header."""
    import pyarrow

    records = _iterate_records(path)
    next(records)
    chunks: dict[str, list[Any]] = {name: [] for name in header}
    rows: list[list[str]] = []

    def keep() -> None:
        """Turn the rows so far into chunks of columns."""
        for name, cells in zip(header, zip(*rows, strict=True), strict=bool(rows)):
            chunks[name].append(pyarrow.array(cells, pyarrow.string()))
        rows.clear()

    index = -1
    for index, (line, record) in enumerate(records):
        if len(record) != len(header):
            found = f"{path}, row {index + 1} (line {line}): it has {len(record)} values"
            raise DataError(found, f"{len(header)}, one per column", "quoting values that hold a comma")
        rows.append(record)
        if len(rows) == ROWS_AT_A_TIME:
            keep()
    if index < 0:
        raise DataError(f"{path} has a header and zero rows", "one row per image", "predicting again")
    keep()
    return {name: pyarrow.chunked_array(parts, pyarrow.string()) for name, parts in chunks.items()}
