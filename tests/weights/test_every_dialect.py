"""What holds of every dialect, by tables of names typed by hand: `dialects/<dialect>[.<variant>].txt`.

A line is their name, their shape (`-`: a scalar), our name (or `dropped`), and how our values come from theirs:
`2310` is a transposition, `:1/3` the second third along the first axis, taken before it, `=8x5` a new shape,
given after it. A variant's names are read, not written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, Moments, Role, TensorSpec
from medzoo.weights.dialects.dialect import Dialect, invert, translate
from medzoo.weights.dialects.entry import Entry
from medzoo.weights.dialects.patterns import fill_pattern, list_places, match_name
from medzoo.weights.dialects.table import DIALECTS, find_dialect, recognise

FILES = sorted((Path(__file__).parent / "dialects").glob("*.txt"))
#: Variants that are written as they are read: what else the network holds tells them.
WRITTEN = {
    "keras_applications.fc1000",
    "keras_applications_efficientnet.notop",
    "torch_resnet.basic",
    "torch_densenet.grey",
    "timm_vit.deit",
    "hf_deit.teacher",
}

Arrays = dict[str, np.ndarray]


def parse(path: Path) -> tuple[Dialect, Arrays, Arrays]:
    """Give a table's dialect, their tensors with values that occur once, and ours as NumPy makes them."""
    theirs: Arrays = {}
    ours: Arrays = {}
    for line in path.read_text().splitlines():
        name, size, new, turn = (*line.split(), "")[:4]
        shape = () if size == "-" else tuple(map(int, size.split("x")))
        if name not in theirs:
            first = 1000 * len(theirs)
            theirs[name] = np.arange(first, first + math.prod(shape), dtype="float32").reshape(shape)
        if new != "dropped":
            assert new not in ours, f"{path.name} has {new} twice"
            ours[new] = take(theirs[name], turn)
    return find_dialect(path.name.split(".")[0]), theirs, ours


def take(values: np.ndarray, turn: str) -> np.ndarray:
    """Do what the last column says."""
    turn, _, shape = turn.partition("=")
    axes, _, piece = turn.partition(":")
    if piece:
        index, count = map(int, piece.split("/"))
        values = np.split(values, count)[index]
    if axes:
        values = values.transpose([int(axis) for axis in axes])
    return values.reshape([int(size) for size in shape.split("x")]) if shape else values


def assert_equal(tensors: dict[str, LazyTensor], expected: Arrays) -> None:
    """Compare names, announced shapes and dtypes, and values."""
    assert sorted(tensors) == sorted(expected)
    for name, tensor in tensors.items():
        assert tensor.spec.name == name
        values = tensor.read()
        assert (values.shape, str(values.dtype)) == (tensor.spec.shape, tensor.spec.dtype), name
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def table(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_dialect_has_a_table() -> None:
    named = [dialect.name for dialect in DIALECTS]
    assert len(set(named)) == len(named)
    assert {path.name.split(".")[0] for path in FILES} == set(named) - {"keras"}


def test_a_file_is_recognised_as_one_dialect_alone(table: Path) -> None:
    dialect, theirs, _ = parse(table)
    source = medzoo.source_from_arrays(theirs)
    assert [one.name for one in DIALECTS if one.marks and one.recognises(source)] == [dialect.name]
    assert recognise(source, "a file") is dialect


def test_names_axes_and_values_are_ours(table: Path) -> None:
    dialect, theirs, ours = parse(table)
    tensors, notes = translate(medzoo.source_from_arrays(theirs), dialect)
    assert_equal(tensors, ours)
    assert not any("unknown" in note for note in notes)


def test_moments_are_those_of_the_turned_values(table: Path) -> None:
    dialect, theirs, ours = parse(table)
    tensors, _ = translate(medzoo.source_from_arrays(theirs), dialect)
    for name, tensor in tensors.items():
        assert tensor.moments().mean == pytest.approx(float(np.mean(ours[name], dtype="float64"))), name


def test_every_tensor_has_a_role(table: Path) -> None:
    dialect, theirs, _ = parse(table)
    tensors, _ = translate(medzoo.source_from_arrays(theirs), dialect)
    assert [name for name, tensor in tensors.items() if tensor.spec.role is Role.OTHER] == []


def test_writing_and_reading_gives_the_same_tensors(table: Path) -> None:
    dialect, _, ours = parse(table)
    source = medzoo.source_from_arrays(ours)
    if not all(entry.is_invertible for entry in dialect.entries):
        with pytest.raises(WeightsError, match=r"cannot be given the axes of .*; expected a dialect"):
            invert(source, dialect)
        return
    assert_equal(translate(invert(source, dialect), dialect)[0], ours)


def test_reading_and_writing_gives_the_same_file(table: Path) -> None:
    dialect, theirs, _ = parse(table)
    if not all(entry.is_invertible for entry in dialect.entries):
        pytest.skip("merged axes")
    if "." in table.stem and table.stem not in WRITTEN:
        pytest.skip("names that are read, not written")
    kept = {line.split()[0] for line in table.read_text().splitlines() if "dropped" not in line}
    tensors, _ = translate(medzoo.source_from_arrays(theirs), dialect)
    assert_equal(invert(tensors, dialect), {name: theirs[name] for name in kept})


def fill(pattern: str) -> Iterator[str]:
    """Put numbers into a pattern: the least, and one of two digits."""
    for value in (2, 10):
        yield fill_pattern(pattern, dict.fromkeys(list_places(pattern), value))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("side", ["theirs", "ours"])
def test_a_name_fits_one_pattern(dialect: Dialect, side: str) -> None:
    patterns = {getattr(entry, side) for entry in dialect.entries}
    for pattern in patterns:
        for name in fill(pattern):
            assert [one for one in patterns if match_name(one, name) is not None] == [pattern]
            assert side == "ours" or not any(name.startswith(prefix) for prefix in dialect.prefixes)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_line_is_there_once(dialect: Dialect) -> None:
    lines = [(entry.theirs, entry.part, entry.rank) for entry in dialect.entries]
    assert len(set(lines)) == len(lines)
    for entry in dialect.entries:
        assert set(list_places(entry.ours)) <= set(list_places(entry.theirs))


def test_a_file_that_no_dialect_knows_keeps_names_and_axes() -> None:
    arrays = {
        "encoder.conv.weight": np.ones((4, 3, 3, 3), "float32"),
        "fc.weight": np.ones((5, 4), "float32"),
    }
    dialect = recognise(medzoo.source_from_arrays(arrays), "a file")
    assert dialect.name == "keras"
    assert_equal(translate(medzoo.source_from_arrays(arrays), dialect)[0], arrays)


@pytest.mark.parametrize(
    ("dialect", "extra"),
    [
        ("cifar_resnet", "layer1.0.conv3.weight"),  # bottleneck blocks
        ("cifar_resnet", "layer2.0.shortcut.0.weight"),  # shortcuts with parameters
        (
            "torch_resnet",
            "layer1.0.downsample.2.weight",
        ),  # ResNet-D: a pooling before the shortcut's convolution
        ("torch_resnet", "conv1.0.weight"),  # a stem of three convolutions
        ("torch_resnet", "layer1.0.se.fc1.weight"),  # squeeze and excitation
        ("torch_mobilenet_v2", "features.19.0.weight"),
        ("timm_resnetv2", "stages.0.blocks.0.norm1.running_mean"),  # batch norm
        ("timm_resnetv2", "stem.norm.weight"),
        ("timm_resnetv2", "stages.0.blocks.0.downsample.norm.weight"),
        ("timm_vit", "blocks.0.attn.relative_position_bias_table"),  # BEiT
        ("timm_vit", "blocks.0.ls1.gamma"),  # DeiT III
        ("hf_resnet", "resnet.encoder.stages.0.layers.0.layer.1.attention.0.weight"),  # RegNet
        ("hf_bit", "bit.encoder.stages.0.layers.0.downsample.norm.weight"),
        ("hf_vit", "vit.embeddings.detection_tokens"),  # YOLOS
        ("hf_vit", "vit.encoder.layer.0.lambda_1"),  # BEiT
        ("flax_vit", "conv_root/kernel"),  # a ResNet below the transformer
    ],
)
def test_a_network_with_more_in_it_is_another(dialect: str, extra: str) -> None:
    _, theirs, _ = parse(Path(__file__).parent / "dialects" / f"{dialect}.txt")
    theirs[extra] = np.ones(2, "float32")
    assert recognise(medzoo.source_from_arrays(theirs), "a file").name == "keras"


def test_unknown_tensors_are_kept_and_named() -> None:
    _, theirs, ours = parse(Path(__file__).parent / "dialects" / "torch_resnet.txt")
    extra = np.ones((2, 3), "float32")
    tensors, notes = translate(
        medzoo.source_from_arrays({**theirs, "memory.bank": extra}), find_dialect("torch_resnet")
    )
    assert_equal(tensors, {**ours, "memory.bank": extra})
    assert "1 tensors unknown to the dialect torch_resnet: memory.bank" in notes


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("blocks.0.attn.qkv.weight", (13, 4), "'blocks.0.attn.qkv.weight' is 13×4; expected a shape that"),
        ("blocks.0.mlp.fc1.weight", (8, 4, 1), "'blocks.0.mlp.fc1.weight' is 8×4×1; expected a shape that"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    source = medzoo.source_from_arrays({name: np.zeros(shape, "float32")})
    with pytest.raises(WeightsError, match=message):
        translate(source, find_dialect("timm_vit"))


def test_a_name_is_written_only_where_its_numbers_are_known() -> None:
    lines = (Entry("conv_{number}/kernel", "conv/kernel"), Entry("conv/kernel", "conv/kernel"))
    source = medzoo.source_from_arrays({"conv/kernel": np.ones(2, "float32")})
    assert list(invert(source, Dialect("numbered", "", marks=(), entries=lines))) == ["conv/kernel"]


def test_two_tensors_of_one_written_name_are_refused() -> None:
    arrays = dict.fromkeys(("head/kernel", "predictions/kernel"), np.ones((2, 2), "float32"))
    with pytest.raises(WeightsError, match="'predictions/kernel' and another tensor are both"):
        invert(medzoo.source_from_arrays(arrays), find_dialect("keras_applications"))


def test_a_tensor_without_values_is_turned_by_its_header_alone() -> None:
    def refuse() -> np.ndarray:
        raise WeightsError("no values")

    spec = TensorSpec("head.weight", (5, 4), "float32", Role.OTHER)
    tensor = LazyTensor(spec, refuse, lambda: Moments(1.0, 2.0), has_values=False)
    tensors, _ = translate({"head.weight": tensor}, find_dialect("timm_vit"))
    written = invert(tensors, find_dialect("timm_vit"))["head.weight"]
    assert tensors["head/kernel"].spec.shape == (4, 5)
    assert written.spec.shape == (5, 4)
    assert written.moments() == Moments(1.0, 2.0)
    assert not written.has_values


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conv9/weird"], "'conv9/weird' has no name in the dialect timm_vit"),
        (
            ["block1_query/bias", "block1_key/bias"],
            "cannot be put together from block1_query/bias, block1_key/bias",
        ),
        (["head/kernel"], "'head/kernel' has no name in the dialect timm_vit"),  # not a matrix
    ],
)
def test_what_a_dialect_cannot_hold_is_not_written(names: list[str], message: str) -> None:
    source = medzoo.source_from_arrays(dict.fromkeys(names, np.zeros(4, "float32")))
    with pytest.raises(WeightsError, match=message):
        invert(source, find_dialect("timm_vit"))
