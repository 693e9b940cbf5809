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

from medzoo.training.stepping.distribution import (
    VARIABLE,
)

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
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[float]]]:
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
def test_two_devices_train_as_one(runs: tuple[Path, dict[str, list[float]]], network: str) -> None:
    root, losses = runs
    compare(root, f"{network}-1", f"{network}-2", losses)


@pytest.mark.slow
def test_two_hosts_train_as_one_device(
    runs: tuple[Path, dict[str, list[float]]], images: Path, tmp_path: Path
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


if __name__ == "__main__":
    task, data, where = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if task == "devices":
        from medzoo.training.stepping.distribution import _divide_processor

        _divide_processor(2)
        found = {
            f"{network}-{count}": train_and_note(data, where / f"{network}-{count}", network, count)
            for network in NETWORKS
            for count in (1, 2)
        }
    else:
        place = where / f"host-{json.loads(os.environ[VARIABLE])['task']['index']}"
        found = {network: train_and_note(data, place / f"{network}-1", network, 1) for network in NETWORKS}
    print(json.dumps(found))
