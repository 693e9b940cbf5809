"""The contract suite's tensors, written by PyTorch in both of its layouts, read back identical."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign import require
from toy_network import make_network

import medzoo
from medzoo.tensors import measure_moments, role_of

torch = require("torch")


@pytest.mark.parametrize("is_archive", [True, False], ids=["archive", "stream"])
def test_the_same_tensors_read_back_identical(tmp_path: Path, is_archive: bool) -> None:
    arrays = {variable.path: np.asarray(variable) for variable in make_network().weights}
    state = {name: torch.from_numpy(values.copy()) for name, values in arrays.items()}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=is_archive)
    source = medzoo.open_weights(tmp_path / "a.pth")
    assert (source.format, list(source)) == ("torch", list(arrays))
    for name, values in arrays.items():
        spec = source[name].spec
        assert (spec.shape, spec.dtype, spec.role) == (values.shape, "float32", role_of(name))
        assert source[name].read().tobytes() == values.tobytes()
        assert source[name].moments() == measure_moments(values)


def test_an_archive_saved_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a.weight": torch.arange(10.0)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert np.array_equal(medzoo.open_weights(tmp_path / "a.pth")["a.weight"], np.arange(10.0))


def test_a_converted_file_goes_back_to_pytorch(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    state = {"conv1.weight": torch.randn(4, 3, 3, 3), "layer1.0.conv1.weight": torch.randn(4, 4, 3, 3)}
    state |= {"layer3.0.bn2.weight": torch.randn(4), "linear.weight": torch.randn(10, 64)}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    source = medzoo.open_weights(tmp_path / "a.pth")
    medzoo.convert(source, tmp_path / "b.safetensors", to="cifar_resnet")
    again = load_file(tmp_path / "b.safetensors")
    assert set(again) == set(state)
    assert all(torch.equal(again[name], state[name]) for name in state)
