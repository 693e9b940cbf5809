"""The modes that users name, with the options that each takes: from words to rules, adaptations and a target's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from medzoo.errors import ConfigError, nearest
from medzoo.specs import HEAD, ModelSpec, Stage
from medzoo.transplant import recipes
from medzoo.transplant.adaptations import PLAIN, Adaptations
from medzoo.transplant.rules_file import RuleSet, read_rules
from medzoo.transplant.steps import Rule
from medzoo.transplant.units import find_units

_STATS = ("norm", "bias", "ddof", "exact", "sampler", "tokens")

#: Each mode, and the options that it takes besides those that go with every mode.
MODES: dict[str, tuple[str, ...]] = {
    "copy": (),
    "stats": _STATS,
    "transfusion": ("upto",),
    "wt-st": ("upto", *_STATS),
    "truncate": (),
    "slim": ("above", "factor"),
    "select": (),
    "gabor": ("rest",),
    "covariance": ("rest",),
    "inflate": (),
    "widen": (),
    "deepen": (),
    "random": (),
}


@dataclass(frozen=True)
class Recipe:
    """A mode with its options, as a user names them; None is the mode's own default.

    `at` cuts the network after a stage or block, under any mode. `upto` and `above` are the last stage or block that is
    copied; `upto` may be a unit's index as the authors of WT-ST number them. `factor` thins what is above.
    """

    mode: str = "copy"
    upto: str | None = None
    at: str | None = None
    above: str | None = None
    factor: float | None = None
    norm: str | None = None
    bias: str | None = None
    ddof: int | None = None
    exact: bool | None = None
    sampler: str | None = None
    tokens: str | None = None
    rest: str | None = None
    adaptations: Adaptations = PLAIN

    def __post_init__(self) -> None:
        """Refuse an unknown mode, and options that it does not take or cannot do without.

        Raises:
            ConfigError: which, and what to type.
        """
        if self.mode not in MODES:
            raise ConfigError(f"unknown mode {self.mode!r}", nearest(self.mode, MODES), "--mode stats")
        for field in fields(self):
            if field.name in ("mode", "at", "adaptations") or getattr(self, field.name) in (None, False):
                continue
            if field.name not in MODES[self.mode]:
                takers = [mode for mode, taken in MODES.items() if field.name in taken]
                raise ConfigError(
                    f"--{field.name} does not go with --mode {self.mode}",
                    f"a mode that takes it: {', '.join(takers)}",
                    f"--mode {takers[0]}",
                )
        needed = {"transfusion": "upto", "wt-st": "upto", "truncate": "at", "slim": "above"}.get(self.mode)
        if needed is not None and getattr(self, needed) is None:
            raise ConfigError(
                f"--mode {self.mode} without a stage",
                f"the last one kept, as --{needed}",
                f"--{needed} STAGE; medzoo models show MODEL lists the stages",
            )
        if self.factor is not None and not self.factor > 0:
            raise ConfigError(f"--factor {self.factor:g}", "a number above 0", "--factor 2")
        _check_pick(self.mode, self.adaptations.pick)
        if self.adaptations.noise and self.mode != "widen":
            raise ConfigError(f"--noise does not go with --mode {self.mode}", "--mode widen")
        if self.adaptations.head and self.adaptations.classes:
            raise ConfigError(
                f"--head-weights {self.adaptations.head} with --classes-map, which fills the head",
                "one of both",
            )


def _check_pick(mode: str, pick: str) -> None:
    """Refuse a way to pick channels that contradicts the mode."""
    if mode in ("select", "widen") and pick not in ("", _PICKS[mode]):
        raise ConfigError(f"--pick {pick} does not go with --mode {mode}", f"--pick {_PICKS[mode]}, its own")


_PICKS = {"select": "even", "widen": "widen"}


def name_target(recipe: Recipe, name: str) -> str:
    """Name the network that a recipe fills, derived from the one named: thinner above a stage, cut after one.

    Raises:
        ConfigError: the network named is cut already, and is to be cut again.

    >>> name_target(Recipe("truncate", at="conv4_block4"), "resnet50")
    'resnet50@conv4_block4'
    >>> name_target(Recipe("slim", above="conv3"), "resnet50")
    'resnet50+slim=conv3:2'
    """
    base, sign, cut = name.partition("@")
    if recipe.mode == "slim":
        factor = 2.0 if recipe.factor is None else recipe.factor
        slim = f"slim={recipe.above}:{factor:g}"
        thinned = [change for change in base.split("+")[1:] if change.startswith("slim=")]
        if thinned and thinned != [slim]:
            raise ConfigError(
                f"--mode slim for {name}, which is thinned already", f"--model {base.partition('+')[0]}"
            )
        base = base if thinned else f"{base}+{slim}"
    if recipe.at is not None:
        if cut and cut != recipe.at:
            raise ConfigError(f"--at {recipe.at} for {name}, which is cut already", f"--model {base}")
        return f"{base}@{recipe.at}"
    return base + sign + cut


def make_rules(recipe: Recipe, spec: ModelSpec, whole: ModelSpec | None = None) -> tuple[Rule, ...]:
    """Make a recipe's rules for a network; `whole` is the one that it was cut from, for better errors.

    Raises:
        ConfigError: a stage that the network lacks, or one above the cut.

    >>> from medzoo.models.catalog import find_model
    >>> make_rules(Recipe("stats"), find_model("cbr_tiny"))[0].method
    'fresh'
    """
    if recipe.upto is not None and recipe.at is not None and whole is not None:
        _check_order(recipe.upto, recipe.at, spec, whole)
    stages = spec.stages
    if recipe.mode == "transfusion":
        return recipes.transfusion(stages, recipe.upto or "")
    if recipe.mode == "wt-st":
        return _make_wt_st(recipe, spec)
    if recipe.mode == "slim":
        return recipes.slim(stages, recipe.above or "")
    if recipe.mode == "stats":
        return _make_stats(recipe)
    if recipe.mode in ("gabor", "covariance"):
        make = recipes.gabor if recipe.mode == "gabor" else recipes.covariance
        return make(stages, recipe.rest or "random")
    simple: dict[str, Callable[[Sequence[Stage]], tuple[Rule, ...]]] = {
        "copy": recipes.copy,
        "truncate": recipes.truncate,
        "select": recipes.select,
        "inflate": recipes.inflate,
        "widen": recipes.widen,
        "deepen": recipes.deepen,
        "random": recipes.random,
    }
    return simple[recipe.mode](stages)


def _make_stats(recipe: Recipe) -> tuple[Rule, ...]:
    """Make the rules of `stats` with a recipe's options."""
    return recipes.stats(
        norm=recipe.norm or "reset",
        bias=recipe.bias or "own",
        ddof=recipe.ddof or 0,
        exact=bool(recipe.exact),
        sampler=recipe.sampler or "normal",
        tokens=recipe.tokens or "keep",
    )


def _make_wt_st(recipe: Recipe, spec: ModelSpec) -> tuple[Rule, ...]:
    """Make the rules of WT-ST up to a stage, a block or a unit's index."""
    above, upto = _make_stats(recipe), recipe.upto or ""
    if re.fullmatch("-?[0-9]{1,4}", upto):
        return recipes.wt_st(spec.stages, units=find_units(spec, int(upto)), above=above)
    return recipes.wt_st(spec.stages, upto, above=above)


def _check_order(upto: str, at: str, spec: ModelSpec, whole: ModelSpec) -> None:
    """Refuse to copy up to a stage that lies above the cut."""
    known = [part.name for stage in spec.stages for part in (stage, *stage.blocks)]
    everywhere = [part.name for stage in whole.stages for part in (stage, *stage.blocks)]
    if upto in everywhere and upto not in known:
        last = [stage.name for stage in spec.stages if stage.name != HEAD][-1]
        raise ConfigError(
            f"--upto {upto} lies above --at {at}", f"a stage or block up to {last}", f"--upto {at}"
        )


def complete_adaptations(recipe: Recipe) -> Adaptations:
    """Give a recipe's adaptations with what its mode itself asks for.

    >>> complete_adaptations(Recipe("select")).pick
    'even'
    """
    adaptations = recipe.adaptations
    if recipe.mode in _PICKS:
        adaptations = replace(adaptations, pick=_PICKS[recipe.mode])
    if recipe.mode == "inflate" and not adaptations.inflate:
        adaptations = replace(adaptations, inflate="mean")
    return adaptations


#: The options of `Adaptations`, as users name them.
_ADAPTING = {
    "pick": "pick",
    "noise": "noise",
    "channel_mode": "channels",
    "fold": "fold",
    "inflate": "inflate",
    "head_weights": "head",
    "classes_map": "classes",
    "interpolation": "interpolation",
    "antialias": "antialias",
}


def read_recipe(given: Mapping[str, Any]) -> Recipe:
    """Make a recipe of options as users name them; those that are absent or None keep their defaults.

    Raises:
        ConfigError: an option that the mode does not take, or a value that it cannot have.

    >>> read_recipe({"mode": "stats", "norm": "keep", "upto": None, "channel_mode": "mean"}).adaptations.channels
    'mean'
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    adaptations = replace(PLAIN, **{_ADAPTING[key]: chosen[key] for key in _ADAPTING if key in chosen})
    if "upto" in chosen:
        chosen["upto"] = str(chosen["upto"])  # a unit's index may come as a number
    own = {field.name for field in fields(Recipe)} - {"adaptations"}
    return Recipe(**{key: chosen[key] for key in own if key in chosen}, adaptations=adaptations)


def choose_rules(
    recipe: Recipe, spec: ModelSpec, whole: ModelSpec | None = None, file: str | Path | None = None
) -> RuleSet:
    """Give what decides over the tensors: the rules of a file, or those of a recipe's mode.

    Raises:
        ConfigError: a file that cannot be read, a file beside a mode's options, or a stage that the network lacks.
    """
    if file is None:
        return RuleSet(make_rules(recipe, spec, whole), list_ignored(recipe), complete_adaptations(recipe))
    if recipe != Recipe(at=recipe.at):
        raise ConfigError(
            f"--rules {file} beside a mode's options", "one of both", "an [adapt] table in the file"
        )
    return read_rules(file)


def list_ignored(recipe: Recipe) -> tuple[str, ...]:
    """Give the globs of source tensors that a recipe leaves unused by design: `select` from a deeper network.

    >>> list_ignored(Recipe("select")), list_ignored(Recipe("copy"))
    (('*',), ())
    """
    return ("*",) if recipe.mode == "select" else ()
