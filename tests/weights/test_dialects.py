"""Names and heads of Keras 2 and keras.applications, read as Keras 3 and medzoo name them."""

from __future__ import annotations

import numpy as np
import pytest

import medzoo
from medzoo.errors import WeightsError
from medzoo.tensors import Role
from medzoo.weights.dialects.table import speak


def source(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    names = {name.replace("__", "/"): shape for name, shape in shapes.items()}
    return {name: np.arange(np.prod(shape), dtype="float32").reshape(shape) for name, shape in names.items()}


def test_a_depthwise_kernel_is_a_kernel_but_not_in_a_separable_convolution() -> None:
    arrays = source(
        dw__depthwise_kernel=(3, 3, 4, 1),
        sep__depthwise_kernel=(3, 3, 4, 1),
        sep__pointwise_kernel=(1, 1, 4, 8),
    )
    name, tensors, _ = speak(medzoo.source_from_arrays(arrays), "a file")
    assert name == "keras"
    assert list(tensors) == ["dw/kernel", "sep/depthwise_kernel", "sep/pointwise_kernel"]
    assert tensors["dw/kernel"].spec.role is Role.KERNEL
    assert np.array_equal(tensors["dw/kernel"].read(), arrays["dw/depthwise_kernel"])


def test_mobilenet_s_convolution_head_is_read_as_the_dense_layer_that_it_is() -> None:
    arrays = source(
        conv1__kernel=(3, 3, 3, 8),
        conv_pw_1__kernel=(1, 1, 8, 16),
        conv_preds__kernel=(1, 1, 16, 5),
        conv_preds__bias=(5,),
    )
    name, tensors, _ = speak(medzoo.source_from_arrays(arrays), "a file")
    assert name == "keras_applications_mobilenet"
    assert tensors["head/kernel"].spec.shape == (16, 5)
    assert tensors["head/kernel"].spec.name == "head/kernel"
    assert np.array_equal(tensors["head/kernel"].read(), arrays["conv_preds/kernel"][0, 0])
    assert tensors["conv_pw_1/kernel"].spec.shape == (1, 1, 8, 16)
    assert np.array_equal(tensors["head/bias"].read(), arrays["conv_preds/bias"])


def test_predictions_are_a_head() -> None:
    name, tensors, _ = speak(medzoo.source_from_arrays(source(predictions__kernel=(4, 2))), "a file")
    assert (name, list(tensors)) == ("keras_applications", ["head/kernel"])


def test_two_tensors_of_one_name_are_refused() -> None:
    arrays = source(dw__depthwise_kernel=(3, 3, 4, 1), dw__kernel=(3, 3, 4, 1))
    with pytest.raises(WeightsError, match="are both 'dw/kernel'; expected unique names"):
        speak(medzoo.source_from_arrays(arrays), "a file")


CIFAR = {
    "conv1.weight": np.ones((4, 3, 3, 3), "float32"),
    "layer1.0.conv1.weight": np.ones((4, 4, 3, 3), "float32"),
    "layer3.0.bn2.weight": np.ones(4, "float32"),
}


@pytest.mark.parametrize("prefix", ["", "model.", "net.", "student.backbone.", "a.b.c."])
@pytest.mark.parametrize("forced", [None, "cifar_resnet"])
def test_a_wrapped_network_without_its_head_is_found(prefix: str, forced: str | None) -> None:
    arrays = {f"{prefix}{name}": values for name, values in CIFAR.items()}
    arrays["teacher.weight"] = np.ones(2, "float32")
    name, tensors, notes = speak(medzoo.source_from_arrays(arrays), "a file", forced)
    assert name == "cifar_resnet"
    assert set(tensors) == {
        "conv1_conv/kernel",
        "conv2_block1_1_conv/kernel",
        "conv4_block1_2_bn/gamma",
        "teacher.weight",
    }
    assert (f"the prefix {prefix!r} was removed" in notes) == bool(prefix)


def test_names_of_no_dialect_are_said_to_be_as_stored() -> None:
    name, tensors, notes = speak(medzoo.source_from_arrays({"a.b.weight": np.ones((2, 3))}), "a file")
    assert (name, list(tensors)) == ("keras", ["a.b.weight"])
    assert notes == ("no known dialect: names and axes are as stored",)
    assert speak(medzoo.source_from_arrays({"a/kernel": np.ones((2, 3))}), "a file")[2] == ()
