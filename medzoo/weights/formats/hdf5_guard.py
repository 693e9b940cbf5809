"""A file as libhdf5 may read it: damage on which it would loop for ever is refused before it sees the bytes."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import IO, Any

#: The signature of a global heap, which holds variable-length text such as a layer's name; it has no checksum.
_HEAP = b"GCOL"
_HEAP_HEAD, _OBJECT_HEAD = 16, 16

#: No attribute that Keras writes is longer than 64 kB; a heap holds several.
LARGEST_HEAP = 64 * 2**20


class GuardedFile(io.RawIOBase):
    """A span of a file, read as if it were one; holds the file open as long as anyone reads from it.

    libhdf5 steps through a global heap by the sizes that stand in it, and a size of 0 is a step of nothing: it
    never returns, and no signal reaches Python meanwhile. Every block that it asks for passes here first.
    """

    def __init__(self, stream: IO[bytes], start: int = 0, size: int | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._start, self._position = start, 0
        self._size = stream.seek(0, io.SEEK_END) - start if size is None else size

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def seekable(self) -> bool:
        """Say that this can be sought in."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place within the span."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the place moved to, as far as the span reaches.

        Raises:
            OSError: the bytes are those of a damaged global heap.
        """
        view = memoryview(buffer).cast("B")
        read = self._fill(view, self._position)
        if view[:4] == _HEAP and read >= _HEAP_HEAD:
            (size,) = struct.unpack_from("<Q", view, 8)
            if size > LARGEST_HEAP:
                raise OSError(f"a global heap of {size:,} bytes")
            # libhdf5 reads a heap that is longer than this block in two pieces, and steps through both.
            whole = view[:read] if size <= read else memoryview(bytearray(size))
            check_heap(whole[: self._fill(whole, self._position)] if size > read else whole)
        self._position += read
        return read

    def _fill(self, view: memoryview, position: int) -> int:
        """Fill a buffer from a place of the span, as far as that reaches, and give the number of bytes."""
        count, read = max(0, min(len(view), self._size - position)), 0
        if count == 0:
            return 0  # a place beyond the end may be one beyond all numbers that a file can seek
        self._stream.seek(self._start + position)
        while read < count:
            # An unbuffered file may give less than is asked for.
            more = self._stream.readinto(view[read:count])  # type: ignore[attr-defined]
            if not more:
                break
            read += more
        return read

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def open_guarded(path: Path) -> GuardedFile:
    """Open a whole file for libhdf5.

    Raises:
        OSError: there is no such file, or it may not be read.
    """
    return GuardedFile(path.open("rb", buffering=0))


def check_heap(block: memoryview) -> None:
    """Check that the sizes in a global heap lead through it, as far as the block holds it.

    Raises:
        OSError: a size is 0, or leads out of the heap.
    """
    if len(block) < _HEAP_HEAD:
        return
    (size,) = struct.unpack_from("<Q", block, 8)
    end, place = min(size, len(block)), _HEAP_HEAD
    while place + _OBJECT_HEAD <= end:
        number, length = struct.unpack_from("<H6xQ", block, place)
        # Number 0 is the free rest, whose size counts its own head.
        step = _OBJECT_HEAD + -(-length // 8) * 8 if number else length
        if step < _OBJECT_HEAD or step > size - place:
            raise OSError(f"a global heap with an object of {length:,} bytes at byte {place} of {size:,}")
        place += step
