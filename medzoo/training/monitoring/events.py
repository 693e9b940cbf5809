"""Event files: what TensorBoard shows of a run."""

from __future__ import annotations

import io
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError
from medzoo.training.monitoring.watch import Progress

FOLDER = "events"

#: Points of the loss over a run's steps: more than a screen is wide, and a run of 10⁶ steps stays below 1 MB.
_POINTS = 2000

#: Images of the batch that are written.
_SHOWN = 16

#: Seconds after which what was written reaches the file, for those who look while the run trains.
_FLUSHED = 30.0

#: Column of the history → tag; any other `val_<metric>` is `validation/<metric>`.
_TAGS = {
    "loss": "loss/training",
    "val_loss": "loss/validation",
    "learning_rate": "learning_rate",
    "images_per_second": "speed/images_per_second",
    "waiting": "speed/waiting",
}


def require_tensorboard() -> None:
    """Refuse to write event files where TensorBoard, which knows their format, is not installed.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import tensorboard.compat.proto.event_pb2
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "event files need TensorBoard, which is not installed",
            "it, or run.tensorboard = false",
            "pip install 'medzoo[tensorboard]'",
        ) from error


class EventFiles:
    """Watches a run for TensorBoard: scalars by step, and the images of one augmented batch.

    The loss of training is written at most 2,000 times a run, each time the mean since the last. A resumed run
    writes a file of its own, which takes back what the broken one wrote beyond the step that it goes on from.
    `images` gives a batch (n, height, width, channels) as the network sees it; its first 16 are written.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(
        self, folder: str | os.PathLike[str], images: Callable[[], NDArray[Any]] | None = None
    ) -> None:
        require_tensorboard()
        self.folder, self.images = Path(folder), images
        self._writer: Any = None
        self._every = 1
        self._before = 0
        self._losses = (0.0, 0)
        self._flushed = 0.0

    def begin(self, progress: Progress) -> None:
        """Open a file, and write the images into it."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        # The step keeps the order of files of one second, which TensorBoard reads by name.
        name = f"events.out.tfevents.{int(time.time()):010d}.{progress.step:09d}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter((self.folder / name).open("xb"))
        self._every = max(1, progress.steps // _POINTS)
        self._before = progress.step
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # Readers drop what other files hold from this step on.
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=progress.step + 1, session_log=start))
        if self.images is not None:
            self._write_images(progress.step, self.images())
        self._flush()

    def stepped(self, progress: Progress, loss: float) -> None:
        """Write the mean loss, when enough steps have gone."""
        steps = progress.step - self._before
        self._losses = self._losses[0] + loss * steps, self._losses[1] + steps
        self._before = progress.step
        if self._losses[1] >= self._every:
            self._write_scalars(progress.step, {"loss/steps": self._losses[0] / self._losses[1]})
            self._losses = (0.0, 0)
        if time.monotonic() - self._flushed > _FLUSHED:
            self._flush()

    def validated(self, progress: Progress, row: Mapping[str, float], is_best: bool) -> None:
        """Write a validation's row; what is undefined is left out."""
        del is_best
        self._write_scalars(progress.step, {_tag(name): value for name, value in row.items() if _tag(name)})
        self._flush()

    def end(self) -> None:
        """Close the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of one step."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        known = {tag: float(value) for tag, value in values.items() if not math.isnan(value)}
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in known.items()]
        if points:
            self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))

    def _write_images(self, step: int, images: NDArray[Any]) -> None:
        """Write images, each under a tag of its own."""
        from PIL import Image
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = []
        for number, picture in enumerate(scale_pictures(images[:_SHOWN]), start=1):
            height, width, channels = picture.shape
            encoded = io.BytesIO()
            Image.fromarray(picture[..., 0] if channels == 1 else picture).save(encoded, "png")
            content = Summary.Image(
                height=height, width=width, colorspace=channels, encoded_image_string=encoded.getvalue()
            )
            values.append(Summary.Value(tag=f"augmented/{number:02d}", image=content))
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _write(self, event: Any) -> None:
        """Write one event; it reaches the disk with the next flush."""
        self._writer.write(event.SerializeToString())

    def _flush(self) -> None:
        """Let readers see what was written."""
        self._writer.flush()
        self._flushed = time.monotonic()


def scale_pictures(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale network inputs (n, height, width, channels) to pictures of 0 to 255, of one channel or of three.

    Each channel's own range over the batch becomes black to white, which undoes an input contract well enough to
    look at. Of other numbers of channels the first is shown.

    >>> scale_pictures(np.array([-1.0, 0.0, 1.0]).reshape(1, 1, 3, 1)).ravel().tolist()
    [0, 128, 255]
    """
    shown = np.asarray(images, np.float32)
    if shown.shape[-1] != 3:
        shown = shown[..., :1]
    low, high = shown.min(axis=(0, 1, 2)), shown.max(axis=(0, 1, 2))
    span = np.where(high > low, high - low, 1)
    pictures: NDArray[np.uint8] = np.round((shown - low) / span * 255).astype(np.uint8)
    return pictures


def _tag(column: str) -> str:
    """Give the tag of a history's column, "" for one that TensorBoard knows otherwise."""
    if column.startswith("val_"):
        return _TAGS.get(column, f"validation/{column.removeprefix('val_')}")
    return _TAGS.get(column, "")
