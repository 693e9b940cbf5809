"""Every row of the catalogue: its tables, its stages, its published numbers; each is built once, without memory."""

from __future__ import annotations

import gc
import math
from importlib import resources

import keras
import pytest
from narrow import EVERY_ROW, ROWS

import medzoo
from medzoo.models.describe import build_abstractly, describe_network
from medzoo.models.tables import generate, parts
from medzoo.specs import HEAD, ModelSpec, Stage, list_parts
from medzoo.tensors import Role
from medzoo.wiring import IMAGE


@pytest.fixture(scope="module")
def networks() -> dict[str, keras.Model]:
    """Every row with the numbers of classes and channels that the tables know an option by."""
    gc.disable()  # it would look through all the networks so far again and again
    try:
        return {spec.name: build_abstractly(spec, parts.CLASSES, parts.CHANNELS) for spec in ROWS}
    finally:
        gc.enable()


def read_committed() -> dict[str, str]:
    """Read every committed table."""
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in resources.files("medzoo.models.tables").iterdir()
        if entry.name.endswith(".json")
    }


def test_the_tables_on_disk_are_what_generate_writes(networks: dict[str, keras.Model]) -> None:
    written = {
        f"{spec.name}.json": generate.format_table(generate.make_table(spec, networks[spec.name]))
        for spec in ROWS
    }
    costs = {spec.name: parts.make_parts(networks[spec.name], spec) for spec in ROWS}
    written[parts.FILE] = parts.format_costs(costs)
    committed = read_committed()
    assert set(committed) == set(written)
    for name, text in written.items():
        assert committed[name] == text, f"{name} is stale: make tables"


@EVERY_ROW
def test_a_table_gives_back_what_it_was_made_of(spec: ModelSpec, networks: dict[str, keras.Model]) -> None:
    table = medzoo.describe(spec, parts.CLASSES, parts.CHANNELS)
    network = describe_network(networks[spec.name])
    assert list(table.tensors.values()) == list(network.tensors.values())
    assert table.feeds == network.feeds
    assert table.storage == network.storage
    assert table.axes == network.axes
    assert table.blocks == network.blocks
    assert table.epsilons == network.epsilons
    assert set(table.storage) == set(table.tensors)
    assert (table.model, table.classes, table.channels) == (spec.name, parts.CLASSES, parts.CHANNELS)
    assert all(tensor.initializer is not None for tensor in table.tensors.values())
    few = medzoo.describe(spec.name, classes=11, channels=2)
    assert {tensor.shape[-1] for tensor in few.tensors.values() if tensor.name.startswith("head/")} == {11}


@EVERY_ROW
def test_stages_are_disjoint_and_hold_every_layer(spec: ModelSpec, networks: dict[str, keras.Model]) -> None:
    for layer in networks[spec.name].layers:
        holders = [stage.name for stage in spec.stages if stage.holds(layer.name)]
        expected = 0 if isinstance(layer, keras.layers.InputLayer) else 1
        assert len(holders) == expected, (layer.name, holders)


@EVERY_ROW
def test_blocks_are_disjoint_and_hold_every_layer_of_their_stage(
    spec: ModelSpec, networks: dict[str, keras.Model]
) -> None:
    layers = [layer.name for layer in networks[spec.name].layers]
    for stage in spec.stages:
        if stage.blocks:
            assert stage.blocks[-1].output == stage.output
            for layer in filter(stage.holds, layers):
                assert sum(block.holds(layer) for block in stage.blocks) == 1, layer
            for block in stage.blocks:
                assert block.holds(block.output)
                assert all(stage.holds(layer) for layer in layers if block.holds(layer))


@EVERY_ROW
def test_stages_follow_the_graph_and_end_at_their_output(
    spec: ModelSpec, networks: dict[str, keras.Model]
) -> None:
    """Everything that leaves a stage leaves it by its output, upwards; NASNet's cells reach further down."""
    reach = 3 if spec.family == "nasnet" else 1
    parts: tuple[Stage, ...] = list_parts(spec.stages)
    model = networks[spec.name]
    assert [part.holds(part.output) for part in parts] == [True] * len(parts)
    assert all(model.get_layer(part.output).name == part.output for part in parts)
    rank = {
        layer.name: index
        for layer in model.layers
        for index, part in enumerate(parts)
        if part.holds(layer.name)
    }
    for layer in model.layers:
        for node in layer._inbound_nodes:
            for tensor in node.input_tensors:
                below = tensor._keras_history.operation.name
                if below not in rank:
                    continue
                assert rank[below] <= rank[layer.name], (below, layer.name)
                if rank[below] < rank[layer.name]:
                    assert rank[layer.name] - rank[below] <= reach, (below, layer.name)
                    assert below == parts[rank[below]].output, (below, layer.name)
    assert parts[-1] == spec.stages[-1]
    assert parts[-1].name == HEAD


@EVERY_ROW
def test_only_the_first_convolution_reads_the_image(spec: ModelSpec) -> None:
    target = medzoo.describe(spec, classes=2, channels=7)
    layers = [layer for layer, channels in target.feeds.items() if channels == IMAGE]
    assert len(layers) == 1
    assert target.tensors[f"{layers[0]}/kernel"].shape[-2] == 7
    assert next(iter(target.tensors)).startswith(layers[0])


def test_rows_differ_from_each_other(networks: dict[str, keras.Model]) -> None:
    """ViT and DeiT are one architecture under two contracts."""
    graphs: dict[str, str] = {}
    for name, network in networks.items():
        layers = [(type(layer).__name__, layer.get_config()) for layer in network.layers[1:]]
        graph = f"{medzoo.find_model(name).preprocessing.name} {layers}"
        assert graph not in graphs, (name, graphs[graph])
        graphs[graph] = name


@EVERY_ROW
def test_a_row_names_its_heads_and_its_inputs(spec: ModelSpec) -> None:
    assert spec.smallest_input <= spec.input_size
    assert spec.input_size % spec.multiple == 0
    assert spec.heads
    assert set(spec.heads) <= {"gap", "flatten", "token", "none"}
    assert spec.row == spec.name
    with pytest.raises(medzoo.MedzooError, match=f"{spec.smallest_input} or more"):
        medzoo.describe(spec, input_size=spec.smallest_input - 1)
    if spec.multiple > 1:
        with pytest.raises(medzoo.MedzooError, match=f"multiple of {spec.multiple}"):
            medzoo.describe(spec, input_size=spec.input_size + 1)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("cbr_large_t", 8_532_480),
        ("cbr_large_w", 8_432_128),
        ("cbr_small", 2_108_672),
        ("cbr_tiny", 1_076_480),
    ],
)
def test_the_published_counts_of_cbr(name: str, published: int) -> None:
    """Raghu et al. 2019 count the convolutions from the second on, and five outputs without bias."""
    target = medzoo.describe(name, classes=5)
    kernels = [spec for spec in target.tensors.values() if spec.role is Role.KERNEL]
    assert sum(spec.size for spec in kernels[1:]) == published
    assert kernels[-1].name == f"{HEAD}/kernel"
    assert kernels[-1].shape[-1] == 5


@pytest.mark.parametrize(
    ("name", "trainable"),
    [("cbr_large_t", 8_539_173), ("cbr_large_w", 8_443_461), ("cbr_small", 2_114_341)],
)
def test_the_trainable_counts_of_cbr(name: str, trainable: int) -> None:
    moving = {Role.MOVING_MEAN, Role.MOVING_VARIANCE}
    tensors = medzoo.describe(name, classes=5, channels=3).tensors.values()
    assert sum(spec.size for spec in tensors if spec.role not in moving) == trainable


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("resnet50", 25_636_712),
        ("mobilenet_100", 4_253_864),
        ("mobilenet_075", 2_601_976),
        ("mobilenet_050", 1_342_536),
        ("mobilenet_025", 475_544),
    ],
)
def test_the_counts_of_keras_applications(name: str, total: int) -> None:
    target = medzoo.describe(name)
    assert target.size == total
    assert total == sum(math.prod(spec.shape) for spec in target.tensors.values())
