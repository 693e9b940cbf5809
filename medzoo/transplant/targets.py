"""How many classes and channels a target gets when nobody says: as many as the source has."""

from __future__ import annotations

from medzoo.errors import ConfigError
from medzoo.specs import HEAD
from medzoo.tensors import Source, Target
from medzoo.transplant.channels import reads_input


def fit_options(source: Source, target: Target, classes: int | None, channels: int | None) -> tuple[int, int]:
    """Fill in the classes and channels that were not given from the source's head and first kernel.

    `target` is the network with any number of either.

    Raises:
        ConfigError: no number of classes was given and the source has no head.

    >>> import medzoo
    >>> source = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    >>> fit_options(source, medzoo.describe("mobilenet_075"), None, 1)
    (1000, 1)
    """
    classes = count_classes(source) if classes is None else classes
    channels = count_channels(source, target) if channels is None else channels
    if classes is None:
        raise ConfigError(
            f"no number of classes was given, and the source ({source.origin}) has no {HEAD!r} to take it from",
            "a number",
            "--classes N",
        )
    return classes, channels


def count_classes(source: Source) -> int | None:
    """Give the number of classes of the source's head, or None where it has no head."""
    name = f"{HEAD}/kernel"
    return source[name].spec.shape[-1] if name in source else None


def count_channels(source: Source, target: Target) -> int:
    """Give the number of input channels that the source's kernels read, or 3 where it holds no such kernel."""
    for name, tensor in target.tensors.items():
        if (
            name in source
            and reads_input(tensor, target)
            and len(source[name].spec.shape) == len(tensor.shape)
        ):
            return source[name].spec.shape[-2]
    return 3
