"""The end of a run: predictions with the best weights, metrics, the record of what made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medzoo.evaluation.predictions import write_predictions
from medzoo.evaluation.scores import DEFAULT_METRICS, evaluate, write_metrics
from medzoo.outputs import write_text
from medzoo.training.announcement import describe_environment
from medzoo.training.assembly import build_network, plain_batches
from medzoo.training.prepare import Prepared
from medzoo.training.rundir import Run


def finish(run: Run, prepared: Prepared, facts: Mapping[str, Any]) -> None:
    """Predict validation and test rows with the best weights; write predictions, record and, last, metrics."""
    from medzoo.training.predict import make_predictions, predict_logits

    model = build_network(prepared)
    model.load_weights(run / "best.weights.h5")
    splits = ("validation", "test")
    values = np.concatenate([predict_logits(model, plain_batches(prepared, split)) for split in splits])
    column = prepared.dataset.table["split"].to_numpy()
    rows = np.concatenate([np.flatnonzero(column == split) for split in splits])
    described = replace(prepared.dataset, images=None, paths=(), bundle=None, rows=()).take(rows)
    predictions = make_predictions(described, values)
    write_predictions(predictions, run / "predictions.csv")
    metrics: dict[str, Any] = dict(evaluate(predictions, metrics=_list_metrics(prepared)))
    if prepared.dataset.limit is not None:
        metrics["ideal_observer"] = {"auroc": prepared.dataset.limit}
    environment = describe_environment(prepared) | dict(facts)
    write_text(run / "environment.json", json.dumps(environment, indent=1, ensure_ascii=False) + "\n")
    # Last of all: a run with metrics is a finished one.
    write_metrics(metrics, run / "metrics.json")


def _list_metrics(prepared: Prepared) -> tuple[str, ...]:
    """List what is reported: the usual metrics, and the one that chose the weights."""
    chosen = prepared.config.validation.metric
    return DEFAULT_METRICS if chosen in ("loss", *DEFAULT_METRICS) else (*DEFAULT_METRICS, chosen)
