"""Kill a training at random moments, let it go on, and compare it bit for bit: `python tests/kill.py --times 20`.

Shuffling, dropout, augmentation, an average of weights, plateaus and early stopping are on; float32, XLA off. Each
trial starts a run, sends SIGKILL at a moment drawn between its start and the time that the whole run takes, and
resumes it; some trials are killed again while they resume. What must be equal: best weights, predictions, metrics,
the history but for its times, and what the last checkpoint holds.
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
    --model cbr_tiny --epochs 6 --batch-size 8 --precision float32 --xla off --image-size 32 --augment medical
    --schedule plateau --early-stopping 5 --set model.dropout=0.3 --set optimizer.average=0.9
    --set schedule.patience=1 --set schedule.factor=0.5 --set validation.every=0.5
    --set run.checkpoint_minutes=0.005
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
        begun = time.monotonic()
        whole = start(*arguments, "--out", str(folder / "whole"))
        output = whole.communicate()[0].decode()
        seconds = time.monotonic() - begun
        if whole.returncode:
            print(output)
            return 1
        expected = summarise(folder / "whole")
        print(f"an uninterrupted run takes {seconds:.1f} s; {expected['best'][2]} steps", flush=True)
        for trial in range(chosen.times):
            run = folder / f"run{trial}"
            moment = float(generator.uniform(0.3, 1.0)) * seconds
            process = start(*arguments, "--out", str(run))
            moments = [moment, *([float(generator.uniform(0.3, 0.9)) * seconds] if trial % 4 == 3 else [])]
            before = ""
            for one in moments:
                try:
                    process.wait(timeout=one)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                steps = sorted(path.name for path in run.glob("checkpoints/step-*"))
                before += f" killed after {one:.1f} s, {steps[-1] if steps else 'no checkpoint'};"
                # Before the folder is there the run was never begun, and is started again.
                again = ["--resume", str(run)] if run.exists() else [*arguments, "--out", str(run)]
                if (run / "metrics.json").exists():
                    break
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
