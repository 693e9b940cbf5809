"""Spans of files read, checked and measured in shares: the shares change nothing, damage is found in each."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo import blocks
from medzoo.errors import WeightsError
from medzoo.tensors import measure_moments
from medzoo.weights.formats import npz
from medzoo.weights.formats.byte_ranges import (
    BLOCK,
    Checksum,
    _read_whole,
    measure_values,
    read_blocks,
    read_values,
)
from medzoo.weights.formats.checksums import join_checksums

HEAD = b"head!"
VALUES = np.random.default_rng(0).standard_normal(5 * 2**20 // 2 + 3, dtype=np.float32)
THREADS = pytest.mark.parametrize("threads", [1, 2, 5])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "span"
    path.write_bytes(HEAD + VALUES.tobytes() + b"tail")
    return path


def checksum(values: np.ndarray = VALUES) -> Checksum:
    return Checksum(zlib.crc32(HEAD + values.tobytes()), zlib.crc32(HEAD))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_join_as_their_bytes_do(first: bytes, second: bytes) -> None:
    assert join_checksums(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_a_long_piece_joins_too() -> None:
    second = bytes(range(256)) * 40_000
    assert join_checksums(zlib.crc32(b"a"), zlib.crc32(second), len(second)) == zlib.crc32(b"a" + second)


@THREADS
def test_threads_read_and_measure_the_same(monkeypatch: pytest.MonkeyPatch, path: Path, threads: int) -> None:
    monkeypatch.setattr(blocks, "count_threads", lambda: threads)
    found = read_values(path, len(HEAD), VALUES.size, "float32", checksum=checksum())
    assert found.tobytes() == VALUES.tobytes()
    assert measure_values(path, len(HEAD), VALUES.size, "float32", checksum()) == measure_moments(VALUES)


def test_a_stream_that_gives_little_at_once_is_read_on() -> None:
    class Slow(io.BytesIO):
        def readinto(self, room: memoryview) -> int:  # type: ignore[override]
            return super().readinto(room[:3])

    room = memoryview(bytearray(8))
    assert _read_whole(Slow(b"0123456789"), room) == 8
    assert bytes(room) == b"01234567"
    assert _read_whole(Slow(b"0123"), room) == 4


def test_blocks_are_whole_but_for_the_last(path: Path) -> None:
    lengths = []
    content = b""
    for block in read_blocks(path, len(HEAD), VALUES.nbytes, checksum()):
        lengths.append(len(block))
        content += block
    assert content == VALUES.tobytes()
    assert set(lengths[:-1]) == {BLOCK}


@pytest.mark.parametrize("position", [0, 2**20 - 1, 2**20, VALUES.size - 1])
def test_one_bit_is_found_wherever_it_is(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[len(HEAD) + 4 * position] ^= 1
    path.write_bytes(content)
    readings = (
        lambda: read_values(path, len(HEAD), VALUES.size, "float32", checksum=checksum()),
        lambda: measure_values(path, len(HEAD), VALUES.size, "float32", checksum()),
        lambda: list(read_blocks(path, len(HEAD), VALUES.nbytes, checksum())),
    )
    for read in readings:
        with pytest.raises(WeightsError, match="damaged in the values from byte 5"):
            read()


def test_a_file_cut_since_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 2**22])
    for read in (
        lambda: read_values(path, len(HEAD), VALUES.size, "float32", checksum=checksum()),
        lambda: measure_values(path, len(HEAD), VALUES.size, "float32", checksum()),
        lambda: list(read_blocks(path, len(HEAD), VALUES.nbytes, checksum())),
    ):
        with pytest.raises(WeightsError, match=r"can no longer be read|ends within"):
            read()


@pytest.mark.parametrize("dtype", ["float32", "float16", ">f4", "int64", "bool"])
def test_an_archive_s_moments_are_those_of_its_values(tmp_path: Path, dtype: str) -> None:
    values = (VALUES[: 2**20 + 77] * 3).astype(dtype)
    np.savez(
        tmp_path / "a.npz", **{"a/kernel": values.reshape(3, -1), "b/kernel": np.asfortranarray(values[:12])}
    )
    for tensor in npz.read_headers(tmp_path / "a.npz").tensors.values():
        assert tensor.moments() == measure_moments(tensor.read())
