"""PyTorch's files, read without PyTorch: what is taken from them."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import (
    ARRAYS,
    EITHER,
    ORDERED,
    Call,
    Name,
    Stored,
    W,
    check,
    open_checkpoint,
    refuse,
    storage,
    tensor,
    tensors_of,
    write_archive,
    write_state,
    write_stream,
)

from medzoo.outputs import digest_file
from medzoo.weights.formats import torch_archive

# --- what is read --------------------------------------------------------------------------------------------


@EITHER
def test_a_state_dictionary_reads_back_identical(tmp_path: Path, is_stream: bool) -> None:
    path = write_state(tmp_path / "a.pt", ARRAYS, is_stream)
    assert torch_archive.matches(path)
    contents = torch_archive.read_headers(path)
    check(contents, ARRAYS)
    assert (contents.notes, dict(contents.metadata)) == ((), {})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    storages = [values.tobytes() for values in ARRAYS.values()]
    check(
        torch_archive.read_headers(
            write_archive(tmp_path / "a.pt", tensors_of(ARRAYS), storages, protocol=protocol)
        ),
        ARRAYS,
    )
    keyed = {str(key): values for key, values in enumerate(ARRAYS.values())}
    path = write_stream(tmp_path / "b.pt", tensors_of(ARRAYS, is_stream=True), keyed, protocol)
    assert torch_archive.matches(path)
    check(torch_archive.read_headers(path), ARRAYS)


@pytest.mark.parametrize("name", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_published_files_are_read(shared_weights: Path, name: str) -> None:
    path = shared_weights / name
    contents = torch_archive.read_headers(path)
    assert contents.notes == ("left out: best_prec1", "the prefix 'module.' was removed from every name")
    depth = int(name[6:8])
    assert 90 < float(contents.metadata["best_prec1"]) < 94
    assert contents.tensors["conv1.weight"].spec.shape == (16, 3, 3, 3)
    assert contents.tensors["linear.bias"].spec.shape == (10,)
    convolutions = [tensor for tensor in contents.tensors.values() if len(tensor.spec.shape) == 4]
    assert len(convolutions) == depth - 1
    # All values are there: the file's length is the values and a short head.
    size = sum(tensor.read().nbytes for tensor in contents.tensors.values())
    assert 0 < path.stat().st_size - size < 60_000
    variances = [name for name in contents.tensors if name.endswith("running_var")]
    assert all((contents.tensors[name].read() > 0).all() for name in variances)
    assert digest_file(path)[7:15] == name[9:17]


def test_bytes_of_the_other_order_are_turned_round(tmp_path: Path) -> None:
    storages = [values.astype(values.dtype.newbyteorder(">")).tobytes() for values in ARRAYS.values()]
    path = write_archive(tmp_path / "a.pt", tensors_of(ARRAYS), storages, {"byteorder": b"big"})
    check(torch_archive.read_headers(path), ARRAYS)
    path = write_archive(tmp_path / "b.pt", tensors_of(ARRAYS), storages, {"byteorder": b"middle"})
    refuse(path, "has the byte order b'middle'; expected little or big")


def test_a_compressed_archive_is_read(tmp_path: Path) -> None:
    storages = [values.tobytes() for values in ARRAYS.values()]
    path = write_archive(tmp_path / "a.pt", tensors_of(ARRAYS), storages, compression=zipfile.ZIP_DEFLATED)
    check(torch_archive.read_headers(path), ARRAYS)


VIEWS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "whole": ((3, 4), (4, 1), 0),
    "transposed": ((4, 3), (1, 4), 0),
    "column": ((3,), (4,), 2),
    "block": ((2, 2), (4, 1), 5),
    "row": ((4,), (1,), 8),
    "repeated": ((2, 4), (0, 1), 4),
    "one": ((1, 1), (77, 99), 11),
    "scalar": ((), (), 11),
    "empty": ((0, 5), (9, 9), 0),
}


@EITHER
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_views_share_a_storage(tmp_path: Path, is_stream: bool, compression: int) -> None:
    values = np.arange(12, dtype="float32")
    held = storage("0", "float32", 12, *([None] if is_stream else []))
    content = {
        name: tensor(held, *view) if view[0] else tensor(held, (), (), 11) for name, view in VIEWS.items()
    }
    if is_stream:
        path = write_stream(tmp_path / "a.pt", content, {"0": values})
    else:
        path = write_archive(tmp_path / "a.pt", content, [values.tobytes()], compression=compression)
    as_strided = np.lib.stride_tricks.as_strided
    expected = {
        name: np.array(as_strided(values[offset:], shape, [4 * stride for stride in strides]))
        for name, (shape, strides, offset) in VIEWS.items()
    }
    check(torch_archive.read_headers(path), expected)


def test_a_streams_storage_may_be_a_view_of_another(tmp_path: Path) -> None:
    values = np.arange(12, dtype="float32")
    whole, part = storage("0", "float32", 12, None), storage("0", "float32", 12, ("1", 4, 3))
    content = {"whole": tensor(whole, (12,)), "part": tensor(part, (2,), (1,), 1)}
    path = write_stream(tmp_path / "a.pt", content, {"0": values})
    check(torch_archive.read_headers(path), {"whole": values, "part": values[5:7]})
    content = {"part": tensor(part, (3,), (1,), 1)}
    refuse(write_stream(tmp_path / "a.pt", content, {"0": values}), "claims more values at 'part'")
    content = {"part": tensor(storage("0", "float32", 12, ("1", 4, 9)), (3,))}
    refuse(write_stream(tmp_path / "a.pt", content, {"0": values}), "a view that its storage '0' does not")


def test_opening_reads_no_values_and_reading_holds_one_tensor(tmp_path: Path) -> None:
    arrays = {"a": np.ones(2**21, "float32"), "b": np.ones(2**21, "float32")}
    for is_stream in (False, True):
        path = write_state(tmp_path / "a.pt", arrays, is_stream)
        torch_archive.read_headers(path)
        tracemalloc.start()
        try:
            contents = torch_archive.read_headers(path)
            assert tracemalloc.get_traced_memory()[1] < 2**19
            contents.tensors["b"].read()
            assert 2**23 <= tracemalloc.get_traced_memory()[1] < 2**23 + 2**19
        finally:
            tracemalloc.stop()


# --- where the tensors are -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["state_dict", "model_state_dict", "model", "net", "network", "module", "params", "model_ema", "mine"],
)
def test_a_checkpoint_gives_its_state_dictionary(tmp_path: Path, key: str) -> None:
    optimizer = {"state": {0: {"momentum_buffer": tensor(storage("0", "float32", 3), (3,))}}}
    beside = {"epoch": 3, "arch": "resnet", "best_prec1": 91.5, "optimizer": optimizer, "done": True}
    contents = open_checkpoint(tmp_path, {"epoch": 3, key: tensors_of(W), **beside})
    check(contents, W)
    assert contents.notes == ("left out: epoch, arch, best_prec1, optimizer, done",)
    assert contents.metadata == {"epoch": "3", "arch": "resnet", "best_prec1": "91.5", "done": "True"}


def test_known_keys_are_preferred_in_their_order(tmp_path: Path) -> None:
    other = {"other": tensor(storage("0", "float32", 3), (3,))}
    check(open_checkpoint(tmp_path, {"model_ema": other, "zoo": other, "state_dict": tensors_of(W)}), W)
    contents = open_checkpoint(tmp_path, {"model_ema": other, "model": {"state_dict": tensors_of(W)}})
    check(contents, W)
    assert contents.notes == ("left out: model_ema",)


def test_several_dictionaries_without_a_known_key_are_refused(tmp_path: Path) -> None:
    part = {"w": tensor(storage("0", "float32", 3), (3,))}
    path = write_archive(tmp_path / "a.pt", {"teacher": part, "student": part, "optim": part}, [bytes(12)])
    refuse(
        path, "a.pt holds tensors under 'teacher', 'student'; expected one of state_dict, model_state_dict"
    )


def test_dictionaries_within_the_state_dictionary_are_joined_by_dots(tmp_path: Path) -> None:
    w, v = tensors_of(W).values()
    contents = open_checkpoint(tmp_path, {"state_dict": {"net": {"conv": {"w": w}}, "head": {0: v, "n": 1}}})
    check(contents, {"net.conv.w": W["w"], "head.0": W["v"]})
    assert contents.notes == ("left out: head.n",)
    check(open_checkpoint(tmp_path, {"w": w, "deep": {"v": v}}), {"w": W["w"], "deep.v": W["v"]})
    path = write_archive(tmp_path / "a.pt", {"a.w": w, "a": {"w": w}}, [bytes(12)])
    refuse(path, "holds two tensors named 'a.w'")


def test_prefixes_of_every_name_are_removed(tmp_path: Path) -> None:
    w, v = tensors_of(W).values()
    contents = open_checkpoint(tmp_path, {"module._orig_mod.w": w, "module._orig_mod.v": v})
    check(contents, W)
    prefixes = ["module.", "_orig_mod."]
    assert contents.notes == tuple(f"the prefix '{name}' was removed from every name" for name in prefixes)
    contents = open_checkpoint(tmp_path, {"module.w": w, "v": v})
    assert (list(contents.tensors), contents.notes) == (["module.w", "v"], ())


def test_plain_values_of_every_kind_are_understood(tmp_path: Path) -> None:
    code = Call(Name("numpy", "dtype"), ("f8", 0, 1), (3, "<", None, None, None, -1, -1, 0))
    big = Call(Name("numpy", "dtype"), ("f4", 0, 1), (3, ">", None, None, None, -1, -1, 0))
    scalar = Name("numpy.core.multiarray", "scalar")
    as_text = Call(Name("_codecs", "encode"), (struct.pack("<d", 93.5).decode("latin-1"), "latin1"))
    contents = open_checkpoint(
        tmp_path,
        {
            "state_dict": Call(ORDERED, ([[name, held] for name, held in tensors_of(W).items()],)),
            "best": Call(scalar, (code, struct.pack("<d", 92.5))),
            "text": Call(Name("numpy._core.multiarray", "scalar"), (code, as_text)),
            "big": Call(scalar, (big, struct.pack(">f", 1.5))),
            "object": Call(scalar, (Call(Name("numpy", "dtype"), ("O8", 0, 1)), b"12345678")),
            "args": Call(Name("argparse", "Namespace"), (), {"lr": 0.1}, is_new=True),
            "device": Call(Name("torch", "device"), ("cuda", 0)),
            "size": Call(Name("torch", "Size"), ((2, 3),)),
            "dtype": Name("torch", "float32"),
            "names": Call(Name("__builtin__", "set"), (["a", "b"],)),
            "history": Call(Name("collections", "defaultdict"), (Name("builtins", "list"),)),
        },
    )
    check(contents, W)
    assert contents.metadata == {"best": "92.5", "text": "93.5", "big": "1.5"}


def layer(kind: str, **parts: dict[str, Any]) -> Call:
    """Describe a module as a whole saved model holds it."""
    attributes = {"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}}
    names = {f"_{name}": value for name, value in parts.items()}
    module, _, name = kind.rpartition(".")
    return Call(Name(module, name), (), {**attributes, **names}, is_new=True)


def test_a_whole_model_gives_its_tensors(tmp_path: Path) -> None:
    w, v = tensors_of(W).values()
    parameter = Call(Name("torch._utils", "_rebuild_parameter"), (w, True, Call(ORDERED)))
    norm = layer("torch.nn.modules.batchnorm.BatchNorm2d", buffers={"v": v, "passing": w, "gone": None})
    norm.state["_non_persistent_buffers_set"] = Call(Name("builtins", "set"), (["passing"],))
    linear = layer("torch.nn.modules.linear.Linear", parameters={"weight": parameter, "bias": None})
    model = layer("torchvision.models.resnet.ResNet", modules={"fc": linear, "norm": norm, "none": None})
    contents = open_checkpoint(tmp_path, {"model": model, "epoch": 3})
    check(contents, {"fc.weight": W["w"], "norm.v": W["v"]})
    note = "a whole model was saved: its tensors were taken, its code was left out"
    assert contents.notes == (note, "left out: epoch")
    # The older stream names a module's class together with its source text.
    model.function = Stored(("module", model.function, "resnet.py", "import os; os.abort()"))
    content = {name: Call(item.function, item.arguments) for name, item in tensors_of(W, True).items()}
    linear.state["_parameters"]["weight"], norm.state["_buffers"] = content["w"], {"v": content["v"]}
    path = write_stream(tmp_path / "b.pt", model, {"0": W["w"], "1": W["v"]})
    check(torch_archive.read_headers(path), {"fc.weight": W["w"], "norm.v": W["v"]})


def test_names_that_nobody_can_read_are_no_names(tmp_path: Path) -> None:
    w, v = tensors_of(W).values()
    contents = open_checkpoint(
        tmp_path, {"w": w, "v": v, "a\nb": w, "\udc80": w, (1, 2): w, 10**5000: w, None: 1}
    )
    check(contents, W)
    assert contents.notes == ("left out: " + ", ".join(["(no name)"] * 5),)
    contents = open_checkpoint(
        tmp_path, {"state_dict": tensors_of(W), 10**5000: 1, "\udc80": 2, "a": "\udc80"}
    )
    check(contents, W)
    assert (contents.notes, contents.metadata) == (("left out: a",), {})


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], 5, None, {"a": {"b": {}}}, {"state_dict": {}}])
def test_files_without_tensors_by_name_are_refused(tmp_path: Path, content: object) -> None:
    assert "torch.save(model.state_dict()" in refuse(
        write_archive(tmp_path / "a.pt", content, []), "a.pt holds no tensors by name"
    )
    only = tensor(storage("0", "float32", 1), (1,))
    for held in (only, [only], {"optimizer": {"state": {0: only}}}):
        refuse(write_archive(tmp_path / "a.pt", held, [bytes(4)]), "a.pt holds no tensors by name")
