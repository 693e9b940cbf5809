"""Building every row of the catalogue abstractly: seconds and memory, in one process; prints a table.

The limit that the project set itself: 60 s and 1 GB for all rows. `bit_r152x4` has 928 million weights.
"""

from __future__ import annotations

import resource
import time

from processes import describe_machine

import medzoo
from medzoo.models.describe import describe_abstractly


def main() -> None:
    """Describe every row without allocating, and print the slowest and the total."""
    import keras

    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])  # what Keras loads when first used
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = {}
    for spec in medzoo.list_models():
        start = time.perf_counter()
        describe_abstractly(spec, classes=1000, channels=3)
        seconds[spec.name] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{describe_machine()}\n")
    print("| row | seconds |\n|---|--:|")
    for name in sorted(seconds, key=seconds.__getitem__)[-5:]:
        print(f"| {name} | {seconds[name]:.2f} |")
    print(f"| all {len(seconds)} rows | {sum(seconds.values()):.1f} |")
    print(f"\nLargest resident size {peak:,.0f} MB, of which {before:,.0f} MB before the first row.")


if __name__ == "__main__":
    main()
