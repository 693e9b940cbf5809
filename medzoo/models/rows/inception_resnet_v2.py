"""Rows of Inception-ResNet v2 (Szegedy et al. 2017) of keras.applications."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import scale_width
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

#: Residual blocks by group, and how many there are.
GROUPS: Mapping[str, int] = {"block35": 10, "block17": 20, "block8": 10}

#: The convolutions of each part that Keras numbers, in its order of creation: the stem's by TF-slim's names, the
#: blocks' as the number of convolutions in each branch; the branch that is pooled comes last.
STEM = ("conv2d_1a_3x3", "conv2d_2a_3x3", "conv2d_2b_3x3", "conv2d_3b_1x1", "conv2d_4a_3x3")
_BRANCHES: Mapping[str, tuple[tuple[str, int], ...]] = {
    "mixed_5b": (("0", 1), ("1", 2), ("2", 3), ("_pool", 1)),
    "block35": (("0", 1), ("1", 2), ("2", 3)),
    "mixed_6a": (("0", 1), ("1", 3)),
    "block17": (("0", 1), ("1", 3)),
    "mixed_7a": (("0", 2), ("1", 2), ("2", 3)),
    "block8": (("0", 1), ("1", 3)),
}

#: Every convolution's channels are a multiple of this.
_STEP = 16

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    "inception_resnet_v2": {"constructor": "InceptionResNetV2", "width": 1.0}
}
CHANGES: Mapping[str, str] = {"width": "a factor on all channels, such as 0.5 or 2"}


def list_blocks() -> tuple[str, ...]:
    """List the residual blocks, bottom-up: `block35_1`, …, `block8_10`."""
    return tuple(f"{group}_{index}" for group, count in GROUPS.items() for index in range(1, count + 1))


def list_convolutions() -> tuple[str, ...]:
    """List the convolutions that Keras numbers, in its order: `conv2d_1a_3x3`, …, `block35_1_branch1_2`, …"""
    units = [*STEM]
    for part, branches in _BRANCHES.items():
        blocks = [part] if part not in GROUPS else [f"{part}_{index}" for index in range(1, GROUPS[part] + 1)]
        units += (
            f"{block}_branch{branch}_{index}"
            for block in blocks
            for branch, count in branches
            for index in range(1, count + 1)
        )
    return tuple(units)


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe Inception-ResNet v2: a stem, three groups of residual blocks with what narrows before, a convolution.

    Raises:
        ConfigError: a width that leaves no whole number of channels.
    """
    scale_width(name, _STEP, float(options["width"]))
    stages = [Stage("stem", "conv2d_*|stem_*", "stem_pool2")]
    for mixed, group in zip(("mixed_5b", "mixed_6a", "mixed_7a"), GROUPS, strict=True):
        stages.append(Stage(mixed, f"{mixed}|{mixed}_*", mixed))
        blocks = [
            Stage(f"{group}_{index}", f"{group}_{index}_*", f"{group}_{index}_ac")
            for index in range(1, GROUPS[group] + 1)
        ]
        if group == "block8":  # the last of all goes without its ReLU
            last = blocks.pop()
            blocks.append(Stage(last.name, last.layers, f"{last.name}_sum"))
        stages.append(Stage(group, f"{group}_*", blocks[-1].output, tuple(blocks)))
    stages += [Stage("conv_7b", "conv_7b|conv_7b_*", "conv_7b_ac"), HEAD_STAGE]
    return ModelSpec(name, "inception_resnet_v2", options, tuple(stages), 299, 75, PREPROCESSINGS["tf"])
