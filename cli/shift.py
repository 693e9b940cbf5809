"""medzoo shift: a run on data unlike its own, and on its own test images made worse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from .data_options import add_data_options, read_data_options
from .output import mute_native_notices, print_columns, print_json, print_note
from .score_text import write_number

if TYPE_CHECKING:
    from medzoo.evaluation.score import Counts, Score
    from medzoo.evaluation.shift.robustness import Robustness
    from medzoo.training.shifting import Shift


@click.command("shift")
@click.argument("run", metavar="RUN")
@click.option(
    "--data", help="Other images than the run's, of the same classes: whatever `medzoo predict` takes."
)
@add_data_options
@click.option("--unlabelled", is_flag=True, help="Take the images alone, whatever labels the data have.")
@click.option(
    "--detect", is_flag=True, help="Measure how well four scores tell the images of --data from the run's."
)
@click.option("--corruptions", is_flag=True, help="Corrupt the run's test images in five ways and strengths.")
@click.option(
    "--corruption",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only noise, blur, contrast, jpeg or intensity; may be given again.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A metric; may be given again  [default: auroc, accuracy, balanced_accuracy, brier; of corruptions auroc].",
)
@click.option("--batch-size", type=int, help="[default: the run's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON and nothing else.")
def command(
    run: str,
    data: str | None,
    unlabelled: bool,
    detect: bool,
    corruptions: bool,
    names: tuple[str, ...],
    metrics: tuple[str, ...],
    batch_size: int | None,
    seed: int,
    replicates: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Evaluate a run out of its distribution: on other data, or on its own test images under corruptions.

    With --data every metric is given on the run's test images, on the other images and as their difference, with 95 %
    intervals. With --detect, also how well an image's strangeness tells which it is of: AUROC, and the share of
    strange images let in where 95 % of the run's are. With --corruptions a metric at five strengths of noise, blur,
    lost contrast, JPEG and changed intensity. Scores are the network's own, without `medzoo calibrate`.

    \b
    Examples:
      medzoo shift runs/chest --data other_hospital.csv
      medzoo shift runs/chest --data other_hospital/ --unlabelled --detect
      medzoo shift runs/chest --corruptions --json > robustness.json
      medzoo shift runs/chest --corruption noise --corruption blur --metric accuracy
    """
    from medzoo.errors import ConfigError
    from medzoo.evaluation.uncertainty.resampling import Resampling

    given = read_data_options(options)
    corrupts = corruptions or bool(names)
    if corrupts == (data is not None):
        found = "--data together with corruptions" if corrupts else "neither --data nor --corruptions"
        raise ConfigError(found, "one of them", f"medzoo shift {run} --data OTHER")
    if corrupts and (given or unlabelled or detect):
        raise ConfigError("an option of other data with --corruptions", "it with --data", "leaving it out")
    if corrupts and len(metrics) > 1:
        raise ConfigError(f"{len(metrics)} metrics of corruptions", "one --metric", f"--metric {metrics[0]}")
    resampling = Resampling(replicates=replicates, seed=seed)
    say = None if as_json else print_note
    with mute_native_notices():
        from medzoo.training.shifting import evaluate_corruptions, evaluate_shift
        from medzoo.training.stepping.hardware import has_gpu

        has_gpu()  # wakes the device libraries, which speak too
    if data is None:
        chosen: dict[str, Any] = {"names": names} if names and not corruptions else {}
        if metrics:
            chosen["metric"] = metrics[0]
        robustness = evaluate_corruptions(
            run, seed=seed, resampling=resampling, batch_size=batch_size, report=say, **chosen
        )
        if as_json:
            print_json({"run": run} | robustness.describe())
        else:
            _print_robustness(robustness)
        return
    chosen = {"metrics": metrics} if metrics else {}
    shift = evaluate_shift(
        run,
        data,
        detect=detect,
        resampling=resampling,
        batch_size=batch_size,
        options=given,
        unlabelled=unlabelled,
        report=say,
        **chosen,
    )
    if as_json:
        print_json(shift.describe())
    else:
        _print_shift(shift)


def _print_shift(shift: Shift) -> None:
    """Print the metrics in and out of the distribution, and what tells the two apart."""
    print_columns(
        ("metric", "in", "95 % interval", "out", "95 % interval", "out − in", "95 % interval"),
        [
            (name, *_write(one.inside), *_write(one.outside), *_write(one.difference))
            for name, one in shift.metrics.items()
        ],
    )
    first = next(iter(shift.metrics.values()))
    click.echo(f"in: the run's test images, {_count(first.inside.counts)}")
    click.echo(f"out: {shift.data}, {_count(first.outside.counts)}")
    _print_reasons((name, (one.inside, one.outside, one.difference)) for name, one in shift.metrics.items())
    if not shift.detection:
        return
    click.echo()
    print_columns(
        ("strangeness", "AUROC", "95 % interval", "FPR95", "95 % interval"),
        [(name, *_write(one.auroc), *_write(one.fpr95)) for name, one in shift.detection.items()],
    )
    counts = next(iter(shift.detection.values())).auroc.counts
    click.echo(f"of {counts.positives:,} images out of the distribution and {counts.negatives:,} in it")
    _print_reasons((name, (one.auroc, one.fpr95)) for name, one in shift.detection.items())


def _print_robustness(robustness: Robustness) -> None:
    """Print a metric by corruption and strength, the means, and what they lose."""
    rows: list[tuple[str, ...]] = []
    curves = robustness.curves.items()
    clean = next(iter(robustness.curves.values())).scores[0]
    rows.append(("none", "0", *_write(clean), "", ""))
    for name, curve in curves:
        rows += [(name, str(step), *_write(one), "", "") for step, one in enumerate(curve.scores) if step]
        rows.append((name, "mean", *_write(curve.mean), *_write(curve.change)))
    rows.append(("all", "mean", *_write(robustness.mean), *_write(robustness.change)))
    print_columns(
        ("corruption", "strength", robustness.metric, "95 % interval", "change", "95 % interval"),
        rows,
        numbers=(1,),
    )
    click.echo(f"the run's test images, {_count(clean.counts)}")
    scores = [(name, (*curve.scores[1:], curve.mean, curve.change)) for name, curve in curves]
    _print_reasons([("none", (clean,)), *scores, ("all", (robustness.mean, robustness.change))])


def _write(score: Score) -> tuple[str, str]:
    """Write a score and its interval."""
    if score.value != score.value:
        return "undefined", "–"
    if score.low != score.low:
        return write_number(score.value), "none"
    return write_number(score.value), f"{write_number(score.low)} – {write_number(score.high)}"


def _count(counts: Counts) -> str:
    """Write what scores were computed on."""
    words = [f"n {counts.n:,}"]
    if counts.patients is not None:
        words.append(f"patients {counts.patients:,}")
    if counts.positives is not None and counts.negatives is not None:
        words += [f"positives {counts.positives:,}", f"negatives {counts.negatives:,}"]
    return ", ".join(words)


def _print_reasons(named: Iterable[tuple[str, Iterable[Score]]]) -> None:
    """Say below a table why a value or an interval is not in it, each reason once."""
    told: dict[str, list[str]] = {}
    for name, scores in named:
        for score in scores:
            if score.reason is not None:
                told.setdefault(score.reason, []).append(name)
    for reason, names in told.items():
        click.echo(f"{', '.join(dict.fromkeys(names))}: {reason}")
