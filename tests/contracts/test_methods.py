"""Every method of the table: shape, dtype, key, moments; the key scheme itself, which can never change."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.initializers.random_initializers import compute_fans
from numpy.random import SFC64, Generator, SeedSequence
from unread_sources import refuse_to_read

import medzoo
from medzoo import recipes
from medzoo.specs import Scalar
from medzoo.tensors import Initializer, LazyTensor, Role, Target, TensorSpec, measure_moments
from medzoo.transplant.draws import draw_normal, scale_of_fans
from medzoo.transplant.methods import METHODS, NEEDS, find_obstacle, lacks_values
from medzoo.transplant.plan import Rule
from medzoo.transplant.run import make_tensor, run

SHAPE = (3, 3, 8, 16)
NAME = "conv/kernel"
GLOROT = Initializer("uniform", 1.0, "fan_avg")

#: What every method is tried on: no axis to five, equal channels, an empty tensor.
SHAPES = [
    (),
    (1,),
    (7,),
    (5, 3),
    (6, 6),
    (2, 9, 4),
    SHAPE,
    (3, 3, 8, 8),
    (5, 5, 8, 1),
    (3, 3, 3, 4, 4),
    (0, 4),
]

#: Those of the table on which published plans rest: none may go or change its name.
PUBLISHED = {
    *("copy", "resample", "shuffle", "bootstrap", "mean", "covariance", "gabor"),
    *("fresh", "zero", "identity", "keep"),
}

#: Methods that make values (`keep` leaves a model's own). One that joins the table is tested by these as it is.
MAKING = sorted(set(METHODS) - {"keep"})
EVERY_METHOD = pytest.mark.parametrize("name", MAKING)
#: Of those, the ones that draw; that any other draws, or one of these does not, is what a test finds.
DRAWING = {"resample", "shuffle", "bootstrap", "covariance", "fresh"}
#: Those that draw from what the source has.
DRAWN = sorted(name for name in DRAWING if METHODS[name].needs != "nothing")


def make_source(shape: tuple[int, ...] = SHAPE, name: str = NAME) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(11).normal(0.3, 0.2, shape).astype("float32")}


def describe_tensor(shape: tuple[int, ...] = SHAPE, name: str = NAME, role: Role = Role.KERNEL) -> TensorSpec:
    return TensorSpec(name, shape, "float32", role, GLOROT)


def list_treated(method: str) -> list[tuple[Role, tuple[int, ...]]]:
    """List the roles and shapes that a method says it can treat."""
    treated = []
    for role in Role:
        for shape in SHAPES:
            source = medzoo.source_from_arrays(make_source(shape))[NAME]
            if not find_obstacle(method, describe_tensor(shape, role=role), source):
                treated.append((role, shape))
    return treated


def treat(
    method: str,
    seed: int = 0,
    name: str = NAME,
    shape: tuple[int, ...] = SHAPE,
    role: Role = Role.KERNEL,
    options: dict[str, Scalar] | None = None,
) -> np.ndarray:
    """Treat one tensor directly, outside any plan."""
    tensor: LazyTensor = medzoo.source_from_arrays(make_source(shape, name))[name]
    given = tensor if METHODS[method].needs != "nothing" else None
    return METHODS[method].treat(describe_tensor(shape, name, role), given, seed, options or {})


def test_the_table_is_complete() -> None:
    assert set(METHODS) >= PUBLISHED
    assert all(entry.name == name for name, entry in METHODS.items())
    assert {entry.needs for entry in METHODS.values()} <= set(NEEDS)
    assert all(entry.accepts and entry.accepts <= set(Role) for entry in METHODS.values())
    assert all(entry.treat.__doc__ for entry in METHODS.values())


def test_keep_is_never_carried_out() -> None:
    with pytest.raises(AssertionError):
        treat("keep")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_treats_the_roles_that_it_accepts_and_no_other(name: str) -> None:
    accepted = {role for role, _ in list_treated(name)}
    assert accepted == METHODS[name].accepts
    for role in set(Role) - accepted:
        obstacle = find_obstacle(name, describe_tensor(role=role), None)
        assert obstacle == f"{name} cannot treat a {role}"


@EVERY_METHOD
def test_shape_and_dtype_are_the_target_s(name: str) -> None:
    """Whatever a method says it can treat, it does."""
    treated = list_treated(name)
    assert treated
    for role, shape in treated:
        values = treat(name, shape=shape, role=role)
        assert values.shape == shape, (role, shape)
        assert values.dtype == "float32", (role, shape)
        assert np.isfinite(values).all(), (role, shape)


@EVERY_METHOD
def test_an_obstacle_is_one_line_that_names_the_method(name: str) -> None:
    for role in Role:
        for shape in SHAPES:
            for source in (None, medzoo.source_from_arrays(make_source(shape))[NAME]):
                obstacle = find_obstacle(name, describe_tensor(shape, role=role), source)
                assert "\n" not in obstacle
                assert not obstacle or name in obstacle or "no such tensor" in obstacle


@EVERY_METHOD
def test_what_a_method_needs_is_all_that_it_reads(name: str) -> None:
    """A moments file is enough for what needs moments; the rest is refused before it is asked for."""
    shape = (3, 3, 8, 8)
    tensor = medzoo.source_from_arrays(make_source(shape))[NAME]
    unread = replace(tensor, read=refuse_to_read, has_values=False)
    needs = METHODS[name].needs
    assert lacks_values(name, unread) == (needs == "values")
    assert not lacks_values(name, tensor)
    assert not lacks_values(name, None)
    bare = replace(unread, covariance=None)
    assert bool(find_obstacle(name, describe_tensor(shape), bare)) == (needs == "covariance")
    assert bool(find_obstacle(name, describe_tensor(shape), None)) == (needs != "nothing")
    if needs != "values":
        given = unread if needs != "nothing" else None
        assert METHODS[name].treat(describe_tensor(shape), given, 0, {}).shape == shape


@EVERY_METHOD
def test_seed_and_name_decide_the_bytes(name: str) -> None:
    shape = (3, 3, 8, 8)
    first = treat(name, seed=3, shape=shape)
    assert treat(name, seed=3, shape=shape).tobytes() == first.tobytes()
    changed = [
        treat(name, seed=4, shape=shape),
        treat(name, seed=3, name="conv2/kernel", shape=shape),
        treat(name, seed=2**40, shape=shape),
    ]
    differ = {other.tobytes() != first.tobytes() for other in changed}
    # What draws follows seed and name, what does not follows neither.
    assert differ == {name in DRAWING}


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


@pytest.mark.parametrize("name", DRAWN)
def test_no_variance_and_nothing_unknown_is_ever_drawn(name: str) -> None:
    """A drawn moving variance could be negative; of an unknown tensor nobody knows what a draw would do."""
    assert not METHODS[name].accepts & {Role.MOVING_VARIANCE, Role.OTHER}


@pytest.mark.parametrize("count", [2, 3, 10, 99, 100, 4096])
@pytest.mark.parametrize("ddof", [0, 1])
def test_an_exact_draw_has_the_source_s_moments_to_a_millionth(count: int, ddof: int) -> None:
    expected = measure_moments(make_source((count,))[NAME])
    deviation = expected.deviation * math.sqrt(count / (count - ddof))
    values = treat("resample", 3, shape=(count,), options={"exact": True, "ddof": ddof})
    found = measure_moments(values)
    assert abs(found.mean - expected.mean) <= 1e-6 * deviation
    assert abs(found.deviation / deviation - 1) <= 1e-6
    # Standardised, not another draw: the same values but for a shift and a scale.
    drawn = treat("resample", 3, shape=(count,))
    assert np.corrcoef(values, drawn)[0, 1] > 1 - 1e-9


@pytest.mark.parametrize("count", [2, 10, 5000])
def test_ddof_widens_the_draw_by_n_over_n_minus_1(count: int) -> None:
    plain, wide = (treat("resample", 1, shape=(count,), options={"ddof": ddof}) for ddof in (0, 1))
    mean = measure_moments(make_source((count,))[NAME]).mean
    np.testing.assert_allclose(
        wide.astype("float64") - mean,
        (plain.astype("float64") - mean) * math.sqrt(count / (count - 1)),
        atol=1e-7,
    )


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"ddof": 1}, {"exact": True, "ddof": 1}])
@pytest.mark.parametrize("shape", [(), (1,), (0, 4)])
def test_one_value_has_no_deviation_and_none_have_no_moments(
    options: dict[str, Scalar], shape: tuple[int, ...]
) -> None:
    values = treat("resample", shape=shape, options=options)
    assert np.array_equal(values, make_source(shape)[NAME])


def test_shuffle_keeps_every_value() -> None:
    values, source = treat("shuffle", 5), make_source()[NAME]
    assert np.array_equal(np.sort(values, axis=None), np.sort(source, axis=None))
    # Of n values in random order one is expected to stay where it was; ten happen once in ten millions.
    assert np.count_nonzero(values == source) < 10
    assert abs(np.corrcoef(values.ravel(), source.ravel())[0, 1]) < 4.5 / math.sqrt(values.size)


def test_bootstrap_draws_the_source_s_values_with_replacement() -> None:
    values, source = treat("bootstrap", 5), make_source()[NAME]
    assert np.isin(values, source).all()
    # Each of n is left out with (1 − 1/n)ⁿ; how many are drawn has a variance of n·(1/e − 2/e²).
    count = source.size
    distinct, expected = np.unique(values).size, count * (1 - (1 - 1 / count) ** count)
    assert abs(distinct - expected) < 4.5 * math.sqrt(count * (1 / math.e - 2 / math.e**2))


def test_the_mean_stands_for_what_is_not_drawn() -> None:
    variances = np.array([0.5, 1.0, 3.0], "float32")
    tensor = medzoo.source_from_arrays({"bn/moving_variance": variances})["bn/moving_variance"]
    made = METHODS["mean"].treat(tensor.spec, tensor, 0, {})
    assert np.array_equal(made, np.full(3, 1.5, "float32"))


@pytest.mark.parametrize("shape", [(4, 4), (3, 3, 5, 5), (1, 1, 6, 6), (2, 2, 3, 3)])
def test_the_identity_gives_on_what_it_gets(shape: tuple[int, ...]) -> None:
    kernel = treat("identity", shape=shape)
    values = np.random.default_rng(0).normal(size=(1, 6, 6, shape[-1])).astype("float32")
    convolve = np.matmul if len(shape) == 2 else keras.ops.conv
    options = {} if len(shape) == 2 else {"padding": "same"}
    answered = np.asarray(convolve(values, kernel, **options))
    assert np.array_equal(answered, values)


def test_the_identity_of_a_depthwise_convolution_gives_on_what_it_gets() -> None:
    kernel = treat("identity", shape=(3, 3, 5, 1), options={"depthwise": True})
    values = np.random.default_rng(0).normal(size=(1, 6, 6, 5)).astype("float32")
    answered = np.asarray(keras.ops.depthwise_conv(values, kernel, padding="same"))
    assert np.array_equal(answered, values)


@pytest.mark.parametrize(("shape", "depthwise"), [((3, 3, 4, 8), False), ((7,), False), ((3, 3, 4, 2), True)])
def test_an_identity_of_other_outputs_than_inputs_is_refused(shape: tuple[int, ...], depthwise: bool) -> None:
    assert "identity cannot" in find_obstacle("identity", describe_tensor(shape), None, depthwise)


def test_an_identity_norm_undoes_its_own_epsilon() -> None:
    x = np.array([-1.0, 0.0, 2.0, 5.0])
    # The epsilon is told to the scale, or, of a norm without one, to the variance.
    for told in (Role.NORM_SCALE, Role.MOVING_VARIANCE):
        norm = {
            role: treat("identity", shape=(4,), role=role, options={"epsilon": 0.01} if role is told else {})
            for role in (Role.NORM_SCALE, Role.NORM_SHIFT, Role.MOVING_MEAN, Role.MOVING_VARIANCE)
        }
        scaled = (x - norm[Role.MOVING_MEAN]) / np.sqrt(norm[Role.MOVING_VARIANCE].astype("float64") + 0.01)
        answered = scaled * norm[Role.NORM_SCALE] + norm[Role.NORM_SHIFT]
        np.testing.assert_allclose(answered, x, rtol=1e-7)


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


def _target(names: list[str], shape: tuple[int, ...] = (3, 3, 6, 5)) -> Target:
    return Target({name: describe_tensor(shape, name) for name in names}, {}, {})


@pytest.mark.parametrize("method", sorted(DRAWING))
def test_order_subset_and_threads_change_no_tensor(method: str) -> None:
    names = ["a/kernel", "b/kernel", "c/kernel"]
    shape = (3, 3, 6, 5)
    source = medzoo.source_from_arrays({name: make_source(shape, name)[name] for name in names})
    made: dict[str, bytes] = {}
    for chosen in (names, names[::-1], ["b/kernel"]):
        plan = medzoo.make_plan(source, _target(chosen), [Rule("*", method)], seed=9, ignore=["*"])
        for name, values in run(plan, source):
            assert made.setdefault(name, values.tobytes()) == values.tobytes()
    assert len(set(made.values())) == 3
    plan = medzoo.make_plan(source, _target(names), [Rule("*", method)], seed=9)
    with ThreadPoolExecutor(3) as pool:
        together = pool.map(lambda step: make_tensor(step, source, plan.seed), plan.steps)
        assert [values.tobytes() for values in together] == list(made.values())


def test_what_shares_a_seed_and_a_name_is_drawn_once_whatever_the_method() -> None:
    """Cuts, samplers and options that fall back on one another share their draws: one key, not one per method."""
    standard = treat("resample", 8)
    moments = measure_moments(make_source()[NAME])
    drawn = (standard.astype("float64") - moments.mean) / moments.deviation
    expected = draw_normal(8, NAME, SHAPE, 0.0, 1.0)
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


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
