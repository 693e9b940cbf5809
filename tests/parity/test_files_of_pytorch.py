"""Files that PyTorch itself writes, read without it, against what PyTorch reads from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from foreign import require

from medzoo.errors import WeightsError
from medzoo.weights.contents import Contents
from medzoo.weights.formats import torch_archive

torch = require("torch")

#: PyTorch's default; the older stream; a stream of a later pickle protocol.
LAYOUTS: dict[str, dict[str, Any]] = {
    "archive": {},
    "stream": {"_use_new_zipfile_serialization": False},
    "archive_5": {"pickle_protocol": 5},
    "stream_4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
}
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
LATER_DTYPES = ["uint16", "uint32", "uint64"]


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Give PyTorch's values as an array; NumPy knows bfloat16 by its bits only."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def check(contents: Contents, tensors: Mapping[str, torch.Tensor]) -> None:
    assert list(contents.tensors) == list(tensors)
    for name, tensor in tensors.items():
        found, expected = contents.tensors[name], as_array(tensor)
        dtype = str(tensor.dtype).removeprefix("torch.")
        assert (found.spec.shape, found.spec.dtype) == (tuple(tensor.shape), dtype)
        read = found.read()
        assert read.dtype == expected.dtype
        assert read.tobytes() == expected.tobytes()


def save_and_check(content: Any, path: Path, layout: Mapping[str, Any], key: str = "") -> Contents:
    """Save, let PyTorch read its file, and compare with our reading."""
    torch.save(content, path, **layout)
    assert torch_archive.matches(path)
    contents = torch_archive.read_headers(path)
    again = torch.load(path, weights_only=False)
    again = again[key] if key else again
    check(contents, again.state_dict() if isinstance(again, torch.nn.Module) else again)
    return contents


def make_model() -> torch.nn.Module:
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4)),
        torch.nn.MultiheadAttention(4, 2),
    )
    model.register_buffer("kept", torch.arange(3))
    model.register_buffer("passing", torch.arange(5), persistent=False)
    return model


@EVERY_LAYOUT
@pytest.mark.parametrize("dtype", DTYPES + LATER_DTYPES)
def test_every_dtype(tmp_path: Path, layout: Mapping[str, Any], dtype: str) -> None:
    if dtype in LATER_DTYPES:  # PyTorch cannot read its own streams of these
        layout = {name: value for name, value in layout.items() if name == "pickle_protocol"}
    kind = getattr(torch, dtype)
    values = torch.arange(24).reshape(2, 3, 4)
    values = (values % 2 == 0) if dtype == "bool" else values.to(kind)
    tensors = {"a": values, "scalar": values[1, 1, 1].clone(), "empty": torch.zeros((0, 3), dtype=kind)}
    save_and_check(tensors, tmp_path / "a.pt", layout)


@EVERY_LAYOUT
def test_views_of_shared_storages(tmp_path: Path, layout: Mapping[str, Any]) -> None:
    base = torch.randn(6, 8)
    tensors = {
        "base": base,
        "turned": base.T,
        "row": base[2],
        "column": base[:, 3],
        "steps": base[::2, 1::3],
        "repeated": base[1].expand(5, 8),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "one": base[5:, 7:],
        "parameter": torch.nn.Parameter(base[3]),
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
    }
    save_and_check(tensors, tmp_path / "a.pt", layout)


@EVERY_LAYOUT
def test_state_dictionaries_of_models(tmp_path: Path, layout: Mapping[str, Any]) -> None:
    model = make_model()
    contents = save_and_check(model.state_dict(), tmp_path / "a.pt", layout)
    assert contents.notes == ()
    state = torch.nn.DataParallel(model).state_dict()
    torch.save(state, tmp_path / "b.pt", **layout)
    contents = torch_archive.read_headers(tmp_path / "b.pt")
    check(contents, model.state_dict())
    assert contents.notes == ("the prefix 'module.' was removed from every name",)


@EVERY_LAYOUT
def test_checkpoints_with_an_optimiser(tmp_path: Path, layout: Mapping[str, Any]) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    content = {
        "epoch": 12,
        "arch": "resnet18",
        "state_dict": model.state_dict(),
        "best_acc1": torch.tensor(71.5),
        "best_prec1": np.float64(93.25),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "history": np.arange(4.0),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "shape": torch.Size([1, 2]),
    }
    contents = save_and_check(content, tmp_path / "a.pth.tar", layout, "state_dict")
    assert contents.metadata == {"epoch": "12", "arch": "resnet18", "best_prec1": "93.25"}
    left_out = "epoch, arch, best_acc1, best_prec1, optimizer, scheduler, history, device and 2 more"
    assert contents.notes == (f"left out: {left_out}",)


@EVERY_LAYOUT
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whole_models(tmp_path: Path, layout: Mapping[str, Any]) -> None:
    model = make_model()
    contents = save_and_check(model, tmp_path / "a.pt", layout)
    assert contents.notes == ("a whole model was saved: its tensors were taken, its code was left out",)
    assert "passing" not in contents.tensors
    save_and_check({"model": model, "epoch": 3}, tmp_path / "b.pt", layout, "model")
    transformer = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16), 2)
    save_and_check(transformer, tmp_path / "c.pt", layout)
    for name, values in torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2)).named_parameters():
        assert name.startswith(("bias", "parametrizations"))
        save_and_check({name: values}, tmp_path / "d.pt", layout)


@EVERY_LAYOUT
def test_tensors_with_attributes_of_their_own(tmp_path: Path, layout: Mapping[str, Any]) -> None:
    parameter, tensor = torch.nn.Parameter(torch.randn(3)), torch.randn(4)
    parameter.note, tensor.note = "own", [1, 2]
    buffer = torch.nn.Buffer(torch.randn(2))
    save_and_check({"a": parameter, "b": tensor, "c": buffer}, tmp_path / "a.pt", layout)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_kinds_of_tensors_that_are_not_read(tmp_path: Path) -> None:
    kinds = {
        "sparse": torch.eye(3).to_sparse(),
        "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "complex64": torch.ones(3, dtype=torch.complex64),
        "float8_e4m3fn": torch.ones(3).to(torch.float8_e4m3fn),
        r"empty \(meta\)": torch.ones(3, device="meta"),
    }
    for kind, tensor in kinds.items():
        torch.save({"w": tensor}, tmp_path / "a.pt")
        with pytest.raises(WeightsError, match=f"a.pt holds (a )?{kind}.* at 'w'; expected"):
            torch_archive.read_headers(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")
    assert torch_archive.matches(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"a\.pt is a TorchScript archive"):
        torch_archive.read_headers(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_published_files(shared_weights: Path, name: str) -> None:
    path = shared_weights / name
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    check(
        torch_archive.read_headers(path),
        {key.removeprefix("module."): tensor for key, tensor in state.items()},
    )
