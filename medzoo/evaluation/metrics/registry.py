"""Every metric by its name: how it is measured, what it needs of the rows, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Literal

from medzoo.errors import ConfigError, nearest
from medzoo.evaluation.calibration.metrics import brier, ece, ece_classwise, ece_equal_mass, mce, nll
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.metrics.naming import read_name
from medzoo.evaluation.metrics.needs import NEEDS, Needs, explain_undefined
from medzoo.evaluation.metrics.ranking import (
    auroc_micro,
    partial_auroc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    top,
)
from medzoo.evaluation.metrics.selection import auprc, average_precision
from medzoo.evaluation.metrics.thresholds import DECISIONS

__all__ = ["METRICS", "Kind", "MetricSpec", "Needs", "explain_undefined", "find_metric"]

#: ranking: of the order of scores. decision: of calls, at thresholds. probability: of the scores' own values.
Kind = Literal["ranking", "decision", "probability"]


@dataclass(frozen=True)
class MetricSpec:
    """A metric: its name, its title for people, its function, what it needs of the rows, and what kind it is.

    >>> find_metric("brier").higher_is_better
    False
    """

    name: str
    title: str
    measure: Metric
    needs: Needs
    higher_is_better: bool
    kind: Kind


#: Titles of the metrics of decisions, in the order that they are listed in.
_DECISION_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "Accuracy",
        "balanced_accuracy": "Balanced accuracy",
        "macro_recall": "Macro recall",
        "f1": "F1",
        "kappa": "Cohen's κ, quadratic",
        "kappa_linear": "Cohen's κ, linear",
        "mcc": "Matthews correlation",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "precision": "Precision (PPV)",
        "npv": "Negative predictive value",
    }
)


def _list_specs() -> list[MetricSpec]:
    """List the metrics in the order that people read them in: order of scores, decisions, probabilities."""
    rankings: list[tuple[str, str, Metric]] = [
        ("auroc", "AUROC", auroc),
        ("auroc_micro", "AUROC, micro", auroc_micro),
        ("auprc", "AUPRC, trapezoids", auprc),
        ("average_precision", "Average precision", average_precision),
        ("partial_auroc", "Partial AUROC .1", partial_auroc),
        ("sensitivity@specificity", "Sensitivity at specificity .9", sensitivity_at_specificity),
        ("specificity@sensitivity", "Specificity at sensitivity .9", specificity_at_sensitivity),
        ("top", "Top 3", top),
    ]
    probabilities: list[tuple[str, str, Metric]] = [
        ("ece", "ECE", ece),
        ("ece_equal_mass", "ECE, equal mass", ece_equal_mass),
        ("ece_classwise", "ECE, class-wise", ece_classwise),
        ("mce", "Maximum calibration error", mce),
        ("brier", "Brier score", brier),
        ("nll", "Negative log-likelihood", nll),
    ]
    specs = [MetricSpec(name, title, use, NEEDS[name], True, "ranking") for name, title, use in rankings]
    specs += [
        MetricSpec(name, title, DECISIONS[name], NEEDS[name], True, "decision")
        for name, title in _DECISION_TITLES.items()
    ]
    specs += [
        MetricSpec(name, title, use, NEEDS[name], False, "probability") for name, title, use in probabilities
    ]
    return specs


#: Every metric under its bare name; a metric that takes a number has its default there.
METRICS: Mapping[str, MetricSpec] = MappingProxyType({spec.name: spec for spec in _list_specs()})


def find_metric(name: str) -> MetricSpec:
    """Find a metric by its name, with its number where it takes one: `partial_auroc@.05`, `top@2`.

    Further such names are `sensitivity@specificity=.95` and `specificity@sensitivity=.95`; without a number, .1, 3
    and .9 are meant.
    Raises ConfigError for a name that does not exist, with the nearest, and for a number that does not fit.

    >>> spec = find_metric("sensitivity@specificity=.95")
    >>> spec.name, spec.title, spec.kind
    ('sensitivity@specificity=.95', 'Sensitivity at specificity .95', 'ranking')
    """
    base, number = read_name(name)
    if base not in METRICS:
        raise ConfigError(f"there is no metric {name!r}", nearest(name, METRICS))
    spec = METRICS[base]
    if number is None:
        return spec
    title = f"{spec.title.rpartition(' ')[0]} {f'{number:g}'.removeprefix('0')}"
    measures: dict[str, Metric] = {
        "partial_auroc": partial(partial_auroc, maximum=number),
        "sensitivity@specificity": partial(sensitivity_at_specificity, specificity=number),
        "specificity@sensitivity": partial(specificity_at_sensitivity, sensitivity=number),
        "top": partial(top, count=int(number)),
    }
    return replace(spec, name=name, title=title, measure=measures[base])
