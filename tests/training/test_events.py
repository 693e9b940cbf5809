"""Event files that TensorBoard reads, MLflow without a network, and watchers that fail."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medzoo.errors import ConfigError
from medzoo.training.monitoring.events import EventFiles, scale_pictures
from medzoo.training.monitoring.guard import Guarded
from medzoo.training.monitoring.history import write_history
from medzoo.training.monitoring.watch import Progress


def _row(epoch: float, **values: float) -> dict[str, float]:
    """Give a row as the loop makes it."""
    fixed = {"epoch": epoch, "step": round(epoch * 10), "loss": 1 / epoch, "val_loss": 0.5, "val_auroc": 0.8}
    rates = {"learning_rate": 1e-3, "seconds": 2.0, "images_per_second": 99.6, "waiting": 0.02}
    return fixed | values | rates


def _read_events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def _watch(folder: Path, start: int, stop: int, loss: float, steps: int = 1000) -> EventFiles:
    """Write the events of some steps, a validation every hundred."""
    batch = np.linspace(-1, 1, 20 * 8 * 6 * 3, dtype=np.float32).reshape(20, 8, 6, 3)
    events = EventFiles(folder, lambda: batch)
    events.begin(Progress(start, steps, 100))
    for step in range(start + 1, stop + 1):
        events.stepped(Progress(step, steps, 100), loss)
        if step % 100 == 0:
            events.validated(Progress(step, steps, 100), _row(step / 100, val_kappa=math.nan), is_best=False)
    return events


def test_tensorboard_reads_scalars_and_images(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    _watch(tmp_path / "events", 0, 200, 0.5).end()
    read = _read_events(tmp_path / "events")
    assert set(read.Tags()["scalars"]) == {
        "loss/steps",
        "loss/training",
        "loss/validation",
        "validation/auroc",
        "learning_rate",
        "speed/images_per_second",
        "speed/waiting",
    }
    assert [(point.step, point.value) for point in read.Scalars("loss/validation")] == [
        (100, 0.5),
        (200, 0.5),
    ]
    assert len(read.Scalars("loss/steps")) == 200
    assert read.Tags()["images"] == [f"augmented/{number:02d}" for number in range(1, 17)]
    first = read.Images("augmented/01")[0]
    with Image.open(io.BytesIO(first.encoded_image_string)) as picture:
        assert (picture.size, picture.mode) == ((6, 8), "RGB")
        assert np.array_equal(np.asarray(picture)[0, 0], [0, 0, 0])


def test_a_resumed_run_takes_back_what_was_beyond_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    _watch(tmp_path, 0, 170, 1.0).end()
    _watch(tmp_path, 100, 300, 2.0).end()
    points = [(point.step, point.value) for point in _read_events(tmp_path).Scalars("loss/steps")]
    assert points == [(step, 1.0 if step <= 100 else 2.0) for step in range(1, 301)]


def test_a_long_run_writes_few_points_whose_mean_is_the_loss(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    events = EventFiles(tmp_path)
    events.begin(Progress(0, 20_000, 100))
    for step in range(1, 101):
        events.stepped(Progress(step, 20_000, 100), float(step))
    events.end()
    points = _read_events(tmp_path).Scalars("loss/steps")
    assert [point.step for point in points] == list(range(10, 101, 10))
    assert points[0].value == 5.5


def test_event_files_need_tensorboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(ConfigError, match=r"pip install 'medzoo\[tensorboard\]'"):
        EventFiles(tmp_path / "events")
    assert not (tmp_path / "events").exists()


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (5, 1)])
def test_any_number_of_channels_can_be_looked_at(channels: int, shown: int) -> None:
    images = np.random.default_rng(0).normal(size=(2, 4, 5, channels)) * 3 - 7
    pictures = scale_pictures(images)
    assert pictures.shape == (2, 4, 5, shown)
    assert pictures.min(axis=(0, 1, 2)).tolist() == [0] * shown
    assert pictures.max(axis=(0, 1, 2)).tolist() == [255] * shown
    assert scale_pictures(np.full((1, 2, 2, 1), 7.0)).max() == 0


class _Failing:
    """A watcher that fails from a call on."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def _fail(self, *arguments: Any) -> None:
        self.calls += 1
        raise self.error

    begin = stepped = validated = end = _fail


def test_a_watcher_that_fails_is_told_once_and_stops_nothing() -> None:
    told: list[str] = []
    watcher = _Failing(OSError("no room\nleft"))
    guarded = Guarded(watcher, "the event files", told.append)
    guarded.begin(Progress(0, 10, 5))
    guarded.stepped(Progress(1, 10, 5), 0.5)
    guarded.validated(Progress(1, 10, 5), {}, True)
    guarded.end()
    assert told == ["note: the event files failed, training goes on without: no room left"]
    assert watcher.calls == 2  # the first, and the end, which gives back what it holds
    with pytest.raises(KeyboardInterrupt):
        Guarded(_Failing(KeyboardInterrupt()), "the bar").begin(Progress(0, 10, 5))


@pytest.fixture
def track(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Track a run in a folder of this machine; no connection can be made."""
    pytest.importorskip("mlflow")
    import socket

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = dict(os.environ)
    from medzoo.training.monitoring.tracking import Tracking

    def make(config: Any = None) -> Tracking:
        return Tracking(str(tmp_path / "tracked"), tmp_path / 'it\'s a "run"', config)

    yield make
    for name in set(os.environ) - set(before):
        del os.environ[name]


def test_mlflow_tracks_in_a_folder_and_goes_on_after_a_resume(
    track: Callable[..., Any], tmp_path: Path
) -> None:
    from medzoo.training.monitoring.tracking import record_results

    first = track({"training": {"epochs": 2, "seed": None}, "data": {"source": "x" * 900}})
    first.begin(Progress(0, 20, 10))
    first.stepped(Progress(10, 20, 10), 0.5)
    first.validated(Progress(10, 20, 10), _row(1, val_kappa=math.nan), is_best=True)
    first.end()
    assert first.client.get_run(first.run_id).info.status == "KILLED"
    again = track({})
    again.begin(Progress(10, 20, 10))
    assert again.run_id == first.run_id
    again.validated(Progress(20, 20, 10), _row(2), is_best=True)
    again.end()
    run, address, told = again.run, str(tmp_path / "tracked"), []
    record_results(address, run, told.append)
    assert len(told) == 1  # there are none yet, and the run is done all the same
    assert "No such file" in told[0]
    write_history(run, [_row(2)])
    (run / "metrics.json").write_text('{"test": {"auroc": {"value": 0.75, "low": 0.5, "high": null}}}')
    record_results(address, run)
    record_results(address, tmp_path / "untracked")
    recorded = again.client.get_run(first.run_id)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params == {"training.epochs": "2", "data.source": "x" * 500}
    assert recorded.data.metrics["test_auroc"] == 0.75
    assert recorded.data.metrics["test_auroc_low"] == 0.5
    assert "val_kappa" not in recorded.data.metrics
    losses = again.client.get_metric_history(first.run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [(10, 1.0), (20, 0.5)]
    other = track({})
    other.begin(Progress(0, 20, 10))
    assert other.run_id != first.run_id


def test_mlflow_addresses_that_cannot_be_used_are_refused(track: Callable[..., Any]) -> None:
    from medzoo.training.monitoring import tracking

    with pytest.raises(ConfigError, match="'ftp://x'; expected a folder"):
        tracking.Tracking("ftp://x", "run")
    if not tracking._has_sqlalchemy():
        with pytest.raises(ConfigError, match="pip install mlflow"):
            tracking.Tracking("sqlite:///runs.db", "run")


def test_tracking_needs_mlflow(track: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(ConfigError, match=r"pip install 'medzoo\[mlflow\]'"):
        track()
