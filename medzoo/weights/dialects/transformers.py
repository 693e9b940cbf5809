"""Networks of the transformers library, as `save_pretrained` writes them and as its modules name them.

From version 5 on, transformers names attention in memory anew (`q_proj`), but saves the earlier names
(`attention.attention.query`): a state dict saved by hand and a saved model differ. Each dialect reads both and
writes what `save_pretrained` does. The name of the base model (`vit.`) is absent where the base alone was saved.
"""

from __future__ import annotations

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry
from medzoo.weights.dialects.lines import COUNTERS, DENSE, batch_norm, convolution, dense, layer_norm

RESNET = Dialect(
    "hf_resnet",
    "ResNets of transformers",
    marks=(
        "embedder.embedder.convolution.weight",
        "encoder.stages.0.layers.0.layer.0.convolution.weight",
        "encoder.stages.0.layers.0.layer.0.normalization.running_mean",
    ),
    # RegNet's blocks hold a squeeze-and-excitation beside their convolutions.
    absent=("encoder.stages.*.layer.*.attention.*",),
    prefixes=("resnet.",),
    bare=("classifier.*",),
    entries=(
        *convolution("embedder.embedder.convolution", "conv1_conv"),
        *batch_norm("embedder.embedder.normalization", "conv1_bn"),
        *convolution(
            "encoder.stages.{stage}.layers.{block}.layer.{unit}.convolution",
            "conv{stage+2}_block{block+1}_{unit+1}_conv",
        ),
        *batch_norm(
            "encoder.stages.{stage}.layers.{block}.layer.{unit}.normalization",
            "conv{stage+2}_block{block+1}_{unit+1}_bn",
        ),
        *convolution(
            "encoder.stages.{stage}.layers.{block}.shortcut.convolution",
            "conv{stage+2}_block{block+1}_0_conv",
        ),
        *batch_norm(
            "encoder.stages.{stage}.layers.{block}.shortcut.normalization",
            "conv{stage+2}_block{block+1}_0_bn",
        ),
        *dense("classifier.1", HEAD),
    ),
    dropped=(COUNTERS,),
)

_BIT_LAYER = "encoder.stages.{stage}.layers.{block}"
_BIT_UNIT = "block{stage+1}_unit{block+1}"

BIT = Dialect(
    "hf_bit",
    "BiT's ResNets of transformers",
    marks=(
        "embedder.convolution.weight",
        "encoder.stages.0.layers.0.norm1.weight",
        "encoder.stages.0.layers.0.conv3.weight",
        "norm.weight",
    ),
    absent=("*.downsample.norm.*",),
    prefixes=("bit.",),
    bare=("classifier.*",),
    entries=(
        *convolution("embedder.convolution", "root_conv"),
        *(
            entry
            for unit, letter in enumerate("abc", start=1)
            for entry in (
                *convolution(f"{_BIT_LAYER}.conv{unit}", f"{_BIT_UNIT}_{letter}_conv"),
                *layer_norm(f"{_BIT_LAYER}.norm{unit}", f"{_BIT_UNIT}_{letter}_gn"),
            )
        ),
        *convolution(f"{_BIT_LAYER}.downsample.conv", f"{_BIT_UNIT}_proj_conv"),
        *layer_norm("norm", "final_gn"),
        *dense("classifier.1", HEAD),
    ),
)

_OLD_BLOCK, _NEW_BLOCK = "encoder.layer.{block}", "layers.{block}"


def _list_vit_block(ours: str) -> tuple[Entry, ...]:
    """Give the lines of a transformer block: as saved, then as transformers 5 names it in memory."""
    return (
        *layer_norm(f"{_OLD_BLOCK}.layernorm_before", f"{ours}_norm1"),
        *(
            entry
            for name in ("query", "key", "value")
            for entry in dense(f"{_OLD_BLOCK}.attention.attention.{name}", f"{ours}_{name}")
        ),
        *dense(f"{_OLD_BLOCK}.attention.output.dense", f"{ours}_projection"),
        *layer_norm(f"{_OLD_BLOCK}.layernorm_after", f"{ours}_norm2"),
        *dense(f"{_OLD_BLOCK}.intermediate.dense", f"{ours}_mlp1"),
        *dense(f"{_OLD_BLOCK}.output.dense", f"{ours}_mlp2"),
        *layer_norm(f"{_NEW_BLOCK}.layernorm_before", f"{ours}_norm1"),
        *_list_new_attention(_NEW_BLOCK, ours),
        *layer_norm(f"{_NEW_BLOCK}.layernorm_after", f"{ours}_norm2"),
        *dense(f"{_NEW_BLOCK}.mlp.fc1", f"{ours}_mlp1"),
        *dense(f"{_NEW_BLOCK}.mlp.fc2", f"{ours}_mlp2"),
    )


def _list_new_attention(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Give the lines of attention as transformers 5 names it in memory."""
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "projection"}
    return tuple(
        entry for new, name in names.items() for entry in dense(f"{theirs}.attention.{new}", f"{ours}_{name}")
    )


_VIT_MARKS = (
    "embeddings.cls_token",
    "embeddings.position_embeddings",
    "embeddings.patch_embeddings.projection.weight",
    "encoder.layer.0.attention.attention.query.weight|layers.0.attention.q_proj.weight",
    "encoder.layer.0.layernorm_before.weight|layers.0.layernorm_before.weight",
)
#: Networks with more in them than ViT and DeiT: BEiT, YOLOS, masked autoencoders.
_OTHERS_OF_VIT = ("*lambda_1", "*relative_position_bias*", "*detection_tokens", "decoder.decoder_*")
_VIT_LINES = (
    *convolution("embeddings.patch_embeddings.projection", "patch_embed"),
    Entry("embeddings.cls_token", "tokens/cls_token"),
    Entry("embeddings.position_embeddings", "positions/pos_embed"),
    *_list_vit_block("block{block+1}"),
    *layer_norm("layernorm", "norm"),
    # The pooler is the dense layer and tanh that ViT has before its head after training on ImageNet-21k.
    *dense("pooler.dense", "pre_logits"),
)

VIT = Dialect(
    "hf_vit",
    "ViT of transformers",
    marks=_VIT_MARKS,
    absent=("embeddings.distillation_token", *_OTHERS_OF_VIT),
    prefixes=("vit.",),
    bare=("classifier.*",),
    entries=(*_VIT_LINES, *dense("classifier", HEAD)),
    dropped=("embeddings.mask_token",),
)

DEIT = Dialect(
    "hf_deit",
    "DeiT of transformers, with one head or with the teacher's beside it",
    marks=(*_VIT_MARKS, "embeddings.distillation_token"),
    absent=_OTHERS_OF_VIT,
    prefixes=("deit.",),
    bare=("classifier.*", "cls_classifier.*", "distillation_classifier.*"),
    entries=(
        *_VIT_LINES,
        Entry("embeddings.distillation_token", "tokens/distillation_token"),
        *(
            Entry(f"cls_classifier.{theirs}", f"{HEAD}/{ours}", axes, beside=f"{HEAD}_distillation/kernel")
            for theirs, ours, axes in (("weight", "kernel", DENSE), ("bias", "bias", ()))
        ),
        *dense("classifier", HEAD),
        *dense("distillation_classifier", f"{HEAD}_distillation"),
    ),
    dropped=("embeddings.mask_token",),
)

_SWIN_BLOCK, _SWIN_OURS = "encoder.layers.{stage}.blocks.{block}", "stage{stage+1}_block{block+1}"
_TABLE = "relative_position_bias_table"

SWIN = Dialect(
    "hf_swin",
    "Swin of transformers",
    marks=(
        "embeddings.patch_embeddings.projection.weight",
        "encoder.layers.0.blocks.0.layernorm_before.weight",
        f"encoder.layers.0.blocks.0.attention.self.{_TABLE}"
        f"|encoder.layers.0.blocks.0.attention.relative_position_bias.{_TABLE}",
    ),
    prefixes=("swin.",),
    bare=("classifier.*",),
    entries=(
        *convolution("embeddings.patch_embeddings.projection", "patch_embed"),
        *layer_norm("embeddings.norm", "patch_norm"),
        *layer_norm(f"{_SWIN_BLOCK}.layernorm_before", f"{_SWIN_OURS}_norm1"),
        *(
            entry
            for name in ("query", "key", "value")
            for entry in dense(f"{_SWIN_BLOCK}.attention.self.{name}", f"{_SWIN_OURS}_{name}")
        ),
        *dense(f"{_SWIN_BLOCK}.attention.output.dense", f"{_SWIN_OURS}_projection"),
        Entry(f"{_SWIN_BLOCK}.attention.self.{_TABLE}", f"{_SWIN_OURS}_positions/{_TABLE}"),
        *layer_norm(f"{_SWIN_BLOCK}.layernorm_after", f"{_SWIN_OURS}_norm2"),
        *dense(f"{_SWIN_BLOCK}.intermediate.dense", f"{_SWIN_OURS}_mlp1"),
        *dense(f"{_SWIN_BLOCK}.output.dense", f"{_SWIN_OURS}_mlp2"),
        *_list_new_attention(_SWIN_BLOCK, _SWIN_OURS),
        Entry(f"{_SWIN_BLOCK}.attention.relative_position_bias.{_TABLE}", f"{_SWIN_OURS}_positions/{_TABLE}"),
        *dense(f"{_SWIN_BLOCK}.mlp.fc1", f"{_SWIN_OURS}_mlp1"),
        *dense(f"{_SWIN_BLOCK}.mlp.fc2", f"{_SWIN_OURS}_mlp2"),
        *layer_norm("encoder.layers.{stage}.downsample.norm", "stage{stage+1}_downsample_norm"),
        *dense("encoder.layers.{stage}.downsample.reduction", "stage{stage+1}_downsample_reduction"),
        *layer_norm("layernorm", "norm"),
        *dense("classifier", HEAD),
    ),
    dropped=("*relative_position_index", "embeddings.mask_token"),
)
