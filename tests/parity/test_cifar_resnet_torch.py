"""PyTorch's published CIFAR ResNets, through their dialect, on real images."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import medzoo
from medzoo import recipes
from medzoo.outputs import digest_file
from medzoo.weights.cards import find_card, moments_path

FILES = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}


@pytest.fixture(scope="module")
def test_images(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """All 3,000 test images (n, 32, 32, 3) 8-bit, and their classes by alphabet, which is CIFAR-10's order."""
    images, labels = [], []
    with zipfile.ZipFile(shared_data / "cifar10_jpeg" / "cifar10_jpeg.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.startswith("test/") and n.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        for name in names:
            images.append(np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")))
            labels.append(classes.index(name.split("/")[1]))
    assert len(images) == 3000
    return np.stack(images), np.array(labels)


def build_from(path: Path, name: str) -> keras.Model:
    source = medzoo.open_weights(path)
    assert (source.format, source.dialect) == ("torch", "cifar_resnet")
    model = medzoo.build(name, classes=10)
    plan = medzoo.make_plan(source, medzoo.describe(model), recipes.copy())
    assert plan.coverage == 1.0
    assert not plan.unused
    medzoo.apply(plan, source, model)
    return model


# The published accuracies on CIFAR-10 itself are .918 and .936; these images are strongly compressed.
@pytest.mark.parametrize(("name", "least"), [("resnet20", 0.79), ("resnet56", 0.81)])
def test_accuracy_on_compressed_images(
    name: str, least: float, shared_weights: Path, test_images: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = test_images
    contract = find_card(f"{name}.cifar10").contract()
    assert contract.order == "rgb"
    inputs = (images * np.array(contract.scale) + np.array(contract.offset)).astype("float32")
    model = build_from(shared_weights / FILES[name], name)
    accuracy = np.mean(np.argmax(model.predict(inputs, batch_size=250, verbose=0), axis=1) == labels)
    print(f"{name}: accuracy {accuracy:.4f}, n = {len(labels)}")
    assert accuracy >= least


@pytest.mark.parametrize("name", FILES)
def test_card_and_moments_are_the_file_s(name: str, shared_weights: Path, tmp_path: Path) -> None:
    path = shared_weights / FILES[name]
    card = find_card(f"{name}.cifar10")
    assert card.digest == digest_file(path)
    assert card.size == path.stat().st_size
    source = medzoo.open_weights(path)
    assert (card.format, card.dialect) == (source.format, source.dialect)
    medzoo.write_moments(source, tmp_path / "m.json")
    assert moments_path(card).read_bytes() == (tmp_path / "m.json").read_bytes()
