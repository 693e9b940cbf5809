"""Every family on Keras's other backend: JAX."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import medzoo
from medzoo.models.tables.parts import find_totals
from medzoo.specs import ModelSpec


def list_narrow() -> list[ModelSpec]:
    """List the narrowest row of every family."""
    families = dict.fromkeys(spec.family for spec in medzoo.list_models())
    return [
        min(
            (spec for spec in medzoo.list_models() if spec.family == family),
            key=lambda spec: find_totals(spec).parameters,
        )
        for family in families
    ]


def least_size(spec: ModelSpec) -> int:
    """Give the least input of 32 pixels or more that a network takes."""
    least = max(32, spec.smallest_input)
    return least + -least % spec.multiple


#: Under Keras's JAX backend: describe every family's narrow row; run those with layers of our own.
_OTHER_BACKEND = """
import jax, numpy, keras, medzoo
from medzoo.models.describe import build_abstractly, describe_network
assert keras.backend.backend() == "jax"
ran = []
for name, size in {rows}:
    model = build_abstractly(medzoo.find_model(name), 3, 1, size)
    row = medzoo.describe(name, classes=3, channels=1, input_size=size)
    assert describe_network(model).tensors == row.tensors, name
    if any(type(layer).__module__.startswith("medzoo") for layer in model.layers) or name == "cbr_tiny":
        model = medzoo.build(name, classes=3, channels=1, input_size=size)
        predict = jax.jit(lambda images: model(images, training=False))
        logits = numpy.asarray(predict(numpy.ones((1, size, size, 1), "float32")))
        assert logits.shape == (1, 3) and numpy.isfinite(logits).all(), name
        ran.append(name)
print(*ran)
"""


@pytest.mark.slow
def test_every_family_builds_under_jax() -> None:
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    code = _OTHER_BACKEND.format(rows=[(spec.name, least_size(spec)) for spec in list_narrow()])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"cbr_tiny", "bit_r50x1", "vit_ti16", "swin_t"} <= set(done.stdout.split())
