"""Reading tables of predictions: time and peak memory of whole processes; prints a Markdown table.

`python benchmarks/predictions.py [ROWS]`, 10,000,000 unless told.  A binary table (id, label, one score) of that many
rows and one of 100,000 rows × 14 independent labels, each as CSV and as Parquet, are written to a temporary folder (600
MB at 10,000,000 rows).  Each is read with `read_predictions` in a process of its own, in turn; beside them stands a
process that imports the same and reads two rows.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from processes import Measurement, describe_machine, measure

if TYPE_CHECKING:
    import pyarrow

ROWS, ROUNDS = 10_000_000, 3
LABELS, LABEL_ROWS = 14, 100_000
READ = "import sys; from medzoo.evaluation.predictions import read_predictions; read_predictions(sys.argv[1])"


def make_binary(rows: int) -> pyarrow.Table:
    """Make a table of two classes with the score of one, to six decimals."""
    import numpy as np
    import pyarrow as pa

    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, rows)
    score = np.clip(0.2 * label + generator.uniform(0, 0.8, rows), 0, 1).round(6)
    names = pa.DictionaryArray.from_arrays(pa.array(label.astype(np.int32)), ["benign", "malignant"])
    ids = pa.array([f"image_{row:08d}" for row in range(rows)])
    return pa.table({"id": ids, "label": names.cast(pa.string()), "score_malignant": score})


def make_labels(rows: int) -> pyarrow.Table:
    """Make a table of independent labels with patients and a group, a tenth of the labels unknown."""
    import numpy as np
    import pyarrow as pa

    generator = np.random.default_rng(0)
    columns = {
        "id": pa.array([f"image_{row:08d}" for row in range(rows)]),
        "patient": pa.array([f"patient_{row // 3:06d}" for row in range(rows)]),
        "sex": pa.array(np.array(["F", "M"])[generator.integers(0, 2, rows)]),
    }
    for label in range(LABELS):
        marks = generator.integers(0, 2, rows).astype(np.int8)
        columns[f"label_{label}"] = pa.array(marks, mask=generator.uniform(size=rows) < 0.1)
        columns[f"score_{label}"] = pa.array(generator.uniform(size=rows))
    return pa.table(columns)


def write(kind: str, rows: int, path: Path) -> None:
    """Write a table of a kind as CSV and as Parquet."""
    from pyarrow import csv, parquet

    table = make_binary(rows) if kind == "binary" else make_labels(rows)
    csv.write_csv(table, path.with_suffix(".csv"))
    parquet.write_table(table, path.with_suffix(".parquet"))


def main() -> None:
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    sides = {"two rows, csv": 2, "binary, csv": rows, "binary, parquet": rows}
    sides |= {f"{LABELS} labels, {ending}": LABEL_ROWS for ending in ("csv", "parquet")}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, name.replace(", ", ".")) for name in sides}
        for name, path in paths.items():
            # A process of its own: what this one held would count as its children's peak.
            if path.suffix == ".csv":
                kind = "labels" if "labels" in name else "binary"
                command = [sys.executable, __file__, "write", kind, str(sides[name]), str(path)]
                subprocess.run(command, check=True)
        taken: dict[str, list[Measurement]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, path in paths.items():
                taken[name].append(measure([sys.executable, "-c", READ, str(path)]))
        print("\n### Reading predictions, whole process\n")
        print(f"{describe_machine()}; medians of {ROUNDS} rounds in turn, peaks of the worst.\n")
        print("| table | rows | file MB | seconds | slowest | peak MB | bytes a row beyond two rows |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        base = max(one.megabytes for one in taken["two rows, csv"])
        for name, path in paths.items():
            seconds = [one.seconds for one in taken[name]]
            peak = max(one.megabytes for one in taken[name])
            each = f"{(peak - base) * 2**20 / sides[name]:.0f}" if sides[name] > 2 else ""
            print(
                f"| {name} | {sides[name]:,} | {path.stat().st_size / 1e6:.1f} | {statistics.median(seconds):.2f} "
                f"| {max(seconds):.2f} | {peak:.0f} | {each} |"
            )


if __name__ == "__main__":
    main()
