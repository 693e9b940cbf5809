from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from medzoo.errors import DataError
from medzoo.evaluation.predictions import load_predictions, write_predictions
from medzoo.evaluation.scores import evaluate, format_metrics


@pytest.fixture(scope="module")
def command() -> click.Command:
    from medzoo.cli.evaluate import command

    return command


@pytest.fixture
def run_folder(tmp_path, noisy) -> Path:
    write_predictions(noisy, tmp_path / "predictions.csv")
    (tmp_path / "metrics.json").write_text('{"ideal_observer": {"auroc": 0.9214}, "test": {}}')
    return tmp_path


def call(command: click.Command, *arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_is_the_metrics_alone(command, run_folder):
    out = call(command, str(run_folder), "--json", "--seed", "3", "--replicates", "40")
    expected = evaluate(load_predictions(run_folder), seed=3, replicates=40)
    assert out == format_metrics({**expected, "ideal_observer": {"auroc": 0.9214}})


def test_the_table_shows_value_interval_and_count(command, run_folder):
    entry = evaluate(load_predictions(run_folder), replicates=40)["test"]["auroc"]
    out = call(command, str(run_folder / "predictions.csv"), "--replicates", "40")
    row = next(line for line in out.splitlines() if "│ auroc" in line)
    for value in (entry["value"], entry["low"], entry["high"]):
        assert f"{value:.3f}".removeprefix("0") in row
    assert " 60 " in row
    assert "ideal observer" not in out


def test_the_ideal_observer_stands_beside_the_test_auroc(command, run_folder):
    value = evaluate(load_predictions(run_folder), replicates=1)["test"]["auroc"]["value"]
    out = call(command, str(run_folder), "--replicates", "5")
    assert f"test AUROC {value:.3f}, ideal observer .921".replace("AUROC 0.", "AUROC .") in out


@pytest.mark.parametrize(
    "recorded", ["{", "[]", '{"ideal_observer": 3}', '{"ideal_observer": {"auroc": null}}']
)
def test_damaged_recorded_metrics_do_not_matter(command, run_folder, recorded):
    (run_folder / "metrics.json").write_text(recorded)
    assert "balanced_accuracy" in call(command, str(run_folder), "--replicates", "5")


def test_undefined_is_said_with_its_reason(command, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("id,label,score_a,score_b\nx,a,1,0\ny,a,1,0\n")
    out = call(command, str(path), "--replicates", "5")
    assert "undefined" in out
    assert "auroc, auprc, balanced_accuracy, f1: no row of class 'b'" in out.splitlines()
    assert "accuracy: no interval: every resample gives 1.000" in out.splitlines()
    assert "1.000" in out


def test_markup_in_a_name_is_printed_as_it_is(command, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("id,label_[red],label_b,score_[red],score_b\nx,1,0,1,0\ny,0,1,0,1\n")
    assert "[red]" in call(command, str(path), "--replicates", "5")


def test_nothing_is_written(command, run_folder):
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    call(command, str(run_folder), "--replicates", "5")
    assert before == {path.name: path.read_bytes() for path in run_folder.iterdir()}


def test_a_path_that_does_not_exist_is_a_refusal_not_a_wrong_usage(command, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        call(command, str(tmp_path / "absent.csv"))


def test_help_holds_an_example(command):
    assert "medzoo evaluate runs/chest" in call(command, "--help")


@pytest.mark.slow
def test_importing_the_command_imports_click_alone():
    loaded_names = "sorted(name for name in sys.modules if '.' not in name)"
    code = f"import sys, medzoo.cli.evaluate; print({loaded_names})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "'click'" in loaded
    for name in ("numpy", "rich", "sklearn", "tensorflow", "keras"):
        assert f"'{name}'" not in loaded


GROUPED = "id,patient,split,label_x,score_x,sex,age\n" + "".join(
    f"{row},p{row},{'validation' if row % 4 == 0 else 'test'},{row % 2},{(row * 37 % 100) / 100},"
    f"{'FM'[row // 2 % 2]},{20 + row % 60}\n"
    for row in range(400)
)


def test_groups_are_scored_with_their_gaps(command, tmp_path):
    (tmp_path / "p.csv").write_text(GROUPED)
    options = ("--by", "sex", "--by", "age", "--band", "age=40,60", "--replicates", "40")
    out = call(command, str(tmp_path / "p.csv"), *options)
    assert "positive: 'x'" in out
    for text in (
        "auroc by sex, age",
        "sex=F",
        "age=40–59",
        "equalised-odds gap",
        "mean score − share of positives",
    ):
        assert text in out, out
    found = json.loads(call(command, str(tmp_path / "p.csv"), *options, "--json"))
    assert [part["what"] for part in found["subgroups"]] == [
        "auroc",
        "rates",
        "mean score − share of positives",
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--band", "age=18"), "--by COLUMN"),
        (("--label", "x"), "--by COLUMN"),
        (("--by", "age", "--band", "age"), "--band age=18,40,65"),
        (("--by", "gender"), "gender"),
        (("--metric", "aurok"), "auroc"),
        (("--threshold", "youdn"), "youden"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(command, tmp_path, options, told):
    from medzoo.errors import MedzooError

    (tmp_path / "p.csv").write_text(GROUPED)
    with pytest.raises(MedzooError, match=told) as refused:
        CliRunner().invoke(command, [str(tmp_path / "p.csv"), *options], catch_exceptions=False)
    assert "\n" not in str(refused.value)


def test_two_tables_are_compared_and_options_of_one_refused(command, tmp_path):
    (tmp_path / "p.csv").write_text(GROUPED)
    path = str(tmp_path / "p.csv")
    with pytest.raises(Exception, match="one question at a time"):
        CliRunner().invoke(command, [path, path, "--interval", "bca"], catch_exceptions=False)
