"""Moments files: per tensor its name, role, shape, mean and standard deviation, as JSON; no values."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import WeightsError
from medzoo.outputs import write_text
from medzoo.tensors import LazyTensor, Moments, Role, Source, TensorSpec
from medzoo.weights.contents import Contents

NAME = "moments"
VERSION = 1


def write_moments(source: Source, path: Path) -> None:
    """Measure every tensor of a source and write its moments file, one tensor a line, in one step.

    Means and deviations are float64, written so that they read back exactly.

    Raises:
        WeightsError: a tensor holds NaN or infinity.

    >>> import tempfile, medzoo, numpy
    >>> source = medzoo.source_from_arrays({"dense/kernel": numpy.ones((2, 3), "float32")})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_moments(source, Path(folder) / "ones.moments.json")
    ...     medzoo.open_weights(Path(folder) / "ones.moments.json")["dense/kernel"].moments()
    Moments(mean=1.0, deviation=0.0)
    """
    rows = []
    for name, tensor in source.items():
        moments = tensor.moments()
        if not (math.isfinite(moments.mean) and math.isfinite(moments.deviation)):
            raise WeightsError(f"{source.origin} holds NaN or infinity in {name!r}", "finite weights")
        spec = tensor.spec
        row = [name, spec.role, list(spec.shape), spec.dtype, moments.mean, moments.deviation]
        rows.append(f"  {json.dumps(row)}")
    head = {
        "format": f"medzoo {NAME}",
        "version": VERSION,
        "measured_from": source.digest,
        "dialect": source.dialect,
        "columns": ["name", "role", "shape", "dtype", "mean", "standard_deviation"],
    }
    opening = json.dumps(head, indent=1).removesuffix("\n}")
    write_text(path, opening + ',\n "tensors": [\n' + ",\n".join(rows) + "\n]}\n")


def read_headers(path: Path) -> Contents:
    """Read a moments file: every tensor has moments, and none has values.

    Raises:
        WeightsError: the file is damaged, no moments file, or of a later version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != f"medzoo {NAME}":
            raise KeyError("format")
        if content["version"] > VERSION:
            raise WeightsError(
                f"{path} is a moments file of version {content['version']}",
                f"version {VERSION}",
                "pip install --upgrade medzoo",
            )
        return Contents({row[0]: _tensor(row, path) for row in content["tensors"]})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no whole moments file", "one that `medzoo weights moments` wrote"
        ) from error


def digest_content(path: Path) -> str:
    """Give the SHA-256 of what a moments file says of its tensors, whatever its layout, as `sha256:<hex>`."""
    rows = json.loads(path.read_text(encoding="utf-8"))["tensors"]
    return f"sha256:{hashlib.sha256(json.dumps(rows, separators=(',', ':')).encode()).hexdigest()}"


def _tensor(row: list[Any], path: Path) -> LazyTensor:
    """Turn one row into a tensor without values."""
    name, role, shape, dtype, mean, deviation = row
    moments = Moments(float(mean), float(deviation))
    if not (math.isfinite(moments.mean) and math.isfinite(moments.deviation) and moments.deviation >= 0):
        raise ValueError(f"moments of {name}")
    spec = TensorSpec(str(name), tuple(int(size) for size in shape), str(dtype), Role(role))
    return LazyTensor(spec, _refuse(spec.name, path), lambda: moments, has_values=False)


def _refuse(name: str, path: Path) -> Callable[[], np.ndarray]:
    """Give a reading function that says where the values are to be had."""

    def read() -> np.ndarray:
        raise WeightsError(
            f"{path.name} holds moments of {name!r}, no values",
            "a weights file",
            "medzoo weights fetch CARD, then the weights themselves as --src",
        )

    return read
