"""Networks trained on medical images, where their files name tensors differently from the networks' origin.

RadImageNet's Keras files hold keras.applications' names and need no dialect of their own.
"""

from __future__ import annotations

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry
from medzoo.weights.dialects.lines import COUNTERS, batch_norm, convolution, dense
from medzoo.weights.dialects.torchvision import (
    INCEPTION_UNITS,
    XRV_SHAPES,
    list_densenet_features,
    list_inception_unit,
    list_resnet_block,
)

XRV_DENSENET = Dialect(
    "xrv_densenet",
    "torchxrayvision's DenseNet121: one channel, 18 findings",
    marks=(
        "features.conv0.weight",
        "features.denseblock1.denselayer1.norm1.weight",
        "features.norm5.weight",
    ),
    shapes=XRV_SHAPES,
    entries=(*list_densenet_features("features.", ("",)), *dense("classifier", HEAD)),
    # The findings' operating points, which are applied to the outputs after the sigmoid.
    dropped=(COUNTERS, "op_threshs"),
)

CHEXNET_DENSENET = Dialect(
    "chexnet_densenet",
    "CheXNet (arnoweng/CheXNet), a DenseNet121 with 14 findings",
    marks=(
        "densenet121.features.conv0.weight",
        "densenet121.features.denseblock1.denselayer1.norm.1.weight"
        "|densenet121.features.denseblock1.denselayer1.norm1.weight",
        "densenet121.classifier.0.weight",
    ),
    entries=(
        *list_densenet_features("densenet121.features.", (".", "")),
        *dense("densenet121.classifier.0", HEAD),
    ),
    dropped=(COUNTERS,),
)

#: RadImageNet's PyTorch files are sequences of torchvision's modules, numbered with those without tensors.
RADIMAGENET = Dialect(
    "radimagenet",
    "RadImageNet's ResNet50 in PyTorch, without head",
    marks=("backbone.0.weight", "backbone.1.running_mean", "backbone.4.0.conv1.weight"),
    entries=(
        *convolution("backbone.0", "conv1_conv"),
        *batch_norm("backbone.1", "conv1_bn"),
        # 2 and 3 are ReLU and pooling.
        *list_resnet_block("backbone.{stage}.{block}", "conv{stage-2}_block{block+1}"),
    ),
    dropped=(COUNTERS,),
)
RADIMAGENET_DENSENET = Dialect(
    "radimagenet_densenet",
    "RadImageNet's DenseNet121 in PyTorch, without head",
    marks=("backbone.0.conv0.weight", "backbone.0.denseblock1.denselayer1.norm1.weight"),
    entries=list_densenet_features("backbone.0.", ("",)),
    dropped=(COUNTERS,),
)


def _list_radimagenet_inception() -> tuple[Entry, ...]:
    """Give the lines of Inception v3's units, numbered with the two poolings after the third and the fifth."""
    numbers = [number for number in range(18) if number not in (3, 6)]
    return tuple(
        entry
        for number, unit in zip(numbers, INCEPTION_UNITS, strict=True)
        for entry in list_inception_unit(f"backbone.{number}", unit)
    )


RADIMAGENET_INCEPTION_V3 = Dialect(
    "radimagenet_inception_v3",
    "RadImageNet's Inception v3 in PyTorch, without head",
    marks=("backbone.0.conv.weight", "backbone.7.branch1x1.conv.weight"),
    entries=_list_radimagenet_inception(),
    dropped=(COUNTERS,),
)
