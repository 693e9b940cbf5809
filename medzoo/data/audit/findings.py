"""What an audit says: findings, pairs of images that are copies, and how often each class occurs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]

#: Every kind of finding and how much it matters.  Errors are what makes a measured result worthless: leakage,
#: contradiction, and images that cannot be read.
KINDS: Mapping[str, Severity] = {
    "patient_leak": "error",
    "duplicate_leak": "error",
    "near_duplicate_leak": "error",
    "label_conflict": "error",
    "unreadable": "error",
    "skipped": "error",
    "near_label_conflict": "warning",
    "patient_conflict": "warning",
    "absent_class": "warning",
    "small_class": "warning",
    "blank": "warning",
    "inverted": "warning",
    "mixed_depth": "warning",
    "too_many_pairs": "warning",
    "duplicate": "note",
    "near_duplicate": "note",
    "not_compared": "note",
    "no_patients": "note",
    "no_splits": "note",
    "patient_labels": "note",
    "missing_values": "note",
    "small_group": "note",
    "sizes": "note",
    "odd_shape": "note",
    "mixed_colour": "note",
}


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know.

    `ids` are the images it is about; `names` what else it is about: patients, columns, classes or groups.
    """

    kind: str  # one of KINDS
    message: str
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """How much it matters: that of its kind."""
        return KINDS[self.kind]


@dataclass(frozen=True)
class Pair:
    """Two images that are copies of one picture; the one in the earlier split comes first.

    `distance` is 1 − the correlation of their details: 0 for equal pixels, about 1 for unrelated images.
    """

    first: str  # ids
    second: str
    rows: tuple[int, int]
    splits: tuple[str, str]
    labels: tuple[str, str]
    patients: tuple[str, str]  # "" where unknown
    conflicts: bool  # whether the labels differ, where both are annotated
    distance: float
    exact: bool
    turned: str = ""  # how the second must be turned to look like the first; "" for not at all

    @property
    def crosses(self) -> bool:
        """Whether the two stand in different splits: what was trained on is then tested."""
        return self.splits[0] != self.splits[1]

    @property
    def names_two_patients(self) -> bool:
        """Whether the two are said to be of different patients."""
        return "" not in self.patients and self.patients[0] != self.patients[1]


@dataclass(frozen=True)
class Prevalence:
    """How often a class or label occurs in a split ("all" where there are no splits)."""

    split: str
    label: str
    positives: int
    negatives: int
    unknown: int  # images that nobody annotated for this label

    @property
    def share(self) -> float | None:
        """The share of positives among the annotated images; None where there are none."""
        known = self.positives + self.negatives
        return self.positives / known if known else None


@dataclass(frozen=True)
class Audit:
    """What is known about a data set after looking at it."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, int]  # images in each; "all" where there are no splits
    patients: int | None  # None: no patient is known
    prevalence: tuple[Prevalence, ...]
    findings: tuple[Finding, ...]
    pairs: tuple[Pair, ...] = ()  # crossing pairs first, each part by distance
    decoded: int = 0  # how many images were looked at
    options: Mapping[str, float] = field(default_factory=dict)  # the thresholds used

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make a measured result worthless."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """Give the findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)
