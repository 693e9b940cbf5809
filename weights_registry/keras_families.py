"""What Keras's source does not say of the weight sets of keras.applications: licences, citations, measurements.

Data of `generate.py`; no part of the package imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DOCS = "Keras 2's documentation of the weights (keras-team/keras, docs/templates/applications.md, section License)"
IMAGENET = "ImageNet-1k (ILSVRC 2012); its images are for non-commercial research"
IMAGENET_TERMS = "terms of access of image-net.org"
NO_LICENCE = "no statement in Keras's source or documentation"


@dataclass(frozen=True)
class Family:
    """What Keras's source does not say of the weights of one module, and strings that its source must hold.

    `models` maps a part of the file's address to the network, for modules that spell addresses out. `quotes`
    are the rules by which the others make them, and the layers that scale inside: if Keras changes one, this
    tool stops. `inside` maps the beginning of a network's name to the contract that equals those layers.
    `dialect` may hold the network's name; with `renames_all` it is also that of files without a head.
    """

    module: str
    licence: str
    licence_source: str
    citation: str
    dialect: str = "keras_applications"
    renames_all: bool = False
    models: Mapping[str, str] | None = None
    quotes: tuple[str, ...] = ()
    inside: Mapping[str, str] | None = None
    inside_source: str = "the first layers"


_APACHE = ("Apache-2.0", DOCS)
_HE = "He et al. 2016, {}, arXiv:{}"

FAMILIES = (
    Family(
        "vgg16",
        "CC-BY-4.0",
        f"{DOCS}: ported from those of VGG at Oxford",
        "Simonyan and Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition,"
        " arXiv:1409.1556",
        models={"vgg16": "vgg16"},
    ),
    Family(
        "vgg19",
        "CC-BY-4.0",
        f"{DOCS}: ported from those of VGG at Oxford",
        "Simonyan and Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition,"
        " arXiv:1409.1556",
        models={"vgg19": "vgg19"},
    ),
    Family(
        "xception",
        "MIT",
        f"{DOCS}: trained by Keras's authors",
        "Chollet 2017, Xception: Deep Learning with Depthwise Separable Convolutions, arXiv:1610.02357",
        models={"xception": "xception"},
    ),
    Family(
        "inception_v3",
        *_APACHE,
        "Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567",
        models={"inception_v3": "inception_v3"},
    ),
    Family(
        "inception_resnet_v2",
        *_APACHE,
        "Szegedy et al. 2017, Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,"
        " arXiv:1602.07261",
        models={"inception_resnet_v2": "inception_resnet_v2"},
    ),
    Family(
        "densenet",
        "BSD-3-Clause",
        DOCS,
        "Huang et al. 2017, Densely Connected Convolutional Networks, arXiv:1608.06993",
        models={f"densenet{depth}": f"densenet{depth}" for depth in (121, 169, 201)},
    ),
    Family(
        "nasnet",
        *_APACHE,
        "Zoph et al. 2018, Learning Transferable Architectures for Scalable Image Recognition, arXiv:1707.07012",
        models={"NASNet-mobile": "nasnet_mobile", "NASNet-large": "nasnet_large"},
    ),
    Family(
        "resnet",
        "MIT",
        f"{DOCS}: ported from the repository of Kaiming He",
        _HE.format("Deep Residual Learning for Image Recognition", "1512.03385"),
        quotes=(
            'f"{weights_name}_weights_tf_dim_ordering_tf_kernels.h5"',
            'f"{weights_name}_weights_tf_dim_ordering_tf_kernels_notop.h5"',
        ),
    ),
    Family(
        "resnet_v2",
        "BSD",
        f"{DOCS}: ported from facebook/fb.resnet.torch, under its BSD licence",
        _HE.format("Identity Mappings in Deep Residual Networks", "1603.05027"),
    ),
    Family(
        "mobilenet",
        *_APACHE,
        "Howard et al. 2017, MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications,"
        " arXiv:1704.04861",
        dialect="keras_applications_mobilenet",
        quotes=('"mobilenet_%s_%d_tf.h5"', '"mobilenet_%s_%d_tf_no_top.h5"', 'alpha_text = "7_5"'),
    ),
    Family(
        "mobilenet_v2",
        *_APACHE,
        "Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv:1801.04381",
        quotes=(
            '"mobilenet_v2_weights_tf_dim_ordering_tf_kernels"',
            'f"_{float(alpha)}_{rows}.h5"',
            'f"{float(alpha)}_{rows}_no_top.h5"',
        ),
    ),
    Family(
        "mobilenet_v3",
        "unknown",
        NO_LICENCE,
        "Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244",
        dialect="keras_applications_mobilenet_v3",
        renames_all=True,
        quotes=(
            'f"weights_mobilenet_v3_{model_name}.h5"',
            'f"weights_mobilenet_v3_{model_name}_no_top_v2.h5"',
            "layers.Rescaling(scale=1.0 / 127.5, offset=-1.0)",
        ),
        inside={"mobilenet_v3_": "tf"},
    ),
    Family(
        "efficientnet",
        "unknown",
        NO_LICENCE,
        "Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv:1905.11946",
        dialect="keras_applications_efficientnet",
        renames_all=True,
        quotes=(
            "file_name = name + file_suffix",
            'name="efficientnetb0"',
            "x = layers.Rescaling(1.0 / 255.0)(x)\n    x = layers.Normalization(axis=bn_axis)(x)",
            "[1.0 / math.sqrt(stddev) for stddev in IMAGENET_STDDEV_RGB]",
            "IMAGENET_STDDEV_RGB = [0.229, 0.224, 0.225]",
        ),
        inside={"efficientnetb": "torch"},
        inside_source="the first layers, whose variance is a standard deviation (tensorflow/tensorflow#49930)",
    ),
    Family(
        "efficientnet_v2",
        "unknown",
        NO_LICENCE,
        "Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training, arXiv:2104.00298",
        quotes=(
            "file_name = name + file_suffix",
            'name="efficientnetv2-b0"',
            'name="efficientnetv2-s"',
            'if name.split("-")[-1].startswith("b") and num_channels == 3:',
            "layers.Rescaling(scale=1.0 / 255)",
            "mean = [0.485, 0.456, 0.406]",
            "variance = [0.229**2, 0.224**2, 0.225**2]",
            "layers.Rescaling(scale=1.0 / 128.0, offset=-1)",
        ),
        inside={
            "efficientnetv2_b": "torch",
            "efficientnetv2_s": "tf128",
            "efficientnetv2_m": "tf128",
            "efficientnetv2_l": "tf128",
        },
    ),
    Family(
        "convnext",
        "MIT",
        "keras/src/applications/convnext.py: assembled from the parameters of facebookresearch/ConvNeXt,"
        " whose README.md releases the project under the MIT licence",
        "Liu et al. 2022, A ConvNet for the 2020s, arXiv:2201.03545",
        dialect="keras_applications_{model}",
        renames_all=True,
        quotes=(
            "file_name = name + file_suffix",
            'name="convnext_tiny"',
            "mean=[0.485 * 255, 0.456 * 255, 0.406 * 255]",
            "(0.225 * 255) ** 2",
        ),
        inside={"convnext_": "torch"},
    ),
)

#: What is known of a file beyond Keras's source: measured on the file itself.
MEASURED: Mapping[str, Mapping[str, Any]] = {
    "mobilenet_075.imagenet": {
        "digest": "sha256:95bd349b323c951b00484a364baa72a115d952f4b537188bb4ed269ff5670405",
        "size": 10628048,
        "moments": "mobilenet_075.imagenet.json",
        "sources": {
            "digest": "the file itself; Keras publishes no checksum for MobileNet",
            "size": "the file itself",
        },
    }
}
