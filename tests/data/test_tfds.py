"""TensorFlow Datasets: features and splits mapped, with a stand-in for the package and with the package itself."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medzoo.data.containers import tfds as reader
from medzoo.data.containers.tfds import read_tfds
from medzoo.errors import DataError


class FakeImage:
    np_dtype = np.uint8


class FakeClassLabel:
    def __init__(self, *names: str) -> None:
        self.names = list(names)


class FakeSequence:
    def __init__(self, feature: object) -> None:
        self.feature = feature


class FakeBuilder:
    data_dir = "/data"

    def __init__(
        self, features: dict[str, object], splits: dict[str, list[dict[str, Any]]], prepared: bool
    ) -> None:
        self.prepared, self.splits, self.asked = prepared, splits, {}
        self.info = SimpleNamespace(
            features=features,
            supervised_keys=("image", "label"),
            splits={name: SimpleNamespace(num_bytes=100) for name in splits},
        )

    def is_prepared(self) -> bool:
        return self.prepared

    def as_dataset(self, split: str, **options: Any) -> list[dict[str, Any]]:
        self.asked = options
        return self.splits[split]


Install = Callable[..., FakeBuilder]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package in the place of tensorflow-datasets that knows one set."""

    def put(
        splits: dict[str, list[dict[str, Any]]],
        label: object = None,
        prepared: bool = True,
        **others: object,
    ) -> FakeBuilder:
        features = {"image": FakeImage(), "label": label or FakeClassLabel("no", "yes"), **others}
        builder = FakeBuilder(features, splits, prepared)
        package = SimpleNamespace(
            builder=lambda name: builder,
            as_numpy=iter,
            ReadConfig=lambda **options: options,
            decode=SimpleNamespace(
                PartialDecoding=lambda wanted, decoders: (wanted, decoders), SkipDecoding=lambda: "skip"
            ),
            features=SimpleNamespace(Image=FakeImage, ClassLabel=FakeClassLabel, Sequence=FakeSequence),
        )
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", package)
        return builder

    return put


def make_examples(*labels: object, **more: Any) -> list[dict[str, Any]]:
    return [{"image": f"image {row}".encode(), "label": label, **more} for row, label in enumerate(labels)]


def test_splits_and_names_are_mapped(install: Install) -> None:
    builder = install(
        {
            "train": make_examples(np.int64(0), np.int64(1), patient_id=b"p1"),
            "dev": make_examples(np.int64(1), patient_id=b"p2"),
            "extra": make_examples(np.int64(1)),
        },
        patient_id=object(),
    )
    listing = read_tfds("tfds:toy")
    assert listing.table.to_dict("list") == {
        "id": ["train/0", "train/1", "dev/0"],
        "label": ["no", "yes", "yes"],
        "split": ["train", "train", "validation"],
        "patient": ["p1", "p1", "p2"],
    }
    assert listing.bundle is not None
    assert listing.bundle.read([1, 2]) == [b"image 1", b"image 0"]
    assert listing.notes == ("tfds:toy: not used: extra",)
    assert builder.asked["read_config"] == {"try_autocache": False}
    assert builder.asked["decoders"] == (
        {"image": True, "label": True, "patient_id": True},
        {"image": "skip"},
    )


def test_a_single_split_is_none_and_unlabelled_images_are_left_out(install: Install) -> None:
    install({"train": make_examples(np.int64(1), np.int64(-1), np.int64(0))})
    listing = read_tfds("tfds:toy")
    assert "split" not in listing.table
    assert listing.table["id"].tolist() == ["train/0", "train/2"]
    assert listing.notes == ("tfds:toy: 1 images without a label are left out",)


def test_lists_of_labels_become_marks(install: Install) -> None:
    label = FakeSequence(FakeClassLabel("mass", "cyst", "scar"))
    install({"train": make_examples(np.array([2, 0]), np.array([], np.int64), np.array([1]))}, label)
    listing = read_tfds("tfds:toy")
    assert listing.classes == ("mass", "cyst", "scar")
    assert listing.marks is not None
    assert listing.marks.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert listing.table["label"].tolist() == ["mass|scar", "", "cyst"]


def test_what_cannot_be_used_is_refused(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install({"train": make_examples(np.int64(0))}, prepared=False)
    with pytest.raises(DataError, match=r"not prepared in /data and MEDZOO_OFFLINE is set.*TFDS_DATA_DIR"):
        read_tfds("tfds:toy")
    install({"unsupervised": make_examples(np.int64(0))})
    with pytest.raises(DataError, match="has the splits unsupervised; expected train"):
        read_tfds("tfds:toy")
    install({"train": make_examples(np.int64(-1))})
    with pytest.raises(DataError, match="no labelled images"):
        read_tfds("tfds:toy")
    builder = install({"train": make_examples(np.int64(0))})
    builder.info.supervised_keys = None
    builder.info.features["label"] = object()
    with pytest.raises(DataError, match="expected one image and one label"):
        read_tfds("tfds:toy")
    install({"train": make_examples(np.int64(0), np.int64(0))})
    monkeypatch.setattr(reader, "BLOB_LIMIT", 13)
    with pytest.raises(DataError, match=r"holds 100 bytes or more.*read in place"):
        read_tfds("tfds:toy")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match=r"pip install 'medzoo\[tfds\]'"):
        read_tfds("tfds:toy")


def test_the_real_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")

    class Medzoo_Toy(tfds.core.GeneratorBasedBuilder):  # noqa: N801 - its name is the set's
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(shape=(None, None, 1)), "other": tfds.features.Text()}
            features["label"] = tfds.features.ClassLabel(names=["no", "yes"])
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples(0, 6), "test": self._generate_examples(6, 4)}

        def _generate_examples(self, start: int, count: int) -> Any:
            for number in range(start, start + count):
                pixels = np.full((5, 4 + number, 1), 20 * number, np.uint8)
                yield number, {"image": pixels, "other": "x", "label": ("no", "yes")[number % 2]}

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(tfds, "builder", lambda name: Medzoo_Toy(data_dir=tmp_path))
    monkeypatch.setenv("MEDZOO_OFFLINE", "0")
    listing = read_tfds("tfds:medzoo_toy")
    assert listing.table["split"].value_counts().to_dict() == {"train": 6, "test": 4}
    assert listing.bundle is not None
    for row, blob in enumerate(listing.bundle.read(range(10))):
        assert blob.startswith(b"\x89PNG")
        pixels = np.asarray(Image.open(io.BytesIO(blob)))
        number = pixels[0, 0] // 20
        assert pixels.shape == (5, 4 + number)
        assert listing.table["label"][row] == ("no", "yes")[number % 2]
    monkeypatch.undo()
    monkeypatch.setattr(tfds, "builder", lambda name: Medzoo_Toy(data_dir=tmp_path))
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    assert len(read_tfds("tfds:medzoo_toy").table) == 10  # prepared: no network is asked for
