"""Every method of the table: shape, dtype, key, moments; the key scheme itself, which can never change."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.initializers.random_initializers import compute_fans
from numpy.random import SFC64, Generator, SeedSequence

import medzoo
from medzoo import recipes
from medzoo.tensors import Initializer, LazyTensor, Role, Target, TensorSpec, measure_moments
from medzoo.transplant.draws import draw_normal, scale_of_fans
from medzoo.transplant.methods import METHODS
from medzoo.transplant.plan import Rule
from medzoo.transplant.run import run

SHAPE = (3, 3, 8, 16)
NAME = "conv/kernel"
GLOROT = Initializer("uniform", 1.0, "fan_avg")

#: Methods that make values (`keep` leaves a model's own), and those of them that draw.
MAKING = sorted(set(METHODS) - {"keep"})
DRAWING = {"resample", "fresh"}


def make_source(shape: tuple[int, ...] = SHAPE, name: str = NAME) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(11).normal(0.3, 0.2, shape).astype("float32")}


def treat(method: str, seed: int = 0, name: str = NAME, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Treat one tensor directly, outside any plan."""
    target = TensorSpec(name, shape, "float32", Role.KERNEL, GLOROT)
    tensor: LazyTensor = medzoo.source_from_arrays(make_source(shape, name))[name]
    return METHODS[method].treat(target, tensor if METHODS[method].needs != "nothing" else None, seed, {})


def test_the_table_is_complete() -> None:
    assert set(METHODS) == {"copy", "resample", "fresh", "keep"}
    assert all(entry.name == name for name, entry in METHODS.items())
    assert {entry.needs for entry in METHODS.values()} <= {"values", "moments", "nothing"}


def test_keep_is_never_carried_out() -> None:
    with pytest.raises(AssertionError):
        treat("keep")


@pytest.mark.parametrize("name", MAKING)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), SHAPE, (0, 4)])
def test_shape_and_dtype_are_the_target_s(name: str, shape: tuple[int, ...]) -> None:
    values = treat(name, shape=shape)
    assert values.shape == shape
    assert values.dtype == "float32"
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", MAKING)
def test_seed_and_name_decide_the_bytes(name: str) -> None:
    first = treat(name, seed=3)
    assert treat(name, seed=3).tobytes() == first.tobytes()
    changed = [treat(name, seed=4), treat(name, seed=3, name="conv2/kernel"), treat(name, seed=2**40)]
    for other in changed:
        assert (other.tobytes() != first.tobytes()) == (name in DRAWING)


def test_copy_is_the_source_bit_for_bit() -> None:
    assert treat("copy").tobytes() == make_source()[NAME].tobytes()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**63), st.integers(100, 5000), st.floats(-3, 3), st.floats(0.01, 5))
def test_resampled_moments_are_the_source_s(seed: int, count: int, mean: float, deviation: float) -> None:
    """Mean within 4.5 of its standard errors σ/√n, variance within 4.5 of σ²·√(2/(n−1))."""
    values = draw_normal(seed, NAME, (count,), mean, deviation).astype("float64")
    # Hypothesis looks for failures: 4.5 would be crossed once in 150,000 draws, 6 once in 5·10⁸.
    assert abs(values.mean() - mean) < 6 * deviation / math.sqrt(count)
    # The variance of few values is skewed to the right: chi-square with n−1 degrees, not a normal.
    assert abs(values.var() / deviation**2 - 1) < 8 * math.sqrt(2 / (count - 1))


@pytest.mark.parametrize("shape", [(100,), (10, 30), SHAPE, (7, 7, 3, 64)])
@pytest.mark.parametrize("seed", range(5))
def test_a_resampled_tensor_has_the_source_s_moments(shape: tuple[int, ...], seed: int) -> None:
    expected = measure_moments(make_source(shape)[NAME])
    found = measure_moments(treat("resample", seed, shape=shape))
    count = math.prod(shape)
    assert abs(found.mean - expected.mean) < 4.5 * expected.deviation / math.sqrt(count)
    spread = expected.deviation**2 * math.sqrt(2 / (count - 1))
    assert abs(found.deviation**2 - expected.deviation**2) < 4.5 * spread


@pytest.mark.parametrize("roles", [set(Role) - {Role.KERNEL, Role.BIAS}])
def test_only_kernels_and_biases_are_resampled(roles: set[Role]) -> None:
    assert METHODS["resample"].accepts == {Role.KERNEL, Role.BIAS}
    assert not METHODS["resample"].accepts & roles


# --- the key: a golden rule, written out here once more, independently ---------------------------------------


def redraw(seed: int, name: str, block: int, count: int) -> np.ndarray:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    generator = Generator(SFC64(SeedSequence([seed, key, block])))
    return generator.standard_normal(count, dtype=np.float32)


def test_a_draw_is_keyed_by_seed_name_and_block() -> None:
    count = 2**20 + 1000
    values = draw_normal(42, "head/kernel", (count,), 0.0, 1.0)
    assert np.array_equal(values[: 2**20], redraw(42, "head/kernel", 0, 2**20))
    assert np.array_equal(values[2**20 :], redraw(42, "head/kernel", 1, 1000))


def test_mean_and_deviation_are_applied_in_float32() -> None:
    values = draw_normal(1, NAME, (5, 7), 0.123456789, 0.987654321)
    expected = redraw(1, NAME, 0, 35) * np.float32(0.987654321) + np.float32(0.123456789)
    assert values.tobytes() == expected.astype("float32").tobytes()


@pytest.mark.parametrize(
    ("seed", "name", "block", "literal"),
    [
        (0, "conv1/kernel", 0, ("-0x1.855aba0000000p+0", "0x1.0df5960000000p-4", "-0x1.fa9ad20000000p-1")),
        (0, "conv1/kernel", 1, ("0x1.0eb5640000000p+1", "-0x1.3e46220000000p-1", "-0x1.68292e0000000p-1")),
        (20, "head/kernel", 0, ("0x1.ae96a00000000p-2", "0x1.5374040000000p+0", "0x1.bfed6c0000000p-2")),
    ],
)
def test_the_first_values_never_change(seed: int, name: str, block: int, literal: tuple[str, ...]) -> None:
    """Literal values: if one changes, every plan ever published stops to replay."""
    values = draw_normal(seed, name, ((2**20) * block + 3,), 0.0, 1.0)[-3:]
    assert [value.hex() for value in map(float, values)] == list(literal)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 300))
def test_a_shorter_draw_is_the_start_of_a_longer_one(seed: int, first: int, second: int) -> None:
    short, long = sorted((first, second))
    assert np.array_equal(
        draw_normal(seed, NAME, (short,), 0, 1), draw_normal(seed, NAME, (long,), 0, 1)[:short]
    )


# --- order, subset, format -----------------------------------------------------------------------------------


def _target(names: list[str]) -> Target:
    tensors = {name: TensorSpec(name, (6, 5), "float32", Role.KERNEL, GLOROT) for name in names}
    return Target(tensors, {}, {})


@pytest.mark.parametrize("method", sorted(DRAWING))
def test_order_and_subset_change_no_tensor(method: str) -> None:
    names = ["a/kernel", "b/kernel", "c/kernel"]
    source = medzoo.source_from_arrays({name: make_source((6, 5), name)[name] for name in names})
    made = {}
    for chosen in (names, names[::-1], ["b/kernel"]):
        plan = medzoo.make_plan(source, _target(chosen), [Rule("*", method)], seed=9, ignore=["*"])
        for name, values in run(plan, source):
            assert made.setdefault(name, values.tobytes()) == values.tobytes()
    assert len(set(made.values())) == 3


def test_a_weights_file_and_its_moments_file_give_the_same_tensors(tmp_path: Path) -> None:
    target = medzoo.describe("cbr_tiny", classes=2, channels=1)
    given_target = medzoo.describe("cbr_tiny", classes=9, channels=3)
    rng = np.random.default_rng(4)
    arrays = {n: rng.normal(0.1, 1, t.shape).astype("float32") for n, t in given_target.tensors.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    weights = medzoo.open_weights(tmp_path / "a.npz")
    medzoo.write_moments(weights, tmp_path / "a.json")
    moments = medzoo.open_weights(tmp_path / "a.json")
    assert moments.format == "moments"
    for name, tensor in weights.items():
        assert moments[name].moments() == tensor.moments()
        assert moments[name].spec == tensor.spec
    made = [
        {n: v.tobytes() for n, v in run(medzoo.make_plan(source, target, recipes.stats(), 6), source)}
        for source in (weights, moments)
    ]
    assert made[0] == made[1]
    assert len(made[0]) == len(target.tensors)


# --- fresh: Keras's initializers, in distribution ------------------------------------------------------------

INITIALIZERS = {
    "glorot_uniform": keras.initializers.GlorotUniform(),
    "glorot_normal": keras.initializers.GlorotNormal(),
    "he_normal": keras.initializers.HeNormal(),
    "he_uniform": keras.initializers.HeUniform(),
    "lecun_normal": keras.initializers.LecunNormal(),
    "untruncated": keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
    "truncated_normal": keras.initializers.TruncatedNormal(stddev=0.02),
    "normal": keras.initializers.RandomNormal(stddev=0.3),
    "uniform": keras.initializers.RandomUniform(-0.05, 0.05),
    "zeros": keras.initializers.Zeros(),
    "ones": keras.initializers.Ones(),
    "constant": keras.initializers.Constant(0.25),
}


def fresh_kernel(initializer: keras.initializers.Initializer, units: int = 160) -> np.ndarray:
    """Make a kernel through the public path: a Keras layer, described, planned, run."""
    inputs = keras.Input((4, 4, 8))
    layer = keras.layers.Conv2D(units, 3, kernel_initializer=initializer, use_bias=False, name="layer")
    target = medzoo.describe(keras.Model(inputs, layer(inputs)))
    source = medzoo.source_from_arrays({})
    (made,) = run(medzoo.make_plan(source, target, recipes.random(), seed=13), source)
    return made[1].astype("float64")


@pytest.mark.parametrize("name", INITIALIZERS)
def test_fresh_values_are_distributed_as_keras_s(name: str) -> None:
    config = INITIALIZERS[name].get_config()
    initializer = type(INITIALIZERS[name])(**(config | ({"seed": 5} if "seed" in config else {})))
    values = fresh_kernel(initializer)
    theirs = np.asarray(initializer(values.shape), "float64")
    if theirs.std() == 0:
        assert np.array_equal(values, theirs)
        return
    count = values.size
    # Two samples of one distribution: both means and both variances within 4.5 standard errors. The fourth
    # moment of uniform, normal and cut normal is at most the normal's 3σ⁴, so 2/n bounds the variance's error.
    assert abs(values.mean() - theirs.mean()) < 4.5 * theirs.std() * math.sqrt(2 / count)
    assert abs(values.var() / theirs.var() - 1) < 4.5 * math.sqrt(2 * 2 / count)
    # Kolmogorov-Smirnov, two samples of n: D > 2.6·√(2/n) happens once in 370,000.
    both = np.sort(np.concatenate([values.ravel(), theirs.ravel()]))
    steps = [np.searchsorted(np.sort(x.ravel()), both, side="right") / count for x in (values, theirs)]
    assert np.abs(steps[0] - steps[1]).max() < 2.6 * math.sqrt(2 / count)


def test_fresh_bounds_follow_keras_s_fans() -> None:
    shape = (3, 3, 8, 160)
    fan_in, fan_out = compute_fans(shape)
    glorot = np.abs(fresh_kernel(INITIALIZERS["glorot_uniform"])).max()
    limit = math.sqrt(6 / (fan_in + fan_out))
    assert 0.99 * limit < glorot <= limit * (1 + 2**-23)
    he = np.abs(fresh_kernel(INITIALIZERS["he_normal"])).max()
    limit = 2 * math.sqrt(2 / fan_in) / 0.87962566103423978
    assert 0.9 * limit < he <= limit * (1 + 2**-23)
    cut = np.abs(fresh_kernel(INITIALIZERS["truncated_normal"])).max()
    assert 0.9 * 0.04 < cut <= 0.04 * (1 + 2**-23)


@given(st.lists(st.integers(1, 40), max_size=5))
def test_fans_are_keras_s(shape: list[int]) -> None:
    fan_in, fan_out = compute_fans(tuple(shape))
    assert scale_of_fans(tuple(shape), "fan_in") == max(1.0, fan_in)
    assert scale_of_fans(tuple(shape), "fan_out") == max(1.0, fan_out)
    assert scale_of_fans(tuple(shape), "fan_avg") == max(1.0, (fan_in + fan_out) / 2)


def test_an_initializer_that_cannot_be_said_as_data_keeps_the_model_s_own_values() -> None:
    inputs = keras.Input((4,))
    layer = keras.layers.Dense(4, kernel_initializer="orthogonal", name="layer")
    model = keras.Model(inputs, layer(inputs))
    before = np.asarray(layer.kernel).copy()
    source = medzoo.source_from_arrays({})
    plan = medzoo.make_plan(source, medzoo.describe(model), recipes.random())
    assert [step.method for step in plan.steps] == ["keep", "fresh"]
    layer.bias.assign(np.ones(4, "float32"))
    medzoo.apply(plan, source, model)
    assert np.array_equal(np.asarray(layer.kernel), before)
    assert np.array_equal(np.asarray(layer.bias), np.zeros(4))
