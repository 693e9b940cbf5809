"""Networks derived from rows: cut, thinned, widened; their counts by arithmetic and by the papers; refusals."""

from __future__ import annotations

import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.models.catalog import derive, list_left_out
from medzoo.models.describe import describe_abstractly
from medzoo.specs import list_parts
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
        ("mobilenet_100+alpha=0", "leaves no channels"),
        ("resnet50+", "NAME@STAGE"),
        ("resnet50@a@b", "NAME@STAGE"),
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
    plan = medzoo.make_plan(source, target, medzoo.recipes.stats(spec.stages), ignore=list_left_out(spec))
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
    plan = medzoo.make_plan(source, target, medzoo.recipes.copy(), ignore=list_left_out(spec))
    methods = {step.target.name: step.method for step in plan.steps}
    assert methods["head/kernel"] == methods["head/bias"] == "fresh"
    assert methods["block2_conv/kernel"] == "copy"
