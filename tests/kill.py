"""Kill a training at random moments, let it go on, and compare it bit for bit: `python tests/kill.py --times 20`.

Shuffling, dropout, augmentation, mixing, oversampling, accumulation, an average of weights, plateaus and early stopping
are on; float32, XLA off. Each trial starts a run, sends SIGKILL a drawn moment after a drawn step, and resumes it; some
are killed again while they go on. What must be equal: best weights, predictions, metrics, the history but for its
times, and what the last checkpoint holds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_OPTIONS = """
    --model cbr_tiny --epochs 10 --batch-size 8 --precision float32 --xla off --image-size 32 --augment medical
    --balance oversample --mix mixup --accumulate 2 --schedule plateau --early-stopping 12
    --set model.dropout=0.3 --set optimizer.average=0.9 --set schedule.patience=1 --set schedule.factor=0.5
    --set validation.every=0.5 --set run.checkpoint_minutes=0.000001
"""
SETTINGS = _OPTIONS.split()
#: Columns that measure time.
TIMES = {"seconds", "images_per_second", "waiting"}


def write_images(folder: Path) -> None:
    """Write 80 noisy images of two classes that are hard to tell apart."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name, level in (("a", 120), ("b", 128)):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.clip(generator.normal(level, 30, (32, 32)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start `medzoo train`."""
    command = [sys.executable, "-m", "medzoo.cli", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def find_step(run: Path) -> int:
    """Find the last step of which a run has a checkpoint; −1 where it has none."""
    names = sorted(path.name for path in run.glob("checkpoints/step-*"))
    return int(names[-1].removeprefix("step-").removesuffix(".npz")) if names else -1


def summarise(run: Path) -> dict[str, object]:
    """Give all of a run that a kill must not change."""
    from medzoo.training.checkpoints import list_checkpoints, read_checkpoint

    last = read_checkpoint(list_checkpoints(run)[0])
    with (run / "history.csv").open() as stream:
        history = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]
    environment = json.loads((run / "environment.json").read_text())
    return {
        "checkpoint": [array.tobytes() for _, array in sorted(last.arrays.items())],
        "weights": read_tensors(run / "best.weights.h5"),
        "predictions": (run / "predictions.csv").read_text(),
        "metrics": (run / "metrics.json").read_text(),
        "history": history,
        "best": (environment["best_step"], environment["stopped"], environment["steps"]),
    }


def read_tensors(path: Path) -> dict[str, bytes]:
    """Read a weights file's tensors."""
    import medzoo

    return {name: np.asarray(tensor).tobytes() for name, tensor in medzoo.open_weights(path).items()}


def main() -> int:
    """Try, and say how many came out the same."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    generator = np.random.default_rng(chosen.seed)
    same = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_images(folder / "images")
        arguments = ["--data", str(folder / "images"), *SETTINGS]
        whole = start(*arguments, "--out", str(folder / "whole"))
        output = whole.communicate()[0].decode()
        if whole.returncode:
            print(output)
            return 1
        expected = summarise(folder / "whole")
        steps = expected["best"][2]
        print(f"an uninterrupted run stops after {steps} steps", flush=True)
        for trial in range(chosen.times):
            run = folder / f"run{trial}"
            process = start(*arguments, "--out", str(run))
            before = ""
            # Every fourth is killed a second time, while it goes on.
            for _ in range(2 if trial % 4 == 3 else 1):
                step, delay = int(generator.integers(-1, steps + 1)), float(generator.exponential(0.1))
                while process.poll() is None and find_step(run) < step:
                    time.sleep(0.002)
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
                process.wait()
                before += f" killed {delay:.2f} s after step {step}, checkpoint of {find_step(run)};"
                if (run / "metrics.json").exists():
                    break
                # Before the folder is there the run was never begun, and is started again.
                again = ["--resume", str(run)] if run.exists() else [*arguments, "--out", str(run)]
                process = start(*again)
            text = process.communicate()[0].decode() if process.stdout else ""
            if not (run / "metrics.json").exists():
                print(f"trial {trial}:{before} did not finish\n{text}")
                continue
            found = summarise(run)
            different = [name for name in expected if found[name] != expected[name]]
            same += not different
            print(
                f"trial {trial}:{before} {'same' if not different else 'DIFFERS in ' + ', '.join(different)}",
                flush=True,
            )
    print(f"{same} of {chosen.times} the same")
    return int(same != chosen.times)


if __name__ == "__main__":
    sys.exit(main())
