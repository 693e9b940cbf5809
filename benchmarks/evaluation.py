"""A patient-clustered bootstrap of the AUROCs of 14 labels against a loop over scikit-learn; prints a Markdown table.

`python benchmarks/evaluation.py`.  100,000 rows of 30,000 patients; labels of 1 to 40 % positives, a tenth of each not
annotated.  Both sides get the same table, and each draws patients itself: ours makes all 2,000 resamples of all
labels, the loop as many as fit into a round, which is then scaled to 2,000.  Each side is a process of its own, with
one thread, that is asked in turn: A B A B.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS, PATIENTS, LABELS = 100_000, 30_000, 14
REPLICATES = 2000
LOOPED = 4  # replicates that the loop makes in a round
ROUNDS = 5


def make_table() -> tuple[Any, Any, Any]:
    """Make labels (n, k) of 0, 1 and NaN, scores (n, k) and the patient of each row (n,), the same in every process."""
    generator = np.random.default_rng(0)
    patients = generator.integers(0, PATIENTS, ROWS)
    shares = np.geomspace(0.01, 0.4, LABELS)
    severity = generator.normal(size=(PATIENTS, LABELS))[patients]
    labels = (generator.random((ROWS, LABELS)) < shares).astype(np.float64)
    scores = 1 / (1 + np.exp(-(labels + severity + generator.normal(size=labels.shape))))
    labels[generator.random(labels.shape) < 0.1] = np.nan
    return labels, scores, patients


def make_ours() -> Callable[[], dict[str, tuple[float, float]]]:
    """Give every label's interval, all from the same resamples."""
    from medzoo.evaluation.metrics.discrimination import auroc
    from medzoo.evaluation.predictions import Predictions
    from medzoo.evaluation.uncertainty.bootstrap import bootstrap_all
    from medzoo.evaluation.uncertainty.by_class import OfClass
    from medzoo.evaluation.uncertainty.resampling import Resampling

    labels, scores, patients = make_table()
    rows = Predictions(
        ids=np.arange(ROWS).astype(np.str_),
        labels=labels,
        scores=scores,
        classes=tuple(f"label {index}" for index in range(LABELS)),
        splits=np.full(ROWS, "test"),
        patients=patients.astype(np.str_),
        exclusive=False,
    )
    metrics = {name: OfClass(auroc, index) for index, name in enumerate(rows.classes)}

    def run() -> dict[str, tuple[float, float]]:
        intervals = bootstrap_all(metrics, rows, Resampling(replicates=REPLICATES))
        return {name: (interval.low, interval.high) for name, interval in intervals.items()}

    return run


def make_loop() -> Callable[[], dict[str, tuple[float, float]]]:
    """Draw patients, gather their rows, and ask scikit-learn for each label's AUROC."""
    from sklearn.metrics import roc_auc_score

    labels, scores, patients = make_table()
    order = np.argsort(patients, kind="stable")
    rows_of = np.split(order, np.flatnonzero(np.diff(patients[order])) + 1)
    generator = np.random.default_rng(0)

    def run() -> dict[str, tuple[float, float]]:
        areas = np.empty((LOOPED, LABELS))
        for replicate in range(LOOPED):
            drawn = generator.integers(0, len(rows_of), len(rows_of))
            rows = np.concatenate([rows_of[one] for one in drawn])
            for index in range(LABELS):
                known = rows[~np.isnan(labels[rows, index])]
                areas[replicate, index] = roc_auc_score(labels[known, index], scores[known, index])
        return {f"label {index}": (areas[:, index].min(), areas[:, index].max()) for index in range(LABELS)}

    return run


SIDES = {"medzoo": (make_ours, REPLICATES), "loop over scikit-learn": (make_loop, LOOPED)}


def serve(side: str) -> None:
    """Be one side: for every line on stdin one measurement, printed with the peak memory so far."""
    run = SIDES[side][0]()
    for _ in sys.stdin:
        start = time.perf_counter()
        intervals = run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak": peak, "intervals": intervals}), flush=True)


def main() -> None:
    """Ask both sides in turn, and print medians and the ratio."""
    from processes import describe_machine

    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    sides = {
        name: subprocess.Popen(
            [sys.executable, __file__, "serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | threads,
            text=True,
        )
        for name in SIDES
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    last: dict[str, dict[str, Any]] = {}
    for _ in range(ROUNDS):
        for name, process in sides.items():
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            last[name] = json.loads(process.stdout.readline())
            taken[name].append(last[name]["seconds"] * REPLICATES / SIDES[name][1])
    for process in sides.values():
        process.communicate()
    ours, loop = taken.values()
    ratios = sorted(other / mine for mine, other in zip(ours, loop, strict=True))
    for name, (low, high) in last["medzoo"]["intervals"].items():
        # The loop's few areas lie about ours: another computation would show.
        least, most = last["loop over scikit-learn"]["intervals"][name]
        assert low - (high - low) < least <= most < high + (high - low), name
    print(f"\n### {REPLICATES:,} patient-clustered resamples of {LABELS} AUROCs of {ROWS:,} rows\n")
    print(
        f"{describe_machine()}; one thread; {PATIENTS:,} patients; medians of {ROUNDS} rounds, sides in turn.\n"
    )
    print("| side | resamples measured | seconds for 2,000 | least | most | peak MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, seconds in taken.items():
        middle = f"{statistics.median(seconds):,.1f} | {min(seconds):,.1f} | {max(seconds):,.1f}"
        print(f"| {name} | {SIDES[name][1]:,} | {middle} | {last[name]['peak']:,.0f} |")
    print(f"\nLoop ÷ medzoo: {statistics.median(ratios):.0f} ({ratios[0]:.0f} to {ratios[-1]:.0f}); goal 50.")


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1:2] == ["serve"] else main()
