"""Google's `.npz` files: BiT (google-research/big_transfer) and ViT (google-research/vision_transformer)."""

from __future__ import annotations

from collections.abc import Iterable

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry


def _group_norm(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a group norm in TensorFlow's names."""
    return (
        Entry(f"{theirs}/group_norm/gamma", f"{ours}/gamma"),
        Entry(f"{theirs}/group_norm/beta", f"{ours}/beta"),
    )


def _standardized(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a standardised convolution, which some files number through: `standardized_conv2d_17`."""
    return (
        Entry(f"{theirs}/standardized_conv2d/kernel", f"{ours}/kernel"),
        Entry(f"{theirs}/standardized_conv2d_{{number}}/kernel", f"{ours}/kernel"),
    )


_UNIT, _OURS = "resnet/block{block}/unit{unit:02}", "block{block}_unit{unit}"

BIT = Dialect(
    "bit_npz",
    "BiT's released .npz files",
    marks=(
        "resnet/root_block/standardized_conv2d*/kernel",
        "resnet/block1/unit01/a/group_norm/gamma",
        "resnet/group_norm/gamma",
    ),
    entries=(
        *_standardized("resnet/root_block", "root_conv"),
        *(
            entry
            for letter in "abc"
            for entry in (
                *_standardized(f"{_UNIT}/{letter}", f"{_OURS}_{letter}_conv"),
                *_group_norm(f"{_UNIT}/{letter}", f"{_OURS}_{letter}_gn"),
            )
        ),
        *_standardized(f"{_UNIT}/a/proj", f"{_OURS}_proj_conv"),
        *_group_norm("resnet", "final_gn"),
        # A 1×1 convolution after pooling: (1, 1, inputs, outputs).
        Entry("resnet/head/conv2d/kernel", f"{HEAD}/kernel", ones=2, rank=4),
        Entry("resnet/head/conv2d/bias", f"{HEAD}/bias"),
    ),
)


def _dense(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a dense layer, or of a convolution, in Flax's names: Keras's axes."""
    return (Entry(f"{theirs}/kernel", f"{ours}/kernel"), Entry(f"{theirs}/bias", f"{ours}/bias"))


def _layer_norm(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of a layer norm in Flax's names."""
    return (Entry(f"{theirs}/scale", f"{ours}/gamma"), Entry(f"{theirs}/bias", f"{ours}/beta"))


_BLOCK = "Transformer/encoderblock_{block}"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_1"


def _list_attention() -> Iterable[Entry]:
    """Give the lines of attention, whose heads are an axis of their own in Flax and merged here."""
    for name in ("query", "key", "value"):
        # (inputs, heads, size) and (heads, size).
        yield Entry(f"{_ATTENTION}/{name}/kernel", f"block{{block+1}}_{name}/kernel", merge=(1, 3))
        yield Entry(f"{_ATTENTION}/{name}/bias", f"block{{block+1}}_{name}/bias", merge=(0, 2))
    # (heads, size, outputs).
    yield Entry(f"{_ATTENTION}/out/kernel", "block{block+1}_projection/kernel", merge=(0, 2))
    yield Entry(f"{_ATTENTION}/out/bias", "block{block+1}_projection/bias")


VIT = Dialect(
    "flax_vit",
    "ViT's released .npz files",
    marks=(
        "cls",
        "embedding/kernel",
        "Transformer/posembed_input/pos_embedding",
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel",
    ),
    # Hybrids with a ResNet below the transformer are another network.
    absent=("conv_root/*",),
    prefixes=("opt/target/",),
    entries=(
        *_dense("embedding", "patch_embed"),
        Entry("cls", "tokens/cls_token"),
        Entry("Transformer/posembed_input/pos_embedding", "positions/pos_embed"),
        *_layer_norm(f"{_BLOCK}/LayerNorm_0", "block{block+1}_norm1"),
        *_list_attention(),
        *_layer_norm(f"{_BLOCK}/LayerNorm_2", "block{block+1}_norm2"),
        *_dense(f"{_BLOCK}/MlpBlock_3/Dense_0", "block{block+1}_mlp1"),
        *_dense(f"{_BLOCK}/MlpBlock_3/Dense_1", "block{block+1}_mlp2"),
        *_layer_norm("Transformer/encoder_norm", "norm"),
        *_dense("pre_logits", "pre_logits"),
        *_dense("head", HEAD),
    ),
)
