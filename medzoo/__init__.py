"""medzoo: a Keras model zoo for medical images with weight-transplant tools.

Names are resolved when first used, so that importing medzoo loads neither Keras nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.7.0"

#: Public name → the module that defines it (None: the module itself is the name).
_PUBLIC = {
    "MedzooError": "medzoo.errors",
    "open_weights": "medzoo.weights.source",
    "source_from_arrays": "medzoo.tensors",
    "align": "medzoo.weights.align",
    "convert": "medzoo.weights.convert",
    "write_moments": "medzoo.weights.formats.moments",
    "find_model": "medzoo.models.catalog",
    "list_models": "medzoo.models.catalog",
    "build": "medzoo.models.build",
    "describe": "medzoo.models.describe",
    "taps": "medzoo.models.taps",
    "load_model": "medzoo.models.load",
    "recipes": "medzoo.transplant",
    "make_plan": "medzoo.transplant.plan",
    "Rule": "medzoo.transplant.plan",
    "Adaptations": "medzoo.transplant.adaptations",
    "read_rules": "medzoo.transplant.rules_file",
    "diff_plans": "medzoo.transplant.diff",
    "verify_output": "medzoo.transplant.verification",
    "read_plan": "medzoo.transplant.record",
    "apply": "medzoo.transplant.run",
    "write": "medzoo.transplant.run",
    "open_dataset": "medzoo.data.open",
    "dataset_from_arrays": "medzoo.data.containers.arrays",
    "dataset_from_tf_data": "medzoo.data.containers.arrays",
    "check_dataset": "medzoo.data.audit.check",
    "make_batches": "medzoo.data.feeding.pipeline",
    "make_augment": "medzoo.data.feeding.augment",
    "make_mix": "medzoo.data.feeding.mixing",
    "make_sampler": "medzoo.data.feeding.balance",
    "read_config": "medzoo.training.config",
    "train": "medzoo.training.launch",
    "resume": "medzoo.training.launch",
    "predict": "medzoo.training.inference",
    "compile": "medzoo.training.compiling",
    "accelerate": "medzoo.training.stepping.acceleration",
    "decelerate": "medzoo.training.stepping.acceleration",
    "make_loss": "medzoo.training.objectives",
    "make_schedule": "medzoo.training.optimisation.schedules",
    "ExactScore": "medzoo.training.monitoring.callbacks",
    "load_predictions": "medzoo.evaluation.predictions",
    "evaluate": "medzoo.evaluation.scores",
    "auroc": "medzoo.evaluation.metrics.discrimination",
    "accuracy": "medzoo.evaluation.metrics.discrimination",
    "balanced_accuracy": "medzoo.evaluation.metrics.discrimination",
    "by_group": "medzoo.evaluation.metrics.discrimination",
    "bootstrap": "medzoo.evaluation.uncertainty.bootstrap",
    "write_predictions": "medzoo.evaluation.predictions",
    "find_metric": "medzoo.evaluation.metrics.registry",
    "choose_thresholds": "medzoo.evaluation.metrics.thresholds",
    "at_thresholds": "medzoo.evaluation.metrics.thresholds",
    "Resampling": "medzoo.evaluation.uncertainty.resampling",
    "paired_bootstrap": "medzoo.evaluation.uncertainty.paired",
    "permutation_test": "medzoo.evaluation.uncertainty.paired",
    "delong_interval": "medzoo.evaluation.uncertainty.delong",
    "delong_test": "medzoo.evaluation.uncertainty.delong",
    "adjust_holm": "medzoo.evaluation.uncertainty.multiplicity",
    "summarise_seeds": "medzoo.evaluation.uncertainty.seeds",
    "fit_calibration": "medzoo.evaluation.calibration.fitting",
    "reliability_bins": "medzoo.evaluation.calibration.bins",
    "risk_coverage": "medzoo.evaluation.selective",
    "choose_deferral": "medzoo.evaluation.selective",
    "score_groups": "medzoo.evaluation.subgroups",
    "measure_equalised_odds": "medzoo.evaluation.fairness",
    "compare": "medzoo.evaluation.comparison",
    "efficiency_curve": "medzoo.evaluation.efficiency",
    "labels_saved": "medzoo.evaluation.efficiency",
    "evaluate_shift": "medzoo.training.shifting",
    "evaluate_corruptions": "medzoo.training.shifting",
    "write_report": "medzoo.reports.report",
}

__all__ = [*sorted(_PUBLIC), "__version__"]

if TYPE_CHECKING:
    from medzoo.data.audit.check import check_dataset
    from medzoo.data.containers.arrays import dataset_from_arrays, dataset_from_tf_data
    from medzoo.data.feeding.augment import make_augment
    from medzoo.data.feeding.balance import make_sampler
    from medzoo.data.feeding.mixing import make_mix
    from medzoo.data.feeding.pipeline import make_batches
    from medzoo.data.open import open_dataset
    from medzoo.errors import MedzooError
    from medzoo.evaluation.calibration.bins import reliability_bins
    from medzoo.evaluation.calibration.fitting import fit_calibration
    from medzoo.evaluation.comparison import compare
    from medzoo.evaluation.efficiency import efficiency_curve, labels_saved
    from medzoo.evaluation.fairness import measure_equalised_odds
    from medzoo.evaluation.metrics.discrimination import accuracy, auroc, balanced_accuracy, by_group
    from medzoo.evaluation.metrics.registry import find_metric
    from medzoo.evaluation.metrics.thresholds import at_thresholds, choose_thresholds
    from medzoo.evaluation.predictions import load_predictions, write_predictions
    from medzoo.evaluation.scores import evaluate
    from medzoo.evaluation.selective import choose_deferral, risk_coverage
    from medzoo.evaluation.subgroups import score_groups
    from medzoo.evaluation.uncertainty.bootstrap import bootstrap
    from medzoo.evaluation.uncertainty.delong import delong_interval, delong_test
    from medzoo.evaluation.uncertainty.multiplicity import adjust_holm
    from medzoo.evaluation.uncertainty.paired import paired_bootstrap, permutation_test
    from medzoo.evaluation.uncertainty.resampling import Resampling
    from medzoo.evaluation.uncertainty.seeds import summarise_seeds
    from medzoo.models.build import build
    from medzoo.models.catalog import find_model, list_models
    from medzoo.models.describe import describe
    from medzoo.models.load import load_model
    from medzoo.models.taps import taps
    from medzoo.reports.report import write_report
    from medzoo.tensors import source_from_arrays
    from medzoo.training.compiling import compile
    from medzoo.training.config import read_config
    from medzoo.training.inference import predict
    from medzoo.training.launch import resume, train
    from medzoo.training.monitoring.callbacks import ExactScore
    from medzoo.training.objectives import make_loss
    from medzoo.training.optimisation.schedules import make_schedule
    from medzoo.training.shifting import evaluate_corruptions, evaluate_shift
    from medzoo.training.stepping.acceleration import accelerate, decelerate
    from medzoo.transplant import recipes
    from medzoo.transplant.adaptations import Adaptations
    from medzoo.transplant.diff import diff_plans
    from medzoo.transplant.plan import Rule, make_plan
    from medzoo.transplant.record import read_plan
    from medzoo.transplant.rules_file import read_rules
    from medzoo.transplant.run import apply, write
    from medzoo.transplant.verification import verify_output
    from medzoo.weights.align import align
    from medzoo.weights.convert import convert
    from medzoo.weights.formats.moments import write_moments
    from medzoo.weights.source import open_weights


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'medzoo' has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    value = (
        importlib.import_module(f"{module.__name__}.{name}") if name == "recipes" else getattr(module, name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
