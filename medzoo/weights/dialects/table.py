"""Every dialect, and how a file's own is found."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.errors import WeightsError, nearest
from medzoo.tensors import LazyTensor
from medzoo.weights.dialects import (
    cifar,
    convnext,
    google,
    keras,
    keras_mobile,
    medical,
    timm,
    torchvision,
    transformers,
)
from medzoo.weights.dialects.dialect import Dialect, translate
from medzoo.weights.dialects.keras_numbered import name_numbered

#: A new dialect joins with one line; none may recognise what another recognises.
DIALECTS: tuple[Dialect, ...] = (
    keras.KERAS,
    keras.APPLICATIONS,
    keras.APPLICATIONS_MOBILENET,
    keras_mobile.MOBILENET_V2,
    keras_mobile.MOBILENET_V3,
    keras.APPLICATIONS_DENSENET,
    keras_mobile.EFFICIENTNET,
    *convnext.CONVNEXTS,
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


#: How many wrappers a network may lie in, and how many names of parts are tried as one.
DEEPEST_PREFIX, MOST_PREFIXES = 3, 32


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


def _unwrap(
    tensors: Mapping[str, LazyTensor], origin: str, forced: str | None
) -> tuple[Dialect, dict[str, LazyTensor], str] | None:
    """Look for a network that a training script wrapped: all its names begin with `model.`, `net.`, `student.model.`.

    Gives the dialect, the tensors without the prefix, and the prefix; other tensors keep their names.
    """
    prefixes = {""}
    for _ in range(DEEPEST_PREFIX):
        inner = {
            name.removeprefix(prefix).partition(".")[0]
            for prefix in prefixes
            for name in tensors
            if name.startswith(prefix) and "." in name.removeprefix(prefix)
        }
        prefixes = {
            f"{prefix}{part}."
            for prefix in prefixes
            for part in inner
            if any(name.startswith(f"{prefix}{part}.") for name in tensors)
        }
        for prefix in sorted(prefixes):
            bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            if len(bare) < len(tensors):
                continue
            found = recognise(bare, origin) if forced is None else find_dialect(forced)
            if found.recognises(bare) and found.marks:
                return found, bare, prefix
        if len(prefixes) > MOST_PREFIXES:
            return None
    return None


def speak(
    tensors: Mapping[str, LazyTensor], origin: str, forced: str | None = None
) -> tuple[str, dict[str, LazyTensor], tuple[str, ...]]:
    """Give the dialect's name, the tensors under our names, and notes; `forced` names the dialect.

    Raises:
        WeightsError: an unknown or ambiguous dialect, one of which the file holds no name, or names that collide.
    """
    modern = keras.modernise(tensors)
    named: tuple[str, ...] = ()
    if forced != keras.KERAS.name:
        modern, named = name_numbered(modern)
    dialect = recognise(modern, origin) if forced is None else find_dialect(forced)
    extra: tuple[str, ...] = ()
    if dialect is keras.KERAS if forced is None else dialect.marks and not dialect.recognises(modern):
        wrapped = _unwrap(modern, origin, forced)
        if wrapped is not None:
            dialect, modern, prefix = wrapped
            extra = (f"the prefix {prefix!r} was removed",)
    renamed, notes = translate(modern, dialect)
    notes = (*extra, *named, *notes)
    if forced is None and dialect is keras.KERAS and not any("/" in name for name in renamed):
        notes = (*notes, "no known dialect: names and axes are as stored")
    if forced is not None and dialect.marks and set(renamed) == set(modern):
        raise WeightsError(
            f"{origin} holds no name of the dialect {forced}",
            f"names such as {dialect.entries[0].theirs!r}",
            "no --dialect, to have it found",
        )
    return dialect.name, renamed, notes
