"""Moments files: per tensor its name, role, shape, mean and standard deviation, as JSON; no values.

Version 2 adds a table `covariances` beside the rows: of each depthwise kernel, by name, the upper triangle of what
`medzoo.tensors.measure_covariance` gives, row by row. A file without such a kernel is written as version 1, which
differs in nothing else, so that everything that reads that goes on to read it. `digest_content` is of the rows alone
and the same for both: means and deviations of all tensors tell one set of weights from another.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import WeightsError
from medzoo.outputs import write_text
from medzoo.tensors import LazyTensor, Moments, Role, Source, TensorSpec, has_window
from medzoo.weights.contents import Contents

NAME = "moments"
VERSION = 2

#: The version of a file without covariances.
_VERSION_OF_ROWS = 1


def write_moments(source: Source, path: Path) -> None:
    """Measure every tensor of a source and write its moments file, one tensor a line, in one step.

    Means, deviations and the covariances of depthwise kernels are float64, written so that they read back exactly.

    Raises:
        WeightsError: a tensor holds NaN or infinity.

    >>> import tempfile, medzoo, numpy
    >>> source = medzoo.source_from_arrays({"dense/kernel": numpy.ones((2, 3), "float32")})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_moments(source, Path(folder) / "ones.moments.json")
    ...     medzoo.open_weights(Path(folder) / "ones.moments.json")["dense/kernel"].moments()
    Moments(mean=1.0, deviation=0.0)
    """
    rows, triangles = [], []
    for name, tensor in source.items():
        moments = tensor.moments()
        if not (math.isfinite(moments.mean) and math.isfinite(moments.deviation)):
            raise WeightsError(f"{source.origin} holds NaN or infinity in {name!r}", "finite weights")
        spec = tensor.spec
        row = [name, spec.role, list(spec.shape), spec.dtype, moments.mean, moments.deviation]
        rows.append(f"  {json.dumps(row)}")
        if tensor.covariance is not None and is_depthwise(spec):
            covariance = tensor.covariance()
            triangle = covariance[np.triu_indices(len(covariance))].tolist()
            triangles.append(f"  {json.dumps(name)}: {json.dumps(triangle)}")
    head = {
        "format": f"medzoo {NAME}",
        "version": VERSION if triangles else _VERSION_OF_ROWS,
        "measured_from": source.digest,
        "dialect": source.dialect,
        "columns": ["name", "role", "shape", "dtype", "mean", "standard_deviation"],
    }
    opening = json.dumps(head, indent=1).removesuffix("\n}")
    table = ',\n "covariances": {\n' + ",\n".join(triangles) + "\n}" if triangles else ""
    write_text(path, opening + ',\n "tensors": [\n' + ",\n".join(rows) + "\n]" + table + "}\n")


def is_depthwise(spec: TensorSpec) -> bool:
    """Tell whether a tensor is, by Keras's name and axes, a kernel with one filter for each channel.

    A convolution with a single filter looks the same, and its window may as well have a covariance.

    >>> is_depthwise(TensorSpec("conv_dw_1/kernel", (3, 3, 24, 1), "float32", Role.KERNEL))
    True
    """
    last = spec.name.rpartition("/")[2]
    is_kernel = spec.role is Role.KERNEL and last == "kernel" and spec.shape[-1:] == (1,)
    return has_window(spec.shape) and (is_kernel or last == "depthwise_kernel")


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
        tensors = {row[0]: _tensor(row, path) for row in content["tensors"]}
        return Contents(tensors | _add_covariances(tensors, content.get("covariances", {})))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no whole moments file", "one that `medzoo weights moments` wrote"
        ) from error


def digest_content(path: Path) -> str:
    """Give the SHA-256 of a moments file's rows, whatever its layout and its covariances, as `sha256:<hex>`."""
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


def _add_covariances(
    tensors: Mapping[str, LazyTensor], triangles: Mapping[str, list[float]]
) -> dict[str, LazyTensor]:
    """Give the tensors whose covariance is in the table, with it."""
    return {
        name: replace(tensors[name], covariance=_unfold(tensors[name].spec, numbers))
        for name, numbers in triangles.items()
    }


def _unfold(spec: TensorSpec, numbers: list[float]) -> Callable[[], np.ndarray]:
    """Give a function that makes the covariance of a kernel's window from its upper triangle.

    Raises:
        ValueError: it is none: another size, numbers that are not finite, or a variance below 0.
    """
    positions = spec.shape[0] * spec.shape[1] if has_window(spec.shape) else 0
    rows, columns = np.triu_indices(positions)
    triangle = np.array([float(number) for number in numbers])
    if not positions or triangle.shape != rows.shape:
        raise ValueError(f"covariance of {spec.name}")
    if not np.isfinite(triangle).all() or triangle[rows == columns].min() < 0:
        raise ValueError(f"covariance of {spec.name}")

    def make() -> np.ndarray:
        covariance = np.empty((positions, positions))
        covariance[rows, columns] = covariance[columns, rows] = triangle
        return covariance

    return make


def _refuse(name: str, path: Path) -> Callable[[], np.ndarray]:
    """Give a reading function that says where the values are to be had."""

    def read() -> np.ndarray:
        raise WeightsError(
            f"{path.name} holds moments of {name!r}, no values",
            "a weights file",
            "medzoo weights fetch CARD, then the weights themselves as --src",
        )

    return read
