"""Files of networks whose layers Keras numbers, from wherever the process has got to."""

from __future__ import annotations

import re
from collections.abc import Callable

import keras
import numpy as np
import pytest

import medzoo
from medzoo.errors import WeightsError
from medzoo.models import inception_resnet_v2, inception_v3, xception
from medzoo.models.abstract import build_without_weights
from medzoo.models.applications import construct
from medzoo.models.describe import build_abstractly
from medzoo.tensors import LazyTensor
from medzoo.weights.dialects import keras_numbered
from medzoo.weights.dialects.keras_numbered import name_numbered
from medzoo.weights.dialects.table import speak

NETWORKS = {
    "inception_v3": inception_v3,
    "inception_resnet_v2": inception_resnet_v2,
    "xception": xception,
}
Shapes = dict[str, tuple[int, ...]]


def make_tensors(shapes: Shapes) -> dict[str, LazyTensor]:
    """Give tensors of these shapes that take no memory."""
    return medzoo.source_from_arrays(
        {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    ).tensors


@pytest.fixture(scope="module")
def theirs() -> dict[str, keras.Model]:
    """Keras's networks without tops, built after other layers, so that no number is the least of its class."""
    with build_without_weights():
        keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()
        return {name: construct(medzoo.find_model(name), (96, 96, 3)) for name in NETWORKS}


@pytest.fixture(scope="module")
def ours() -> dict[str, Shapes]:
    """The tensors below the head of our networks."""
    return {
        name: list_shapes(build_abstractly(medzoo.find_model(name), 2, 3, head="none")) for name in NETWORKS
    }


def list_shapes(network: keras.Model) -> Shapes:
    return {variable.path: tuple(variable.shape) for variable in network.weights}


def renumber(shapes: Shapes, rename: Callable[[str, int], str]) -> Shapes:
    """Give numbered layers other numbers by class, in place of those by their order of creation: 0, 1, 2, …"""
    pattern = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?/(\w+)")
    least: dict[str, int] = {}
    parsed = {name: match for name in shapes if (match := pattern.fullmatch(name))}
    for match in parsed.values():
        number = int(match[2] or 0)
        least[match[1]] = min(least.get(match[1], number), number)
    return {
        f"{rename(parsed[name][1], int(parsed[name][2] or 0) - least[parsed[name][1]])}/{parsed[name][3]}"
        if name in parsed
        else name: shape
        for name, shape in shapes.items()
    }


def keras_3(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def keras_2(kind: str, number: int) -> str:
    return f"{kind}_{number + 1}"


def keras_1(kind: str, number: int) -> str:
    return f"{ {'conv2d': 'convolution2d', 'batch_normalization': 'batchnormalization'}[kind] }_{number + 1}"


def with_gaps(kind: str, number: int) -> str:
    return f"{kind}_{1000 + 3 * number}"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_names_what_the_network_s_builder_names(name: str, theirs: dict[str, keras.Model]) -> None:
    network = theirs[name]
    expected = NETWORKS[name]._name(medzoo.find_model(name), network)
    shapes = list_shapes(network)
    tensors, notes = name_numbered(make_tensors(shapes))
    names = [f"{expected.get(layer, layer)}/{end}" for layer, end in (path.split("/") for path in shapes)]
    assert list(tensors) == names
    assert [tensor.spec.shape for tensor in tensors.values()] == list(shapes.values())
    assert [tensor.spec.name for tensor in tensors.values()] == names
    assert notes == (f"numbered layers were named as {name}'s",)


@pytest.mark.parametrize("write", [keras_3, keras_2, keras_1, with_gaps])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_numbers_become_our_names(
    name: str, write: Callable[[str, int], str], theirs: dict[str, keras.Model], ours: dict[str, Shapes]
) -> None:
    shapes = renumber(list_shapes(theirs[name]), write)
    dialect, tensors, _ = speak(make_tensors(shapes), "a file")
    assert dialect == "keras"
    assert {key: tensor.spec.shape for key, tensor in tensors.items()} == ours[name]


@pytest.mark.parametrize("name", ["inception_v3", "inception_resnet_v2"])
def test_variables_of_norms_without_scale_are_named_by_their_numbers(
    name: str, theirs: dict[str, keras.Model]
) -> None:
    """A `.weights.h5` cannot tell a norm without scale from one without shift; the network can."""
    numbers = {"beta": "0", "moving_mean": "1", "moving_variance": "2"}
    written = {}
    for path, shape in renumber(list_shapes(theirs[name]), keras_3).items():
        layer, variable = path.split("/")
        written[f"{layer}/{numbers.get(variable, variable)}"] = shape
    source = make_tensors(written)
    tensors, _ = name_numbered(source)
    norms = {"conv2d_1a_3x3_bn": "batch_normalization"}
    if name == "inception_resnet_v2":
        norms["conv_7b_bn"] = "conv_7b_bn"
    for ours, group in norms.items():
        for variable, number in numbers.items():
            assert tensors[f"{ours}/{variable}"].read is source[f"{group}/{number}"].read
    assert not any(path.endswith(("/0", "/1", "/2")) for path in tensors)


def test_numbers_without_end_are_no_numbers(theirs: dict[str, keras.Model]) -> None:
    endless = f"conv2d_{'9' * 5000}/kernel"
    shapes = list_shapes(theirs["inception_v3"]) | {endless: (1, 1, 1, 1)}
    assert endless in name_numbered(make_tensors(shapes))[0]


def test_numbers_of_another_order_are_left_alone(theirs: dict[str, keras.Model]) -> None:
    """Keras 3.0 to 3.5 number groups by their depth in the graph."""
    network = theirs["inception_v3"]
    shapes: Shapes = {}
    for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization):
        layers = [layer for layer in network.layers if isinstance(layer, kind)]
        prefix = "conv2d" if kind is keras.layers.Conv2D else "batch_normalization"
        for number, layer in enumerate(layers):
            shapes |= {f"{keras_3(prefix, number)}/{v.name}": tuple(v.shape) for v in layer.weights}
    tensors, notes = name_numbered(make_tensors(shapes))
    assert list(tensors) == list(shapes)
    assert notes == ()


def change_a_width(shapes: Shapes) -> Shapes:
    name = "conv2d_40/kernel"
    return shapes | {name: (*shapes[name][:3], shapes[name][3] + 1)}


def add_a_bias(shapes: Shapes) -> Shapes:
    return shapes | {"conv2d_40/bias": (shapes["conv2d_40/kernel"][3],)}


def add_a_scale(shapes: Shapes) -> Shapes:
    return shapes | {"batch_normalization_40/gamma": shapes["batch_normalization_40/beta"]}


def leave_out_a_layer(shapes: Shapes) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith("conv2d_93/")}


def leave_out_a_statistic(shapes: Shapes) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name != "batch_normalization_40/moving_mean"}


@pytest.mark.parametrize(
    "change", [change_a_width, add_a_bias, add_a_scale, leave_out_a_layer, leave_out_a_statistic]
)
def test_another_network_keeps_its_numbers(
    change: Callable[[Shapes], Shapes], theirs: dict[str, keras.Model]
) -> None:
    shapes = change(renumber(list_shapes(theirs["inception_v3"]), keras_3))
    assert list(name_numbered(make_tensors(shapes))[0]) == list(shapes)


@pytest.mark.parametrize("name", ["inception_resnet_v2", "xception"])
def test_numbers_without_the_network_s_marks_keep_them(name: str, theirs: dict[str, keras.Model]) -> None:
    numbered = {
        path: shape
        for path, shape in list_shapes(theirs[name]).items()
        if re.match(r"(conv2d|batch_normalization)(_\d+)?/", path)
    }
    assert list(name_numbered(make_tensors(numbered))[0]) == list(numbered)


def test_an_image_may_have_any_channels_and_a_head_layers_of_its_own(theirs: dict[str, keras.Model]) -> None:
    shapes = renumber(list_shapes(theirs["inception_v3"]), keras_2)
    shapes["conv2d_1/kernel"] = (3, 3, 1, 32)
    own = {"conv2d_95/kernel": (1, 1, 2048, 7), "conv2d_95/bias": (7,), "batch_normalization_95/gamma": (7,)}
    tensors = name_numbered(make_tensors(shapes | own))[0]
    assert tensors["conv2d_1a_3x3_conv/kernel"].spec.shape == (3, 3, 1, 32)
    assert set(own) <= set(tensors)
    assert [name for name in tensors if name not in own and name.startswith("batch_normalization")] == []


def test_dialect_keras_leaves_the_numbers(theirs: dict[str, keras.Model]) -> None:
    shapes = list_shapes(theirs["inception_v3"])
    assert list(speak(make_tensors(shapes), "a file", "keras")[1]) == list(shapes)


def test_two_tensors_of_one_name_are_refused(theirs: dict[str, keras.Model]) -> None:
    shapes = list_shapes(theirs["inception_v3"]) | {"mixed_7c_branch1x1_conv/kernel": (1,)}
    with pytest.raises(WeightsError, match="another tensor are both 'mixed_7c_branch1x1_conv/kernel'"):
        name_numbered(make_tensors(shapes))


def test_keras_1_joined_a_separable_convolution_s_names_by_an_underscore() -> None:
    """As in the Xception that Keras 1 saved."""
    shapes: Shapes = {
        "block2_sepconv1_depthwise_kernel": (3, 3, 64, 1),
        "block2_sepconv1_pointwise_kernel": (1, 1, 64, 128),
    }
    _, tensors, _ = speak(make_tensors(shapes), "a file")
    assert {name: tensor.spec.shape for name, tensor in tensors.items()} == {
        "block2_sepconv1/depthwise_kernel": (3, 3, 64, 1),
        "block2_sepconv1/pointwise_kernel": (1, 1, 64, 128),
    }
    both = {"block2_sepconv1/depthwise_kernel": (3, 3, 64, 1), **shapes}
    with pytest.raises(WeightsError, match="another tensor are both 'block2_sepconv1/depthwise_kernel'"):
        speak(make_tensors(both), "a file")


def test_every_convolution_of_a_table_is_there_once() -> None:
    for network in keras_numbered.NETWORKS:
        names = [name for name, _ in network.layers]
        assert len(set(names)) == len(names)
    assert [len(network.layers) for network in keras_numbered.NETWORKS] == [94, 203, 4]
