"""Every dialect, and how a file's own is found."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.errors import WeightsError, nearest
from medzoo.tensors import LazyTensor
from medzoo.weights.dialects import cifar, google, keras, medical, timm, torchvision, transformers
from medzoo.weights.dialects.dialect import Dialect, translate

#: A new dialect joins with one line; none may recognise what another recognises.
DIALECTS: tuple[Dialect, ...] = (
    keras.KERAS,
    keras.APPLICATIONS,
    keras.APPLICATIONS_MOBILENET,
    keras.APPLICATIONS_MOBILENET_V3,
    keras.APPLICATIONS_DENSENET,
    cifar.CIFAR_RESNET,
    torchvision.RESNET,
    torchvision.DENSENET,
    torchvision.MOBILENET_V2,
    torchvision.INCEPTION_V3,
    timm.RESNETV2,
    timm.VIT,
    timm.SWIN,
    timm.SWIN_0_9,
    transformers.RESNET,
    transformers.BIT,
    transformers.VIT,
    transformers.DEIT,
    transformers.SWIN,
    google.BIT,
    google.VIT,
    medical.XRV_DENSENET,
    medical.CHEXNET_DENSENET,
    medical.RADIMAGENET,
    medical.RADIMAGENET_DENSENET,
    medical.RADIMAGENET_INCEPTION_V3,
)


def find_dialect(name: str) -> Dialect:
    """Find a dialect by name.

    Raises:
        WeightsError: no dialect has that name; the nearest names are given.
    """
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    raise WeightsError(f"unknown dialect {name!r}", nearest(name, [one.name for one in DIALECTS]))


def recognise(tensors: Mapping[str, LazyTensor], origin: str) -> Dialect:
    """Find the dialect of a file from its names; `keras`, names as stored, where no other fits.

    Raises:
        WeightsError: two dialects fit.
    """
    fitting = [dialect for dialect in DIALECTS if dialect.marks and dialect.recognises(tensors)]
    if len(fitting) > 1:
        names = " or ".join(dialect.name for dialect in fitting)
        raise WeightsError(
            f"{origin} may speak {names}", "one dialect", f"--dialect {fitting[0].name} or the other"
        )
    return fitting[0] if fitting else keras.KERAS


def speak(
    tensors: Mapping[str, LazyTensor], origin: str, forced: str | None = None
) -> tuple[str, dict[str, LazyTensor], tuple[str, ...]]:
    """Give the dialect's name, the tensors under our names, and notes; `forced` names the dialect.

    Raises:
        WeightsError: an unknown or ambiguous dialect, one of which the file holds no name, or names that collide.
    """
    modern = keras.modernise(tensors)
    dialect = recognise(modern, origin) if forced is None else find_dialect(forced)
    renamed, notes = translate(modern, dialect)
    if forced is not None and dialect.marks and set(renamed) == set(modern):
        raise WeightsError(
            f"{origin} holds no name of the dialect {forced}",
            f"names such as {dialect.entries[0].theirs!r}",
            "no --dialect, to have it found",
        )
    return dialect.name, renamed, notes
