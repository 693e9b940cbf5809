"""A run: the directory that holds one training's configuration, plan, history, weights and results."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medzoo.errors import ConfigError, TrainingError
from medzoo.outputs import write_text

#: Every file that a run may hold; `--overwrite` removes these and nothing else.
FILES = (
    "config.toml",
    "plan.json",
    "environment.json",
    "history.csv",
    "best.weights.h5",
    "predictions.csv",
    "metrics.json",
)


@dataclass(frozen=True)
class Run:
    """The directory of one training; works wherever a path is expected."""

    path: Path

    def __fspath__(self) -> str:
        """Give the directory's path."""
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        """Give the path of one of its files."""
        return self.path / name


def choose_folder(out: str | None, overwrite: bool, name: str) -> Path:
    """Choose a run's folder: `out`, or the first free `runs/NAME`, `runs/NAME-2`, …; nothing is made yet.

    Raises:
        ConfigError: `out` exists and may not be overwritten, or is no run.
    """
    if out is None:
        number = 1
        while (folder := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        return folder
    folder = Path(out)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file", "a folder for the run", "another --out")
    strangers = sorted(entry.name for entry in folder.iterdir() if entry.name not in FILES)
    if strangers:
        raise ConfigError(
            f"{folder} holds {strangers[0]!r}, which no run has", "a new folder", "another --out"
        )
    if not overwrite:
        raise ConfigError(f"run {folder} exists", "a new folder", "--overwrite or another --out")
    return folder


def create_run(folder: Path) -> Run:
    """Make a run's folder, empty of an earlier run's files.

    Raises:
        TrainingError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"cannot make {folder} ({error.strerror})", "a writable place", "--out DIR"
        ) from error
    if shutil.disk_usage(folder).free < 50 * 2**20:
        raise TrainingError(f"less than 50 MB are free at {folder}", "room for the weights", "another --out")
    return Run(folder)


def write_history(run: Run, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the history anew, one row an epoch, so that it is whole after each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(run / "history.csv", text.getvalue())
