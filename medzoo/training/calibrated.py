"""A run's calibration: the file that `medzoo calibrate` leaves in it, and its use on new images."""

from __future__ import annotations

from collections.abc import Callable

from medzoo.errors import DataError
from medzoo.evaluation.calibration.calibration import Calibration, read_calibration
from medzoo.evaluation.predictions import Predictions
from medzoo.outputs import digest_file
from medzoo.training.trained import TrainedRun

#: The file's name in a run.
CALIBRATION = "calibration.json"


def read_run_calibration(trained: TrainedRun) -> Calibration | None:
    """Read a run's calibration, None where it has none.

    Raises:
        DataError: the file is no calibration, or was fitted on other predictions than the run's.
    """
    path = trained.path / CALIBRATION
    if not path.exists():
        return None
    remedy = f"medzoo calibrate {trained.path} --overwrite, or medzoo predict --uncalibrated"
    try:
        calibration = read_calibration(path)
    except DataError as error:
        raise DataError(error.found, error.expected, remedy) from error
    same = (calibration.classes, calibration.exclusive) == (trained.classes, trained.exclusive)
    if not same or calibration.source != digest_file(trained.path / "predictions.csv"):
        raise DataError(
            f"{path} was fitted on other predictions than the run's", "a calibration of this run", remedy
        )
    return calibration


def calibrate(
    predictions: Predictions,
    calibration: Calibration | None,
    report: Callable[[str], None] | None = None,
    views: int = 1,
) -> Predictions:
    """Give predictions with calibrated scores, and say so; as they are where there is no calibration.

    `views` is the number of mirrored views that scores are the mean of: the calibration was fitted on one.
    """
    if calibration is None:
        return predictions
    if report:
        report(f"scores are calibrated: {calibration.summarise()}; --uncalibrated leaves them")
        for name, reason in calibration.uncalibrated.items():
            report(f"note: {name!r} is not calibrated: {reason}")
        if views > 1:
            report(
                "note: the calibration was fitted on single views, and is applied to the mean of mirrored ones"
            )
    return calibration.apply(predictions)
