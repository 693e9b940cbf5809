"""The CIFAR ResNets of akamaster/pytorch_resnet_cifar10, whose shortcuts have no parameters."""

from __future__ import annotations

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.lines import COUNTERS, batch_norm, convolution, dense

CIFAR_RESNET = Dialect(
    "cifar_resnet",
    "CIFAR ResNets in PyTorch, parameter-free shortcuts, head `linear`",
    marks=("conv1.weight", "layer1.0.conv1.weight", "layer3.0.bn2.weight"),
    absent=("layer4.*", "*.conv3.weight", "*.shortcut.*.weight", "*.downsample.*", "fc.*"),
    entries=(
        *convolution("conv1", "conv1_conv"),
        *batch_norm("bn1", "conv1_bn"),
        *convolution("layer{stage}.{block}.conv{unit}", "conv{stage+1}_block{block+1}_{unit}_conv"),
        *batch_norm("layer{stage}.{block}.bn{unit}", "conv{stage+1}_block{block+1}_{unit}_bn"),
        *dense("linear", HEAD),
    ),
    dropped=(COUNTERS,),
)
