"""A CSV file as columns of text: nothing is guessed, so that classes named "0", "NA" or "None" survive."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from medzoo.errors import DataError

_EXPECTED = "a CSV table in UTF-8 with columns id, label and one score_<class> per class"


@dataclass(frozen=True)
class CsvTable:
    """The columns of a CSV file, in the file's order, and the line on which each row ends.

    >>> CsvTable(Path("p.csv"), {"id": ["a", "b"]}, (2, 3)).locate(1)
    'p.csv, row 2 (line 3)'
    """

    path: Path
    columns: dict[str, list[str]]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        """Count the rows below the header."""
        return len(self.lines)

    def locate(self, row: int) -> str:
        """Name the row of a zero-based index as a person finds it: rows from 1, and the file's line.

        >>> CsvTable(Path("p.csv"), {"id": ["a"]}, (2,)).locate(0)
        'p.csv, row 1 (line 2)'
        """
        return f"{self.path}, row {row + 1} (line {self.lines[row]})"


def read_table(path: str | Path) -> CsvTable:
    r"""Read a CSV file with a header and at least one row, every value as text.

    Raises DataError when the file is missing, empty, not UTF-8, not CSV, has rows of another length than the
    header, a column name twice, or no rows. A byte-order mark and blank lines are skipped.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "p.csv"
    ...     _ = path.write_text("id,label\na,NA\n")
    ...     read_table(path).columns
    {'id': ['a'], 'label': ['NA']}
    """
    path = Path(path)
    lines, records = _read_records(path)
    if not records:
        raise DataError(f"{path} is empty", _EXPECTED, "the path of a predictions file or of a finished run")
    header, rows = records[0], records[1:]
    _check_header(path, header)
    table = CsvTable(path, {name: [] for name in header}, tuple(lines[1:]))
    for index, row in enumerate(rows):
        if len(row) != len(header):
            found = f"{table.locate(index)}: it has {len(row)} values"
            raise DataError(found, f"{len(header)}, one per column", "quoting values that hold a comma")
    if not rows:
        raise DataError(f"{path} has a header and zero rows", "one row per image", "predicting again")
    for name, values in zip(header, zip(*rows, strict=True), strict=True):
        table.columns[name].extend(values)
    return table


def _read_records(path: Path) -> tuple[list[int], list[list[str]]]:
    """Give the non-blank records of a CSV file and the line on which each ends."""
    lines: list[int] = []
    records: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for record in reader:
                if record:
                    lines.append(reader.line_num)
                    records.append(record)
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist", "a predictions file or a run", "`medzoo evaluate --help`"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text", _EXPECTED, "saving it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV table: {error}", _EXPECTED, "saving it as CSV again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", _EXPECTED, "another path") from None
    return lines, records


def _check_header(path: Path, header: list[str]) -> None:
    """Refuse a header that is one long word or that names a column twice."""
    if len(header) == 1:
        separator = next((mark for mark in (";", "\t", "|") if mark in header[0]), None)
        remedy = f"commas instead of {separator!r} as the separator" if separator else "another file"
        raise DataError(f"{path} has the single column {header[0][:60]!r}", _EXPECTED, remedy)
    twice = next((name for index, name in enumerate(header) if name in header[:index]), None)
    if twice is not None:
        raise DataError(f"{path} has two columns named {twice!r}", "each column once", "renaming one of them")
