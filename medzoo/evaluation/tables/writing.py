"""Predictions as a file: one table, written as CSV or, by the ending, as Parquet."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo.errors import DataError
from medzoo.outputs import write_beside

if TYPE_CHECKING:
    from medzoo.evaluation.predictions import Predictions

CSV, PARQUET = ".csv", ".parquet"

#: Rows that are turned into text at a time.
ROWS_AT_A_TIME = 2**16


def write_file(predictions: Predictions, path: Path) -> None:
    """Write predictions as Parquet where the path ends in .parquet, else as CSV; whole or not at all.

    Raises DataError when two columns would have one name, OSError when the file cannot be written.
    """
    table = tabulate(predictions)
    with write_beside(path) as beside:
        if path.suffix.lower() == PARQUET:
            from pyarrow import parquet

            parquet.write_table(table, beside)
            return
        with beside.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(table.column_names)
            for batch in table.to_batches(max_chunksize=ROWS_AT_A_TIME):
                # csv writes a float as its shortest text that reads back as the same float64, and None as nothing.
                writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def tabulate(predictions: Predictions) -> Any:
    """Give predictions as a pyarrow.Table: texts, labels of 0, 1 or null, float64 scores, and logits where known.

    Raises DataError when a group has the name of another column, or one that would not be read back as a group.
    """
    import pyarrow

    columns = {"id": pyarrow.array(predictions.ids, pyarrow.string())}
    if predictions.patients is not None:
        columns["patient"] = pyarrow.array(predictions.patients, pyarrow.string())
    columns["split"] = pyarrow.array(predictions.splits, pyarrow.string())
    columns |= _list_labels(predictions)
    numbers = {"score": predictions.scores, "logit": predictions.logits}
    for kind, values in numbers.items():
        if values is not None:
            columns |= {
                f"{kind}_{name}": pyarrow.array(np.asarray(values[:, place], np.float64))
                for place, name in enumerate(predictions.classes)
            }
    _check_groups(predictions, set(columns))
    columns |= {name: pyarrow.array(cells, pyarrow.string()) for name, cells in predictions.groups.items()}
    return pyarrow.table(columns)


def _list_labels(predictions: Predictions) -> dict[str, Any]:
    """Give `label` with the class's name, or one `label_<name>` of 0 and 1; null where not annotated."""
    import pyarrow

    unknown = np.isnan(predictions.labels)
    if predictions.exclusive:
        chosen = np.where(unknown, 0, predictions.labels).argmax(axis=1).astype(np.int32)
        codes = pyarrow.array(chosen, mask=unknown[:, 0].copy())
        names = pyarrow.array(predictions.classes, pyarrow.string())
        return {"label": pyarrow.DictionaryArray.from_arrays(codes, names).cast(pyarrow.string())}
    marks = np.where(unknown, 0, predictions.labels).astype(np.int8)
    return {
        f"label_{name}": pyarrow.array(marks[:, place].copy(), mask=unknown[:, place].copy())
        for place, name in enumerate(predictions.classes)
    }


def _check_groups(predictions: Predictions, columns: set[str]) -> None:
    """Refuse groups whose columns would be taken for something else."""
    taken = columns | {"id", "patient", "split", "label"}
    taken |= {f"{kind}_{name}" for kind in ("label", "logit") for name in predictions.classes}
    starts = ("score_",) if predictions.exclusive else ("score_", "label_")
    clash = next((name for name in predictions.groups if name in taken or name.startswith(starts)), None)
    if clash is not None:
        raise DataError(
            f"the group {clash!r} has the name of a predictions column", "another name", "renaming it"
        )
