"""Carrying a plan out: into files and models, whole or not at all; recorded, replayed, compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, PlanError, WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import Source, Target
from medzoo.transplant.plan import Plan
from medzoo.transplant.run import check_output, digest_tensor, record_path, run

OUTPUTS = pytest.mark.parametrize("name", ["a.weights.h5", "a.safetensors"])
TARGET = medzoo.describe("cbr_tiny", classes=2, channels=1)


@pytest.fixture
def plan(tiny: Source) -> Plan:
    rules = recipes.transfusion(medzoo.find_model("cbr_tiny").stages, upto="block1")
    return medzoo.make_plan(tiny, TARGET, rules, seed=3)


def one_line(error: pytest.ExceptionInfo[Any]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@OUTPUTS
def test_the_file_holds_what_run_yields(tmp_path: Path, plan: Plan, tiny: Source, name: str) -> None:
    record = medzoo.write(plan, tiny, TARGET, tmp_path / name)
    assert record == tmp_path / "a.plan.json"
    assert sorted([path.name for path in tmp_path.iterdir()]) == sorted(["a.plan.json", name])
    written = medzoo.open_weights(tmp_path / name)
    assert set(written) == {step.target.name for step in plan.steps}
    for tensor, values in run(plan, tiny):
        assert np.asarray(written[tensor]).tobytes() == values.tobytes()


def test_our_safetensors_are_read_by_their_own_library(tmp_path: Path, plan: Plan, tiny: Source) -> None:
    medzoo.write(plan, tiny, TARGET, tmp_path / "a.safetensors")
    loaded = load_file(tmp_path / "a.safetensors")
    assert {name: v.tobytes() for name, v in loaded.items()} == {n: v.tobytes() for n, v in run(plan, tiny)}


@OUTPUTS
def test_writing_twice_gives_the_same_bytes(tmp_path: Path, plan: Plan, tiny: Source, name: str) -> None:
    for folder in ("one", "two"):
        medzoo.write(plan, tiny, TARGET, tmp_path / folder / name)
    assert digest_file(tmp_path / "one" / name) == digest_file(tmp_path / "two" / name)


def test_the_record_reads_back_as_the_plan(tmp_path: Path, plan: Plan, tiny: Source) -> None:
    record = medzoo.read_plan(medzoo.write(plan, tiny, TARGET, tmp_path / "a.weights.h5"))
    assert record.plan == plan
    assert record.numpy == np.__version__
    assert record.output_digest == digest_file(tmp_path / "a.weights.h5")
    assert record.digests == {name: digest_tensor(values) for name, values in run(plan, tiny)}


@OUTPUTS
def test_a_replay_makes_every_tensor_again(tmp_path: Path, plan: Plan, tiny: Source, name: str) -> None:
    record = medzoo.read_plan(medzoo.write(plan, tiny, TARGET, tmp_path / "a.weights.h5"))
    again = medzoo.write(record.plan, tiny, TARGET, tmp_path / "again" / name, expected=record.digests)
    assert medzoo.read_plan(again).digests == record.digests


def test_a_replay_from_another_source_is_refused(
    tmp_path: Path, plan: Plan, tiny_arrays: dict[str, np.ndarray]
) -> None:
    arrays = tiny_arrays | {"block1_bn/beta": tiny_arrays["block1_bn/beta"] + 1}
    other = medzoo.source_from_arrays(arrays, origin="other")
    with pytest.raises(PlanError, match=r"other has digest sha256:.*; expected .*sha256:") as error:
        medzoo.write(plan, other, TARGET, tmp_path / "a.weights.h5")
    assert "--src" in one_line(error)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_plan_that_takes_nothing_needs_no_source(plan: Plan, tiny: Source) -> None:
    fresh = medzoo.make_plan(tiny, TARGET, recipes.random(), seed=3)
    nothing = medzoo.source_from_arrays({}, origin="none")
    made = {name: values.tobytes() for name, values in run(fresh, nothing)}
    assert made == {name: values.tobytes() for name, values in run(fresh, tiny)}


def test_one_changed_bit_of_a_value_is_found(tmp_path: Path, plan: Plan, tiny_arrays: dict) -> None:
    np.savez(tmp_path / "a.npz", **tiny_arrays)
    source = medzoo.open_weights(tmp_path / "a.npz")
    planned = replace(plan, source_digest=source.digest, origin=source.origin)
    record = medzoo.read_plan(medzoo.write(planned, source, TARGET, tmp_path / "one.weights.h5"))
    changed = tiny_arrays["block1_conv/kernel"].copy()
    changed.view("uint32")[2, 2, 0, 0] ^= 1 << 20
    tampered = medzoo.source_from_arrays(tiny_arrays | {"block1_conv/kernel": changed})
    # Even where the plan's own digest of the source is changed with it, the tensors' digests tell.
    forged = replace(record.plan, source_digest=tampered.digest)
    with pytest.raises(PlanError, match=r"1 of 22 tensors differ .*first 'block1_conv/kernel'"):
        medzoo.write(forged, tampered, TARGET, tmp_path / "two.weights.h5", expected=record.digests)
    assert not list(tmp_path.glob("two*"))


# --- damaged plans -------------------------------------------------------------------------------------------


@pytest.fixture
def content(tmp_path: Path, plan: Plan, tiny: Source) -> dict[str, Any]:
    record = medzoo.write(plan, tiny, TARGET, tmp_path / "a.weights.h5")
    return json.loads(record.read_text(encoding="utf-8"))


def _first(content: dict[str, Any], key: str, value: object) -> None:
    content["steps"][0][key] = value


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no plan": lambda plan: plan.update(format="something else"),
    "no steps": lambda plan: plan.pop("steps"),
    "no seed": lambda plan: plan.pop("seed"),
    "a seed that is no number": lambda plan: plan.update(seed="many"),
    "steps that are no list": lambda plan: plan.update(steps=3),
    "an unknown method": lambda plan: _first(plan, "method", "melt"),
    "an unknown role": lambda plan: plan["steps"][0]["target"].update(role="spice"),
    "no shape": lambda plan: plan["steps"][0]["target"].pop("shape"),
    "no source for a copy": lambda plan: _first(plan, "source", None),
    "no digest": lambda plan: plan["steps"][0].pop("digest"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_plan_is_refused(tmp_path: Path, content: dict[str, Any], damage: str) -> None:
    path = tmp_path / "b.plan.json"
    path.write_text(json.dumps(content))
    medzoo.read_plan(path)
    DAMAGES[damage](content)
    path.write_text(json.dumps(content))
    with pytest.raises(
        PlanError, match=r"is no whole plan; expected a plan.json that `medzoo transplant` wrote"
    ):
        medzoo.read_plan(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "<html>", '{"format": "medzoo plan"}', "\x00\xff"])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(PlanError, match="is no whole plan") as error:
        medzoo.read_plan(tmp_path / "b.json")
    one_line(error)


def test_a_missing_plan_and_a_later_one_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=r"no plan file .*c.json"):
        medzoo.read_plan(tmp_path / "c.json")
    (tmp_path / "b.json").write_text(json.dumps(content | {"version": 3}))
    with pytest.raises(PlanError, match="a plan of version 3; expected version 2"):
        medzoo.read_plan(tmp_path / "b.json")


def test_a_plan_whose_shapes_were_changed_is_refused(tmp_path: Path, content: dict, tiny: Source) -> None:
    content["steps"][1]["target"]["shape"] = [31]
    (tmp_path / "b.json").write_text(json.dumps(content))
    changed = medzoo.read_plan(tmp_path / "b.json").plan
    with pytest.raises(PlanError, match="the plan's tensors are not the target's"):
        medzoo.write(changed, tiny, TARGET, tmp_path / "b.weights.h5")
    with pytest.raises(PlanError, match="'block1_bn/gamma' would get 32 values; expected 31 as planned"):
        dict(run(changed, tiny))


# --- nothing is ever half written ----------------------------------------------------------------------------


def nan_source(arrays: dict[str, np.ndarray], value: float) -> Source:
    kernel = arrays["block2_conv/kernel"].copy()
    kernel[-1, -1, -1, -1] = value
    return medzoo.source_from_arrays(arrays | {"block2_conv/kernel": kernel}, origin="bad")


@OUTPUTS
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_leaves_nothing(
    tmp_path: Path, tiny_arrays: dict[str, np.ndarray], name: str, value: float
) -> None:
    source = nan_source(tiny_arrays, value)
    plan = medzoo.make_plan(source, TARGET, recipes.copy())
    with pytest.raises(PlanError, match="'block2_conv/kernel' would hold NaN or infinity"):
        medzoo.write(plan, source, TARGET, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == []


@OUTPUTS
def test_a_failure_leaves_the_earlier_output(
    tmp_path: Path, plan: Plan, tiny: Source, tiny_arrays: dict[str, np.ndarray], name: str
) -> None:
    medzoo.write(plan, tiny, TARGET, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    bad = nan_source(tiny_arrays, np.nan)
    with pytest.raises(PlanError):
        medzoo.write(medzoo.make_plan(bad, TARGET, recipes.copy()), bad, TARGET, tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@OUTPUTS
def test_a_source_cut_off_after_it_was_opened_leaves_nothing(
    tmp_path: Path, tiny_arrays: dict[str, np.ndarray], name: str
) -> None:
    np.savez(tmp_path / "s.npz", **tiny_arrays)
    source = medzoo.open_weights(tmp_path / "s.npz")
    plan = medzoo.make_plan(source, TARGET, recipes.copy())
    content = bytearray((tmp_path / "s.npz").read_bytes())
    content[2_000_000:2_100_000] = bytes(100_000)
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(WeightsError, match=r"s.npz is damaged in the values from byte \d+"):
        medzoo.write(plan, source, TARGET, tmp_path / "out" / name)
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


@OUTPUTS
def test_another_target_s_plan_is_refused(tmp_path: Path, plan: Plan, tiny: Source, name: str) -> None:
    for target in (
        medzoo.describe("cbr_tiny", classes=3, channels=1),
        medzoo.describe("cbr_small", classes=2, channels=1),
        replace(TARGET, tensors=dict(list(TARGET.tensors.items())[:-1])),
    ):
        with pytest.raises(PlanError, match="the plan's tensors are not the target's"):
            medzoo.write(plan, tiny, target, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["a.hdf5", "a.npz", "a", "a.weights.h5.txt"])
def test_no_other_suffixes_are_written(tmp_path: Path, plan: Plan, tiny: Source, name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a name ending in .weights.h5, .safetensors or .h5"):
        medzoo.write(plan, tiny, TARGET, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_target_without_a_layout_is_written_as_safetensors_only(tmp_path: Path, tiny: Source) -> None:
    foreign = Target(TARGET.tensors, TARGET.feeds, {})
    plan = medzoo.make_plan(tiny, foreign, recipes.copy())
    with pytest.raises(PlanError, match=r"layout in a .weights.h5 is not known.*--out FILE.safetensors"):
        medzoo.write(plan, tiny, foreign, tmp_path / "a.weights.h5")
    assert [path.name for path in tmp_path.iterdir()] == []
    medzoo.write(plan, tiny, foreign, tmp_path / "a.safetensors")


# --- check_output --------------------------------------------------------------------------------------------


@OUTPUTS
def test_the_same_output_is_recognised(tmp_path: Path, plan: Plan, tiny: Source, name: str) -> None:
    path = tmp_path / name
    assert check_output(plan, path) is False
    medzoo.write(plan, tiny, TARGET, path)
    assert check_output(plan, path) is True
    assert check_output(plan, path) is True
    with pytest.raises(ConfigError, match=r"exists and holds something else; .*--overwrite"):
        check_output(replace(plan, seed=4), path)


def test_a_changed_output_is_recognised(tmp_path: Path, plan: Plan, tiny: Source) -> None:
    path = tmp_path / "a.weights.h5"
    medzoo.write(plan, tiny, TARGET, path)
    with h5py.File(path, "r+") as file:
        file["layers/dense/vars/1"][0] = 5
    with pytest.raises(ConfigError, match=r"a.weights.h5 exists and holds something else"):
        check_output(plan, path)


def test_files_of_other_origin_are_not_taken_for_ours(tmp_path: Path, plan: Plan, tiny: Source) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"a.weights.h5 exists"):
        check_output(plan, path)
    path.unlink()
    record_path(path).write_text("mine")
    with pytest.raises(ConfigError, match=r"a.plan.json exists"):
        check_output(plan, path)


def test_a_plan_whose_weights_were_deleted_is_done_again(tmp_path: Path, plan: Plan, tiny: Source) -> None:
    path = tmp_path / "a.weights.h5"
    medzoo.write(plan, tiny, TARGET, path)
    path.unlink()
    assert check_output(plan, path) is False


def test_digests_tell_dtype_shape_and_values_apart() -> None:
    values = np.arange(4, dtype="float32")
    others = [values.reshape(2, 2), values.view("int32"), values + 1, values[:0], values.astype("float64")]
    assert len({digest_tensor(v) for v in [values, *others]}) == 6
    assert digest_tensor(np.asfortranarray(values.reshape(2, 2))) == digest_tensor(values.reshape(2, 2))


def test_values_are_cast_to_the_target_s_dtype(tmp_path: Path, tiny_arrays: dict) -> None:
    save_file({n: v.astype("float16") for n, v in tiny_arrays.items()}, tmp_path / "half.safetensors")
    source = medzoo.open_weights(tmp_path / "half.safetensors")
    target = medzoo.describe("cbr_tiny", classes=5)
    for name, values in run(medzoo.make_plan(source, target, recipes.copy()), source):
        assert values.dtype == "float32"
        assert np.array_equal(values, tiny_arrays[name].astype("float16"))
