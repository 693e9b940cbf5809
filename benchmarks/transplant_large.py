"""`medzoo transplant` of 3.7 GB: `python benchmarks/transplant_large.py [FOLDER]`; 2 to 4 minutes on 2 idle cores.

The source is an uncompressed `.npz` with every tensor of BiT-R152x4 (936.5 million float32 values, normal, SFC64),
made once in FOLDER (else a temporary one), which needs 12 GB of room while it runs.

Copy: whole processes, the `.npz` to a `.weights.h5` with its plan, against reading, writing and syncing the same bytes
in blocks of 1 MB, and, where PyTorch is installed, against a plain load, change and save of the same tensors in a
`.pth` (which neither syncs nor hashes anything). medzoo hashes the source, every tensor and the output, checks CRC-32
and that all values are finite, and syncs.

Stats: one process; in turn, the rate of NumPy's fastest generator (SFC64, float32 `standard_normal`) in as many threads
as medzoo uses, each into a block of its own that stays in the cache, and the rate at which `run()` gives all tensors,
thrown away one by one; from the `.npz`, whose moments are measured from all values each time, and from a moments file.
Planning, which hashes the source once, comes before and is given by itself.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from processes import describe_machine, interleave, medzoo_command, print_table

ROUNDS = 3
MODEL, CLASSES = "bit_r152x4", 1000
BASELINE = "read, write and sync the bytes"

MAKE = """
import sys, zipfile
import numpy as np
import medzoo
generator = np.random.Generator(np.random.SFC64(0))
target = medzoo.describe(sys.argv[2], classes=int(sys.argv[3]))
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_STORED) as archive:
    for name, spec in target.tensors.items():
        values = generator.standard_normal(spec.shape, dtype=np.float32) * np.float32(0.02)
        with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "<f4", "fortran_order": False, "shape": spec.shape}
            )
            stream.write(np.ascontiguousarray(values).reshape(-1).data)
print(target.size * 4, max(spec.size for spec in target.tensors.values()) * 4)
"""

MAKE_TORCH = """
import sys
import numpy as np, torch
arrays = np.load(sys.argv[1])
torch.save({name: torch.from_numpy(arrays[name]) for name in arrays.files}, sys.argv[2])
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
state = torch.load(sys.argv[1], weights_only=True)
state["head/kernel"] = state["head/kernel"] * 0.5
torch.save(state, "made.pth")
"""

STATS = """
import json, sys, threading, time
import numpy as np
import medzoo
from medzoo import recipes
from medzoo.blocks import count_threads
from medzoo.transplant.run import run

file, moments, model, classes, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
target = medzoo.describe(model, classes=classes)
started = time.perf_counter()
source = medzoo.open_weights(file)
plan = medzoo.make_plan(source, target, recipes.stats())
planning = time.perf_counter() - started
if moments:
    medzoo.convert(source, moments)
    source = medzoo.open_weights(moments)
    plan = medzoo.make_plan(source, target, recipes.stats())

BLOCK = 2**20
blocks = target.size // BLOCK

def fill(thread, threads):
    generator = np.random.Generator(np.random.SFC64(thread))
    values = np.empty(BLOCK, np.float32)
    for _ in range(thread, blocks, threads):
        generator.standard_normal(out=values, dtype=np.float32)

def generate():
    started = time.perf_counter()
    threads = [threading.Thread(target=fill, args=(one, count_threads())) for one in range(count_threads())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return blocks * BLOCK / (time.perf_counter() - started)

def transplant():
    started = time.perf_counter()
    size = sum(values.size for _, values in run(plan, source))
    return size / (time.perf_counter() - started)

rates = [(generate(), transplant()) for _ in range(rounds + 1)][1:]
drawn = sum(step.target.size for step in plan.steps if step.method == "resample")
print(json.dumps({"planning": planning, "rates": rates, "threads": count_threads(), "drawn": drawn / target.size}))
"""


def measure_copy(folder: Path, source: Path, largest: int) -> None:
    """Print the table of whole copies."""
    transplant = ("transplant", "--src", str(source), "--model", MODEL, "--mode", "copy")
    sides = {
        BASELINE: [sys.executable, "-c", COPY, str(source)],
        "medzoo transplant --mode copy": medzoo_command(*transplant),
    }
    if find_spec("torch") is not None:
        state = folder / "large.pth"
        subprocess.run([sys.executable, "-c", MAKE_TORCH, str(source), str(state)], check=True)
        sides["torch.load, change, torch.save (no sync)"] = [sys.executable, "-c", TORCH, str(state)]
    medians = interleave(sides, ROUNDS)
    title = f"Copying {source.stat().st_size / 1e9:.2f} GB of BiT-R152x4, .npz to .weights.h5, whole process"
    print_table(title, medians, BASELINE, ROUNDS)
    ours = medians["medzoo transplant --mode copy"]
    print(
        f"\n{ours.seconds / medians[BASELINE].seconds:.2f} times the copy of the bytes (aim 1.5); peak "
        f"{ours.megabytes:.0f} MB (aim {3 * largest / 1e6 + 200:.0f}: the largest tensor, {largest / 1e6:.0f} MB, "
        f"three times and 200)."
    )
    (folder / "large.pth").unlink(missing_ok=True)


def measure_stats(folder: Path, source: Path) -> None:
    """Print the table of draws."""
    print(
        f"\n### Stats of BiT-R152x4, nothing written\n\n{describe_machine()}; medians of {ROUNDS} rounds.\n"
    )
    print("| moments | generator, M values/s | run(), M values/s | share (aim 0.70) | planning before, s |")
    print("|---|---:|---:|---:|---:|")
    for name, moments in (
        ("measured from the .npz", ""),
        ("from a moments file", str(folder / "large.moments.json")),
    ):
        command = [sys.executable, "-c", STATS, str(source), moments, MODEL, str(CLASSES), str(ROUNDS)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        generator, ours = (statistics.median(pair[side] for pair in found["rates"]) / 1e6 for side in (0, 1))
        share = statistics.median(mine / whole for whole, mine in found["rates"])
        print(f"| {name} | {generator:.0f} | {ours:.0f} | {share:.2f} | {found['planning']:.1f} |")
    print(f"\n{found['threads']} threads; {found['drawn']:.1%} of the values are drawn, the others constant.")


def main(folder: Path) -> None:
    """Make the source, then print both tables."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "large.npz"
    command = [sys.executable, "-c", MAKE, str(source), MODEL, str(CLASSES)]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    try:
        measure_copy(folder, source, int(made.split()[1]))
        measure_stats(folder, source)
    finally:
        source.unlink()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as root:
            main(Path(root))
