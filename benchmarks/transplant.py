"""`medzoo transplant --mode stats`, whole process, against the stock Keras way: `python benchmarks/transplant.py`.

Needs MEDZOO_TEST_DATA for the weights that the stock way loads; medzoo runs from its bundled moments, and once
more from the same weights file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from processes import interleave, medzoo_command, print_table

ROUNDS = 7


def main() -> None:
    root = os.environ.get("MEDZOO_TEST_DATA")
    if not root:
        raise SystemExit("MEDZOO_TEST_DATA is not set: it names the folder that holds weights/")
    weights = str(Path(root).resolve() / "weights" / "mobilenet_7_5_224_tf.h5")
    stats = ("--mode", "stats")
    sides = {
        "stock Keras": [sys.executable, str(Path(__file__).with_name("stock_stats.py").resolve()), weights],
        "medzoo, from moments": medzoo_command("transplant", "--src", "imagenet", *stats),
        "medzoo, from the file": medzoo_command(
            "transplant", "--src", weights, "--model", "mobilenet_075", *stats
        ),
    }
    title = "Stats transplant of MobileNet 0.75, file to file, whole process"
    print_table(title, interleave(sides, ROUNDS), "stock Keras", ROUNDS)


if __name__ == "__main__":
    main()
