"""The units of WT-ST-n/m (Matsoukas et al. 2022), bottom-up, as numbered in the authors' code."""

from __future__ import annotations

from medzoo.errors import ConfigError
from medzoo.specs import HEAD, ModelSpec, Stage, list_parts

#: The index under which nothing is copied; the lowest unit has the next.
NOTHING = -2


def list_units(spec: ModelSpec) -> tuple[str, ...]:
    """List the units of a network as globs of layers; index c of WT-ST copies the first c + 2 of them.

    ResNets: the first convolution, its norm, then the stages. Inception-v3: the first convolution, the next two, then
    each convolution and each group of modules. ViT and DeiT: the embedding with tokens and positions, every block, the
    final norm. Swin: the embedding, every block (a patch merging goes with the block above it), the final norm. Any
    other network: its blocks, and the stages that have none.

    >>> from medzoo.models.catalog import find_model
    >>> list_units(find_model("resnet50"))[:3]
    ('conv1_conv', 'conv1_bn|pool1_*', 'conv2_*')
    """
    stages = [stage for stage in spec.stages if stage.name != HEAD]
    if spec.family == "resnet":
        return ("conv1_conv", "conv1_bn|pool1_*", *(stage.layers for stage in stages[1:]))
    if spec.family == "inception_v3":
        return _join(stages, ({"conv2d_2a", "conv2d_2b"},))
    if spec.family == "swin":
        return _merge_downward(list_parts(stages))
    return tuple(part.layers for part in list_parts(stages))


def find_units(spec: ModelSpec, index: int) -> tuple[str, ...]:
    """Find the globs of the layers that WT-ST with this index copies.

    Raises:
        ConfigError: an index beyond the network's.

    >>> from medzoo.models.catalog import find_model
    >>> find_units(find_model("deit_s16"), -1)
    ('patch_*|tokens|positions',)
    """
    units = list_units(spec)
    if not units:
        raise ConfigError(
            f"unit {index}: {spec.name} declares no stages", "a network of the catalogue", "--rules FILE"
        )
    last = len(units) + NOTHING
    if not NOTHING <= index <= last:
        raise ConfigError(
            f"unit {index} of {spec.name}",
            f"{NOTHING} (nothing copied) to {last} (all of it)",
            f"--upto {last}, or the name of a stage",
        )
    return units[: index - NOTHING]


def _join(stages: list[Stage], groups: tuple[set[str], ...]) -> tuple[str, ...]:
    """Give the stages' layers, those of a group as one unit."""
    units: list[str] = []
    names: list[str] = []
    for stage in stages:
        together = names and any({names[-1], stage.name} <= group for group in groups)
        if together:
            units[-1] = f"{units[-1]}|{stage.layers}"
        else:
            units.append(stage.layers)
        names.append(stage.name)
    return tuple(units)


def _merge_downward(parts: tuple[Stage, ...]) -> tuple[str, ...]:
    """Give the parts' layers, a patch merging as one unit with the block above it."""
    units, pending = [], ""
    for part in parts:
        if part.name.startswith("downsample"):
            pending = f"{part.layers}|"
        else:
            units.append(pending + part.layers)
            pending = ""
    # A network cut after a merging ends with it: it is copied by an index above its stage's last block all the same.
    return (*units, pending.removesuffix("|")) if pending else tuple(units)
