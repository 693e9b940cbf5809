"""What is seen of a run: history, bar, curves; none of it needs a framework."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from medzoo.errors import ConfigError, TrainingError
from medzoo.training.monitoring.curves import draw_curves
from medzoo.training.monitoring.history import find_best, list_columns, read_history, write_history
from medzoo.training.monitoring.progress import ProgressBar, measure_memory
from medzoo.training.monitoring.watch import Progress

FIXED = ["epoch", "step", "loss", "val_loss", "learning_rate", "seconds", "images_per_second", "waiting"]
NUMBERS = st.floats(allow_nan=False, width=64)


def _row(epoch: float, **values: float) -> dict[str, float]:
    """Give a row as the loop makes it."""
    fixed = {"epoch": epoch, "step": round(epoch * 10), "loss": 1 / epoch, "val_loss": 0.5, "val_auroc": 0.8}
    rates = {"learning_rate": 1e-3, "seconds": 2.0, "images_per_second": 99.6, "waiting": 0.02}
    return fixed | values | rates


def _rows(count: int) -> list[dict[str, float]]:
    return [_row(epoch, val_auroc=1 - 1 / (epoch + 1)) for epoch in range(1, count + 1)]


# --- history


@given(st.lists(st.tuples(st.integers(1, 10**9), *[NUMBERS] * 3), min_size=1, max_size=5))
def test_a_history_reads_back_as_the_same_numbers(values: list[tuple[float, ...]]) -> None:
    import tempfile

    names = ("step", "loss", "val_auroc", "waiting")
    rows = [dict(zip(names, each, strict=True)) for each in values]
    with tempfile.TemporaryDirectory() as run:
        write_history(run, rows)
        assert read_history(run) == rows
        text = (Path(run) / "history.csv").read_bytes()
        write_history(run, read_history(run))
        assert (Path(run) / "history.csv").read_bytes() == text


def test_the_columns_are_fixed_whatever_the_rows_hold(tmp_path: Path) -> None:
    write_history(tmp_path, [])
    assert (tmp_path / "history.csv").read_text() == ",".join(FIXED) + "\n"
    assert read_history(tmp_path) == []
    turned = [dict(reversed(row.items())) for row in _rows(2)]
    assert list_columns(turned) == list_columns(_rows(2))
    assert list(list_columns([{"loss": 1.0}, {"val_kappa": 0.1}])) == [*FIXED[:4], "val_kappa", *FIXED[4:]]
    with pytest.raises(ValueError, match="'speed'"):
        list_columns([{"speed": 1.0}])


def test_whole_epochs_are_whole_and_undefined_scores_stay_undefined(tmp_path: Path) -> None:
    write_history(tmp_path, [_row(1.0, val_auroc=math.nan), _row(1.5)])
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[1].startswith("1,10,1.0,0.5,nan,")
    assert lines[2].startswith("1.5,15,")
    first = read_history(tmp_path)[0]
    assert isinstance(first["epoch"], int)
    assert math.isnan(first["val_auroc"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("epoch,loss\n1,high\n", "row 1.*high"), ("epoch,loss\n1,.5\n2\n", "row 2: it has 1 cells")],
)
def test_a_damaged_history_is_refused_by_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_history(tmp_path)
    with pytest.raises(TrainingError, match="does not exist"):
        read_history(tmp_path / "absent")


def test_the_best_row_is_by_the_metric_then_the_loss() -> None:
    rows = [_row(1, val_loss=0.3), _row(2, val_loss=0.2), _row(3, val_loss=0.2)]
    assert find_best(rows, "auroc") == 1
    assert find_best([*rows, _row(4, val_auroc=0.81, val_loss=9)], "auroc") == 3
    assert find_best([_row(4, val_auroc=math.nan, val_loss=0), *rows], "auroc") == 2
    assert find_best([*rows, _row(4, val_auroc=0, val_loss=0.1)], "loss") == 3
    undefined = [_row(epoch, val_auroc=math.nan, val_loss=1 / epoch) for epoch in (1, 3, 2)]
    assert find_best(undefined, "auroc") == 1
    assert find_best([], "auroc") is None


# --- bar


def _print(bar: ProgressBar, width: int) -> list[str]:
    """Give the lines of a bar as they stand on a terminal of a width."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(bar.draw())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n").split("\n")


def _bar(metric: str = "auroc", start: int = 0) -> tuple[ProgressBar, list[float]]:
    """Give a bar that has begun, off a terminal, and its clock."""
    clock = [0.0]
    bar = ProgressBar(metric, Console(file=io.StringIO(), width=200), clock=lambda: clock[0])
    bar.begin(Progress(start, 1000, 100))
    return bar, clock


def test_the_bar_shows_all_on_one_line_or_on_two() -> None:
    bar, clock = _bar()
    bar.stepped(Progress(1, 1000, 100, 32, 9.0, 0.1), 1.0)  # compiles: no part of the pace
    clock[0] = 100.0
    bar.stepped(Progress(201, 1000, 100, 6400, 10.0, 0.3), 0.25)
    bar.score = 0.9123
    shown = ["epoch 3/10", "20 %", "6:40 left", "loss 0.2537", "AUROC 0.9123", "640 images/s", "waiting 3 %"]
    wide, narrow = _print(bar, 120), _print(bar, 80)
    assert len(wide) == 1
    assert len(narrow) == 2
    for lines in (wide, narrow):
        assert all(part in " ".join(lines) for part in shown), lines
        assert all(len(line) <= 120 for line in lines)
    assert max(map(len, narrow)) <= 80
    assert all(len(line) <= 20 for line in _print(bar, 20))


def test_a_resumed_run_starts_its_bar_where_it_is() -> None:
    bar, clock = _bar(start=900)
    assert "90 %" in _print(bar, 120)[0]
    assert "left" in _print(bar, 120)[0]
    bar.stepped(Progress(910, 1000, 100, 320, 1.0), 0.5)
    clock[0] = 10.0
    bar.stepped(Progress(920, 1000, 100, 640, 2.0), 1.0)
    assert "1:20 left" in _print(bar, 120)[0]
    assert "loss 0.7500" in _print(bar, 120)[0]


def test_the_loss_of_the_bar_is_the_mean_since_the_validation() -> None:
    bar, _ = _bar()
    bar.stepped(Progress(30, 1000, 100, 1, 1.0), 1.0)
    bar.stepped(Progress(40, 1000, 100, 1, 1.0), 5.0)
    assert "loss 2.0000" in _print(bar, 120)[0]
    bar.validated(Progress(40, 1000, 100, 1, 1.0), _row(1), is_best=False)
    assert "loss" not in _print(bar, 120)[0]


@pytest.mark.parametrize(
    ("metric", "row", "line"),
    [
        (
            "auroc",
            _row(1),
            "epoch   1/10  loss 1.0000  validation loss 0.5000  AUROC 0.8000  100 images/s  best so far",
        ),
        (
            "auroc",
            _row(1.5, val_auroc=math.nan),
            "epoch 1.50/10  loss 0.6667  validation loss 0.5000  AUROC undefined  100 images/s  best so far",
        ),
        ("loss", _row(1), "epoch   1/10  loss 1.0000  validation loss 0.5000  100 images/s  best so far"),
        (
            "macro_recall",
            _row(2, val_macro_recall=0.25),
            "epoch   2/10  loss 0.5000  validation loss 0.5000  macro recall 0.2500  100 images/s  best so far",
        ),
    ],
)
def test_off_a_terminal_there_is_a_line_a_validation(metric: str, row: dict[str, float], line: str) -> None:
    bar, _ = _bar(metric)
    bar.stepped(Progress(5, 1000, 100, 1, 1.0), 1.0)
    bar.validated(Progress(10, 1000, 100, 1, 1.0), row, is_best=True)
    bar.end()
    assert isinstance(bar.console.file, io.StringIO)
    assert bar.console.file.getvalue() == line + "\n"


def test_on_a_terminal_the_bar_leaves_the_lines_alone() -> None:
    stream = io.StringIO()
    bar = ProgressBar("auroc", Console(file=stream, width=120, force_terminal=True, color_system=None))
    bar.begin(Progress(0, 20, 10))
    bar.validated(Progress(10, 20, 10), _row(1), is_best=False)
    bar.end()
    bar.end()
    text = stream.getvalue()
    assert "epoch 1/2" in text
    assert "epoch   1/2  loss 1.0000" in text
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")  # the cursor comes back


def test_memory_is_that_of_this_process() -> None:
    before = measure_memory()
    held = np.ones(2**24)
    after = measure_memory()
    assert before is not None
    assert after is not None
    assert after - before > 0.5 * held.nbytes


# --- curves


@pytest.mark.parametrize(
    ("rows", "panels"),
    [
        (_rows(1), 3),
        (_rows(15), 3),
        (_rows(500), 3),
        ([_row(epoch, val_auroc=math.nan, loss=math.inf) for epoch in (1, 2)], 3),
        ([{"epoch": 1, "step": 3, "loss": 0.5}], 1),
        ([{"epoch": 0.5, "step": 3, "loss": 1e4, "val_loss": 0.5, "learning_rate": 0.0}], 2),
    ],
)
@pytest.mark.parametrize("metric", ["auroc", "loss"])
def test_curves_are_a_picture_of_any_history(
    tmp_path: Path, rows: list[dict[str, float]], panels: int, metric: str, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"an earlier one")
    draw_curves(rows, path, metric)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == (960, 60 + 300 * panels)
        assert np.asarray(picture).std() > 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
    assert not recwarn.list, recwarn.list[0]


def test_curves_mark_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    labels: list[str] = []
    plain = Axes.plot

    def plot(self: Any, *arguments: Any, **options: Any) -> Any:
        labels.append(options["label"])
        return plain(self, *arguments, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    rows = [_row(1, val_auroc=0.7, val_loss=0.2), _row(2, val_auroc=0.9), _row(3, val_kappa=0.4)]
    draw_curves(rows, tmp_path / "a.png")
    assert labels == ["training", "validation", "AUROC", "κ", "best: 0.9000, epoch 2", "learning rate"]
    labels.clear()
    draw_curves(rows, tmp_path / "a.png", "loss")
    assert labels[2] == "best: 0.2000, epoch 1"
    labels.clear()
    draw_curves([_row(1, val_auroc=math.nan)], tmp_path / "a.png")
    assert labels[2:4] == ["best: 0.5000, epoch 1", "AUROC (undefined)"]
    with pytest.raises(ConfigError, match="without rows"):
        draw_curves([], tmp_path / "b.png")
