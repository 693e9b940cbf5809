"""A Parquet file as columns: the same columns as a CSV file's, of whatever types other programs write them in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medzoo.errors import DataError
from medzoo.evaluation.tables.memory import check_room
from medzoo.evaluation.tables.table import EXPECTED, Table, list_numbers

#: What pandas names an index that it stores and that nobody named.
_UNNAMED_INDEX = "__index_level_"


def read_parquet_table(path: Path) -> Table:
    """Read a Parquet file with at least one row.

    Scores and logits are numbers; of every other column a cell is text as a CSV file would have it: whole numbers
    without a point, nothing where a value is missing or NaN. Raises DataError when the file is missing, no Parquet
    file, has a column name twice, no rows, a column of lists or of other parts, or more than memory holds.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            parts = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
            check_room(path, sum(part.total_byte_size for part in parts), "its columns")
            table = file.read()
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist", "a predictions file or a run", "`medzoo evaluate --help`"
        ) from None
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        raise DataError(f"{path} is not a Parquet file", EXPECTED, "writing it again, or as CSV") from None
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}", EXPECTED, "another path") from None
    names = [name for name in table.column_names if not name.startswith(_UNNAMED_INDEX)]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise DataError(f"{path} has two columns named {twice!r}", "each column once", "renaming one of them")
    if not table.num_rows or not names:
        raise DataError(f"{path} has zero rows", "one row per image", "predicting again")
    numbers = list_numbers(names)
    columns = {name: _convert(path, name, table.column(name), name in numbers) for name in names}

    def find(row: int) -> tuple[str, Mapping[str, str]]:
        """Spell the cells of a row."""
        cells = {name: column[row].as_py() for name, column in columns.items()}
        return f"row {row + 1}", {name: "" if cell is None else str(cell) for name, cell in cells.items()}

    return Table(path, columns, find)


def _convert(path: Path, name: str, column: Any, is_number: bool) -> Any:
    """Turn a column of any type into float64 or, where it holds texts or is no number, into texts without null."""
    import pyarrow
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        if is_number and not _holds_texts(column.type):
            return column.cast(pyarrow.float64())
        if types.is_boolean(column.type) and name.startswith("label_"):
            column = column.cast(pyarrow.int8())
        elif types.is_boolean(column.type):
            column = compute.if_else(column, "True", "False")
        elif types.is_floating(column.type):
            column = _drop_points(column)
        return compute.fill_null(column.cast(pyarrow.string()), "")
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        raise DataError(
            f"{path}: the column {name!r} holds {column.type}",
            "numbers" if is_number else "texts or numbers",
            "leaving it out, or one column per part",
        ) from None


def _holds_texts(kind: Any) -> bool:
    """Tell whether an Arrow type is one of text."""
    from pyarrow import types

    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view))


def _drop_points(column: Any) -> Any:
    """Turn floats into whole numbers where all of them are, as whole numbers with a gap become floats in pandas."""
    import pyarrow
    from pyarrow import compute

    known = compute.if_else(compute.is_nan(column), None, column)
    try:
        return known.cast(pyarrow.int64())
    except pyarrow.ArrowInvalid:
        return known
