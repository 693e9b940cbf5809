"""Images inside larger files: what is read is what was written, and a damaged file is refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.data.bundle import Bundle
from medzoo.errors import DataError


def write_bundle(path: Path, contents: list[bytes], packed: list[bool]) -> Bundle:
    """Write contents one after the other, some as raw DEFLATE streams, with a gap of three bytes before each."""
    stored = []
    for content, pack in zip(contents, packed, strict=True):
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        stored.append(packer.compress(content) + packer.flush() if pack else content)
    path.write_bytes(b"".join(b"gap" + text for text in stored))
    lengths = np.array([len(text) for text in stored], np.int64)
    starts = np.cumsum(lengths + 3) - lengths
    return Bundle(
        files=(path,),
        places=np.zeros(len(contents), np.int32),
        offsets=starts,
        lengths=lengths,
        packed=np.array(packed, bool),
        sizes=np.array([len(content) for content in contents], np.int64),
    )


@given(
    contents=st.lists(st.tuples(st.binary(max_size=50), st.booleans()), min_size=1, max_size=6),
    data=st.data(),
)
def test_any_rows_in_any_order_are_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[tuple[bytes, bool]],
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("bundle") / "images"
    bundle = write_bundle(path, [content for content, _ in contents], [packed for _, packed in contents])
    rows = data.draw(st.lists(st.integers(0, len(contents) - 1), max_size=8))
    expected = [contents[row][0] for row in rows]
    assert bundle.read(rows) == expected
    assert bundle.take(np.array(rows, int)).read(range(len(rows))) == expected


def test_blobs_are_read_from_memory() -> None:
    empty = np.zeros(2, np.int64)
    flags = np.zeros(2, bool)
    bundle = Bundle((), empty.astype(np.int32), empty, empty, flags, empty, blobs=(b"one", b"two"))
    assert bundle.take(np.array([1, 1, 0])).read([0, 2]) == [b"two", b"one"]


def test_a_file_that_is_gone_or_cut_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "images", [b"first", b"second"], [False, False])
    (tmp_path / "images").write_bytes((tmp_path / "images").read_bytes()[:-2])
    assert bundle.read([0]) == [b"first"]
    with pytest.raises(DataError, match="ends within the image at byte 11"):
        bundle.read([0, 1])
    (tmp_path / "images").unlink()
    with pytest.raises(DataError, match="No such file"):
        bundle.read([0])


@pytest.mark.parametrize("size", [3, 4000])
def test_what_unpacks_to_another_size_is_refused_without_unpacking_all(tmp_path: Path, size: int) -> None:
    bundle = write_bundle(tmp_path / "images", [b"\0" * 1000], [True])
    bundle.sizes[0] = size
    with pytest.raises(DataError, match=f"does not unpack to {size} bytes"):
        bundle.read([0])


def test_bytes_that_are_no_deflate_stream_are_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "images", [b"\xff" * 40], [False])
    bundle.packed[0] = True
    with pytest.raises(DataError, match="does not unpack"):
        bundle.read([0])
