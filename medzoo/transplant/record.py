"""plan.json: a plan with everything that a replay needs, and the digest of every tensor it made."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import medzoo
from medzoo.errors import PlanError
from medzoo.tensors import Initializer, Role, TensorSpec
from medzoo.transplant.adaptations import INTERPOLATIONS
from medzoo.transplant.methods import METHODS
from medzoo.transplant.plan import Plan, Step

#: Version 2 has kept ranges and the adaptations' options, which a replay must not overlook.
VERSION = 2


@dataclass(frozen=True)
class PlanRecord:
    """A plan as read from a file: the plan, the digests of its tensors, and the NumPy that made them."""

    plan: Plan
    digests: Mapping[str, str]
    numpy: str
    output_digest: str


def format_record(plan: Plan, digests: Mapping[str, str], output_digest: str = "") -> str:
    """Write a plan as JSON, one step a line."""
    head = {
        "format": "medzoo plan",
        "version": VERSION,
        "medzoo": medzoo.__version__,
        "numpy": np.__version__,
        "model": plan.model,
        "classes": plan.classes,
        "channels": plan.channels,
        "input_size": plan.input_size,
        "head": plan.head,
        "source": plan.origin,
        "source_digest": plan.source_digest,
        "dialect": plan.dialect,
        "seed": plan.seed,
        "coverage": plan.coverage,
        "output_digest": output_digest,
        "unused": list(plan.unused),
    }
    rows = [
        json.dumps(describe_step(step) | {"digest": digests.get(step.target.name)}) for step in plan.steps
    ]
    opening = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return opening + ',\n "steps": [\n  ' + ",\n  ".join(rows) + "\n]}\n"


def digest_plan(plan: Plan) -> str:
    """Give the SHA-256 of what a plan does: source, seed and every step, as `sha256:<hex>`.

    Computed before the tensors exist, so that the weights file can name the plan that made it.
    """
    head = [plan.model, plan.classes, plan.channels, plan.source_digest, plan.seed]
    content = [head, [describe_step(step) for step in plan.steps]]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def describe_step(step: Step) -> dict[str, Any]:
    """Give one step as plain data."""
    return {
        "target": _describe_tensor(step.target),
        "source": _describe_tensor(step.source) if step.source else None,
        "method": step.method,
        "options": dict(step.options),
        "ranges": list(step.ranges),
        "stage": step.stage,
    }


def _describe_tensor(spec: TensorSpec) -> dict[str, Any]:
    content = asdict(spec)
    content["shape"] = list(spec.shape)
    return {key: value for key, value in content.items() if value is not None}


def read_plan(path: str | Path) -> PlanRecord:
    """Read a plan for replay.

    Raises:
        PlanError: no such file, no plan, a damaged one, or one of a later version.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != "medzoo plan":
            raise KeyError("format")
        if content["version"] > VERSION:
            raise PlanError(f"{path} is a plan of version {content['version']}", f"version {VERSION}")
        steps = tuple(_read_step(row) for row in content["steps"])
        if not steps or int(content["seed"]) < 0:
            raise ValueError("no steps, or a negative seed")
        for name in ("source", "source_digest", "model", "numpy", "output_digest"):
            if not isinstance(content[name], str):
                raise TypeError(f"{name} is no text")
        plan = Plan(
            steps,
            tuple(content["unused"]),
            int(content["seed"]),
            content["source_digest"],
            content["source"],
            content["model"],
            int(content["classes"]),
            int(content["channels"]),
            str(content.get("dialect", "")),
            int(content.get("input_size", 0)),
            str(content.get("head", "")),
        )
        if not plan.source_digest and any(step.uses_source for step in steps):
            raise ValueError("no digest of the source")
        if len({step.target.name for step in steps}) < len(steps):
            raise ValueError("a tensor twice")
        digests = {row["target"]["name"]: row["digest"] for row in content["steps"] if row["digest"]}
        return PlanRecord(plan, digests, content["numpy"], content["output_digest"])
    except FileNotFoundError as error:
        raise PlanError(f"no plan file {path}", "a plan.json that `medzoo transplant` wrote") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PlanError(f"{path} is no whole plan", "a plan.json that `medzoo transplant` wrote") from error


def _read_step(row: Mapping[str, Any]) -> Step:
    """Read one step, and refuse what no plan holds: the file may be damaged or made by hand."""
    source = _read_tensor(row["source"]) if row["source"] else None
    options, ranges = row["options"], tuple(row.get("ranges", ()))
    if not isinstance(options, dict) or not all(isinstance(kept, str) for kept in ranges):
        raise TypeError("options are no table, or ranges no texts")
    for key, value in options.items():
        if not isinstance(value, str | int | float):
            raise TypeError(f"option {key} is no plain value")
        if key in NUMERIC and (isinstance(value, str) or not math.isfinite(value)):
            raise TypeError(f"option {key} is no number")
        if key in WHOLE and not isinstance(value, int):
            raise TypeError(f"option {key} is no whole number")
    target, method = _read_tensor(row["target"]), row["method"]
    if METHODS[method].needs != "nothing" and source is None:
        raise ValueError(f"{method} without a source")
    rank = len(target.shape)
    if (ranges and len(ranges) != rank) or not 0 <= options.get("shared", 0) < max(rank, 1):
        raise ValueError("ranges of other axes than the tensor's")
    if (method == "fresh" or "classes" in options) and target.initializer is None:
        raise ValueError("a fresh tensor without an initializer")
    if options.get("resize", INTERPOLATIONS[0]) not in INTERPOLATIONS or options.get("prefix", 0) < 0:
        raise ValueError("no resizing")
    if ("shift_of" in options and "fold" not in options) or options.get("noise", 0) < 0:
        raise ValueError("an option without its other, or a negative one")
    return Step(target, source, method, options, ranges, str(row.get("stage", "")))


#: The options whose value is a whole number.
WHOLE = frozenset({"shared", "prefix", "ddof"})

#: The options whose value is a number.
NUMERIC = frozenset({"scale", "noise", "shared", "prefix", "epsilon", "ddof"})


def _read_tensor(content: Mapping[str, Any]) -> TensorSpec:
    initializer = None
    if "initializer" in content:
        initializer = Initializer(**content["initializer"])
        if not isinstance(initializer.scale, int | float) or initializer.mode not in MODES:
            raise TypeError("an initializer without a scale, or of an unknown mode")
        if initializer.distribution not in DISTRIBUTIONS:
            raise TypeError("an initializer of an unknown distribution")
    name, dtype = content["name"], content["dtype"]
    if not isinstance(name, str) or not isinstance(dtype, str) or dtype not in DTYPES:
        raise TypeError("a tensor without a name, or of an unknown dtype")
    shape = tuple(int(size) for size in content["shape"])
    return TensorSpec(name, shape, dtype, Role(content["role"]), initializer)


#: What `medzoo.tensors.Initializer` may say.
DISTRIBUTIONS = ("constant", "uniform", "normal", "truncated_normal")
MODES = ("absolute", "fan_in", "fan_out", "fan_avg")

#: What the tensors of a source or of a target may be made of.
DTYPES = frozenset({"bool", "bfloat16"}).union(
    f"{kind}{bits}"
    for kind in ("int", "uint", "float")
    for bits in (8, 16, 32, 64)
    if (kind, bits) != ("float", 8)
)
