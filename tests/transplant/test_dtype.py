"""Dtypes of a target, values that they cannot hold, and values that are not finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.errors import PlanError
from medzoo.tensors import Role, Source, Target, TensorSpec, cast_target
from medzoo.transplant.plan import Rule
from medzoo.transplant.run import run
from medzoo.transplant.verification import verify_output

ArraysFor = Callable[..., dict[str, np.ndarray]]
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
NAME = "block2_conv/kernel"


def cbr(dtype: str = "float32") -> Target:
    return cast_target(medzoo.describe("cbr_tiny", classes=5), dtype)


def with_value(arrays: dict[str, np.ndarray], value: float, name: str = NAME) -> Source:
    """Put one value into one tensor."""
    values = arrays[name].copy()
    values[(0,) * values.ndim] = value
    return medzoo.source_from_arrays(arrays | {name: values}, origin="odd")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "rules", [recipes.copy(), recipes.stats(), recipes.random()], ids=["copy", "stats", "random"]
)
def test_every_tensor_is_made_in_float32_and_rounded_once(
    tiny: Source, dtype: str, rules: tuple[Rule, ...]
) -> None:
    exact = dict(run(medzoo.make_plan(tiny, cbr(), rules, 3), tiny))
    plan = medzoo.make_plan(tiny, cbr(dtype), rules, 3)
    assert {step.target.dtype for step in plan.steps} == {dtype}
    for name, values in run(plan, tiny):
        assert values.dtype == DTYPES[dtype]
        assert values.tobytes() == exact[name].astype(DTYPES[dtype]).tobytes()


def test_rounding_is_to_the_nearest_and_to_even_in_between() -> None:
    """A bfloat16 has 8 significant bits: 1 + 2⁻⁸ lies between 1 and 1 + 2⁻⁷, 1 + 3·2⁻⁸ between that and 1 + 2⁻⁶."""
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20], "float32")
    spec = TensorSpec("a/bias", (3,), "bfloat16", Role.BIAS)
    source = medzoo.source_from_arrays({"a/bias": values})
    ((_, made),) = run(medzoo.make_plan(source, Target({"a/bias": spec}, {}, {}), recipes.copy()), source)
    assert made.astype("float64").tolist() == [1, 1 + 2**-6, 1 + 2**-7]


@pytest.mark.parametrize("dtype", ["float64", "int8", "half", ""])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(
        PlanError, match=f"dtype '{dtype}'; expected float32, float16 or bfloat16; try --dtype"
    ):
        cbr(dtype)


def test_what_counts_stays_a_whole_number() -> None:
    counts = {"a/count": TensorSpec("a/count", (), "int32", Role.OTHER)}
    target = cast_target(Target(counts, {}, {}), "float16")
    assert target.tensors == counts
    source = medzoo.source_from_arrays({"a/count": np.array(70_000, "int32")})
    ((_, made),) = run(medzoo.make_plan(source, target, recipes.copy()), source)
    assert made.dtype == "int32"
    assert made == 70_000


@pytest.mark.parametrize(
    ("dtype", "value", "reaches"),
    [
        ("float16", 65_520.0, "6.552e[+]04"),  # the first value that rounds beyond 65,504
        ("float16", -1e6, "1e[+]06"),
        ("bfloat16", 3.4e38, "3.4e[+]38"),  # a float32, beyond the largest bfloat16
    ],
)
def test_a_value_beyond_the_dtype_is_refused(
    tiny_arrays: dict[str, np.ndarray], dtype: str, value: float, reaches: str
) -> None:
    source = with_value(tiny_arrays, value)
    plan = medzoo.make_plan(source, cbr(dtype), recipes.copy())
    message = f"'{NAME}' reaches {reaches}, beyond {dtype}; expected .*; try --dtype bfloat16 or float32"
    for allow in (False, True):  # to take infinity as it is does not make one
        with pytest.raises(PlanError, match=message):
            dict(run(plan, source, allow))


def test_the_largest_values_pass(tiny_arrays: dict[str, np.ndarray]) -> None:
    for dtype, value, expected in (("float16", 65_519.0, 65_504.0), ("bfloat16", 1e38, 1e38)):
        source = with_value(tiny_arrays, value)
        made = dict(run(medzoo.make_plan(source, cbr(dtype), recipes.copy()), source))
        assert abs(float(made[NAME].ravel()[0]) / expected - 1) < 2**-8
        assert np.isfinite(made[NAME].astype("float32")).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rules", [recipes.copy(), recipes.stats()], ids=["copy", "stats"])
def test_what_is_not_finite_is_refused_unless_allowed(
    tiny_arrays: dict[str, np.ndarray], value: float, dtype: str, rules: tuple[Rule, ...]
) -> None:
    source = with_value(tiny_arrays, value)
    plan = medzoo.make_plan(source, cbr(dtype), rules)
    with np.errstate(invalid="ignore"):
        with pytest.raises(
            PlanError, match=f"'{NAME}' would hold NaN or infinity; expected finite .*--allow-nonfinite"
        ):
            dict(run(plan, source))
        made = dict(run(plan, source, allow_nonfinite=True))
    odd = made[NAME].astype("float32")
    assert not np.isfinite(odd).all()
    if rules == recipes.copy():
        np.testing.assert_array_equal(odd.ravel()[0], np.float32(value))
        assert np.isfinite(odd.ravel()[1:]).all()
    others = [name for name, values in made.items() if not np.isfinite(values.astype("float32")).all()]
    assert others == [NAME]


def test_what_is_not_used_may_be_anything(tiny_arrays: dict[str, np.ndarray]) -> None:
    source = with_value(tiny_arrays, np.nan, "block4_conv/kernel")
    rules = recipes.transfusion(medzoo.find_model("cbr_tiny").stages, "block3")
    made = dict(run(medzoo.make_plan(source, cbr(), rules), source))
    assert all(np.isfinite(values).all() for values in made.values())


@pytest.mark.parametrize("suffix", [".weights.h5", ".safetensors"])
def test_a_refused_file_is_not_written(
    tiny_arrays: dict[str, np.ndarray], suffix: str, tmp_path: Path
) -> None:
    for value, dtype in ((np.nan, "float32"), (1e6, "float16")):
        source, target = with_value(tiny_arrays, value), cbr(dtype)
        plan = medzoo.make_plan(source, target, recipes.copy())
        with pytest.raises(PlanError):
            medzoo.write(plan, source, target, tmp_path / f"a{suffix}")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dtype", "suffix"),
    [
        ("float16", ".safetensors"),
        ("bfloat16", ".safetensors"),
        ("float16", ".weights.h5"),
        ("float16", ".h5"),
    ],
)
def test_a_narrow_file_reads_back_and_is_verified(
    tiny_arrays: dict[str, np.ndarray], dtype: str, suffix: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "source.npz", **tiny_arrays)
    source, target = medzoo.open_weights(tmp_path / "source.npz"), cbr(dtype)
    plan = medzoo.make_plan(source, target, recipes.wt_st(medzoo.find_model("cbr_tiny").stages, "block2"))
    path = tmp_path / f"a{suffix}"
    medzoo.write(plan, source, target, path)
    written = medzoo.open_weights(path)
    for name, values in run(plan, source):
        read = np.asarray(written[name])
        assert written[name].spec.dtype == dtype
        assert np.array_equal(read.astype("float32"), values.astype("float32"))
    found = verify_output(path, source)
    assert {verdict.state for verdict in found.tensors} == {"agrees"}
    assert all(verdict.is_recorded for verdict in found.tensors)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_a_dtype_that_a_format_lacks_is_refused(tiny: Source, suffix: str, tmp_path: Path) -> None:
    target = cbr("bfloat16")
    plan = medzoo.make_plan(tiny, target, recipes.copy())
    with pytest.raises(
        PlanError, match=r"is bfloat16; expected a dtype that HDF5 has; try a name in [.]safetensors"
    ):
        medzoo.write(plan, tiny, target, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_narrow_source_fills_a_wide_target(arrays_for: ArraysFor, tmp_path: Path) -> None:
    """Statistics of float16 values are measured and drawn in full precision."""
    wide = arrays_for(cbr())
    narrow = medzoo.source_from_arrays({name: values.astype("float16") for name, values in wide.items()})
    target = cbr()
    copied = dict(run(medzoo.make_plan(narrow, target, recipes.copy()), narrow))
    assert all(values.dtype == "float32" for values in copied.values())
    assert np.array_equal(copied[NAME], wide[NAME].astype("float16").astype("float32"))
    (drawn,) = (
        values
        for name, values in run(medzoo.make_plan(narrow, target, recipes.stats()), narrow)
        if name == NAME
    )
    assert len(np.unique(drawn)) > 0.9 * drawn.size
