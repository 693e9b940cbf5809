"""timm's networks that have names of their own, and the files of DeiT and Swin, which timm took over."""

from __future__ import annotations

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry
from medzoo.weights.dialects.lines import convolution, dense, fused_attention, layer_norm

RESNETV2 = Dialect(
    "timm_resnetv2",
    "BiT's ResNets of timm: pre-activation, group norm",
    marks=(
        "stem.conv.weight",
        "stages.0.blocks.0.norm1.weight",
        "stages.0.blocks.0.conv3.weight",
        "norm.weight",
    ),
    # With batch norm, or with a norm in the stem or in the shortcut, it is another network.
    absent=("*running_mean", "stem.norm*", "*.downsample.norm.*"),
    entries=(
        *convolution("stem.conv", "root_conv"),
        *(
            entry
            for unit, letter in enumerate("abc", start=1)
            for entry in (
                *convolution(
                    f"stages.{{stage}}.blocks.{{block}}.conv{unit}",
                    f"block{{stage+1}}_unit{{block+1}}_{letter}_conv",
                ),
                *layer_norm(
                    f"stages.{{stage}}.blocks.{{block}}.norm{unit}",
                    f"block{{stage+1}}_unit{{block+1}}_{letter}_gn",
                ),
            )
        ),
        *convolution(
            "stages.{stage}.blocks.{block}.downsample.conv", "block{stage+1}_unit{block+1}_proj_conv"
        ),
        *layer_norm("norm", "final_gn"),
        # A 1×1 convolution after pooling: (outputs, inputs, 1, 1).
        Entry("head.fc.weight", f"{HEAD}/kernel", (1, 0), ones=-2, rank=4),
        Entry("head.fc.bias", f"{HEAD}/bias"),
    ),
)

VIT = Dialect(
    "timm_vit",
    "ViT and DeiT of timm, and DeiT's own files",
    marks=("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
    # BEiT, and DeiT's successors with scaled layers, are other networks.
    absent=(
        "*relative_position_bias_table",
        "blocks.*.attn.q_bias",
        "blocks.*.gamma_1",
        "blocks.*.ls1.gamma",
    ),
    entries=(
        *convolution("patch_embed.proj", "patch_embed"),
        Entry("cls_token", "tokens/cls_token"),
        Entry("dist_token", "tokens/distillation_token"),
        Entry("pos_embed", "positions/pos_embed"),
        *layer_norm("blocks.{block}.norm1", "block{block+1}_norm1"),
        *fused_attention("blocks.{block}.attn.qkv", "block{block+1}"),
        *dense("blocks.{block}.attn.proj", "block{block+1}_projection"),
        *layer_norm("blocks.{block}.norm2", "block{block+1}_norm2"),
        *dense("blocks.{block}.mlp.fc1", "block{block+1}_mlp1"),
        *dense("blocks.{block}.mlp.fc2", "block{block+1}_mlp2"),
        *layer_norm("norm", "norm"),
        *dense("pre_logits.fc", "pre_logits"),
        *dense("head", HEAD),
        *dense("head_dist", f"{HEAD}_distillation"),
    ),
)


def _list_swin_lines(halved: str, head: str) -> tuple[Entry, ...]:
    """Give the lines of a Swin whose `layers.{stage}.downsample` halves after our stage `halved`."""
    theirs, ours = "layers.{stage}.blocks.{block}", "stage{stage+1}_block{block+1}"
    return (
        *convolution("patch_embed.proj", "patch_embed"),
        *layer_norm("patch_embed.norm", "patch_norm"),
        *layer_norm(f"{theirs}.norm1", f"{ours}_norm1"),
        *fused_attention(f"{theirs}.attn.qkv", ours),
        *dense(f"{theirs}.attn.proj", f"{ours}_projection"),
        Entry(
            f"{theirs}.attn.relative_position_bias_table", f"{ours}_positions/relative_position_bias_table"
        ),
        *layer_norm(f"{theirs}.norm2", f"{ours}_norm2"),
        *dense(f"{theirs}.mlp.fc1", f"{ours}_mlp1"),
        *dense(f"{theirs}.mlp.fc2", f"{ours}_mlp2"),
        *layer_norm("layers.{stage}.downsample.norm", f"{halved}_downsample_norm"),
        *dense("layers.{stage}.downsample.reduction", f"{halved}_downsample_reduction"),
        *layer_norm("norm", "norm"),
        *dense(head, HEAD),
    )


_SWIN_MARKS = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table")
#: What follows from the window's size and the image's.
_SWIN_DROPPED = ("*relative_position_index", "*attn_mask")

SWIN = Dialect(
    "timm_swin",
    "Swin of Microsoft's files and of timm before 0.9: the halving belongs to the stage before it",
    marks=(*_SWIN_MARKS, "layers.0.downsample.reduction.weight"),
    entries=_list_swin_lines("stage{stage+1}", "head"),
    dropped=_SWIN_DROPPED,
)
SWIN_0_9 = Dialect(
    "timm_swin_0_9",
    "Swin of timm from 0.9 on: the halving belongs to the stage after it, the head is `head.fc`",
    marks=(*_SWIN_MARKS, "layers.1.downsample.reduction.weight"),
    absent=("layers.0.downsample.*",),
    entries=_list_swin_lines("stage{stage}", "head.fc"),
    dropped=_SWIN_DROPPED,
)
