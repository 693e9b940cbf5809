"""Checkpoints are whole or not there, and damage is seen."""

from __future__ import annotations

import errno
from pathlib import Path

import keras
import numpy as np
import pytest

from medzoo.errors import TrainingError
from medzoo.training import checkpoints
from medzoo.training.checkpoints import list_checkpoints, read_last, restore, sweep, write_checkpoint


def _variables(*shapes: tuple[int, ...]) -> list[keras.Variable]:
    generator = np.random.default_rng(0)
    return [keras.Variable(generator.normal(size=shape).astype("float32"), name="same") for shape in shapes]


def test_values_and_state_come_back_bit_for_bit(tmp_path: Path) -> None:
    variables = [*_variables((3, 2), (), (4,)), keras.Variable(np.uint32(7), dtype="uint32", name="seed")]
    write_checkpoint(tmp_path, variables, {"step": 12, "more": {"a": [1.5, None]}})
    kept = [variable.numpy() for variable in variables]
    for variable in variables:
        variable.assign(np.zeros_like(variable.numpy()))
    found, notes = read_last(tmp_path)
    assert found is not None
    assert (found.step, found.state["more"], notes) == (12, {"a": [1.5, None]}, ())
    restore(found, variables)
    for variable, value in zip(variables, kept, strict=True):
        assert variable.numpy().tobytes() == value.tobytes()


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 100, 20_000):
        write_checkpoint(tmp_path, _variables((2,)), {"step": step})
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000020000.npz", "step-000000100.npz"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_last_one_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    for step in (1, 2):
        write_checkpoint(tmp_path, _variables((50,)), {"step": step})
    last = list_checkpoints(tmp_path)[0]
    content = bytearray(last.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    changed = {"cut": content[: len(content) // 2], "flip": content, "empty": b"", "text": b"no checkpoint"}
    last.write_bytes(bytes(changed[damage]))
    found, notes = read_last(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(notes) == 1
    assert "step-000000002.npz is damaged" in notes[0]


def test_what_is_damaged_does_not_push_out_what_is_whole(tmp_path: Path) -> None:
    for step in (8, 10):
        write_checkpoint(tmp_path, _variables((5,)), {"step": step})
    for path in list_checkpoints(tmp_path):
        path.write_bytes(path.read_bytes()[:-30])
    (tmp_path / "checkpoints" / ".part-x-step-000000011.npz").write_text("half")
    found, notes = read_last(tmp_path)
    assert (found, len(notes)) == (None, 2)
    sweep(tmp_path, found)
    assert not list((tmp_path / "checkpoints").iterdir())
    write_checkpoint(tmp_path, _variables((5,)), {"step": 4})
    found, _ = read_last(tmp_path)
    assert found is not None
    assert found.step == 4


def test_any_flipped_byte_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, _variables((3,), (2, 2)), {"step": 7})
    whole, content = read_last(tmp_path)[0], path.read_bytes()
    assert whole is not None
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(bytes(damaged))
        found, _ = read_last(tmp_path)
        if found is not None:
            assert found.state == whole.state
            assert sorted(a.tobytes() for a in found.arrays.values()) == sorted(
                a.tobytes() for a in whole.arrays.values()
            )


def test_none_and_all_damaged_are_no_checkpoint(tmp_path: Path) -> None:
    assert read_last(tmp_path) == (None, ())
    write_checkpoint(tmp_path, _variables((5,)), {"step": 1})
    list_checkpoints(tmp_path)[0].write_bytes(b"")
    found, notes = read_last(tmp_path)
    assert found is None
    assert len(notes) == 1


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, _variables((5,)), {"step": 1})

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.np, "savez", refuse)
    with pytest.raises(TrainingError, match=r"No space left on device.*step 1 stands.*--resume"):
        write_checkpoint(tmp_path, _variables((5,)), {"step": 2})
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001.npz"]
    assert read_last(tmp_path)[0] is not None


@pytest.mark.parametrize("shapes", [((5,), (2,)), ((6,),), ((5, 1),)])
def test_another_networks_checkpoint_is_refused(tmp_path: Path, shapes: tuple[tuple[int, ...], ...]) -> None:
    write_checkpoint(tmp_path, _variables((5,)), {"step": 1})
    found, _ = read_last(tmp_path)
    assert found is not None
    with pytest.raises(TrainingError, match="another network's"):
        restore(found, _variables(*shapes))
