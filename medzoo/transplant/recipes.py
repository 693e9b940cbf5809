"""Named rule lists over declared stages: which tensors to copy, to resample and to start afresh."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medzoo.errors import ConfigError, nearest
from medzoo.specs import HEAD, Stage, find_stage
from medzoo.tensors import Role
from medzoo.transplant.plan import Rule

NORM_ROLES = (Role.NORM_SCALE, Role.NORM_SHIFT, Role.MOVING_MEAN, Role.MOVING_VARIANCE)
DRAWN_ROLES = (Role.KERNEL, Role.BIAS)
STRUCTURE_ROLES = (Role.TOKEN, Role.POSITION)
#: The dense layers of a head; a distilled transformer has two.
HEADS = f"{HEAD}/*|{HEAD}_distillation/*"


def copy(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Copy every tensor; the head too where its number of classes is the source's, else it starts afresh.

    >>> [rule.method for rule in copy()]
    ['copy', 'copy']
    """
    del stages
    return (Rule(HEADS, "copy", {"otherwise": "fresh"}), Rule("*", "copy"))


def stats(stages: Sequence[Stage] = (), norm: str = "reset") -> tuple[Rule, ...]:
    """Mean-Var (Raghu et al. 2019): kernels and biases i.i.d. normal with their own mean and variance.

    Norm layers are neutral (`norm="reset"`) or copied whole (`norm="keep"`); tokens and position embeddings
    are copied; the head starts afresh.

    Raises:
        ConfigError: another `norm`.
    """
    del stages
    if norm not in ("reset", "keep"):
        raise ConfigError(f"norm {norm!r}", "'reset' or 'keep'", "--norm reset")
    return (
        Rule(HEADS, "fresh"),
        Rule("*", "resample", roles=DRAWN_ROLES),
        Rule("*", "fresh" if norm == "reset" else "copy", roles=NORM_ROLES),
        Rule("*", "copy", roles=STRUCTURE_ROLES),
    )


def transfusion(stages: Sequence[Stage], upto: str) -> tuple[Rule, ...]:
    """Copy up to and including a stage or block, random above (weight transfusion, Raghu et al. 2019).

    A copied layer carries its norm's scale, shift and moving statistics.

    Raises:
        ConfigError: the network has no such stage; the nearest names are given.
    """
    below, _ = find_stage(stages, upto)
    rules = [Rule(_tensors_of(stage), "copy") for stage in below if stage.name != HEAD]
    rules += [
        Rule(_tensors_of(stage), "copy", {"otherwise": "fresh"}) for stage in below if stage.name == HEAD
    ]
    return (*rules, Rule("*", "fresh"))


def random(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Start every tensor afresh, as its layer's initializer would."""
    del stages
    return (Rule("*", "fresh"),)


#: The modes of the command line. `--upto` goes with transfusion, `--norm` with stats.
MODES: tuple[str, ...] = ("copy", "stats", "transfusion", "random")


def find_recipe(
    mode: str, stages: Sequence[Stage], upto: str | None = None, norm: str | None = None
) -> tuple[Rule, ...]:
    """Make the rules of a mode named on the command line or in a configuration.

    Raises:
        ConfigError: an unknown mode, a stage that the network lacks, or an option that the mode does not take.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown mode {mode!r}", nearest(mode, MODES), "--mode stats")
    if upto is not None and mode != "transfusion":
        raise ConfigError(f"--upto does not go with --mode {mode}", "--mode transfusion")
    if norm is not None and mode != "stats":
        raise ConfigError(f"--norm does not go with --mode {mode}", "--mode stats")
    if mode == "transfusion":
        names = ", ".join(stage.name for stage in stages)
        if upto is None:
            raise ConfigError("--mode transfusion without a stage", f"--upto one of {names}", "--upto STAGE")
        return transfusion(stages, upto)
    if mode == "stats":
        return stats(stages, norm or "reset")
    simple: dict[str, Callable[[Sequence[Stage]], tuple[Rule, ...]]] = {"copy": copy, "random": random}
    return simple[mode](stages)


def _tensors_of(stage: Stage) -> str:
    """Give the pattern of a stage's tensors from the pattern of its layers."""
    return "|".join(f"{layers}/*" for layers in stage.layers.split("|"))
