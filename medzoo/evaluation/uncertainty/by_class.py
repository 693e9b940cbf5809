"""One label, or one exclusive class against the rest, as rows and as a metric of the whole table."""

from __future__ import annotations

from dataclasses import dataclass

from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.predictions import Predictions


@dataclass(frozen=True)
class OfClass:
    """A metric of one label or class alone, as a metric of the whole table, so that all share their draws.

    `index` is the class's place among the classes.

    >>> import numpy as np
    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> rows = Predictions(np.array(["a"]), np.array([[1.0, 0.0]]), np.array([[0.9, 0.8]]), ("x", "y"),
    ...                    np.array(["test"]), exclusive=False)
    >>> OfClass(accuracy, 0)(rows), OfClass(accuracy, 1)(rows)
    (1.0, 0.0)
    """

    metric: Metric
    index: int

    def __call__(self, predictions: Predictions) -> float:
        """Give the metric of the class, NaN where it is undefined."""
        return self.metric(take_class(predictions, self.index))


def take_class(rows: Predictions, index: int) -> Predictions:
    """Give one label, or one exclusive class against the rest, as predictions of that label alone.

    Raises IndexError where there is no such class.

    >>> import numpy as np
    >>> rows = Predictions(np.array(["a"]), np.eye(3)[[1]], np.array([[0.2, 0.5, 0.3]]), tuple("xyz"),
    ...                    np.array(["test"]))
    >>> take_class(rows, 1).labels.tolist(), take_class(rows, 1).classes
    ([[1.0]], ('y',))
    """
    return Predictions(
        ids=rows.ids,
        labels=rows.labels[:, [index]],
        scores=rows.scores[:, [index]],
        classes=(rows.classes[index],),
        splits=rows.splits,
        patients=rows.patients,
        groups=rows.groups,
        exclusive=False,
    )
