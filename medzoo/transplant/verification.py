"""Is a written file what its source and its plan make? Every tensor is made again and compared with the bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import LazyTensor, Source, source_from_arrays
from medzoo.transplant.record import PlanRecord, read_plan
from medzoo.transplant.run import digest_tensor, record_path, run
from medzoo.transplant.steps import format_shape
from medzoo.weights.source import open_file


@dataclass(frozen=True)
class TensorVerdict:
    """What came of comparing one tensor: `state` is `agrees`, `differs`, `absent` or `unplanned`.

    `absent` tensors are planned and not in the file, `unplanned` ones the other way round. `differing` counts the
    values of other bits, of `values` in all; `reason` says in words what is wrong, and is empty where nothing is.
    `is_recorded` tells whether the tensor made again has the digest that the plan recorded for it.
    """

    name: str
    state: str
    values: int = 0
    differing: int = 0
    reason: str = ""
    is_recorded: bool = True


@dataclass(frozen=True)
class Verification:
    """What came of comparing a file with its source and plan: the file's digests and a verdict for each tensor."""

    path: Path
    record: Path
    origin: str
    found: str
    expected: str
    numpy: str
    tensors: tuple[TensorVerdict, ...]

    @property
    def agreeing(self) -> tuple[str, ...]:
        """The names of the tensors whose stored bytes are those made again."""
        return tuple(verdict.name for verdict in self.tensors if verdict.state == "agrees")

    @property
    def differing(self) -> tuple[TensorVerdict, ...]:
        """The verdicts on all other tensors."""
        return tuple(verdict for verdict in self.tensors if verdict.state != "agrees")

    @property
    def unrecorded(self) -> tuple[str, ...]:
        """The names of the tensors that come out otherwise than the plan recorded."""
        return tuple(verdict.name for verdict in self.tensors if not verdict.is_recorded)

    @property
    def is_whole(self) -> bool:
        """Whether all tensors, their recorded digests and the file's own agree."""
        return not self.differing and not self.unrecorded and self.found == self.expected

    def __str__(self) -> str:
        """Print one line where all agree; else what differs, a line each."""
        return "\n".join(_describe(self))


def verify_output(path: str | Path, source: Source | None = None) -> Verification:
    """Make every tensor of a written file again from source and plan, and compare it with what the file holds.

    `path` is a file that `write` wrote, with its record beside it; `source` is what the plan was made from, None where
    it takes nothing. Recorded digests decide nothing about a tensor: they are compared apart. Of the tensors made, one
    at a time is in memory.

    Raises:
        PlanError: no record or a damaged one, a source other than the one planned for, or one that makes no finite
            values any more.
        WeightsError: no such file, or a damaged one.
        ConfigError: the file's ending is none that is written.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file {path}", "a file that `medzoo transplant` wrote")
    record_file = record_path(path)
    record = read_plan(record_file)
    if source is None:
        source = source_from_arrays({}, origin="none")
    # Our own files hold the names that the plan has; no dialect is to read anything else into them.
    stored = open_file(path, dialect="keras")
    verdicts = list(_compare_tensors(record, source, stored))
    planned = {verdict.name for verdict in verdicts}
    for name in stored:
        if name not in planned:
            verdicts.append(TensorVerdict(name, "unplanned", stored[name].spec.size, 0, "not of the plan"))
    return Verification(
        path,
        record_file,
        source.origin,
        digest_file(path),
        record.output_digest,
        record.numpy,
        tuple(verdicts),
    )


def describe_verification(verification: Verification) -> dict[str, Any]:
    """Give a verification as plain data, for `--json`; of the tensors that agree the number."""
    return {
        "plan": str(verification.record),
        "source": verification.origin,
        "found": verification.found,
        "expected": verification.expected,
        "agreeing": len(verification.agreeing),
        "differing": [
            {
                "name": verdict.name,
                "state": verdict.state,
                "values": verdict.values,
                "differing": verdict.differing,
                "reason": verdict.reason,
            }
            for verdict in verification.differing
        ],
        "unrecorded": list(verification.unrecorded),
    }


def _compare_tensors(record: PlanRecord, source: Source, stored: Source) -> Iterator[TensorVerdict]:
    """Make the plan's tensors one by one and compare each; what a model keeps is in no file and is skipped."""
    made = run(record.plan, source, allow_nonfinite=True)  # bits are compared, whatever they mean
    # No `for`: its variable would hold one tensor while the next is made.
    while (pair := next(made, None)) is not None:
        name, values = pair
        recorded = record.digests.get(name)
        is_recorded = recorded is None or recorded == digest_tensor(values)
        if name in stored:
            state, differing, reason = _compare(values, stored[name])
        else:
            state, differing, reason = "absent", 0, "not in the file"
        yield TensorVerdict(name, state, values.size, differing, reason, is_recorded)
        del pair, values


def _compare(values: np.ndarray, tensor: LazyTensor) -> tuple[str, int, str]:
    """Compare a tensor made again with the stored one: its state, how many values differ, and why in words."""
    spec = tensor.spec
    if spec.shape != values.shape:
        shapes = f"{format_shape(spec.shape)} in the file, {format_shape(values.shape)} by the plan"
        return "differs", values.size, shapes
    if spec.dtype != values.dtype.name:
        return "differs", values.size, f"{spec.dtype} in the file, {values.dtype.name} by the plan"
    differing = _count_differing(values, tensor)
    if not differing:
        return "agrees", 0, ""
    return "differs", differing, f"{differing:,} of {values.size:,} values differ"


def _count_differing(values: np.ndarray, tensor: LazyTensor) -> int:
    """Count the values whose stored bits are others: a NaN equals itself so, and 0 is not −0."""
    expected = _view_bytes(values)
    start, count, last = 0, 0, -1
    for found in _read_bytes(tensor, values.dtype):
        where = np.flatnonzero(found != expected[start : start + found.size]) + start
        indices = np.unique(where // values.itemsize)
        # A value may lie across two blocks.
        count += indices.size - int(indices.size > 0 and indices[0] == last)
        last = int(indices[-1]) if indices.size else last
        start += found.size
    return count


def _read_bytes(tensor: LazyTensor, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    """Give a stored tensor's bytes in C order, block by block where its format can."""
    if tensor.read_blocks is None or sys.byteorder == "big":
        yield _view_bytes(np.asarray(tensor.read(), dtype))
    else:
        yield from (np.frombuffer(block, np.uint8) for block in tensor.read_blocks())


def _view_bytes(values: np.ndarray) -> np.ndarray:
    """Give an array's bytes in C order."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _describe(verification: Verification) -> Iterator[str]:
    """Say what was compared, then what differs, a line each."""
    tensors, path = verification.tensors, verification.path
    agreeing = len(verification.agreeing)
    how = f"made again from {verification.origin} and {verification.record.name}"
    if verification.is_whole:
        yield f"{path}: all {len(tensors)} tensors are those {how}"
        return
    yield f"{path}: {agreeing} of {len(tensors)} tensors are those {how}"
    for verdict in verification.differing:
        yield f"{verdict.name}: {verdict.reason}"
    if verification.unrecorded:
        names = verification.unrecorded
        yield (
            f"made again, {len(names)} tensors have not the digests that the plan recorded, first {names[0]}"
            f" (recorded under NumPy {verification.numpy}, made again under {np.__version__})"
        )
    if verification.found != verification.expected:
        yield f"the file has {verification.found}, the plan recorded {verification.expected}"
