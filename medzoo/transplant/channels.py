"""Input channels: how a kernel that reads the image follows from a kernel for another number of channels."""

from __future__ import annotations

import numpy as np

from medzoo.tensors import INPUT, Role, Target, TensorSpec


def reads_input(tensor: TensorSpec, target: Target) -> bool:
    """Tell whether a tensor is the kernel of a convolution that reads the model's input."""
    layer = tensor.name.rpartition("/")[0]
    return tensor.role is Role.KERNEL and len(tensor.shape) >= 3 and target.feeds.get(layer) == (INPUT,)


def can_adapt_channels(source: TensorSpec, tensor: TensorSpec, target: Target) -> bool:
    """Tell whether two kernels differ in their input channels alone, in a layer that reads the model's input."""
    return (
        reads_input(tensor, target)
        and len(source.shape) == len(tensor.shape)
        and source.shape[:-2] == tensor.shape[:-2]
        and source.shape[-1] == tensor.shape[-1]
    )


def sum_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Turn a kernel (…, C, filters) into one for another number of input channels.

    One channel: the sum over C, which gives a grey image the response that the kernel gave its C-fold
    replication. Any other number n: the C slices repeated in order, cut to n, times C/n, which keeps the
    response to a constant image's scale (timm's rule; sums in float64).

    >>> sum_channels(np.ones((1, 1, 3, 1)), 1).item(), sum_channels(np.ones((1, 1, 3, 1)), 6).sum().item()
    (3.0, 3.0)
    """
    count = kernel.shape[-2]
    if channels == count:
        return kernel
    values = kernel.astype(np.float64)
    if channels == 1:
        adapted = values.sum(axis=-2, keepdims=True)
    else:
        adapted = values[..., np.arange(channels) % count, :] * (count / channels)
    return np.asarray(adapted, kernel.dtype)
