"""`write_report`: a run or a table of predictions → one page that needs nothing beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medzoo.errors import ConfigError
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.outputs import write_text
from medzoo.reports.blocks import Section
from medzoo.reports.cases import make_cases
from medzoo.reports.data import make_data
from medzoo.reports.initialisation import make_plan_summary
from medzoo.reports.learning import make_configuration, make_learning
from medzoo.reports.page import assemble_page
from medzoo.reports.provenance import make_provenance
from medzoo.reports.rankings import make_curves
from medzoo.reports.scoring import make_confusion, make_scores, write_lead
from medzoo.reports.sources import OpenedData, open_own_data
from medzoo.reports.subgroups import make_subgroups
from medzoo.reports.subject import Subject, read_subject
from medzoo.reports.trust import make_calibration, make_selective


def write_report(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    by: Sequence[str] = (),
    resampling: Resampling | None = None,
    pictures: bool = True,
) -> None:
    r"""Write the report of a finished run, or of a table of predictions, as one HTML file.

    `by` are the group columns of the subgroups; without any, those that hold groups are taken. Without `pictures` the
    data are not opened, and the page holds no image. No framework is loaded, and nothing is fetched.

    Raises:
        ConfigError: the file exists and may not be overwritten, or lies in the run.
        DataError: there are no predictions, no labels, or no such column.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder) / "p.csv"
    ...     _ = table.write_text("id,label,score_no,score_yes\na,no,.7,.3\nb,yes,.4,.6\nc,no,.6,.4\nd,yes,.2,.8\n")
    ...     write_report(table, Path(folder) / "report.html", resampling=Resampling(replicates=20))
    ...     (Path(folder) / "report.html").read_text(encoding="utf-8")[:15]
    '<!doctype html>'
    """
    target = Path(path)
    check_target(target, Path(run), overwrite)
    subject = read_subject(Path(run), tuple(by), resampling or Resampling())
    opened = (
        open_own_data(subject) if pictures else OpenedData(None, "the data were not opened, as was asked")
    )
    page = assemble_page(
        subject.name,
        "Report of a training run" if subject.is_run else "Report of a table of predictions",
        write_lead(subject),
        make_sections(subject, opened),
    )
    write_text(target, page)


def check_target(path: Path, run: Path, overwrite: bool) -> None:
    """Refuse a file that is there already, is a folder, or lies in the run itself, which holds a run's files alone.

    Raises:
        ConfigError: what is wrong with it.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", "a new file", "--out report.html")
    if run.is_dir() and path.resolve().is_relative_to(run.resolve()):
        raise ConfigError(f"{path} lies in the run", "another folder", "--out report.html")
    if path.resolve() == run.resolve():
        raise ConfigError(f"{path} is the table of predictions", "a new file", "--out report.html")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists", "a new file", "--overwrite or another --out")


def make_sections(subject: Subject, opened: OpenedData) -> tuple[Section, ...]:
    """Make every section, in the order of the page: what came out first, then what it was made of."""
    return (
        make_scores(subject),
        make_curves(subject),
        make_calibration(subject),
        make_selective(subject),
        make_confusion(subject),
        make_subgroups(subject),
        make_cases(subject, opened),
        make_learning(subject),
        make_data(subject, opened),
        make_plan_summary(subject),
        make_configuration(subject),
        make_provenance(subject),
    )
