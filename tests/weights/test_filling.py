"""Files laid out and filled: every value in its place, the digest that of the bytes, no error lost between threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from medzoo.errors import PlanError, WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import Target, TensorSpec, role_of
from medzoo.weights.filling import Progress, Values, digest_behind, fill, fill_and_digest
from medzoo.weights.source import open_file
from medzoo.weights.writers import amend_provenance, find_layout, find_writer

GENERATOR = np.random.default_rng(0)
ARRAYS = {
    "a/kernel": GENERATOR.standard_normal((300, 500), dtype=np.float32),
    "a/bias": GENERATOR.standard_normal(500, dtype=np.float32),
    "b/gamma": GENERATOR.standard_normal(3).astype("float16"),
    "b/beta": np.array(2.5, "float64"),
    "c/kernel": np.zeros((0, 4), "float32"),
    "c/bias": np.array([True, False, True]),
    "d/kernel": np.arange(6, dtype="int64").reshape(2, 3),
    "d/bias": GENERATOR.standard_normal(2**19, dtype=np.float32),
}
SPECS = {name: TensorSpec(name, v.shape, v.dtype.name, role_of(name)) for name, v in ARRAYS.items()}
STORAGE = {name: f"layers/{name.split('/')[0]}/vars/{index}" for index, name in enumerate(ARRAYS)}
TARGET = Target(SPECS, {}, STORAGE)
NAMES = pytest.mark.parametrize("name", ["a.weights.h5", "a.h5", "a.safetensors"])


def give_blocks(values: np.ndarray, length: int = 1000) -> Iterator[memoryview]:
    content = memoryview(np.ascontiguousarray(values).tobytes())
    for start in range(0, len(content), length):
        yield content[start : start + length]


@NAMES
def test_every_value_is_in_its_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    tensors: list[tuple[str, Values]] = [
        (key, values if index % 2 else give_blocks(values))
        for index, (key, values) in enumerate(reversed(ARRAYS.items()))
    ]
    find_writer(path)(path, TARGET, tensors, {"source": "arrays"})
    written = open_file(path)
    assert set(written) == set(ARRAYS)
    for key, values in ARRAYS.items():
        assert written[key].spec.dtype == values.dtype.name
        assert np.asarray(written[key]).tobytes() == values.tobytes()
    assert written.metadata["source"] == "arrays"


@NAMES
def test_values_in_the_other_byte_order_are_turned(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    swapped = ((key, values.astype(values.dtype.newbyteorder(">"))) for key, values in ARRAYS.items())
    find_writer(path)(path, TARGET, swapped, {})
    for key, tensor in open_file(path).tensors.items():
        assert np.asarray(tensor).tobytes() == ARRAYS[key].tobytes()


@pytest.mark.parametrize("name", ["a.weights.h5", "a.h5"])
def test_hdf5_reads_types_as_it_wrote_them_itself(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    find_writer(path)(path, TARGET, ARRAYS.items(), {})
    with h5py.File(path) as ours, h5py.File(tmp_path / "own.h5", "w") as own:
        for key, values in ARRAYS.items():
            place = STORAGE[key] if name == "a.weights.h5" else f"{key.split('/')[0]}/{key}:0"
            dataset = own.create_dataset(place, data=values)
            assert ours[place].id.get_type() == dataset.id.get_type()
            assert (ours[place].shape, ours[place].chunks) == (values.shape, None)


@NAMES
def test_the_digest_is_that_of_the_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    places = find_layout(path)(path, TARGET, {"source_digest": "0" * 71})

    def finish() -> None:
        time.sleep(0.05)  # later than the first tensors
        amend_provenance(path, {"source_digest": "1" * 71})

    digest = fill_and_digest(path, places, SPECS, iter(ARRAYS.items()), finish)
    assert digest == digest_file(path)
    written = open_file(path)
    assert written.metadata["source_digest"] == "1" * 71
    assert all(np.asarray(written[key]).tobytes() == values.tobytes() for key, values in ARRAYS.items())


def test_only_what_is_final_is_hashed(tmp_path: Path) -> None:
    """Fill places against their order in the file: a byte hashed before its time would be a zero."""
    path = tmp_path / "plain"
    path.write_bytes(b"head" + bytes(8 * 1000))
    specs = {key: TensorSpec(key, (1000,), "uint8", role_of(key)) for key in "abcdefgh"}
    places = {key: 4 + 1000 * index for index, key in enumerate(specs)}

    def give() -> Iterator[tuple[str, Values]]:
        for key in "acbedhgf":
            time.sleep(0.01)  # time enough for the hashing thread to run ahead, if it could
            yield key, np.full(1000, ord(key), np.uint8)

    digest = fill_and_digest(path, places, specs, give(), lambda: None)
    assert path.read_bytes() == b"head" + b"".join(key.encode() * 1000 for key in specs)
    assert digest == digest_file(path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("z/kernel", np.zeros(3), "'z/kernel' has no place"),
        ("a/bias", np.zeros(7, "float32"), "'a/bias' has float32 values of shape"),
        ("a/bias", np.zeros(500), "'a/bias' has float64 values"),
        ("a/bias", [memoryview(bytes(28))], "'a/bias' has 28 bytes"),
        ("a/bias", [memoryview(bytes(2000))] * 2, "'a/bias' has 4000 bytes"),
    ],
)
@pytest.mark.parametrize("file", ["a.weights.h5", "a.h5", "a.safetensors"])
def test_tensors_that_are_not_the_target_s_are_refused(
    tmp_path: Path, file: str, name: str, values: np.ndarray | list[memoryview], message: str
) -> None:
    path = tmp_path / file
    given = values if isinstance(values, np.ndarray) else iter(values)
    with pytest.raises(PlanError, match=message) as error:
        find_writer(path)(path, TARGET, (ARRAYS | {name: given}).items(), {})
    assert "\n" not in str(error.value)


@NAMES
def test_a_missing_tensor_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    some = {key: values for key, values in ARRAYS.items() if key != "b/beta"}
    with pytest.raises(PlanError, match=r"'b/beta' is missing \(1 in all\)"):
        find_writer(path)(path, TARGET, some.items(), {})


def test_a_tensor_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    twice = [*ARRAYS.items(), ("a/bias", ARRAYS["a/bias"])]
    with pytest.raises(PlanError, match="comes twice"):
        find_writer(path)(path, TARGET, twice, {})


def test_an_error_while_making_tensors_ends_the_hashing_too(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    places = find_layout(path)(path, TARGET, {})

    def give() -> Iterator[tuple[str, Values]]:
        yield "a/kernel", ARRAYS["a/kernel"]
        raise WeightsError("a damaged source", "a whole one")

    with pytest.raises(WeightsError, match="a damaged source"):
        fill_and_digest(path, places, SPECS, give(), lambda: None)


def test_an_error_beside_the_writing_ends_the_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    places = find_layout(path)(path, TARGET, {})
    given = []

    def give() -> Iterator[tuple[str, Values]]:
        for key, values in ARRAYS.items():
            time.sleep(0.02)
            given.append(key)
            yield key, values

    def finish() -> None:
        raise PlanError("another source", "the one planned for")

    with pytest.raises(PlanError, match="another source"):
        fill_and_digest(path, places, SPECS, give(), finish)
    assert len(given) < len(ARRAYS)


def test_what_is_abandoned_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(b"x" * 10)
    progress = Progress()
    progress.end(abandoned=True)
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_behind(path, progress) == empty


def test_progress_never_goes_back() -> None:
    progress = Progress()
    progress.advance(5)
    progress.advance(3)
    assert progress.wait(4) == 5
    progress.end()
    assert progress.wait(0) is None


def test_a_file_without_room_for_a_name_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(bytes(8))
    with pytest.raises(PlanError, match="no place"):
        fill(path, {}, {}, [("a/kernel", np.zeros(2, "float32"))])
    assert path.read_bytes() == bytes(8)
