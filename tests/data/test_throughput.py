"""What is measured, and what is concluded from it; never how fast this machine is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from pictures import make_arrays

from medzoo.contracts import find_preprocessing
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.feeding import throughput
from medzoo.data.feeding.throughput import Rates, Workload, judge, measure_rate, measure_rates, read_forever
from medzoo.errors import DataError

Write = Callable[..., Path]


def make_load(dataset: Dataset, **options: Any) -> Workload:
    return Workload(dataset, 4, 6, 3, find_preprocessing("tf"), **options)


def make_files(write_image: Write, count: int = 9) -> Dataset:
    paths = tuple(write_image(f"{n}.png", "L", (8, 9), seed=n) for n in range(count))
    table = pd.DataFrame({"id": [str(n) for n in range(count)], "split": "train", "label": "a"})
    return Dataset("files", ("a", "b"), table, 1, (9, 8), BYTE_RANGE, paths=paths)


@pytest.mark.parametrize("cache", ["off", "memory", "disk"])
@pytest.mark.parametrize("is_array", [False, True])
def test_every_part_is_measured_and_the_model_gets_whole_batches(
    write_image: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Any, is_array: bool
) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    seen: set[tuple[int, ...]] = set()
    kinds: set[str] = set()

    def step(images: Any, targets: Any) -> None:
        seen.update({tuple(images.shape), tuple(targets.shape)})
        kinds.add(images.dtype.name)

    dataset = make_arrays(10, size=(9, 8)) if is_array else make_files(write_image)
    load = make_load(
        dataset, cache=cache, augment=lambda image, _: tf.image.flip_left_right(image), fitted_size=6
    )
    rates = measure_rates(load, step, 0.05)
    assert min(rates.storage, rates.decode, rates.augment or 0, rates.pipeline, rates.step) > 0
    assert seen == {(4, 6, 6, 3), (4, len(dataset.classes))}
    assert kinds == {"float32"}
    assert not list((tmp_path / "cache").rglob("*.npy"))  # the cache of a few images helps nobody


def test_augmentation_that_crops_is_fed_larger_images() -> None:
    shapes = set()

    def crop(image: Any, _: Any) -> Any:
        shapes.add(tuple(image.shape))
        return image[1:7, 1:7]

    load = make_load(make_arrays(10), augment=crop, fitted_size=8)
    rates = measure_rates(load, lambda *_: None, 0.02)
    assert rates.augment
    assert {shape[:2] for shape in shapes} == {(8, 8)}


def test_without_augmentation_it_has_no_rate() -> None:
    assert measure_rates(make_load(make_arrays(10)), lambda *_: None, 0.02).augment is None


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="no images to measure"):
        measure_rates(make_load(make_arrays().of_split("test")), lambda *_: None, 0.02)


def test_a_rate_is_the_median_of_windows_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    # One second a turn, windows of a second; the first is slow, one later stalls.
    turns = iter(range(1000))
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: float(next(turns)))
    assert measure_rate(iter([1, 10, 10, 500, 12, 11, 7]), 5.0) == 11
    assert measure_rate(iter([8]), 5.0) == 8


def test_reading_goes_round(write_image: Write) -> None:
    for dataset in (make_files(write_image), make_arrays(9)):
        counts = list(itertools.islice(read_forever(dataset), 3))
        assert set(counts) <= {9, 18, 9 * throughput.count_workers()}


def rate(**given: float | None) -> Rates:
    return Rates(**({"storage": 900.0, "decode": 300.0, "augment": None, "pipeline": 250.0} | given))  # type: ignore[arg-type]


def test_the_verdict_names_what_limits_and_what_to_type(write_image: Write) -> None:
    load = make_load(make_files(write_image), cache="off")
    model = judge(rate(step=100.0), load, shares_cores=False)
    assert (model.limit, model.text) == (
        "model",
        "the model limits: the pipeline gives 250 images/s, 2.5 times what it takes",
    )
    shared = judge(rate(step=250.0), load, shares_cores=True)
    assert shared.text.endswith("; they share these cores, and reach about 125 together")
    decode = judge(rate(step=500.0), load, shares_cores=False)
    assert decode.limit == "decode"
    assert decode.text == (
        "decoding limits: the pipeline gives 250 images/s, and the model takes 2.0 times as many; "
        "try --cache memory"
    )
    storage = judge(rate(step=500.0, storage=270.0), load, shares_cores=False)
    assert storage.text.startswith("storage limits")
    augment = judge(rate(step=500.0, augment=260.0), load, shares_cores=False)
    assert augment.text.endswith("try --augment light, or none")
    # What is kept is neither read nor decoded again.
    kept = replace(load, cache="memory")
    assert judge(rate(step=500.0, augment=9000.0), kept, shares_cores=False).limit == "augment"
    assert judge(rate(step=500.0), kept, shares_cores=False).limit == "batches"


def test_a_cache_that_does_not_fit_is_not_proposed(
    write_image: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = make_load(make_files(write_image), cache="off")
    monkeypatch.setattr("medzoo.data.feeding.cache.find_free_memory", lambda: 10)
    assert judge(rate(step=500.0), load, shares_cores=False).text.endswith("try --cache disk")
    monkeypatch.setattr("medzoo.data.feeding.cache.find_free_disk", lambda _: 10)
    assert judge(rate(step=500.0), load, shares_cores=False).text.endswith(
        "try images stored smaller, near --image-size"
    )


def test_measuring_an_array_takes_nothing_from_it() -> None:
    dataset = make_arrays(10)
    assert dataset.images is not None
    before = np.array(dataset.images)
    measure_rates(make_load(dataset), lambda *_: None, 0.02)
    assert np.array_equal(dataset.images, before)
