"""Networks of keras.applications whose layers Keras numbers: `conv2d_17` → `mixed_5d_branch1x1_conv`.

Keras numbers layers of one class as they are created, from wherever the process has got to: a file's numbers
begin at 0 (Keras 3), at 1 (Keras 1 and 2) or at any other, but always rise in the order of creation. Tables give
that order with every kernel's rows, columns and filters, which must agree before anything is renamed. So a file
whose numbers mean another order keeps them: that of Keras 3.0 to 3.5 is `medzoo.weights.align`'s to name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor
from medzoo.weights.dialects.entry import Entry, view

#: A layer that Keras numbered; Keras 1 spelled the classes in its own way. No process counts to ten digits.
_NUMBERED = re.compile(
    r"(conv2d|convolution2d|batch_normalization|batchnormalization)(?:_(\d{1,9}))?", re.ASCII
)

#: What a norm without scale holds, in Keras's order: a `.weights.h5` numbers it.
_UNSCALED = ("beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class NumberedNetwork:
    """The layers that Keras numbers in one network: our name, rows, columns and filters, in order of creation.

    Each is a convolution `NAME_conv` and a norm `NAME_bn`. `marks` are tensors that the network holds beside
    them; `unscaled` are norms that have names of their own and no scale.
    """

    name: str
    layers: tuple[tuple[str, tuple[int, int, int]], ...]
    marks: tuple[str, ...] = ()
    unscaled: tuple[str, ...] = ()
    has_scale: bool = False


def _read_table(text: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Read lines of a part's name and its convolutions, `SUFFIX:ROWSxCOLUMNSxFILTERS`; `*N` repeats the part.

    A repeated part has its number in the place of `#`.
    """
    for line in text.strip().splitlines():
        part, *units = line.split()
        part, _, times = part.partition("*")
        for number in range(1, int(times or 1) + 1):
            for unit in units:
                suffix, _, shape = unit.rpartition(":")
                rows, columns, filters = map(int, shape.split("x"))
                name = part.replace("#", str(number)) + (f"_branch{suffix}" if suffix else "")
                yield name, (rows, columns, filters)


#: Both networks begin with the same five convolutions.
_STEM = """conv2d_1a_3x3 :3x3x32
conv2d_2a_3x3 :3x3x32
conv2d_2b_3x3 :3x3x64
conv2d_3b_1x1 :1x1x80
conv2d_4a_3x3 :3x3x192"""
_INCEPTION_A = "1x1:1x1x64 5x5_1:1x1x48 5x5_2:5x5x64 3x3dbl_1:1x1x64 3x3dbl_2:3x3x96 3x3dbl_3:3x3x96"
_INCEPTION_C = (
    "1x1:1x1x192 7x7_1:1x1x{0} 7x7_2:1x7x{0} 7x7_3:7x1x192 7x7dbl_1:1x1x{0} 7x7dbl_2:7x1x{0} 7x7dbl_3:1x7x{0}"
    " 7x7dbl_4:7x1x{0} 7x7dbl_5:1x7x192 _pool:1x1x192"
)
_INCEPTION_E = (
    "1x1:1x1x320 3x3_1:1x1x384 3x3_2a:1x3x384 3x3_2b:3x1x384"
    " 3x3dbl_1:1x1x448 3x3dbl_2:3x3x384 3x3dbl_3a:1x3x384 3x3dbl_3b:3x1x384 _pool:1x1x192"
)

INCEPTION_V3 = NumberedNetwork(
    "inception_v3",
    tuple(
        _read_table(
            f"""{_STEM}
mixed_5b {_INCEPTION_A} _pool:1x1x32
mixed_5c {_INCEPTION_A} _pool:1x1x64
mixed_5d {_INCEPTION_A} _pool:1x1x64
mixed_6a 3x3:3x3x384 3x3dbl_1:1x1x64 3x3dbl_2:3x3x96 3x3dbl_3:3x3x96
mixed_6b {_INCEPTION_C.format(128)}
mixed_6c {_INCEPTION_C.format(160)}
mixed_6d {_INCEPTION_C.format(160)}
mixed_6e {_INCEPTION_C.format(192)}
mixed_7a 3x3_1:1x1x192 3x3_2:3x3x320 7x7x3_1:1x1x192 7x7x3_2:1x7x192 7x7x3_3:7x1x192 7x7x3_4:3x3x192
mixed_7b {_INCEPTION_E}
mixed_7c {_INCEPTION_E}
"""
        )
    ),
)

INCEPTION_RESNET_V2 = NumberedNetwork(
    "inception_resnet_v2",
    tuple(
        _read_table(
            f"""{_STEM}
mixed_5b 0_1:1x1x96 1_1:1x1x48 1_2:5x5x64 2_1:1x1x64 2_2:3x3x96 2_3:3x3x96 _pool_1:1x1x64
block35_#*10 0_1:1x1x32 1_1:1x1x32 1_2:3x3x32 2_1:1x1x32 2_2:3x3x48 2_3:3x3x64
mixed_6a 0_1:3x3x384 1_1:1x1x256 1_2:3x3x256 1_3:3x3x384
block17_#*20 0_1:1x1x192 1_1:1x1x128 1_2:1x7x160 1_3:7x1x192
mixed_7a 0_1:1x1x256 0_2:3x3x384 1_1:1x1x256 1_2:3x3x288 2_1:1x1x256 2_2:3x3x288 2_3:3x3x320
block8_#*10 0_1:1x1x192 1_1:1x1x192 1_2:1x3x224 1_3:3x1x256
"""
        )
    ),
    marks=("block35_1_conv/kernel", "conv_7b/kernel"),
    unscaled=("conv_7b_bn",),
)

XCEPTION = NumberedNetwork(
    "xception",
    tuple(
        _read_table(
            """
block2_shortcut :1x1x128
block3_shortcut :1x1x256
block4_shortcut :1x1x728
block13_shortcut :1x1x1024
"""
        )
    ),
    marks=("block1_conv1/kernel", "block14_sepconv2_bn/gamma"),
    has_scale=True,
)

#: A new network joins with one line. NASNet needs none: each of its layers with weights has a name.
NETWORKS = (INCEPTION_V3, INCEPTION_RESNET_V2, XCEPTION)


def name_numbered(tensors: Mapping[str, LazyTensor]) -> tuple[dict[str, LazyTensor], tuple[str, ...]]:
    """Give tensors of numbered layers the names of a known network, and a note for a person that says so.

    Tensors of other networks, and those that a network of these has beside them, keep their names.

    Raises:
        WeightsError: two tensors end up with one name.
    """
    numbered = _list_numbered(tensors)
    for network in NETWORKS:
        layers = _match(tensors, network, numbered)
        if layers:
            return _rename(tensors, layers), (f"numbered layers were named as {network.name}'s",)
    return dict(tensors), ()


def _match(
    tensors: Mapping[str, LazyTensor], network: NumberedNetwork, numbered: Mapping[str, list[str]]
) -> dict[str, str]:
    """Give a network's names by those of the numbered layers in a file; none if the file holds another network."""
    if not all(mark in tensors for mark in network.marks):
        return {}
    if any(len(layers) < len(network.layers) for layers in numbered.values()):
        return {}
    names: dict[str, str] = {name: name for name in network.unscaled}
    # A head of one's own may hold more of them; it is created after the network.
    for convolution, norm, (ours, shape) in zip(
        numbered["conv"], numbered["bn"], network.layers, strict=False
    ):
        if not _fits(tensors, convolution, norm, shape, network.has_scale):
            return {}
        names |= {convolution: f"{ours}_conv", norm: f"{ours}_bn"}
    return names


def _list_numbered(tensors: Mapping[str, LazyTensor]) -> dict[str, list[str]]:
    """List the convolutions and norms that Keras numbered, in the order of their numbers."""
    found: dict[str, dict[str, int]] = {"conv": {}, "bn": {}}
    for name in tensors:
        layer = name.rpartition("/")[0]
        numbered = _NUMBERED.fullmatch(layer)
        if numbered:
            kind = "conv" if numbered[1].startswith("conv") else "bn"
            found[kind][layer] = int(numbered[2] or 0)
    return {kind: sorted(layers, key=lambda layer: layers[layer]) for kind, layers in found.items()}


def _fits(
    tensors: Mapping[str, LazyTensor],
    convolution: str,
    norm: str,
    shape: tuple[int, int, int],
    has_scale: bool,
) -> bool:
    """Tell whether a kernel and a norm have the shapes of one place; the image's channels are free."""
    kernel = tensors.get(f"{convolution}/kernel")
    if kernel is None or len(kernel.spec.shape) != 4 or f"{convolution}/bias" in tensors:
        return False
    rows, columns, _, filters = kernel.spec.shape
    mean = tensors.get(f"{norm}/moving_mean", tensors.get(f"{norm}/1"))
    return (
        (rows, columns, filters) == shape
        and mean is not None
        and mean.spec.shape == (filters,)
        and (f"{norm}/gamma" in tensors) == has_scale
    )


def _rename(tensors: Mapping[str, LazyTensor], layers: Mapping[str, str]) -> dict[str, LazyTensor]:
    """Rename the tensors of some layers, and name the variables that a file only numbers."""
    renamed: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        layer, _, variable = name.rpartition("/")
        new = name
        if layer in layers:
            variable = _UNSCALED[int(variable)] if variable in ("0", "1", "2") else variable
            new = f"{layers[layer]}/{variable}"
        if new in renamed or (new != name and new in tensors):
            raise WeightsError(f"{name!r} and another tensor are both {new!r}", "unique names")
        renamed[new] = tensor if new == name else view(tensor, Entry(name, new), new)
    return renamed
