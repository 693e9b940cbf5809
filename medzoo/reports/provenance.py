"""The section of what everything was made with: versions, digests, and the commands that make it again."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import medzoo
from medzoo.errors import MedzooError
from medzoo.outputs import digest_file
from medzoo.reports.blocks import Code, Facts, Section, Table
from medzoo.reports.subject import Subject
from medzoo.reports.wording import read_text
from medzoo.transplant.record import read_plan

#: Files of a run whose digests are given; those that it lacks are passed over.
_FILES = (
    "config.toml",
    "plan.json",
    "best.weights.h5",
    "predictions.csv",
    "metrics.json",
    "calibration.json",
)

#: What a run's environment.json says that stands here.
_RECORDED = (
    ("medzoo", ("medzoo",)),
    ("Python", ("python",)),
    ("TensorFlow", ("tensorflow",)),
    ("Keras", ("keras",)),
    ("NumPy", ("numpy",)),
    ("scikit-learn", ("scikit-learn",)),
    ("Machine", ("machine",)),
    ("Precision", ("precision", "value")),
    ("XLA", ("xla", "value")),
    ("Input contract", ("preprocessing", "name")),
    ("Augmentation", ("augmentation",)),
    ("Updates done", ("steps",)),
    ("Best epoch", ("best_epoch",)),
    ("Ended because", ("stopped",)),
)


def make_provenance(subject: Subject) -> Section:
    """Make the section of versions, digests and commands."""
    pairs = [(f"{name}, in training", read_text(subject.environment, *path)) for name, path in _RECORDED[:6]]
    pairs += [(name, read_text(subject.environment, *path)) for name, path in _RECORDED[6:]]
    pairs = [(name, value) for name, value in pairs if value]
    pairs += [
        ("medzoo, of this page", medzoo.__version__),
        ("Python, of this page", platform.python_version()),
        *(
            (f"{package}, of this page", version(package))
            for package in ("numpy", "scikit-learn", "matplotlib")
        ),
    ]
    finished = _find_time(subject)
    if finished:
        pairs.insert(0, ("Finished" if subject.is_run else "Table of", finished))
    return Section(
        "provenance",
        "Provenance",
        (Facts(tuple(pairs)), _list_digests(subject), Code("Commands", _write_commands(subject))),
    )


def _find_time(subject: Subject) -> str:
    """Say when the run ended, or the table was written: its file's time."""
    path = subject.path / "metrics.json" if subject.is_run else subject.path
    try:
        stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return ""
    return f"{stamp:%Y-%m-%d %H:%M} UTC"


def _list_digests(subject: Subject) -> Table:
    """List the digests of files, of the data's table and of the weights' source."""
    paths = [subject.path / name for name in _FILES] if subject.is_run else [subject.path]
    rows = [(path.name, _digest(path)) for path in paths if path.is_file()]
    table_digest = read_text(subject.environment, "table_digest")
    if table_digest:
        rows.append(("data: ids, splits, labels", f"sha256:{table_digest}"))
    rows += [(name, digest) for name, digest in _read_plan_digests(subject).items() if digest]
    return Table("Digests", ("What", "Digest"), tuple(rows))


def _digest(path: Path) -> str:
    """Give a file's digest, or why there is none."""
    try:
        return digest_file(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _read_plan_digests(subject: Subject) -> Mapping[str, str]:
    """Read the digests that a plan holds; none where there is no whole plan."""
    if not subject.is_run:
        return {}
    try:
        record = read_plan(subject.path / "plan.json")
    except MedzooError:
        return {}
    has_source = any(step.uses_source for step in record.plan.steps)
    source = record.plan.source_digest if has_source else ""
    return {"source of the weights": source, "initial weights": record.output_digest}


def _write_commands(subject: Subject) -> str:
    """Write what is typed to do all of it again."""
    path = shlex.quote(str(subject.path))
    lines = []
    if subject.is_run:
        lines.append(f"medzoo train {shlex.quote(str(subject.path / 'config.toml'))} --out again")
    replicates, seed = subject.resampling.replicates, subject.resampling.seed
    options = f" --replicates {replicates} --seed {seed}"
    by = "".join(f" --by {shlex.quote(column)}" for column in subject.by)
    lines.append(f"medzoo evaluate {path}{options}")
    lines.append(f"medzoo report {path}{by}{options}")
    return "\n".join(lines)
