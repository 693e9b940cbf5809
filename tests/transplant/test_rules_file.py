"""Rules as TOML: what is printed reads back equal, the first match decides, what does not exist is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from unread_sources import make_unread

import medzoo
from medzoo.errors import ConfigError
from medzoo.tensors import Role, Source
from medzoo.transplant.adaptations import Adaptations
from medzoo.transplant.modes import MODES, Recipe, choose_rules, name_target
from medzoo.transplant.plan import Rule
from medzoo.transplant.rules_file import OPTIONS, RuleSet, format_rules, read_rules

#: Every mode, with options where it takes any. A mode that joins the table and is not here fails a test.
RECIPES = {
    "copy": Recipe("copy"),
    "stats": Recipe("stats"),
    "stats_all": Recipe(
        "stats",
        norm="resample",
        bias="zero",
        ddof=1,
        exact=True,
        tokens="resample",
        adaptations=Adaptations(),
    ),
    "stats_shuffle": Recipe("stats", norm="keep", sampler="shuffle", tokens="zero"),
    "transfusion": Recipe("transfusion", upto="LOWER"),
    "wt-st": Recipe("wt-st", upto="LOWER", bias="zero"),
    "wt-st_unit": Recipe("wt-st", upto="1", exact=True),
    "truncate": Recipe("truncate", at="UPPER"),
    "slim": Recipe("slim", above="LOWER", factor=4.0),
    "select": Recipe("select"),
    "gabor": Recipe("gabor", rest="stats"),
    "covariance": Recipe("covariance"),
    "inflate": Recipe("inflate", adaptations=Adaptations(inflate="acs")),
    "widen": Recipe("widen", adaptations=Adaptations(noise=0.01)),
    "deepen": Recipe("deepen"),
    "random": Recipe("random"),
    "adapted": Recipe(
        "copy",
        adaptations=Adaptations(
            pick="first",
            channels='0:R,1:"',
            fold=False,
            classes="0:7",
            interpolation="bilinear",
            antialias=False,
        ),
    ),
}

#: A convolutional network, one of residual blocks, one of attention, one with windows; a stage low and one high.
NETWORKS = {
    "cbr_tiny": ("block2", "block3"),
    "resnet50": ("conv3_block2", "conv4"),
    "deit_ti16": ("block3", "block7"),
    "swin_t": ("stage2", "stage3"),
    "densenet121": ("conv3", "conv4"),
}


def name_stages(recipe: Recipe, network: str) -> Recipe:
    """Put a network's own stages into a recipe."""
    names = dict(zip(("LOWER", "UPPER"), NETWORKS[network], strict=True))
    return replace(
        recipe,
        upto=names.get(recipe.upto or "", recipe.upto),
        at=names.get(recipe.at or "", recipe.at),
        above=names.get(recipe.above or "", recipe.above),
    )


def write(folder: Path, text: str) -> Path:
    """Write a rules file."""
    (folder / "rules.toml").write_text(text, encoding="utf-8")
    return folder / "rules.toml"


def test_every_mode_is_explained() -> None:
    assert {recipe.mode for recipe in RECIPES.values()} == set(MODES)


#: Transformers have no thin upper half.
APPLICABLE = [
    (name, network)
    for name in RECIPES
    for network in NETWORKS
    if name != "slim" or network not in ("deit_ti16", "swin_t")
]


@pytest.mark.parametrize(("name", "network"), APPLICABLE)
def test_what_is_explained_reads_back_equal(name: str, network: str, tmp_path: Path) -> None:
    recipe = name_stages(RECIPES[name], network)
    derived = medzoo.find_model(name_target(recipe, network))
    chosen = choose_rules(recipe, derived, medzoo.find_model(network))
    text = format_rules(chosen.rules, chosen.ignore, chosen.adaptations)
    read = read_rules(write(tmp_path, f"# {derived.name}\n{text}"))
    assert read == chosen
    assert all(type(role) is Role for rule in read.rules for role in rule.roles)
    again = format_rules(read.rules, read.ignore, read.adaptations)
    assert again == text


def test_a_named_mode_and_its_file_make_the_same_plan(tiny: Source, tmp_path: Path) -> None:
    spec, target = medzoo.find_model("cbr_tiny"), medzoo.describe("cbr_tiny", classes=5, channels=1)
    recipe = Recipe("wt-st", upto="block2", exact=True, adaptations=Adaptations(channels="mean"))
    chosen = choose_rules(recipe, spec)
    path = write(tmp_path, format_rules(chosen.rules, chosen.ignore, chosen.adaptations))
    read = choose_rules(Recipe(), spec, file=path)
    plans = [medzoo.make_plan(tiny, target, s.rules, 4, s.ignore, s.adaptations) for s in (chosen, read)]
    assert plans[0] == plans[1]
    assert plans[0].steps[0].options == {"channels": "mean"}


CUSTOM = """
# Mine.
ignore = ["block4_*", "head/*"]

[adapt]
channels = "luminance"
noise = 0

[[rule]]
match = "<input>"
method = "copy"

[[rule]]
match = "block2_bn/*|block3_bn/*"
method = "copy"
roles = ["norm_scale", "norm_shift"]

[[rule]]
match = "*"
method = "resample"
roles = ["kernel"]
options = { exact = true, ddof = 1, otherwise = "fresh" }

[[rule]]
match = "*"
method = "fresh"
"""


def test_a_file_of_one_s_own_decides_rule_by_rule(tmp_path: Path) -> None:
    read = read_rules(write(tmp_path, CUSTOM))
    assert read.ignore == ("block4_*", "head/*")
    assert read.adaptations == Adaptations(channels="luminance")
    options = {"exact": True, "ddof": 1, "otherwise": "fresh"}
    assert read.rules == (
        Rule("<input>", "copy"),
        Rule("block2_bn/*|block3_bn/*", "copy", roles=(Role.NORM_SCALE, Role.NORM_SHIFT)),
        Rule("*", "resample", options, (Role.KERNEL,)),
        Rule("*", "fresh"),
    )
    target = medzoo.describe("cbr_tiny", classes=2, channels=1)
    source = make_unread(medzoo.describe("cbr_tiny", classes=5))
    plan = medzoo.make_plan(source, target, read.rules, 1, read.ignore, read.adaptations)
    steps = {step.target.name: step for step in plan.steps}
    assert steps["block1_conv/kernel"].method == "copy"
    assert steps["block1_conv/kernel"].options == {"channels": "luminance"}
    assert steps["block1_bn/gamma"].method == "fresh"
    assert steps["block2_bn/gamma"].method == steps["block3_bn/beta"].method == "copy"
    assert steps["block2_bn/moving_mean"].method == "fresh"
    assert steps["block4_conv/kernel"].method == "resample"
    assert steps["block4_conv/kernel"].options == {"exact": True, "ddof": 1}
    # Another number of classes: what the rule says otherwise.
    assert steps["head/kernel"].method == "fresh"


@pytest.mark.parametrize("order", [("copy", "fresh"), ("fresh", "copy")])
def test_the_first_rule_that_matches_wins(order: tuple[str, str], tmp_path: Path) -> None:
    text = "".join(
        f'[[rule]]\nmatch = "{glob}"\nmethod = "{how}"\n' for how in order for glob in ("block*", "*")
    )
    target = medzoo.describe("cbr_tiny", classes=2)
    rules = read_rules(write(tmp_path, text)).rules
    plan = medzoo.make_plan(make_unread(target), target, rules)
    assert {step.method for step in plan.steps} == {order[0]}


RULE = '[[rule]]\nmatch = "*"\nmethod = "resample"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no \\[\\[rule\\]\\]; expected at least one; try --explain"),
        ("rule = []", "holds no \\[\\[rule\\]\\]"),
        ("rule = [3]", "holds no \\[\\[rule\\]\\]"),
        ('rule = "copy"', "holds no \\[\\[rule\\]\\]"),
        ("rule = ", "is no TOML"),
        ('[[rule]]\nmatch = "*"\n', "without match or method"),
        ('[[rule]]\nmethod = "copy"\n', "without match or method"),
        ('[[rule]]\nmatch = 3\nmethod = "copy"\n', "without match or method"),
        (RULE.replace("resample", "resampel"), "unknown method 'resampel'; expected one of 'resample'"),
        (RULE.replace("match", "macth"), "unknown key 'macth'; expected one of 'match'"),
        (f"ingore = []\n{RULE}", "unknown key 'ingore'; expected one of 'ignore'"),
        (f"{RULE}role = ['kernel']\n", "unknown key 'role'; expected one of 'roles'"),
        (
            f"{RULE}roles = ['kernels']\n",
            "roles of rule '\\*' in .*; expected some of kernel, bias, norm_scale",
        ),
        (f"{RULE}roles = 'kernel'\n", "roles of rule '\\*' in .*; expected some of kernel"),
        (f"{RULE}roles = [['kernel']]\n", "roles of rule '\\*' in .*; expected some of kernel"),
        (f"{RULE}options = 3\n", "options of rule '\\*' in .*; expected names and plain values"),
        (f"{RULE}options = {{ exact = [1] }}\n", "expected names and plain values"),
        (
            f"{RULE}options = {{ exatc = true }}\n",
            "'exatc', which resample does not take; expected one of ddof, exact",
        ),
        (f"{RULE}options = {{ exact = 'no' }}\n", "exact = no in rule '\\*' of .*; expected false or true"),
        (f"{RULE}options = {{ exact = 1 }}\n", "exact = 1 in rule '\\*' of .*; expected false or true"),
        (f"{RULE}options = {{ ddof = 2 }}\n", "ddof = 2 in rule '\\*' of .*; expected 0 or 1"),
        (f"{RULE}options = {{ ddof = true }}\n", "ddof = True in rule '\\*' of .*; expected 0 or 1"),
        (f"{RULE}options = {{ otherwise = 'frsh' }}\n", "unknown method 'frsh'; expected one of 'fresh'"),
        (
            RULE.replace("resample", "copy") + "options = { exact = true }\n",
            "'exact', which copy does not take; expected one of otherwise",
        ),
        (f'ignore = "head/*"\n{RULE}', "is no list of globs"),
        (f"ignore = [3]\n{RULE}", "is no list of globs"),
        (f"adapt = 3\n{RULE}", "adapt of .* is no table"),
        (f"[adapt]\nchanels = 'sum'\n{RULE}", "unknown key 'chanels'; expected one of 'channels'"),
        (f"[adapt]\nchannels = 'some'\n{RULE}", "--channel-mode some; expected one of sum, mean"),
        (f"[adapt]\nchannels = ''\n{RULE}", "--channel-mode ; expected one of sum, mean"),
        (f"[adapt]\nchannels = 1\n{RULE}", "channels = 1 in \\[adapt\\] of .*; expected a str"),
        (f"[adapt]\npick = 'last'\n{RULE}", "--pick last; expected one of first, even, widen"),
        (f"[adapt]\nfold = 1\n{RULE}", "fold = 1 in \\[adapt\\] of .*; expected a bool"),
        (f"[adapt]\nnoise = true\n{RULE}", "noise = True in \\[adapt\\] of .*; expected a float"),
        (f"[adapt]\nnoise = -1\n{RULE}", "noise -1.0; expected 0 or more"),
        (f"[adapt]\nnoise = nan\n{RULE}", "noise nan; expected 0 or more"),
    ],
)
def test_what_does_not_exist_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read_rules(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no rules file .*absent.toml; expected a TOML file; try --explain"
    ):
        read_rules(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="is no TOML"):
        read_rules(tmp_path)
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no TOML"):
        read_rules(tmp_path / "a.toml")


def test_a_file_goes_with_no_mode(tmp_path: Path) -> None:
    path, spec = write(tmp_path, CUSTOM), medzoo.find_model("cbr_tiny")
    for recipe in (Recipe("stats"), Recipe("copy", adaptations=Adaptations(channels="mean"))):
        with pytest.raises(ConfigError, match=r"rules.toml beside a mode's options; .*\[adapt\] table"):
            choose_rules(recipe, spec, file=path)
    # A cut is of the network, and goes with any rules.
    assert choose_rules(Recipe(at="block3"), spec, file=path) == read_rules(path)


def test_only_what_differs_from_the_defaults_is_written() -> None:
    rules = [Rule("head/*", "fresh"), Rule('a"b\\*', "resample", {"exact": True}, (Role.KERNEL, Role.BIAS))]
    assert format_rules(rules, (), Adaptations()) == format_rules(rules)
    text = format_rules(rules, ["x/*"], Adaptations(fold=False))
    assert text.splitlines()[1:] == [
        "ignore = [",
        '    "x/*",',
        "]",
        "",
        "[adapt]",
        "fold = false",
        "",
        "[[rule]]",
        'match = "head/*"',
        'method = "fresh"',
        "",
        "[[rule]]",
        'match = "a\\"b\\\\*"',
        'method = "resample"',
        'roles = ["kernel", "bias"]',
        "options = { exact = true }",
    ]


def test_every_option_of_a_recipe_s_rules_may_be_given_in_a_file() -> None:
    for name, recipe in RECIPES.items():
        for rule in choose_rules(name_stages(recipe, "cbr_tiny"), medzoo.find_model("cbr_tiny")).rules:
            for key, value in rule.options.items():
                known = key == "otherwise" or value in OPTIONS.get(rule.method, {}).get(key, ())
                assert known, (name, rule)


def test_a_rule_set_holds_nothing_by_default() -> None:
    assert RuleSet(()) == RuleSet((), (), Adaptations())
