"""How many images a second each part of the pipeline gives, how many a model takes, and which of them limits."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.contracts import Preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.augment import Augment
from medzoo.data.feeding.cache import Cache, choose_cache, find_cached
from medzoo.data.feeding.fetch import count_workers
from medzoo.data.feeding.fitting import choose_sides
from medzoo.data.feeding.pipeline import make_batches
from medzoo.errors import DataError

WINDOWS = 5  # of which the median counts; one more before them warms up
FOREVER = 10**6  # epochs
READ_AT_ONCE = 16  # files
AUGMENTED = 64  # images that augmentation is measured on

#: (images (b, …), targets (b, k)) → after one step of training on them.
Step = Callable[[Any, Any], None]


@dataclass(frozen=True)
class Workload:
    """What is measured: a data set, and what training would do with it."""

    dataset: Dataset
    batch_size: int
    image_size: int
    channels: int
    preprocessing: Preprocessing
    cache: Cache = "auto"
    augment: Augment | None = None
    fitted_size: int | None = None

    @property
    def fitted(self) -> int:
        """The size that images are fitted to, before augmentation crops them."""
        return self.fitted_size if self.augment and self.fitted_size else self.image_size

    def choose_cache(self, wanted: Cache) -> Cache:
        """Choose where prepared images are kept.  Raises DataError where they do not fit."""
        sides = choose_sides(self.dataset, self.fitted)
        return choose_cache(self.dataset, sides, self.channels, self.preprocessing, wanted)


@dataclass(frozen=True)
class Rates:
    """Images per second: encoded from storage, decoded and fitted, augmented, as batches, and through the model."""

    storage: float
    decode: float
    augment: float | None
    pipeline: float
    step: float


@dataclass(frozen=True)
class Verdict:
    """Which part limits (storage, decode, augment, batches or model), in a line for a person."""

    limit: str
    text: str


def measure_rates(load: Workload, step: Step, seconds: float = 3.0) -> Rates:
    """Measure every part alone, then the whole pipeline, then the step, each for some seconds.

    The pipeline is measured on as many images as are decoded in that time, after an epoch that fills its cache.
    Files that the system holds in memory are read from there: the first measurement after a start is storage's own.
    Raises DataError for an empty data set, an unreadable image and a cache that does not fit.
    """
    if not len(load.dataset):
        raise DataError(f"{load.dataset.name}: no images to measure", "at least one")
    place = load.choose_cache(load.cache)
    storage = measure_rate(read_forever(load.dataset), seconds)
    decode = measure_rate(_count(_make(load, cache="off", augment=None)), seconds)
    augment = None
    if load.augment is not None:
        augment = measure_rate(_count(_make(_keep_few(load))), seconds)
    count = min(len(load.dataset), max(4 * load.batch_size, int(decode * seconds)))
    rows = np.linspace(0, len(load.dataset) - 1, count).astype(int)
    few = replace(load, dataset=load.dataset.take(rows))
    kept = find_cached(few.dataset, choose_sides(few.dataset, few.fitted), few.channels, few.preprocessing)
    was_there = kept.exists()
    try:
        batches = _make(few, cache=place, shuffle=True)
        counts = _count(batches)
        if place == "memory":  # what the first epoch makes is not what later ones find
            for _ in range(-(-count // load.batch_size)):
                next(counts)
        pipeline = measure_rate(counts, seconds)
        images, targets = next(iter(batches))
    finally:
        if place == "disk" and not was_there:  # of these few images alone, which no run looks for
            kept.unlink(missing_ok=True)
    return Rates(storage, decode, augment, pipeline, measure_rate(_train(step, images, targets), seconds))


def judge(rates: Rates, load: Workload, shares_cores: bool) -> Verdict:
    """Say which part limits, by how much, and what to type.

    Where model and pipeline share the processor's cores, the line also says what they reach together.
    """
    together = 1 / (1 / rates.pipeline + 1 / rates.step)
    shared = f"; they share these cores, and reach about {together:,.0f} together" if shares_cores else ""
    if rates.pipeline >= rates.step:
        times = rates.pipeline / rates.step
        found = f"the pipeline gives {rates.pipeline:,.0f} images/s, {times:.1f} times what it takes"
        return Verdict("model", f"the model limits: {found}{shared}")
    place = load.choose_cache(load.cache)
    parts = {"augment": rates.augment} if rates.augment is not None else {}
    if place == "off":
        parts |= {"storage": rates.storage, "decode": rates.decode}
    limit = min(parts, key=lambda part: parts[part] or 0.0, default="batches")
    names = {
        "augment": "augmentation",
        "decode": "decoding",
        "storage": "storage",
        "batches": "making batches",
    }
    times = rates.step / rates.pipeline
    found = (
        f"the pipeline gives {rates.pipeline:,.0f} images/s, and the model takes {times:.1f} times as many"
    )
    remedy = _find_remedy(limit, load)
    return Verdict(limit, f"{names[limit]} limits: {found}{shared}" + (f"; try {remedy}" if remedy else ""))


def _find_remedy(limit: str, load: Workload) -> str:
    """Find what to type against a limit: a cache that fits, or less augmentation."""
    if limit == "augment":
        return "--augment light, or none"
    if limit == "batches":
        return "a larger --batch-size" if load.batch_size < 16 else ""
    caches: tuple[Cache, ...] = ("memory", "disk")
    for wanted in caches:
        try:
            if load.choose_cache(wanted) == wanted:
                return f"--cache {wanted}"
        except DataError:
            continue
    return "images stored smaller, near --image-size" if limit == "decode" else "a faster disk"


def measure_rate(counts: Iterator[int], seconds: float) -> float:
    """Measure how many a second come: the median of five windows, after one that warms up.

    >>> 0 < measure_rate(itertools.repeat(1), 0.01)
    True
    """
    rates: list[float] = []
    total, start = 0, time.perf_counter()
    for count in counts:
        total += count
        now = time.perf_counter()
        if now - start >= seconds / WINDOWS:
            rates.append(total / (now - start))
            total, start = 0, now
            if len(rates) > WINDOWS:
                break
    return statistics.median(rates[1:] or rates)


def read_forever(dataset: Dataset) -> Iterator[int]:
    """Read encoded images, or an array's, again and again in an order as drawn for training; give their counts."""
    order = np.random.default_rng(0).permutation(len(dataset))
    chunks = [order[start : start + READ_AT_ONCE] for start in range(0, len(order), READ_AT_ONCE)]

    def read(rows: NDArray[np.int64]) -> int:
        """Read some rows' images."""
        if dataset.images is not None:
            np.take(dataset.images, rows, axis=0)
        elif dataset.bundle is not None:
            dataset.bundle.read(rows)
        else:
            for row in rows:
                dataset.paths[row].read_bytes()
        return len(rows)

    workers = count_workers()
    turns = itertools.cycle(chunks)
    with ThreadPoolExecutor(workers) as pool:
        while True:
            yield sum(pool.map(read, itertools.islice(turns, workers)))


def _make(load: Workload, **changes: Any) -> Any:
    """Make the batches of a workload, with some options changed."""
    options: dict[str, Any] = {"cache": load.cache, "augment": load.augment, "shuffle": False} | changes
    cropped = options["augment"] is not None
    return make_batches(
        load.dataset,
        batch_size=load.batch_size,
        image_size=load.image_size if cropped else load.fitted,
        channels=load.channels,
        preprocessing=load.preprocessing,
        epochs=FOREVER,
        fitted_size=load.fitted_size,
        **options,
    )


def _keep_few(load: Workload) -> Workload:
    """Give a workload of a few images that are fitted already, so that only augmentation is left to do."""
    few = load.dataset.take(np.arange(min(AUGMENTED, len(load.dataset))))
    raw = replace(load.preprocessing, scale=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0), order="rgb")
    alone = replace(load, dataset=few, preprocessing=raw, augment=None, image_size=load.fitted, cache="off")
    taken: list[NDArray[np.float32]] = []
    for images, _ in _make(alone).as_numpy_iterator():
        taken.append(images)
        if sum(map(len, taken)) >= len(few):
            break
    images = np.concatenate(taken)[: len(few)]
    ready = replace(
        few, images=images, paths=(), bundle=None, channels=load.channels, size=images.shape[1:-1]
    )
    squash = replace(load.preprocessing, fit="squash")
    return replace(load, dataset=replace(ready, decoder="tensorflow"), preprocessing=squash, cache="off")


def _count(batches: Any) -> Iterator[int]:
    """Give the sizes of batches as they come."""
    for images, _ in batches:
        yield int(images.shape[0])


def _train(step: Step, images: Any, targets: Any) -> Iterator[int]:
    """Train on one batch again and again, and give its size."""
    while True:
        step(images, targets)
        yield int(images.shape[0])
