"""VGG, the Inceptions, Xception, NASNet and ResNet v2: counts, stages, cuts, widths, names."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.models.abstract import build_without_weights
from medzoo.models.describe import build_abstractly
from medzoo.models.inception_resnet_v2 import ScaledSum
from medzoo.models.rows import inception_resnet_v2, inception_v3
from medzoo.specs import find_stage, list_parts
from medzoo.weights.dialects import torchvision

#: keras.applications' documentation, in units: parameters with a head of 1000 classes.
PUBLISHED = {
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "inception_v3": 23_851_784,
    "inception_resnet_v2": 55_873_736,
    "xception": 22_910_480,
    "nasnet_mobile": 5_326_716,
    "nasnet_large": 88_949_818,
    "resnet50v2": 25_613_800,
    "resnet101v2": 44_675_560,
    "resnet152v2": 60_380_648,
}
SMALL = ("vgg16", "inception_v3", "inception_resnet_v2", "xception", "nasnet_mobile", "resnet50v2")

Shapes = dict[str, tuple[int, ...]]


@cache
def build_once(name: str, channels: int = 3, size: int | None = None) -> keras.Model:
    return build_abstractly(medzoo.find_model(name), 1000, channels, size)


def list_shapes(name: str, channels: int = 3, size: int | None = None) -> Shapes:
    network = build_once(name, channels, size)
    return {variable.path: tuple(variable.shape) for variable in network.weights}


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_parameters_are_those_published_and_those_of_keras(name: str, count: int) -> None:
    """Every tensor has the shape that Keras's has, in the same order."""
    spec = medzoo.find_model(name)
    ours = build_once(name)
    with build_without_weights():
        theirs = getattr(keras.applications, str(spec.options["constructor"]))(weights=None)
    assert ours.count_params() == theirs.count_params() == count
    assert [tuple(one.shape) for one in ours.weights] == [tuple(one.shape) for one in theirs.weights]
    assert theirs.input_shape == (None, spec.input_size, spec.input_size, 3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_contract_is_keras_s(name: str) -> None:
    spec = medzoo.find_model(name)
    modules = {
        "vgg16": "vgg16",
        "vgg19": "vgg19",
        "inception_v3": "inception_v3",
        "inception_resnet_v2": "inception_resnet_v2",
        "xception": "xception",
        "nasnet_mobile": "nasnet",
        "nasnet_large": "nasnet",
    }
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype("float32")
    module = getattr(keras.applications, modules.get(name, "resnet_v2"))
    expected = module.preprocess_input(pixels.copy())
    contract = spec.preprocessing
    ordered = pixels[..., ::-1] if contract.order == "bgr" else pixels
    found = ordered * np.asarray(contract.scale) + np.asarray(contract.offset)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_the_smallest_input_is_keras_s(name: str) -> None:
    spec = medzoo.find_model(name)
    constructor = getattr(keras.applications, str(spec.options["constructor"]))
    too_small = (spec.smallest_input - 1, spec.smallest_input - 1, 3)
    with pytest.raises(ValueError, match=f"at least {spec.smallest_input}x{spec.smallest_input}"):
        constructor(include_top=False, weights=None, input_shape=too_small)
    assert build_abstractly(spec, 2, 3, spec.smallest_input).output_shape == (None, 2)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("vgg16", "block1 block2 block3 block4 block5 top head"),
        ("vgg16+top=gap", "block1 block2 block3 block4 block5 head"),
        (
            "inception_v3",
            "conv2d_1a conv2d_2a conv2d_2b conv2d_3b conv2d_4a mixed_5 mixed_6 mixed_7 head",
        ),
        ("inception_resnet_v2", "stem mixed_5b block35 mixed_6a block17 mixed_7a block8 conv_7b head"),
        ("xception", " ".join(f"block{number}" for number in range(1, 15)) + " head"),
        ("nasnet_mobile", "stem group1 group2 group3 top head"),
        ("resnet50v2", "conv1 conv2 conv3 conv4 conv5 post head"),
    ],
)
def test_stages(name: str, stages: str) -> None:
    assert [stage.name for stage in medzoo.find_model(name).stages] == stages.split()


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("vgg16", {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}),
        ("vgg19", {"block1": 2, "block2": 2, "block3": 4, "block4": 4, "block5": 4}),
        ("inception_v3", {"mixed_5": 3, "mixed_6": 5, "mixed_7": 3}),
        ("inception_resnet_v2", {"block35": 10, "block17": 20, "block8": 10}),
        ("nasnet_mobile", {"stem": 3, "group1": 4, "group2": 5, "group3": 5}),
        ("nasnet_large", {"stem": 3, "group1": 6, "group2": 7, "group3": 7}),
        ("resnet50v2", {"conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}),
    ],
)
def test_blocks(name: str, blocks: dict[str, int]) -> None:
    stages = medzoo.find_model(name).stages
    assert {stage.name: len(stage.blocks) for stage in stages if stage.blocks} == blocks


@pytest.mark.parametrize(
    ("cut", "convolutions"),
    [
        ("conv2d_1a", 1),
        ("conv2d_2b", 3),
        ("conv2d_3b", 4),
        ("conv2d_4a", 5),
        ("mixed_5", 26),
        ("mixed_6", 70),
        ("mixed_7", 94),
    ],
)
def test_inception_s_prefixes_of_matsoukas_et_al(cut: str, convolutions: int) -> None:
    """Each index of their table is a stage to copy up to."""
    below, _ = find_stage(medzoo.find_model("inception_v3").stages, cut)
    kernels = [
        name.rpartition("/")[0] for name in list_shapes("inception_v3") if name.endswith("_conv/kernel")
    ]
    held = [layer for layer in kernels if any(stage.holds(layer) for stage in below)]
    assert sorted(held) == sorted(f"{unit}_conv" for unit in inception_v3.list_convolutions()[:convolutions])


def test_inception_has_torchvision_s_names() -> None:
    theirs = {
        entry.ours.rpartition("/")[0]
        for entry in torchvision.INCEPTION_V3.entries
        if not entry.ours.startswith("aux_")
    }
    assert theirs == {name.rpartition("/")[0] for name in list_shapes("inception_v3")}


@pytest.mark.parametrize(("module", "count"), [(inception_v3, 94), (inception_resnet_v2, 203)])
def test_convolutions_are_listed_once(module: object, count: int) -> None:
    listed = module.list_convolutions()  # type: ignore[attr-defined]
    assert len(set(listed)) == len(listed) == count


def test_a_vgg_s_dense_layers_follow_the_input_s_size() -> None:
    assert list_shapes("vgg16")["fc1/kernel"] == (7 * 7 * 512, 4096)
    assert list_shapes("vgg16", size=64)["fc1/kernel"] == (2 * 2 * 512, 4096)
    assert medzoo.describe("vgg16", input_size=64).tensors["fc1/kernel"].shape == (2 * 2 * 512, 4096)
    for name in ("vgg16+top=gap", "vgg16@block5"):
        shapes = list_shapes(name)
        assert not any(tensor.startswith("fc") for tensor in shapes)
        assert shapes["head/kernel"] == (512, 1000)


@pytest.mark.parametrize("head", ["gap", "flatten", "none"])
def test_above_dense_layers_there_are_no_positions_to_pool(head: str) -> None:
    network = build_abstractly(medzoo.find_model("vgg16"), 2, 3, 32, head=head)
    assert network.output_shape == (None, 4096 if head == "none" else 2)
    assert not any("pool" in layer.name for layer in network.layers if layer.name.startswith("head"))


def test_a_vgg_may_be_cut_at_a_convolution() -> None:
    network = build_abstractly(medzoo.find_model("vgg16@block3_conv2"), 2, 3)
    assert [layer.name for layer in network.layers if "block" in layer.name][-1] == "block3_conv2"
    assert network.get_layer("block3_conv2").output.shape == (None, 56, 56, 256)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("vgg16+width=0.5", {"block1_conv1": 32, "block5_conv3": 256, "fc2": 2048}),
        ("vgg16+slim=block3:4", {"block3_conv3": 256, "block4_conv1": 128, "fc1": 1024, "fc2": 1024}),
        ("vgg16+slim=block4_conv1:2", {"block4_conv1": 512, "block4_conv2": 256, "fc1": 2048}),
        ("inception_v3+width=0.5", {"conv2d_1a_3x3_conv": 16, "mixed_7c_branch_pool_conv": 96}),
        ("inception_v3+slim=mixed_5:2", {"mixed_5d_branch1x1_conv": 64, "mixed_6a_branch3x3_conv": 192}),
        ("inception_v3+slim=mixed_6c:4", {"mixed_6c_branch1x1_conv": 192, "mixed_6d_branch1x1_conv": 48}),
        ("inception_resnet_v2+width=0.5", {"block35_1_conv": 160, "block8_10_conv": 1040, "conv_7b": 768}),
        ("xception+width=0.25", {"block1_conv1": 8, "block13_shortcut_conv": 256, "block14_sepconv2": 512}),
        ("resnet50v2+width=2", {"conv1_conv": 128, "conv2_block1_0_conv": 512, "conv5_block3_2_conv": 1024}),
        (
            "resnet50v2+slim=conv3:2",
            {"conv3_block4_3_conv": 512, "conv4_block1_0_conv": 512, "conv5_block3_2_conv": 256},
        ),
        (
            "resnet50v2+slim=conv3_block2:2",
            {"conv3_block2_1_conv": 128, "conv3_block3_1_conv": 64, "conv3_block3_3_conv": 512},
        ),
    ],
)
def test_widths(name: str, changed: dict[str, int]) -> None:
    shapes = list_shapes(name)
    kernel = {
        layer: shapes.get(f"{layer}/kernel", shapes.get(f"{layer}/pointwise_kernel")) for layer in changed
    }
    assert {layer: shape[-1] for layer, shape in kernel.items() if shape} == changed
    assert list(shapes) == list(list_shapes(medzoo.find_model(name).row))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg16+top=flat", "top='flat' for vgg16.*; expected one of fc, gap"),
        ("vgg16+slim=block2:3", "slim factor 3 does not divide 256 channels"),
        ("vgg16+slim=block6:2", "no stage 'block6' to thin above"),
        ("vgg16+width=0.001", "width=0.001 makes 0.064 of 64 channels"),
        ("inception_v3+slim=mixed_7:2", "no stage 'mixed_7' to thin above"),
        ("inception_v3+slim=mixed_5:32", "slim factor 32 does not divide 16 channels"),
        ("inception_v3+width=0.03", "width=0.03 makes 0.48 of 16 channels"),
        ("inception_v3@mixed_8", "no stage 'mixed_8'.*'mixed_"),
        ("inception_resnet_v2+width=0.01", "width=0.01 makes 0.16 of 16 channels"),
        ("xception+width=0.1", "width=0.1 makes 0.8 of 8 channels"),
        ("xception+slim=block4:2", "xception has no option 'slim' to change; expected width"),
        ("nasnet_mobile+width=2", "nasnet_mobile has no option 'width' to change"),
        ("resnet50v2+slim=conv5:2", "no stage 'conv5' to thin above"),
    ],
)
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        medzoo.find_model(name)


@pytest.mark.parametrize(("name", "reach"), [("nasnet_mobile", 2), ("nasnet_large", 3)])
def test_a_cell_takes_the_outputs_of_cells_below(name: str, reach: int) -> None:
    """The documentation of the family says how far down."""
    spec = medzoo.find_model(name)
    parts = list_parts(spec.stages)
    rank = {part.output: index for index, part in enumerate(parts)}
    network = build_once(name)
    steps = set()
    for layer in network.layers:
        for node in layer._inbound_nodes:
            for tensor in node.input_tensors:
                below = tensor._keras_history.operation.name
                here = next((index for index, part in enumerate(parts) if part.holds(layer.name)), 0)
                if below in rank and here > rank[below]:
                    steps.add(here - rank[below])
    assert steps == set(range(1, reach + 1))


def test_a_cut_after_a_cell_keeps_all_that_it_needs() -> None:
    spec = medzoo.find_model("nasnet_mobile@cell_5")
    network, whole = build_once(spec.name), build_once("nasnet_mobile")
    below = [part for part in list_parts(spec.stages) if part.name != "head"]
    assert [part.name for part in below[-3:]] == ["cell_3", "reduce_4", "cell_5"]
    expected = {layer.name for layer in whole.layers if any(part.holds(layer.name) for part in below)}
    assert {
        layer.name for layer in network.layers if not layer.name.startswith(("head", "image"))
    } == expected


def test_names_do_not_depend_on_what_was_built_before() -> None:
    first = [layer.name for layer in build_once("inception_v3").layers]
    for _ in range(3):
        keras.layers.Conv2D(1, 1)
        keras.layers.MaxPooling2D()
        keras.layers.Activation("relu")
        keras.layers.BatchNormalization()
    again = build_abstractly(medzoo.find_model("inception_v3"), 3, 1)
    assert [layer.name for layer in again.layers] == first


@pytest.mark.parametrize("name", SMALL)
def test_any_number_of_channels(name: str) -> None:
    shapes, grey = list_shapes(name), list_shapes(name, 5)
    first = next(iter(shapes))
    assert grey.pop(first)[-2] == 5
    assert all(shapes[tensor] == shape for tensor, shape in grey.items())


def test_a_scaled_sum_is_a_sum_that_a_saved_model_holds(tmp_path: Path) -> None:
    inputs = [keras.Input((2, 2, 3)), keras.Input((2, 2, 3))]
    model = keras.Model(inputs, ScaledSum(0.17, name="sum")(inputs))
    arrays = [np.random.default_rng(seed).normal(size=(1, 2, 2, 3)).astype("float32") for seed in (0, 1)]
    model.save(tmp_path / "sum.keras")
    again = keras.models.load_model(tmp_path / "sum.keras")
    for one in (model, again):
        np.testing.assert_allclose(one(arrays), arrays[0] + 0.17 * arrays[1], rtol=1e-6)
    assert math.isclose(again.get_layer("sum").scale, 0.17)


def test_inception_resnet_s_scales_are_keras_s() -> None:
    network = build_once("inception_resnet_v2")
    scales = {layer.name: layer.scale for layer in network.layers if isinstance(layer, ScaledSum)}
    assert scales == {
        **{f"block35_{index}_sum": 0.17 for index in range(1, 11)},
        **{f"block17_{index}_sum": 0.1 for index in range(1, 21)},
        **{f"block8_{index}_sum": 0.2 for index in range(1, 10)},
        "block8_10_sum": 1.0,
    }
