"""Prepared images kept in memory or in a file: exact, sized before, and found again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from pictures import collect, make_arrays

from medzoo.contracts import find_preprocessing
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.feeding import cache as module
from medzoo.data.feeding.cache import MemoryCache, choose_cache, find_cached, find_narrowest
from medzoo.errors import ConfigError, DataError

Write = Callable[..., Path]
RAW = find_preprocessing("raw")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


def make_files(write_image: Write, count: int = 6, size: tuple[int, int] = (6, 6)) -> Dataset:
    paths = tuple(write_image(f"{n}.png", "L", size, seed=n) for n in range(count))
    table = pd.DataFrame({"id": [str(n) for n in range(count)], "split": "train", "label": "a"})
    return Dataset("files", ("a", "b"), table, 1, size[::-1], BYTE_RANGE, paths=paths)


def choose(dataset: Dataset, wanted: Any, side: int = 5, channels: int = 1) -> str:
    return choose_cache(dataset, (side,) * len(dataset.size), channels, RAW, wanted)


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [1, 3])
def test_what_is_kept_is_what_is_made(folder: Path, cache: str, fit: str, channels: int, stored: int) -> None:
    dataset = make_arrays(11, stored, size=(9, 7))
    options: dict[str, Any] = {
        "preprocessing": replace(find_preprocessing("torch"), fit=fit),  # type: ignore[arg-type]
        "epochs": 3,
        "shuffle": True,
        "channels": channels,
    }
    wanted, labels = collect(dataset, cache="off", **options)
    found, targets = collect(dataset, cache=cache, **options)
    assert found.tobytes() == wanted.tobytes()
    assert np.array_equal(targets, labels)
    assert folder.exists() == (cache == "disk")


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_files_are_read_once(write_image: Write, folder: Path, cache: str) -> None:
    dataset = make_files(write_image)
    wanted, _ = collect(dataset, image_size=5, cache="off", epochs=2)
    from medzoo.data.feeding.pipeline import make_batches

    options: dict[str, Any] = {"batch_size": 4, "channels": 1, "preprocessing": None, "shuffle": False}
    batches = make_batches(dataset, image_size=5, cache=cache, epochs=2, **options)  # type: ignore[arg-type]
    for _ in range(2):  # the second pass is of the same object
        assert np.array_equal(np.concatenate([images for images, _ in batches]), wanted)
        for path in dataset.paths:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("sizes", [[(6, 6)] * 6, [(6, 6)] * 4 + [(9, 6)] * 2])
def test_bytes_are_kept_as_bytes_where_all_are(
    write_image: Write, folder: Path, sizes: list[tuple[int, int]]
) -> None:
    dataset = make_files(write_image)
    for path, size in zip(dataset.paths, sizes, strict=True):
        write_image(path.name, "L", size, seed=size[0])
    wanted, _ = collect(dataset, cache="off")
    found, _ = collect(dataset, cache="disk")
    assert found.tobytes() == wanted.tobytes()
    (kept,) = folder.glob("*.npy")
    assert np.load(kept).dtype == (np.uint8 if len(set(sizes)) == 1 else np.float32)


def test_the_narrowest_type_is_exact() -> None:
    for values, kind in [
        ([0, 255], np.uint8),
        ([0, 256], np.uint16),
        ([0, 65536], np.float32),
        ([-1, 0], np.float32),
        ([0.5], np.float32),
        ([np.nan], np.float32),
    ]:
        assert find_narrowest(np.float32(values)) == kind


def test_memory_widens_when_it_must() -> None:
    cache = MemoryCache(4, (1,))
    rows = np.arange(4)
    assert not cache.has(rows[:1])
    cache.put(rows[:2], np.float32([[1], [2]]))
    cache.put(rows[2:3], np.float32([[0.5]]))
    assert cache.has(rows[:3])
    assert not cache.has(rows)
    assert cache.take(rows[:3]).ravel().tolist() == [1, 2, 0.5]


def test_a_file_is_found_again_and_made_anew_when_an_image_changes(write_image: Write, folder: Path) -> None:
    dataset = make_files(write_image, size=(8, 9))
    first, _ = collect(dataset, cache="disk")
    (kept,) = folder.iterdir()
    stamp = kept.stat().st_mtime_ns
    again, _ = collect(dataset, cache="disk", preprocessing=find_preprocessing("tf"), channels=3)
    assert kept.stat().st_mtime_ns == stamp
    np.testing.assert_allclose(again[..., :1], first / 127.5 - 1, atol=1e-6)
    write_image("0.png", "L", (8, 9), seed=77)
    os.utime(dataset.paths[0], ns=(stamp, stamp))
    changed, _ = collect(dataset, cache="disk")
    assert len(list(folder.iterdir())) == 2
    assert not np.array_equal(changed[0], first[0])
    assert np.array_equal(changed[1:], first[1:])


def test_what_changes_the_pixels_changes_the_files_name(write_image: Write, folder: Path) -> None:
    dataset = make_files(write_image)
    others = [
        find_cached(dataset, (4, 4), 1, RAW),
        find_cached(dataset, (5, 5), 1, RAW),
        find_cached(dataset, (5, 5), 1, replace(RAW, fit="pad")),
        find_cached(dataset, (5, 5), 1, replace(RAW, interpolation="bicubic")),
        find_cached(dataset, (5, 5), 1, replace(RAW, fit="crop", crop_fraction=0.5)),
        find_cached(replace(dataset, value_range=(0.0, 1.0)), (5, 5), 1, RAW),
        find_cached(replace(dataset, decoder="reader"), (5, 5), 1, RAW),
        find_cached(dataset.take(np.arange(5)), (5, 5), 1, RAW),
        find_cached(dataset.take(np.arange(6)[::-1]), (5, 5), 1, RAW),
        find_cached(make_arrays(), (5, 5), 1, RAW),
        find_cached(make_arrays(seed=1), (5, 5), 1, RAW),
    ]
    assert len(set(others)) == len(others)
    assert find_cached(dataset, (5, 5), 3, find_preprocessing("torch")) == others[1]


def test_a_broken_image_leaves_no_file_and_is_named(write_image: Write, folder: Path) -> None:
    dataset = make_files(write_image)
    dataset.paths[2].write_bytes(dataset.paths[2].read_bytes()[:-30])
    with pytest.raises(DataError, match=r"2\.png"):
        collect(dataset, image_size=5, cache="disk")
    assert list(folder.iterdir()) == []
    with pytest.raises(tf.errors.OpError):
        collect(dataset, image_size=5, cache="memory")


def test_a_damaged_file_is_made_anew(write_image: Write, folder: Path) -> None:
    dataset = make_files(write_image)
    wanted, _ = collect(dataset, cache="disk")
    (kept,) = folder.iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    found, _ = collect(dataset, cache="disk")
    assert np.array_equal(found, wanted)


def test_auto_follows_size_and_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_arrays(10)
    assert choose(dataset, "auto") == "memory"
    assert choose(dataset, "auto", 6) == "off"  # nothing to prepare
    assert choose(dataset, "memory", 6) == "off"
    assert choose(dataset, "off") == "off"
    assert choose(dataset, "auto", 8000) == "off"  # 2.6 GB
    slow = replace(dataset, images=None, decoder="reader")
    monkeypatch.setattr(module, "find_free_disk", lambda _: 10**12)
    assert choose(slow, "auto", 8000) == "disk"
    monkeypatch.setattr(module, "find_free_disk", lambda _: 10**9)
    assert choose(slow, "auto", 8000) == "off"
    monkeypatch.setattr(module, "find_free_memory", lambda: 1000)
    assert choose(dataset, "auto") == "off"


def test_what_does_not_fit_is_refused_with_the_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_arrays(10)
    monkeypatch.setattr(module, "find_free_memory", lambda: 2 * 10**9)
    monkeypatch.setattr(module, "find_free_disk", lambda _: 10**9)
    with pytest.raises(
        DataError, match=r"10 prepared images of 256\.00 MB need 2\.6 GB of memory, and 2\.0 GB"
    ):
        choose(dataset, "memory", 8000)
    with pytest.raises(DataError, match=r"need 2\.6 GB in .*, where 1\.0 GB are free.*try --cache off"):
        choose(dataset, "disk", 8000)
    with pytest.raises(ConfigError, match="cache = 'ram'; expected one of auto, memory, disk, off"):
        choose(dataset, "ram")


def test_free_room_is_found() -> None:
    memory = module.find_free_memory()
    assert memory is None or 10**6 < memory < 10**14
    assert module.find_free_disk(Path("/no/such/folder")) > 0


def test_estimates() -> None:
    dataset = make_arrays(10)
    assert module.estimate_bytes(dataset, (8, 8), 3, "squash") == 10 * 64 * 4
    files = replace(dataset, images=None)
    assert module.estimate_bytes(files, (6, 6), 1, "squash") == 360  # bytes stay bytes
    colour = make_arrays(10, 3)
    assert module.estimate_bytes(colour, (8, 8), 1, "squash") == 10 * 64 * 4
    assert module.estimate_bytes(colour, (8, 8), 3, "squash") == 3 * 10 * 64 * 4
