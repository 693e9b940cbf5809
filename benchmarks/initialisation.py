"""Which initialisation wins: test AUROC of a network under several modes and seeds, on data of yours.

    python benchmarks/initialisation.py OUT --data DATA --src WEIGHTS --model mobilenet_075 -- OPTIONS OF medzoo train

Every cell is a run of `medzoo train` under OUT; a cell that has its metrics already is not run again. Prints one
row a run and, for each mode, mean and sample deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from processes import describe_machine, medzoo_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--src", required=True, help="weights for the modes that take them")
    parser.add_argument("--model", required=True)
    parser.add_argument("--modes", default="random,stats,copy")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    chosen, options = parser.parse_args(arguments[:end]), arguments[end + 1 :]
    print(f"{describe_machine()}\n\n| mode | seed | test AUROC | 95 % interval | n | best epoch | seconds |")
    print("|---|---:|---:|---|---:|---:|---:|")
    scores: dict[str, list[float]] = {}
    for mode in chosen.modes.split(","):
        for seed in chosen.seeds.split(","):
            run = chosen.out / f"{mode}-{seed}"
            if not (run / "metrics.json").exists():
                source = [] if mode == "random" else ["--src", chosen.src]
                given = ["--data", chosen.data, "--model", chosen.model, "--mode", mode, "--seed", seed]
                command = medzoo_command("train", *given, *source, *options, "--out", str(run), "--overwrite")
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            area = json.loads((run / "metrics.json").read_text())["test"]["auroc"]
            notes = json.loads((run / "environment.json").read_text())
            scores.setdefault(mode, []).append(area["value"])
            print(
                f"| {mode} | {seed} | {area['value']:.3f} | {area['low']:.3f}–{area['high']:.3f} | {area['n']} "
                f"| {notes['best_epoch']} | {notes['seconds']:.0f} |",
                flush=True,
            )
    print("\n| mode | mean | sample deviation | seeds |\n|---|---:|---:|---:|")
    for mode, values in scores.items():
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(f"| {mode} | {statistics.mean(values):.3f} | {spread:.3f} | {len(values)} |")


if __name__ == "__main__":
    main()
