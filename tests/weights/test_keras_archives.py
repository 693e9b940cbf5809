"""Keras's archives and lists of shards."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import pytest
from keras_files import (
    OPTIMIZER_NOTE,
    Arrays,
    check_equal,
    fill,
    make_nested,
    refuse,
    train_a_step,
    write_v3,
)

from medzoo.errors import WeightsError
from medzoo.weights.formats import keras_archive, keras_shards

# --- .keras --------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, Arrays]:
    model = make_nested()
    train_a_step(model)
    arrays = fill(model)
    model.save(tmp_path / "a.keras")
    return tmp_path / "a.keras", arrays


def repack(
    path: Path,
    compression: int = zipfile.ZIP_STORED,
    change: Callable[[str, bytes], bytes | None] = lambda _, content: content,
) -> None:
    """Write an archive anew, each member changed or, for None, left out."""
    with zipfile.ZipFile(path) as old:
        members = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)


def without_names(name: str, content: bytes) -> bytes:
    if name != keras_archive.WEIGHTS:
        return content
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        file.visititems(
            lambda _, item: item.attrs.pop("name", None) and None if isinstance(item, h5py.Group) else None
        )
    return stream.getvalue()


@pytest.mark.parametrize("compression", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_s_weights_are_read_in_place(
    archive: tuple[Path, Arrays], compression: int | None
) -> None:
    path, arrays = archive
    if compression is not None:
        repack(path, compression)
    assert keras_archive.matches(path)
    contents = keras_archive.read_headers(path)
    check_equal(contents, arrays)
    assert contents.notes == (OPTIMIZER_NOTE,)
    assert contents.metadata["keras_version"] == keras.__version__
    assert set(contents.metadata) == {"keras_version", "date_saved"}
    assert contents.storage["head/bias"] == "layers/dense/vars/1"
    assert sorted(path.parent.iterdir()) == [path]


def test_layer_names_come_from_the_configuration_where_the_weights_have_none(
    archive: tuple[Path, Arrays],
) -> None:
    path, arrays = archive
    repack(path, change=without_names)
    contents = keras_archive.read_headers(path)
    check_equal(contents, arrays)
    assert contents.numbered == frozenset()
    repack(path, change=lambda name, content: None if name == "config.json" else content)
    contents = keras_archive.read_headers(path)
    assert contents.numbered == set(contents.tensors)
    repack(path, change=lambda name, content: b"{" if name == "metadata.json" else content)
    assert keras_archive.read_headers(path).metadata == {}


def test_an_unzipped_archive_is_read(tmp_path: Path, archive: tuple[Path, Arrays]) -> None:
    path, arrays = archive
    with zipfile.ZipFile(path) as packed:
        packed.extractall(tmp_path / "folder")
    assert keras_archive.matches(tmp_path / "folder")
    assert not keras_archive.matches(tmp_path)
    contents = keras_archive.read_headers(tmp_path / "folder")
    check_equal(contents, arrays)
    assert [file.name for file in contents.files] == ["model.weights.h5", "metadata.json", "config.json"]


def test_a_configuration_that_names_classes_to_run_is_only_read(archive: tuple[Path, Arrays]) -> None:
    path, arrays = archive
    marker = path.with_name("boom")
    evil = {
        "module": "builtins",
        "class_name": "exec",
        "config": {
            "layers": [{"class_name": "Lambda", "config": {"function": f"open({str(marker)!r},'w')"}}]
        },
    }
    repack(path, change=lambda name, content: json.dumps(evil).encode() if name == "config.json" else content)
    check_equal(keras_archive.read_headers(path), arrays)
    assert not marker.exists()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_cut_off_anywhere_is_refused(
    archive: tuple[Path, Arrays], share: float, compression: int
) -> None:
    path, _ = archive
    repack(path, compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert keras_archive.matches(path)  # by its name
    refuse(keras_archive.read_headers, path, "is a damaged .keras archive")


def test_damage_within_an_archive_is_refused(archive: tuple[Path, Arrays]) -> None:
    path, _ = archive

    def halve(name: str, content: bytes) -> bytes:
        return content[: len(content) // 2] if name == keras_archive.WEIGHTS else content

    repack(path, change=halve)
    refuse(keras_archive.read_headers, path, "is a damaged HDF5 file")
    repack(path, change=lambda name, content: b"text" if name == keras_archive.WEIGHTS else content)
    refuse(keras_archive.read_headers, path, "is a damaged HDF5 file")
    repack(path, change=lambda name, content: None if name == keras_archive.WEIGHTS else content)
    assert not keras_archive.matches(path)
    refuse(keras_archive.read_headers, path, "holds no model.weights.h5")


def test_a_member_that_claims_more_than_the_file_holds_is_refused(archive: tuple[Path, Arrays]) -> None:
    path, _ = archive
    with zipfile.ZipFile(path) as packed:
        size = packed.getinfo(keras_archive.WEIGHTS).file_size.to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(size) >= 3
    path.write_bytes(content.replace(size, (2**31).to_bytes(4, "little")))
    refuse(keras_archive.read_headers, path, "a.keras is damaged at 'model.weights.h5'")


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("config.json", "{}")
        with packed.open(keras_archive.WEIGHTS, "w") as stream:
            for _ in range(101):
                stream.write(bytes(1_000_000))
    refuse(keras_archive.read_headers, path, "claims 101,000,000 bytes at 'model.weights.h5' and stores ")


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize(("name", "size"), [("metadata.json", 2**16), ("config.json", 2**23)])
def test_json_larger_than_any_real_one_is_refused(
    archive: tuple[Path, Arrays], name: str, size: int, folder: bool
) -> None:
    path, arrays = archive

    def store(length: int) -> Path:
        text = json.dumps("x" * (length - 2)).encode()
        repack(path, change=lambda member, content: text if member == name else content)
        if not folder:
            return path
        with zipfile.ZipFile(path) as packed:
            packed.extractall(path.with_suffix(""))
        return path.with_suffix("")

    check_equal(keras_archive.read_headers(store(size)), arrays)
    refuse(keras_archive.read_headers, store(size + 1), f"more than {size:,} bytes of {name}")


def test_json_that_unfolds_without_measure_is_refused(archive: tuple[Path, Arrays]) -> None:
    path, _ = archive
    body = b"[" + b"[]," * 2**21 + b"[]]"
    repack(path, zipfile.ZIP_DEFLATED, lambda name, content: body if name == "config.json" else content)
    refuse(keras_archive.read_headers, path, "claims 6,291,460 bytes at 'config.json' and stores")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_share_a_name_or_lead_out_are_refused(archive: tuple[Path, Arrays]) -> None:
    path, _ = archive
    content = path.read_bytes()
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("config.json", "{}")
    refuse(keras_archive.read_headers, path, "holds 'config.json' twice")
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("../out.json", "{}")
    refuse(keras_archive.read_headers, path, "holds a member named '../out.json'")


def test_an_encrypted_archive_is_refused(archive: tuple[Path, Arrays]) -> None:
    path, _ = archive
    content = bytearray(path.read_bytes())
    for match in re.finditer(rb"PK\x01\x02", content):
        if content[match.start() + 46 :].startswith(keras_archive.WEIGHTS.encode()):
            content[match.start() + 8] |= 1
    path.write_bytes(content)
    refuse(keras_archive.read_headers, path, "is encrypted")


# --- shards --------------------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, Arrays]:
    """Six shards; some layers' variables lie in two of them, and the names in the first alone."""
    model = make_nested()
    train_a_step(model)
    arrays = fill(model)
    folder = tmp_path / "shards"
    folder.mkdir()
    model.save_weights(folder / "x.weights.json", max_shard_size=5e-7)
    assert len(list(folder.iterdir())) > 4
    return folder / "x.weights.json", arrays


def test_shards_are_read_as_one(shards: tuple[Path, Arrays]) -> None:
    path, arrays = shards
    listed = json.loads(path.read_bytes())
    assert keras_shards.is_shard_list(listed)
    assert {type(names) for names in listed["weight_map"].values()} == {str, list}
    contents = keras_shards.read_headers(path)
    check_equal(contents, arrays)
    assert contents.files[0] == path
    assert sorted(contents.files) == sorted(path.parent.iterdir())
    assert contents.notes == (OPTIMIZER_NOTE,)
    assert contents.numbered == frozenset()
    assert contents.storage["head/bias"] == "layers/dense/vars/1"


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"weight_map": {}},
        {"weight_map": {"a": "model-00001.safetensors"}},
        {"weight_map": {"a": ["model-00001.safetensors"]}},
        {"weight_map": {"a": [1]}},
        {"weight_map": {"a": []}},
        {"weight_map": ["a"]},
    ],
)
def test_other_json_is_no_list_of_shards(tmp_path: Path, content: object) -> None:
    assert not keras_shards.is_shard_list(content)
    (tmp_path / "a.weights.json").write_text(json.dumps(content))
    refuse(keras_shards.read_headers, tmp_path / "a.weights.json", "is no list of shards")


def test_a_missing_a_cut_off_and_an_empty_shard_are_refused(shards: tuple[Path, Arrays]) -> None:
    path, _ = shards
    first = path.with_name("x_00000.weights.h5")
    content = first.read_bytes()
    first.unlink()
    refuse(keras_shards.read_headers, path, "lists 'x_00000.weights.h5', which is missing")
    first.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"x_00000\.weights\.h5 is a damaged HDF5 file"):
        keras_shards.read_headers(path)
    with h5py.File(first, "w") as file:
        file.create_group("layers")
    refuse(keras_shards.read_headers, path, "lists layers/.*/vars, which its shards do not hold")
    path.write_text(path.read_text()[:99])
    refuse(keras_shards.read_headers, path, "is no list of shards")


@pytest.mark.parametrize(
    "name", ["../out.h5", "/etc/out.h5", "sub/out.h5", "..\\out.h5", "C:out.h5", "a\0.h5"]
)
def test_a_shard_elsewhere_is_never_opened(tmp_path: Path, shards: tuple[Path, Arrays], name: str) -> None:
    path, _ = shards
    (path.parent / "sub").mkdir()
    for place in (tmp_path / "out.h5", path.parent / "sub" / "out.h5"):
        write_v3(place, {"layers/dense": 1})
    path.write_text(json.dumps({"weight_map": {"/layers/dense/vars": [name]}}))
    refuse(keras_shards.read_headers, path, "lists a shard .*; expected the name of a file beside it")


def test_a_shard_that_links_elsewhere_is_never_opened(tmp_path: Path, shards: tuple[Path, Arrays]) -> None:
    path, _ = shards
    first = path.with_name("x_00000.weights.h5")
    first.rename(tmp_path / "secret.h5")
    first.symlink_to(tmp_path / "secret.h5")
    refuse(keras_shards.read_headers, path, "lists a shard 'x_00000.weights.h5'; expected the name of a file")


def test_a_tensor_in_two_shards_is_refused(shards: tuple[Path, Arrays]) -> None:
    path, _ = shards
    listed = json.loads(path.read_text())
    path.with_name("y.h5").write_bytes(path.with_name("x_00000.weights.h5").read_bytes())
    listed["weight_map"]["/layers/depthwise_conv2d/vars"] = ["x_00001.weights.h5", "y.h5"]
    path.write_text(json.dumps(listed))
    with pytest.raises(WeightsError, match=r"y\.h5 holds two tensors named"):
        keras_shards.read_headers(path)
