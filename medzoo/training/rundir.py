"""A run: the directory that holds one training's configuration, plan, history, weights and results."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medzoo.errors import ConfigError, TrainingError
from medzoo.outputs import write_text

#: Every folder that medzoo began has it; it is held while a process works there.
LOCK = "lock"

#: Bytes that must be free where a run begins.
LEAST_FREE = 50 * 2**20

#: Every file and folder that a run may hold; `--overwrite` replaces folders of these and no others.
FILES = (
    "config.toml",
    "plan.json",
    "environment.json",
    "history.csv",
    "best.weights.h5",
    "predictions.csv",
    "metrics.json",
    "calibration.json",
    "curves.png",
    "events",
    "checkpoints",
    "lock",
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
    strangers = sorted(entry.name for entry in folder.iterdir() if not _is_ours(entry.name))
    if strangers:
        raise ConfigError(
            f"{folder} holds {strangers[0]!r}, which no run has", "a new folder", "another --out"
        )
    if not overwrite:
        if (folder / LOCK).exists() and not (folder / "metrics.json").exists():
            remedy = f"medzoo train --resume {folder}, which goes on with it, --overwrite or another --out"
            raise ConfigError(f"run {folder} exists and is not finished", "a new folder", remedy)
        raise ConfigError(f"run {folder} exists", "a new folder", "--overwrite or another --out")
    return folder


def _is_ours(name: str) -> bool:
    """Tell whether a file is a run's, or what a killed run left half-written."""
    return name in FILES or name.startswith(".part-")


@contextlib.contextmanager
def open_run(folder: Path, files: Mapping[str, str]) -> Iterator[Run]:
    """Make a run's folder, whole with its first files; an earlier run there is set aside until the new one is done.

    If the new run ends before it has a history or a checkpoint, the earlier one is put back. If it ends later, both
    stay: the earlier one as `NAME.replaced`.

    Raises:
        ConfigError: another process trains there or has just made the folder, or a run is still set aside from before.
        TrainingError: the folder cannot be made, or the disk is full.
    """
    aside = folder.with_name(f"{folder.name}.replaced")
    has_earlier = folder.exists() and any(folder.iterdir())
    if has_earlier and aside.exists():
        raise ConfigError(
            f"{aside} holds a run that was being replaced", "it gone", f"to rename it, or rm -r {aside}"
        )
    if has_earlier:
        with lock_run(Run(folder)):
            pass  # nobody trains in what is to be replaced
    try:
        _make_folder(folder, aside if has_earlier else None, {**files, LOCK: ""})
    except FileExistsError as error:
        raise ConfigError(f"run {folder} was made by another process", "a new folder", "--out DIR") from error
    except OSError as error:
        raise TrainingError(
            f"cannot make {folder} ({error.strerror})", "a writable place", "--out DIR"
        ) from error
    try:
        if shutil.disk_usage(folder).free < LEAST_FREE:
            raise TrainingError(
                f"less than {LEAST_FREE // 2**20} MB are free at {folder}",
                "room for the weights",
                "another --out",
            )
        yield Run(folder)
    except BaseException:
        if not (folder / "history.csv").exists() and not any(folder.glob("checkpoints/step-*")):
            shutil.rmtree(folder)
            if has_earlier:
                aside.rename(folder)
        raise
    if has_earlier:
        shutil.rmtree(aside)


def _make_folder(folder: Path, aside: Path | None, files: Mapping[str, str]) -> None:
    """Make a folder that never exists without its files: under another name first, then renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o777 & ~mask)
        for name, text in files.items():
            write_text(beside / name, text)
        if aside is not None:
            folder.rename(aside)
        try:
            beside.rename(folder)  # replaces an empty folder, and no other
        except OSError as error:
            if folder.exists():
                raise FileExistsError(error.errno, error.strerror, str(folder)) from error
            raise
    finally:
        if beside.exists():
            shutil.rmtree(beside)


@contextlib.contextmanager
def lock_run(run: Run) -> Iterator[None]:
    """Hold a run while a process works on it; the system lets go of it however the process ends.

    Raises:
        ConfigError: another process holds it.
    """
    with (run / LOCK).open("a") as stream:
        for patience in (True, True, False):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if patience:  # somebody may only be looking whether it is held
                    time.sleep(0.1)
                    continue
                raise ConfigError(
                    f"another process trains in {run.path}",
                    "a run that nobody works on",
                    "to wait for it, or another --out",
                ) from error
        yield
