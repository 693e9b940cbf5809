"""One weights file into another format, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

import medzoo
from medzoo.errors import WeightsError
from medzoo.outputs import write_beside
from medzoo.tensors import LazyTensor, Source, Target, lazy_tensor
from medzoo.weights.dialects.dialect import invert
from medzoo.weights.dialects.keras import KERAS
from medzoo.weights.dialects.table import find_dialect
from medzoo.weights.formats.moments import write_moments
from medzoo.weights.writers import Values, amend_provenance, find_writer, write_safetensors

#: As long as a digest, which takes its place.
_UNKNOWN_DIGEST = f"sha256:{'0' * 64}"

#: What a converted file may end in beside the writers' own suffixes.
MOMENTS_SUFFIX = ".moments.json"


def convert(source: Source, path: str | Path, target: Target | None = None, to: str | None = None) -> Path:
    """Write all tensors of a source to a file in the format of its suffix, one in memory at a time.

    Names and axes are Keras's, as `open_weights` gives them, or those of the dialect `to`. With a network as
    `target` the source must hold exactly its tensors, and they are written in its order. A `.weights.h5` needs
    one, since Keras files tensors by class and order, not by name; so does an `.h5` that is to be loaded by
    order. `.moments.json` takes means and deviations alone. The file appears whole or not at all, in the place
    of an existing one, with the source's digest in its metadata.

    Raises:
        WeightsError: a source without values, not the target's tensors, or no names in that dialect.
        PlanError: a tensor that the format cannot hold.
        ConfigError: another suffix.

    >>> import tempfile, numpy
    >>> source = medzoo.source_from_arrays({"dense/kernel": numpy.ones((2, 3), "float32")})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     list(medzoo.open_weights(convert(source, Path(folder) / "a.h5")))
    ['dense/kernel']
    """
    path = Path(path)
    if not isinstance(source, Source):
        raise WeightsError(f"a {type(source).__name__} as source", "weights that open_weights gave")
    dialect = None if to in (None, KERAS.name) else find_dialect(to)
    tensors: Mapping[str, LazyTensor] = source.tensors if target is None else _order(source, target)
    if dialect is not None:
        tensors = invert(tensors, dialect)
    if path.name.endswith(MOMENTS_SUFFIX):
        write_moments(replace(source, tensors=tensors), path)
        return path
    writer = find_writer(path)
    storage: Mapping[str, str] = {}
    if path.name.endswith(".weights.h5"):
        if target is None or dialect is not None:
            raise WeightsError(
                f"a .weights.h5 for {source.origin} needs its network, since Keras files tensors by class and order",
                "Keras's names and a network of the catalogue",
                "--model MODEL, or OUT.safetensors",
            )
        storage = target.storage
    for tensor in tensors.values():
        if not tensor.has_values:
            tensor.read()  # raises, saying where the values are to be had
    if writer is not write_safetensors:
        tensors = {name: _widen(tensor) for name, tensor in tensors.items()}
    specs = {name: tensor.spec for name, tensor in tensors.items()}
    provenance = {
        "source": source.origin,
        "source_digest": _UNKNOWN_DIGEST,
        "source_format": source.format,
        "dialect": to or KERAS.name,
        "medzoo": medzoo.__version__,
    }
    # Hashing a gigabyte takes as long as copying it, and neither needs the other.
    with write_beside(path) as beside, ThreadPoolExecutor(1) as pool:
        digest = pool.submit(lambda: source.digest)
        if writer is write_safetensors:
            write_safetensors(beside, Target(specs, {}, storage), _pass_all(tensors), provenance)
        else:
            writer(beside, Target(specs, {}, storage), _read_all(tensors), provenance)
        amend_provenance(beside, provenance | {"source_digest": digest.result()})
    return path


def _order(source: Source, target: Target) -> dict[str, LazyTensor]:
    """Give the source's tensors in the target's order; the names and shapes must be exactly the target's."""
    missing = [name for name in target.tensors if name not in source]
    extra = [name for name in source if name not in target.tensors]
    if missing or extra:
        raise WeightsError(
            f"{source.origin} lacks {missing[:3]} and has {extra[:3]} ({len(missing)} and {len(extra)} in all)",
            f"exactly the tensors of {target.model or 'the network'}",
            "medzoo transplant, which says what becomes of each tensor",
        )
    for name, spec in target.tensors.items():
        if source[name].spec.shape != spec.shape:
            raise WeightsError(
                f"{name!r} is {source[name].spec.shape} in {source.origin}",
                f"{spec.shape}, as in {target.model or 'the network'}",
                "medzoo transplant, which adapts shapes",
            )
    return {name: source[name] for name in target.tensors}


def _widen(tensor: LazyTensor) -> LazyTensor:
    """Give a bfloat16 tensor as float32, which holds every value of it; HDF5 has no bfloat16."""
    if tensor.spec.dtype != "bfloat16":
        return tensor
    return lazy_tensor(replace(tensor.spec, dtype="float32"), lambda: tensor.read().astype(np.float32))


def _read_all(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, np.ndarray]]:
    """Read the tensors one by one."""
    for name, tensor in tensors.items():
        yield name, tensor.read()


def _pass_all(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, Values]]:
    """Give the tensors one by one, as blocks of bytes where their file holds them as they are to be written."""
    for name, tensor in tensors.items():
        yield name, tensor.read_blocks() if tensor.read_blocks else tensor.read()
