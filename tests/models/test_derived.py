"""Networks derived from rows: cut, thinned, widened; their counts by arithmetic and by the papers; refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.models.catalog import derive, list_left_out
from medzoo.models.describe import describe_abstractly
from medzoo.specs import list_parts, read_network_name, write_network_name
from medzoo.tensors import Role, Target

MOVING = {Role.MOVING_MEAN, Role.MOVING_VARIANCE}

#: METHODS of Peng et al. (arXiv 2106.05152): trainable parameters of every cut with a two-way head.
CUTS = {
    "conv1": 9_666,
    "conv2_block1": 85_058,
    "conv2_block2": 155_458,
    "conv2_block3": 225_858,
    "conv3_block1": 605_762,
    "conv3_block2": 885_826,
    "conv3_block3": 1_165_890,
    "conv3_block4": 1_445_954,
    "conv4_block1": 2_959_426,
    "conv4_block2": 4_076_610,
    "conv4_block3": 5_193_794,
    "conv4_block4": 6_310_978,
    "conv4_block5": 7_428_162,
    "conv4_block6": 8_545_346,
    "conv5_block1": 14_586_946,
    "conv5_block2": 19_049_538,
    "conv5_block3": 23_512_130,
}


def count_trainable(target: Target) -> int:
    """Count the values of all tensors but moving statistics."""
    return sum(tensor.size for tensor in target.tensors.values() if tensor.role not in MOVING)


def test_the_seventeen_cuts_of_truncated_transfer() -> None:
    parts = list_parts(medzoo.find_model("resnet50_torch").stages[:-1])
    assert [part.name for part in parts] == list(CUTS)
    counted = {
        part: count_trainable(medzoo.describe(f"resnet50_torch@{part}", classes=2, channels=3))
        for part in CUTS
    }
    assert counted == CUTS


def test_the_hybrid_with_a_halved_last_stage() -> None:
    """TF(3), published as 12.9 M: 12.95 M by arithmetic."""
    whole = medzoo.describe("resnet50_torch", classes=2)
    thin = medzoo.describe("resnet50_torch+slim=conv4:2", classes=2)
    assert round(count_trainable(thin) / 1e6, 2) == 12.95
    for name, tensor in thin.tensors.items():
        if name.startswith(("conv1", "conv2", "conv3", "conv4")):
            assert tensor == whole.tensors[name]
    assert thin.tensors["conv5_block1_1_conv/kernel"].shape == (1, 1, 1024, 256)
    assert thin.tensors["conv5_block1_3_conv/kernel"].shape == (1, 1, 256, 1024)
    assert thin.tensors["head/kernel"].shape == (1024, 2)


def test_above_a_block_only_the_inside_of_its_stage_is_thinner() -> None:
    thin = medzoo.describe("resnet50_torch+slim=conv4_block2:2")
    assert thin.tensors["conv4_block2_2_conv/kernel"].shape == (3, 3, 256, 256)
    assert thin.tensors["conv4_block3_2_conv/kernel"].shape == (3, 3, 128, 128)
    assert thin.tensors["conv4_block3_3_conv/kernel"].shape == (1, 1, 128, 1024)
    assert thin.tensors["conv5_block1_0_conv/kernel"].shape == (1, 1, 1024, 1024)


def test_a_densenet_is_thinner_by_its_growth() -> None:
    thin = medzoo.describe("densenet121+slim=pool3:2").tensors
    assert thin["conv3_block12_2_conv/kernel"].shape == (3, 3, 128, 32)
    assert thin["pool3_conv/kernel"].shape == (1, 1, 512, 256)
    assert thin["conv4_block1_1_conv/kernel"].shape == (1, 1, 256, 64)
    assert thin["conv4_block1_2_conv/kernel"].shape == (3, 3, 64, 16)
    # 256 + 24·16 channels, halved by the transition.
    assert thin["pool4_conv/kernel"].shape == (1, 1, 640, 320)
    assert thin["head/kernel"].shape == (320 + 16 * 16, 1000)


@pytest.mark.parametrize(
    ("name", "stage", "channels"),
    [
        ("cbr_tiny+width=2", "block1", 64),
        ("cbr_tiny+slim=block2:4", "block3", 32),
        ("resnet18+width=0.5", "conv1", 32),
        ("resnet20+width=4", "conv1", 64),
        ("mobilenet_100+alpha=0.35", "conv_pw_1", 22),
        ("bit_r50x1+width=1.5", "block1_unit1_a", 96),
    ],
)
def test_widths(name: str, stage: str, channels: int) -> None:
    tensors = medzoo.describe(name).tensors
    kernel = next(value for key, value in tensors.items() if key.startswith(stage) and key.endswith("kernel"))
    assert kernel.shape[-1] == channels


def test_valid_padding_reaches_one_pixel_as_published() -> None:
    """224→218→108→102→50→44→21→15→7→1 (METHODS of Raghu et al.): LargeT needs no less than its smallest input."""
    spec = medzoo.find_model("cbr_large_t+padding=valid")
    network = medzoo.build(spec, classes=2, channels=1, input_size=224, head="none")
    sizes = [
        network.get_layer(f"block{unit}_{kind}").output.shape[1]
        for unit in range(1, 5)
        for kind in ("conv", "pool")
    ]
    assert [*sizes, network.output_shape[1]] == [218, 108, 102, 50, 44, 21, 15, 7, 1]
    least = medzoo.build(spec, classes=2, channels=1, input_size=spec.smallest_input, head="none")
    assert least.output_shape[1:3] == (1, 1)
    assert medzoo.build(spec, 2, 1, 224, head="none").output_shape[1] == 1
    with pytest.raises(ConfigError, match=f"{spec.smallest_input} or more"):
        medzoo.build(spec, input_size=spec.smallest_input - 1)


def test_biases_of_cbr() -> None:
    plain, biased = (medzoo.describe(name) for name in ("cbr_tiny", "cbr_tiny+bias=true"))
    assert biased.size - plain.size == 32 + 64 + 128 + 256


def test_a_cut_network_is_the_lower_part() -> None:
    spec = medzoo.find_model("resnet50@conv4_block4")
    assert [stage.name for stage in spec.stages] == ["conv1", "conv2", "conv3", "conv4", "head"]
    assert [block.name for block in spec.stages[3].blocks] == [f"conv4_block{n}" for n in range(1, 5)]
    assert spec.stages[3].output == "conv4_block4_out"
    assert spec.row == "resnet50"
    whole = medzoo.describe("resnet50", classes=2).tensors
    for name, tensor in medzoo.describe(spec, classes=2).tensors.items():
        assert tensor == whole[name] or name == "head/kernel"
    assert set(list_left_out(spec)) == {
        *(f"conv4_block{block}_*/*" for block in (5, 6)),
        *(f"conv5_block{block}_*/*" for block in (1, 2, 3)),
    }
    assert list_left_out(medzoo.find_model("resnet50")) == ()


def test_a_cut_after_the_last_part_is_the_network() -> None:
    for name in ("conv5", "conv5_block3"):
        assert medzoo.find_model(f"resnet50@{name}") == medzoo.find_model("resnet50")


def test_names_are_canonical() -> None:
    spec = medzoo.find_model("cbr_tiny+width=2+bias=TRUE+padding=same@block2")
    assert spec.name == "cbr_tiny+bias=true+width=2@block2"
    assert medzoo.find_model(spec.name) == spec
    assert derive("cbr_tiny", {"width": 1.0}) == medzoo.find_model("cbr_tiny")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50@conv4_block9", "no stage 'conv4_block9' in this network; expected one of 'conv4_block"),
        ("resnet50@head", "no stage 'head'"),
        ("resnet50+slim=conv3:3", "slim factor 3 does not divide 256 channels .* expected one of 1, 2, 4, 8"),
        ("resnet50+slim=conv5:2", "no stage 'conv5' to thin above .* 'conv4'"),
        ("resnet50+slim=conv3", "expected STAGE:FACTOR"),
        ("resnet50+slim=conv3:0", "expected STAGE:FACTOR"),
        ("resnet50+width=0.3", "makes 19.2 of 64 channels"),
        ("resnet50+width=inf", "a factor that leaves a whole number"),
        ("resnet50+width=nan", "a factor that leaves a whole number"),
        ("resnet50+width=-1", "a factor that leaves a whole number"),
        ("resnet50+width=wide", "width='wide' for resnet50"),
        (
            "resnet50+padding=valid",
            "resnet50 has no option 'padding' to change; expected .*slim: STAGE:FACTOR",
        ),
        ("cbr_tiny+padding=reflect", "one of same, valid"),
        ("cbr_tiny+bias=maybe", "true or false"),
        ("densenet121+slim=conv3:5", "slim factor 5 does not divide 32 channels"),
        ("mobilenet_100+alpha=0", "1/32 or more"),
        ("resnet50+", "options before @"),
        ("resnet50@a@b", "options before @"),
        ("resnet5", "unknown model 'resnet5'; expected one of .*'resnet50'"),
    ],
)
def test_what_cannot_be_derived_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        medzoo.find_model(name)


def test_a_transplant_into_a_cut_network_ignores_what_lies_above() -> None:
    source = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    spec = medzoo.find_model("mobilenet_075@block5")
    target = medzoo.describe(spec, classes=1000)
    plan = medzoo.make_plan(source, target, medzoo.recipes.stats(spec.stages))
    assert {
        name.split("/")[0].split("_")[-2 if name.split("/")[0].endswith("bn") else -1] for name in plan.unused
    } == {str(block) for block in range(6, 14)}


def test_a_cut_network_s_head_starts_afresh_whole() -> None:
    """The source's head has as many classes but other features: not even its bias is taken."""
    whole = describe_abstractly(medzoo.find_model("cbr_tiny"), 3, 1)
    source = medzoo.source_from_arrays(
        {name: np.ones(tensor.shape, "float32") for name, tensor in whole.tensors.items()}
    )
    spec = medzoo.find_model("cbr_tiny@block2")
    target = medzoo.describe(spec, classes=3, channels=1)
    plan = medzoo.make_plan(source, target, medzoo.recipes.copy())
    methods = {step.target.name: step.method for step in plan.steps}
    assert methods["head/kernel"] == methods["head/bias"] == "fresh"
    assert methods["block2_conv/kernel"] == "copy"


@pytest.mark.slow
def test_a_derived_network_trains_in_a_graph() -> None:
    """TensorFlow's graphs refuse the signs of derived names, and take the words for them."""
    name = "cbr_tiny+slim=block1:4+width=0.5@block2"
    model = medzoo.build(name, classes=2, channels=1, input_size=16)
    assert model.name == "cbr_tiny.with.slim.is.block1.by.4.with.width.is.0.5.at.block2"
    model.compile("sgd", "mse", jit_compile=False)
    images, answers = np.ones((4, 16, 16, 1), "float32"), np.ones((4, 2), "float32")
    losses = model.fit(images, answers, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    outer = medzoo.taps(model, ["block1"])
    assert outer.predict(images, verbose=0)["block1"].shape == (4, 8, 8, 16)


def test_names_of_networks_can_be_read_back() -> None:
    for spec in medzoo.list_models():
        for part in (*spec.stages, *list_parts(spec.stages)):
            name = f"{spec.name}+slim={part.name}:2+width=0.5@{part.name}"
            assert read_network_name(write_network_name(name)) == name


def copy_of_row(name: str, head: str | None = None) -> dict[str, str]:
    """Plan a copy of a whole row's weights, 1,000 classes, into a derived network; give each tensor's method."""
    spec = medzoo.find_model(name)
    whole = medzoo.describe(spec.row)
    source = medzoo.source_from_arrays(
        {key: np.broadcast_to(np.float32(1), tensor.shape) for key, tensor in whole.tensors.items()}
    )
    target = medzoo.describe(spec, head=head)
    plan = medzoo.make_plan(source, target, medzoo.recipes.copy(spec.stages))
    return {step.target.name: step.method for step in plan.steps}


@pytest.mark.parametrize(
    "name",
    [
        "resnet50_torch@conv5_block2",
        "vit_ti16@block3",
        "vit_ti16@embed",
        "deit_ti16_distilled@block2",
        "deit_ti16+depth=5@block4",
        "bit_r50x1@block4_unit1",
        "swin_t@stage4_block1",
        "convnext_tiny@stage_1",
        "convnext_tiny@stage_3_block_1",
        "densenet121@pool3",
        "mobilenet_v3_small_100@last",
        "efficientnetb0@block6",
        "vgg16+top=gap@block3_conv2",
    ],
)
def test_a_cut_takes_its_row_s_weights_but_never_its_head(name: str) -> None:
    """Also where head and features have the whole network's shapes."""
    methods = copy_of_row(name)
    assert {key for key, method in methods.items() if method == "fresh"} == {
        key for key in methods if key.startswith("head")
    }
    assert set(methods.values()) == {"fresh", "copy"}


@pytest.mark.parametrize("name", ["deit_s16+depth=5", "vgg16+top=gap"])
def test_a_shallower_network_takes_its_row_s_weights(name: str) -> None:
    assert "copy" in copy_of_row(name).values()


def test_before_any_attention_there_is_no_class_token_to_read() -> None:
    spec = medzoo.find_model("vit_ti16@embed")
    assert spec.heads == ("gap", "none")
    model = medzoo.build(spec, classes=2, channels=1, input_size=32)
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 1)).astype("float32")
    assert not np.allclose(model(images), model(-images))


@pytest.mark.parametrize("name", ["resnet50", "resnet50_torch", "resnet50v2", "bit_r50x1"])
def test_names_of_layers_do_not_depend_on_widths(name: str) -> None:
    spec = medzoo.find_model(name)
    names = set(medzoo.describe(name).tensors)
    # Four times thinner, a bottleneck of the second stage keeps the channels that it gets.
    few = "2" if spec.family == "bit" else "4"
    for change in ("width=2", f"slim={spec.stages[0].name}:{few}", f"slim={spec.stages[2].name}:2"):
        assert set(medzoo.describe(f"{name}+{change}").tensors) == names, change


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("resnet50+width=1.015625", "resnet50+width=1.015625"),
        ("mobilenet_100+alpha=0.7500001", "mobilenet_100+alpha=0.7500001"),
        ("resnet50+width=2.0", "resnet50+width=2"),
        ("resnet50+slim=conv3:02", "resnet50+slim=conv3:2"),
        ("resnet50+slim=conv3:1", "resnet50"),
        ("cbr_tiny+slim=", "cbr_tiny"),
    ],
)
def test_a_name_is_read_back_as_the_same_network(name: str, canonical: str) -> None:
    spec = medzoo.find_model(name)
    assert spec.name == canonical
    assert medzoo.find_model(canonical) == spec


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50+width=2+width=0.5", "an option twice"),
        ("resnet50+slim=conv3:²", "expected STAGE:FACTOR"),
        ("resnet18+slim=conv1:2", "unprojected; expected one of conv2, conv3, conv4"),
        ("densenet121+slim=conv5:2", "no stage 'conv5' to thin above"),
        ("mobilenet_100+alpha=inf", "1/32 or more, at most 8"),
        ("mobilenet_100+alpha=nan", "1/32 or more, at most 8"),
    ],
)
def test_more_that_cannot_be_derived(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        medzoo.find_model(name)


def test_a_new_task_s_head_starts_at_zero_in_bit() -> None:
    model = medzoo.build("bit_r50x1@root", classes=2, channels=1, input_size=32)
    assert not np.asarray(model.get_layer("head").kernel).any()
    assert medzoo.describe("bit_r50x1").tensors["head/kernel"].initializer.scale == 0.0


def test_channels_first_is_refused() -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ConfigError, match="'channels_last'"):
            medzoo.build("cbr_tiny")
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_ti16@block1", "swin_t@stage1", "bit_r50x1@root", "convnext_tiny@stem"])
def test_a_saved_network_loads_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    size = 32
    model = medzoo.build(name, classes=2, channels=1, input_size=size)
    model.save(tmp_path / "network.keras")
    images = np.linspace(0, 1, size * size, dtype="float32").reshape(1, size, size, 1)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import medzoo, numpy; model = medzoo.load_model('network.keras'); "
        "numpy.save('answers.npy', numpy.asarray(model(numpy.load('images.npy'))))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert np.allclose(np.load(tmp_path / "answers.npy"), model(images), atol=1e-5)


def test_what_is_no_saved_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_bytes(b"nothing")
    with pytest.raises(medzoo.MedzooError, match="Keras cannot load"):
        medzoo.load_model(tmp_path / "a.keras")
    with pytest.raises(medzoo.MedzooError, match="no file"):
        medzoo.load_model(tmp_path / "b.keras")


def test_a_built_cut_network_takes_its_row_s_weights_too() -> None:
    whole = medzoo.describe("cbr_tiny", classes=2, channels=1)
    source = medzoo.source_from_arrays(
        {name: np.ones(tensor.shape, "float32") for name, tensor in whole.tensors.items()}
    )
    model = medzoo.build("cbr_tiny@block3", classes=2, channels=1, input_size=16)
    target = medzoo.describe(model)
    assert target.left_out == ("block4_*/*",)
    plan = medzoo.make_plan(source, target, medzoo.recipes.copy())
    assert {name.partition("_")[0] for name in plan.unused} == {"block4"}
    other = medzoo.source_from_arrays(
        {**{n: source[n].read() for n in source}, "block5_conv/bias": np.ones(3)}
    )
    with pytest.raises(medzoo.MedzooError, match="first 'block5_conv/bias'"):
        medzoo.make_plan(other, target, medzoo.recipes.copy())
