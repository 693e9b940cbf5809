"""The names that PyTorch's files ask for, and what stands for each: never the thing itself."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.weights.formats.torch_tensors import ITEM_SIZES, Dtype, Sealed, Storage, Tensor, Unreadable


class _NeverCalled(type):
    """The class of placeholders: an object is made of one as unpickling does it, never by a call."""

    def __call__(cls, *_: object) -> Any:
        """Refuse: calling a class of the real name would run its constructor."""
        raise pickle.UnpicklingError("a call of a class, which no weights file needs")


class Inert(metaclass=_NeverCalled):
    """A placeholder for any object that is no tensor; it keeps the attributes a file gives it, and does nothing."""

    state: dict[str, Any]

    def __setstate__(self, state: object) -> None:
        """Keep the attributes as data."""
        kept = state[0] if isinstance(state, tuple) and state else state
        self.__dict__["state"] = dict(kept) if isinstance(kept, dict) else {}


class Table(Sealed, dict[Any, Any]):
    """A dictionary in the file's order, whose own attributes (PyTorch's `_metadata`) are passed over."""

    def __setstate__(self, state: object) -> None:
        """Pass over attributes."""


@dataclass(frozen=True, eq=False)
class _Function(Sealed):
    """Stands for a function or a class that a file calls, and does our own part of what that would do."""

    act: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        """Call our own function."""
        return self.act(*args)


@dataclass(eq=False)
class _NumpyDtype:
    """A NumPy dtype as a pickle writes it: its code first, its byte order as a state."""

    code: str
    order: str = "<"

    def __setstate__(self, state: object) -> None:
        """Take the byte order, the second part of the state."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = state[1]


def _make_opaque(*_: object) -> Inert:
    """Give an object that holds nothing, whatever it was made from."""
    return object.__new__(Inert)


def _make_table(*args: Any) -> Table:
    """Give a dictionary; Python 2 hands over its items as a list of pairs."""
    if args and isinstance(args[0], list | dict):
        return Table(args[0])
    return Table()


def _make_texts(values: Any = ()) -> set[str]:
    """Give the set of the texts among some values; nothing else is looked up in a set."""
    return {value for value in values if isinstance(value, str)}


def _make_size(values: Any = ()) -> tuple[int, ...]:
    """Give a tensor's size."""
    if not isinstance(values, tuple | list) or not all(type(value) is int for value in values):
        raise pickle.UnpicklingError("a size that is no list of whole numbers")
    return tuple(values)


def _encode(text: Any, encoding: Any = "") -> bytes:
    """Give the bytes that Python 3 writes as a text below protocol 3."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("an encoding other than latin1")
    return text.encode("latin-1")


def _make_dtype(code: Any, *_: object) -> _NumpyDtype:
    """Give a NumPy dtype by its code."""
    return _NumpyDtype(code if isinstance(code, str) else "")


def _make_scalar(dtype: Any, content: Any = b"") -> Any:
    """Give a NumPy number as a plain one; anything else holds nothing."""
    content = content.encode("latin-1") if isinstance(content, str) else content
    code = dtype.code if isinstance(dtype, _NumpyDtype) else ""
    if not re.fullmatch("b1|[iuf][1248]", code) or code == "f1" or not isinstance(content, bytes):
        return _make_opaque()
    return np.frombuffer(content, np.dtype(code).newbyteorder(dtype.order), 1)[0].item()


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> Tensor:
    """Describe a tensor of its storage's dtype."""
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return Tensor(storage, storage.dtype, offset, shape, strides)


def _make_typed_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: object, _hooks: object, dtype: Any, *_: object
) -> Tensor:
    """Describe a tensor of a dtype of its own, on a storage of bytes."""
    if not isinstance(storage, Storage) or not isinstance(dtype, Dtype):
        raise pickle.UnpicklingError("a tensor without a storage or a dtype")
    return Tensor(storage, dtype.name, offset, shape, strides)


def _make_parameter(data: Any, *_: object) -> Tensor | Unreadable:
    """Give a parameter's tensor."""
    if not isinstance(data, Tensor | Unreadable):
        raise pickle.UnpicklingError("a parameter without a tensor")
    return data


def _make_subclassed(function: Any, _type: object, args: Any, *_: object) -> Any:
    """Give the tensor that has attributes of its own, without them."""
    if not isinstance(function, _Function) or function.act not in (_make_tensor, _make_typed_tensor):
        raise pickle.UnpicklingError("a tensor made by another function")
    return function(*args)


def _refuse_kind(kind: str) -> _Function:
    """Give the function that describes a tensor of a kind that is not read."""
    return _Function(lambda *_: Unreadable(kind))


_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
    "Untyped": "uint8",
}

#: Every name that a file may ask for, and what it gets.
_NAMES: dict[str, Any] = {
    "collections.OrderedDict": _Function(_make_table),
    "collections.defaultdict": _Function(lambda *_: Table()),
    "collections.Counter": _Function(lambda *_: Table()),
    "collections.deque": _Function(lambda *_: []),
    "builtins.set": _Function(_make_texts),
    "builtins.frozenset": _Function(_make_texts),
    "builtins.complex": _Function(_make_opaque),
    "builtins.range": _Function(_make_opaque),
    "builtins.slice": _Function(_make_opaque),
    "builtins.bytearray": _Function(_make_opaque),
    "builtins.bytes": _Function(lambda *_: b""),
    **{
        f"builtins.{name}": Inert
        for name in ("dict", "list", "tuple", "int", "float", "bool", "str", "object")
    },
    "_codecs.encode": _Function(_encode),
    "argparse.Namespace": Inert,
    "types.SimpleNamespace": _Function(_make_opaque),
    "datetime.datetime": _Function(_make_opaque),
    "datetime.timedelta": _Function(_make_opaque),
    "pathlib.PosixPath": _Function(_make_opaque),
    "pathlib.WindowsPath": _Function(_make_opaque),
    "pathlib._local.PosixPath": _Function(_make_opaque),
    "pathlib._local.WindowsPath": _Function(_make_opaque),
    "numpy.ndarray": Inert,
    "numpy.dtype": _Function(_make_dtype),
    **{f"numpy.{core}.multiarray.scalar": _Function(_make_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _Function(_make_opaque) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Function(_make_opaque) for core in ("core", "_core")},
    "torch.Size": _Function(_make_size),
    "torch.device": _Function(_make_opaque),
    "torch.strided": Inert,
    "torch.Tensor": Inert,
    "torch._tensor.Tensor": Inert,
    "torch.nn.parameter.Parameter": Inert,
    "torch.nn.parameter.Buffer": Inert,
    "torch.serialization._get_layout": _Function(_make_opaque),
    "torch.nn.backends.thnn._get_thnn_function_backend": _Function(_make_opaque),
    "torch._utils._rebuild_tensor": _Function(_make_tensor),
    "torch._utils._rebuild_tensor_v2": _Function(_make_tensor),
    "torch._utils._rebuild_tensor_v3": _Function(_make_typed_tensor),
    "torch._utils._rebuild_parameter": _Function(_make_parameter),
    "torch._utils._rebuild_parameter_with_state": _Function(_make_parameter),
    "torch._tensor._rebuild_from_type_v2": _Function(_make_subclassed),
    "torch._utils._rebuild_qtensor": _refuse_kind("quantised"),
    "torch._utils._rebuild_sparse_tensor": _refuse_kind("sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _refuse_kind("sparse"),
    "torch._utils._rebuild_nested_tensor": _refuse_kind("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": _refuse_kind("empty (meta)"),
    "torch._utils._rebuild_wrapper_subclass": _refuse_kind("wrapped"),
    **{f"torch.{name}": Dtype(name) for name in ITEM_SIZES},
    **{
        f"{module}.{name}Storage": Dtype(dtype)
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in _STORAGES.items()
    },
    **{
        f"torch.{kind}": Inert
        for kind in ("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams")
    },
}

#: Modules whose classes and functions appear in whole saved models; all of them become placeholders.
_INERT_MODULES = (
    "torch.nn.modules",
    "torch.nn.functional",
    "torch.nn.parallel",
    "torch.optim",
    "torchvision.models",
    "torchvision.ops",
    "torchxrayvision.models",
)

_PYTHON_2_MODULES = {"__builtin__": "builtins"}


def look_up(module: str, name: str) -> Any:
    """Give what stands for a name; None for a name that no weights file needs."""
    module = _PYTHON_2_MODULES.get(module, module)
    if any(module == inert or module.startswith(f"{inert}.") for inert in _INERT_MODULES):
        return Inert
    return _NAMES.get(f"{module}.{name}")
