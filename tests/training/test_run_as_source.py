"""A network trained here is a source like any other: CIFAR-10's ResNet20 moved to BreastMNIST."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.contracts import find_preprocessing
from medzoo.errors import ConfigError, WeightsError
from medzoo.training.config import make_config, read_config
from medzoo.transplant.input_channels import fold_contract
from medzoo.weights.source import model_of


@pytest.fixture(scope="module")
def cifar(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty training and ten test images of each class, as a folder."""
    folder = tmp_path_factory.mktemp("cifar")
    with zipfile.ZipFile(shared_data / "cifar10_jpeg" / "cifar10_jpeg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for split, count in (("train", 30), ("test", 10)):
            classes = sorted({name.split("/")[1] for name in names if name.startswith(split)})
            assert len(classes) == 10
            for label in classes:
                wanted = [name for name in names if name.startswith(f"{split}/{label}/")][:count]
                archive.extractall(folder, wanted)
    return folder


@pytest.fixture(scope="module")
def run(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of resnet20."""
    settings = {
        "data": {"source": str(cifar)},
        "model": {"name": "resnet20"},
        "training": {"epochs": 1, "precision": "float32"},
        "run": {"out": str(tmp_path_factory.mktemp("runs") / "cifar")},
    }
    return medzoo.train(make_config(settings)).path


@pytest.mark.slow
def test_a_run_s_network_and_contract_are_its_own(run: Path) -> None:
    source = medzoo.open_weights(run)
    assert (source.model, source.preprocessing, model_of(run)) == ("resnet20", "torch", "resnet20")
    assert source["head/kernel"].spec.shape == (64, 10)
    assert read_config(run / "config.toml").data.preprocessing == "torch"


@pytest.mark.slow
def test_a_run_moves_to_another_data_set(run: Path, shared_data: Path, tmp_path: Path) -> None:
    breast = shared_data / "medmnist" / "breastmnist.npz"
    settings = {
        "data": {"source": str(breast), "image_size": 28},
        "weights": {"src": str(run)},
        "training": {"epochs": 1, "precision": "float32", "learning_rate": 1e-9, "weight_decay": 0.0},
        "run": {"out": str(tmp_path / "breast")},
    }
    notes: list[str] = []
    moved = medzoo.train(make_config(settings), notes.append)
    assert any("network resnet20, 28×28×1, input contract torch" in note for note in notes)
    plan = medzoo.read_plan(moved / "plan.json").plan
    methods = {step.target.name: step.method for step in plan.steps}
    assert {name for name, method in methods.items() if method == "fresh"} == {"head/kernel", "head/bias"}
    # With a step of nothing, what was moved is what is there: the grey stem is the colour stem's sum, with the
    # channels' own scales of the contract folded in.
    before, after = medzoo.open_weights(run), medzoo.open_weights(moved.path)
    assert np.allclose(after["conv4_block3_2_conv/kernel"], before["conv4_block3_2_conv/kernel"], atol=1e-6)
    contract = find_preprocessing("torch")
    colours, grey = contract.for_channels(3), contract.for_channels(1)
    stem, _ = fold_contract(np.asarray(before["conv1_conv/kernel"]), *colours, *grey)
    assert np.allclose(after["conv1_conv/kernel"], stem, atol=1e-6)


@pytest.mark.slow
def test_the_contract_of_the_weights_comes_before_the_network_s(
    run: Path, shared_data: Path, tmp_path: Path
) -> None:
    text = (run / "config.toml").read_text(encoding="utf-8")
    assert 'preprocessing = "torch"' in text
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "best.weights.h5").write_bytes((run / "best.weights.h5").read_bytes())
    changed = text.replace('preprocessing = "torch"', 'preprocessing = "unit"')
    (tmp_path / "other" / "config.toml").write_text(changed, encoding="utf-8")
    from medzoo.training.prepare import prepare

    settings = {
        "data": {"source": str(shared_data / "medmnist" / "breastmnist.npz"), "image_size": 28},
        "weights": {"src": str(tmp_path / "other")},
    }
    assert prepare(make_config(settings)).preprocessing.name == "unit"
    given = make_config(settings, [("data.preprocessing", "raw")])
    assert prepare(given).preprocessing.name == "raw"
    assert prepare(given).config.data.preprocessing == "raw"
    with pytest.raises(ConfigError, match="unknown input contract 'tosh'; expected one of tf, caffe, torch"):
        prepare(make_config(settings, [("data.preprocessing", "tosh")]))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no best.weights.h5"):
        medzoo.open_weights(tmp_path)
    (tmp_path / "config.toml").write_text("[model]\nname = 3\n")
    with pytest.raises(WeightsError, match=r"holds no best.weights.h5"):
        medzoo.open_weights(tmp_path)
    with pytest.raises(WeightsError, match="is no training run"):
        model_of(tmp_path)
