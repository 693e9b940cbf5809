"""`check_dataset` and `check_table`: everything an audit looks at, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.data.audit.appearance import check_appearance
from medzoo.data.audit.duplicates import (
    COARSE,
    DETAIL,
    MOST_PAIRS,
    MOST_TURNED,
    SPREAD,
    TURNED,
    Copies,
    find_copies,
)
from medzoo.data.audit.findings import KINDS, Audit, Finding, Pair
from medzoo.data.audit.pixels import gather_facts
from medzoo.data.audit.tables import (
    check_classes,
    check_groups,
    check_missing,
    check_patients,
    count_noun,
    count_prevalence,
    list_some,
    read_labels,
)
from medzoo.data.dataset import SPLITS, Dataset, Listing
from medzoo.errors import DataError

ORDER = ("error", "warning", "note")


def check_table(source: Dataset | Listing) -> Audit:
    """Check what the table says: classes, patients, missing values, groups.  No file is opened.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"id": ["1", "2"], "split": ["train", "test"], "label": "no", "patient": "P7"})
    >>> check_table(Listing("chest", table, ())).errors[0].message
    "1 patient in several splits (2 images): 'P7'"
    """
    table = source.table
    labels = read_labels(source)
    findings = [
        *check_patients(source),
        *check_classes(labels),
        *check_groups(source, labels),
        *check_missing(table),
    ]
    if "split" not in table:
        findings.append(Finding("no_splits", "no splits are given: nothing can be compared across them"))
    if source.skipped:
        message = f"{count_noun(len(source.skipped), 'row')} cannot be used: {source.skipped[0]}"
        findings.append(Finding("skipped", message, names=source.skipped))
    patients = table["patient"][table["patient"] != ""].nunique() if "patient" in table else None
    return Audit(
        name=source.name,
        classes=labels.classes,
        splits={name: int((labels.splits == name).sum()) for name in labels.names},
        patients=patients,
        prevalence=count_prevalence(labels),
        findings=sort_findings(findings),
    )


def check_dataset(dataset: Dataset, *, pixels: bool = True) -> Audit:
    """Check a data set; with `pixels` every image is decoded, and copies, blank and inverted ones are looked for.

    Images that cannot be decoded are findings, not exceptions.  Per image little more than 2 kB are kept.
    """
    if not isinstance(dataset, Dataset):
        raise DataError(f"{type(dataset).__name__} {dataset!r}", "a data set", "medzoo.open_dataset(…) of it")
    audit = check_table(dataset)
    if not pixels:
        return audit
    facts = gather_facts(dataset)
    copies = find_copies(dataset, facts)
    findings = (*audit.findings, *check_appearance(dataset, facts), *describe_copies(dataset, copies))
    return Audit(
        name=audit.name,
        classes=audit.classes,
        splits=audit.splits,
        patients=audit.patients,
        prevalence=audit.prevalence,
        findings=sort_findings(findings),
        pairs=copies.pairs,
        decoded=int(facts.readable.sum()),
        options={"coarse": COARSE, "detail": DETAIL, "turned": TURNED, "spread": SPREAD},
    )


def describe_copies(dataset: Dataset, copies: Copies) -> list[Finding]:
    """Say what the pairs mean: leakage across splits, conflicting labels, or copies within a split."""
    pairs = copies.pairs
    exact, near = [pair for pair in pairs if pair.exact], [pair for pair in pairs if not pair.exact]
    crossing, crossing_near = ([pair for pair in part if pair.crosses] for part in (exact, near))
    conflicts, near_conflicts = ([pair for pair in part if pair.conflicts] for part in (exact, near))
    within, within_near = ([pair for pair in part if not pair.crosses] for part in (exact, near))
    strangers = [pair for pair in pairs if pair.names_two_patients]
    found = (
        ("duplicate_leak", crossing, f"equal images across splits: {_describe_leak(dataset, crossing)}"),
        (
            "near_duplicate_leak",
            crossing_near,
            f"nearly equal images across splits: {_describe_leak(dataset, crossing_near)}",
        ),
        (
            "label_conflict",
            conflicts,
            f"{count_noun(len(conflicts), 'pair')} of equal images with different labels: {_show(conflicts)}",
        ),
        (
            "near_label_conflict",
            near_conflicts,
            f"{count_noun(len(near_conflicts), 'pair')} of nearly equal images with different labels: "
            + _show(near_conflicts),
        ),
        (
            "patient_conflict",
            strangers,
            f"{count_noun(len(strangers), 'pair')} of equal or nearly equal images under two patients: "
            + _show(strangers),
        ),
        (
            "duplicate",
            within,
            f"{count_noun(len(within), 'pair')} of equal images within a split: {_show(within)}",
        ),
        (
            "near_duplicate",
            within_near,
            f"{count_noun(len(within_near), 'pair')} of nearly equal images within a split: {_show(within_near)}",
        ),
    )
    findings = [Finding(kind, message, _list_ids(part)) for kind, part, message in found if part]
    if copies.capped:
        message = f"more than {MOST_PAIRS:,} pairs of copies: the search stopped there"
        findings.append(Finding("too_many_pairs", message))
    if not copies.turned:
        message = f"turned and mirrored copies were not looked for, among more than {MOST_TURNED:,} images"
        findings.append(Finding("not_compared", message))
    return findings


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Sort findings: errors, warnings, notes, and in each the order of KINDS."""
    kinds = list(KINDS)
    return tuple(
        sorted(findings, key=lambda finding: (ORDER.index(finding.severity), kinds.index(finding.kind)))
    )


def _describe_leak(dataset: Dataset, pairs: Sequence[Pair]) -> str:
    """Count the pairs, and the images of each later split that have a copy in an earlier one."""
    parts = []
    for position, split in enumerate(SPLITS[1:], start=1):
        for earlier in SPLITS[:position]:
            copied = {pair.second for pair in pairs if pair.splits == (earlier, split)}
            total = int((dataset.table["split"] == split).sum())
            if copied:
                parts.append(f"{len(copied):,} of {total:,} {split} images have a copy in {earlier}")
    return f"{count_noun(len(pairs), 'pair')}; {'; '.join(parts)}"


def _show(pairs: Sequence[Pair]) -> str:
    """Show the first pairs."""
    return list_some(
        [f"{pair.first} {'=' if pair.exact else '≈'} {pair.second}" for pair in pairs], quoted=False, most=1
    )


def _list_ids(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """List the images of pairs, each once."""
    return tuple(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
