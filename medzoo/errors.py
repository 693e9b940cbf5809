"""The exceptions of medzoo: one per concept, each one line that says what to type next."""

from __future__ import annotations

from collections.abc import Iterable


class MedzooError(Exception):
    """A refusal with a reason: what was found, what was expected, and what to type next.

    The three parts are joined into one line; the command line prints that line and exits with 1.

    >>> str(DataError("chest.csv has no column 'lable'", "a label column", "--label-column label"))
    "chest.csv has no column 'lable'; expected a label column; try --label-column label"
    """

    def __init__(self, found: str, expected: str = "", remedy: str = "") -> None:
        self.found, self.expected, self.remedy = found, expected, remedy
        parts = [found]
        if expected:
            parts.append(f"expected {expected}")
        if remedy:
            parts.append(f"try {remedy}")
        super().__init__(" ".join("; ".join(parts).split()))


class WeightsError(MedzooError):
    """A weights file, a card or a tensor that cannot be read as asked."""


class PlanError(MedzooError):
    """A transplant that cannot be planned, replayed or carried out."""


class DataError(MedzooError):
    """Images, labels or predictions that cannot be used as they are."""


class ConfigError(MedzooError):
    """An option, a name or a setting that does not exist or does not fit."""


class TrainingError(MedzooError):
    """A training run that cannot start, go on or be read."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Name the known spellings nearest to `name`, for the `expected` part of an error.

    >>> nearest("resnet5", ["resnet50", "cbr_tiny"])
    "one of 'resnet50'"
    """
    import difflib  # needed for refusals only; costs every start otherwise

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.4) or names[:8]
    listed = ", ".join(repr(candidate) for candidate in close)
    return f"one of {listed}" + (", …" if len(close) == 8 < len(names) else "")
