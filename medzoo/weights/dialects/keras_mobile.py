"""keras.applications' networks for small devices: MobileNetV2 and V3 as Keras 2 wrote them, EfficientNet."""

from __future__ import annotations

from collections.abc import Iterable

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry

_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_LAYER = ("kernel", "bias")

#: The head of keras_applications' mobilenet_v2.py, before it became a part of TensorFlow.
MOBILENET_V2 = Dialect(
    "keras_applications_mobilenet_v2",
    "keras.applications' MobileNetV2 of Keras 2.2: the head `Logits` becomes `head`",
    marks=("Conv1/kernel", "expanded_conv_depthwise/kernel", "Logits/kernel"),
    entries=tuple(Entry(f"Logits/{variable}", f"{HEAD}/{variable}") for variable in _LAYER),
    keeps_rest=True,
)


def _list_layers(theirs: str, ours: str, norm: str) -> Iterable[Entry]:
    """Give the lines of a convolution, which may have a bias, and of its batch norm."""
    for variable in _LAYER:
        yield Entry(f"{theirs}/{variable}", f"{ours}/{variable}")
    for variable in _BATCH_NORM:
        yield Entry(f"{theirs}{norm}/{variable}", f"{ours}_bn/{variable}")


def _list_mobilenet_v3() -> Iterable[Entry]:
    """Give the lines of MobileNetV3 below its head: Keras 3's names, then Keras 2's, which had slashes.

    Keras 3's are listed so that they are the ones that are written.
    """
    for is_old in (False, True):
        step, norm = ("/", "/BatchNorm") if is_old else ("_", "_bn")
        for layer in ("conv", "conv_1", "conv_2"):
            yield from _list_layers(layer.capitalize() if is_old else layer, layer, norm)
        for block in ("expanded_conv", "expanded_conv_{block}"):
            for layer in ("expand", "depthwise", "project"):
                yield from _list_layers(f"{block}{step}{layer}", f"{block}_{layer}", norm)
            for layer in ("conv", "conv_1"):
                excite = f"squeeze_excite/{layer.capitalize()}" if is_old else f"squeeze_excite_{layer}"
                for variable in _LAYER:
                    yield Entry(
                        f"{block}{step}{excite}/{variable}", f"{block}_squeeze_excite_{layer}/{variable}"
                    )
        head = "Logits" if is_old else "logits"
        yield Entry(f"{head}/kernel", f"{HEAD}/kernel", ones=2, rank=4)
        yield Entry(f"{head}/bias", f"{HEAD}/bias")


MOBILENET_V3 = Dialect(
    "keras_applications_mobilenet_v3",
    "keras.applications' MobileNetV3: the head `logits`, a 1×1 convolution, becomes the dense layer `head`;"
    " Keras 2's `expanded_conv/expand` becomes `expanded_conv_expand`",
    marks=(
        "conv/kernel|Conv/kernel",
        "expanded_conv_depthwise/kernel|expanded_conv/depthwise/kernel",
        "logits/kernel|Logits/kernel|expanded_conv/depthwise/kernel",
    ),
    entries=tuple(_list_mobilenet_v3()),
)

#: The layer that EfficientNet scales its input by; a `.weights.h5` numbers its variables.
NORMALIZATION = ("normalization/*", "normalization_*/*")

EFFICIENTNET = Dialect(
    "keras_applications_efficientnet",
    "keras.applications' EfficientNet B0–B7: the head `predictions` becomes `head`; the input's mean and variance"
    " are left out, which are the contract's",
    marks=("|".join(NORMALIZATION), "stem_conv/kernel", "block1a_dwconv/kernel"),
    entries=tuple(Entry(f"predictions/{variable}", f"{HEAD}/{variable}") for variable in _LAYER),
    dropped=NORMALIZATION,
    keeps_rest=True,
)
