"""Modes: which options each takes, the network that each fills, its rules, and a plan of it for every family."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from unread_sources import make_unread

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError
from medzoo.specs import HEAD
from medzoo.transplant.adaptations import PLAIN, Adaptations
from medzoo.transplant.methods import find_method
from medzoo.transplant.modes import (
    MODES,
    Recipe,
    choose_rules,
    complete_adaptations,
    list_ignored,
    make_rules,
    name_target,
    read_recipe,
)
from medzoo.transplant.units import find_units

EVERY_MODE = pytest.mark.parametrize("mode", MODES)
#: The first row of each family.
ROWS = list({spec.family: spec.name for spec in reversed(medzoo.list_models())}.values())
CBR = medzoo.find_model("cbr_tiny")

#: A value for every option of a recipe, and a refused one where words are checked.
VALUES: dict[str, Any] = {
    "upto": "block2",
    "above": "block2",
    "factor": 2.0,
    "norm": "keep",
    "bias": "zero",
    "ddof": 1,
    "exact": True,
    "sampler": "shuffle",
    "tokens": "zero",
    "rest": "stats",
}
#: The option that a mode cannot do without.
NEEDED = {
    "transfusion": {"upto": "block2"},
    "wt-st": {"upto": "block2"},
    "truncate": {"at": "block2"},
    "slim": {"above": "block2"},
}


def make(mode: str, **options: Any) -> Recipe:
    """Make a recipe of a mode with what it cannot do without."""
    return Recipe(mode, **(NEEDED.get(mode, {}) | options))


def test_every_option_is_some_mode_s() -> None:
    own = {field.name for field in fields(Recipe)} - {"mode", "at", "adaptations"}
    assert own == {option for options in MODES.values() for option in options} == set(VALUES)


@EVERY_MODE
@pytest.mark.parametrize("option", VALUES)
def test_a_mode_takes_its_own_options_and_no_other(mode: str, option: str) -> None:
    if option in MODES[mode]:
        assert getattr(make(mode, **{option: VALUES[option]}), option) == VALUES[option]
        return
    with pytest.raises(
        ConfigError, match=f"--{option} does not go with --mode {mode}; expected a mode"
    ) as error:
        make(mode, **{option: VALUES[option]})
    takers = [taker for taker in MODES if option in MODES[taker]]
    assert f"{', '.join(takers)}; try --mode {takers[0]}" in str(error.value)


@pytest.mark.parametrize("mode", NEEDED)
def test_a_mode_without_its_stage_is_refused(mode: str) -> None:
    (option,) = NEEDED[mode]
    with pytest.raises(ConfigError, match=f"--mode {mode} without a stage; .*--{option} STAGE"):
        Recipe(mode)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "melt"}, "unknown mode 'melt'; expected one of .*; try --mode stats"),
        ({"mode": "stat"}, "unknown mode 'stat'; expected one of 'stats'"),
        ({"mode": "slim", "above": "block2", "factor": 0.0}, "--factor 0; expected a number above 0"),
        ({"mode": "slim", "above": "block2", "factor": -2.0}, "--factor -2; expected a number above 0"),
        ({"mode": "slim", "above": "block2", "factor": float("nan")}, "--factor nan"),
        (
            {"mode": "select", "pick": "first"},
            "--pick first does not go with --mode select; expected --pick even",
        ),
        (
            {"mode": "widen", "pick": "even"},
            "--pick even does not go with --mode widen; expected --pick widen",
        ),
        ({"pick": "last"}, "--pick last; expected one of first, even, widen"),
        (
            {"channel_mode": "median"},
            "--channel-mode median; expected one of sum, mean, first, luminance, tile",
        ),
        ({"inflate": "mirror"}, "--inflate mirror; expected one of mean, centre, acs"),
        ({"head_weights": "half"}, "--head-weights half; expected one of fresh, zero, copy"),
        ({"interpolation": "nearest"}, "--interpolation nearest; expected one of bicubic, bilinear"),
        ({"noise": -0.1}, "noise -0.1; expected 0 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read_recipe(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mode", "options", "message"),
    [
        ("stats", {"norm": "melt"}, "--norm melt"),
        ("stats", {"sampler": "shuffle", "exact": True}, "--sampler shuffle with --exact"),
        ("wt-st", {"tokens": "melt"}, "--tokens melt"),
        ("gabor", {"rest": "copy"}, "--rest copy"),
        ("transfusion", {"upto": "block9"}, "no stage 'block9'.*'block4'"),
        ("wt-st", {"upto": "block9"}, "no stage 'block9'"),
        ("wt-st", {"upto": "9"}, "unit 9 of cbr_tiny; expected -2 "),
        ("slim", {"above": "block9"}, "no stage 'block9'"),
    ],
)
def test_words_and_stages_are_checked_with_the_network(
    mode: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_rules(make(mode, **options), CBR)


def test_options_are_read_by_the_names_that_users_type() -> None:
    given = {
        "mode": "stats",
        "norm": "keep",
        "exact": True,
        "upto": None,
        "pick": "first",
        "channel_mode": "0:R",
        "fold": False,
        "inflate": "acs",
        "classes_map": "0:1",
        "interpolation": "bilinear",
        "antialias": False,
        "seed": 3,
        "ignore": (),
    }
    adaptations = Adaptations("first", 0.0, "0:R", False, "acs", "", "0:1", "bilinear", False)
    assert read_recipe(given) == Recipe("stats", norm="keep", exact=True, adaptations=adaptations)
    widened = Recipe("widen", adaptations=Adaptations(noise=0.5, head="zero"))
    assert read_recipe({"mode": "widen", "noise": 0.5, "head_weights": "zero"}) == widened
    for odd in ({"mode": "copy", "noise": 0.5}, {"head_weights": "zero", "classes_map": "0:1"}):
        with pytest.raises(ConfigError, match=r"--noise does not go|one of both"):
            read_recipe(odd)
    assert read_recipe({}) == Recipe() == Recipe("copy")
    assert {field.name for field in fields(Adaptations)} == {field.name for field in fields(adaptations)}


def test_every_mode_has_its_recipe() -> None:
    stages = CBR.stages
    expected = {
        "copy": recipes.copy(),
        "stats": recipes.stats(),
        "transfusion": recipes.transfusion(stages, "block2"),
        "wt-st": recipes.wt_st(stages, "block2"),
        "truncate": recipes.truncate(),
        "slim": recipes.slim(stages, "block2"),
        "select": recipes.select(),
        "gabor": recipes.gabor(),
        "covariance": recipes.covariance(),
        "inflate": recipes.inflate(),
        "widen": recipes.widen(),
        "deepen": recipes.deepen(),
        "random": recipes.random(),
    }
    assert set(expected) == set(MODES)
    for mode, rules in expected.items():
        assert make_rules(make(mode), CBR) == rules
        assert all(find_method(rule.method) for rule in rules)


def test_options_reach_the_recipe() -> None:
    options: dict[str, Any] = {"norm": "keep", "bias": "zero", "ddof": 1, "exact": True, "tokens": "zero"}
    stats = recipes.stats(**options)
    assert make_rules(Recipe("stats", **options), CBR) == stats
    below = recipes.wt_st(CBR.stages, "block2", above=stats)
    assert make_rules(Recipe("wt-st", upto="block2", **options), CBR) == below
    by_unit = recipes.wt_st(CBR.stages, units=find_units(CBR, -1), above=stats)
    assert make_rules(Recipe("wt-st", upto="-1", **options), CBR) == by_unit
    assert make_rules(Recipe("gabor", rest="stats"), CBR) == recipes.gabor(rest="stats")
    assert make_rules(Recipe("covariance", rest="stats"), CBR) == recipes.covariance(rest="stats")
    assert make_rules(Recipe("stats", sampler="bootstrap"), CBR) == recipes.stats(sampler="bootstrap")


def test_modes_bring_their_own_adaptations() -> None:
    for mode in MODES:
        expected = {"select": "even", "widen": "widen"}.get(mode, "")
        assert complete_adaptations(make(mode)) == replace(
            PLAIN, pick=expected, inflate="mean" if mode == "inflate" else ""
        )
        assert list_ignored(make(mode)) == (("*",) if mode == "select" else ())
        assert choose_rules(make(mode), CBR).needs_source == (mode != "random")
    given = Recipe("inflate", adaptations=Adaptations(inflate="acs", channels="mean"))
    assert complete_adaptations(given) == given.adaptations
    noisy = Recipe("widen", adaptations=Adaptations(noise=0.1))
    assert complete_adaptations(noisy) == Adaptations(pick="widen", noise=0.1)


@pytest.mark.parametrize(
    ("recipe", "name", "target"),
    [
        (Recipe("copy"), "resnet50", "resnet50"),
        (Recipe("copy"), "resnet50@conv3", "resnet50@conv3"),
        (Recipe("copy", at="conv3"), "resnet50", "resnet50@conv3"),
        (Recipe("truncate", at="conv3"), "resnet50@conv3", "resnet50@conv3"),
        (Recipe("stats", at="conv4_block2"), "resnet50", "resnet50@conv4_block2"),
        (Recipe("slim", above="conv3"), "resnet50", "resnet50+slim=conv3:2"),
        (Recipe("slim", above="conv3", factor=4.0), "resnet50", "resnet50+slim=conv3:4"),
        (Recipe("slim", above="conv2", at="conv4"), "resnet50", "resnet50+slim=conv2:2@conv4"),
        (Recipe("slim", above="conv2"), "resnet50@conv4", "resnet50+slim=conv2:2@conv4"),
    ],
)
def test_the_network_that_is_filled_is_named(recipe: Recipe, name: str, target: str) -> None:
    assert name_target(recipe, name) == target
    assert medzoo.find_model(target).name == target


def test_a_cut_network_is_not_cut_again() -> None:
    with pytest.raises(
        ConfigError, match=r"--at conv3 for resnet50@conv4, which is cut already; .*--model resnet50"
    ):
        name_target(Recipe(at="conv3"), "resnet50@conv4")


@pytest.mark.parametrize("mode", ["transfusion", "wt-st"])
@pytest.mark.parametrize(("upto", "at"), [("conv5", "conv4"), ("conv4_block3", "conv4_block2"), (HEAD, None)])
def test_a_stage_above_the_cut_is_refused_for_what_it_is(mode: str, upto: str, at: str | None) -> None:
    whole = medzoo.find_model("resnet50")
    recipe = Recipe(mode, upto=upto, at=at)
    spec = medzoo.find_model(name_target(recipe, "resnet50"))
    if at is None:
        assert make_rules(recipe, spec, whole)
        return
    with pytest.raises(
        ConfigError, match=f"--upto {upto} lies above --at {at}; .* up to conv4; try --upto {at}"
    ):
        make_rules(recipe, spec, whole)
    with pytest.raises(ConfigError, match="no stage 'conv9'"):
        make_rules(replace(recipe, upto="conv9"), spec, whole)


#: Modes that fill a network from one of the same shape.
SAME_SHAPE = [mode for mode in MODES if mode not in ("slim", "truncate", "transfusion", "wt-st")]


@pytest.mark.parametrize("mode", SAME_SHAPE)
@pytest.mark.parametrize("row", ROWS)
def test_every_mode_plans_every_family(mode: str, row: str) -> None:
    """From the network's own weights: every tensor has its step, and what is copied is copied whole."""
    target = medzoo.describe(row, classes=3)
    chosen = choose_rules(Recipe(mode), medzoo.find_model(row))
    plan = medzoo.make_plan(
        make_unread(target), target, chosen.rules, ignore=chosen.ignore, adaptations=chosen.adaptations
    )
    assert [step.target for step in plan.steps] == list(target.tensors.values())
    assert not any(step.options.keys() - {"exact", "ddof"} or step.ranges for step in plan.steps)
    methods = {step.method for step in plan.steps if step.stage != HEAD}
    allowed = {
        "copy": {"copy"},
        "stats": {"resample", "fresh", "copy"},
        "select": {"copy"},
        "gabor": {"gabor", "fresh"},
        "covariance": {"covariance", "fresh"},
        "inflate": {"copy"},
        "widen": {"copy"},
        "deepen": {"copy"},
        "random": {"fresh"},
    }
    assert methods <= allowed[mode]
    assert ("keep" in methods) is False
    # Patches of 16×16 have no covariance: too many positions.
    assert (plan.coverage > 0) == (mode != "random" and (mode, row) != ("covariance", "vit_ti16"))


@pytest.mark.parametrize("row", ROWS)
def test_every_family_is_copied_below_a_stage_and_drawn_above(row: str) -> None:
    """Up to each stage in turn: coverage of transfusion grows, WT-ST takes from the source everywhere."""
    spec, target = medzoo.find_model(row), medzoo.describe(row, classes=3)
    source = make_unread(target)
    before = -1.0
    stages = list(dict.fromkeys(target.stages.values()))
    for stage in (stages[0], stages[len(stages) // 2], stages[-2]):
        plans = [
            medzoo.make_plan(source, target, choose_rules(Recipe(mode, upto=stage), spec).rules)
            for mode in ("transfusion", "wt-st")
        ]
        copied = [{s.target.name for s in plan.steps if s.method == "copy"} for plan in plans]
        assert copied[0] <= copied[1]
        assert before < plans[0].coverage <= plans[1].coverage < 1
        before = plans[0].coverage


@pytest.mark.parametrize(
    "mode", ["copy", "stats", "covariance", "deepen", "transfusion", "truncate", "gabor"]
)
@pytest.mark.parametrize("network", ["resnet18@conv3", "densenet121@conv3", "deit_ti16@block4"])
def test_a_cut_is_filled_as_the_whole_is_below_it(mode: str, network: str) -> None:
    """Weights of the whole network: what is left of it gets what the mode gives there; the head starts afresh."""
    row, _, at = network.partition("@")
    whole, target = medzoo.describe(row, classes=3), medzoo.describe(network, classes=3)
    recipe = Recipe(mode, at=at, upto=at if mode == "transfusion" else None)
    cut = choose_rules(recipe, medzoo.find_model(network), medzoo.find_model(row))
    all_of_it = choose_rules(replace(recipe, mode="copy", upto=None), medzoo.find_model(row))
    if mode not in ("copy", "truncate", "transfusion", "deepen"):
        all_of_it = choose_rules(Recipe(mode), medzoo.find_model(row))
    source = make_unread(whole)
    plan = medzoo.make_plan(source, target, cut.rules, ignore=cut.ignore, adaptations=cut.adaptations)
    expected = {
        step.target.name: step.method for step in medzoo.make_plan(source, whole, all_of_it.rules).steps
    }
    for step in plan.steps:
        assert step.method == ("fresh" if step.stage == HEAD else expected[step.target.name]), (
            step.target.name
        )
    # Kernels without a window have no covariance; Gabor filters are in the first kernel alone.
    assert plan.coverage > (0.9 if mode not in ("gabor", "covariance") else -1)


def test_deepen_gives_identities_to_what_is_new_alone() -> None:
    """Never to a tensor of another shape, nor to one of which only moments are known: those are refused."""
    spec = medzoo.find_model("resnet34")
    rules = choose_rules(Recipe("deepen"), spec).rules
    source = make_unread(medzoo.describe("resnet18", classes=3))
    target = medzoo.describe("resnet34", classes=3)
    plan = medzoo.make_plan(source, target, rules)
    for step in plan.steps:
        assert (step.method == "copy") == (step.target.name in source)
    with pytest.raises(medzoo.MedzooError, match="copy needs its values, and unread holds moments only"):
        medzoo.make_plan(make_unread(medzoo.describe("resnet18", classes=3), has_values=False), target, rules)
    wider = make_unread(medzoo.describe("vgg16", classes=3))
    narrow = replace(wider.tensors["block1_conv1/kernel"].spec, shape=(3, 3, 3, 32))
    tensors = dict(wider.tensors) | {narrow.name: replace(wider.tensors[narrow.name], spec=narrow)}
    with pytest.raises(medzoo.MedzooError, match="'block1_conv1/kernel' is 3×3×3×32 in the source"):
        medzoo.make_plan(replace(wider, tensors=tensors), medzoo.describe("vgg16", classes=3), rules)
