"""Stages: which layers one holds, and where a network is split."""

from __future__ import annotations

import pytest

from medzoo.errors import ConfigError
from medzoo.specs import Stage, find_stage, name_stage

BLOCKS = (Stage("b_block1", "b_block1_*", "b_block1_out"), Stage("b_block2", "b_block2_*", "b_block2_out"))
STAGES = (
    Stage("a", "a_*|a", "a_out"),
    Stage("b", "b_*", "b_block2_out", BLOCKS),
    Stage("head", "head|head_*", "head"),
)


@pytest.mark.parametrize(
    ("layer", "stage"),
    [("a", "a"), ("a_conv", "a"), ("b_block2_out", "b"), ("head", "head"), ("A_conv", ""), ("c", "")],
)
def test_globs_tell_the_stage_of_a_layer(layer: str, stage: str) -> None:
    assert name_stage(STAGES, layer) == stage


@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("a", ["a"], ["b", "head"]),
        ("b", ["a", "b"], ["head"]),
        ("b_block1", ["a", "b_block1"], ["b_block2", "head"]),
        ("b_block2", ["a", "b_block1", "b_block2"], ["head"]),
        ("head", ["a", "b", "head"], []),
    ],
)
def test_a_network_is_split_after_a_stage_or_a_block(name: str, below: list[str], above: list[str]) -> None:
    kept, rest = find_stage(STAGES, name)
    assert [stage.name for stage in kept] == below
    assert [stage.name for stage in rest] == above


def test_an_unknown_stage_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no stage 'b_block3' in this network; expected one of 'b_block"):
        find_stage(STAGES, "b_block3")
