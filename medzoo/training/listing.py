"""The runs of a folder: how far each is and what it scored, read from its files without a framework."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medzoo.errors import ConfigError, MedzooError, TrainingError
from medzoo.training.checkpoints import STATE, list_checkpoints
from medzoo.training.monitoring.history import find_best, read_history
from medzoo.training.rundir import FILES

#: How deep runs are looked for: runs/study/network/run.
_DEPTH = 3

_CONFIG = "config.toml"

#: Names that other programs' folders have too, which make no run.
_COMMON = {"checkpoints", "events", "lock"}


State = Literal["finished", "running", "stopped", "broken"]


@dataclass(frozen=True)
class Score:
    """A metric on the test images with its 95 % interval; None where it is undefined, or has no interval."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class RunState:
    """How far a run is, and what came out.

    `state` is finished, running (a process holds it), stopped (`medzoo train --resume` goes on) or broken; `note`
    says why it is broken, or what a stopped run lost. `step` counts the updates done: of a stopped run those that it
    goes on from. Updates in all, the best epoch so far, the network and the transplant's mode are None or "" where
    nothing tells them.
    """

    path: Path
    name: str
    state: State
    note: str = ""
    step: int = 0
    steps: int | None = None
    best_epoch: float | None = None
    score: Score | None = None
    network: str = ""
    mode: str = ""


def list_runs(folder: str | os.PathLike[str]) -> list[RunState]:
    """List the runs in a folder, or the one that it is, by name with numbers in order; nothing is changed.

    Subfolders are looked through to a depth of three; other folders than runs' are passed over.

    Raises:
        ConfigError: there is no such folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     list_runs(folder)
    []
    """
    root = Path(folder)
    if not root.is_dir():
        found = f"{root} is a file" if root.exists() else f"there is no folder {root}"
        raise ConfigError(found, "a folder of runs", "`medzoo train`, which makes runs/NAME")
    paths: dict[Path, Path] = {}  # by where they really are: a link may lead to a run a second time
    for path in sorted(_find_runs(root, _DEPTH), key=lambda path: _order(str(path.relative_to(root)))):
        paths.setdefault(path.resolve(), path)
    return [read_run(path, str(path.relative_to(root)) if path != root else "") for path in paths.values()]


def read_run(path: str | os.PathLike[str], name: str = "") -> RunState:
    """Read one run's state; `name` is the folder's own where none is given.

    Raises:
        ConfigError: the folder is no run.
    """
    path = Path(path)
    if not path.is_dir() or not _is_run(path):
        raise ConfigError(f"{path} is no run", "a folder that medzoo train made", "medzoo runs")
    files, rows = _Files(path), _read_rows(path)
    step, steps, lost = _read_checkpoints(path)
    done = int(rows[-1].get("step", 0)) if rows else 0
    note = files.check_config() or files.check_results()
    state: State = "stopped"
    if is_locked(path):
        state, note, step = "running", "", max(step, done)  # what is not there yet may come
    elif note:
        state = "broken"
    elif files.is_finished:
        state, step = "finished", _read_whole(files.environment.get("steps")) or done
    else:
        note = lost
    return RunState(
        path=path,
        name=name or path.resolve().name,
        state=state,
        note=note,
        step=step,
        steps=steps,
        best_epoch=_find_best_epoch(files, rows),
        score=_read_score(files.metrics),
        network=_read_text(files.config, "model", "name"),
        mode=_read_mode(files.config),
    )


def is_locked(run: Path) -> bool:
    """Tell whether a process works on a run; the lock is tried for an instant, shared, and left as it was."""
    try:
        with (run / "lock").open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class _Files:
    """The small files of a run, read once; what cannot be read is empty, with its reason in `reasons`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reasons: dict[str, str] = {}
        self.config = self._read(_CONFIG, tomllib.loads, "TOML")
        self.metrics = self._read("metrics.json", json.loads, "JSON")
        self.environment = self._read("environment.json", json.loads, "JSON")
        self.is_finished = (path / "metrics.json").exists()

    def _read(self, name: str, parse: Any, form: str) -> Mapping[str, Any]:
        """Read a file of nested keys."""
        try:
            content = parse((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.reasons[name] = f"{name} is missing"
        except OSError as error:
            self.reasons[name] = f"{name} cannot be read ({error.strerror})"
        except ValueError as error:
            self.reasons[name] = f"{name} is no {form} ({error})"
        else:
            if isinstance(content, dict):
                return content
            self.reasons[name] = f"{name} holds no sections"
        return {}

    def check_config(self) -> str:
        """Say why nothing can go on from the configuration; "" where something can."""
        if _CONFIG in self.reasons:
            return self.reasons[_CONFIG]
        if self.is_finished:  # an older release's settings are no harm to what came out
            return ""
        from medzoo.training.config import make_config

        try:
            make_config(self.config)
        except MedzooError as error:
            return f"{_CONFIG}: {error}"
        return ""

    def check_results(self) -> str:
        """Say what a finished run lacks; "" for a run that is whole or not finished."""
        if not self.is_finished:
            return ""
        if "metrics.json" in self.reasons:
            return self.reasons["metrics.json"]
        absent = [name for name in ("best.weights.h5", "predictions.csv") if not (self.path / name).is_file()]
        return f"{absent[0]} is missing" if absent else ""


def _read_checkpoints(path: Path) -> tuple[int, int | None, str]:
    """Read the step that a run would go on from, its steps in all, and what is lost, for a person."""
    damaged: list[str] = []
    for checkpoint in list_checkpoints(path):
        state = read_state(checkpoint)
        step = _read_whole(state.get("step"))
        if step is not None:
            note = f"{' and '.join(damaged)} damaged, the one before is taken" if damaged else ""
            return step, _read_whole(state.get("steps")), note
        damaged.append(checkpoint.name)
    lost = f"{' and '.join(damaged)} damaged" if damaged else "no checkpoint"
    return 0, None, f"{lost}: it would start anew"


def _read_rows(path: Path) -> list[dict[str, float]]:
    """Read a run's history; none where there is none yet, or it is damaged: the checkpoint holds it too."""
    try:
        return read_history(path)
    except TrainingError:
        return []


def _find_best_epoch(files: _Files, rows: list[dict[str, float]]) -> float | None:
    """Find the best epoch, as a finished run records it, else by its history so far."""
    recorded = _read_number(files.environment.get("best_epoch")) if files.is_finished else None
    index = find_best(rows, _read_text(files.config, "validation", "metric") or "auroc")
    return recorded if recorded is not None or index is None else rows[index].get("epoch")


def read_state(checkpoint: Path) -> Mapping[str, Any]:
    """Read a checkpoint's state without its arrays; empty where the file is damaged."""
    try:
        with np.load(checkpoint, allow_pickle=False) as stored:
            state = json.loads(stored[STATE].tobytes().decode())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    return state if isinstance(state, dict) else {}


def _find_runs(folder: Path, depth: int) -> Iterator[Path]:
    """Find the runs in a folder; nothing within a run is one."""
    if _is_run(folder):
        yield folder
        return
    if depth == 0:
        return
    try:
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return
    for entry in inside:
        yield from _find_runs(entry, depth - 1)


def _is_run(folder: Path) -> bool:
    """Tell whether a folder is a run: its files, or a configuration alone that is one of ours."""
    try:
        ours = [name for name in FILES if name not in _COMMON and (folder / name).exists()]
    except OSError:
        return False
    if len(ours) != 1:
        return len(ours) > 1
    if ours != [_CONFIG]:
        return False
    try:
        content = tomllib.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return {"data", "model", "training"} <= set(content)


def _order(name: str) -> list[tuple[int, str]]:
    """Give what sorts run-2 before run-10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _read_score(metrics: Mapping[str, Any]) -> Score | None:
    """Read the test AUROC, or the first metric where a run has none; None without a test split."""
    entries = metrics.get("test")
    if not isinstance(entries, dict) or not entries:
        return None
    metric = "auroc" if "auroc" in entries else next(iter(entries))
    entry = entries[metric]
    if not isinstance(entry, dict):
        return None
    value, low, high = (_read_number(entry.get(name)) for name in ("value", "low", "high"))
    return Score(metric, value, low, high, _read_whole(entry.get("n")) or 0)


def _read_mode(config: Mapping[str, Any]) -> str:
    """Read how the network was initialised."""
    rules = _read_text(config, "weights", "rules")
    if rules:
        return f"rules {rules}"
    source = _read_text(config, "weights", "src")
    return _read_text(config, "weights", "mode") or ("copy" if source else "random")


def _read_text(content: Mapping[str, Any], section: str, name: str) -> str:
    """Read a text of nested keys, "" where there is none."""
    inside = content.get(section)
    value = inside.get(name) if isinstance(inside, dict) else None
    return value if isinstance(value, str) else ""


def _read_number(value: Any) -> float | None:
    """Give a number as it is, and None for anything else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read_whole(value: Any) -> int | None:
    """Give a whole number as it is, and None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
