"""What the sections say: numbers that are those of the library, reasons where there are none."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import FEW, Element, make_rows, parse, write_images, write_report_run

from medzoo.evaluation.calibration.calibration import write_calibration
from medzoo.evaluation.calibration.fitting import fit_calibration
from medzoo.evaluation.calibration.metrics import nll
from medzoo.evaluation.predictions import Predictions, load_predictions, write_predictions
from medzoo.evaluation.scores import evaluate
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.outputs import digest_file
from medzoo.reports.cases import measure_losses
from medzoo.reports.figures import MOST_POINTS, thin
from medzoo.reports.initialisation import group_by_stage
from medzoo.reports.report import write_report
from medzoo.reports.sources import open_own_data
from medzoo.reports.subject import Subject
from medzoo.reports.wording import format_interval, format_number
from medzoo.training.monitoring.history import write_history
from medzoo.transplant.record import read_plan


def report(source: Path, folder: Path, **options: object) -> Element:
    """Write a report and read it."""
    out = folder / "report.html"
    write_report(source, out, overwrite=True, resampling=FEW, **options)
    return parse(out.read_text(encoding="utf-8"))


def read_cells(table: Element) -> list[list[str]]:
    """Give a table's rows as text, the head's first."""
    return [[cell.text for cell in row.find_all("th", "td")] for row in table.find_all("tr")]


def write_table(folder: Path, rows: Predictions) -> Path:
    """Write rows as a table of predictions."""
    write_predictions(rows, folder / "p.csv")
    return folder / "p.csv"


def test_scores_are_those_of_evaluate(run, tree):
    entry = evaluate(load_predictions(run), replicates=40, threshold="youden")["test"]["auroc"]
    rows = {cells[0]: cells for cells in read_cells(tree.find("scores").find_all("table")[0])}
    assert rows["AUROC"][1:4] == [
        format_number(entry["value"]),
        format_interval(entry["low"], entry["high"]),
        "80",
    ]
    assert rows["AUROC"][4:] == ["40", "40", "40"]
    assert "Sensitivity at youden" in rows
    assert format_number(entry["value"]) in tree.find_all("header")[0].text
    assert ".921" in tree.find("scores").text
    assert format_number(entry["value"]) in tree.find("curves").find_all("li")[0].text


def test_every_row_of_scores_has_an_interval_or_a_reason_and_n(tree):
    for table in tree.find("scores").find_all("table"):
        for _, value, interval, count, *_ in read_cells(table)[1:]:
            assert value == "undefined" or "–" in interval or "by chance" in interval
            assert int(count) > 0


def test_the_confusion_matrix_is_counted(tmp_path):
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.8, 0.2]])
    true = np.eye(2)[[0, 0, 1, 1, 1]]
    rows = Predictions(np.arange(5).astype(str), true, said, ("no", "yes"), np.array(["test"] * 5))
    tree = report(write_table(tmp_path, rows), tmp_path)
    assert read_cells(tree.find("confusion").find_all("table")[0])[1:] == [
        ["no", "1", "1", "2"],
        ["yes", "1", "2", "3"],
    ]


def test_labels_have_a_table_of_hits_and_misses(tmp_path):
    true = np.array([[1, 0], [1, np.nan], [0, 1.0]])
    said = np.array([[0.9, 0.6], [0.1, 0.9], [0.7, 0.5]])
    rows = Predictions(
        np.arange(3).astype(str), true, said, ("a", "b"), np.array(["test"] * 3), exclusive=False
    )
    table = report(write_table(tmp_path, rows), tmp_path).find("confusion").find_all("table")[0]
    assert read_cells(table)[1:] == [["a", "1", "1", "1", "0"], ["b", "1", "1", "0", "0"]]


def test_of_many_classes_the_commonest_confusions_are_listed(tmp_path):
    classes = tuple(f"c{number}" for number in range(25))
    tree = report(write_table(tmp_path, make_rows(150, classes)), tmp_path)
    table = tree.find("confusion").find_all("table")[0]
    assert "25 classes" in table.find_all("caption")[0].text
    assert len(read_cells(table)) == 21
    assert "not drawn" in tree.find("curves").text


def test_small_groups_are_listed_and_not_scored(tree):
    rows = {cells[0]: cells[1:] for cells in read_cells(tree.find("subgroups").find_all("table")[0])}
    assert rows["view=lateral"][:2] == ["too small", "–"]
    assert "–" in rows["view=frontal"][1]
    assert "view=frontal" in tree.find("subgroups").find_all("svg")[0].text
    assert "view=lateral" not in tree.find("subgroups").find_all("svg")[0].text


def test_columns_asked_for_are_the_only_ones(run, tmp_path):
    text = report(run, tmp_path, by=["sex", "sex × view"]).find("subgroups").text
    assert "sex=F × view=frontal" in text
    assert "\nview=frontal" not in text


def test_a_patient_in_two_splits_is_found(tmp_path):
    rows = make_rows()
    patients = rows.patients.copy()
    patients[[0, 119]] = "two"
    assert rows.splits[0] != rows.splits[119]
    tree = report(write_table(tmp_path, replace(rows, patients=patients)), tmp_path)
    assert "1 patient in several splits (2 images): 'two'" in tree.find("data").text


def test_the_data_are_counted_from_the_run_s_own_table(tree):
    splits, classes = (read_cells(table) for table in tree.find("data").find_all("table")[:2])
    assert splits[1:] == [
        ["train", "20", "20"],
        ["validation", "40", "20"],
        ["test", "80", "40"],
        ["all", "140", "80"],
    ]
    assert classes[1] == ["benign", "10 (50.0 %)", "20 (50.0 %)", "40 (50.0 %)", "0"]
    assert "two images are alike" in tree.find("data").text


def test_missing_labels_are_counted(tmp_path):
    rows = make_rows(120, ("a", "b", "c"), exclusive=False)
    tree = report(write_table(tmp_path, rows), tmp_path)
    table = read_cells(tree.find("data").find_all("table")[1])
    assert [int(cells[-1]) for cells in table[1:]] == np.isnan(rows.labels).sum(axis=0).tolist()


def test_the_plan_is_summed_up_by_stage(run, tree):
    plan = read_plan(run / "plan.json").plan
    rows = read_cells(tree.find("plan").find_all("table")[0])[1:]
    assert [cells[0] for cells in rows] == ["block1", "block2", "block3", "block4", "head"]
    assert sum(int(cells[1]) for cells in rows) == len(plan.steps)
    assert sum(int(cells[2].replace(",", "")) for cells in rows) == sum(
        step.target.size for step in plan.steps
    )


def test_a_plan_without_stages_takes_those_of_the_catalogue(run):
    record = read_plan(run / "plan.json")
    plain = replace(
        record, plan=replace(record.plan, steps=tuple(replace(s, stage="") for s in record.plan.steps))
    )
    named, found = (
        {stage: [step.target.name for step in steps] for stage, steps in group_by_stage(each).items()}
        for each in (record, plain)
    )
    assert found == named


def test_a_calibration_is_shown_beside_the_network_s_own_scores(tmp_path):
    rows = make_rows()
    run = write_report_run(tmp_path / "run", rows)
    assert len(report(run, tmp_path).find("calibration").find_all("figure")) == 2
    fitted = fit_calibration(load_predictions(run).of_split("validation"))
    own = replace(fitted, source=digest_file(run / "predictions.csv"))
    write_calibration(own, run / "calibration.json")
    section = report(run, tmp_path).find("calibration")
    assert len(section.find_all("figure")) == 4
    assert "after temperature calibration" in section.text
    (run / "calibration.json").write_text("{")
    assert "is not shown: " in report(run, tmp_path).find("calibration").text


@pytest.mark.parametrize("source", ["", "of others"])
def test_a_calibration_of_other_predictions_is_not_shown(tmp_path, source):
    run = write_report_run(tmp_path / "run", make_rows())
    fitted = fit_calibration(load_predictions(run).of_split("validation"))
    digest = digest_file(run / "predictions.csv") if source else ""
    write_calibration(replace(fitted, source=digest), run / "calibration.json")
    write_predictions(make_rows(seed=1), run / "predictions.csv")  # trained again
    section = report(run, tmp_path).find("calibration")
    assert len(section.find_all("figure")) == 2
    assert "was fitted on other predictions than the run's" in section.text
    assert f"medzoo calibrate {run} --overwrite" in section.text
    assert "after temperature calibration" not in section.text


def test_errors_over_bins_say_how_many_and_what_chance_gives(tree):
    section = tree.find("scores")
    for table in section.find_all("table"):
        (cells,) = [cells for cells in read_cells(table) if cells[0] == "ECE"]
        chance = cells[2].removeprefix("by chance < ")
        (note,) = [note.text for note in section.find_all("li") if f"below {chance} in 95 %" in note.text]
        assert note.startswith("ECE: over M = 15 bins.")
    assert "worse calibrated than the rows" not in section.text  # the note has said it


def test_thresholds_that_validation_chose_are_not_scored_there(tree):
    section = tree.find("scores")
    test, validation = ([cells[0] for cells in read_cells(table)] for table in section.find_all("table"))
    assert "Sensitivity at youden" in test
    assert "Sensitivity at youden" not in validation
    assert "on the validation split; of that split itself they would be too good" in section.text


def test_the_ring_stands_where_its_value_is_drawn(run, tmp_path):
    """An epoch chosen by its loss has a ring among the losses, and none among scores that it was not chosen by."""
    rows = make_rows()
    chosen = write_report_run(tmp_path / "run", rows)
    config = (chosen / "config.toml").read_text()
    (chosen / "config.toml").write_text(config.replace('metric = "auroc"', 'metric = "loss"'))
    for source, ringed in ((run, 1), (chosen, 0)):
        figures = report(source, tmp_path, pictures=False).find("learning").find_all("figure")[:2]
        captions = [figure.find_all("figcaption")[0].text for figure in figures]
        assert ["The ring is the epoch" in caption for caption in captions] == [
            place == ringed for place in range(2)
        ]


def test_losses_are_those_of_the_library():
    labels = make_rows(60, ("a", "b", "c"), exclusive=False).annotated()
    labels.scores[0] = 0.0  # a wrong probability of 0 costs what it costs in every table
    three = make_rows(60, ("a", "b", "c"))
    three.scores[0] = 1 - three.labels[0]
    for rows in (labels, three):
        losses = measure_losses(rows)
        each = [nll(rows.take(np.array([row]))) for row in range(len(rows))]
        whole = ~np.isnan(each)
        np.testing.assert_allclose(losses[whole], np.array(each)[whole])
        assert np.isfinite(losses).all()
        assert losses[0] == losses.max()
    assert losses[0] == pytest.approx(36.04, abs=0.01)


def test_a_gap_s_p_is_never_0(tmp_path):
    rows = make_rows(480)
    chance = np.random.default_rng(0).random(len(rows))
    sex = np.where(np.arange(len(rows)) // 4 % 2 == 0, "F", "M").astype(np.str_)
    said = np.where(sex == "F", 0.1 + 0.8 * rows.labels[:, 1], chance)
    rows = replace(rows, scores=np.stack([1 - said, said], axis=1), groups={"sex": sex})
    write_report(write_table(tmp_path, rows), tmp_path / "r.html", resampling=Resampling(replicates=2000))
    text = parse((tmp_path / "r.html").read_text(encoding="utf-8")).find("subgroups").text
    assert "(p < .001)" in text


def test_a_table_of_predictions_says_what_it_cannot_tell(tmp_path):
    tree = report(write_table(tmp_path, make_rows()), tmp_path)
    for name in ("learning", "plan", "configuration"):
        assert tree.find(name).text.endswith(".")
        assert "Not shown: a table of predictions does not say how" in tree.find(name).text
    assert "does not say where its images are" in tree.find("cases").text
    assert not tree.find_all("img")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nowhere.csv", "nowhere.csv is no longer there"),
        ("tfds:patch_camelyon", "read with TensorFlow"),
        ("medmnist:breastmnist", "no longer in the cache"),
        ("medmnist:catmnist", "no set of MedMNIST"),
        (__file__, "cannot be opened"),
    ],
)
def test_data_that_cannot_be_had_are_no_obstacle(tmp_path, source, reason):
    tree = report(write_report_run(tmp_path / "run", make_rows(), source), tmp_path)
    assert reason in tree.find("cases").text
    assert reason in tree.find("data").text
    assert len(tree.find("cases").find_all("strong")) == 12


def test_pictures_can_be_left_out(run, tmp_path):
    tree = report(run, tmp_path, pictures=False)
    assert not tree.find_all("img")
    assert "as was asked" in tree.find("cases").text


def test_data_that_have_changed_are_said_to_have(tmp_path):
    rows = make_rows()
    run = write_report_run(tmp_path / "run", rows, str(write_images(tmp_path / "images", rows)))
    environment = json.loads((run / "environment.json").read_text())
    subject = Subject(
        run, rows, is_run=True, config={"data": {"source": str(tmp_path / "images" / "table.csv")}}
    )
    dataset = open_own_data(subject).dataset
    assert dataset is not None
    (run / "environment.json").write_text(json.dumps(environment | {"table_digest": dataset.digest}))
    assert "have changed" not in report(run, tmp_path).find("data").text
    (run / "environment.json").write_text(json.dumps(environment | {"table_digest": "0" * 64}))
    assert "have changed" in report(run, tmp_path).find("data").text


def test_one_class_gives_reasons_and_no_curves(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("id,label,score_a,score_b\nx,a,1,0\ny,a,1,0\n")
    tree = report(path, tmp_path)
    assert "no row of class 'b'" in tree.find_all("header")[0].text
    assert "AUROC: no row of class 'b'." in [note.text for note in tree.find("scores").find_all("li")]
    assert "Not shown" in tree.find("curves").text
    assert not [cell for cell in tree.find_all("td") if cell.text == "nan"]


def test_a_run_without_labels_says_so(tmp_path):
    rows = make_rows(20)
    unknown = replace(rows, labels=np.full_like(rows.labels, math.nan))
    tree = report(write_report_run(tmp_path / "run", unknown), tmp_path)
    for name in ("curves", "calibration", "selective", "confusion", "cases"):
        assert "is annotated" in tree.find(name).text
    assert "Epoch" in tree.find("learning").text


@pytest.mark.parametrize(
    "damage", ["plan.json", "environment.json", "history.csv", "config.toml", "metrics.json"]
)
def test_a_damaged_file_costs_its_own_section_alone(tmp_path, damage):
    run = write_report_run(tmp_path / "run", make_rows())
    (run / damage).write_bytes(b"\xff{")
    tree = report(run, tmp_path)
    assert len(tree.find_all("section")) == 12
    assert len(tree.find("curves").find_all("figure")) == 2


def test_a_single_validation_is_told_and_not_drawn(tmp_path):
    run = write_report_run(tmp_path / "run", make_rows())
    write_history(run, [{"epoch": 1, "step": 8, "loss": 0.7, "val_loss": 0.6, "val_auroc": 0.75}])
    section = report(run, tmp_path).find("learning")
    assert not section.find_all("svg")
    assert "Validation AUROC 0.75" in section.text


def test_a_long_history_is_thinned(tmp_path):
    run = write_report_run(tmp_path / "run", make_rows())
    losses = np.random.default_rng(0).random(3000) + 0.1
    write_history(
        run, [{"epoch": row, "step": row, "loss": loss} for row, loss in enumerate(losses.tolist(), 1)]
    )
    section = report(run, tmp_path).find("learning")
    assert "Of 3,000 validations at most 500 are drawn" in section.text
    assert all(path.attributes["d"].count("L") <= MOST_POINTS for path in section.find_all("path"))


def test_digests_are_those_of_the_files(run, tree):
    rows = dict(read_cells(tree.find("provenance").find_all("table")[0]))
    for name in ("config.toml", "predictions.csv", "plan.json"):
        assert rows[name] == f"sha256:{hashlib.sha256((run / name).read_bytes()).hexdigest()}"
    assert f"medzoo evaluate {run}" in tree.find("provenance").text


@given(st.integers(2, 3000), st.integers(0, 2**32))
def test_thinned_lines_keep_their_ends_and_stay_near(count, seed):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.random(count)), np.sort(rng.random(count))
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= MOST_POINTS
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (x[0], y[0], x[-1], y[-1])
    assert np.isin(thin_x, x).all()
    # Every point lies within a step of a kept one.
    nearest = np.abs(x[:, np.newaxis] - thin_x).min(axis=1)
    assert nearest.max() <= 2 * 2 / (MOST_POINTS - 2)
