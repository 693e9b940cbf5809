"""Every row of the catalogue: its table, its stages, its file layout, its published numbers."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.models.describe import describe_abstractly
from medzoo.models.tables import generate
from medzoo.specs import HEAD, ModelSpec, Stage
from medzoo.tensors import INPUT, Role, Target

ROWS = medzoo.list_models()
EVERY_ROW = pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)

#: One narrow member of each family: what needs a real build is tested on these.
NARROW = {
    "cbr": "cbr_tiny",
    "cifar_resnet": "resnet20",
    "mobilenet": "mobilenet_025",
    "resnet": "resnet50",
}


@pytest.fixture(scope="module")
def described() -> dict[str, Target]:
    """Every row, built without allocating, for a number of classes and channels that no table was made with."""
    return {spec.name: describe_abstractly(spec, classes=11, channels=2) for spec in ROWS}


@pytest.fixture(scope="module")
def networks() -> dict[str, keras.Model]:
    """Every row's layers and graph; its weights are never allocated."""
    with keras.StatelessScope(initialize_variables=False):
        return {spec.name: medzoo.build(spec, classes=2, channels=1, input_size=64) for spec in ROWS}


@pytest.fixture(scope="module", params=NARROW.values())
def real(request: pytest.FixtureRequest) -> keras.Model:
    """Build a narrow member with real, distinct values, also in its norms."""
    keras.utils.set_random_seed(5)
    model = medzoo.build(request.param, classes=3, channels=1, input_size=32)
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if "kernel" not in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype("float32"))
    return model


def test_every_family_has_a_narrow_member() -> None:
    assert set(NARROW) == {spec.family for spec in ROWS}
    assert all(medzoo.find_model(name).family == family for family, name in NARROW.items())


@EVERY_ROW
def test_the_table_is_what_an_abstract_build_says(spec: ModelSpec, described: dict[str, Target]) -> None:
    table, network = medzoo.describe(spec, classes=11, channels=2), described[spec.name]
    assert list(table.tensors.values()) == list(network.tensors.values())
    assert table.feeds == network.feeds
    assert table.storage == network.storage
    assert (table.model, table.classes, table.channels) == (spec.name, 11, 2)
    assert medzoo.describe(spec.name, classes=11, channels=2) == table


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    generate.main(folder)
    return folder


def test_the_tables_on_disk_are_what_generate_writes(generated: Path) -> None:
    committed = {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in resources.files("medzoo.models.tables").iterdir()
        if entry.name.endswith(".json")
    }
    written = {path.name: path.read_text(encoding="utf-8") for path in generated.iterdir()}
    assert set(committed) == set(written) == {f"{spec.name}.json" for spec in ROWS}
    for name, text in written.items():
        assert committed[name] == text, f"{name} is stale: python -m medzoo.models.tables.generate"


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
    """Everything that leaves a stage leaves it by its output, upwards."""
    parts: list[Stage] = [part for stage in spec.stages for part in (stage.blocks or (stage,))]
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
                    assert rank[below] == rank[layer.name] - 1, (below, layer.name)
                    assert below == parts[rank[below]].output, (below, layer.name)
    assert parts[-1] == spec.stages[-1]
    assert parts[-1].name == HEAD


@EVERY_ROW
def test_only_the_first_convolution_reads_the_image(spec: ModelSpec) -> None:
    target = medzoo.describe(spec, classes=2, channels=7)
    layers = [layer for layer, suppliers in target.feeds.items() if suppliers == (INPUT,)]
    assert len(layers) == 1
    assert target.tensors[f"{layers[0]}/kernel"].shape[-2] == 7
    assert next(iter(target.tensors)).startswith(layers[0])


@EVERY_ROW
def test_rows_differ_from_each_other_and_show_their_smallest_input(spec: ModelSpec) -> None:
    assert spec.smallest_input <= spec.input_size
    assert {stage.name for stage in spec.stages} >= {HEAD}
    same = [row.name for row in ROWS if medzoo.describe(row).tensors == medzoo.describe(spec).tensors]
    assert same == [spec.name]


def test_a_real_build_is_described_as_its_row(real: keras.Model) -> None:
    built, row = medzoo.describe(real), medzoo.describe(real.name, classes=3, channels=1)
    assert list(built.tensors.values()) == list(row.tensors.values())
    assert built.feeds == row.feeds
    assert built.storage == row.storage
    assert built.model == ""


def test_storage_paths_are_those_of_a_keras_file(real: keras.Model, tmp_path: Path) -> None:
    real.save_weights(tmp_path / "a.weights.h5")
    storage = medzoo.describe(real.name, classes=3, channels=1).storage
    written = {}
    with h5py.File(tmp_path / "a.weights.h5") as file:

        def note(path: str, member: object) -> None:
            if isinstance(member, h5py.Dataset):
                written[path] = member[()]

        file.visititems(note)
    assert set(written) == set(storage.values())
    for variable in real.weights:
        assert np.array_equal(written[storage[variable.path]], np.asarray(variable)), variable.path


def test_copying_a_model_s_own_weights_through_a_file_keeps_its_outputs(
    real: keras.Model, tmp_path: Path
) -> None:
    real.save_weights(tmp_path / "own.weights.h5")
    source = medzoo.open_weights(tmp_path / "own.weights.h5")
    target = medzoo.describe(real.name, classes=3, channels=1)
    plan = medzoo.make_plan(source, target, recipes.copy(medzoo.find_model(real.name).stages))
    assert plan.coverage == 1.0
    medzoo.write(plan, source, target, tmp_path / "copy.weights.h5")
    images = np.random.default_rng(2).normal(size=(2, 32, 32, 1)).astype("float32")
    expected = np.asarray(real(images, training=False))
    twin = medzoo.build(real.name, classes=3, channels=1, input_size=32)
    assert not np.allclose(np.asarray(twin(images, training=False)), expected)
    twin.load_weights(tmp_path / "copy.weights.h5")
    assert np.array_equal(np.asarray(twin(images, training=False)), expected)


#: Runs under Keras's JAX backend: describe a real build, then predict.
_OTHER_BACKEND = """
import numpy, keras, medzoo
assert keras.backend.backend() == "jax"
for name in {names}:
    size = max(32, medzoo.find_model(name).smallest_input)
    model = medzoo.build(name, classes=3, channels=1, input_size=size)
    assert medzoo.describe(model).tensors == medzoo.describe(name, classes=3, channels=1).tensors, name
    logits = numpy.asarray(model(numpy.ones((1, size, size, 1), "float32"), training=False))
    assert logits.shape == (1, 3) and numpy.isfinite(logits).all(), name
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW.values())
def test_every_family_runs_under_jax(name: str) -> None:
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    code = _OTHER_BACKEND.format(names=[name])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
