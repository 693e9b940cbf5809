"""What a validation measures, on rows counted by hand, and what cannot be validated by."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from medzoo.data.dataset import Dataset
from medzoo.errors import ConfigError
from medzoo.evaluation.metrics.selection import SCORES
from medzoo.evaluation.predictions import Predictions
from medzoo.training.monitoring.scores import check_validation, keep_defined, measure_loss, score_validation
from medzoo.training.settings import MetricName, ScheduleSection, ValidationSection

NAN = math.nan


def make(labels: list[list[float]], scores: list[list[float]], exclusive: bool) -> Predictions:
    """Make validation rows of classes a, b, c…"""
    ids = np.arange(len(labels)).astype(np.str_)
    splits = np.full(len(labels), "validation")
    classes = tuple("abcd"[: len(labels[0])])
    return Predictions(ids, np.array(labels), np.array(scores), classes, splits, exclusive=exclusive)


def test_the_loss_of_classes_is_the_mean_over_rows() -> None:
    rows = make([[0, 1], [1, 0]], [[0.2, 0.8], [0.5, 0.5]], exclusive=True)
    assert measure_loss(rows) == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)


def test_the_loss_of_labels_is_the_mean_over_known_entries() -> None:
    rows = make([[1, NAN], [0, NAN], [1, 0]], [[0.8, 0.1], [0.3, 0.2], [0.5, 0.4]], exclusive=False)
    expected = [math.log(0.8), math.log(0.7), math.log(0.5), math.log(0.6)]
    assert measure_loss(rows) == pytest.approx(-np.mean(expected))


def test_the_loss_of_what_nobody_annotated_is_undefined_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(measure_loss(make([[NAN]], [[0.5]], exclusive=False)))


def test_a_wrong_answer_given_with_certainty_has_a_finite_loss() -> None:
    assert math.isfinite(measure_loss(make([[0, 1]], [[1.0, 0.0]], exclusive=True)))


def test_labels_that_the_rows_cannot_tell_are_left_out_of_the_mean() -> None:
    rows = make([[1, 0, 1], [0, 0, NAN]], [[0.9, 0.1, 0.5], [0.2, 0.1, 0.5]], exclusive=False)
    assert keep_defined(rows).classes == ("a",)
    for name, metric in SCORES.items():
        assert math.isnan(metric(rows))
        assert score_validation(rows, name)[name] == 1.0
    assert score_validation(rows, "auroc")["loss"] == measure_loss(rows)


def test_every_metric_that_is_named_is_scored_once_and_after_the_loss() -> None:
    rows = make([[0, 1], [1, 0]], [[0.2, 0.8], [0.9, 0.1]], exclusive=True)
    assert list(score_validation(rows)) == ["loss"]
    names = get_args(MetricName)
    scores = score_validation(rows, *names)
    assert list(scores) == ["loss", *(name for name in names if name != "loss")]
    assert {name: score for name, score in scores.items() if name != "loss"} == dict.fromkeys(SCORES, 1.0)
    assert score_validation(rows, "auroc", loss=7.0) == {"loss": 7.0, "auroc": 1.0}
    with pytest.raises(ConfigError, match="'auroc'"):
        score_validation(rows, "auc")


def test_a_metric_that_the_rows_do_not_define_is_nan() -> None:
    rows = make([[0, 1], [0, 1]], [[0.2, 0.8], [0.9, 0.1]], exclusive=True)
    scores = score_validation(rows, *SCORES)
    assert all(math.isnan(scores[name]) for name in SCORES)
    assert math.isfinite(scores["loss"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"metric": "kappa"}, "order is unknown"),
        ({"until": "kappa=.6"}, "order is unknown"),
        ({"until": "auc=.9"}, "no metric 'auc'"),
    ],
)
def test_what_cannot_be_validated_by_is_refused(settings: dict[str, str], says: str) -> None:
    table = pd.DataFrame({"id": ["a"], "split": ["validation"], "label": ["mild"]})
    dataset = Dataset("d", ("mild", "none", "severe"), table, 1, (8, 8), None)
    with pytest.raises(ConfigError, match=says):
        check_validation(dataset, ValidationSection.model_validate(settings), ScheduleSection())
    check_validation(dataset, ValidationSection(metric="macro_recall"), ScheduleSection(metric="kappa"))
    with pytest.raises(ConfigError, match="order is unknown"):
        check_validation(dataset, ValidationSection(), ScheduleSection(kind="plateau", metric="kappa"))


def test_weights_are_written_under_keras_paths_and_read_back(tmp_path: Path) -> None:
    import medzoo
    from medzoo.training.monitoring.scores import save_weights, write_weights
    from medzoo.training.rundir import Run

    model, other = (medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32) for _ in range(2))
    save_weights(model, Run(tmp_path))
    write_weights(model, tmp_path / "again.weights.h5")
    for name in ("best", "again"):
        other.load_weights(tmp_path / f"{name}.weights.h5")
        for mine, theirs in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert set(medzoo.open_weights(tmp_path)) == {weight.path for weight in model.weights}
