"""`medzoo transplant`, whole processes, file to file, against the stock Keras way: `python benchmarks/transplant.py`.

MobileNet 0.75, `stats`: needs MEDZOO_TEST_DATA for the weights that the stock way loads, and is left out without it;
medzoo runs from its bundled moments, and once more from the same weights file.
ResNet50, `copy` and `stats` for 2 classes: from a 103 MB `.h5` of Keras 2's layout with fresh random values (1000
classes), which both sides read. Every medzoo side hashes what it reads and writes and syncs its output to the disk; the
stock way does neither.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import interleave, medzoo_command, print_table

ROUNDS = 7
CLASSES = "2"


def main() -> None:
    """Print a table for each network and mode."""
    root = os.environ.get("MEDZOO_TEST_DATA")
    if root:
        measure_mobilenet(str(Path(root).resolve() / "weights" / "mobilenet_7_5_224_tf.h5"))
    else:
        print("MEDZOO_TEST_DATA is not set: no table for MobileNet")
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder, "resnet50.h5"))
        make = medzoo_command("transplant", "--mode", "random", "--model", "resnet50", "--out", weights)
        subprocess.run([*make, "--classes", "1000"], check=True, capture_output=True)
        measure_resnet(weights, "copy")
        measure_resnet(weights, "stats")


def measure_mobilenet(weights: str) -> None:
    """Print the table of MobileNet's `stats`."""
    stats = ("--mode", "stats")
    sides = {
        "stock Keras": stock_command("stock_stats.py", "MobileNet", weights),
        "medzoo, from moments": medzoo_command("transplant", "--src", "imagenet", *stats),
        "medzoo, from the file": medzoo_command(
            "transplant", "--src", weights, "--model", "mobilenet_075", *stats
        ),
    }
    title = "Stats transplant of MobileNet 0.75, file to file, whole process"
    print_table(title, interleave(sides, ROUNDS), "stock Keras", ROUNDS)


def measure_resnet(weights: str, mode: str) -> None:
    """Print the table of one mode of ResNet50."""
    transplant = ("transplant", "--src", weights, "--model", "resnet50", "--classes", CLASSES)
    sides = {
        "stock Keras": stock_command(f"stock_{mode}.py", "ResNet50", weights, CLASSES),
        "medzoo": medzoo_command(*transplant, "--mode", mode),
    }
    title = f"ResNet50, mode {mode}, 1000 classes to {CLASSES}, .h5 to .weights.h5, whole process"
    medians = interleave(sides, ROUNDS)
    print_table(title, medians, "stock Keras", ROUNDS)
    times = medians["stock Keras"].seconds / medians["medzoo"].seconds
    print(f"\n{times:.1f} times as fast (aim 5), peak {medians['medzoo'].megabytes:.0f} MB (aim 250).")


def stock_command(script: str, *arguments: str) -> list[str]:
    """Give the command that runs one of the scripts beside this one."""
    return [sys.executable, str(Path(__file__).with_name(script).resolve()), *arguments]


if __name__ == "__main__":
    main()
