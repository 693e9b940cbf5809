"""Training steps and whole pipelines: medzoo, stock Keras and PyTorch in turn; prints Markdown tables.

`MEDZOO_TEST_DATA=FOLDER python benchmarks/train.py [bare|files] [NETWORK …]`; PyTorch is needed. Each side is a
process that waits until it is asked: A B C A B C. Files are a third of the ultrasound images of BUSI's training split,
JPEG of 224 pixels a side, read anew every epoch by every side: decoded, resized, mirrored at random.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import describe_machine
from train_sides import BARE, SIDES

ROUNDS = 5

#: Of BUSI's training images every so many is taken: ResNet50 in float32 needs minutes for all of them.
EVERY = 3

#: Network, pixels, batch; steps of a bare round, and epochs of a round of files.
CASES = (
    ("cbr_tiny", 64, 32, 20, 2),
    ("mobilenet_075", 128, 32, 6, 1),
    ("resnet50", 96, 16, 4, 1),
    ("vit_ti16", 96, 32, 12, 2),
)


def lay_folder(folder: Path) -> None:
    """Lay links to the images of BUSI as split and class folders."""
    source = Path(os.environ["MEDZOO_TEST_DATA"], "data", "busi_breast224")
    with (source / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
        training = [row for row in rows if row["split"] == "train"]
        for row in training[::EVERY] + [row for row in rows if row["split"] != "train"]:
            place = folder / row["split"] / ("malignant" if row["breastmnist_label"] == "0" else "other")
            place.mkdir(parents=True, exist_ok=True)
            (place / row["file"]).symlink_to(source / "images" / row["file"])


def start(side: str, arguments: list[str]) -> subprocess.Popen[str]:
    """Start a side's process."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("train_sides.py")), side, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("SHOW_ERRORS") else subprocess.DEVNULL,
        text=True,
    )


def read_answer(process: subprocess.Popen[str], side: str) -> float:
    """Read a side's next answer."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{side} ended; SHOW_ERRORS=1 shows why")
    return float(line)


def measure(folder: str, name: str, size: int, batch: int, amount: int) -> dict[str, list[float]]:
    """Ask all sides in turn; give each one's images per second, round by round."""
    arguments = [name, str(size), str(batch), folder, str(amount)]
    processes = {side: start(side, arguments) for side in SIDES}
    try:
        counts = {side: read_answer(process, side) for side, process in processes.items()}
        if len(set(counts.values())) != 1:
            raise SystemExit(f"the sides' {name} differ in parameters: {counts}")
        taken: dict[str, list[float]] = {side: [] for side in SIDES}
        for turn in range(ROUNDS + 1):
            for side, process in processes.items():
                assert process.stdin
                process.stdin.write("\n")
                process.stdin.flush()
                rate = read_answer(process, side)
                if turn:  # the first round compiles
                    taken[side].append(rate)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    return taken


def compare(taken: dict[str, list[float]], one: str, other: str) -> str:
    """Write the median, lowest and highest of the rounds' ratios."""
    ratios = sorted(mine / theirs for mine, theirs in zip(taken[one], taken[other], strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


def run_part(part: str, names: list[str]) -> None:
    """Print the table of bare steps or of whole pipelines."""
    from medzoo.models.catalog import find_model
    from medzoo.training.stepping.hardware import choose_precision, processor_flags

    title = "Training steps" if part == BARE else "Training from JPEG files"
    print(f"\n### {title}\n\n{describe_machine()}; medians of {ROUNDS} rounds in turn.\n")
    print(
        "Images/s, and medzoo's in the precision that it chooses ÷ the others', with the least and the most.\n"
    )
    precisions = ("float32", "mixed_bfloat16")
    makers = ("medzoo", "Keras fit", "PyTorch")
    heads = [f"{maker} {precision.removeprefix('mixed_')}" for precision in precisions for maker in makers]
    print(
        f"| network | pixels | batch | {' | '.join(heads)} | chosen | ÷ Keras float32 | ÷ Keras, same ",
        end="",
    )
    print("| ÷ PyTorch float32, same | ÷ PyTorch bfloat16, same |")
    print("|---" * 3 + "|---:" * len(heads) + "|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        lay_folder(Path(folder))
        for name, size, batch, steps, epochs in CASES:
            if names and name not in names:
                continue
            taken = measure(
                BARE if part == BARE else folder, name, size, batch, steps if part == BARE else epochs
            )
            chosen = choose_precision("auto", processor_flags(), False, find_model(name).family).value
            rates = [
                f"{statistics.median(taken[f'{maker} {precision}']):.0f}"
                for precision in precisions
                for maker in makers
            ]
            ratios = [
                compare(taken, f"medzoo {chosen}", "Keras fit float32"),
                compare(taken, f"medzoo {chosen}", f"Keras fit {chosen}"),
                *(compare(taken, f"medzoo {precision}", f"PyTorch {precision}") for precision in precisions),
            ]
            row = [name, str(size), str(batch), *rates, chosen.removeprefix("mixed_"), *ratios]
            print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Print the parts named, or both."""
    parts = [argument for argument in sys.argv[1:] if argument in (BARE, "files")]
    names = [argument for argument in sys.argv[1:] if argument not in parts]
    for part in parts or (BARE, "files"):
        run_part(part, names)


if __name__ == "__main__":
    main()
