"""Writing beside hashing: the same bytes and record whenever the source is hashed; copied tensors pass in blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.errors import PlanError, WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import LazyTensor, Source
from medzoo.transplant.plan import make_plan
from medzoo.transplant.record import read_plan
from medzoo.transplant.run import complete_plan

TARGET = medzoo.describe("cbr_tiny", classes=2, channels=1)
OUTPUTS = pytest.mark.parametrize("name", ["a.weights.h5", "a.safetensors", "a.h5"])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An uncompressed archive of the network's tensors."""
    generator = np.random.default_rng(0)
    arrays = {name: generator.random(spec.shape, np.float32) for name, spec in TARGET.tensors.items()}
    np.savez(tmp_path / "source.npz", **arrays)
    return tmp_path / "source.npz"


def refuse_to_read(source: Source) -> Source:
    """Let every tensor be read in blocks alone."""

    def read() -> np.ndarray:
        raise AssertionError("read whole")

    tensors: dict[str, LazyTensor] = {
        name: replace(tensor, read=read) for name, tensor in source.tensors.items()
    }
    return replace(source, tensors=tensors)


@OUTPUTS
def test_a_source_hashed_beside_the_writing_changes_nothing(tmp_path: Path, archive: Path, name: str) -> None:
    records = []
    for folder, hash_source in (("before", True), ("beside", False)):
        source = medzoo.open_weights(archive)
        plan = make_plan(source, TARGET, recipes.copy(), hash_source=hash_source)
        assert bool(plan.source_digest) == hash_source
        path = tmp_path / folder / name
        record = medzoo.write(plan, source, TARGET, path)
        assert read_plan(record).output_digest == digest_file(path)
        assert read_plan(record).plan == complete_plan(plan, source)
        records.append((path.read_bytes(), record.read_text()))
    assert records[0] == records[1]


@OUTPUTS
def test_copied_tensors_pass_in_blocks(tmp_path: Path, archive: Path, name: str) -> None:
    source = medzoo.open_weights(archive)
    plan = make_plan(source, TARGET, recipes.copy())
    medzoo.write(plan, refuse_to_read(source), TARGET, tmp_path / "blocks" / name)
    whole = {key: replace(tensor, read_blocks=None) for key, tensor in source.tensors.items()}
    medzoo.write(plan, replace(source, tensors=whole), TARGET, tmp_path / "whole" / name)
    for file in (name, "a.plan.json"):
        assert (tmp_path / "blocks" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@OUTPUTS
def test_another_source_is_found_out_beside_the_writing(tmp_path: Path, archive: Path, name: str) -> None:
    source = medzoo.open_weights(archive)
    plan = replace(make_plan(source, TARGET, recipes.copy()), source_digest=f"sha256:{'5' * 64}")
    with pytest.raises(PlanError, match="has digest"):
        medzoo.write(plan, source, TARGET, tmp_path / "out" / name)
    assert list((tmp_path / "out").iterdir()) == []


@OUTPUTS
@pytest.mark.parametrize("is_allowed", [False, True])
def test_blocks_that_are_not_finite_are_refused(
    tmp_path: Path, archive: Path, name: str, is_allowed: bool
) -> None:
    with np.load(archive) as stored:
        arrays = dict(stored)
    arrays["head/kernel"].reshape(-1)[-1] = np.inf
    np.savez(archive, **arrays)
    source = medzoo.open_weights(archive)
    plan = make_plan(source, TARGET, recipes.copy())
    if is_allowed:
        medzoo.write(plan, source, TARGET, tmp_path / "out" / name, allow_nonfinite=True)
        assert np.isinf(np.asarray(medzoo.open_weights(tmp_path / "out" / name)["head/kernel"])).sum() == 1
        return
    with pytest.raises(PlanError, match="'head/kernel' would hold NaN or infinity"):
        medzoo.write(plan, source, TARGET, tmp_path / "out" / name)
    assert list((tmp_path / "out").iterdir()) == []


@OUTPUTS
def test_a_damaged_source_leaves_nothing(tmp_path: Path, archive: Path, name: str) -> None:
    source = medzoo.open_weights(archive)
    plan = make_plan(source, TARGET, recipes.copy(), hash_source=False)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        medzoo.write(plan, source, TARGET, tmp_path / "out" / name)
    assert list((tmp_path / "out").iterdir()) == []
