"""Which devices a run computes on: one, several of this machine, or those of several hosts that `TF_CONFIG` names."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medzoo.errors import ConfigError
from medzoo.training.stepping.devices import Devices
from medzoo.training.stepping.hardware import Choice

if TYPE_CHECKING:  # what prepares a run asks for devices' rules too
    from medzoo.training.prepare import Prepared

VARIABLE = "TF_CONFIG"

#: What a user may copy.
EXAMPLE = (
    f"""{VARIABLE}='{{"cluster": {{"worker": ["host1:2222", "host2:2222"]}}, """
    """"task": {"type": "worker", "index": 0}}'"""
)

#: The kinds of task that train; the chief, where there is one, comes first.
KINDS = ("chief", "worker")


@dataclass(frozen=True)
class Cluster:
    """The hosts that train together, and which of them this process is; host 0 is the chief."""

    addresses: tuple[str, ...]
    host: int


def read_cluster(text: str | None) -> Cluster | None:
    """Read the text of `TF_CONFIG`; None where there is none, or it names this host alone.

    Raises:
        ConfigError: it is no JSON, names no hosts or a kind of host that does not train, or says nothing that fits
            of which of them this is.

    >>> read_cluster('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    Cluster(addresses=('a:1', 'b:1'), host=1)
    """
    if not text or not text.strip():
        return None
    try:
        stated = json.loads(text)
    except ValueError as error:
        raise _refuse(f"is no JSON ({error})") from None
    if not isinstance(stated, dict):
        raise _refuse("is no object with cluster and task")
    hosts, task = stated.get("cluster", {}), stated.get("task", {})
    if not isinstance(hosts, dict) or not isinstance(task, dict):
        raise _refuse("has a cluster or a task that is no object")
    if not hosts:
        return None
    strange = sorted(set(hosts) - set(KINDS))
    if strange:
        raise _refuse(f"names hosts of kind {strange[0]!r}", "chief and worker alone")
    addresses = [address for kind in KINDS for address in _list_addresses(hosts, kind)]
    if len(set(addresses)) != len(addresses):
        raise _refuse("names an address twice")
    kind, index = task.get("type"), task.get("index")
    count = len(hosts.get(kind, ())) if isinstance(kind, str) else 0
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise _refuse(
            f"says that this is task {index!r} of kind {kind!r}, of which its cluster has {count}",
            "one of its own",
        )
    if len(hosts.get("chief", ())) > 1:
        raise _refuse("names several chiefs", "one")
    if len(addresses) == 1:
        return None
    return Cluster(tuple(addresses), index + (len(hosts.get("chief", ())) if kind == "worker" else 0))


def _list_addresses(hosts: Mapping[str, Any], kind: str) -> list[str]:
    """List the addresses of one kind of host."""
    addresses = hosts.get(kind, [])
    if not isinstance(addresses, list):
        raise _refuse(f"has {kind} hosts that are no list")
    for address in addresses:
        name, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not name or not port.isdigit():
            raise _refuse(f"names the address {address!r}", "HOST:PORT")
    return addresses


def _refuse(found: str, expected: str = "the hosts, and which of them this is") -> ConfigError:
    """Make the error of a `TF_CONFIG` that cannot be followed."""
    return ConfigError(f"{VARIABLE} {found}", expected, f"{EXAMPLE}, or unset {VARIABLE}")


def is_follower() -> bool:
    """Tell whether this process is a host beside the chief, which alone writes and prints."""
    cluster = read_cluster(os.environ.get(VARIABLE))
    return cluster is not None and cluster.host > 0


def open_devices(count: int, report: Callable[[str], None] | None = None) -> Devices:
    """Open the devices that a run computes on: `count` of every host. Call it before TensorFlow computes anything.

    Raises:
        ConfigError: as `choose_strategy`.
    """
    cluster = read_cluster(os.environ.get(VARIABLE))
    if cluster is None:
        return Devices(choose_strategy(count))
    hosts = ", ".join(cluster.addresses)
    if report:
        report(f"host {cluster.host} of {len(cluster.addresses)} waits for the others of {VARIABLE}: {hosts}")
    strategy = choose_strategy(count)
    return Devices(strategy, cluster.host, len(cluster.addresses))


def choose_strategy(devices: int) -> Any | None:
    """Give the `tf.distribute` strategy over so many devices of this machine, or of each host of `TF_CONFIG`.

    None is one device of one host. Devices are GPUs; without any the processor is divided into so many logical
    devices, which is good for trying out. It must be called before TensorFlow computes anything: then it fixes its
    devices, and the connections to other hosts, for as long as the process lives.

    Raises:
        ConfigError: there are fewer devices, `TF_CONFIG` is not right, or TensorFlow has fixed its devices.
    """
    cluster = read_cluster(os.environ.get(VARIABLE))
    if cluster is None:
        return None if devices == 1 else _mirror(devices)
    return _connect(cluster, devices)


@functools.cache
def _mirror(devices: int) -> Any:
    """Make the strategy over devices of this machine, one for all runs of a process.

    Every strategy numbers its groups of devices and their sums from the same start, and TensorFlow takes those of
    one for those of another ("Shape mismatch in the collective instance"). So there is one for each number of
    devices, with a start of its own: a strategy of the user's begins at 0.
    """
    import tensorflow as tf

    graphics = tf.config.list_physical_devices("GPU")
    if graphics:
        _refuse_fewer(devices, len(graphics))
    else:
        _divide_processor(devices)
    kind = "GPU" if graphics else "CPU"
    strategy = type("Mirrored", (tf.distribute.MirroredStrategy,), {"_collective_key_base": 1000 * devices})
    return strategy([f"{kind}:{index}" for index in range(devices)])


def _divide_processor(devices: int) -> None:
    """Divide the processor into logical devices, as often as this process likes but always alike."""
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            processor, [tf.config.LogicalDeviceConfiguration()] * devices
        )
    except RuntimeError:  # TensorFlow has computed something already
        found = len(tf.config.list_logical_devices("CPU"))
        if found < devices:
            raise ConfigError(
                f"{devices} devices, and TensorFlow has begun with {found}",
                "the devices chosen before anything is computed",
                f"a process that begins with this run, or --devices {found}",
            ) from None


def _refuse_fewer(devices: int, found: int) -> None:
    """Refuse more GPUs than there are."""
    if devices > found:
        raise ConfigError(f"--devices {devices}, and this machine has {found} GPU", f"1 to {found}")


@functools.cache
def _connect(cluster: Cluster, devices: int) -> Any:
    """Make the strategy over several hosts; it waits until all of them are there."""
    import tensorflow as tf

    graphics = tf.config.list_physical_devices("GPU")
    if graphics:
        _refuse_fewer(devices, len(graphics))
    elif devices > 1:
        raise ConfigError(f"--devices {devices} on each of several hosts without GPU", "1", "--devices 1")
    try:
        if graphics:  # the strategy takes all that it sees
            tf.config.set_visible_devices(graphics[:devices], "GPU")
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ConfigError(
            f"TensorFlow has begun already, and cannot be joined to {len(cluster.addresses)} hosts ({error})",
            "the hosts joined before anything is computed",
            "a process that begins with this run",
        ) from error
    except tf.errors.OpError as error:
        reason = str(error.message).strip().partition("\n")[0]
        raise ConfigError(
            f"{cluster.addresses[cluster.host]} cannot be joined to the other hosts of {VARIABLE} ({reason})",
            "a free port here, and the other hosts begun and reachable",
            EXAMPLE,
        ) from error


def choose_xla_between(devices: Devices, choice: Choice) -> Choice:
    """Choose whether steps are compiled with XLA on these devices, where `choice` is that for one.

    Raises:
        ConfigError: XLA was asked for on several devices.
    """
    if devices.count == 1 or choice.value == "off":
        return choice
    if choice.reason == "as asked for":
        raise ConfigError(
            f"--xla on with {devices.count} devices",
            "one device: XLA cannot compile what devices tell each other",
            "--xla off",
        )
    return Choice("off", f"{devices.count} devices tell each other what XLA cannot compile")


def describe_start(prepared: Prepared, step: int) -> dict[str, bytes]:
    """Say what must be the same on every host before the first step; paths may differ."""
    data = {"source", "image_folder", "splits", "cache"}
    settings = prepared.config.model_dump_json(exclude={"run": True, "weights": True, "data": data})
    return {
        "settings": settings.encode(),
        "data": prepared.dataset.digest.encode(),
        "precision": prepared.precision.value.encode(),
        "checkpoint": str(step).encode(),
    }
