"""Mutate weights files of every format and open them: `python tests/fuzz.py [--mutations N] [--format NAME]`.

Whatever is in a file, opening and reading it may only succeed or raise WeightsError: no other exception, no crash of
the process, no hang beyond 10 s, no memory beyond 1 GB, no file written. Each format is read in a child process, so
that a crash is seen and counted; the mutation that caused it is kept as a file and named.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

#: A mutation that keeps the reader busy for longer has hung it.
SECONDS = 10
#: Address space that reading may add.
BYTES = 2**30


@dataclass(frozen=True)
class Failure:
    """One mutation that did something else than succeed or raise WeightsError."""

    format: str
    number: int
    reason: str


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a file in one of the ways in which files break or are made to break."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, max(1, len(data))))
        match int(rng.integers(0, 8)):
            case 0:  # flip a bit
                data[place] ^= 1 << int(rng.integers(0, 8))
            case 1:  # another byte
                data[place] = int(rng.integers(0, 256))
            case 2:  # a number at an extreme
                width = int(rng.choice([1, 2, 4, 8]))
                value = rng.choice([b"\xff", b"\x00", b"\x7f", b"\x80"])
                data[place : place + width] = bytes(value) * min(width, len(data) - place)
            case 3:  # cut off
                del data[place:]
            case 4:  # a part lost
                del data[place : place + int(rng.integers(1, 200))]
            case 5:  # a part twice
                data[place:place] = data[place : place + int(rng.integers(1, 200))]
            case 6:  # noise
                length = min(int(rng.integers(1, 64)), len(data) - place)
                data[place : place + length] = rng.bytes(length)
            case _:  # a part moved
                other = int(rng.integers(0, max(1, len(data))))
                length = min(int(rng.integers(1, 64)), len(data) - place, len(data) - other)
                data[place : place + length] = data[other : other + length]
        if not data:
            return b"\x00"
    return bytes(data)


def draw(format_name: str, number: int, seed: int, content: bytes) -> bytes:
    """Give one mutation, the same for the same format, number and seed."""
    key = [seed, number, *format_name.encode()]
    return mutate(content, np.random.default_rng(key))


def read_everything(path: Path) -> None:
    """Open a file and read every tensor; only WeightsError may leave here."""
    import medzoo
    from medzoo.errors import WeightsError

    with contextlib.suppress(WeightsError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tensor in medzoo.open_weights(path).values():
            if tensor.has_values:
                tensor.read()
            tensor.moments()


def _work(
    pipe: Connection, folder: Path, opened: Path, mutated: Path, format_name: str, job: tuple[int, int, int]
) -> None:
    """Read the mutations of one format in this process, reporting each before and after."""
    content = mutated.read_bytes()
    first, last, seed = job
    read_everything(opened)  # imports come before the limit
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def stop(*_: object) -> None:
        raise TimeoutError(f"busy for more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    before = sorted(entry.name for entry in folder.iterdir())
    for number in range(first, last):
        pipe.send((number, None))
        mutated.write_bytes(draw(format_name, number, seed, content))
        signal.alarm(SECONDS)
        try:
            read_everything(opened)
        except BaseException as error:  # noqa: BLE001 - whatever comes is what is looked for
            pipe.send((number, f"{type(error).__name__}: {str(error)[:200]}"))
        finally:
            signal.alarm(0)
        if sorted(entry.name for entry in folder.iterdir()) != before:
            pipe.send((number, "files appeared or went"))
            before = sorted(entry.name for entry in folder.iterdir())
    pipe.send((last, None))


def fuzz(
    format_name: str, write: Callable[[Path], tuple[Path, Path]], mutations: int, seed: int = 0
) -> list[Failure]:
    """Read `mutations` mutations of one format and give the failures.

    `write` writes a whole example into a folder and gives the path to open and the file to mutate.
    """
    failures: list[Failure] = []
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        opened, mutated = write(folder)
        content = mutated.read_bytes()
        number = 0
        while number < mutations:
            ours, theirs = context.Pipe()
            mutated.write_bytes(content)
            job = (number, mutations, seed)
            child = context.Process(target=_work, args=(theirs, folder, opened, mutated, format_name, job))
            child.start()
            theirs.close()
            with contextlib.suppress(EOFError):
                while True:
                    if not ours.poll(3 * SECONDS + 60):
                        child.kill()
                        failures.append(Failure(format_name, number, "hung outside Python"))
                        break
                    number, reason = ours.recv()
                    if reason:
                        failures.append(Failure(format_name, number, reason))
            child.join()
            if number < mutations:  # the child is gone before it was done
                if not failures or failures[-1].number != number or "hung" not in failures[-1].reason:
                    failures.append(Failure(format_name, number, f"the process died with {child.exitcode}"))
                number += 1
    return failures


def main() -> None:
    """Fuzz the formats that were asked for and exit with 1 where anything failed."""
    from weights_examples import EXAMPLES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--format", choices=sorted(EXAMPLES), action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the mutations that failed")
    options = parser.parse_args()
    failed = 0
    for name in options.format or EXAMPLES:
        failures = fuzz(name, EXAMPLES[name], options.mutations, options.seed)
        failed += len(failures)
        print(f"{name}: {options.mutations} mutations, {len(failures)} failures", flush=True)
        for failure in failures[:20]:
            print(f"  {failure.number}: {failure.reason}", flush=True)
            if options.keep:
                _keep(options.keep, failure, options.seed)
    sys.exit(failed > 0)


def _keep(folder: Path, failure: Failure, seed: int) -> None:
    """Write the mutation that failed as a file."""
    from weights_examples import EXAMPLES

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        _, mutated = EXAMPLES[failure.format](Path(root))
        content = draw(failure.format, failure.number, seed, mutated.read_bytes())
        mutated.write_bytes(content)
        shutil.copy(mutated, folder / f"{failure.format}-{failure.number}-{mutated.name}")


if __name__ == "__main__":
    main()
