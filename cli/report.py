"""`medzoo report`: a run or a table of predictions as one page."""

from __future__ import annotations

import click


@click.command("report")
@click.argument("run", metavar="RUN|FILE")
@click.option("--out", default="report.html", show_default=True, metavar="FILE", help="The page.")
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="A group column to compare, or a crossing such as 'sex × age'; may be repeated. "
    "[default: every column that holds groups]",
)
@click.option("--no-pictures", is_flag=True, help="Do not open the data: the page holds no image.")
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
def command(
    run: str, out: str, by: tuple[str, ...], no_pictures: bool, replicates: int, seed: int, overwrite: bool
) -> None:
    """Write one HTML page on RUN or on a table of predictions: it needs no network and no other file.

    It holds the scores with their intervals, ROC, precision–recall, reliability and risk–coverage curves, the
    confusion matrix, subgroups, the best and worst cases, learning curves, an audit of the data, where the first
    weights came from, the configuration, versions and digests. What a table of predictions cannot tell is said there.
    The page holds image names and pictures: share it as you would share the data.

    \b
    Examples:
      medzoo report runs/chest
      medzoo report predictions.csv --by sex --by 'sex × age' --out chest.html
    """
    from medzoo.evaluation.uncertainty.resampling import Resampling
    from medzoo.reports.report import write_report

    resampling = Resampling(replicates=replicates, seed=seed)
    write_report(run, out, overwrite, by=by, resampling=resampling, pictures=not no_pictures)
    click.echo(out)
