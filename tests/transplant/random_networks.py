"""Networks with random weights, norms' statistics and biases included; transplants between them; their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import medzoo
from medzoo import recipes
from medzoo.tensors import Source, name_variables
from medzoo.transplant.adaptations import Adaptations
from medzoo.transplant.plan import Plan, Rule


def randomize(network: keras.Model, seed: int = 0) -> keras.Model:
    """Fill every weight at random: kernels so that answers keep their size, scales and variances around 1."""
    rng = np.random.default_rng(seed)
    for name, variable in name_variables(network).items():
        shape = tuple(variable.shape)
        if "kernel" in name.rpartition("/")[2]:
            inputs = np.prod(shape[:-1]) if "depthwise" not in name else np.prod(shape[:-2])
            values = rng.normal(scale=(1.5 / inputs) ** 0.5, size=shape)
        elif name.endswith(("gamma", "moving_variance")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(scale=0.3, size=shape)
        variable.assign(values.astype("float32"))
    return network


def read_source(network: keras.Model) -> Source:
    """Take a network's weights as a source."""
    arrays = {name: np.asarray(variable) for name, variable in name_variables(network).items()}
    return medzoo.source_from_arrays(arrays, origin="a network")


def transplant(
    source: keras.Model,
    network: keras.Model,
    adaptations: Adaptations,
    rules: tuple[Rule, ...] = recipes.copy(),
    seed: int = 0,
    ignore: Sequence[str] = (),
) -> Plan:
    """Fill a network, whose weights were random, from another."""
    randomize(network, seed=99)
    weights = read_source(source)
    plan = medzoo.make_plan(weights, medzoo.describe(network), rules, seed, ignore, adaptations)
    medzoo.apply(plan, weights, network)
    return plan


def draw_images(network: keras.Model, count: int = 3) -> np.ndarray:
    """Draw images of a network's size."""
    return np.random.default_rng(7).normal(size=(count, *network.input_shape[1:])).astype("float32")


def measure_difference(expected: keras.Model, network: keras.Model, images: Any = None) -> float:
    """Measure how far two networks' answers to images are apart, in units of the largest answer."""
    images = draw_images(expected) if images is None else images
    wanted, found = (
        np.concatenate(
            [np.asarray(one).reshape(-1) for one in keras.tree.flatten(each(images, training=False))]
        )
        for each in (expected, network)
    )
    # Answers that hardly hang on the image would show nothing.
    assert np.std(wanted) > 0.01, wanted
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
