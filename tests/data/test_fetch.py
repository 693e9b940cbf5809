"""Pixels from arrays, files, larger files and reader processes, all alike; and whose fault it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from pictures import collect, make_arrays
from PIL import Image

from medzoo.data.bundle import Bundle
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.feeding.fetch import count_chunk, count_workers, explain_failure
from medzoo.data.open import open_dataset

Write = Callable[..., Path]


@pytest.mark.parametrize(("width", "height"), [(9, 8), (6, 6)])
def test_files_are_decoded_to_their_own_pixels(
    write_image: Write, tmp_path: Path, width: int, height: int
) -> None:
    for number in range(8):
        write_image(f"set/{'ab'[number % 2]}/{number}.png", "RGB", (width, height), seed=number)
    dataset = open_dataset(tmp_path / "set")
    in_graph, labels = collect(dataset, channels=3, cache="memory")
    assert np.array_equal(
        labels.argmax(axis=1), [dataset.classes.index(label) for label in dataset.table["label"]]
    )
    with_pillow, _ = collect(replace(dataset, decoder="reader"), channels=3, cache="off")
    assert np.array_equal(in_graph, with_pillow)
    if (width, height) == (6, 6):
        stored = np.stack([np.asarray(Image.open(path)) for path in dataset.paths])
        assert np.array_equal(in_graph, stored)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [(mode, channels) for mode in ("1", "L", "LA") for channels in (1, 3)]
    + [(mode, 3) for mode in ("P", "RGB", "RGBA")],  # one colour file makes the data set a colour one
)
def test_both_decoders_agree_on_every_mode(write_image: Write, mode: str, channels: int) -> None:
    path = write_image("a.png", mode, (6, 6))
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("one", ("a", "b"), table, channels, (6, 6), BYTE_RANGE, paths=(path,))
    in_graph, _ = collect(dataset, channels=channels)
    with_pillow, _ = collect(replace(dataset, decoder="reader"), channels=channels)
    assert np.array_equal(in_graph, with_pillow)


@pytest.mark.parametrize(("mode", "suffix"), [("I;16", "png"), ("L", "bmp")])
def test_sixteen_bit_and_bmp_files_reach_the_network(
    write_image: Write, tmp_path: Path, mode: str, suffix: str
) -> None:
    for number in range(8):
        write_image(f"set/{'ab'[number % 2]}/{number}.{suffix}", mode, (6, 6), seed=number)
    dataset = open_dataset(tmp_path / "set")
    assert dataset.decoder == "reader"
    images, _ = collect(dataset)
    for image, path in zip(images, dataset.paths, strict=True):
        stored = np.asarray(Image.open(path), dtype=np.float32)
        np.testing.assert_array_equal(image[..., 0], stored / np.float32(257) if mode == "I;16" else stored)


@pytest.mark.parametrize("channels", [1, 3])
def test_real_jpegs_decode_alike(shared_data: Path, channels: int) -> None:
    name, label = ("busi_breast224", "busi_class") if channels == 1 else ("wbc", "wbc_class")
    few = open_dataset(shared_data / name / "manifest.csv", label_column=label).of_split("validation")
    few = replace(few, table=few.table[:6], paths=few.paths[:6])
    in_graph, _ = collect(few, image_size=224, channels=channels)
    with_pillow, _ = collect(replace(few, decoder="reader"), image_size=224, channels=channels)
    assert np.array_equal(in_graph, with_pillow)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_stops_the_pipeline(write_image: Write, suffix: str) -> None:
    path = write_image(f"cut.{suffix}", "L", (64, 64))
    path.write_bytes(path.read_bytes()[:-300])
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("cut", ("a", "b"), table, 1, (64, 64), BYTE_RANGE, paths=(path,))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid"):
        collect(dataset)


def make_files(write_image: Write, count: int = 5, mode: str = "L") -> Dataset:
    paths = tuple(write_image(f"{n}.png", mode, (6 + n, 8), seed=n) for n in range(count))
    table = pd.DataFrame({"id": [str(n) for n in range(count)], "split": "train", "label": "a"})
    return Dataset("files", ("a", "b"), table, 1, (8, 6), BYTE_RANGE, paths=paths)


def bundle_files(dataset: Dataset, folder: Path) -> Dataset:
    """Put a data set's files into one, each behind the one before."""
    contents = [path.read_bytes() for path in dataset.paths]
    (folder / "all.bin").write_bytes(b"".join(contents))
    lengths = np.array([len(content) for content in contents], np.int64)
    none = np.zeros(len(lengths), np.int32)
    offsets = np.cumsum(lengths) - lengths
    bundle = Bundle((folder / "all.bin",), none, offsets, lengths, none.astype(bool), lengths)
    return replace(dataset, bundle=bundle, paths=tuple(Path("all.bin") / path.name for path in dataset.paths))


@pytest.mark.parametrize("decoder", ["tensorflow", "reader"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_images_inside_a_larger_file_are_the_files_own(
    write_image: Write, tmp_path: Path, decoder: str, in_memory: bool
) -> None:
    files = make_files(write_image)
    bundled = replace(bundle_files(files, tmp_path), decoder=decoder)  # type: ignore[arg-type]
    if in_memory:
        blobs = tuple(path.read_bytes() for path in files.paths)
        assert bundled.bundle is not None
        bundled = replace(bundled, bundle=replace(bundled.bundle, blobs=blobs))
    wanted, _ = collect(files, shuffle=True, seed=3)
    found, _ = collect(bundled, shuffle=True, seed=3)
    assert np.array_equal(found, wanted)


def test_more_images_than_a_chunk_keep_their_order(write_image: Write, tmp_path: Path) -> None:
    files = make_files(write_image, 3).take(np.arange(200) % 3)
    files = replace(files, table=files.table.assign(id=[str(row) for row in range(200)]))
    wanted, _ = collect(files)
    found, _ = collect(bundle_files(files, tmp_path))
    assert count_chunk(files) < 200
    assert np.array_equal(found, wanted)


def test_an_array_mapped_from_a_file_is_read_there(tmp_path: Path) -> None:
    dataset = make_arrays(10)
    assert dataset.images is not None
    np.save(tmp_path / "images.npy", dataset.images)
    mapped = replace(dataset, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    for size in (6, 4):
        wanted, _ = collect(dataset, image_size=size, shuffle=True)
        found, _ = collect(mapped, image_size=size, shuffle=True)
        assert np.array_equal(found, wanted)


def test_chunks_are_small_where_images_are_large() -> None:
    files = replace(make_arrays(1), images=None)
    assert count_chunk(files) == 64
    assert count_chunk(replace(files, size=(4000, 4000))) == min(64, count_workers())


def fail(dataset: Dataset) -> str:
    """Give the message of the error that ends a data set's batches."""
    with pytest.raises(tf.errors.OpError) as caught:
        collect(dataset)
    return str(caught.value)


@pytest.mark.parametrize("decoder", ["tensorflow", "reader"])
def test_a_broken_file_is_named(write_image: Write, decoder: str) -> None:
    files = replace(make_files(write_image), decoder=decoder)  # type: ignore[arg-type]
    files.paths[3].write_bytes(files.paths[3].read_bytes()[:-40])
    problem = explain_failure(fail(files), files)
    assert problem is not None
    assert "3.png" in str(problem)
    assert "2.png" not in str(problem)


def test_a_file_that_lost_its_end_is_named(write_image: Write, tmp_path: Path) -> None:
    bundled = bundle_files(make_files(write_image), tmp_path)
    (tmp_path / "all.bin").write_bytes((tmp_path / "all.bin").read_bytes()[:-40])
    message = fail(bundled)
    assert "all.bin ends within the image at byte" in str(explain_failure(message, bundled))


def test_an_error_that_no_image_explains_is_left_alone(write_image: Write) -> None:
    assert explain_failure("Graph execution error", make_files(write_image)) is None


def test_a_reader_whose_images_differ_in_channels_is_refused(
    write_image: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = replace(make_files(write_image), decoder="reader")
    pixels = [np.zeros((6, 6, channels), np.float32) for channels in (1, 1, 2, 1, 1)]
    monkeypatch.setattr(
        "medzoo.data.feeding.fetch.make_reader", lambda _: lambda rows: [pixels[row] for row in rows]
    )
    told = str(explain_failure(fail(files), files))
    assert "2.png has the shape (6, 6, 2)" in told
    assert "1 channels" in told


def test_black_images_keep_their_bytes(write_image: Write) -> None:
    files = replace(make_files(write_image), decoder="reader")
    for path in files.paths:
        Image.new("L", (6, 6)).save(path)
    images, _ = collect(files)
    assert images.shape == (5, 6, 6, 1)
    assert not images.any()
