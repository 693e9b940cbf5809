"""Predictions as a file that a person named: where it may go, and that it is not there yet."""

from __future__ import annotations

from pathlib import Path

from medzoo.errors import ConfigError
from medzoo.evaluation.predictions import Predictions, write_predictions
from medzoo.evaluation.tables.writing import CSV, PARQUET


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
    write_predictions(predictions, path)
