"""Checkpoints: every variable and all state of a run in one file, written whole or not at all."""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import TrainingError
from medzoo.outputs import write_beside

FOLDER = "checkpoints"

#: How many are kept: the last, and the one before in case that is damaged.
KEPT = 2

STATE = "state.json"


#: What a file that is not whole makes NumPy, zipfile and json say.
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Checkpoint:
    """A run's variables by name, and its state as plain data."""

    path: Path
    arrays: Mapping[str, NDArray[np.generic]]
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        """How many updates are done."""
        return int(self.state["step"])


def name_arrays(variables: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Name variables by place and path: paths alone need not be unique."""
    for index, variable in enumerate(variables):
        yield f"{index:05d}/{variable.path}", variable


def write_checkpoint(run: Path, variables: Sequence[Any], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint beside and rename it; then remove all but the last two.

    The file is a .npz whose members carry checksums, so that damage is seen when it is read.

    Raises:
        TrainingError: the disk is full, or the folder cannot be written; what was there before stays.
    """
    path = run / FOLDER / f"step-{int(state['step']):09d}.npz"
    arrays = {name: np.asarray(variable.numpy()) for name, variable in name_arrays(variables)}
    text = json.dumps(_write_floats({**state, "arrays": len(arrays)}), ensure_ascii=False, allow_nan=False)
    try:
        with write_beside(path) as beside, beside.open("wb") as stream:
            np.savez(stream, **{STATE: np.frombuffer(text.encode(), np.uint8)}, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        before = list_checkpoints(run)
        stands = f"the checkpoint of step {number_of(before[0])} stands" if before else "no checkpoint stands"
        raise TrainingError(
            f"cannot write {path} ({error.strerror}); {stands}",
            "room on the disk",
            f"to make room, then medzoo train --resume {run}",
        ) from error
    for old in list_checkpoints(run)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(run: Path) -> list[Path]:
    """List a run's checkpoints, the last one first."""
    return sorted((run / FOLDER).glob("step-*.npz"), reverse=True)


def number_of(path: Path) -> int:
    """Give the step of a checkpoint from its name; 0 for a name that has none."""
    found = re.search(r"step-(\d+)", path.name)
    return int(found[1]) if found else 0


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint whole.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        state = _read_floats(json.loads(arrays.pop(STATE).tobytes().decode()))
        if int(state["arrays"]) != len(arrays) or int(state["step"]) != number_of(path):
            raise ValueError("it is not what was written")
    except _DAMAGE as error:
        raise TrainingError(
            f"{path} is damaged ({type(error).__name__}: {error})", "a whole checkpoint"
        ) from error
    return Checkpoint(path, arrays, state)


def read_last(run: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """Read the last whole checkpoint, None where there is none, and say which later ones are damaged."""
    notes: list[str] = []
    for path in list_checkpoints(run):
        try:
            return read_checkpoint(path), tuple(notes)
        except TrainingError as error:
            notes.append(f"{error.found}; it is left out")
    return None, tuple(notes)


def sweep(run: Path, checkpoint: Checkpoint | None) -> None:
    """Remove what a run that goes on from a checkpoint cannot use: later, damaged and half-written files."""
    last = checkpoint.step if checkpoint is not None else -1
    for path in list_checkpoints(run):
        if number_of(path) > last:
            path.unlink(missing_ok=True)
    for path in (*run.glob(".part-*"), *(run / FOLDER).glob(".part-*")):
        if path.is_file():
            path.unlink(missing_ok=True)


def restore(checkpoint: Checkpoint, variables: Sequence[Any]) -> None:
    """Put a checkpoint's values into variables.

    Raises:
        TrainingError: the checkpoint is another network's.
    """
    stored = {_place(name): array for name, array in checkpoint.arrays.items()}
    wrong = [
        variable.path
        for place, variable in enumerate(variables)
        if place not in stored or stored[place].shape != tuple(variable.shape)
    ]
    if wrong or len(stored) != len(variables):
        differs = f"{wrong[0]!r} differs" if wrong else "some are too many"
        raise TrainingError(
            f"{checkpoint.path} is another network's: {len(stored)} variables, {differs}",
            f"the {len(variables)} of this run's network",
            "the run's own checkpoints, or a new run",
        )
    for place, variable in enumerate(variables):
        variable.assign(stored[place])


def _place(name: str) -> int:
    """Give a stored variable's place; its path is for people, since Keras numbers some as it likes."""
    number = name.partition("/")[0]
    return int(number) if number.isdecimal() else -1


def _write_floats(values: Any) -> Any:
    """Write what JSON lacks as text, at any depth: NaN and infinity."""
    if isinstance(values, Mapping):
        return {name: _write_floats(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_write_floats(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return {"float": str(values)}
    return values


def _read_floats(values: Any) -> Any:
    """Read what `_write_floats` wrote."""
    if isinstance(values, Mapping):
        if set(values) == {"float"}:
            return float(values["float"])
        return {name: _read_floats(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_read_floats(value) for value in values]
    return values
