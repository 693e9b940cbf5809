"""Networks without weights stay so, whatever Keras does afterwards."""

from __future__ import annotations

import resource

import keras

import medzoo
from medzoo.models.abstract import build_without_weights
from medzoo.models.describe import build_abstractly


def resident_peak() -> int:
    """Give the largest resident size so far in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def test_a_gigabyte_is_described_in_no_memory_now_or_later() -> None:
    """928 million backbone weights are 3.7 GB; Keras fills what is pending when any other scope ends."""
    with keras.StatelessScope():  # what others left pending is not ours
        pass
    build_abstractly(medzoo.find_model("cbr_tiny"), 2, 1)
    before = resident_peak()
    network = build_abstractly(medzoo.find_model("bit_r152x4"), 1000, 3)
    with keras.StatelessScope():
        pass
    assert network.count_params() > 928_340_224
    assert resident_peak() - before < 300


def test_what_others_left_pending_stays_pending() -> None:
    with keras.StatelessScope(initialize_variables=False):
        theirs = keras.layers.Dense(2)
        theirs.build((None, 3))
    with build_without_weights():
        ours = keras.layers.Dense(2)
        ours.build((None, 3))
    with keras.StatelessScope():
        pass
    assert theirs.kernel.value is not None
    assert ours.kernel._value is None


def test_an_adapted_network_of_keras_leaves_nothing_pending() -> None:
    medzoo.build("mobilenet_025", classes=2, channels=1, input_size=32)
    before = resident_peak()
    with keras.StatelessScope():
        pass
    assert resident_peak() - before < 50
