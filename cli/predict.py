"""medzoo predict: a run and images in, a table of predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .data_options import add_data_options, read_data_options
from .output import clean, mute_native_notices, print_columns, print_json, print_note

if TYPE_CHECKING:
    from medzoo.evaluation.predictions import Predictions


@click.command("predict")
@click.argument("run", metavar="RUN")
@click.option(
    "--data",
    required=True,
    help="Images: a file, a folder, a zip or tar, a table, or whatever `medzoo train` takes.",
)
@add_data_options
@click.option("--unlabelled", is_flag=True, help="Take the images alone, whatever labels the data have.")
@click.option(
    "--tta",
    default="none",
    show_default=True,
    metavar="none|horizontal|both",
    help="Average the probabilities of mirrored images.",
)
@click.option(
    "--uncalibrated", is_flag=True, help="Leave the network's own scores, though the run is calibrated."
)
@click.option("--batch-size", type=int, help="[default: the run's]")
@click.option(
    "--out",
    default="predictions.csv",
    show_default=True,
    metavar="FILE",
    help="The predictions, .csv or .parquet.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
@click.option("--json", "as_json", is_flag=True, help="Print what was predicted as JSON.")
def command(
    run: str,
    data: str,
    unlabelled: bool,
    tta: str,
    uncalibrated: bool,
    batch_size: int | None,
    out: str,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict images with a finished run's network and write one row per image.

    Images are prepared as in the run: its size, channels, input contract, windows and frame. They need no labels;
    where they have any, `medzoo evaluate` reads the file. Images of no split are test images; those of the data
    that the run was trained on keep its splits. Scores are calibrated where `medzoo calibrate` was used on the run,
    and a note says so.

    \b
    Examples:
      medzoo predict runs/chest --data new_images/
      medzoo predict runs/ct --data study/ --on-error skip --out study.csv
      medzoo predict runs/breast --data other.csv --tta horizontal --out other_predictions.parquet
    """
    from medzoo.training.calibrated import calibrate, read_run_calibration
    from medzoo.training.inference import VIEWS, check_views, open_for, predict_images
    from medzoo.training.trained import read_run
    from medzoo.training.writing import check_out, write_table

    target = Path(out)
    trained = read_run(run)
    check_views(tta)
    check_out(target, overwrite, trained.path)
    calibration = None if uncalibrated else read_run_calibration(trained)
    dataset = open_for(trained, data, read_data_options(options), unlabelled)
    with mute_native_notices():
        from medzoo.training.stepping.hardware import has_gpu

        has_gpu()  # wakes the device libraries, which speak too
    predictions = predict_images(trained, dataset, batch_size=batch_size, augment_test=tta, report=print_note)
    predictions = calibrate(predictions, calibration, print_note, len(VIEWS[tta]))
    write_table(predictions, target, overwrite)
    summary = summarise(predictions)
    if as_json:
        described: dict[str, Any] = {
            "run": run,
            "data": dataset.name,
            "views": tta,
            "skipped": list(dataset.skipped),
        }
        described["calibration"] = None if calibration is None else calibration.method
        print_json(described | summary | {"out": out})
        return
    counted = "most likely of" if predictions.exclusive else "likely (> .5) in"
    rows = [
        (name, f"{entry['likely']:,}", f"{entry['mean_score']:.3f}".removeprefix("0"))
        for name, entry in summary["classes"].items()
    ]
    print_columns(("class", counted, "mean score"), rows, numbers=(1, 2))
    if summary["labelled"]:
        print_note(f"labels are known for {summary['labelled']:,} images: medzoo evaluate {clean(out)}")
    click.echo(out)


def summarise(predictions: Predictions) -> dict[str, Any]:
    """Count images, those with a known label, and for each class those in which it is likely."""
    import numpy as np

    scores = predictions.scores
    if predictions.exclusive:
        likely = np.bincount(scores.argmax(axis=1), minlength=len(predictions.classes))
    else:
        likely = (scores > 0.5).sum(axis=0)
    return {
        "images": len(predictions),
        "labelled": len(predictions.annotated()),
        "classes": {
            name: {"likely": int(likely[place]), "mean_score": float(scores[:, place].mean())}
            for place, name in enumerate(predictions.classes)
        },
    }
