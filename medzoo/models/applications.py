"""Networks that keras.applications builds, under our head: MobileNet and ResNet50."""

from __future__ import annotations

from typing import Any

import keras

from medzoo.specs import ModelSpec


def build_features(spec: ModelSpec, inputs: Any) -> Any:
    """Build keras.applications' network without its top on `inputs`; its layers keep their names.

    `weights=None` always: weights come through a transplant, which also takes channel counts other than 3.
    """
    if spec.family == "mobilenet":
        network = keras.applications.MobileNet(
            input_tensor=inputs, alpha=float(spec.options["alpha"]), include_top=False, weights=None
        )
    else:
        network = keras.applications.ResNet50(input_tensor=inputs, include_top=False, weights=None)
    return network.output
