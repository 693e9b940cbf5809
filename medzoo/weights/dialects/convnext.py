"""keras.applications' ConvNeXt, which puts the network's name, with its size, before every layer's.

Without that name layers are called the same in all sizes: weights can be selected from a larger network.
"""

from __future__ import annotations

from collections.abc import Iterable

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry

_LAYER = ("kernel", "bias")
_NORM = ("gamma", "beta")
#: LayerScale's variable has no name of its own: Keras 2 called it `Variable`, Keras 3 numbers it through the
#: process; a `.weights.h5` stores it as its layer's first.
_SCALES = ("Variable", "Variable_{count}", "variable", "variable_{count}", "gamma", "0")


def _rename(theirs: str, ours: str, variables: Iterable[str]) -> Iterable[Entry]:
    """Give the lines of a layer whose variables keep their names."""
    for variable in variables:
        yield Entry(f"{theirs}/{variable}", f"{ours}/{variable}")


def _list_lines(network: str) -> Iterable[Entry]:
    """Give the lines of a network of that name."""
    # Layers within a sequential model are stored below its name; Keras 2 left it out where it was built before.
    for inside in (f"{network}_stem/", ""):
        yield from _rename(f"{inside}{network}_stem_conv", "stem_conv", _LAYER)
        yield from _rename(f"{inside}{network}_stem_layernorm", "stem_layernorm", _NORM)
    for inside in (f"{network}_downsampling_block_{{stage}}/", ""):
        for layer, variables in (("downsampling_layernorm", _NORM), ("downsampling_conv", _LAYER)):
            yield from _rename(f"{inside}{network}_{layer}_{{stage}}", f"{layer}_{{stage}}", variables)
    block = "stage_{stage}_block_{block}"
    for layer, variables in (
        ("depthwise_conv", _LAYER),
        ("layernorm", _NORM),
        ("pointwise_conv_1", _LAYER),
        ("pointwise_conv_2", _LAYER),
    ):
        yield from _rename(f"{network}_{block}_{layer}", f"{block}_{layer}", variables)
    for variable in _SCALES:
        yield Entry(f"{network}_{block}_layer_scale/{variable}", f"{block}_layer_scale/gamma")
    # Without a top, the norm that is the head's here ends the network, and Keras numbers it.
    for norm in (f"{network}_head_layernorm", "layer_normalization", "layer_normalization_{count}"):
        yield from _rename(norm, f"{HEAD}_norm", _NORM)
    yield from _rename(f"{network}_head_dense", HEAD, _LAYER)


def _make_dialect(size: str) -> Dialect:
    """Make the dialect of one size."""
    network = f"convnext_{size}"
    return Dialect(
        f"keras_applications_{network}",
        f"keras.applications' ConvNeXt, {size}: `{network}_` is taken off every name",
        marks=(
            f"{network}_stage_0_block_0_depthwise_conv/kernel",
            f"{network}_stage_0_block_0_pointwise_conv_1/kernel",
        ),
        entries=tuple(_list_lines(network)),
        dropped=(f"{network}_prestem_normalization/*",),
    )


CONVNEXTS: tuple[Dialect, ...] = tuple(map(_make_dialect, ("tiny", "small", "base", "large", "xlarge")))
