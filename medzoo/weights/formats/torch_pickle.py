"""Unpickling of PyTorch's files without PyTorch: names are looked up in a table, and nothing is ever imported."""

from __future__ import annotations

import io
import pickle
from typing import IO, Any

from medzoo.errors import WeightsError
from medzoo.weights.formats.torch_names import look_up
from medzoo.weights.formats.torch_scan import REMEDY, refuse_name, scan
from medzoo.weights.formats.torch_tensors import ITEM_SIZES, Dtype, Storage

#: What damaged or hostile pickles make the unpickler raise.
_DAMAGE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
)


class _Unpickler(pickle.Unpickler):
    """Python's unpickler with every way to the outside closed; storages are noted, not read."""

    def __init__(self, content: bytes, where: str) -> None:
        super().__init__(io.BytesIO(content), fix_imports=False, encoding="latin-1")
        self.where = where
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """Look a name up in the table.

        Raises:
            WeightsError: it is not there.
        """
        found = look_up(module, name)
        if found is None:
            raise refuse_name(self.where, f"{module}.{name}", "")
        return found

    def persistent_load(self, pid: Any, /) -> Any:
        """Note a storage; a module's class comes with its source text, which is passed over."""
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise pickle.UnpicklingError("a reference to something else than a storage")
        _, kind, key, _, count, *views = pid
        if not isinstance(kind, Dtype) or not isinstance(key, str) or not _is_count(count):
            raise pickle.UnpicklingError("a storage without type, key and size")
        known = self.storages.setdefault(key, Storage(key, kind.name, count, 0, count))
        if known.count * ITEM_SIZES[known.dtype] != count * ITEM_SIZES[kind.name]:
            raise pickle.UnpicklingError(f"a storage {key!r} of two sizes")
        start, length = 0, count
        if views and views[0] is not None:
            _, start, length = views[0]
        if not _is_count(start) or not _is_count(length) or start + length > count:
            raise pickle.UnpicklingError(f"a view that its storage {key!r} does not hold")
        return Storage(key, kind.name, count, start, length)


def _is_count(value: object) -> bool:
    """Tell whether a value can count a file's values."""
    return type(value) is int and 0 <= value < 2**60


def unpickle(stream: IO[bytes], where: str) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from a stream, and stop behind it: the object, and every storage that it refers to.

    `where` names the pickle in errors. The pickle is scanned as a whole before any of it is carried out.

    Raises:
        WeightsError: it is damaged, or asks for anything that no weights file needs.
    """
    start = stream.tell()
    try:
        end = scan(stream, where)
        stream.seek(start)
        unpickler = _Unpickler(stream.read(end - start), where)
        return unpickler.load(), unpickler.storages
    except _DAMAGE as error:
        reason = str(error)[:200] or type(error).__name__
        raise WeightsError(
            f"{where} is damaged, or no weights file ({reason})", "a file that torch.save wrote", REMEDY
        ) from error
