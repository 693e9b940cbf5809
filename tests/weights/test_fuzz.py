"""Each weights format, mutated 200 times (`make fuzz` does 5,000): read, or refused, and nothing else."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from fuzz import draw, fuzz, mutate
from weights_examples import EXAMPLES, write_v3

import medzoo
from medzoo.errors import WeightsError


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_mutated_files_are_read_or_refused(name: str) -> None:
    assert fuzz(name, EXAMPLES[name], mutations=200, seed=1) == []


def test_a_failure_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer itself: a reader that opens a file elsewhere would be caught by the files that appear."""
    content = bytes(range(256)) * 4
    assert draw("a.npz", 3, 0, content) == draw("a.npz", 3, 0, content)
    assert len({draw("a.npz", number, 0, content) for number in range(50)}) > 45
    import numpy as np

    assert mutate(b"", np.random.default_rng(0)) == b"\x00"


def test_a_heap_that_leads_nowhere_is_refused_before_libhdf5_loops(tmp_path: Path) -> None:
    write_v3(tmp_path / "a.weights.h5")
    content = bytearray((tmp_path / "a.weights.h5").read_bytes())
    heap = content.index(b"GCOL")
    assert list(medzoo.open_weights(tmp_path / "a.weights.h5")) == ["a/kernel", "a/bias"]
    content[heap + 16 : heap + 40] = bytes(24)  # the first object: number 0, size 0
    (tmp_path / "a.weights.h5").write_bytes(content)
    with pytest.raises(WeightsError, match="a global heap with an object of 0 bytes at byte 16 of 4,096"):
        medzoo.open_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5") as file:
        assert "layers" in file  # everything but the text is whole
