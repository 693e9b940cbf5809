"""Several devices train as one does: in processes of their own, as devices are fixed when TensorFlow begins."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medzoo.errors import ConfigError, TrainingError
from medzoo.training.stepping.devices import Devices
from medzoo.training.stepping.distribution import (
    VARIABLE,
    choose_strategy,
    choose_xla_between,
    is_follower,
    open_devices,
    read_cluster,
)
from medzoo.training.stepping.hardware import Choice

#: Batches of 7 of 33 images: no batch has two equal halves, and an epoch's last is of 5.
STEPS = 20
NETWORKS = ("cbr_tiny", "vgg16@block2")


def write_images(root: Path) -> Path:
    """47 noisy grey images of two classes, 33 of them for training."""
    generator = np.random.default_rng(0)
    for name, level, count in (("a", 120, 24), ("b", 126, 23)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(generator.normal(level, 30, (32, 32)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def configure(images: Path, out: Path, network: str, devices: int) -> Any:
    """Settings without anything random after the first weights, whose every value has a gradient that matters."""
    from medzoo.training.config import make_config

    return make_config(
        {
            "data": {"source": str(images), "image_size": 32},
            "model": {"name": network},
            "training": {
                "steps": STEPS,
                "batch_size": 7,
                "precision": "float32",
                "learning_rate": 0.01,
                "devices": devices,
            },
            "optimizer": {"name": "sgd", "average": 0.5, "clip_norm": 1.0},
            "validation": {"every": 2},
            "run": {"out": str(out)},
        }
    )


def train_and_note(images: Path, out: Path, network: str, devices: int) -> list[float]:
    """Train, and give the loss of every step."""
    import medzoo
    from medzoo.training.stepping.stepper import Stepper

    losses: list[float] = []
    run = Stepper.run

    def note(self: Stepper, batches: Any, number: int) -> Any:
        done = run(self, batches, number)
        losses.extend(done.losses.tolist())
        return done

    Stepper.run = note  # type: ignore[method-assign]
    try:
        medzoo.train(configure(images, out, network, devices))
    finally:
        Stepper.run = run  # type: ignore[method-assign]
    return losses


def start(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start this file as a process."""
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process to end well, and give what it printed."""
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint[-3000:]
    return said


def start_hosts(*arguments: object) -> list[subprocess.Popen[str]]:
    """Start two processes that are hosts of one cluster, the chief first."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [start(*arguments, **{VARIABLE: write_cluster(addresses, host)}) for host in range(2)]


def write_cluster(addresses: Sequence[str], host: int) -> str:
    """Write a `TF_CONFIG`."""
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": host}})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "images")


@pytest.fixture(scope="module")
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Runs on one device and on two, in one process, and each one's losses."""
    root = tmp_path_factory.mktemp("runs")
    return root, json.loads(finish(start("devices", images, root)))


def compare(root: Path, one: str, other: str, losses: dict[str, list[float]]) -> None:
    """Compare the losses and the kept weights of two runs."""
    import medzoo

    assert len(losses[one]) == STEPS
    np.testing.assert_allclose(losses[other], losses[one], rtol=0, atol=1e-4)
    assert losses[one][-1] != losses[one][0]
    first, second = medzoo.open_weights(root / one), medzoo.open_weights(root / other)
    for (name, mine), (same, theirs) in zip(sorted(first.items()), sorted(second.items()), strict=True):
        assert name == same
        np.testing.assert_allclose(np.asarray(theirs), np.asarray(mine), rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_two_devices_train_as_one(runs: tuple[Path, dict[str, Any]], network: str) -> None:
    root, losses = runs
    compare(root, f"{network}-1", f"{network}-2", losses)


@pytest.mark.slow
def test_two_hosts_train_as_one_device(
    runs: tuple[Path, dict[str, Any]], images: Path, tmp_path: Path
) -> None:
    root, losses = runs
    hosts = start_hosts("host", images, tmp_path)
    heard = [json.loads(finish(host)) for host in hosts]
    assert heard[0] == heard[1]
    # The second host has its own folder to write to, and writes nothing.
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["host-0"]
    for network in NETWORKS:
        (tmp_path / "host-0" / f"{network}-1").rename(root / f"{network}-hosts")
        compare(root, f"{network}-1", f"{network}-hosts", {**losses, f"{network}-hosts": heard[0][network]})


@pytest.mark.slow
def test_every_device_draws_its_own_dropout(runs: tuple[Path, dict[str, Any]]) -> None:
    first, second = runs[1]["seeds"]
    assert first[0] + 1 == second[0]
    assert first[1] == second[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no object"),
        ('{"cluster": []}', "no object"),
        ('{"cluster": {"worker": "a:1"}}', "no list"),
        ('{"cluster": {"worker": ["a", "b:1"]}}', "HOST:PORT"),
        ('{"cluster": {"worker": ["a:1", 2]}}', "HOST:PORT"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "twice"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}}', "'ps'"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}', "several chiefs"),
        (write_cluster(["a:1", "b:1"], 2), "task 2 of kind 'worker', of which its cluster has 2"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "task None"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": true}}', "task True"),
    ],
)
def test_a_wrong_cluster_is_refused_in_one_line(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match=message) as refusal:
        open_devices(1)
    assert "\n" not in str(refusal.value)
    assert VARIABLE in str(refusal.value)


def test_hosts_are_counted_from_the_chief() -> None:
    hosts = '{"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "task": {"type": "%s", "index": %d}}'
    chief, worker = read_cluster(hosts % ("chief", 0)), read_cluster(hosts % ("worker", 1))
    assert chief is not None
    assert worker is not None
    assert chief.addresses == worker.addresses == ("a:1", "b:1", "c:1")
    assert (chief.host, worker.host) == (0, 2)
    assert read_cluster(write_cluster(["a:1"], 0)) is None
    assert read_cluster("{}") is None
    assert read_cluster(None) is None


def test_followers_are_told_from_the_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, follows in enumerate((False, True)):
        monkeypatch.setenv(VARIABLE, write_cluster(["a:1", "b:1"], host))
        assert is_follower() is follows
    monkeypatch.delenv(VARIABLE)
    assert not is_follower()


def test_more_devices_than_tensorflow_began_with_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.delenv(VARIABLE, raising=False)
    tf.zeros(1)
    assert choose_strategy(1) is None
    with pytest.raises(ConfigError, match=r"TensorFlow has begun with|this machine has"):
        choose_strategy(1000)


def test_xla_is_off_where_devices_talk() -> None:
    several = Devices()
    several.count = 2
    assert choose_xla_between(several, Choice("on", "a GPU is present")).value == "off"
    assert "2 devices" in choose_xla_between(several, Choice("on", "a GPU is present")).reason
    assert choose_xla_between(several, Choice("off", "why")).reason == "why"
    assert choose_xla_between(Devices(), Choice("on", "as asked for")).value == "on"
    with pytest.raises(ConfigError, match="--xla off"):
        choose_xla_between(several, Choice("on", "as asked for"))


def test_a_batch_smaller_than_the_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from medzoo.training import launch
    from medzoo.training.settings import TrainConfig

    config = TrainConfig()
    monkeypatch.setattr(launch, "prepare", lambda *_: SimpleNamespace(config=config))
    several = Devices()
    several.count = 33
    with pytest.raises(ConfigError, match="batches of 32 on 33 devices"):
        launch._prepare(config, None, several)


class SecondOfTwo(Devices):
    """The second of two hosts; the first says what it is told to."""

    def __init__(self, first: list[float]) -> None:
        super().__init__(None, 1, 2)
        self.first_says, self.said = first, []  # type: ignore[var-annotated]

    def gather(self, numbers: Any) -> Any:
        """Note what is said."""
        self.said.append(list(numbers))
        return np.array([np.resize(self.first_says, len(numbers)), numbers], float)


def test_hosts_stop_together() -> None:
    assert SecondOfTwo([15]).hear("") == "SIGTERM"
    assert SecondOfTwo([0]).hear("SIGINT") == "SIGINT"
    assert SecondOfTwo([0]).hear("") == ""
    assert SecondOfTwo([0.25, np.nan]).share([0.5, 0.5])[0] == 0.25
    with pytest.raises(TrainingError, match="host 0"), SecondOfTwo([1]).meet():
        pass
    failing = SecondOfTwo([0])
    with pytest.raises(KeyError), failing.meet():
        raise KeyError
    assert failing.said == [[1]]


def test_hosts_that_differ_are_refused() -> None:
    import zlib

    same = zlib.crc32(b"a")
    SecondOfTwo([same]).refuse_differences({"data": b"a", "weights": b"a"})
    with pytest.raises(ConfigError, match="the same weights;"):
        SecondOfTwo([same]).refuse_differences({"data": b"a", "weights": b"b"})


def list_seeds() -> list[list[int]]:
    """Give the state of a dropout's seeds on each of two devices."""
    import keras

    devices = open_devices(2)
    with devices.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5, seed=7)])
    devices.spread_seeds(model)
    (state,) = model.variables
    assert devices.strategy is not None
    return [part.numpy().tolist() for part in devices.strategy.experimental_local_results(state.value)]


if __name__ == "__main__":
    task, data, where = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if task == "devices":
        choose_strategy(2)  # the processor is divided before the first run begins
        found: dict[str, Any] = {
            f"{network}-{count}": train_and_note(data, where / f"{network}-{count}", network, count)
            for network in NETWORKS
            for count in (1, 2)
        } | {"seeds": list_seeds()}
    else:
        place = where / f"host-{json.loads(os.environ[VARIABLE])['task']['index']}"
        found = {network: train_and_note(data, place / f"{network}-1", network, 1) for network in NETWORKS}
    print(json.dumps(found))
