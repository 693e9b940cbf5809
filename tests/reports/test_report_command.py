"""`medzoo report`: what it prints, what it refuses."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from medzoo.cli.report import command
from report_pages import make_rows, write_report_run

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.predictions import write_predictions


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_predictions(make_rows(40), tmp_path / "p.csv")
    return "p.csv"


def call(*arguments: str) -> str:
    done = CliRunner().invoke(command, [*arguments, "--replicates", "10"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_prints_the_page_s_path_alone(table, tmp_path):
    assert call(table) == "report.html\n"
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_existing_page_stays_unless_overwritten(table, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"report.html exists.*--overwrite"):
        call(table)
    assert (tmp_path / "report.html").read_text() == "mine"
    call(table, "--overwrite")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") != "mine"


def test_a_page_in_the_run_is_refused(tmp_path):
    run = write_report_run(tmp_path / "run", make_rows(40))
    (tmp_path / "link").symlink_to(run)
    before = sorted(run.rglob("*"))
    for out in (run / "report.html", run / "new" / "deeper" / "r.html", tmp_path / "link" / "new" / "r.html"):
        with pytest.raises(ConfigError, match="lies in the run"):
            call(str(run), "--out", str(out))
    assert sorted(run.rglob("*")) == before
    call(str(run), "--out", str(tmp_path / "run2" / "r.html"))  # beside it, whatever its name begins with


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["absent.csv"], DataError, "does not exist"),
        (["p.csv", "--by", "sexx"], DataError, "no group column 'sexx'.*'sex'"),
        (["p.csv", "--out", "."], ConfigError, "is a folder"),
        (["p.csv", "--out", "p.csv", "--overwrite"], ConfigError, "is the table of predictions"),
        (["empty", "--out", "x.html"], DataError, "holds no predictions"),
        (["blank.csv"], DataError, "no labels"),
    ],
)
def test_what_cannot_be_reported_is_refused_and_leaves_nothing(table, tmp_path, arguments, error, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.csv").write_text("id,label,score_a,score_b\nx,,1,0\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        call(*arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_help_holds_an_example(table):
    assert "medzoo report runs/chest" in CliRunner().invoke(command, ["--help"]).stdout
