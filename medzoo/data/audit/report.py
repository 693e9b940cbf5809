"""An audit as JSON: a form that later versions add to and do not change."""

from __future__ import annotations

from typing import Any

from medzoo.data.audit.findings import Audit, Finding, Pair

#: Ids and names of a finding beyond this many are left out; `count` says how many there are.
MOST_NAMES = 1000


def to_json(audit: Audit) -> dict[str, Any]:
    """Give an audit as what `json.dumps` takes.

    Keys: name, images, classes, splits, patients (null where unknown), decoded, thresholds, prevalence (a row per
    split and label), findings (kind, severity, message, count, ids, names), pairs (first, second, splits, labels,
    patients, distance, exact, turned, leak, conflict).
    """
    return {
        "name": audit.name,
        "images": sum(audit.splits.values()),
        "classes": list(audit.classes),
        "splits": dict(audit.splits),
        "patients": audit.patients,
        "decoded": audit.decoded,
        "thresholds": dict(audit.options),
        "prevalence": [
            {
                "split": row.split,
                "label": row.label,
                "positives": row.positives,
                "negatives": row.negatives,
                "unknown": row.unknown,
                "share": row.share,
            }
            for row in audit.prevalence
        ],
        "findings": [_finding_to_json(finding) for finding in audit.findings],
        "pairs": [_pair_to_json(pair) for pair in audit.pairs],
    }


def _finding_to_json(finding: Finding) -> dict[str, Any]:
    """Give a finding as JSON."""
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "message": finding.message,
        "count": len(finding.ids) or len(finding.names),
        "ids": list(finding.ids[:MOST_NAMES]),
        "names": list(finding.names[:MOST_NAMES]),
    }


def _pair_to_json(pair: Pair) -> dict[str, Any]:
    """Give a pair as JSON."""
    return {
        "first": pair.first,
        "second": pair.second,
        "splits": list(pair.splits),
        "labels": list(pair.labels),
        "patients": list(pair.patients),
        "distance": round(pair.distance, 4),
        "exact": pair.exact,
        "turned": pair.turned,
        "leak": pair.crosses,
        "conflict": pair.conflicts,
    }
