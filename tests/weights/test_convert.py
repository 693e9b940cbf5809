"""One format into another: names, values, provenance, and what cannot be written."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors import safe_open

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, MedzooError, WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import Source

RNG = np.random.default_rng(0)
ARRAYS = {
    "stem/kernel": RNG.normal(size=(3, 3, 3, 4)).astype("float32"),
    "stem/bias": RNG.normal(size=4).astype("float16"),
    "head/kernel": RNG.normal(size=(4, 2)),
    "counter/steps": np.array(3),
}


@pytest.fixture
def source() -> Source:
    return medzoo.source_from_arrays(ARRAYS, origin="toy")


def values_of(source: Source) -> dict[str, tuple[str, bytes]]:
    return {name: (tensor.spec.dtype, tensor.read().tobytes()) for name, tensor in source.items()}


@pytest.mark.parametrize("ending", ["safetensors", "h5"])
def test_a_converted_file_holds_the_same_tensors(tmp_path: Path, source: Source, ending: str) -> None:
    path = medzoo.convert(source, tmp_path / f"a.{ending}")
    again = medzoo.open_weights(path)
    assert list(again) == list(source)
    assert values_of(again) == values_of(source)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_moments_are_written_as_by_their_own_command(tmp_path: Path, source: Source) -> None:
    medzoo.convert(source, tmp_path / "a.moments.json")
    medzoo.write_moments(source, tmp_path / "b.json")
    assert (tmp_path / "a.moments.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_file_says_where_its_tensors_came_from(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"stem/kernel": ARRAYS["stem/kernel"]})
    medzoo.convert(medzoo.open_weights(tmp_path / "a.npz"), tmp_path / "a.safetensors")
    medzoo.convert(medzoo.open_weights(tmp_path / "a.npz"), tmp_path / "a.h5")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file.attrs["medzoo"]) == metadata
    assert metadata["source_digest"] == digest_file(tmp_path / "a.npz")
    assert metadata["source"] == str(tmp_path / "a.npz")
    assert metadata["medzoo"] == medzoo.__version__
    assert medzoo.open_weights(tmp_path / "a.safetensors").metadata == metadata
    assert medzoo.open_weights(tmp_path / "a.h5").metadata["source_digest"] == metadata["source_digest"]


def test_a_transplant_s_file_names_its_plan_and_seed(tmp_path: Path) -> None:
    source = medzoo.source_from_arrays({})
    target = medzoo.describe("cbr_tiny", 2, 1)
    plan = medzoo.make_plan(source, target, recipes.random(), seed=5)
    other = medzoo.make_plan(source, target, recipes.random(), seed=6)
    found = []
    for name, one in {"a.safetensors": plan, "b.h5": plan, "c.weights.h5": plan, "d.h5": other}.items():
        medzoo.write(one, source, target, tmp_path / name)
        found.append(medzoo.open_weights(tmp_path / name).metadata)
    assert found[0]["seed"] == "5"
    assert {one["plan_digest"] for one in found[:3]} == {found[0]["plan_digest"]}
    assert found[3]["plan_digest"] != found[0]["plan_digest"]


def test_the_legacy_layout_is_what_keras_2_writes(tmp_path: Path, source: Source) -> None:
    medzoo.convert(source, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["layer_names"].tolist() == [b"stem", b"head", b"counter"]
        assert file.attrs["backend"] == "tensorflow"
        assert file.attrs["keras_version"].startswith("2.")
        assert file["stem"].attrs["weight_names"].tolist() == [b"stem/kernel:0", b"stem/bias:0"]
        assert file["stem/stem/kernel:0"].shape == (3, 3, 3, 4)


def test_long_lists_of_names_are_split_as_keras_splits_them(tmp_path: Path) -> None:
    arrays = {f"{'layer' * 12}_{index}/kernel": np.zeros(1, "float32") for index in range(2000)}
    medzoo.convert(medzoo.source_from_arrays(arrays), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert "layer_names" not in file.attrs
        assert sum(len(file.attrs[f"layer_names{index}"]) for index in range(3)) == 2000
    assert list(medzoo.open_weights(tmp_path / "a.h5")) == list(arrays)


def test_keras_files_need_the_network_and_are_restored_by_it(tmp_path: Path) -> None:
    target = medzoo.describe("cbr_tiny", 2, 1)
    arrays = {
        name: RNG.uniform(0.1, 1, spec.shape).astype("float32") for name, spec in target.tensors.items()
    }
    source = medzoo.source_from_arrays(dict(reversed(arrays.items())))
    with pytest.raises(WeightsError, match=r"needs its network.*--model"):
        medzoo.convert(source, tmp_path / "a.weights.h5")
    medzoo.convert(source, tmp_path / "a.weights.h5", target)
    model = medzoo.build("cbr_tiny", 2, 1, 16)
    model.load_weights(tmp_path / "a.weights.h5")
    assert all(np.array_equal(np.asarray(one), arrays[one.path]) for one in model.weights)
    with pytest.raises(WeightsError, match=r"'head/kernel' is \(256, 2\) .*expected \(256, 3\)"):
        medzoo.convert(source, tmp_path / "b.weights.h5", medzoo.describe("cbr_tiny", 3, 1))
    del arrays["head/bias"]
    with pytest.raises(WeightsError, match=r"lacks \['head/bias'\] and has \[\] \(1 and 0 in all\)"):
        medzoo.convert(medzoo.source_from_arrays(arrays), tmp_path / "b.weights.h5", target)


def test_another_dialect_is_written_and_read_back(tmp_path: Path) -> None:
    target = medzoo.describe("resnet20", 10, 3)
    arrays = {name: RNG.normal(size=spec.shape).astype("float32") for name, spec in target.tensors.items()}
    source = medzoo.source_from_arrays(arrays)
    medzoo.convert(source, tmp_path / "a.safetensors", to="cifar_resnet")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        assert np.array_equal(file.get_tensor("linear.weight"), arrays["head/kernel"].T)
        kernel = file.get_tensor("layer1.0.conv1.weight")
    assert np.array_equal(kernel, arrays["conv2_block1_1_conv/kernel"].transpose(3, 2, 0, 1))
    again = medzoo.open_weights(tmp_path / "a.safetensors")
    assert again.dialect == "cifar_resnet"
    assert values_of(again) == values_of(source)
    with pytest.raises(WeightsError, match=r"'stem/kernel' has no name in the dialect cifar_resnet"):
        medzoo.convert(medzoo.source_from_arrays(ARRAYS), tmp_path / "b.safetensors", to="cifar_resnet")


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, source: Source) -> None:
    def refuse(given: Source, name: str, kind: type[MedzooError], message: str) -> None:
        with pytest.raises(kind, match=message):
            medzoo.convert(given, tmp_path / name)

    refuse(source, "a.npz", ConfigError, r"output 'a.npz'; expected a name ending in .weights.h5")
    refuse(medzoo.source_from_arrays({"lonely": np.ones(2)}), "a.h5", MedzooError, "'lonely' has no layer")
    refuse(
        medzoo.source_from_arrays({"a/kernel": np.ones(2, "complex64")}),
        "a.safetensors",
        MedzooError,
        "'a/kernel' is complex64",
    )
    moments = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    refuse(moments, "a.safetensors", WeightsError, r"holds moments of 'conv1/kernel', no values")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"before")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medzoo.outputs.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        medzoo.convert(source, tmp_path / "a.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").read_bytes() == b"before"


@pytest.mark.parametrize("ending", ["safetensors", "h5"])
def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path, ending: str) -> None:
    size = 2**20
    np.savez(tmp_path / "a.npz", **{f"layer{index}/kernel": np.ones(size, "float32") for index in range(20)})
    source = medzoo.open_weights(tmp_path / "a.npz")
    tracemalloc.start()
    try:
        medzoo.convert(source, tmp_path / f"a.{ending}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * 4 * size


def test_variables_stand_in_the_order_of_keras_s_layers(tmp_path: Path) -> None:
    """Keras 2 fills a layer by position, and sources from elsewhere list beta before gamma."""
    names = ("n/moving_variance", "n/beta", "n/gamma", "n/moving_mean", "c/bias", "c/kernel")
    source = medzoo.source_from_arrays({name: np.ones(2, "float32") for name in names})
    medzoo.convert(source, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        stored = [name.decode() for name in file["n"].attrs["weight_names"]]
        assert stored == ["n/gamma:0", "n/beta:0", "n/moving_mean:0", "n/moving_variance:0"]
        assert file["c"].attrs["weight_names"].tolist() == [b"c/kernel:0", b"c/bias:0"]


def test_layers_stand_in_the_target_s_order(tmp_path: Path) -> None:
    target = medzoo.describe("cbr_tiny", 2, 1)
    arrays = {name: np.ones(spec.shape, "float32") for name, spec in sorted(target.tensors.items())}
    medzoo.convert(medzoo.source_from_arrays(arrays), tmp_path / "a.h5", target)
    assert list(medzoo.open_weights(tmp_path / "a.h5")) == list(target.tensors)


def test_bfloat16_becomes_float32_where_hdf5_has_none(tmp_path: Path) -> None:
    import ml_dtypes

    values = np.array([1.5, -3.0, 1e30], ml_dtypes.bfloat16)
    source = medzoo.source_from_arrays({"a/kernel": values})
    again = medzoo.open_weights(medzoo.convert(source, tmp_path / "a.h5"))["a/kernel"]
    assert again.spec.dtype == "float32"
    assert np.array_equal(again.read(), values.astype("float32"))
    same = medzoo.open_weights(medzoo.convert(source, tmp_path / "a.safetensors"))["a/kernel"]
    assert same.spec.dtype == "bfloat16"
    assert same.read().tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("name", "ending", "message"),
    [
        ("/kernel", "h5", "'/kernel' is no path of groups"),
        ("a/../kernel", "h5", "is no path of groups"),
        ("__metadata__", "safetensors", "a tensor is called '__metadata__'"),
    ],
)
def test_names_that_a_format_cannot_hold_are_refused(
    tmp_path: Path, name: str, ending: str, message: str
) -> None:
    with pytest.raises(MedzooError, match=message):
        medzoo.convert(medzoo.source_from_arrays({name: np.ones(2)}), tmp_path / f"a.{ending}")
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_not_what_the_header_says_are_refused(tmp_path: Path) -> None:
    from medzoo.tensors import Role, TensorSpec, lazy_tensor

    spec = TensorSpec("a/kernel", (2,), "float32", Role.KERNEL)
    source = Source({"a/kernel": lazy_tensor(spec, lambda: np.ones(3, "float32"))}, "lying", "arrays")
    with pytest.raises(MedzooError, match=r"'a/kernel' has float32 values of shape \(3,\)"):
        medzoo.convert(source, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_another_dialect_is_used_for_moments_too_and_must_exist(tmp_path: Path) -> None:
    arrays = {"conv1_conv/kernel": np.ones((3, 3, 3, 4), "float32")}
    source = medzoo.source_from_arrays(arrays)
    medzoo.convert(source, tmp_path / "a.moments.json", to="cifar_resnet")
    assert "conv1.weight" in (tmp_path / "a.moments.json").read_text()
    with pytest.raises(WeightsError, match="unknown dialect 'nonsense'"):
        medzoo.convert(source, tmp_path / "b.moments.json", to="nonsense")
    with pytest.raises(WeightsError, match="a str as source"):
        medzoo.convert("a.h5", tmp_path / "b.safetensors")  # type: ignore[arg-type]
