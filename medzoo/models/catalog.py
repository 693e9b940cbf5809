"""Every architecture by name, and those derived from them; imports no framework."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import ModuleType

from medzoo.errors import ConfigError, nearest
from medzoo.models.rows import (
    bit,
    cbr,
    cifar_resnet,
    convnext,
    densenet,
    efficientnet,
    efficientnet_v2,
    inception_resnet_v2,
    inception_v3,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    nasnet,
    resnet,
    resnet_v2,
    swin,
    vgg,
    vit,
    xception,
)
from medzoo.models.rows.options import read_option, simplify_slim
from medzoo.specs import HEAD, HEAD_STAGE, ModelSpec, Scalar, Stage, find_stage, list_parts

#: A family joins with one line.
FAMILIES: tuple[ModuleType, ...] = (
    cbr,
    resnet,
    cifar_resnet,
    bit,
    vit,
    swin,
    densenet,
    mobilenet,
    vgg,
    inception_v3,
    inception_resnet_v2,
    xception,
    nasnet,
    resnet_v2,
    mobilenet_v2,
    mobilenet_v3,
    efficientnet,
    efficientnet_v2,
    convnext,
)

#: Families whose residual branches can be dropped.
WITH_DROP_PATH = frozenset({"convnext", "efficientnet", "efficientnet_v2", "swin", "vit"})

#: NAME[+key=value]…[@STAGE]
_NAME = re.compile(r"(?P<row>[^+@]+)(?P<changes>(\+[^+@=]+=[^+@=]*)*)(@(?P<cut>[^+@]+))?")


@cache
def list_models() -> tuple[ModelSpec, ...]:
    """List every row of the catalogue.

    >>> [spec.name for spec in list_models()][:2]
    ['cbr_large_t', 'cbr_large_w']
    """
    return tuple(
        family.describe_row(name, options) for family in FAMILIES for name, options in family.ROWS.items()
    )


@cache
def find_model(name: str) -> ModelSpec:
    """Find a row of the catalogue by name, or derive a network from one: `NAME[+key=value]…[@STAGE]`.

    `+key=value` changes an option that the family allows to be changed; `@STAGE` cuts the network after a stage
    or block, under a fresh head (Peng et al. 2021).

    Raises:
        ConfigError: no row, option or stage has that name, or a value that the option cannot have.

    >>> find_model("cbr_tiny").stages[0].output
    'block1_pool'
    >>> [stage.name for stage in find_model("cbr_tiny+width=2@block2").stages]
    ['block1', 'block2', 'head']
    """
    parsed = _NAME.fullmatch(name)
    family = _find_family(parsed["row"]) if parsed else None
    if parsed is None or family is None:
        known = [spec.name for spec in list_models()]
        near = nearest(parsed["row"] if parsed else name, known)
        form = "" if parsed else "NAME[+option=value]…[@STAGE], options before @; "
        raise ConfigError(
            f"unknown model {name!r}", form + near, "medzoo models for the whole list, --model for another"
        )
    pairs = [change.split("=") for change in parsed["changes"].split("+")[1:]]
    changes = dict(pairs)
    if len(changes) < len(pairs):
        raise ConfigError(f"an option twice in {name!r}", "each option once")
    defaults = family.ROWS[parsed["row"]]
    unknown = next((key for key in changes if key not in family.CHANGES or key not in defaults), None)
    if unknown is not None:
        allowed = "; ".join(f"{key}: {words}" for key, words in family.CHANGES.items() if key in defaults)
        takers = [other.__name__.rpartition(".")[2] for other in FAMILIES if unknown in other.CHANGES]
        elsewhere = f"a network of {', '.join(takers)}, whose rows have it" if takers else ""
        raise ConfigError(
            f"{parsed['row']} has no option {unknown!r} to change",
            allowed or "the row as it is, or a cut @STAGE",
            elsewhere,
        )
    values = {
        key: read_option(parsed["row"], key, text, defaults[key], family.CHANGES[key])
        for key, text in changes.items()
    }
    return derive(parsed["row"], values, parsed["cut"] or "")


def derive(row: str, changes: Mapping[str, Scalar], cut: str = "") -> ModelSpec:
    """Derive a network from a row of the catalogue: change options, cut it after a stage or block.

    Its name says how, options in alphabetical order; a value that the row has already is left out.

    Raises:
        ConfigError: an unknown row or stage, or a value that the option cannot have.

    >>> derive("cbr_tiny", {"width": 0.5}).name
    'cbr_tiny+width=0.5'
    """
    family = _find_family(row)
    if family is None:
        raise ConfigError(f"unknown model {row!r}", nearest(row, [spec.name for spec in list_models()]))
    defaults: Mapping[str, Scalar] = family.ROWS[row]
    plain = {key: simplify_slim(value) if key == "slim" else value for key, value in changes.items()}
    new = {key: value for key, value in sorted(plain.items()) if value != defaults[key]}
    name = row + "".join(f"+{key}={_write(value)}" for key, value in new.items())
    spec: ModelSpec = family.describe_row(name, {**defaults, **new})
    return _cut(spec, cut) if cut else spec


def list_left_out(spec: ModelSpec) -> tuple[str, ...]:
    """List, as globs, the tensors of a catalogue row that a network derived from it goes without.

    A cut network's row has weights for the parts above the cut; a transplant into it ignores them.

    >>> list_left_out(find_model("cbr_tiny@block3"))
    ('block4_*/*',)
    """
    kept = {part.name for part in list_parts(spec.stages)}
    row = find_model(spec.row)
    above = (part for part in list_parts(row.stages) if part.name not in kept)
    left_out = [f"{layers}/*" for part in above for layers in part.layers.split("|")]
    if row.options.get("pooled_norm") and not spec.options.get("pooled_norm"):
        left_out.append(f"{HEAD}_norm/*")
    return tuple(left_out)


def check_drop_path(spec: ModelSpec, rate: float) -> None:
    """Refuse a rate of stochastic depth that is none, or that a family without paths to drop cannot have.

    Raises:
        ConfigError: the families that can are named.
    """
    if not 0.0 <= rate < 1.0:
        raise ConfigError(f"drop_path {rate}", "a rate of 0 or more and below 1")
    if rate and spec.family not in WITH_DROP_PATH:
        raise ConfigError(
            f"drop_path {rate} for {spec.name}: the family {spec.family} has no paths to drop",
            f"0, or a network of {', '.join(sorted(WITH_DROP_PATH))}",
        )


def _find_family(row: str) -> ModuleType | None:
    """Find the module that holds a row."""
    return next((family for family in FAMILIES if row in family.ROWS), None)


def _write(value: Scalar) -> str:
    """Write an option's value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def _cut(spec: ModelSpec, name: str) -> ModelSpec:
    """Leave out everything between a stage or block and the head; after the last one, nothing."""
    below, above = find_stage(spec.stages[:-1], name)
    if not above:  # the last part below the head: nothing is left out
        return spec
    stages = [stage for stage in spec.stages if stage in below]
    kept = len(below) - len(stages)
    if kept:
        whole: Stage = spec.stages[len(stages)]
        blocks = whole.blocks[:kept]
        stages.append(replace(whole, output=blocks[-1].output, blocks=blocks))
    options = {key: 0.0 if key == "pooled_norm" else value for key, value in spec.options.items()}
    heads = spec.heads
    if spec.options.get("pooled_norm"):
        heads = ("gap", "flatten", "none")
    if "token" in heads and not any(stage.name.startswith("block") for stage in stages):
        heads = ("gap", "none")  # before any attention the class token knows nothing of the image
    head = HEAD_STAGE if "token" not in heads else spec.stages[-1]
    return replace(spec, name=f"{spec.name}@{name}", options=options, heads=heads, stages=(*stages, head))
