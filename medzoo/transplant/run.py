"""Carry a plan out, one tensor in memory at a time: into a live model or into a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import medzoo
from medzoo.errors import ConfigError, PlanError
from medzoo.outputs import digest_file, write_beside, write_text
from medzoo.tensors import Source, Target, name_variables
from medzoo.transplant.channels import sum_channels
from medzoo.transplant.methods import find_method
from medzoo.transplant.plan import Plan, Step, format_shape
from medzoo.transplant.record import digest_plan, format_record, read_plan
from medzoo.weights.writers import SUFFIXES, find_suffix, find_writer


def run(plan: Plan, source: Source) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each tensor's name and values in the plan's order; kept tensors are not yielded.

    Raises:
        PlanError: the source is not the one planned for, or a value is not finite.
    """
    if any(step.uses_source for step in plan.steps) and source.digest != plan.source_digest:
        raise PlanError(
            f"{source.origin} has digest {source.digest[:19]}…",
            f"{plan.source_digest[:19]}…, the digest of {plan.origin} when the plan was made",
            "--src with just that file; moments and weights are different files",
        )
    for step in plan.steps:
        if step.method != "keep":
            yield step.target.name, make_tensor(step, source, plan.seed)


def make_tensor(step: Step, source: Source, seed: int) -> np.ndarray:
    """Make one tensor: treat it at the source's shape, then adapt channels and dtype.

    Raises:
        PlanError: the source's tensor changed its shape since planning, or a value is not finite.
    """
    given = source[step.source.name] if step.source is not None else None
    if given is not None and step.source is not None and given.spec.shape != step.source.shape:
        raise PlanError(f"{step.source.name!r} is {given.spec.shape} now, was planned as {step.source.shape}")
    values = find_method(step.method).treat(step.target, given, seed, step.options)
    if step.options.get("channels") == "sum":
        values = sum_channels(values, step.target.shape[-2])
    if values.size != step.target.size:
        found = f"{step.target.name!r} would get {values.size} values"
        raise PlanError(found, f"{format_shape(step.target.shape)} as planned")
    values = np.ascontiguousarray(values, dtype=step.target.dtype).reshape(step.target.shape)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise PlanError(f"{step.target.name!r} would hold NaN or infinity", "finite weights in the source")
    return values


def apply(plan: Plan, source: Source, model: Any) -> None:
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
    for name, values in run(plan, source):
        variables[name].assign(values)


def write(
    plan: Plan,
    source: Source,
    target: Target,
    path: str | Path,
    expected: Mapping[str, str] | None = None,
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
    writer = find_writer(path)
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
    provenance = {
        "source": plan.origin,
        "source_digest": plan.source_digest,
        "plan_digest": digest_plan(plan),
        "seed": str(plan.seed),
        "medzoo": medzoo.__version__,
    }
    with write_beside(path) as beside:
        writer(beside, target, _digested(run(plan, source), digests), provenance)
        _compare_digests(digests, expected or {})
        text = format_record(plan, digests, digest_file(beside))
        write_text(record, text)
    return record


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
            _refuse_shared_record(path, record)
            return False
        if digest_file(path) == written.output_digest:
            return True
    existing = path if path.exists() else record
    raise ConfigError(
        f"{existing} exists and holds something else", "a new name", "--overwrite or another --out"
    )


def _refuse_shared_record(path: Path, record: Path) -> None:
    """Refuse to take over the record of the same weights in the other format, whose digest it holds."""
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
    total.update(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
    return total.hexdigest()


def _digested(
    tensors: Iterator[tuple[str, np.ndarray]], digests: dict[str, str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Pass tensors through, noting each one's digest."""
    for name, values in tensors:
        digests[name] = digest_tensor(values)
        yield name, values
