"""Every tensor of a written file is made again: one flipped bit is found and named, and nothing else is."""

from __future__ import annotations

import json
import struct
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import medzoo
from medzoo import recipes
from medzoo.errors import MedzooError, PlanError, WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import Source, Target
from medzoo.transplant import run as carrying
from medzoo.transplant.plan import Plan, Rule
from medzoo.transplant.replay import open_planned
from medzoo.transplant.run import record_path
from medzoo.transplant.verification import describe_verification, verify_output
from medzoo.weights.cards import find_card
from medzoo.weights.downloads import cached_path

FORMATS = ("a.weights.h5", "a.safetensors", "a.h5")
EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)
TARGET = medzoo.describe("cbr_tiny", classes=2, channels=3)


@pytest.fixture
def source(tiny_arrays: dict[str, np.ndarray], tmp_path: Path) -> Source:
    save_file(tiny_arrays, tmp_path / "source.safetensors")
    return medzoo.open_weights(tmp_path / "source.safetensors")


@pytest.fixture
def written(source: Source, tmp_path: Path) -> Callable[[str], Path]:
    """Write copied, resampled and fresh tensors in one of the formats."""

    def write(name: str) -> Path:
        kernels = Rule("block[34]_conv/*", "resample")
        rules = (kernels, *recipes.transfusion(medzoo.find_model("cbr_tiny").stages, upto="block2"))
        plan = medzoo.make_plan(source, TARGET, rules, seed=5)
        assert {step.method for step in plan.steps} == {"copy", "resample", "fresh"}
        medzoo.write(plan, source, TARGET, tmp_path / name)
        return tmp_path / name

    return write


def find_values(path: Path, tensor: str) -> int:
    """Find at which byte of a file a tensor's values begin."""
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            return 8 + length + json.loads(stream.read(length))[tensor]["data_offsets"][0]
    with h5py.File(path) as file:
        place = (
            TARGET.storage[tensor]
            if path.name.endswith(".weights.h5")
            else f"{tensor.split('/')[0]}/{tensor}:0"
        )
        return file[place].id.get_offset()


def flip(path: Path, position: int, bit: int) -> None:
    """Flip one bit of one byte of a file."""
    with path.open("r+b") as stream:
        stream.seek(position)
        (value,) = stream.read(1)
        stream.seek(position)
        stream.write(bytes([value ^ 1 << bit]))


@EVERY_FORMAT
def test_an_untouched_file_agrees_throughout(written: Callable, source: Source, name: str) -> None:
    path = written(name)
    found = verify_output(path, source)
    assert found.is_whole
    assert set(found.agreeing) == set(TARGET.tensors)
    assert found.differing == found.unrecorded == ()
    assert found.found == found.expected == digest_file(path)
    assert str(found) == f"{path}: all 22 tensors are those made again from {source.origin} and a.plan.json"
    assert json.loads(json.dumps(describe_verification(found)))["agreeing"] == 22


@EVERY_FORMAT
@pytest.mark.parametrize(
    ("tensor", "index", "bit"),
    [
        ("block1_conv/kernel", 2399, 0),  # the last bit of the last copied value
        ("block3_conv/kernel", 0, 7),  # resampled
        ("head/bias", 1, 3),  # fresh, all zeros
        ("block2_bn/moving_variance", 17, 6),
    ],
)
def test_one_flipped_bit_is_named_and_nothing_else(
    written: Callable, source: Source, name: str, tensor: str, index: int, bit: int
) -> None:
    path = written(name)
    flip(path, find_values(path, tensor) + 4 * index, bit)
    found = verify_output(path, source)
    assert [verdict.name for verdict in found.differing] == [tensor]
    size = TARGET.tensors[tensor].size
    assert (found.differing[0].differing, found.differing[0].values) == (1, size)
    assert len(found.agreeing) == 21
    assert found.unrecorded == ()
    assert found.found != found.expected
    assert not found.is_whole
    assert f"{tensor}: 1 of {size:,} values differ" in str(found).splitlines()


def test_the_sign_of_zero_counts(written: Callable, source: Source) -> None:
    path = written("a.safetensors")
    flip(path, find_values(path, "head/bias") + 3, 7)
    assert np.asarray(medzoo.open_weights(path)["head/bias"])[0] == 0
    assert [verdict.name for verdict in verify_output(path, source).differing] == ["head/bias"]


@EVERY_FORMAT
def test_a_forged_record_does_not_help(written: Callable, source: Source, name: str) -> None:
    """The file's new digest and the tensor's are written into the record: making the tensor again still tells."""
    path = written(name)
    flip(path, find_values(path, "block2_conv/kernel"), 1)
    record = record_path(path)
    content = json.loads(record.read_text(encoding="utf-8"))
    stored = np.asarray(medzoo.open_weights(path, dialect="keras")["block2_conv/kernel"])
    content["output_digest"] = digest_file(path)
    for step in content["steps"]:
        if step["target"]["name"] == "block2_conv/kernel":
            step["digest"] = carrying.digest_tensor(stored)
    record.write_text(json.dumps(content), encoding="utf-8")
    found = verify_output(path, source)
    assert found.found == found.expected
    assert [verdict.name for verdict in found.differing] == ["block2_conv/kernel"]
    assert found.unrecorded == ("block2_conv/kernel",)


def test_a_digest_that_was_recorded_otherwise_is_told_apart(written: Callable, source: Source) -> None:
    path = written("a.weights.h5")
    record = record_path(path)
    content = json.loads(record.read_text(encoding="utf-8"))
    content["steps"][0]["digest"] = "0" * 64
    record.write_text(json.dumps(content), encoding="utf-8")
    found = verify_output(path, source)
    assert found.differing == ()
    assert found.unrecorded == ("block1_conv/kernel",)
    assert not found.is_whole
    assert "have not the digests that the plan recorded, first block1_conv/kernel" in str(found)


def test_what_only_the_file_s_frame_holds_is_told_by_its_digest(written: Callable, source: Source) -> None:
    path = written("a.weights.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "another's"
    found = verify_output(path, source)
    assert found.differing == found.unrecorded == ()
    assert not found.is_whole
    assert "the file has sha256:" in str(found)


def test_absent_and_unplanned_tensors_and_other_shapes_are_named(written: Callable, source: Source) -> None:
    path = written("a.safetensors")
    tensors = load_file(path)
    del tensors["block1_bn/beta"]
    tensors["other/kernel"] = np.ones(3, "float32")
    tensors["block2_bn/gamma"] = tensors["block2_bn/gamma"][:-1]
    tensors["block3_bn/gamma"] = tensors["block3_bn/gamma"].astype("float64")
    tensors["block4_bn/gamma"] = tensors["block4_bn/gamma"] + 1
    save_file(tensors, path)
    verdicts = {verdict.name: verdict for verdict in verify_output(path, source).differing}
    assert {name: verdict.state for name, verdict in verdicts.items()} == {
        "block1_bn/beta": "absent",
        "other/kernel": "unplanned",
        "block2_bn/gamma": "differs",
        "block3_bn/gamma": "differs",
        "block4_bn/gamma": "differs",
    }
    assert verdicts["block2_bn/gamma"].reason == "63 in the file, 64 by the plan"
    assert verdicts["block3_bn/gamma"].reason == "float64 in the file, float32 by the plan"
    assert verdicts["block4_bn/gamma"].differing == 256


def test_values_that_lie_across_blocks_are_counted_once(source: Source, written: Callable) -> None:
    """A file may be read in blocks that end within a value."""
    from medzoo.transplant.verification import _count_differing

    values = np.arange(6, dtype="float32")
    bits = values.view("uint32").copy()
    bits[[1, 2, 5]] ^= 0xFFFFFFFF  # every byte of the value, on both sides of a block's end
    stored = bits.tobytes()

    def read_blocks() -> Iterator[memoryview]:
        yield from (memoryview(stored[start : start + 6]) for start in range(0, len(stored), 6))

    tensor = replace(source["head/bias"], read_blocks=read_blocks)
    assert _count_differing(values, tensor) == 3


def test_another_source_is_refused(written: Callable, tiny_arrays: dict[str, np.ndarray]) -> None:
    other = medzoo.source_from_arrays({n: v + 1 for n, v in tiny_arrays.items()}, origin="other")
    with pytest.raises(PlanError, match=r"other has digest sha256:.*; try --src"):
        verify_output(written("a.weights.h5"), other)


def test_a_file_of_a_plan_that_takes_nothing_needs_no_source(tiny: Source, tmp_path: Path) -> None:
    plan = medzoo.make_plan(tiny, TARGET, recipes.random(), seed=1)
    medzoo.write(plan, tiny, TARGET, tmp_path / "a.weights.h5")
    assert verify_output(tmp_path / "a.weights.h5").is_whole


def test_values_that_are_not_finite_are_compared_as_bits(
    tiny_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    beta = tiny_arrays["block1_bn/beta"].copy()
    beta[3] = np.nan
    save_file(tiny_arrays | {"block1_bn/beta": beta}, tmp_path / "nan.safetensors")
    source = medzoo.open_weights(tmp_path / "nan.safetensors")
    path = tmp_path / "a.safetensors"
    plan = medzoo.make_plan(source, TARGET, recipes.copy())
    medzoo.write(plan, source, TARGET, path, allow_nonfinite=True)
    assert verify_output(path, source).is_whole
    flip(path, find_values(path, "block1_bn/beta") + 4 * 3, 0)
    found = verify_output(path, source)
    assert [(verdict.name, verdict.differing) for verdict in found.differing] == [("block1_bn/beta", 1)]


REFUSALS: dict[str, Callable[[Path], object]] = {
    "no weights file": lambda path: path.unlink(),
    "no plan file": lambda path: record_path(path).unlink(),
    "no whole plan": lambda path: record_path(path).write_text("{}"),
    "damaged": lambda path: path.write_bytes(path.read_bytes()[:9000]),
    "is empty": lambda path: path.write_bytes(b""),
}


@EVERY_FORMAT
@pytest.mark.parametrize("words", REFUSALS)
def test_bad_input_is_refused_in_one_line(written: Callable, source: Source, name: str, words: str) -> None:
    path = written(name)
    REFUSALS[words](path)
    with pytest.raises(MedzooError, match=words if words != "damaged" else ".") as error:
        verify_output(path, source)
    assert "\n" not in str(error.value)
    assert "a." in str(error.value)


def test_one_tensor_at_a_time_is_in_memory(
    written: Callable, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("a.weights.h5")
    alive: set[int] = set()
    most = []
    make = carrying.make_tensor

    def counted(*arguments: object, **options: object) -> np.ndarray:
        most.append(len(alive))
        values = make(*arguments, **options).copy()  # type: ignore[arg-type]
        alive.add(key := len(most))
        weakref.finalize(values, alive.discard, key)
        return values

    monkeypatch.setattr(carrying, "make_tensor", counted)
    assert verify_output(path, source).is_whole
    assert most == [0] * 22


# --- the source of a plan, opened again --------------------------------------------------------------------


def refuse(plan: Plan) -> Target:
    raise AssertionError("the network was described though the file names its tensors")


def test_a_source_is_opened_as_the_plan_read_it(written: Callable, source: Source) -> None:
    plan = medzoo.read_plan(record_path(written("a.weights.h5"))).plan
    opened = open_planned(plan, None, refuse)
    assert opened.origin == source.origin
    assert opened.digest == plan.source_digest
    assert open_planned(plan, None, refuse, source.origin).digest == plan.source_digest


def test_a_tag_is_opened_as_moments_where_these_are_enough() -> None:
    source = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    plan = medzoo.make_plan(source, medzoo.describe("mobilenet_075"), recipes.stats())
    assert open_planned(plan, "mobilenet_075", refuse, "imagenet").digest == plan.source_digest
    assert open_planned(plan, None, refuse).format == "moments"


def test_a_card_is_opened_as_the_values_that_a_rule_asked_for_and_did_not_take(
    shared_weights: Path,
) -> None:
    """Two classes leave the head fresh, so that the moments would do for what the plan takes in the end."""
    path = cached_path(find_card("mobilenet_075.imagenet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(shared_weights / "mobilenet_7_5_224_tf.h5")
    try:
        source = medzoo.open_weights("mobilenet_075.imagenet")
        assert source.format != "moments"
        rules = (Rule("head/*", "copy", {"otherwise": "fresh"}), *recipes.stats())
        plan = medzoo.make_plan(source, medzoo.describe("mobilenet_075", classes=2), rules)
        assert {step.method for step in plan.steps} == {"resample", "fresh"}
        assert open_planned(plan, "mobilenet_075", refuse).digest == plan.source_digest
    finally:
        path.unlink()
    # Neither is there now: what could be opened is given, and carrying the plan out will refuse it.
    assert open_planned(plan, "mobilenet_075", refuse).format == "moments"


def test_numbered_tensors_are_named_by_the_network(tmp_path: Path) -> None:
    """Keras before 3.6 wrote no names: the plan's network gives them again."""
    model = medzoo.build("cbr_tiny", classes=2, channels=3, input_size=16)
    model.save_weights(tmp_path / "old.weights.h5")
    with h5py.File(tmp_path / "old.weights.h5", "r+") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    opened = medzoo.open_weights(tmp_path / "old.weights.h5")
    assert opened.numbered
    from medzoo.weights.align import align

    aligned = align(opened, TARGET)
    plan = medzoo.make_plan(aligned, TARGET, recipes.copy())
    medzoo.write(plan, aligned, TARGET, tmp_path / "a.safetensors")
    again = open_planned(medzoo.read_plan(tmp_path / "a.plan.json").plan, "cbr_tiny", lambda plan: TARGET)
    assert verify_output(tmp_path / "a.safetensors", again).is_whole


def test_a_source_that_moved_is_refused(written: Callable, source: Source) -> None:
    plan = medzoo.read_plan(record_path(written("a.weights.h5"))).plan
    Path(source.origin).unlink()
    with pytest.raises(WeightsError, match="no weights file"):
        open_planned(plan, None, refuse)
