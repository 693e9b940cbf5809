"""Which initialisation wins: test AUROC of a network under several modes and seeds, on data of yours.

    python benchmarks/initialisation.py OUT --data DATA --src WEIGHTS --model mobilenet_075 \\
        --cells "random; stats; copy; truncate --at block6" -- OPTIONS OF medzoo train

A cell is a mode with its options; `--model` and `--src` in it stand above those of all. Every cell and seed is a run of
`medzoo train` under OUT; one that has its metrics already is not run again. Prints one row a run, then for each cell
the mean and sample deviation over the seeds, the network's parameters and the median seconds of an epoch. With
`--timing N` nothing is scored: each network is trained for N epochs, cells in turn, for the seconds alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

from processes import describe_machine, medzoo_command

CELLS = "random; stats; copy"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--src", required=True, help="weights for the modes that take them")
    parser.add_argument("--model", required=True)
    parser.add_argument("--cells", default=CELLS, help="modes with their options, between semicolons")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--timing", type=int, default=0, metavar="EPOCHS")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    chosen, options = parser.parse_args(arguments[:end]), arguments[end + 1 :]
    cells = [cell.strip() for cell in chosen.cells.split(";")]
    seeds = ["0"] if chosen.timing else chosen.seeds.split(",")
    if chosen.timing:
        options = [*options, "--epochs", str(chosen.timing)]
    cells = find_networks(cells) if chosen.timing else cells
    # Seed by seed, so that what is done after an interruption compares all cells.
    done = {(cell, seed): train(chosen, cell, seed, options) for seed in seeds for cell in cells}
    runs = {(cell, seed): done[cell, seed] for cell in cells for seed in seeds}
    print(f"{describe_machine()}\n")
    if not chosen.timing:
        print_runs(runs)
    print_cells(runs, bool(chosen.timing))


def find_networks(cells: list[str]) -> list[str]:
    """Keep one cell for each network: modes that fill the same one train equally fast."""
    firsts: dict[str, str] = {}
    for cell in cells:
        found = re.findall(r"--(?:model|at|above|factor) \S+", cell)
        firsts.setdefault(" ".join(found), cell)
    return list(firsts.values())


def train(chosen: argparse.Namespace, cell: str, seed: str, options: list[str]) -> Path:
    """Run one cell with one seed, unless its metrics are there already."""
    run: Path = chosen.out / f"{re.sub(r'[^a-z0-9_]+', '-', cell)}-{seed}"
    if (run / "metrics.json").exists():
        return run
    mode, *own = shlex.split(cell)
    given = ["--data", chosen.data, "--mode", mode, "--seed", seed]
    given += [] if "--model" in own else ["--model", chosen.model]
    given += [] if mode == "random" or "--src" in own else ["--src", chosen.src]
    command = medzoo_command("train", *given, *own, *options, "--out", str(run), "--overwrite")
    finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if finished.returncode:
        raise SystemExit(f"{cell}, seed {seed}: {finished.stderr.strip().splitlines()[-1]}")
    return run


def print_runs(runs: dict[tuple[str, str], Path]) -> None:
    """Print the score of every run with its interval."""
    print("| mode | seed | test AUROC | 95 % interval | n | best epoch |")
    print("|---|---:|---:|---|---:|---:|")
    for (cell, seed), run in runs.items():
        area = read_score(run)
        best = json.loads((run / "environment.json").read_text())["best_epoch"]
        interval = f"{area['low']:.3f}–{area['high']:.3f}"
        print(f"| {cell} | {seed} | {area['value']:.3f} | {interval} | {area['n']} | {best} |")


def read_score(run: Path) -> dict[str, float]:
    """Read a run's test AUROC."""
    score: dict[str, float] = json.loads((run / "metrics.json").read_text())["test"]["auroc"]
    return score


def print_cells(runs: dict[tuple[str, str], Path], timed: bool) -> None:
    """Print for each cell what its seeds say together, and what its network costs."""
    scores = "" if timed else " mean | sample deviation | seeds |"
    print(f"\n| mode |{scores} parameters | seconds per epoch |")
    print("|---|" + ("" if timed else "---:|---:|---:|") + "---:|---:|")
    for cell in dict.fromkeys(cell for cell, _ in runs):
        folders = [run for (name, _), run in runs.items() if name == cell]
        values = [read_score(run)["value"] for run in folders]
        spread = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "—"
        scores = "" if timed else f" {statistics.mean(values):.3f} | {spread} | {len(values)} |"
        steps = json.loads((folders[0] / "plan.json").read_text())["steps"]
        moving = ("moving_mean", "moving_variance")
        sizes = [step["target"]["shape"] for step in steps if step["target"]["role"] not in moving]
        count = sum(count_values(shape) for shape in sizes)
        seconds = [second for run in folders for second in read_seconds(run)]
        print(f"| {cell} |{scores} {count:,} | {statistics.median(seconds):.1f} |")


def count_values(shape: list[int]) -> int:
    """Count the values of a shape."""
    count = 1
    for size in shape:
        count *= size
    return count


def read_seconds(run: Path) -> list[float]:
    """Read the seconds of each epoch but the first, which compiles."""
    with (run / "history.csv").open() as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)][1:]


if __name__ == "__main__":
    main()
