from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from finished_run import write_run

from medzoo.errors import ConfigError
from medzoo.training.latency import describe_hardware, measure_latencies


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        write_run(folder / name)
        rows = [
            f"i{row},test,{'benign' if row % 2 else 'malignant'},.{row},.{100 - row}" for row in range(40, 60)
        ]
        text = "\n".join(["id,split,label,score_benign,score_malignant", *rows])
        (folder / name / "predictions.csv").write_text(text + "\n")
    return {name: folder / name for name in ("one", "two")}


@pytest.mark.slow
def test_each_run_is_measured_at_one_image_and_at_its_batch(runs):
    from medzoo.models.catalog import find_model
    from medzoo.models.cost import measure_costs
    from medzoo.models.describe import build_abstractly

    found = measure_latencies(runs, rounds=3, batch_rounds=2)
    spec = find_model("cbr_tiny")
    macs = sum(
        row.macs for row in measure_costs(build_abstractly(spec, 2, 1, 32), spec.stages) if not row.block
    )
    for one in found.values():
        assert one.one > 0
        assert one.batch > 0
        assert (one.batch_size, one.macs, one.precision) == (4, macs, "float32")


@pytest.mark.slow
def test_compare_shows_latency_beside_the_scores_with_the_hardware(runs):
    from medzoo.cli.compare import command

    paths = [str(path) for path in runs.values()]
    done = CliRunner().invoke(
        command, [*paths, "--latency", "--json", "--replicates", "20"], catch_exceptions=False
    )
    content = json.loads(done.stdout)
    assert content["hardware"] == describe_hardware()
    assert all(entry["latency"]["one"] > 0 for entry in content["runs"].values())
    assert not any(entry["macs_scaled"] for entry in content["runs"].values())


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no run"):
        measure_latencies({"a": tmp_path / "absent"})
    with pytest.raises(ConfigError, match="0 rounds"):
        measure_latencies({}, rounds=0)
