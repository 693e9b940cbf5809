"""The pipeline against bare loops, its memory over epochs, and a table of 100,000 rows; prints Markdown tables.

`MEDZOO_TEST_DATA=FOLDER python benchmarks/data.py [speed|memory|table]`.  Speed needs opencv-python-headless and
torch, each side in a process of its own that is asked in turn: A B C A B C.  Every side reads the same JPEG files
of at most 512 pixels a side, as grey, and brings them to 224×224.  OpenCV's shrinks by area, Pillow's and ours by
an antialiased triangle.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDE, BATCH, WORKERS = 224, 32, 2
PASSES = 4  # over the files, for one measurement
ROUNDS = 15
EPOCHS = 20
ROWS = 100_000


def find_pictures() -> list[Path]:
    """Find the JPEG files that are measured on."""
    return sorted(Path(os.environ["MEDZOO_TEST_DATA"], "data", "covid_chestxray_512", "images").glob("*.jpg"))


def run_opencv(paths: list[Path]) -> Callable[[], int]:
    """Decode and resize in two threads: no batches, no float, no order."""
    from concurrent.futures import ThreadPoolExecutor

    import cv2

    cv2.setNumThreads(1)

    def load(path: str) -> int:
        picture = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        return len(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))

    names = [str(path) for path in paths] * PASSES
    pool = ThreadPoolExecutor(WORKERS)
    return lambda: sum(1 for _ in pool.map(load, names, chunksize=1))


def run_torch(paths: list[Path]) -> Callable[[], int]:
    """Decode and resize with Pillow in two workers of a DataLoader, to float batches."""
    import numpy as np
    import torch
    from PIL import Image

    class Pictures(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(paths) * PASSES

        def __getitem__(self, row: int) -> torch.Tensor:
            with Image.open(paths[row % len(paths)]) as picture:
                grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.asarray(grey, np.float32)[None])

    loader = torch.utils.data.DataLoader(
        Pictures(), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    return lambda: sum(len(batch) for batch in loader)


def make_ours(paths: list[Path], cache: str, epochs: int) -> object:
    """Make our batches of the files: shuffled, grey, under the contract of ImageNet's networks."""
    import pandas as pd
    from PIL import Image

    from medzoo.contracts import find_preprocessing
    from medzoo.data.dataset import BYTE_RANGE, Dataset
    from medzoo.data.feeding.pipeline import make_batches

    table = pd.DataFrame({"id": [path.name for path in paths], "split": "train", "label": "a"})
    with Image.open(paths[0]) as first:
        size = first.size[::-1]
    dataset = Dataset("pictures", ("a", "b"), table, 1, size, BYTE_RANGE, paths=tuple(paths))
    return make_batches(
        dataset,
        batch_size=BATCH,
        image_size=SIDE,
        channels=1,
        preprocessing=find_preprocessing("torch"),
        shuffle=True,
        cache=cache,  # type: ignore[arg-type]
        epochs=epochs,
    )


def run_ours(paths: list[Path]) -> Callable[[], int]:
    """Decode, resize and preprocess to float batches, nothing cached."""
    batches = make_ours(paths, "off", PASSES)
    return lambda: sum(len(images) for images, _ in batches)  # type: ignore[attr-defined]


SIDES = {
    "OpenCV, two threads, bare": run_opencv,
    "medzoo, cache off": run_ours,
    "DataLoader + Pillow, two workers": run_torch,
}


def serve(side: str) -> None:
    """Be one side: for every line on stdin one measurement, in images a second."""
    measure = SIDES[side](find_pictures())
    measure()
    for _ in sys.stdin:
        start = time.perf_counter()
        count = measure()
        print(count / (time.perf_counter() - start), flush=True)


def compare_speed() -> None:
    """Ask all sides in turn, and print medians and ratios."""
    from processes import describe_machine

    sides = {
        name: subprocess.Popen(
            [sys.executable, __file__, "serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name in SIDES
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(ROUNDS + 1):
        for name, process in sides.items():
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            rate = float(process.stdout.readline())
            if round_:
                taken[name].append(rate)
    for process in sides.values():
        process.communicate()
    medians = {name: statistics.median(rates) for name, rates in taken.items()}
    ours = taken["medzoo, cache off"]
    print(f"\n### JPEG of 512 pixels to {SIDE}\n")
    print(f"{describe_machine()}; {len(find_pictures())} files, medians of {ROUNDS} rounds, sides in turn.\n")
    print("| side | images/s | medzoo ÷ this, median of rounds | lowest | highest |")
    print("|---|---:|---:|---:|---:|")
    for name, rates in taken.items():
        ratios = sorted(mine / other for mine, other in zip(ours, rates, strict=True))
        spread = f"{statistics.median(ratios):.2f} | {ratios[0]:.2f} | {ratios[-1]:.2f}"
        print(f"| {name} | {medians[name]:,.0f} | {spread} |")


def read_resident() -> float:
    """Read this process's resident memory, in megabytes, in all and without what is mapped from files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def watch_memory() -> None:
    """Print the resident memory after each epoch, with and without a cache."""
    print(f"\n### Resident memory over {EPOCHS} epochs (anonymous pages, MB)\n")
    shown = (1, 2, 3, 5, 10, 15, EPOCHS)
    print("| cache | " + " | ".join(f"epoch {epoch}" for epoch in shown) + " |")
    print("|---|" + "---:|" * len(shown))
    paths = find_pictures()
    for cache in ("off", "memory"):
        sizes, count = [], 0
        for images, _ in make_ours(paths, cache, EPOCHS):  # type: ignore[attr-defined]
            count += len(images)
            if count == len(paths) * (len(sizes) + 1):
                sizes.append(read_resident())
        print(f"| {cache} | " + " | ".join(f"{sizes[epoch - 1]:.0f}" for epoch in shown) + " |", flush=True)


def time_table() -> None:
    """Time a table of 100,000 rows: opening it, checking it without pixels, and splitting it by patient."""
    from medzoo.data.audit.check import check_table
    from medzoo.data.open import open_listing
    from medzoo.data.options import SourceOptions
    from medzoo.data.splitting.split_wishes import SplitWish, make_splits

    seconds: dict[str, list[float]] = {"open": [], "check without pixels": [], "split": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "patient", "sex", "age"])
            for row in range(ROWS):
                patient = row * 7919 % 30_000
                label = "yes" if row % 9 == 0 else "no"
                writer.writerow(
                    [f"images/{row % 100}/{row}.png", label, f"P{patient}", "FM"[row % 2], 20 + row % 60]
                )
        for _ in range(5):
            start = time.perf_counter()
            listing = open_listing(path, SourceOptions())
            opened = time.perf_counter()
            check_table(listing)
            checked = time.perf_counter()
            make_splits(listing, SplitWish(nested=True))
            ended = time.perf_counter()
            for name, value in zip(seconds, (opened - start, checked - opened, ended - checked), strict=True):
                seconds[name].append(value)
    print(f"\n### A table of {ROWS:,} rows and 30,000 patients\n")
    print("| step | seconds, median of 5 | slowest |")
    print("|---|---:|---:|")
    for name, values in seconds.items():
        print(f"| {name} | {statistics.median(values):.2f} | {max(values):.2f} |")


PARTS = {"speed": compare_speed, "memory": watch_memory, "table": time_table}


def main() -> None:
    """Run the parts named, or each in a process of its own."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    elif sys.argv[1:]:
        for part in sys.argv[1:]:
            PARTS[part]()
    else:
        for part in PARTS:
            subprocess.run([sys.executable, __file__, part], check=True)


if __name__ == "__main__":
    main()
