"""Every family by its narrowest row: cuts, heads, options, precision, Keras's JAX backend."""

from __future__ import annotations

import keras
import pytest
from narrow import EVERY_FAMILY, NARROW, least_size

import medzoo
from medzoo.models.abstract import build_without_weights
from medzoo.models.catalog import FAMILIES, WITH_DROP_PATH
from medzoo.models.describe import build_abstractly
from medzoo.specs import HEAD, ModelSpec, list_parts


@pytest.fixture(scope="module")
def plain() -> dict[str, keras.Model]:
    """Each family's network at its least input, without memory."""
    return {spec.name: build_abstractly(spec, 3, 1, least_size(spec)) for spec in NARROW.values()}


@EVERY_FAMILY
def test_the_smallest_input_leaves_something_at_the_top(spec: ModelSpec) -> None:
    network = build_abstractly(spec, 3, 1, spec.smallest_input, head="none")
    assert all(size >= 1 for size in network.output_shape[1:])


def list_graph(network: keras.Model) -> dict[str, tuple[str, list[str]]]:
    """List every layer's settings and the layers that it is called on."""
    lines = {}
    for operation in network.operations:
        if type(operation).__name__ != "InputLayer":
            (node,) = operation._inbound_nodes[:1]
            below = [tensor._keras_history.operation.name for tensor in node.input_tensors]
            lines[operation.name] = (f"{type(operation).__name__} {operation.get_config()}", below)
    return lines


def find_below(graph: dict[str, tuple[str, list[str]]], layer: str) -> dict[str, tuple[str, list[str]]]:
    """Find the part of a graph that one layer needs."""
    found, waiting = {}, [layer]
    while waiting:
        name = waiting.pop()
        if name in graph and name not in found:
            found[name] = graph[name]
            waiting += graph[name][1]
    return found


@EVERY_FAMILY
def test_every_cut_is_the_network_up_to_there(spec: ModelSpec, plain: dict[str, keras.Model]) -> None:
    """Equal layers, equally connected: with equal weights, equal activations. Up to eight parts, evenly spread."""
    whole = list_graph(plain[spec.name])
    parts = list_parts(spec.stages[:-1])
    for part in parts[:: -(-len(parts) // 8)]:
        cut = medzoo.find_model(f"{spec.name}@{part.name}")
        assert cut.stages[-2].output == part.output
        network = build_abstractly(cut, 3, 1, least_size(spec))
        assert network.output_shape == (None, 3)
        graph = list_graph(network)
        assert find_below(graph, part.output) == find_below(whole, part.output), part.name
        assert all(part.holds(name) or name in whole for name in graph if not name.startswith(HEAD))
        above = set(graph) - set(find_below(graph, part.output))
        assert all(cut.stages[-1].holds(name) for name in above), above


@EVERY_FAMILY
@pytest.mark.parametrize("head", ["gap", "flatten", "token", "none"])
def test_every_head_or_a_refusal(spec: ModelSpec, head: str, plain: dict[str, keras.Model]) -> None:
    size = least_size(spec)
    if head not in spec.heads:
        with pytest.raises(medzoo.MedzooError, match="no head"):
            medzoo.build(spec, input_size=size, head=head)
        return
    network = build_abstractly(spec, 3, 1, size, head=head)
    assert head == "none" or network.output_shape == (None, 3)
    below = [weight.path for weight in plain[spec.name].weights if not weight.path.startswith(HEAD)]
    assert below == [weight.path for weight in network.weights if not weight.path.startswith(HEAD)]
    for layer in network.layers[1:]:
        assert sum(stage.holds(layer.name) for stage in spec.stages) == 1, layer.name


@EVERY_FAMILY
def test_names_do_not_depend_on_options(spec: ModelSpec, plain: dict[str, keras.Model]) -> None:
    size, first = least_size(spec), plain[spec.name]
    rate = 0.2 if spec.family in WITH_DROP_PATH else 0.0
    with build_without_weights():
        second = medzoo.build(spec, 5, 4, size, dropout=0.3, drop_path=rate)
    assert [layer.name for layer in second.layers] == [layer.name for layer in first.layers]
    assert [weight.path for weight in second.weights] == [weight.path for weight in first.weights]
    if not rate:
        dropping = [layer for layer in second.layers if isinstance(layer, keras.layers.Dropout)]
        assert not any(layer.rate for layer in dropping if not layer.name.startswith(HEAD))
        with pytest.raises(medzoo.MedzooError, match="no paths to drop"):
            medzoo.build(spec, 3, 1, size, drop_path=0.2)


def list_rates(spec: ModelSpec, rate: float) -> list[tuple[int, float]]:
    """List the rates at which paths are dropped, each with its block's number, counted from 0."""
    blocks = [part for part in list_parts(spec.stages) if "block" in part.name]
    with build_without_weights():
        network = medzoo.build(spec, 3, 1, least_size(spec), drop_path=rate)
    return [
        (next(number for number, block in enumerate(blocks) if block.holds(layer.name)), layer.rate)
        for layer in network.layers
        if isinstance(layer, keras.layers.Dropout) and not layer.name.startswith(HEAD)
    ]


@pytest.mark.parametrize("family", ["convnext", "swin", "vit"])
def test_paths_are_dropped_at_rates_that_end_at_the_one_given(family: str) -> None:
    spec = NARROW[family]
    last = {"convnext": 3 + 3 + 9 + 3, "swin": 2 + 2 + 6 + 2, "vit": 12}[family] - 1
    rates = list_rates(spec, 0.2)
    assert max(rates) == (last, 0.2)
    assert {number for number, _ in rates} == set(range(last + 1))
    assert all(rate == pytest.approx(0.2 * number / last, rel=1e-12) for number, rate in rates)


@pytest.mark.parametrize(
    ("family", "blocks", "last"),
    # The last block of B0 changes its channels and has no path to drop; EfficientNetV2's has one.
    [("efficientnet", 16, 14), ("efficientnet_v2", 21, 20)],
)
def test_paths_are_dropped_by_the_schedule_of_efficientnet(family: str, blocks: int, last: int) -> None:
    """Keras's own: a block's rate is the one given times its number, from 0, by the number of blocks."""
    rates = list_rates(NARROW[family], 0.2)
    assert max(rates) == (last, 0.2 * last / blocks)
    assert all(rate == 0.2 * number / blocks for number, rate in rates)


def test_every_family_with_paths_to_drop_has_its_schedule_checked() -> None:
    assert {"convnext", "swin", "vit", "efficientnet", "efficientnet_v2"} == WITH_DROP_PATH


def find_slim(spec: ModelSpec) -> ModelSpec:
    """Find the network that is half as wide above its first stage, or above the second where that is refused."""
    first, second = (stage.name for stage in spec.stages[:2])
    try:
        return medzoo.find_model(f"{spec.name}+slim={first}:2")
    except medzoo.MedzooError:
        return medzoo.find_model(f"{spec.name}+slim={second}:2")


@EVERY_FAMILY
def test_names_do_not_depend_on_widths(spec: ModelSpec, plain: dict[str, keras.Model]) -> None:
    changes = next(module.CHANGES for module in FAMILIES if spec.name in module.ROWS)
    first, derived = plain[spec.name], []
    if "width" in changes:
        derived.append(medzoo.find_model(f"{spec.name}+width=2"))
    if "slim" in changes:
        derived.append(find_slim(spec))
    if "alpha" in changes:
        derived.append(medzoo.find_model(f"{spec.name}+alpha=1"))
    for changed in derived:
        assert changed.name != spec.name
        second = build_abstractly(changed, 3, 1, least_size(spec))
        assert [layer.name for layer in second.layers] == [layer.name for layer in first.layers], changed.name
        paths = [weight.path for weight in second.weights]
        assert paths == [weight.path for weight in first.weights], changed.name
        shapes = [weight.shape for weight in second.weights]
        assert shapes != [weight.shape for weight in first.weights], changed.name


@EVERY_FAMILY
def test_the_head_computes_in_float32_under_mixed_precision(spec: ModelSpec) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build_abstractly(spec, 3, 1, least_size(spec))
    finally:
        keras.config.set_dtype_policy(before)
    assert network.output.dtype == "float32"
    assert network.get_layer(list_parts(spec.stages)[-2].output).output.dtype == "bfloat16"
    assert {variable.dtype for variable in network.weights} == {"float32"}
