"""The lines that dialects share: a layer's tensors in PyTorch's names and axis order."""

from __future__ import annotations

from medzoo.weights.dialects.entry import Entry

#: PyTorch stores a convolution's kernel as (filters, channels, rows, columns); Keras wants the reverse pairs.
CONVOLUTION = (2, 3, 1, 0)
#: PyTorch's depthwise kernel is (channels × multiplier, 1, rows, columns), Keras's (rows, columns, channels, 1).
DEPTHWISE = (2, 3, 0, 1)
#: PyTorch's linear weight is (outputs, inputs).
DENSE = (1, 0)

#: Counters of PyTorch's batch norm, which Keras does not have.
COUNTERS = "*num_batches_tracked"


def convolution(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a convolution, with or without a bias."""
    return (
        Entry(f"{theirs}.weight", f"{ours}/kernel", CONVOLUTION),
        Entry(f"{theirs}.bias", f"{ours}/bias"),
    )


def depthwise(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a depthwise convolution."""
    return (Entry(f"{theirs}.weight", f"{ours}/kernel", DEPTHWISE), Entry(f"{theirs}.bias", f"{ours}/bias"))


def dense(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a linear layer."""
    return (Entry(f"{theirs}.weight", f"{ours}/kernel", DENSE), Entry(f"{theirs}.bias", f"{ours}/bias"))


def batch_norm(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a batch norm with its moving statistics."""
    return (
        *layer_norm(theirs, ours),
        Entry(f"{theirs}.running_mean", f"{ours}/moving_mean"),
        Entry(f"{theirs}.running_var", f"{ours}/moving_variance"),
    )


def layer_norm(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a norm with scale and shift alone: layer norm, group norm."""
    return (Entry(f"{theirs}.weight", f"{ours}/gamma"), Entry(f"{theirs}.bias", f"{ours}/beta"))


def fused_attention(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of one linear layer that holds query, key and value one after the other."""
    return tuple(
        entry
        for part, name in enumerate(("query", "key", "value"))
        for entry in (
            Entry(f"{theirs}.weight", f"{ours}_{name}/kernel", DENSE, part=part, parts=3),
            Entry(f"{theirs}.bias", f"{ours}_{name}/bias", part=part, parts=3),
        )
    )
