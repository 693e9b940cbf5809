"""The section of what was trained and tested on: counts by split, leaks, gaps, groups, as the table tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medzoo.data.audit.check import check_table
from medzoo.data.audit.findings import Audit
from medzoo.data.audit.tables import list_columns
from medzoo.data.dataset import Dataset, Listing
from medzoo.reports.blocks import Block, Section, Table, Text
from medzoo.reports.sources import OpenedData, list_predicted
from medzoo.reports.subject import Subject
from medzoo.reports.wording import count_noun, format_count, format_share, list_names

#: Classes, findings and columns beyond so many are left out, and counted.
MOST_ROWS = 60

_WORDS: Mapping[str, str] = {"error": "Error", "warning": "Warning", "note": "Note"}


def make_data(subject: Subject, opened: OpenedData) -> Section:
    """Make the section of the data audit: of the run's own table, or else of its predictions."""
    source: Dataset | Listing
    if opened.dataset is None:
        source = list_predicted(subject.predictions, subject.name)
        what = (
            f"Told from the predictions alone: {opened.reason}. "
            f"Rows that were not predicted, such as training images, are not counted."
        )
    else:
        source = opened.dataset
        what = "Told from the table alone: no image was decoded for this. medzoo data check looks at the pixels too."
    audit = check_table(source)
    blocks: list[Block] = [Text(what)]
    if opened.note:
        blocks.append(Text(opened.note))
    blocks += [_count_splits(source, audit), _count_classes(audit)]
    findings = [(_WORDS[found.severity], found.message) for found in audit.findings]
    findings += [("Warning", text) for text in _read_list(subject, "warnings")]
    findings += [("Note", text) for text in _read_list(subject, "notes")]
    findings.sort(key=lambda found: list(_WORDS.values()).index(found[0]))
    if findings:
        blocks.append(_list_findings(findings))
    else:
        blocks.append(
            Text("Nothing to warn of: no patient in several splits, no missing values, no rare class.")
        )
    columns = list_columns(source.table)
    if columns:
        blocks.append(_list_columns(source, columns))
    return Section("data", "Data", tuple(blocks))


def _count_splits(source: Dataset | Listing, audit: Audit) -> Table:
    """Count images and patients of each split."""
    table = source.table
    rows = []
    for split, images in audit.splits.items():
        people = "–"
        if "patient" in table:
            inside = table["patient"][(table["split"] == split) & (table["patient"] != "")]
            people = format_count(int(inside.nunique()))
        rows.append((split, format_count(images), people))
    rows.append(("all", format_count(sum(audit.splits.values())), format_count(audit.patients)))
    notes = () if audit.patients is not None else ("No patient is known.",)
    return Table(
        f"Images and patients in {audit.name}",
        ("Split", "Images", "Patients"),
        tuple(rows),
        numbers=frozenset({1, 2}),
        notes=notes,
    )


def _count_classes(audit: Audit) -> Table:
    """Count positives and their share, and labels that nobody annotated, of each class in each split."""
    by_class = {(row.label, row.split): row for row in audit.prevalence}
    splits = tuple(audit.splits)
    rows = []
    for name in audit.classes[:MOST_ROWS]:
        cells = [name]
        unknown = 0
        for split in splits:
            row = by_class[name, split]
            unknown += row.unknown
            cells.append(f"{row.positives:,} ({format_share(row.positives, row.positives + row.negatives)})")
        rows.append((*cells, format_count(unknown)))
    left_out = len(audit.classes) - MOST_ROWS
    notes = (f"{left_out:,} more classes are left out.",) if left_out > 0 else ()
    return Table(
        "Images of each class or label, and their share of those annotated",
        ("Class", *splits, "Not annotated"),
        tuple(rows),
        numbers=frozenset(range(1, len(splits) + 2)),
        notes=notes,
    )


def _list_findings(findings: Sequence[tuple[str, str]]) -> Table:
    """List what a person should know, the worst first."""
    left_out = len(findings) - MOST_ROWS
    notes = (f"{left_out:,} more are left out.",) if left_out > 0 else ()
    return Table("Findings", ("Kind", "What"), tuple(findings[:MOST_ROWS]), notes=notes)


def _list_columns(source: Dataset | Listing, columns: Sequence[str]) -> Table:
    """List the group columns with how many values they have."""
    rows = []
    for column in columns[:MOST_ROWS]:
        values = source.table[column]
        known = values[values != ""]
        counts = known.value_counts()
        # A column of names or numbers has nothing that is common.
        common = (
            [f"{value} ({count:,})" for value, count in counts.head(4).items()] if len(counts) <= 50 else []
        )
        rows.append(
            (
                column,
                format_count(len(counts)),
                format_count(len(values) - len(known)),
                list_names(common, 4) or "–",
            )
        )
    notes: tuple[str, ...] = ()
    if len(columns) > MOST_ROWS:
        notes = (f"{count_noun(len(columns) - MOST_ROWS, 'more column')} are left out.",)
    return Table(
        "Group columns",
        ("Column", "Values", "Empty", "Commonest"),
        tuple(rows),
        numbers=frozenset({1, 2}),
        notes=notes,
    )


def _read_list(subject: Subject, name: str) -> list[str]:
    """Read a list of texts that a run recorded."""
    content = subject.environment.get(name)
    return [str(entry) for entry in content] if isinstance(content, list) else []
