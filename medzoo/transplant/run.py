"""Carry a plan out, one tensor in memory at a time: into a live model or into a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import medzoo
from medzoo.blocks import run_blocks
from medzoo.errors import ConfigError, PlanError
from medzoo.outputs import digest_file, write_beside, write_text
from medzoo.tensors import Source, Target, name_variables
from medzoo.transplant.adaptations import adapt
from medzoo.transplant.methods import find_method
from medzoo.transplant.plan import Plan, Step, format_shape
from medzoo.transplant.record import digest_plan, format_record, read_plan
from medzoo.weights.filling import Values, fill_and_digest
from medzoo.weights.formats.byte_ranges import numpy_dtype
from medzoo.weights.writers import SUFFIXES, amend_provenance, find_layout, find_suffix

#: As long as a digest, which takes its place.
_UNKNOWN_DIGEST = f"sha256:{'0' * 64}"

#: Values looked at together for being finite.
_CHECKED_AT_ONCE = 2**20


def run(plan: Plan, source: Source, allow_nonfinite: bool = False) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each tensor's name and values in the plan's order; kept tensors are not yielded.

    Values that are NaN or infinite in the source pass with `allow_nonfinite` alone.

    Raises:
        PlanError: the source is not the one planned for, or a value is not finite.
    """
    _check_source(plan, source)
    for step in plan.steps:
        if step.method != "keep":
            yield step.target.name, make_tensor(step, source, plan.seed, allow_nonfinite)


def _check_source(plan: Plan, source: Source) -> None:
    """Refuse a source that is not the one planned for."""
    if not plan.source_digest or not any(step.uses_source for step in plan.steps):
        return  # a plan made without the digest is carried out by who made it, with the same source
    if source.digest != plan.source_digest:
        raise PlanError(
            f"{source.origin} has digest {source.digest[:19]}…",
            f"{plan.source_digest[:19]}…, the digest of {plan.origin} when the plan was made",
            "--src with just that file; moments and weights are different files",
        )


def make_tensor(step: Step, source: Source, seed: int, allow_nonfinite: bool = False) -> np.ndarray:
    """Make one tensor: treat it at the source's shape, bring it to the target's, then to its dtype.

    Raises:
        PlanError: the source's tensor changed its shape since planning, a value is not finite, or one that is finite
            overflows the target's dtype.
    """
    given = source[step.source.name] if step.source is not None else None
    if given is not None and step.source is not None and given.spec.shape != step.source.shape:
        raise PlanError(f"{step.source.name!r} is {given.spec.shape} now, was planned as {step.source.shape}")
    values = find_method(step.method).treat(step.target, given, seed, step.options)
    values = adapt(values, step.target, step.options, step.ranges, source, seed)
    if values.size != step.target.size:
        found = f"{step.target.name!r} would get {values.size} values"
        raise PlanError(found, f"{format_shape(step.target.shape)} as planned")
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(values, dtype=numpy_dtype(step.target.dtype)).reshape(step.target.shape)
    if not is_finite(made) and (is_finite(values) or not allow_nonfinite):
        _explain_nonfinite(step, values)
    return made


def is_finite(values: np.ndarray) -> bool:
    """Tell whether all values are finite; numbers that cannot be otherwise are."""
    if values.dtype.kind in "iub":
        return True
    flat = values.reshape(-1)
    starts = range(0, flat.size, _CHECKED_AT_ONCE)
    return all(
        run_blocks(
            lambda block: bool(np.isfinite(flat[starts[block] : starts[block] + _CHECKED_AT_ONCE]).all()),
            len(starts),
        )
    )


def _explain_nonfinite(step: Step, values: np.ndarray) -> None:
    """Refuse a tensor that is not finite, and say whether its source was or the dtype is too narrow."""
    if is_finite(values):
        largest = float(np.abs(values.astype(np.float64)).max())
        raise PlanError(
            f"{step.target.name!r} reaches {largest:.4g}, beyond {step.target.dtype}",
            "values that the dtype can hold",
            "--dtype bfloat16 or float32",
        )
    raise PlanError(
        f"{step.target.name!r} would hold NaN or infinity",
        "finite weights in the source",
        "--allow-nonfinite to take them as they are",
    )


def apply(plan: Plan, source: Source, model: Any, allow_nonfinite: bool = False) -> None:
    """Fill any Keras model according to a plan; nothing is assigned unless every tensor has its place.

    Tensors are made and assigned one by one: where the source turns out to be damaged or not finite midway,
    the error leaves the model partly filled.

    Raises:
        PlanError: the model's tensors are not the plan's, the source is not the one planned for, or a value is
            not finite.

    >>> import medzoo
    >>> from medzoo import recipes
    >>> model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32)
    >>> source = medzoo.source_from_arrays({})
    >>> apply(medzoo.make_plan(source, medzoo.describe(model), recipes.random()), source, model)
    """
    variables = name_variables(model)
    planned = {step.target.name: step.target.shape for step in plan.steps}
    missing = [name for name in variables if name not in planned]
    extra = [name for name in planned if name not in variables]
    if missing or extra:
        raise PlanError(
            f"the plan has no step for {missing[:3]}, the model no tensor {extra[:3]}"
            f" ({len(missing)} and {len(extra)} in all)",
            "a plan made for this model",
            "medzoo.describe(model) as the plan's target",
        )
    for name, shape in planned.items():
        if tuple(variables[name].shape) != shape:
            found = f"{name!r} is {format_shape(tuple(variables[name].shape))} in the model"
            raise PlanError(found, f"{format_shape(shape)} as planned")
    for name, values in run(plan, source, allow_nonfinite):
        variables[name].assign(values)


def write(
    plan: Plan,
    source: Source,
    target: Target,
    path: str | Path,
    expected: Mapping[str, str] | None = None,
    allow_nonfinite: bool = False,
) -> Path:
    """Write a plan's tensors to `path` (`.weights.h5`, `.safetensors`, Keras 2's `.h5`) and its record beside it.

    Both files appear whole or not at all, the weights with their origin in the file's metadata. `expected`
    holds tensor digests of an earlier run of the same plan.
    Returns the record's path, `….plan.json`.

    Raises:
        PlanError: a tensor differs from its expected digest, has no place in the format, or keeps a value that
            only a live model has.
        ConfigError: another suffix.
    """
    path = Path(path)
    record = record_path(path)
    lay_out = find_layout(path)
    kept = [step.target.name for step in plan.steps if step.method == "keep"]
    if kept:
        raise PlanError(
            f"{kept[0]!r} has an initializer that only its model can run",
            "a live model for such tensors",
            "medzoo.apply(plan, source, model), then model.save_weights(…)",
        )
    if [step.target for step in plan.steps] != list(target.tensors.values()):
        raise PlanError("the plan's tensors are not the target's", "the target that the plan was made for")
    digests: dict[str, str] = {}
    with write_beside(path) as beside:
        places = lay_out(beside, target, _describe_origin(replace(plan, source_digest=_UNKNOWN_DIGEST)))
        done = plan

        def finish() -> None:
            """Hash the source, which takes as long as copying it, and enter its digest; beside the writing."""
            nonlocal done
            done = complete_plan(plan, source)
            _check_source(done, source)
            amend_provenance(beside, _describe_origin(done))

        tensors = _stream(plan, source, digests, allow_nonfinite)
        output_digest = fill_and_digest(beside, places, target.tensors, tensors, finish)
        _compare_digests(digests, expected or {})
        write_text(record, format_record(done, digests, output_digest))
    return record


def complete_plan(plan: Plan, source: Source) -> Plan:
    """Enter the source's digest into a plan that was made without it."""
    return plan if plan.source_digest else replace(plan, source_digest=source.digest)


def _describe_origin(plan: Plan) -> dict[str, str]:
    """Give what a weights file's metadata say of the plan that made it."""
    return {
        "source": plan.origin,
        "source_digest": plan.source_digest,
        "plan_digest": digest_plan(plan),
        "seed": str(plan.seed),
        "medzoo": medzoo.__version__,
    }


def _compare_digests(digests: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Compare a replay's tensors with those that the plan recorded."""
    different = [name for name, digest in expected.items() if digests.get(name) != digest]
    if different:
        raise PlanError(
            f"{len(different)} of {len(expected)} tensors differ from the recorded ones, first {different[0]!r}",
            "the same bytes as when the plan was made",
            "the NumPy version that the plan names",
        )


def check_output(plan: Plan, path: str | Path) -> bool:
    """Tell whether `path` already holds exactly this plan's weights; False where nothing is there.

    Raises:
        ConfigError: something else is there, which only `--overwrite` replaces.
    """
    path = Path(path)
    record = record_path(path)
    if not path.exists() and not record.exists():
        return False
    try:
        written = read_plan(record)
    except PlanError:
        written = None
    if written is not None and written.plan == plan:
        if not path.exists():
            refuse_shared_record(path)
            return False
        if digest_file(path) == written.output_digest:
            return True
    existing = path if path.exists() else record
    raise ConfigError(
        f"{existing} exists and holds something else", "a new name", "--overwrite or another --out"
    )


def refuse_shared_record(path: Path) -> None:
    """Refuse to take over the record of weights in another format, whose digest it holds.

    Raises:
        ConfigError: another file has the record that would be this one's.
    """
    record = record_path(path)
    for suffix in SUFFIXES:
        other = record.with_name(record.name.removesuffix(".plan.json") + suffix)
        if other != path and other.exists():
            raise ConfigError(f"{record} is the record of {other}", "a record for each file", "another --out")


def record_path(path: Path) -> Path:
    """Give the plan's path beside a weights file's: `a.weights.h5` → `a.plan.json`.

    Raises:
        ConfigError: the file's suffix is none that is written.
    """
    return path.with_name(path.name.removesuffix(find_suffix(path)) + ".plan.json")


def digest_tensor(values: np.ndarray) -> str:
    """Give the SHA-256 of a tensor's dtype, shape and bytes, as 64 hexadecimal digits."""
    total = hashlib.sha256(f"{values.dtype.str}{list(values.shape)}".encode())
    # As bytes: a bfloat16 has no buffer of its own.
    total.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _stream(
    plan: Plan, source: Source, digests: dict[str, str], allow_nonfinite: bool
) -> Iterator[tuple[str, Values]]:
    """Make the tensors one by one, noting each one's digest; copied ones pass block by block where they can."""
    for step in plan.steps:
        name = step.target.name
        if _passes_through(step, source):
            yield name, _pass_blocks(step, source, digests, allow_nonfinite)
        else:
            values = make_tensor(step, source, plan.seed, allow_nonfinite)
            digests[name] = digest_tensor(values)
            yield name, values


def _passes_through(step: Step, source: Source) -> bool:
    """Tell whether a step takes the source's bytes as they are, and its file can give them block by block."""
    if step.method != "copy" or step.source is None or step.options or step.ranges:
        return False
    given = source[step.source.name]
    is_same = given.spec.shape == step.source.shape == step.target.shape
    return is_same and given.spec.dtype == step.target.dtype and given.read_blocks is not None


def _pass_blocks(
    step: Step, source: Source, digests: dict[str, str], allow_nonfinite: bool
) -> Iterator[memoryview]:
    """Pass a copied tensor's bytes through, each block checked and hashed while it is in the processor's cache."""
    assert step.source is not None
    read_blocks = source[step.source.name].read_blocks
    assert read_blocks is not None
    dtype = numpy_dtype(step.target.dtype)
    total = hashlib.sha256(f"{dtype.str}{list(step.target.shape)}".encode())
    for block in read_blocks():
        values = np.frombuffer(block, dtype)
        if not allow_nonfinite and not is_finite(values):
            _explain_nonfinite(step, values)
        total.update(block)
        yield block
    digests[step.target.name] = total.hexdigest()
