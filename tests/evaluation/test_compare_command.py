from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.predictions import write_predictions
from medzoo.evaluation.uncertainty.resampling import Resampling

CONFIG = """
[data]
source = "chest"
image_size = {size}
{fraction}
[model]
name = "cbr_tiny"
channels = 1
[weights]
mode = "{mode}"
[training]
seed = {seed}
batch_size = 8
[run]
out = "{out}"
"""


@pytest.fixture(scope="module")
def command() -> click.Command:
    from medzoo.cli.compare import command

    return command


@pytest.fixture(scope="module")
def efficiency() -> click.Command:
    from medzoo.cli.efficiency import command

    return command


@pytest.fixture
def write_run(tmp_path, make_predictions):
    """Write a run's small files; the skill of its predictions is given."""

    def write(name: str, skill: float, *, mode="random", seed=0, fraction=None, size=224, plan=True) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        marked = "" if fraction is None else f"fraction = {fraction}"
        (folder / "config.toml").write_text(
            CONFIG.format(mode=mode, seed=seed, fraction=marked, size=size, out=folder)
        )
        steps = [{"target": {"name": "a", "shape": [3, 4]}}, {"target": {"name": "b", "shape": [5]}}]
        if plan:
            (folder / "plan.json").write_text(json.dumps({"classes": 2, "channels": 1, "steps": steps}))
        noise = np.random.default_rng(len(name) + 10 * seed).normal(size=80)
        labels = np.arange(80) % 2
        logits = skill * labels + noise
        write_predictions(make_predictions(labels, 1 / (1 + np.exp(-logits))), folder / "predictions.csv")
        return folder

    return write


def call(command: click.Command, *arguments: object) -> str:
    done = CliRunner().invoke(
        command, [str(one) for one in (*arguments, "--replicates", 100)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def test_runs_stand_beside_their_cost(command, write_run):
    out = call(command, write_run("weak", 0.2), write_run("strong", 4.0, mode="stats"))
    lines = out.splitlines()
    assert lines[0] == "test: 80 images, 40 positives, 40 negatives"
    weak = next(line for line in lines if line.startswith("weak"))
    assert "cbr_tiny" in weak
    assert " 17 " in weak  # 3 × 4 + 5
    difference = next(line for line in lines if line.startswith("strong  weak"))
    assert "strong is better (p < " in difference or "strong is better (p = " in difference
    assert "+." in difference


def test_multiply_accumulates_of_the_catalogues_size_are_exact_and_others_scaled(command, write_run):
    from medzoo.models.catalog import find_model
    from medzoo.models.tables.parts import find_totals

    macs = find_totals(find_model("cbr_tiny"), 2, 1).macs
    found = json.loads(
        call(command, write_run("whole", 1), write_run("half", 1, size=112), "--json", "--separate")
    )
    assert (found["runs"]["whole"]["macs"], found["runs"]["whole"]["macs_scaled"]) == (macs, False)
    assert (found["runs"]["half"]["macs"], found["runs"]["half"]["macs_scaled"]) == (round(macs / 4), True)


def test_tables_from_anywhere_are_compared_without_a_cost(command, write_run, tmp_path):
    other = tmp_path / "others.csv"
    other.write_text((write_run("b", 1.5) / "predictions.csv").read_text())
    out = call(command, write_run("aa", 0.5), other)
    row = next(line for line in out.splitlines() if line.startswith("others.csv"))
    assert row.split()[-3:] == ["–", "–", "–"]


def test_runs_of_several_seeds_are_one(command, write_run):
    runs = [write_run(f"r{seed}", 1.0, seed=seed) for seed in range(3)]
    other = write_run("other", 1.0, mode="stats")
    found = json.loads(call(command, *runs, other, "--json"))
    assert {name: one["seeds"] for name, one in found["runs"].items()} == {
        "r0 (3 seeds)": 3,
        "other": 1,
    }
    assert found["runs"]["r0 (3 seeds)"]["paths"] == [str(run) for run in runs]
    assert found["runs"]["r0 (3 seeds)"]["metrics"]["auroc"]["deviation"] > 0
    assert len(json.loads(call(command, *runs, other, "--json", "--separate"))["differences"]) == 3
    with pytest.raises(ConfigError, match="--separate"):
        call(command, *runs)


def test_runs_of_other_settings_are_not_seeds(command, write_run):
    found = json.loads(
        call(command, write_run("a", 1.0), write_run("b", 1.0, seed=1, mode="stats"), "--json")
    )
    assert list(found["runs"]) == ["a", "b"]
    same_seed = json.loads(call(command, write_run("c", 1.0), write_run("d", 1.2), "--json"))
    assert list(same_seed["runs"]) == ["c", "d"]


def test_runs_of_other_fractions_are_not_seeds(command, write_run):
    found = json.loads(call(command, write_run("a", 1.0), write_run("b", 1.0, seed=1, fraction=10), "--json"))
    assert len(found["runs"]) == 2


def test_all_pairs_and_metrics_count_in_the_adjustment(command, write_run):
    runs = [write_run(name, 1.0, mode=name) for name in ("a", "bb", "ccc")]
    metrics = ("--metric", "auroc", "--metric", "accuracy")
    found = json.loads(call(command, *runs, "--all-pairs", *metrics, "--json"))
    assert len(found["differences"]) == 6
    assert max(one["p_adjusted"] for one in found["differences"]) == 1


def test_more_resamples_than_asked_for_are_told(command, write_run):
    runs = [str(write_run(name, 1.0, mode=name)) for name in ("a", "bb", "ccc")]
    few = [*runs, "--all-pairs", "--replicates", "100"]
    done = CliRunner().invoke(command, few, catch_exceptions=False)
    assert "599 resamples in place of 100: p-values are adjusted over 3 lines" in done.stderr
    assert json.loads(CliRunner().invoke(command, [*few, "--json"]).stdout)["replicates"] == 599
    enough = CliRunner().invoke(command, [*runs, "--replicates", "600"], catch_exceptions=False)
    assert "resamples in place" not in enough.stderr


@pytest.fixture
def tables(tmp_path, make_predictions):
    """Write tables of three labels."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, (80, 3)).astype(float)
    paths = []
    for skill in (0.5, 5.0):
        scores = 1 / (1 + np.exp(-(skill * (labels - 0.5) + rng.normal(size=(80, 3)))))
        paths.append(str(tmp_path / f"skill{skill:g}.csv"))
        write_predictions(make_predictions(labels, scores, exclusive=False), paths[-1])
    return paths


def test_labels_have_lines_of_their_own(command, tables):
    out = call(command, *tables, "--labels")
    lines = [line for line in out.splitlines() if "skill5.csv  skill0.5.csv" in line]
    assert [line.split()[2:4] for line in lines] == [["auroc", label] for label in "abc"]
    assert all("adjusted)" in line for line in lines)
    found = json.loads(call(command, *tables, "--labels", "--json"))
    assert [(one["metric"], one["label"]) for one in found["differences"]] == [
        ("auroc", label) for label in "abc"
    ]


def test_delong_says_so(command, write_run, tables):
    runs = [str(write_run("a", 0.2)), str(write_run("b", 3.0, mode="stats"))]
    done = CliRunner().invoke(command, [*runs, "--delong"], catch_exceptions=False)
    assert "b is better (p < .001)" in done.stdout
    assert "DeLong's paired test over rows" in done.stderr
    assert json.loads(call(command, *runs, "--delong", "--json"))["test"] == "delong"
    assert "DeLong" not in CliRunner().invoke(command, runs).stderr
    with pytest.raises(ConfigError, match="--labels"):
        call(command, *tables, "--delong")
    assert len(json.loads(call(command, *tables, "--delong", "--labels", "--json"))["differences"]) == 3


def test_shared_images_are_counted(command, write_run):
    a, b = write_run("a", 1.0), write_run("bb", 1.0, mode="stats")
    lines = (a / "predictions.csv").read_text().splitlines()
    (a / "predictions.csv").write_text("\n".join(lines[:61]) + "\n")
    with pytest.raises(DataError, match="--shared, which compares on the 60 images"):
        call(command, a, b)
    out = call(command, a, b, "--shared")
    assert "bb: 20 of its 80 test images are not shared and left out" in out
    assert out.startswith("test: 60 images")


def test_bad_wishes_are_refused(command, write_run, tmp_path):
    a = write_run("a", 1.0)
    with pytest.raises(ConfigError, match="no run"):
        call(command)
    with pytest.raises(ConfigError, match="one run"):
        call(command, a)
    with pytest.raises(ConfigError, match="twice"):
        call(command, a, tmp_path / "b" / ".." / "a")
    with pytest.raises(ConfigError, match="twice, also as"):
        call(command, a, a / "predictions.csv")
    with pytest.raises(ConfigError, match="--latency with tables"):
        call(command, a / "predictions.csv", tmp_path / "x.csv", "--latency")
    with pytest.raises(DataError, match="does not exist"):
        call(command, a, tmp_path / "absent.csv")


@pytest.mark.parametrize("text", ["[data", "data = 3", "[data]\nfraction = 'some'", "[training]\nseed = 'x'"])
def test_a_damaged_configuration_is_refused(command, write_run, text):
    a, b = write_run("a", 1.0), write_run("b", 1.0)
    (a / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"a.config\.toml.*expected a run's own configuration"):
        call(command, a, b)


def test_a_run_without_a_readable_plan_is_compared_all_the_same(command, write_run):
    out = call(command, write_run("a", 1.0, plan=False), write_run("b", 1.0, mode="stats", plan=False))
    assert "cbr_tiny" in out


def test_efficiency_reads_each_runs_fraction(efficiency, write_run):
    runs = [write_run(f"r{fraction}", fraction**0.5 / 3, fraction=fraction) for fraction in (1, 10, 50)]
    against = write_run("full", 1.2, mode="stats")
    out = call(efficiency, *runs, "--against", against)
    assert [line.split()[0] for line in out.splitlines()[2:5]] == ["1", "10", "50"]
    assert "of the labels are saved; 95 % interval" in out
    found = json.loads(call(efficiency, *runs, "--against", against, "--json"))
    assert 10 < found["labels_saved"]["fraction"] < 50
    assert [point["fraction"] for point in found["points"]] == [1, 10, 50]
    assert "labels_saved" not in json.loads(call(efficiency, *runs, "--json"))


def test_efficiency_says_that_a_score_is_not_reached(efficiency, write_run):
    runs = [write_run(f"r{fraction}", 0.1, fraction=fraction) for fraction in (10, 100)]
    out = call(efficiency, *runs, "--against", write_run("full", 5.0, mode="stats"))
    assert "not reached with up to 100 % of the training patients" in out
    assert "; reached in 0 % of the resamples" in out


def test_efficiency_takes_tables_with_their_percent(efficiency, write_run, tmp_path):
    small, large = write_run("s", 0.5) / "predictions.csv", write_run("la", 2.0) / "predictions.csv"
    out = call(
        efficiency, f"10={small}", f"100={large}", "--against", write_run("f", 1.0) / "predictions.csv"
    )
    assert "10 %" in out
    with pytest.raises(ConfigError, match=r"does not say its fraction.*10="):
        call(efficiency, small)
    with pytest.raises(ConfigError, match="there is no"):
        call(efficiency, tmp_path / "nothing")


def test_efficiency_refuses_runs_of_two_kinds_and_targets_of_a_part(efficiency, write_run):
    a, b = write_run("a", 1.0, fraction=10), write_run("b", 1.0, mode="stats")
    with pytest.raises(ConfigError, match=r"differ by more than fraction and seed: weights\.mode"):
        call(efficiency, a, b)
    with pytest.raises(ConfigError, match="trained on 10 %"):
        call(efficiency, b, "--against", a)


@pytest.mark.parametrize("again", ["10={}", "10.0={}", "50={}", "100={}"])
def test_efficiency_refuses_a_table_twice(efficiency, write_run, monkeypatch, again):
    folder = write_run("s", 0.5)
    monkeypatch.chdir(folder)
    for path in ("predictions.csv", "./predictions.csv", str(folder)):
        with pytest.raises(ConfigError, match="twice"):
            call(efficiency, "10=predictions.csv", again.format(path))


def test_efficiency_refuses_the_curves_own_run_as_what_is_to_be_reached(efficiency, write_run, monkeypatch):
    small, large = write_run("s", 0.5), write_run("la", 2.0)
    monkeypatch.chdir(large)
    points = (f"10={small / 'predictions.csv'}", "100=predictions.csv")
    for path in ("predictions.csv", "./predictions.csv", large):
        with pytest.raises(ConfigError, match=r"--against .*one of the curve's own"):
            call(efficiency, *points, "--against", path)
    other = write_run("f", 1.0, mode="stats")
    with pytest.raises(ConfigError, match="twice"):
        call(efficiency, *points, "--against", other, "--against", other / "predictions.csv")


def test_rates_of_groups_stand_beside_the_rows_that_they_are_shares_of(capsys, make_predictions):
    from medzoo.cli.subgroup_text import print_equalised_odds

    from medzoo.evaluation.fairness import measure_equalised_odds
    from medzoo.evaluation.metrics.thresholds import choose_thresholds

    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(200) % 2, np.arange(200) % 4 == 0]).astype(float)
    sites = ["A"] * 200 + ["B"] * 200
    skill = np.where(np.arange(400) < 200, 3.0, 0.0)
    scores = 1 / (1 + np.exp(-(skill * (labels - 0.5) + rng.normal(size=400))))
    rows = make_predictions(labels, scores, groups={"site": sites})
    points = choose_thresholds(rows, "fixed=.7")
    print_equalised_odds(measure_equalised_odds(rows, ["site"], points, Resampling(replicates=2000)))
    header, a, b, gap = capsys.readouterr().out.splitlines()[2:6]
    assert "of positives" in header
    assert "of negatives" in header
    assert [a.split()[place] for place in (5, -2, -1)] == ["100", "100", "200"]
    assert [b.split()[place] for place in (5, -2, -1)] == ["50", "150", "200"]
    assert "p < .001" in gap
    assert "n = 400" in gap


def test_numbers_have_a_true_minus_sign_and_zero_has_none():
    from medzoo.cli import calibrate, metrics, shift, subgroup_text
    from medzoo.cli.score_text import write_number

    assert [write_number(value) for value in (-0.0001, -0.25, 1.5)] == [".000", "−.250", "1.500"]
    assert {module.write_number for module in (calibrate, metrics, shift, subgroup_text)} == {write_number}


def test_nothing_is_written(command, efficiency, write_run):
    a, b = write_run("a", 1.0), write_run("b", 1.5, fraction=10)
    before = {path: path.read_bytes() for folder in (a, b) for path in folder.iterdir()}
    call(command, a, b)
    call(efficiency, a, b)
    assert before == {path: path.read_bytes() for folder in (a, b) for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compare", "efficiency"])
def test_the_commands_start_and_end_without_tensorflow(write_run, name):
    a, b = write_run("a", 1.0), write_run("b", 1.5, fraction=10)
    code = (
        f"import sys\nfrom medzoo.cli import main\ntry:\n    main([{name!r}, {str(a)!r}, {str(b)!r}])\n"
        "except SystemExit as end:\n    assert not end.code\nprint(sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert "'sklearn'" in loaded
    for package in ("tensorflow", "keras", "torch", "jax"):
        assert f"'{package}'" not in loaded
