"""Sources of names, shapes and moments alone: planning on networks of any size costs nothing."""

from __future__ import annotations

import numpy as np

from medzoo.tensors import LazyTensor, Moments, Source, Target, has_window

#: What every tensor of such a source is said to have.
MOMENTS = Moments(0.125, 0.5)


def refuse_to_read() -> np.ndarray:
    """Fail the test: planning and drawing read no values."""
    raise AssertionError("values were read")


def make_unread(target: Target, has_values: bool = True) -> Source:
    """Give a source with a target's tensors, none of which can be read; all have the same moments."""

    def measure_window(positions: int) -> np.ndarray:
        return MOMENTS.deviation**2 * np.eye(positions)

    tensors = {}
    for name, spec in target.tensors.items():
        window = spec.shape[0] * spec.shape[1] if has_window(spec.shape) else 0
        covariance = (lambda size=window: measure_window(size)) if window else None
        tensors[name] = LazyTensor(
            spec,
            refuse_to_read,
            lambda: MOMENTS,
            has_values,
            covariance=covariance,
        )
    return Source(tensors, "unread", "test", measure_digest=lambda: "sha256:unread")
