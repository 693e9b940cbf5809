"""Whole processes, measured: wall time and peak memory of commands run in turn, A B A B."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """One process: seconds from start to exit, and the largest resident size of it in megabytes."""

    seconds: float
    megabytes: float


def measure(command: Sequence[str]) -> Measurement:
    """Run a command in an empty folder and measure it; its output is thrown away, a failure is raised."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", MEDZOO_OFFLINE="1")
    with tempfile.TemporaryDirectory() as folder, Path(folder, "err").open("wb") as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed:\n{Path(folder, 'err').read_text()}")
    return Measurement(seconds, usage.ru_maxrss / 1024)


def interleave(sides: Mapping[str, Sequence[str]], rounds: int) -> dict[str, Measurement]:
    """Run every side once unmeasured, then all of them in turn; give each side's medians."""
    for command in sides.values():
        measure(command)
    taken: dict[str, list[Measurement]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, command in sides.items():
            taken[name].append(measure(command))
    return {
        name: Measurement(
            statistics.median(one.seconds for one in ones), statistics.median(one.megabytes for one in ones)
        )
        for name, ones in taken.items()
    }


def print_table(title: str, medians: Mapping[str, Measurement], baseline: str, rounds: int) -> None:
    """Print medians and the baseline's ratio to each as a Markdown table."""
    base = medians[baseline]
    print(f"\n### {title}\n")
    print(f"{describe_machine()}; medians of {rounds} rounds, sides in turn, one unmeasured round first.\n")
    print("| side | seconds | baseline ÷ this | peak MB | this ÷ baseline |")
    print("|---|---:|---:|---:|---:|")
    for name, one in medians.items():
        print(
            f"| {name}{' (baseline)' if name == baseline else ''} | {one.seconds:.3f} "
            f"| {base.seconds / one.seconds:.2f} | {one.megabytes:.0f} | {one.megabytes / base.megabytes:.3f} |"
        )


def describe_machine() -> str:
    """Say what was measured on."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "h5py", "click")
    )
    flags = ""
    if Path("/proc/cpuinfo").exists():
        flags = " with AMX" if "amx_bf16" in Path("/proc/cpuinfo").read_text() else ""
    return (
        f"{os.cpu_count()} {platform.machine()} cores{flags}, Python {platform.python_version()}, {packages}"
    )


def medzoo_command(*arguments: str) -> list[str]:
    """Give the installed command beside this interpreter."""
    return [str(Path(sys.executable).with_name("medzoo")), *arguments]
