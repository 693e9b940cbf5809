"""MedMNIST: 2-D and 3-D archives, published names and digests, and fetching by name."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from medzoo.data.containers import fetching
from medzoo.data.containers.fetching import fetch_file, fetch_medmnist, parse_medmnist
from medzoo.data.containers.medmnist import open_medmnist, read_medmnist
from medzoo.data.containers.medmnist_sets import SETS, name_file
from medzoo.errors import DataError

COUNTS = {"train": 8, "val": 4, "test": 6}
Write = Callable[..., Path]


@pytest.fixture
def write_set(tmp_path: Path) -> Write:
    """Write an archive of noise, with some arrays changed or left out."""

    def write(name: str = "other.npz", shape: tuple[int, ...] = (7, 5), **changes: object) -> Path:
        rng = np.random.default_rng(0)
        arrays: dict[str, object] = {}
        for prefix, count in COUNTS.items():
            arrays[f"{prefix}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
            arrays[f"{prefix}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
        save: Any = np.savez_compressed  # its hints take a file's arrays for its own options
        save(
            tmp_path / name, **{key: value for key, value in (arrays | changes).items() if value is not None}
        )
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("shape", "size", "channels"),
    [((7, 5), (7, 5), 1), ((7, 5, 3), (7, 5), 3), ((7, 5, 1), (7, 5), 1), ((6, 7, 5), (6, 7, 5), 1)],
)
def test_shapes(write_set: Write, shape: tuple[int, ...], size: tuple[int, ...], channels: int) -> None:
    path = write_set(shape=shape)
    dataset = read_medmnist(path)
    assert (dataset.size, dataset.channels, dataset.is_volume) == (size, channels, len(size) == 3)
    assert dataset.classes == ("0", "1")
    assert dataset.images is not None
    with np.load(path) as archive:
        stored = np.concatenate([archive[f"{prefix}_images"] for prefix in COUNTS])
    assert np.array_equal(dataset.images, stored.reshape(18, *size, channels))
    assert dataset.table.iloc[9].tolist() == ["validation/1", "validation", "1"]


def test_fortran_order_is_read(write_set: Write) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (8, 7, 5), dtype=np.uint8)
    dataset = read_medmnist(write_set(train_images=np.asfortranarray(pixels)))
    assert dataset.images is not None
    assert np.array_equal(dataset.images[:8, ..., 0], pixels)


def test_published_names_stand_in_the_published_order(write_set: Write) -> None:
    assert read_medmnist(write_set("AdrenalMNIST3D_64.npz", (4, 4, 4))).classes == ("normal", "hyperplasia")
    assert read_medmnist(write_set("breastmnist_224.npz")).classes == ("malignant", "normal, benign")
    assert read_medmnist(write_set("retinamnist.npz")).classes == ("0", "1")
    beyond = {f"{prefix}_labels": np.arange(count) % 2 * 9 for prefix, count in COUNTS.items()}
    assert read_medmnist(write_set("breastmnist.npz", **beyond)).classes == ("0", "9")


def test_several_labels_become_marks(write_set: Write) -> None:
    rng = np.random.default_rng(1)
    marks = {f"{prefix}_labels": rng.integers(0, 2, (n, 14), dtype=np.uint8) for prefix, n in COUNTS.items()}
    for array in marks.values():
        array[0, 0], array[1, :] = 1, 0
    dataset = read_medmnist(write_set("chestmnist.npz", **marks))
    assert dataset.classes == SETS["chestmnist"].classes
    assert not dataset.exclusive
    assert dataset.marks is not None
    assert dataset.marks.dtype == np.float32
    assert np.array_equal(dataset.marks, np.concatenate(list(marks.values())))
    assert dataset.table["label"][0].startswith("atelectasis|") or dataset.table["label"][0] == "atelectasis"
    assert dataset.table["label"][1] == ""
    other = read_medmnist(write_set("other.npz", **{key: rows[:, :5] for key, rows in marks.items()}))
    assert other.classes == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": None}, "has no val_images, only train_images"),
        ({"train_images": np.zeros((8, 7, 7, 7), np.uint8)}, "differ in shape"),
        ({"train_images": np.zeros((8, 2, 7, 7, 7), np.uint8)}, r"\(n, depth, height, width\)"),
        ({"train_images": np.zeros((8, 49), np.uint8)}, r"expected \(n, height, width\)"),
        ({"train_images": np.zeros((8, 0, 5), np.uint8)}, r"expected \(n, height, width\)"),
        ({"train_images": np.zeros((8, 7, 5))}, "is float64; expected uint8"),
        ({"train_images": np.array([{}] * 8)}, "cannot read .*Python objects"),
        ({"train_labels": np.zeros((7, 1), np.uint8)}, "7 labels for 8 images"),
        ({"train_labels": np.zeros((8, 1))}, "whole numbers"),
        ({"train_labels": np.zeros((8, 0), np.uint8)}, "holds no labels"),
        ({"train_labels": np.full((8, 3), 2)}, "not all 0 or 1"),
        ({"train_labels": np.ones((8, 3), np.uint8)}, "differ in their labels' number"),
    ],
)
def test_other_archives_are_refused(write_set: Write, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_medmnist(write_set(**changes))


def test_broken_archives_are_refused(write_set: Write) -> None:
    whole = write_set().read_bytes()
    path = write_set()
    for content in (
        b"",
        b"text",
        whole[: len(whole) // 2],
        whole[:-30],
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"cannot read {path}"):
            read_medmnist(path)
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = np.frombuffer(whole, np.uint8).copy()
        broken[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        with contextlib.suppress(DataError):
            read_medmnist(path)


def test_a_shape_that_promises_more_than_there_is_takes_no_memory(write_set: Write) -> None:
    path = write_set()
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name in content:
        content[name] = content[name].replace(b", 7, 5)", b", 7, 999999999)")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match="cannot read"):
        read_medmnist(path)


def test_every_set_is_published_at_its_sizes() -> None:
    assert len(SETS) == 18
    digests = [digest for published in SETS.values() for digest in published.digests.values()]
    assert len(set(digests)) == len(digests) == 12 * 4 + 6 * 2
    for name, published in SETS.items():
        assert set(published.digests) == ({28, 64} if name.endswith("3d") else {28, 64, 128, 224})
        assert all(len(digest) == 32 and int(digest, 16) for digest in published.digests.values())
        assert len(set(published.classes)) == len(published.classes) > 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("medmnist:brestmnist", "is no set of MedMNIST; expected one of 'breastmnist'"),
        ("medmnist:", "is no set of MedMNIST"),
        ("medmnist:breastmnist@225", "no images of side '225'; expected one of 28, 64, 128, 224"),
        ("medmnist:organmnist3d@224", "expected one of 28, 64; try medmnist:organmnist3d@64"),
        ("medmnist:breastmnist@", "no images of side ''"),
    ],
)
def test_unknown_names_are_refused(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_medmnist(source)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves two bytes strings, one of them cut short."""

    content: ClassVar[bytes] = b"the published file" * 1000
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content if self.path == "/whole" else self.content[:100])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """Serve files on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_is_fetched_once_and_checked(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_OFFLINE", "0")
    Server.asked.clear()
    digest = hashlib.md5(Server.content, usedforsecurity=False).hexdigest()
    path = tmp_path / "new" / "a.npz"
    for _ in range(2):
        assert fetch_file(f"{address}/whole", path, digest).read_bytes() == Server.content
    assert Server.asked == ["/whole"]
    for name, message in (("cut", "cannot download|another file"), ("gone", "cannot download .*404")):
        with pytest.raises(DataError, match=f"{message}.*to put the file from {address}/{name} at"):
            fetch_file(f"{address}/{name}", tmp_path / "b.npz", digest)
    with pytest.raises(DataError, match=f"sent another file; expected MD5 {'0' * 32}, found {digest}"):
        fetch_file(f"{address}/whole", tmp_path / "b.npz", "0" * 32)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new"]  # no part is left behind
    with pytest.raises(DataError, match=f"{path} is not the published file"):
        fetch_file(f"{address}/whole", path, "0" * 32)
    with pytest.raises(DataError, match=r"cannot download .*a network"):
        fetch_file("http://127.0.0.1:9/x", tmp_path / "c.npz", digest)


def test_without_a_network_the_place_is_named() -> None:
    place = fetching.cache_folder() / "medmnist" / "breastmnist_224.npz"
    with pytest.raises(
        DataError, match=r"MEDZOO_OFFLINE is set; .*zenodo.org/records/.*breastmnist_224.npz"
    ) as told:
        open_medmnist("medmnist:breastmnist@224")
    assert str(told.value).endswith(f"at {place}")


def test_real_sets(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path))
    volumes = shared_data / "medmnist/adrenalmnist3d.npz"
    assert fetching.hash_file(volumes) == SETS["adrenalmnist3d"].digests[28]
    dataset = read_medmnist(volumes)
    assert dataset.notes == ()
    assert dataset.size == (28, 28, 28)
    assert dataset.table["split"].value_counts().to_dict() == {"train": 1188, "test": 298, "validation": 98}
    breast = shared_data / "medmnist/breastmnist.npz"
    assert ["byte for byte" in note for note in read_medmnist(breast).notes] == [True]
    (tmp_path / "medmnist").mkdir()
    for path in (volumes, breast):
        (tmp_path / "medmnist" / name_file(path.stem, 28)).write_bytes(path.read_bytes())
    assert open_medmnist("medmnist:adrenalmnist3d").digest == dataset.digest
    with pytest.raises(
        DataError, match="is not the published file"
    ):  # what stands for a download is the file itself
        fetch_medmnist("medmnist:breastmnist")
