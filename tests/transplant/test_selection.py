"""Which channels are chosen, by row and by hand; what no choice brings together is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from random_networks import read_source
from thinned_networks import (
    CASES,
    build_attending,
    build_chain,
    build_flattened,
    build_grouped,
    conv,
    finish,
)
from unread_sources import make_unread

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, PlanError
from medzoo.transplant.adaptations import Adaptations
from medzoo.transplant.kept import Kept, choose, keep_heads, keep_in_groups
from medzoo.transplant.ranges import read_indices


@pytest.mark.parametrize(
    ("pick", "size", "count", "expected"),
    [
        ("first", 7, 3, [0, 1, 2]),
        ("even", 12, 4, [0, 3, 6, 9]),
        ("even", 384, 192, list(range(0, 384, 2))),
        ("even", 10, 4, [0, 3, 6, 9]),
        ("even", 12, 5, [0, 3, 6, 8, 11]),  # 0, 2.75, 5.5 (to the even 6), 8.25, 11
        ("even", 8, 3, [0, 4, 7]),  # 3.5 to the even 4
        ("even", 6, 4, [0, 2, 3, 5]),
        ("even", 5, 5, [0, 1, 2, 3, 4]),
        ("even", 5, 1, [0]),
    ],
)
def test_the_rule_of_weight_selection(pick: str, size: int, count: int, expected: list[int]) -> None:
    """Xu et al. 2024: every (size/count)-th where it divides, else `round(linspace(0, size − 1, count))`."""
    assert choose(pick, size, count).tolist() == expected


@pytest.mark.parametrize(
    ("reaching", "made", "expected"),
    [
        ([0, 1, 4, 5], [0, 1, 4, 5], [0, 1]),
        ([0, 3, 4, 7], [2, 3, 6, 7], [0, 3]),
        ([0, 1, 4, 6], [0, 1, 4, 5], None),  # other channels of each group
        ([0, 4, 4, 0], [0, 1, 4, 5], None),  # of both groups in one
        ([0, 4, 0, 4], [0, 1, 0, 1], None),  # the same, in both alike
        ([0, 1, 4, 5], [4, 5, 0, 1], None),  # what the other group makes
        ([0, 1, 4, 5], [0, 4, 1, 5], None),  # what both groups make
        ([0, 1, 4, 5], [0, 1, 4], None),  # not as much in each group
        ([0, 1, 4], [0, 1], None),
    ],
)
def test_one_kernel_serves_all_groups(
    reaching: list[int], made: list[int], expected: list[int] | None
) -> None:
    """Eight channels in two groups of four, of which two groups of two are kept."""
    kept = keep_in_groups(Kept(8, np.array(reaching)), Kept(8, np.array(made)), size=4, count=2)
    assert (None if kept is None else kept.indices.tolist()) == expected


@pytest.mark.parametrize(
    ("reaching", "expected"), [([0, 1, 4, 5], [0, 2]), ([2, 4, 0, 1], None), ([0, 1, 2], None)]
)
def test_heads_are_kept_whole(reaching: list[int], expected: list[int] | None) -> None:
    kept = keep_heads(Kept(6, np.array(reaching)), size=3, count=2)
    assert (None if kept is None else kept.indices.tolist()) == expected


def find_ranges(source: str, target: str, **options: Any) -> dict[str, tuple[str, ...]]:
    """Plan a weight selection between two rows, whose values nobody reads, and give every step's ranges."""
    plan = medzoo.make_plan(
        make_unread(medzoo.describe(source)),
        medzoo.describe(target),
        recipes.select(),
        adaptations=Adaptations(pick="even"),
        **options,
    )
    assert all(step.uses_source for step in plan.steps if not step.target.name.startswith("head"))
    return {step.target.name: step.ranges for step in plan.steps}


def test_weight_selection_keeps_whole_heads_of_a_transformer() -> None:
    """deit_s16 has six heads of 64 channels, deit_ti16 three: every second head, every second embedded channel."""
    ranges = find_ranges("deit_s16", "deit_ti16")
    embedded, heads, hidden = "0:384:2", "0:64,128:192,256:320", "0:1536:2"
    for block in range(1, 13):
        for part in ("query", "key", "value"):
            assert ranges[f"block{block}_{part}/kernel"] == (embedded, heads)
            assert ranges[f"block{block}_{part}/bias"] == (heads,)
        assert ranges[f"block{block}_projection/kernel"] == (heads, embedded)
        assert ranges[f"block{block}_mlp1/kernel"] == (embedded, hidden)
        assert ranges[f"block{block}_mlp2/kernel"] == (hidden, embedded)
        assert ranges[f"block{block}_norm1/gamma"] == (embedded,)
    assert ranges["patch_embed/kernel"] == ("", "", "", embedded)
    assert ranges["tokens/cls_token"] == ("", "", embedded)
    assert ranges["positions/pos_embed"] == ("", "", embedded)
    assert ranges["norm/beta"] == (embedded,)
    assert ranges["head/kernel"] == ranges["head/bias"] == ()


def test_weight_selection_of_windows_keeps_their_heads_tables() -> None:
    """Swin's heads are 32 wide at every width; the tables of relative positions have a column for each."""
    ranges = find_ranges("swin_t+width=2", "swin_t")
    heads = ",".join(f"{64 * head}:{64 * head + 32}" for head in range(3))
    assert ranges["stage1_block1_query/kernel"] == ("0:192:2", heads)
    assert ranges["stage1_block1_positions/relative_position_bias_table"] == ("", "0:6:2")
    assert ranges["stage1_block1_projection/kernel"] == (heads, "0:192:2")
    # Four places' channels, one after the other.
    assert ranges["stage1_downsample_norm/gamma"] == ("0:768:2",)
    assert ranges["stage1_downsample_reduction/kernel"] == ("0:768:2", "0:384:2")


def test_weight_selection_takes_the_first_layers_of_a_deeper_and_wider_network() -> None:
    """ConvNeXt-B (3-3-27-3, 128 to 1024 channels) into ConvNeXt-T (3-3-9-3, 96 to 768)."""
    with pytest.raises(PlanError, match="have no place in the target"):
        find_ranges("convnext_base", "convnext_tiny")
    ranges = find_ranges("convnext_base", "convnext_tiny", ignore=("*",))
    expected = [round(index * 127 / 95 + 1e-12) for index in range(96)]
    kept = read_indices(ranges["stem_conv/kernel"][3], 128)
    assert kept.tolist() == expected
    embedded = ranges["stem_conv/kernel"][3]
    assert ranges["stage_0_block_2_depthwise_conv/kernel"] == ("", "", "", embedded)
    assert ranges["stage_0_block_2_layer_scale/gamma"] == (embedded,)
    assert ranges["stage_0_block_2_pointwise_conv_1/kernel"][0] == embedded
    assert set(ranges) == set(medzoo.describe("convnext_tiny").tensors)


def plan_between(wide: keras.Model, narrow: keras.Model, pick: str = "first") -> medzoo.Plan:
    """Plan a copy from one network into another."""
    return medzoo.make_plan(
        read_source(wide), medzoo.describe(narrow), recipes.copy(), adaptations=Adaptations(pick=pick)
    )


def build_mixed(width: int) -> keras.Model:
    """Turn channels around where nobody can see it."""
    image = keras.Input((4, 4, 3))
    turned = layers.Lambda(lambda features: features[..., ::-1], output_shape=(4, 4, width))
    return finish(image, conv(2, "b")(turned(conv(width, "a")(image))))


def build_summed_otherwise(*widths: int) -> keras.Model:
    """Add two concatenations whose parts are not as wide."""
    image = keras.Input((4, 4, 3))
    made = [conv(width, name)(image) for width, name in zip(widths, "abcd", strict=True)]
    return finish(image, layers.Add()([layers.Concatenate()(made[:2]), layers.Concatenate()(made[2:])]))


def build_two_filters(filters: int) -> keras.Model:
    """Filter each channel several times."""
    image = keras.Input((4, 4, 3))
    features = layers.DepthwiseConv2D(3, depth_multiplier=filters, name="b")(conv(4, "a")(image))
    return finish(image, features)


def build_subclassed(width: int) -> keras.Model:
    """Make a network whose graph nobody sees."""

    class Subclassed(keras.Model):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.first, self.last = layers.Dense(width, name="a"), layers.Dense(2, name="b")

        def call(self, inputs: Any) -> Any:
            return self.last(self.first(inputs))

    network = Subclassed(name="network")
    network(np.zeros((1, 4), "float32"))
    return network


def build_heads(heads: int, width: int) -> keras.Model:
    return build_attending({"query": width, "key": width, "value": width, "heads": heads, "hidden": 4})


REFUSED: dict[str, tuple[Callable[[], tuple[keras.Model, keras.Model]], str]] = {
    "mixed": (lambda: (build_mixed(6), build_mixed(4)), "channels of a are mixed in an unknown order"),
    "wider": (
        lambda: (build_chain({"a": 3, "b": 4, "c": 4}), build_chain({"a": 4, "b": 4, "c": 4})),
        "'a' makes 3 channels in the source, 4 here.*as many or fewer.*--mode widen",
    ),
    "heads of another width": (
        lambda: (build_heads(5, 10), build_heads(3, 9)),
        "'query' makes 10 channels in the source, 9 here, 3 heads or groups of 3",
    ),
    "sums of other parts": (
        lambda: (build_summed_otherwise(4, 4, 6, 2), build_summed_otherwise(2, 2, 3, 1)),
        "a, b, c are summed, and would keep other channels each",
    ),
    "fewer filters": (
        lambda: (build_two_filters(4), build_two_filters(2)),
        "'b/kernel': 4 on axis 3 in the source, 2 here, and no choice is known",
    ),
    "without a graph": (
        lambda: (build_subclassed(5), build_subclassed(3)),
        "'network/b/kernel': 5 on axis 0 in the source, 3 here, and no choice is known",
    ),
    "other groups": (
        lambda: (
            build_grouped({"a": 12, "A": 12, "b": 12, "c": 3, "groups": 2}),
            build_grouped({"a": 12, "A": 12, "b": 6, "c": 3, "groups": 3}),
        ),
        "'b' makes 12 channels in the source, 6 here, 3 heads or groups of 2",
    ),
    "groups of equal kernels": (
        lambda: (
            build_grouped({"a": 8, "A": 8, "b": 8, "c": 3, "groups": 4}),
            build_grouped({"a": 4, "A": 4, "b": 8, "c": 3, "groups": 2}),
        ),
        "'b/kernel' has groups of 2 channels in the source and of 2 here, which would not keep",
    ),
    "as many values in another order": (
        lambda: (build_flattened({"a": 8, "b": 4}), build_flattened({"a": 2, "b": 4}, size=16)),
        "'b/kernel': axis 0 has 32 in the source and 32 here; what reaches it, 128 and 32",
    ),
    "another window": (
        lambda: (
            build_chain({"a": 4, "b": 4, "c": 4}),
            finish(image := keras.Input((8, 8, 3)), conv(4, "a", 5)(image)),
        ),
        "'a/kernel': 3 on axis 0 in the source, 5 here, and no choice is known",
    ),
    "another image before a flattening": (
        lambda: (build_flattened({"a": 4, "b": 4}), build_flattened({"a": 4, "b": 4}, size=16)),
        "'b/kernel': axis 0 has 16 in the source and 64 here; what reaches it, 64 and 64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_choice_brings_together_is_refused(name: str) -> None:
    build, found = REFUSED[name]
    with pytest.raises(PlanError, match=found) as error:
        plan_between(*build())
    assert "\n" not in str(error.value)


def test_another_way_to_pick_is_refused() -> None:
    case = CASES["chain"]
    with pytest.raises(ConfigError, match=r"--pick last; expected one of first, even, widen"):
        plan_between(case.build(case.wide), case.build(case.narrow), pick="last")
