"""The data set itself: digest, parts, class order, named draws, light imports."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medzoo import data
from medzoo.data.dataset import Dataset, sort_classes
from medzoo.data.draws import make_generator
from medzoo.errors import DataError


def make_dataset() -> Dataset:
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "split": ["train", "test", "train", "validation"],
            "label": ["no", "yes", "yes", "no"],
        }
    )
    images = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    return Dataset("four", ("no", "yes"), table, 1, (1, 1), None, images=images)


def test_of_split_takes_table_and_images_together() -> None:
    part = make_dataset().of_split("train")
    assert part.table["id"].tolist() == ["a", "c"]
    assert part.images is not None
    assert part.images.reshape(-1).tolist() == [0, 2]
    assert part.classes == ("no", "yes")


def test_of_split_takes_paths() -> None:
    paths = tuple(map(Path, "abcd"))
    assert replace(make_dataset(), images=None, paths=paths).of_split("test").paths == (Path("b"),)


def test_of_split_refuses_other_names() -> None:
    with pytest.raises(DataError, match="'validaton' is not a split; expected one of 'validation'"):
        make_dataset().of_split("validaton")


@pytest.mark.parametrize("column", ["id", "split", "label"])
def test_digest_depends_on_every_recorded_column(column: str) -> None:
    dataset = make_dataset()
    changed = dataset.table.copy()
    changed.loc[0, column] = "other"
    assert replace(dataset, table=changed).digest != dataset.digest
    assert replace(dataset, table=dataset.table.assign(sex="F")).digest == dataset.digest


def test_digest_keeps_cells_apart() -> None:
    dataset = make_dataset()
    one = replace(dataset, table=pd.DataFrame({"id": ["ab"], "split": ["c"], "label": ["d"]}))
    other = replace(dataset, table=pd.DataFrame({"id": ["a"], "split": ["bc"], "label": ["d"]}))
    assert one.digest != other.digest


def test_classes_sort_by_value_then_by_name() -> None:
    assert sort_classes(["10", "9", "-1", "2.5", "b", "a", "b"]) == ("-1", "2.5", "9", "10", "a", "b")


def test_draws_are_keyed_by_seed_and_name() -> None:
    draws = {(seed, name): make_generator(seed, name).random() for seed in (0, 1) for name in ("a", "b")}
    assert len(set(draws.values())) == 4
    assert make_generator(1, "b").random() == draws[1, "b"]


def test_imports_stay_light() -> None:
    names = [module.name for module in pkgutil.walk_packages(data.__path__, "medzoo.data.")]
    imports = "; ".join(f"import {name}" for name in names)
    code = f"import sys; {imports}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
