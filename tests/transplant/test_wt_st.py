"""WT-ST-n/m by the authors' index: how many tensors are copied, drawn and reset at every cut, counted by hand.

Matsoukas et al. 2022: the first units keep their pretrained weights (WT), those above are drawn from their statistics
(ST): kernels and biases each from its own mean and deviation, norms reset to neutral ones, tokens, position embeddings
and tables of relative positions never drawn. The head always starts afresh. Index c keeps the units up to c.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from unread_sources import make_unread

import medzoo
from medzoo.errors import ConfigError
from medzoo.specs import HEAD, Stage, name_stage
from medzoo.tensors import Role
from medzoo.transplant.modes import Recipe, choose_rules
from medzoo.transplant.plan import Plan
from medzoo.transplant.run import make_tensor
from medzoo.transplant.units import find_units, list_units

#: Copied, drawn and started afresh.
Counts = tuple[int, int, int]


def plan_cut(row: str, upto: int | str, seed: int = 0, **options: str) -> Plan:
    """Plan WT-ST of a row with two classes, from a source that cannot be read."""
    target = medzoo.describe(row, classes=2)
    chosen = choose_rules(Recipe("wt-st", upto=str(upto), **options), medzoo.find_model(row))
    return medzoo.make_plan(make_unread(target), target, chosen.rules, seed)


def count_methods(plan: Plan) -> Counts:
    """Count what is copied, drawn and fresh; nothing else may be done."""
    counts = Counter(step.method for step in plan.steps)
    assert set(counts) <= {"copy", "resample", "fresh"}
    return counts["copy"], counts["resample"], counts["fresh"]


#: ResNet50 of keras.applications: 53 convolutions, each of 6 tensors: kernel and bias (drawn), and the 4 of its norm
#: (reset). 1 in the root, 10 in layer 1 (3 blocks of 3 and a projection), 13 in layer 2 (4 blocks), 19 in layer 3 (6),
#: 10 in layer 4 (3). With the head's two there are 53·6 + 2 = 320.
RESNET50: dict[int, Counts] = {
    -2: (0, 106, 214),  # 53·2 drawn; 53·4 norms and the head's 2
    -1: (2, 104, 214),  # the first convolution's kernel and bias; its norm is still reset
    0: (6, 104, 210),  # and its norm's 4
    1: (66, 84, 170),  # 10 convolutions: 60 more copied, 20 fewer drawn, 40 fewer reset
    2: (144, 58, 118),  # 13: 78, 26, 52
    3: (258, 20, 42),  # 19: 114, 38, 76
    4: (318, 0, 2),  # 10: all but the head, WT
}

#: Inception-v3: 94 convolutions without bias, each of 4 tensors: its kernel (drawn) and the 3 of a norm without scale.
#: 5 in the stem; 7 in each of Mixed_5b–d; 4 in Mixed_6a and 10 in each of 6b–e; 6 in Mixed_7a and 9 in each of 7b–c.
INCEPTION_V3: dict[int, Counts] = {
    -2: (0, 94, 284),  # 94·3 and the head's 2
    -1: (4, 93, 281),  # Conv2d_1a
    0: (12, 91, 275),  # 2a and 2b, two at once
    1: (16, 90, 272),  # 3b
    2: (20, 89, 269),  # 4a
    3: (104, 68, 206),  # Mixed_5b–d: 21
    4: (280, 24, 74),  # Mixed_6a–e: 44
    5: (376, 0, 2),  # Mixed_7a–c: 24; WT
}

#: DeiT-S: kernel and bias of the patches, a token and positions, which are copied whatever c is; 12 blocks of 16
#: tensors: two norms (4, reset) and six dense layers (12, drawn: query, key, value, projection, both of the MLP); and a
#: final norm.
DEIT_S: dict[int, Counts] = {
    -2: (2, 2 + 12 * 12, 12 * 4 + 2 + 2),  # token and positions; 146 drawn; norms and the head
    -1: (4, 144, 52),  # the patches' kernel and bias
    **{c: (4 + 16 * (c + 1), 144 - 12 * (c + 1), 52 - 4 * (c + 1)) for c in range(12)},
    12: (198, 0, 2),  # and the final norm; WT
}


def count_swin_t(c: int) -> Counts:
    """Count Swin-T: 2, 2, 6 and 2 blocks of 17 tensors, two norms (4), six dense layers (12) and a table.

    The tables are copied whatever c is. Kernel and bias of the patches and the 2 of their norm; 3 patch mergings of 3
    tensors, a norm (2) and a kernel
    without bias, after the blocks 1, 3 and 9: each is WT from the index after. A final norm.
    """
    blocks, merges = c + 1, sum(c > last for last in (1, 3, 9))
    copied = 12 + 4 + 16 * blocks + 3 * merges
    drawn = 12 * (12 - blocks) + (3 - merges)
    fresh = 4 * (12 - blocks) + 2 * (3 - merges) + 2 + 2
    return copied, drawn, fresh


SWIN_T: dict[int, Counts] = {
    -2: (12, 2 + 12 * 12 + 3, 2 + 12 * 4 + 6 + 2 + 2),  # 12 tables; 149 drawn; 60 reset
    -1: (16, 147, 58),  # the patches with their norm
    **{c: count_swin_t(c) for c in range(12)},
    12: (219, 0, 2),  # and the final norm; WT
}

TABLES = {"resnet50": RESNET50, "inception_v3": INCEPTION_V3, "deit_s16": DEIT_S, "swin_t": SWIN_T}
EVERY_ROW = pytest.mark.parametrize("row", TABLES)


@EVERY_ROW
def test_every_cut_copies_draws_and_resets_what_the_authors_do(row: str) -> None:
    size = len(medzoo.describe(row).tensors)
    for c, counts in TABLES[row].items():
        assert sum(counts) == size
        assert count_methods(plan_cut(row, c)) == counts, c


def test_the_authors_counts_written_out() -> None:
    """Some of the formulas' numbers, added up by hand."""
    assert DEIT_S[0] == (20, 132, 48)
    assert DEIT_S[11] == (196, 0, 4)
    assert (SWIN_T[0], SWIN_T[1]) == ((32, 135, 54), (48, 123, 50))
    assert (SWIN_T[2], SWIN_T[3], SWIN_T[4]) == ((67, 110, 44), (83, 98, 40), (102, 85, 34))
    assert (SWIN_T[9], SWIN_T[10], SWIN_T[11]) == ((182, 25, 14), (201, 12, 8), (217, 0, 4))


@EVERY_ROW
def test_indices_beyond_the_network_are_refused(row: str) -> None:
    first, last = min(TABLES[row]), max(TABLES[row])
    assert first == -2
    for c in (first - 1, last + 1, 99):
        with pytest.raises(ConfigError, match=rf"unit {c} of {row}; expected -2 .* to {last} "):
            plan_cut(row, c)


@EVERY_ROW
def test_what_is_kept_at_an_index_is_kept_at_every_higher_one(row: str) -> None:
    copied = [
        {step.target.name for step in plan_cut(row, c).steps if step.method == "copy"} for c in TABLES[row]
    ]
    assert all(lower < upper for lower, upper in pairwise(copied))


def test_a_resnet_s_first_norm_comes_after_its_convolution() -> None:
    methods = {step.target.name: step.method for step in plan_cut("resnet50", -1).steps}
    assert methods["conv1_conv/kernel"] == methods["conv1_conv/bias"] == "copy"
    assert {methods[f"conv1_bn/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")} == {
        "fresh"
    }


def test_a_swin_s_patch_merging_is_copied_from_the_block_after_its_stage_on() -> None:
    for stage, last in ((1, 1), (2, 3), (3, 9)):
        for c, expected in ((last, False), (last + 1, True)):
            methods = {step.target.name: step.method for step in plan_cut("swin_t", c).steps}
            merging = {name: method for name, method in methods.items() if f"stage{stage}_downsample" in name}
            assert len(merging) == 3
            assert (set(merging.values()) == {"copy"}) == expected, (stage, c)
            assert ("copy" in merging.values()) == expected, (stage, c)


@pytest.mark.parametrize("row", ["deit_s16", "swin_t"])
def test_tokens_positions_and_tables_are_copied_even_where_all_is_drawn(row: str) -> None:
    structure = [step for step in plan_cut(row, -2).steps if step.method == "copy"]
    assert {step.target.role for step in structure} <= {Role.TOKEN, Role.POSITION}
    resampled = Counter(step.method for step in plan_cut(row, -2, tokens="resample").steps)
    assert resampled["copy"] == 0


@EVERY_ROW
def test_a_reset_norm_is_neutral(row: str) -> None:
    """Scale 1, shift 0, moving mean 0, moving variance 1: what each layer's initializer gives."""
    neutral = {Role.NORM_SCALE: 1, Role.NORM_SHIFT: 0, Role.MOVING_MEAN: 0, Role.MOVING_VARIANCE: 1}
    target = medzoo.describe(row, classes=2)
    source = make_unread(target)
    checked = 0
    for step in plan_cut(row, -2).steps:
        if step.method == "fresh" and step.stage != HEAD:
            values = make_tensor(step, source, 0)
            assert np.array_equal(values, np.full(step.target.shape, neutral[step.target.role]))
            checked += 1
    assert checked == TABLES[row][-2][2] - 2


@EVERY_ROW
def test_all_cuts_of_one_seed_share_their_draws(row: str) -> None:
    """One ST network is drawn for each seed, and re-used for every n."""
    source = make_unread(medzoo.describe(row, classes=2))

    def draw(upto: int, seed: int) -> dict[str, bytes]:
        steps = [step for step in plan_cut(row, upto, seed).steps if step.method == "resample"]
        few = [step for step in steps if step.target.size < 300_000][-4:]
        assert len(few) == 4
        return {step.target.name: make_tensor(step, source, seed).tobytes() for step in few}

    last = max(c for c, counts in TABLES[row].items() if counts[1] >= 6)
    whole, above, other = draw(-2, 5), draw(last, 5), draw(last, 6)
    assert whole == above
    assert all(above[name] != other[name] for name in above)


def test_a_cut_shares_its_draws_with_statistics_alone() -> None:
    """Under the lowest index all is ST: nothing is copied but what is never drawn."""
    row = "deit_s16"
    target = medzoo.describe(row, classes=2)
    rules = choose_rules(Recipe("stats"), medzoo.find_model(row)).rules
    alone = medzoo.make_plan(make_unread(target), target, rules)
    assert alone.steps == plan_cut(row, -2).steps


@pytest.mark.parametrize(
    ("row", "stage", "index"),
    [
        ("resnet50", "conv1", 0),
        ("resnet50", "conv3", 2),
        ("inception_v3", "conv2d_2b", 0),
        ("inception_v3", "mixed_6", 4),
        ("deit_s16", "embed", -1),
        ("deit_s16", "block1", 0),
        ("deit_s16", "block12", 11),
        ("swin_t", "embed", -1),
    ],
)
def test_an_index_and_the_stage_that_it_means_make_one_plan(row: str, stage: str, index: int) -> None:
    assert plan_cut(row, stage).steps == plan_cut(row, index).steps


def test_a_block_between_two_indices_may_be_named() -> None:
    copied, drawn, fresh = count_methods(plan_cut("resnet50", "conv2_block1"))
    # The root's 6, and 4 convolutions of the first block with its projection.
    assert (copied, drawn, fresh) == (6 + 24, 104 - 8, 210 - 16)


def test_options_of_statistics_hold_above_the_cut_alone() -> None:
    methods = {step.target.name: step.method for step in plan_cut("resnet50", 1, norm="keep").steps}
    assert {name for name, method in methods.items() if method == "fresh"} == {"head/kernel", "head/bias"}
    shuffled = Counter(step.method for step in plan_cut("resnet50", 1, sampler="shuffle", bias="zero").steps)
    assert shuffled == {"copy": 66, "shuffle": 42, "zero": 42, "fresh": 170}


#: Every row, and networks cut where a unit would be torn: after a patch merging, within the group 2a and 2b.
NETWORKS = [
    *(spec.name for spec in medzoo.list_models()),
    *("swin_t@downsample1", "swin_t@stage2", "inception_v3@conv2d_2a", "resnet50@conv1", "deit_s16@block5"),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_units_hold_every_layer_once_bottom_up(network: str) -> None:
    spec = medzoo.find_model(network)
    tensors = medzoo.describe(spec.row).tensors
    layers = dict.fromkeys(name.rpartition("/")[0] for name in tensors)
    kept = [layer for layer in layers if name_stage(spec.stages, layer) not in ("", HEAD)]
    units = list_units(spec)
    holders = {
        layer: [number for number, unit in enumerate(units) if Stage("unit", unit, "").holds(layer)]
        for layer in kept
    }
    assert {len(numbers) for numbers in holders.values()} == {1}
    # NASNet's last part is an activation, without weights.
    filled = sorted({numbers[0] for numbers in holders.values()})
    assert filled == list(range(len(units) - (spec.family == "nasnet")))
    order = [stage.name for stage in spec.stages]
    stages = [
        max(order.index(name_stage(spec.stages, layer)) for layer in kept if number in holders[layer])
        for number in filled
    ]
    assert stages == sorted(stages)
    assert find_units(spec, -2) == ()
    assert find_units(spec, len(units) - 2) == units
