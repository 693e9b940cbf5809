"""plan.json: a plan with everything that a replay needs, and the digest of every tensor it made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import medzoo
from medzoo.errors import PlanError
from medzoo.tensors import Initializer, Role, TensorSpec
from medzoo.transplant.methods import METHODS
from medzoo.transplant.plan import Plan, Step

VERSION = 1


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
        digests = {row["target"]["name"]: row["digest"] for row in content["steps"] if row["digest"]}
        return PlanRecord(plan, digests, content["numpy"], content["output_digest"])
    except FileNotFoundError as error:
        raise PlanError(f"no plan file {path}", "a plan.json that `medzoo transplant` wrote") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise PlanError(f"{path} is no whole plan", "a plan.json that `medzoo transplant` wrote") from error


def _read_step(row: Mapping[str, Any]) -> Step:
    source = _read_tensor(row["source"]) if row["source"] else None
    if not isinstance(row["options"], dict):
        raise TypeError("options are no table")
    if METHODS[row["method"]].needs != "nothing" and source is None:
        raise ValueError(f"{row['method']} without a source")
    return Step(_read_tensor(row["target"]), source, row["method"], row["options"])


def _read_tensor(content: Mapping[str, Any]) -> TensorSpec:
    initializer = Initializer(**content["initializer"]) if "initializer" in content else None
    shape = tuple(int(size) for size in content["shape"])
    return TensorSpec(content["name"], shape, content["dtype"], Role(content["role"]), initializer)
