"""Tensors put into their places in a file that is laid out, hashed behind the writing by a second thread."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from medzoo.errors import PlanError
from medzoo.tensors import TensorSpec
from medzoo.weights.formats.byte_ranges import numpy_dtype

#: A tensor's values, or their bytes (little-endian, C order) block by block where they only pass through.
Values = np.ndarray | Iterator[memoryview]

#: Bytes hashed at once.
_BLOCK = 2**20


def count_bytes(spec: TensorSpec) -> int:
    """Count the bytes of a tensor's values.

    >>> from medzoo.tensors import Role
    >>> count_bytes(TensorSpec("a/kernel", (3, 3), "float16", Role.KERNEL))
    18
    """
    return spec.size * numpy_dtype(spec.dtype).itemsize


class Progress:
    """How much of a file is final, counted from its first byte: told by the writing thread, awaited by the hashing."""

    def __init__(self) -> None:
        """Begin with nothing final."""
        self._changed = threading.Condition()
        self._final = 0
        self._is_over = False
        self.is_abandoned = False

    def advance(self, final: int) -> None:
        """Say that the first `final` bytes will not change any more."""
        with self._changed:
            self._final = max(self._final, final)
            self._changed.notify()

    def end(self, abandoned: bool = False) -> None:
        """Say that nothing more will be written: all that there is, is final, or of no use if `abandoned`."""
        with self._changed:
            self._is_over, self.is_abandoned = True, abandoned
            self._changed.notify()

    def wait(self, beyond: int) -> int | None:
        """Wait until more than `beyond` bytes are final and count them; None where nothing more will be written."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._final > beyond)
            return None if self._is_over else self._final


def fill(
    path: Path,
    places: Mapping[str, int],
    specs: Mapping[str, TensorSpec],
    tensors: Iterable[tuple[str, Values]],
    progress: Progress | None = None,
) -> None:
    """Write tensors into a file that has room for them, each from its own first byte on.

    `places` gives each tensor's first byte, `specs` its shape and dtype; `progress` is told how far the file is final.

    Raises:
        PlanError: a tensor that has no place, is of another shape or dtype, comes twice, or is missing.
    """
    # Places need not rise as names do: what is final ends at the first place that is still to be filled.
    left = dict(sorted(places.items(), key=lambda place: place[1]))
    with path.open("rb+", buffering=0) as stream:
        for name, values in tensors:
            if name not in left:
                raise PlanError(
                    f"{name!r} has no place in the file, or comes twice", "the target's tensors, each once"
                )
            stream.seek(left.pop(name))
            _write_values(stream, values, specs[name])
            if progress is not None and left:
                progress.advance(next(iter(left.values())))
    if left:
        raise PlanError(
            f"{next(iter(left))!r} is missing ({len(left)} in all)", "all of the target's tensors"
        )


def _write_values(stream: IO[bytes], values: Values, spec: TensorSpec) -> None:
    """Write one tensor where the stream stands.

    Raises:
        PlanError: it has another shape, dtype or length.
    """
    if not isinstance(values, np.ndarray):
        count = 0
        for block in values:
            count += len(block)
            _write_whole(stream, block)
        if count != count_bytes(spec):
            raise PlanError(
                f"{spec.name!r} has {count} bytes",
                f"{count_bytes(spec)} for {spec.dtype} of shape {spec.shape}",
            )
        return
    if (values.shape, values.dtype.name) != (spec.shape, spec.dtype):
        raise PlanError(
            f"{spec.name!r} has {values.dtype} values of shape {values.shape}",
            f"{spec.dtype} of shape {spec.shape}, as its header says",
        )
    if values.dtype.byteorder == ">":
        values = values.astype(values.dtype.newbyteorder("<"))
    # A view of the bytes, not a copy of them: a tensor may be as large as half the memory.
    _write_whole(stream, np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def _write_whole(stream: IO[bytes], content: memoryview) -> None:
    """Write all bytes; a raw file takes 2 GB at once at the most."""
    done = 0
    while done < len(content):
        done += stream.write(content[done:])


def fill_and_digest(
    path: Path,
    places: Mapping[str, int],
    specs: Mapping[str, TensorSpec],
    tensors: Iterable[tuple[str, Values]],
    finish: Callable[[], object],
) -> str:
    """Fill a file as `fill` does and give the SHA-256 of its bytes as `sha256:<hex>`.

    A second thread first calls `finish`, which makes final all of the file but the tensors' values (it may take its
    time: hash a source and put the digest into the file's metadata), and then hashes what is written, just behind the
    writing. An error in either thread ends both, and is raised here.

    Raises:
        PlanError: as from `fill`.
    """
    from concurrent.futures import ThreadPoolExecutor

    progress = Progress()

    def finish_and_hash() -> str:
        finish()
        return digest_behind(path, progress)

    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(finish_and_hash)

        def watch() -> Iterator[tuple[str, Values]]:
            for tensor in tensors:
                if digest.done():
                    digest.result()  # it failed: nothing else ends it before the writing
                yield tensor

        try:
            fill(path, places, specs, watch(), progress)
        except BaseException:
            progress.end(abandoned=True)
            raise
        progress.end()
        return digest.result()


def digest_behind(path: Path, progress: Progress) -> str:
    """Give the SHA-256 of a file while it is written, as `sha256:<hex>`; only what is final is read."""
    total = hashlib.sha256()
    buffer = memoryview(bytearray(_BLOCK))
    position = 0
    with path.open("rb", buffering=0) as stream:
        while (final := progress.wait(position)) is not None:
            while position < final:
                count = stream.readinto(buffer[: min(_BLOCK, final - position)])
                total.update(buffer[:count])
                position += count
        while not progress.is_abandoned and (count := stream.readinto(buffer)):
            total.update(buffer[:count])
    return f"sha256:{total.hexdigest()}"
