"""Decoding in processes of their own: no interpreter lock, no TensorFlow, and a crash that costs one image.

The processes are started afresh and spoken to through pipes.  `multiprocessing` would either fork a parent in which
TensorFlow's threads run, or run the user's main script once more in every process.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from medzoo.data.reading import Reading
from medzoo.errors import DataError

Source = Path | bytes
Read = Callable[[Source, str, Reading], NDArray[np.float32]]

PIPE = 1 << 20  # bytes; the usual 64 KiB would switch processes 190 times for one radiograph
START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from medzoo.data.formats.decoding import read_pixels; "
    "from medzoo.data.formats.workers import serve; serve(read_pixels)"
)


class ReaderProcess:
    """One process that decodes the images it is asked for."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", START, json.dumps(sys.path)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a library prints may hold what a header says of a patient
            pipesize=PIPE,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # the processes are enough
        )
        self._questions = cast(BinaryIO, self._process.stdin)
        self._answers = cast(BinaryIO, self._process.stdout)

    def ask(self, source: Source, name: str, reading: Reading, keep: bool) -> NDArray[np.float32] | None:
        """Have one image decoded, and give its pixels (height, width, channels) or with depth; None unless kept.

        Raises DataError where the image cannot be decoded; EOFError or OSError where the process has ended.
        """
        pickle.dump((source, name, reading, keep), self._questions, protocol=pickle.HIGHEST_PROTOCOL)
        self._questions.flush()
        answer = pickle.load(self._answers)
        if isinstance(answer[0], str):
            raise DataError(*answer)
        if not keep:
            return None
        pixels = np.empty(answer, np.float32)
        _fill(self._answers, pixels)
        return pixels

    def end(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.communicate()


class ReaderProcesses:
    """Some processes that decode images; each is started when it is first needed, and again where one dies.

    Call it with encoded images or their files, and their names for messages, for a list of float32 pixels in the
    same order; several threads may.  It ends its processes when it is closed, or no longer used.
    """

    def __init__(self, reading: Reading, count: int) -> None:
        self.reading, self.count = reading, count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="reader")  # they only wait
        self._idle: queue.SimpleQueue[ReaderProcess] = queue.SimpleQueue()
        self._closing = weakref.finalize(self, _close, self._threads, self._idle)

    def __call__(self, sources: Sequence[Source], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Decode images; raises the first DataError."""
        found = self._threads.map(lambda source, name: self._ask(source, name, True), sources, names)
        return [pixels for pixels in found if pixels is not None]

    def check(self, sources: Sequence[Source], names: Sequence[str]) -> list[DataError | None]:
        """Decode images without fetching their pixels, and give each one's error, or None."""

        def try_one(source: Source, name: str) -> DataError | None:
            """Give one image's error."""
            try:
                self._ask(source, name, False)
            except DataError as error:
                return error
            return None

        return list(self._threads.map(try_one, sources, names))

    def close(self) -> None:
        """End all processes."""
        self._closing()

    def _ask(self, source: Source, name: str, keep: bool) -> NDArray[np.float32] | None:
        """Have one image decoded by an idle process."""
        try:
            process = self._idle.get_nowait()
        except queue.Empty:  # never more than there are threads
            process = ReaderProcess()
        try:
            pixels = process.ask(source, name, self.reading, keep)
        except DataError:
            self._idle.put(process)
            raise
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            process.end()
            raise DataError(
                f"{name!r} ended the process that decoded it", "an image", "leaving it out"
            ) from error
        except BaseException:  # interrupted between question and answer: the next one would get this answer
            process.end()
            raise
        self._idle.put(process)
        return pixels


def serve(read: Read) -> None:
    """Decode what standard input asks for until it ends: the life of one process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and closes the pipe
    warnings.simplefilter("ignore")
    questions = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # a library that prints would garble the answers
    while True:
        try:
            source, name, reading, keep = pickle.load(questions)
        except EOFError:
            return
        try:
            pixels = np.ascontiguousarray(read(source, name, reading))
        except DataError as error:
            pickle.dump((error.found, error.expected, error.remedy), answers)
        except MemoryError:
            pickle.dump((f"{name!r} needs more memory than there is", "a smaller image", ""), answers)
        else:
            pickle.dump(pixels.shape, answers)
            if keep:
                answers.write(pixels.data)
        answers.flush()


def _fill(file: BinaryIO, pixels: NDArray[np.float32]) -> None:
    """Read a whole array's bytes from a pipe; raises EOFError where it ends before."""
    rest = pixels.data.cast("B")
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]


def _close(threads: ThreadPoolExecutor, idle: queue.SimpleQueue[ReaderProcess]) -> None:
    """End threads and idle processes."""
    threads.shutdown(wait=True, cancel_futures=True)
    while not idle.empty():
        idle.get_nowait().end()
