"""The history of a run: one row a validation, in a table that is whole after each."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from medzoo.errors import TrainingError
from medzoo.outputs import write_text

#: The columns before and after those of the metrics; every history has all of them, in this order.
LEADING = ("epoch", "step", "loss", "val_loss")
TRAILING = ("learning_rate", "seconds", "images_per_second", "waiting")

FILE = "history.csv"

#: How metrics are written for a person; any other name is written as it is, without underscores.
_TITLES = {"auroc": "AUROC", "auprc": "AUPRC", "kappa": "κ"}


def title_metric(metric: str) -> str:
    """Write a metric's name as a person reads it.

    >>> title_metric("auroc"), title_metric("macro_recall")
    ('AUROC', 'macro recall')
    """
    return _TITLES.get(metric, metric.replace("_", " "))


def list_columns(rows: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """List the columns of rows: the fixed ones, between them each `val_<metric>` where it first appears.

    Raises:
        ValueError: a row has a column that is neither.

    >>> list_columns([{"val_auroc": 0.5, "epoch": 1}])[3:6]
    ('val_loss', 'val_auroc', 'learning_rate')
    """
    fixed = (*LEADING, *TRAILING)
    others = dict.fromkeys(name for row in rows for name in row if name not in fixed)
    strange = [name for name in others if not name.startswith("val_")]
    if strange:
        raise ValueError(f"a history has no column {strange[0]!r}: fixed ones and val_<metric> alone")
    return (*LEADING, *others, *TRAILING)


def list_metrics(rows: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """List the metrics that rows have validation scores of, the loss left out.

    >>> list_metrics([{"val_loss": 0.6, "val_auroc": 0.5, "val_kappa": 0.1}])
    ('auroc', 'kappa')
    """
    return tuple(name.removeprefix("val_") for name in list_columns(rows)[len(LEADING) : -len(TRAILING)])


def write_history(run: str | os.PathLike[str], rows: Sequence[Mapping[str, float]]) -> None:
    """Write a run's `history.csv` anew, whole or not at all; what a row lacks is an empty cell.

    Numbers have as many digits as it takes to read the same float64 back. The order of a row's keys is of no
    importance, so that a resumed run writes the file of an uninterrupted one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     write_history(run, [{"epoch": 1.0, "step": 8, "loss": 0.7}])
    ...     print((Path(run) / "history.csv").read_text(), end="")
    epoch,step,loss,val_loss,learning_rate,seconds,images_per_second,waiting
    1,8,0.7,,,,,
    """
    columns = list_columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_write_cell(name, row.get(name)) for name in columns] for row in rows)
    write_text(Path(run) / FILE, text.getvalue())


def read_history(run: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read the rows of a run's `history.csv`; empty cells are left out, `epoch` and `step` are whole where they can.

    Raises:
        TrainingError: there is no history, or a cell is no number.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     write_history(run, [{"epoch": 0.5, "step": 4, "loss": 0.7, "val_auroc": math.nan}])
    ...     read_history(run)
    [{'epoch': 0.5, 'step': 4, 'loss': 0.7, 'val_auroc': nan}]
    """
    path = Path(run) / FILE
    rows: list[dict[str, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            columns = next(reader, [])
            for cells in reader:
                if len(cells) != len(columns):
                    raise ValueError(f"it has {len(cells)} cells")
                pairs = zip(columns, cells, strict=True)
                rows.append({name: _read_cell(name, cell) for name, cell in pairs if cell})
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} does not exist", "the folder of a run that has been validated"
        ) from error
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror})", "a readable file") from error
    except (ValueError, csv.Error) as error:
        place = f"{path}, row {len(rows) + 1}"
        raise TrainingError(f"{place}: {error}", "one number a column, as medzoo train writes it") from error
    return rows


def find_best(rows: Sequence[Mapping[str, float]], metric: str) -> int | None:
    """Find the best row by a metric, or by the lowest `loss`: the index of the first of them; None without rows.

    Equal scores are decided by the lower validation loss. A score that is undefined is below all others; among
    those the loss alone decides.

    >>> find_best([{"val_auroc": 0.8, "val_loss": 0.5}, {"val_auroc": 0.8, "val_loss": 0.4}], "auroc")
    1
    """
    ranks = [_rank(row, metric) for row in rows]
    return ranks.index(max(ranks)) if ranks else None


def _rank(row: Mapping[str, float], metric: str) -> tuple[float, float]:
    """Rank a row: its score, NaN below all others, then the lower loss."""
    loss = row.get("val_loss", math.nan)
    by_loss = -math.inf if math.isnan(loss) else -loss
    score = by_loss if metric == "loss" else row.get(f"val_{metric}", math.nan)
    return (-math.inf if math.isnan(score) else score), by_loss


def _write_cell(name: str, value: float | None) -> str:
    """Write a number so that the same one is read back; epochs and steps without a point where they are whole."""
    if value is None:
        return ""
    number = float(value)
    whole = name in ("epoch", "step") and number.is_integer()
    return str(int(number)) if whole else repr(number)


def _read_cell(name: str, text: str) -> float:
    """Read a number that `_write_cell` wrote."""
    number = float(text)
    return int(number) if name in ("epoch", "step") and number.is_integer() else number
