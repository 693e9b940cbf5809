"""One finished run and its page, for all tests of reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_pages import FEW, Element, make_rows, parse, write_images, write_report_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two classes whose images are there."""
    folder = tmp_path_factory.mktemp("report")
    rows = make_rows()
    return write_report_run(folder / "chest", rows, str(write_images(folder / "images", rows)))


@pytest.fixture(scope="session")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of its report."""
    from medzoo.reports.report import write_report

    out = tmp_path_factory.mktemp("pages") / "report.html"
    write_report(run, out, resampling=FEW)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def tree(page: str) -> Element:
    return parse(page)
