"""Predictions as a file: CSV, which `medzoo evaluate` reads, or Parquet with the same columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medzoo.errors import ConfigError
from medzoo.evaluation.predictions import Predictions, write_predictions
from medzoo.outputs import write_beside

CSV, PARQUET = ".csv", ".parquet"


def check_out(path: Path, overwrite: bool, run: Path | None = None) -> None:
    """Refuse a file that is there already or is neither CSV nor Parquet, or that lies in the run itself.

    Raises:
        ConfigError: what is wrong with it.
    """
    if path.suffix.lower() not in (CSV, PARQUET):
        raise ConfigError(f"--out {path}", f"a file ending in {CSV} or {PARQUET}", "--out predictions.csv")
    if run is not None and path.resolve().parent == run.resolve():
        raise ConfigError(f"--out {path} lies in the run, which has predictions of its own", "another folder")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", "a new file", "another --out")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists", "a new file", "--overwrite or another --out")


def write_table(predictions: Predictions, path: Path, overwrite: bool = False) -> None:
    """Write predictions as CSV or, by the ending, as Parquet; the file appears whole or not at all.

    Raises ConfigError as `check_out` does, DataError where two columns would have one name.
    """
    check_out(path, overwrite)
    if path.suffix.lower() == CSV:
        write_predictions(predictions, path)
        return
    table = tabulate(predictions)
    with write_beside(path) as beside:
        table.to_parquet(beside, index=False)


def tabulate(predictions: Predictions) -> pd.DataFrame:
    """Give predictions as a table with the columns of their CSV file: texts, labels of 0, 1 or None, float64 scores.

    >>> one = Predictions(np.array(["a"]), np.array([[np.nan, np.nan]]), np.array([[0.3, 0.7]]), ("no", "yes"),
    ...                   np.array(["test"]))
    >>> print(tabulate(one).to_csv(index=False), end="")
    id,split,label,score_no,score_yes
    a,test,,0.3,0.7
    """
    columns: dict[str, object] = {"id": predictions.ids.tolist()}
    if predictions.patients is not None:
        columns["patient"] = predictions.patients.tolist()
    columns["split"] = predictions.splits.tolist()
    unknown = np.isnan(predictions.labels)
    if predictions.exclusive:
        chosen = np.where(unknown, 0, predictions.labels).argmax(axis=1).tolist()
        pairs = zip(chosen, unknown[:, 0].tolist(), strict=True)
        columns["label"] = [None if missing else predictions.classes[place] for place, missing in pairs]
    else:
        marks = pd.DataFrame(predictions.labels).astype("Int8")
        columns |= {f"label_{name}": marks[place] for place, name in enumerate(predictions.classes)}
    columns |= {
        f"score_{name}": predictions.scores[:, place] for place, name in enumerate(predictions.classes)
    }
    columns |= {name: values.tolist() for name, values in predictions.groups.items()}
    return pd.DataFrame(columns)
