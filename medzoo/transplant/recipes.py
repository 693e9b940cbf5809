"""Named rule lists over declared stages: which tensors to copy, to resample and to start afresh."""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.errors import ConfigError
from medzoo.specs import HEAD, Stage, find_stage
from medzoo.tensors import Role
from medzoo.transplant.adaptations import check_word
from medzoo.transplant.steps import HEADS, Rule
from medzoo.wiring import INPUT

NORM_ROLES = (Role.NORM_SCALE, Role.NORM_SHIFT, Role.MOVING_MEAN, Role.MOVING_VARIANCE)
DRAWN_ROLES = (Role.KERNEL, Role.BIAS)
STRUCTURE_ROLES = (Role.TOKEN, Role.POSITION)

NORMS = ("reset", "keep", "resample")
BIASES = ("own", "zero")
SAMPLERS = {"normal": "resample", "shuffle": "shuffle", "bootstrap": "bootstrap"}
TOKENS = {"keep": "copy", "resample": "resample", "zero": "zero"}
RESTS = ("random", "stats")


def copy(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Copy every tensor; the head too where its number of classes is the source's, else it starts afresh.

    >>> [rule.method for rule in copy()]
    ['copy', 'copy']
    """
    del stages
    return (Rule(HEADS, "copy", {"otherwise": "fresh"}), Rule("*", "copy"))


def stats(
    stages: Sequence[Stage] = (),
    norm: str = "reset",
    bias: str = "own",
    ddof: int = 0,
    exact: bool = False,
    sampler: str = "normal",
    tokens: str = "keep",
) -> tuple[Rule, ...]:
    """Mean-Var (Raghu et al. 2019), ST (Matsoukas et al. 2022): kernels and biases drawn from their own statistics.

    Each is i.i.d. normal with its own mean and variance (`ddof=1`: the variance with n − 1, as the authors of ST;
    `exact`: standardised, so that the drawn moments are the source's to the last digits); `sampler` may put its values
    in a random order (`shuffle`) or draw from them with replacement (`bootstrap`) instead. Biases may be `zero`. Norm
    layers are neutral (`reset`), copied whole (`keep`) or drawn like kernels (`resample`), their moving variance never
    drawn but filled with its mean. Class tokens and position embeddings are copied (`keep`), drawn, or zero. The head
    starts afresh.

    Raises:
        ConfigError: a word or number that is none of these.

    >>> [rule.method for rule in stats(bias="zero")]
    ['fresh', 'resample', 'zero', 'fresh', 'copy']
    """
    del stages
    check_word("--norm", norm, NORMS)
    check_word("--bias", bias, BIASES)
    check_word("--sampler", sampler, tuple(SAMPLERS))
    check_word("--tokens", tokens, tuple(TOKENS))
    if ddof not in (0, 1):
        raise ConfigError(f"--ddof {ddof}", "0 or 1", "--ddof 0")
    if sampler != "normal" and (exact or ddof):
        raise ConfigError(f"--sampler {sampler} with --exact or --ddof 1", "those of --sampler normal alone")
    options: dict[str, int | bool] = {"ddof": 1} if ddof else {}
    options |= {"exact": True} if exact else {}
    drawn = SAMPLERS[sampler]
    rules = [Rule(HEADS, "fresh")]
    if bias == "own":
        rules.append(Rule("*", drawn, options, DRAWN_ROLES))
    else:
        rules += [Rule("*", drawn, options, (Role.KERNEL,)), Rule("*", "zero", roles=(Role.BIAS,))]
    if norm == "resample":
        rules.append(Rule("*", "mean", roles=(Role.MOVING_VARIANCE,)))
        rules.append(Rule("*", drawn, options, NORM_ROLES[:3]))
    else:
        rules.append(Rule("*", "fresh" if norm == "reset" else "copy", roles=NORM_ROLES))
    rules.append(Rule("*", TOKENS[tokens], options if tokens == "resample" else {}, STRUCTURE_ROLES))
    return tuple(rules)


def transfusion(stages: Sequence[Stage], upto: str) -> tuple[Rule, ...]:
    """Copy up to and including a stage or block, random above (weight transfusion, Raghu et al. 2019).

    A copied layer carries its norm's scale, shift and moving statistics.

    Raises:
        ConfigError: the network has no such stage; the nearest names are given.
    """
    return (*_copy_below(stages, upto), Rule("*", "fresh"))


def wt_st(
    stages: Sequence[Stage],
    upto: str = "",
    units: Sequence[str] | None = None,
    above: Sequence[Rule] | None = None,
) -> tuple[Rule, ...]:
    """WT-ST-n/m (Matsoukas et al. 2022): copy up to a stage or block, `stats` above; the head starts afresh.

    `units` are the globs of the layers copied, in place of `upto`: `medzoo.transplant.units.find_units` gives them by
    the authors' index. `above` are the rules of `stats` with other options. Draws are keyed by seed and tensor name:
    all cuts of one seed share them.

    Raises:
        ConfigError: the network has no such stage; the nearest names are given.
    """
    rules = (
        _copy_below(stages, upto) if units is None else [Rule(_tensors_of(unit), "copy") for unit in units]
    )
    return (*rules, *(stats() if above is None else above))


def truncate(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """TTL (Peng et al. 2021): copy all that is left of a cut network; its head starts afresh.

    >>> [rule.method for rule in truncate()]
    ['fresh', 'copy']
    """
    del stages
    return (Rule(HEADS, "fresh"), Rule("*", "copy"))


def slim(stages: Sequence[Stage], above: str) -> tuple[Rule, ...]:
    """Transfusion's hybrid, TF(k) of Peng et al. 2021: copy up to a stage, random above, where the network is thinner.

    Raises:
        ConfigError: the network has no such stage; the nearest names are given.
    """
    return transfusion(stages, above)


def select(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Weight selection (Xu et al. 2024): copy the channels that `Adaptations(pick="even")` keeps; the head afresh.

    Of each stage the first layers are kept, which are those of the same names.
    """
    return truncate(stages)


def gabor(stages: Sequence[Stage] = (), rest: str = "random") -> tuple[Rule, ...]:
    """Gabor filters at the source's scale in the first convolution (Raghu et al. 2019); the rest random or `stats`.

    Raises:
        ConfigError: another `rest`.

    >>> gabor()[0].match
    '<input>'
    """
    return (Rule(INPUT, "gabor"), *_fill_rest(stages, rest))


def covariance(stages: Sequence[Stage] = (), rest: str = "random") -> tuple[Rule, ...]:
    """Filters drawn with the spatial covariance of the source's (Trockman et al. 2023); the rest random or `stats`.

    A moments file holds the covariance of depthwise kernels alone: any other is then filled as the rest is.

    Raises:
        ConfigError: another `rest`.
    """
    otherwise = "fresh" if rest == "random" else "resample"
    kernels = Rule("*", "covariance", {"otherwise": otherwise}, (Role.KERNEL,))
    return (Rule(HEADS, "fresh"), kernels, *_fill_rest(stages, rest))


def inflate(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Copy a 2-D network into a 3-D one of the same names, as `Adaptations(inflate=…)` says."""
    return copy(stages)


def widen(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Net2WiderNet (Chen et al. 2016): copy into a wider network, which answers alike, with `pick="widen"`."""
    return copy(stages)


def deepen(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Net2DeeperNet (Chen et al. 2016): copy into a deeper network; layers that the source lacks change nothing.

    >>> deepen()[-1].options
    {'otherwise': 'identity'}
    """
    del stages
    return (Rule(HEADS, "copy", {"otherwise": "fresh"}), Rule("*", "copy", {"otherwise": "identity"}))


def random(stages: Sequence[Stage] = ()) -> tuple[Rule, ...]:
    """Start every tensor afresh, as its layer's initializer would."""
    del stages
    return (Rule("*", "fresh"),)


def _fill_rest(stages: Sequence[Stage], rest: str) -> tuple[Rule, ...]:
    """Give the rules of what a recipe does not fill itself."""
    check_word("--rest", rest, RESTS)
    return random(stages) if rest == "random" else stats(stages)


def _copy_below(stages: Sequence[Stage], upto: str) -> list[Rule]:
    """Copy up to and including a stage or block; the head, if it is among these, where its classes are the source's."""
    below, _ = find_stage(stages, upto)
    rules = [Rule(_tensors_of(stage.layers), "copy") for stage in below if stage.name != HEAD]
    return rules + [
        Rule(_tensors_of(stage.layers), "copy", {"otherwise": "fresh"})
        for stage in below
        if stage.name == HEAD
    ]


def _tensors_of(layers: str) -> str:
    """Give the pattern of a stage's tensors from the pattern of its layers."""
    return "|".join(f"{layer}/*" for layer in layers.split("|"))
