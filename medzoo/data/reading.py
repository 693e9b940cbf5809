"""`Reading`: how the values stored in an image file become the pixels of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Which frame of a file of many (a cine, a stack, a TIFF of pages) is the image; "all" makes a volume of it.
Frame = Literal["first", "middle", "all"] | int


@dataclass(frozen=True)
class Window:
    """A band of stored values that becomes black to white: DICOM's window centre and width, in the file's units.

    >>> Window(40, 400).limits
    (-160.0, 240.0)
    """

    centre: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """The values that become black and white."""
        return self.centre - self.width / 2, self.centre + self.width / 2


@dataclass(frozen=True)
class Reading:
    """How files become float32 pixels of 0…255, (height, width, channels) or (depth, height, width, channels).

    `windows` stand above the file's own; several make one channel each.  Without any, a file's own window or
    look-up table is taken, else its declared or actual range.
    """

    channels: int = 1
    windows: tuple[Window, ...] = ()
    frame: Frame = "middle"
