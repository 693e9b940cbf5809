"""What is drawn has its source's moments, on whole real networks, and is the same from whatever file it is drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.tensors import Moments, Role, Source, Target, measure_moments
from medzoo.transplant.plan import Rule
from medzoo.transplant.run import make_tensor, run

RULES = {
    "stats": recipes.stats(),
    "exact": recipes.stats(exact=True, ddof=1),
    "drawn_norms": recipes.stats(norm="resample", bias="zero"),
    "gabor": recipes.gabor(rest="stats"),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_every_format_and_the_moments_file_give_the_same_tensors(
    rules: tuple[Rule, ...], tmp_path: Path
) -> None:
    target = medzoo.describe("cbr_tiny", classes=2, channels=1)
    whole = medzoo.describe("cbr_tiny", classes=9, channels=3)
    rng = np.random.default_rng(4)
    arrays = {n: rng.normal(0.1, 1, t.shape).astype("float32") for n, t in whole.tensors.items()}
    given = medzoo.source_from_arrays(arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    for name in ("a.safetensors", "a.weights.h5"):
        medzoo.write(medzoo.make_plan(given, whole, recipes.copy()), given, whole, tmp_path / name)
        (tmp_path / "a.plan.json").unlink()
    medzoo.convert(given, tmp_path / "a.h5")
    weights = medzoo.open_weights(tmp_path / "a.npz")
    medzoo.write_moments(weights, tmp_path / "a.json")
    moments = medzoo.open_weights(tmp_path / "a.json")
    assert moments.format == "moments"
    for name, tensor in weights.items():
        assert moments[name].moments() == tensor.moments()
        assert moments[name].spec == tensor.spec
    files = ("a.npz", "a.json", "a.safetensors", "a.weights.h5", "a.h5")
    sources = [given, *(medzoo.open_weights(tmp_path / name) for name in files)]
    assert len({source.format for source in sources}) == len(sources)
    made = [
        {n: v.tobytes() for n, v in run(medzoo.make_plan(source, target, rules, 6), source)}
        for source in sources
    ]
    assert all(tensors == made[0] for tensors in made[1:])
    assert len(made[0]) == len(target.tensors)


# --- moments, on real networks -------------------------------------------------------------------------------


def chi_square(value: float, degrees: int) -> float:
    """Give the chance that χ² of some degrees of freedom stays below a value: the incomplete gamma function."""
    half, x = degrees / 2, value / 2
    if x <= 0:
        return 0.0
    term = math.exp(half * math.log(x) - x - math.lgamma(half + 1))
    total, step = term, half
    while term > 1e-17 * total:
        step += 1
        term *= x / step
        total += term
    return min(total, 1.0)


#: A normal goes beyond 4.5 of its deviations with this chance, to one side.
RARE = math.erfc(4.5 / math.sqrt(2)) / 2


def assert_moments(values: np.ndarray, mean: float, deviation: float, name: str) -> None:
    """Check a draw's mean and variance: exact bounds of the normal and of χ², and 4.5 standard errors of many."""
    count, found = values.size, measure_moments(values)
    if deviation == 0:
        assert found == Moments(float(np.float32(mean)), 0.0), name
        return
    assert abs(found.mean - mean) <= 4.5 * deviation / math.sqrt(count), name
    if count >= 100:
        assert abs(found.deviation**2 / deviation**2 - 1) <= 4.5 * math.sqrt(2 / count), name
    elif count > 1:
        below = chi_square(count * found.deviation**2 / deviation**2, count - 1)
        assert RARE <= below <= 1 - RARE, name


def open_real(folder: Path, name: str) -> tuple[Source, Target]:
    """Open a real network's file, and describe the network."""
    file, row, classes = {
        "mobilenet_075": ("mobilenet_7_5_224_tf.h5", "mobilenet_075", 2),
        "resnet20": ("resnet20-12fca82f.th", "resnet20", 2),
    }[name]
    target = medzoo.describe(row, classes=classes)
    return medzoo.align(medzoo.open_weights(folder / file, row), target), target


REAL = pytest.mark.parametrize("network", ["mobilenet_075", "resnet20"])


def test_the_bounds_are_those_of_chi_square() -> None:
    """Tabulated: χ² of 1 stays below 3.841459 with 95 %, of 10 below 18.307038, of 60 below 43.187958 with 5 %."""
    for value, degrees, share in ((3.841459, 1, 0.95), (18.307038, 10, 0.95), (43.187958, 60, 0.05)):
        assert abs(chi_square(value, degrees) - share) < 1e-6


@REAL
@pytest.mark.parametrize("ddof", [0, 1])
def test_every_tensor_of_a_real_network_is_drawn_with_its_own_moments(
    shared_weights: Path, network: str, ddof: int
) -> None:
    source, target = open_real(shared_weights, network)
    plan = medzoo.make_plan(source, target, recipes.stats(norm="resample", ddof=ddof), seed=17)
    made = dict(run(plan, source))
    sizes = []
    for step in plan.steps:
        if step.method == "resample":
            expected, count = source[step.target.name].moments(), step.target.size
            deviation = expected.deviation * math.sqrt(count / (count - ddof))
            assert_moments(made[step.target.name], expected.mean, deviation, step.target.name)
            sizes.append(count)
        elif step.method == "mean":
            mean = np.float32(source[step.target.name].moments().mean)
            assert step.target.role is Role.MOVING_VARIANCE
            assert np.array_equal(made[step.target.name], np.full(step.target.shape, mean))
        else:
            assert (step.method, step.target.name.split("/")[0]) == ("fresh", "head")
    # All but the moving variances and the head: both sides of 100 values.
    variances = sum(spec.role is Role.MOVING_VARIANCE for spec in target.tensors.values())
    assert len(sizes) == len(target.tensors) - variances - 2
    assert min(sizes) < 100 <= max(sizes)


@REAL
def test_exact_draws_of_a_real_network_have_its_moments_to_a_millionth(
    shared_weights: Path, network: str
) -> None:
    source, target = open_real(shared_weights, network)
    plan = medzoo.make_plan(source, target, recipes.stats(norm="resample", exact=True), seed=17)
    for step, (name, values) in zip(plan.steps, run(plan, source), strict=True):
        if step.method == "resample":
            expected, found = source[name].moments(), measure_moments(values)
            scale = max(expected.deviation, abs(expected.mean))
            assert abs(found.mean - expected.mean) <= 1e-6 * scale, name
            assert abs(found.deviation - expected.deviation) <= 1e-6 * scale, name


@REAL
@pytest.mark.parametrize("sampler", ["shuffle", "bootstrap"])
def test_samplers_of_values_give_values_of_the_same_tensor(
    shared_weights: Path, network: str, sampler: str
) -> None:
    source, target = open_real(shared_weights, network)
    plan = medzoo.make_plan(source, target, recipes.stats(sampler=sampler), seed=17)
    kernels = [step for step in plan.steps if step.method == sampler]
    assert {step.target.role for step in kernels} == {Role.KERNEL}
    for step in kernels:
        values = make_tensor(step, source, plan.seed)
        given = np.asarray(source[step.target.name])
        assert not np.array_equal(values, given)
        if sampler == "shuffle":
            assert np.array_equal(np.sort(values, axis=None), np.sort(given, axis=None))
        else:
            assert np.isin(values, given).all()


@REAL
def test_tensors_of_different_names_are_uncorrelated(shared_weights: Path, network: str) -> None:
    """Every pair of a network's draws, over the values that both have: hundreds of pairs of 400 values or more."""
    source, target = open_real(shared_weights, network)
    plan = medzoo.make_plan(source, target, recipes.stats(), seed=17)
    drawn = [
        (name, values.ravel()[:4096].astype("float64"))
        for step, (name, values) in zip(plan.steps, run(plan, source), strict=True)
        if step.method == "resample" and step.target.size >= 400
    ]
    assert len(drawn) >= 15
    for place, (name, values) in enumerate(drawn):
        for other, others in drawn[:place]:
            count = min(values.size, others.size)
            correlation = np.corrcoef(values[:count], others[:count])[0, 1]
            assert abs(correlation) < 5 / math.sqrt(count), (name, other)


def test_the_bundled_moments_give_the_real_file_s_tensors(shared_weights: Path) -> None:
    """Those of the package were measured on this file: statistics need no download."""
    source, target = open_real(shared_weights, "mobilenet_075")
    bundled = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    assert bundled.format == "moments"
    for rules in (recipes.stats(), recipes.covariance(rest="stats")):
        plans = [medzoo.make_plan(given, target, rules, 3) for given in (source, bundled)]
        shared = [
            ours
            for ours, theirs in zip(plans[0].steps, plans[1].steps, strict=True)
            if ours.method == theirs.method
        ]
        # A moments file holds the covariance of depthwise kernels alone, so that others are drawn one by one.
        assert len(shared) >= len(target.tensors) - 1
        for step in shared:
            mine, theirs = (make_tensor(step, given, 3) for given in (source, bundled))
            assert mine.tobytes() == theirs.tobytes(), step.target.name
