"""Opening and converting large weights files: `python benchmarks/weights.py`; needs PyTorch for its files.

Opening: a process of its own per round opens a 100 MB file after it has opened a tiny one of the same format, so
that imports are not counted, and says how long it took and how far its memory grew.
Converting: whole processes, 1 GB, against reading, writing and syncing the same bytes, and against torch.load with
safetensors.torch.save_file (which syncs nothing).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import describe_machine, interleave, medzoo_command, print_table

ROUNDS = 5
FORMATS = ("pth", "npz", "safetensors", "h5")

OPEN = """
import json, pathlib, re, sys, time
import medzoo
def status(key):
    return int(re.search(rf"{key}:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
small, big = sys.argv[1:]
medzoo.open_weights(small)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = status("VmRSS")
start = time.perf_counter()
source = medzoo.open_weights(big)
seconds = time.perf_counter() - start
print(json.dumps([seconds, status("VmHWM") - before, len(source)]))
"""

COPY = """
import os, sys
with open(sys.argv[1], "rb") as given, open("copy", "wb") as made:
    while chunk := given.read(2**20):
        made.write(chunk)
    made.flush()
    os.fsync(made.fileno())
"""

TORCH = """
import sys, torch
from safetensors.torch import save_file
save_file(torch.load(sys.argv[1], weights_only=True), "made.safetensors")
"""


def measure_opening(folder: Path) -> None:
    """Print seconds and megabytes of opening each format."""
    make_files(folder / "small", 1)
    make_files(folder / "large", 100)
    print(
        f"\n### Opening a 100 MB file\n\n{describe_machine()}; medians of {ROUNDS} processes, imports done.\n"
    )
    print("| format | seconds | memory grown, MB | tensors |\n|---|---:|---:|---:|")
    for ending in FORMATS:
        paths = [str(folder / size / f"big.{ending}") for size in ("small", "large")]
        taken = [
            json.loads(
                subprocess.run([sys.executable, "-c", OPEN, *paths], capture_output=True, check=True).stdout
            )
            for _ in range(ROUNDS)
        ]
        seconds, grown = (statistics.median(one[index] for one in taken) for index in (0, 1))
        print(f"| .{ending} | {seconds:.4f} | {grown:.1f} | {taken[0][2]} |")


def measure_converting(folder: Path) -> None:
    """Print the table of whole conversions of 1 GB."""
    make_files(folder, 1024)
    for ending in ("pth", "npz"):
        path = str(folder / f"big.{ending}")
        sides = {
            "read, write and sync the bytes": [sys.executable, "-c", COPY, path],
            "medzoo weights convert": medzoo_command("weights", "convert", path, "made.safetensors"),
        }
        if ending == "pth":
            sides["torch.load, save_file (no sync)"] = [sys.executable, "-c", TORCH, path]
        title = f"Converting a 1 GB .{ending} to .safetensors, whole process"
        print_table(title, interleave(sides, ROUNDS), "read, write and sync the bytes", ROUNDS)


def make_files(folder: Path, megabytes: int) -> None:
    """Write the files in a process of its own, whose memory then is gone."""
    script = Path(__file__).with_name("weights_files.py")
    subprocess.run([sys.executable, str(script), str(folder), str(megabytes)], check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        measure_opening(Path(root))
    with tempfile.TemporaryDirectory() as root:
        measure_converting(Path(root))
