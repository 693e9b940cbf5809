"""How long finished runs' networks take to predict, measured on this machine in turn, and what they multiply."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

from medzoo.errors import ConfigError, TrainingError
from medzoo.models.catalog import find_model
from medzoo.models.cost import measure_costs
from medzoo.training.trained import TrainedRun, load_network, read_run

#: Calls that are not timed: the first one traces the graph, the next ones fill caches.
WARM_UP = 3

#: Timed rounds at batch 1 and at the run's batch.
ROUNDS = 30
BATCH_ROUNDS = 7


@dataclass(frozen=True)
class Latency:
    """Medians in seconds: of one image, and of one batch of `batch_size`; and the network's exact cost.

    `macs` is None where a network's multiplications are not known.
    """

    one: float
    batch: float
    batch_size: int
    macs: int | None
    precision: str


def measure_latencies(
    runs: Mapping[str, str | PathLike[str]], rounds: int = ROUNDS, batch_rounds: int = BATCH_ROUNDS
) -> dict[str, Latency]:
    """Measure how long each run's network takes, under the run's precision, as a TensorFlow graph without XLA.

    Random images of the run's size, already in memory. Every network is called `WARM_UP` times, then all of them in
    turn, round by round, so that what else the machine does meets all alike; medians are given.

    Raises:
        ConfigError: a folder is no finished run, or rounds below 1.
        WeightsError: the weights of one cannot be read.
        TrainingError: memory ran out.
    """
    if rounds < 1 or batch_rounds < 1:
        raise ConfigError(f"{min(rounds, batch_rounds)} rounds", "1 or more", "30")
    import tensorflow as tf

    trained = {name: read_run(path) for name, path in runs.items()}
    try:
        models = {name: load_network(run) for name, run in trained.items()}
        predictors = {name: _make_graph(model, tf) for name, model in models.items()}
        singles = {name: _make_images(run, 1, tf) for name, run in trained.items()}
        ones = _time_in_turn(predictors, singles, rounds)
        many = {name: _make_images(run, run.config.training.batch_size, tf) for name, run in trained.items()}
        batches = _time_in_turn(predictors, many, batch_rounds)
    except tf.errors.ResourceExhaustedError as error:
        raise TrainingError("out of memory", "fewer runs at once", "no --latency") from error
    return {
        name: Latency(
            statistics.median(ones[name]),
            statistics.median(batches[name]),
            run.config.training.batch_size,
            _count_macs(run, models[name]),
            run.precision,
        )
        for name, run in trained.items()
    }


def describe_hardware() -> str:
    """Say what is measured on: devices, the processor's cores, and TensorFlow's version."""
    import tensorflow as tf

    devices = [
        str(tf.config.experimental.get_device_details(device).get("device_name", "GPU"))
        for device in tf.config.list_physical_devices("GPU")
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = f"{_name_processor()}, {cores} core{'s' * (cores != 1)}"
    return f"{'; '.join([*devices, processor])}; TensorFlow {version('tensorflow')}, a graph without XLA"


def _make_graph(model: Any, tf: Any) -> Callable[[Any], Any]:
    """Give a network's prediction as a graph; `.numpy()` of what it gives waits for the device."""
    call = tf.function(lambda images: model(images, training=False))
    return lambda images: call(images).numpy()


def _make_images(run: TrainedRun, count: int, tf: Any) -> Any:
    """Make images (count, size, size, channels) of noise."""
    return tf.random.normal((count, run.image_size, run.image_size, run.channels))


def _time_in_turn(
    predictors: Mapping[str, Callable[[Any], Any]], images: Mapping[str, Any], rounds: int
) -> dict[str, list[float]]:
    """Time each predictor `rounds` times, A B A B, after calls that are not timed."""
    for name, predict in predictors.items():
        for _ in range(WARM_UP):
            predict(images[name])
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(rounds):
        for name, predict in predictors.items():
            start = time.perf_counter()
            predict(images[name])
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _count_macs(run: TrainedRun, model: Any) -> int | None:
    """Count a network's multiply-accumulates of one image from its graph."""
    assert run.config.model.name is not None
    try:
        rows = measure_costs(model, find_model(run.config.model.name).stages)
    except ConfigError:
        return None
    return sum(row.macs for row in rows if not row.block)


def _name_processor() -> str:
    """Name the processor as the system does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or "unnamed processor"
