"""LSUV: scaling kernels, bottom-up, until every layer answers a batch with unit variance.

Mishkin & Matas 2015, arXiv 1511.06422. Of its two parts this is the second, which works after any start: the
orthonormal kernels of the first are one start among others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from medzoo.errors import ConfigError
from medzoo.models.bit import StandardizedConv2D
from medzoo.models.graph import find_graph, list_nodes
from medzoo.tensors import Role, measure_moments, name_variables, role_of

#: Layers whose output is linear in a kernel but for the bias, before their activation.
_SCALABLE = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
    *(keras.layers.Dense, keras.layers.EinsumDense),
)

#: Outputs that deviate by less than this part of their mean are one value and float32's rounding.
_ROUNDING = 1e-6

#: A variance that a new scale of the kernel moves by less than this part of it will not be moved to 1.
_STALLED = 1e-6


@dataclass
class _Scaling:
    """What one walk through a model needs, and what it finds: total factors by tensor name."""

    names: Mapping[int, str]
    tolerance: float
    iterations: int
    report: Callable[[str], None]
    factors: dict[str, float] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def see(self, thing: Any) -> bool:
        """Tell whether a layer or kernel comes for the first time."""
        is_new = id(thing) not in self.seen
        self.seen.add(id(thing))
        return is_new


def measure_scales(
    model: keras.Model,
    images: np.ndarray,
    tolerance: float = 0.02,
    iterations: int = 20,
    report: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """Scale the kernels of a model, in place, so that each layer's output over a batch has variance 1.

    `images` is the batch (images, height, width, channels) as the network takes them, preprocessed: about unit
    variance is the caller's part, and `report` is told theirs. Gives tensor name (`medzoo.tensors.name_variables`)
    → total factor, a float that float32 holds: a float32 kernel is original × factor, rounded once, so that a plan
    with the factors repeats the scaling to the bit without the images.

    Layers are taken in the order of the graph, nested models opened, one that is called several times at its first
    call: convolutions (transposed and depthwise too), dense and einsum-dense layers, and of separable convolutions
    the pointwise kernel. v is the variance of a layer's whole output, with the bias and before the layer's own
    activation; the kernel is multiplied by 1/√v until |v − 1| ≤ `tolerance`, at most `iterations` times. Biases stay
    as they are. The head is scaled like any layer.

    The model runs as in inference: no dropout, and batch norms use their moving statistics, which for fresh ones
    (mean 0, variance 1) hardly change anything. Norms are not scaled, and statistics that a batch norm holds from
    a training fit its scaled inputs no longer: reset them, or measure them again.

    Left as they are, and told to `report`: kernels that are all zero (a zero head), outputs whose variance is 0
    (up to rounding) or not finite, weight-standardised convolutions (no scale of the kernel changes their output),
    biases that alone vary by more than 1, and kernels within other layers, as in Keras's own attention.

    Raises:
        ConfigError: a model without a graph or with several inputs, images of another shape or with values that
            are not finite, no images, or a tolerance or number of iterations that is not above 0.
        PlanError: the model has no weights.

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, name="head")])
    >>> model.set_weights([np.array([[2.0], [0.0]])])
    >>> measure_scales(model, np.array([[-1.0, 0.0], [1.0, 0.0]]))
    {'head/kernel': 0.5}
    """
    if not tolerance > 0 or iterations < 1:
        raise ConfigError(
            f"a tolerance of {tolerance} with {iterations} iterations",
            "a tolerance above 0 and at least 1 iteration",
            "tolerance=0.02, iterations=20",
        )
    graph = find_graph(model)
    _check_images(model.name, graph.inputs, images)
    named = name_variables(model)
    tell = report or _discard
    scaling = _Scaling({id(variable): name for name, variable in named.items()}, tolerance, iterations, tell)
    tell(f"images: variance {measure_moments(images).deviation ** 2:.4g}")
    _report_statistics(named, tell)
    _run_graph(graph, [keras.ops.convert_to_tensor(images, dtype=graph.inputs[0].dtype)], scaling)
    return scaling.factors


def _discard(line: str) -> None:
    """Take a line of a report that nobody asked for."""
    del line


def _check_images(name: str, inputs: Sequence[Any], images: np.ndarray) -> None:
    """Refuse a batch that is not one for this model, or from which nothing can be measured."""
    if len(inputs) != 1:
        raise ConfigError(
            f"{name!r} has {len(inputs)} inputs",
            "a model with one",
            "scaling the model of each input by itself",
        )
    expected = tuple(inputs[0].shape)[1:]
    fits = images.ndim == len(expected) + 1 and all(
        wanted in (None, size) for wanted, size in zip(expected, images.shape[1:], strict=True)
    )
    if not fits or not images.size:
        raise ConfigError(
            f"images of shape {images.shape} for {name!r}",
            f"(images, {', '.join('any' if size is None else str(size) for size in expected)})",
            "images prepared as the network takes them",
        )
    if not np.isfinite(images).all():
        raise ConfigError("images with values that are not finite", "finite values", "other images")


def _report_statistics(named: Mapping[str, Any], report: Callable[[str], None]) -> None:
    """Report batch norms that hold statistics: what they were measured on is about to change."""
    fresh = {Role.MOVING_MEAN: 0.0, Role.MOVING_VARIANCE: 1.0}
    held = {
        name.rsplit("/", 1)[0]
        for name, variable in named.items()
        if role_of(name) in fresh
        and np.any(keras.ops.convert_to_numpy(variable).astype(np.float64) != fresh[role_of(name)])
    }
    if held:
        report(
            f"{len(held)} batch norms hold statistics of unscaled inputs, {min(held)} among them: "
            "reset or measure them again"
        )


def _run_graph(graph: Any, inputs: Sequence[Any], scaling: _Scaling) -> list[Any]:
    """Run a graph on its inputs, each call once, scale its layers on the way, and give its outputs."""
    nodes = list(list_nodes(graph))
    # How often each tensor will still be read: what nothing reads any more is let go.
    readers = Counter(id(tensor) for tensor in graph.outputs)
    readers.update(id(tensor) for node in nodes for tensor in node.input_tensors)
    known = {id(tensor): value for tensor, value in zip(graph.inputs, inputs, strict=True)}
    for node in nodes:
        inner = getattr(node.operation, "_functional", None) or node.operation
        if hasattr(inner, "_nodes_by_depth"):
            read = [
                keras.ops.cast(known[id(outer)], own.dtype)
                for outer, own in zip(node.input_tensors, inner.inputs, strict=True)
            ]
            written = _run_graph(inner, read, scaling)
        else:
            written = keras.tree.flatten(_run_call(node, known, scaling))
        known.update((id(tensor), value) for tensor, value in zip(node.output_tensors, written, strict=True))
        for tensor in node.input_tensors:
            readers[id(tensor)] -= 1
            if not readers[id(tensor)]:
                del known[id(tensor)]
    return [known[id(tensor)] for tensor in graph.outputs]


def _run_call(node: Any, known: Mapping[int, Any], scaling: _Scaling) -> Any:
    """Run one call, and scale its layer before if there is a kernel that can be."""
    layer = node.operation
    positional, named = node.arguments.fill_in(known)
    if isinstance(layer, keras.layers.Layer):
        named = {**named, "training": False}

    def call() -> Any:
        return layer(*positional, **named)

    kernel = _find_kernel(layer, scaling)
    return call() if kernel is None else _scale_kernel(layer, kernel, call, scaling)


def _find_kernel(layer: Any, scaling: _Scaling) -> Any:
    """Give the kernel of a layer that is to be scaled now, or None; report kernels that will not be."""
    if not any(role_of(weight.path) is Role.KERNEL for weight in getattr(layer, "weights", ())):
        return None
    is_new = scaling.see(layer)
    if not isinstance(layer, _SCALABLE) or isinstance(layer, StandardizedConv2D):
        if is_new:
            standardized = isinstance(layer, StandardizedConv2D)
            reason = "standardised" if standardized else f"within a {type(layer).__name__}"
            scaling.report(f"{layer.name} skipped: its kernels are {reason}")
        return None
    kernel = layer.pointwise_kernel if hasattr(layer, "pointwise_kernel") else layer.kernel
    # An adapted (LoRA) kernel is computed, a quantised one holds integers: neither is a tensor to scale.
    if id(kernel) not in scaling.names or "float" not in keras.backend.standardize_dtype(kernel.dtype):
        if is_new:
            scaling.report(f"{layer.name} skipped: its kernel is not stored as such")
        return None
    return kernel if scaling.see(kernel) else None


def _scale_kernel(layer: Any, kernel: Any, call: Callable[[], Any], scaling: _Scaling) -> Any:
    """Scale a kernel until the layer's output has variance 1, note its factor, and give the layer's output."""
    name = scaling.names[id(kernel)]
    # A copy: the backend may hand out the memory that it is about to overwrite.
    original = np.array(keras.ops.convert_to_numpy(kernel))
    if not original.any():
        scaling.report(f"{name} skipped: all zero")
        return call()
    total, rounds = np.float32(1.0), 0
    with _without_activation(layer) as replaced:
        output = call()
        first = variance = _measure_variance(output)
        while _has_scale(variance) and abs(variance - 1) > scaling.tolerance and rounds < scaling.iterations:
            # One multiplication of the original, not many of its products: whoever has the factor has the bits.
            total = np.float32(float(total) / math.sqrt(variance))
            kernel.assign(_multiply(original, total))
            output = call()
            before, variance = variance, _measure_variance(output)
            rounds += 1
            if abs(variance - before) <= _STALLED * before:
                break
        obstacle = _find_obstacle(layer, first, variance, scaling.tolerance)
        if obstacle and rounds:
            kernel.assign(original)
            output = call()
    if obstacle:
        scaling.report(f"{name} skipped: {obstacle}")
    else:
        scaling.factors[name] = float(total)
        reached = "" if abs(variance - 1) <= scaling.tolerance else ", still out of tolerance"
        scaling.report(
            f"{name} × {total:.6g}: variance {first:.4g} → {variance:.4g}, iterations {rounds}{reached}"
        )
    return call() if replaced else output


def _multiply(original: np.ndarray, factor: np.float32) -> np.ndarray:
    """Multiply a kernel by a float32, in float32 or better, and give it the kernel's own type."""
    wide = original if original.dtype == np.float64 else original.astype(np.float32)
    with np.errstate(over="ignore"):  # what overflows shows in the output's variance
        return np.asarray((wide * factor).astype(original.dtype))


def _measure_variance(output: Any) -> float:
    """Measure the variance of all values of a tensor in float64: NaN unless all are finite, 0 if it is rounding."""
    values = keras.ops.convert_to_numpy(output)
    if not np.isfinite(values).all():
        return math.nan
    moments = measure_moments(values)
    return moments.deviation**2 if moments.deviation > _ROUNDING * abs(moments.mean) else 0.0


def _has_scale(variance: float) -> bool:
    """Tell whether a factor of float32's range brings a variance to 1."""
    return bool(1e-60 < variance < 1e60)


def _find_obstacle(layer: Any, first: float, last: float, tolerance: float) -> str:
    """Say why a layer keeps its kernel after all, or nothing."""
    if not _has_scale(last):
        return f"its output has variance {last:.4g}"
    if abs(last - 1) <= tolerance:
        return ""
    bias = getattr(layer, "bias", None)
    spread = 0.0 if bias is None else measure_moments(keras.ops.convert_to_numpy(bias)).deviation ** 2
    if spread > 1:
        # Every iteration shrinks the kernel, towards nothing at all.
        return f"its bias alone has variance {spread:.4g}"
    if abs(math.log(last)) > 0.999 * abs(math.log(first)):
        return f"its output's variance of {last:.4g} does not follow the kernel's scale"
    return ""


@contextmanager
def _without_activation(layer: Any) -> Iterator[bool]:
    """Take a layer's own activation off, and put it back; tells whether there was one."""
    activation = getattr(layer, "activation", None)
    if activation is None or activation is keras.activations.linear:
        yield False
        return
    layer.activation = keras.activations.linear
    try:
        yield True
    finally:
        layer.activation = activation
