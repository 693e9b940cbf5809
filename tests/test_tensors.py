"""Tensors as plain data: roles, moments, sources, names."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medzoo import moments as module
from medzoo.errors import PlanError, WeightsError
from medzoo.tensors import (
    Moments,
    Role,
    TensorSpec,
    lazy_tensor,
    measure_moments,
    name_variables,
    role_of,
    source_from_arrays,
)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("conv1/kernel", Role.KERNEL),
        ("conv_dw_1/depthwise_kernel", Role.KERNEL),
        ("sep/pointwise_kernel", Role.KERNEL),
        ("head/bias", Role.BIAS),
        ("bn/gamma", Role.NORM_SCALE),
        ("bn/beta", Role.NORM_SHIFT),
        ("bn/moving_mean", Role.MOVING_MEAN),
        ("bn/moving_variance", Role.MOVING_VARIANCE),
        ("vit/cls_token", Role.TOKEN),
        ("vit/pos_embed", Role.POSITION),
        ("dense/kernel#2", Role.KERNEL),
        ("kernel/0", Role.OTHER),
        ("embeddings", Role.OTHER),
    ],
)
def test_the_last_part_of_a_name_tells_the_role(name: str, role: Role) -> None:
    assert role_of(name) is role


def test_moments_are_the_population_s_in_float64() -> None:
    values = np.random.default_rng(0).normal(1e4, 1.0, 10_007).astype("float32")
    moments = measure_moments(values)
    exact = values.astype("float64")
    # Two passes in float64: relative error of some n·2**-53 at most.
    assert moments.mean == pytest.approx(exact.mean(), rel=1e-12)
    assert moments.deviation == pytest.approx(exact.std(), rel=1e-9)


def test_moments_do_not_depend_on_block_size_by_more_than_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=5000).astype("float32")
    whole = measure_moments(values)
    monkeypatch.setattr(module, "MEASURING_BLOCK", 17)
    blocks = measure_moments(values)
    assert blocks.mean == pytest.approx(whole.mean, rel=1e-12)
    assert blocks.deviation == pytest.approx(whole.deviation, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4), elements=st.floats(-1e3, 1e3, width=32)))
def test_moments_do_not_depend_on_the_memory_layout(values: np.ndarray) -> None:
    assert measure_moments(np.asfortranarray(values)) == measure_moments(values)
    assert measure_moments(np.repeat(values[..., None], 2, axis=-1)[..., 0]) == measure_moments(values)
    exact = values.astype("float64")
    # Cancellation of values up to 1e3 in float64 leaves some 1e3·2**-52·sqrt(n) in the deviation.
    assert measure_moments(values).deviation == pytest.approx(exact.std(), rel=1e-9, abs=1e-10)


def test_an_empty_tensor_has_moments() -> None:
    assert measure_moments(np.zeros((0, 3), "float32")) == Moments(0.0, 0.0)


def test_a_lazy_tensor_is_read_when_asked_for() -> None:
    reads = []

    def read() -> np.ndarray:
        reads.append(1)
        return np.array([1.0, 3.0], "float32")

    tensor = lazy_tensor(TensorSpec("a/bias", (2,), "float32", Role.BIAS), read)
    assert reads == []
    assert np.asarray(tensor).tolist() == [1.0, 3.0]
    assert np.asarray(tensor, "float64").dtype == "float64"
    assert tensor.moments() == Moments(2.0, 1.0)
    assert len(reads) == 3


def test_an_unknown_tensor_is_named_with_the_nearest() -> None:
    source = source_from_arrays({"conv1/kernel": np.zeros(1), "head/bias": np.zeros(1)}, origin="mine")
    with pytest.raises(WeightsError, match=r"mine holds no tensor 'conv2/kernel'; expected .*'conv1/kernel'"):
        source["conv2/kernel"]
    assert "conv2/kernel" not in source
    assert source.get("conv2/kernel") is None
    assert list(source) == ["conv1/kernel", "head/bias"]
    assert len(source) == 2


def test_the_digest_of_arrays_follows_names_values_shapes_and_dtypes() -> None:
    values = np.arange(6, dtype="float32")
    given_arrays = [
        {"a": values},
        {"b": values},
        {"a": values + 1},
        {"a": values.reshape(2, 3)},
        {"a": values.astype("float64")},
        {"a": values, "b": values},
    ]
    digests = [source_from_arrays(arrays).digest for arrays in given_arrays]
    assert len(set(digests)) == len(digests)
    assert all(digest.startswith("sha256:") for digest in digests)
    ordered = source_from_arrays({"a": values, "b": values + 1}).digest
    assert source_from_arrays({"b": values + 1, "a": values}).digest == ordered


def _model(paths: list[str], built: bool = True) -> SimpleNamespace:
    weights = [SimpleNamespace(path=path) for path in paths]
    return SimpleNamespace(name="toy", built=built, weights=weights)


def test_every_variable_gets_a_name_of_its_own() -> None:
    model = _model(["dense/kernel", "dense/bias", "dense/kernel", "dense/kernel"])
    named = name_variables(model)
    assert list(named) == ["dense/kernel", "dense/bias", "dense/kernel#2", "dense/kernel#3"]
    assert list(named.values()) == model.weights


@pytest.mark.parametrize("model", [_model([]), _model(["dense/kernel"], built=False)])
def test_a_model_without_weights_is_refused(model: SimpleNamespace) -> None:
    with pytest.raises(PlanError, match=r"'toy' has no weights yet; expected a built model; try model.build"):
        name_variables(model)
