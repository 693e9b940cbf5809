"""How intervals are drawn: how many resamples, from which seed, at which level, of what kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from medzoo.errors import ConfigError, nearest

#: Percentile (Efron & Tibshirani 1993, chapter 13) or bias-corrected and accelerated (chapter 14).
Kind = Literal["percentile", "bca"]


@dataclass(frozen=True)
class Resampling:
    """The options of every bootstrap: resamples, seed, level from 0 to 1, kind of interval.

    Raises ConfigError for less than one replicate, a negative seed, a level outside 0 to 1 or another kind.

    >>> Resampling(replicates=2000).level
    0.95
    """

    replicates: int = 1000
    seed: int = 0
    level: float = 0.95
    kind: Kind = "percentile"

    def __post_init__(self) -> None:
        """Refuse options that no interval can be made of."""
        if self.replicates < 1:
            raise ConfigError(f"{self.replicates} bootstrap replicates", "1 or more", "1000")
        if self.seed < 0:
            raise ConfigError(f"the seed {self.seed}", "0 or more", "0")
        if not 0 < self.level < 1:
            raise ConfigError(f"the level {self.level}", "a share between 0 and 1", "0.95")
        if self.kind not in get_args(Kind):
            raise ConfigError(f"there is no interval {self.kind!r}", nearest(self.kind, get_args(Kind)))
