"""A run's data set, opened again as the run opened it, where that needs neither TensorFlow nor a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.data.containers.fetching import PREFIX as MEDMNIST
from medzoo.data.containers.fetching import cache_folder, parse_medmnist
from medzoo.data.containers.medmnist_sets import name_file
from medzoo.data.dataset import Dataset, Listing
from medzoo.errors import MedzooError
from medzoo.evaluation.predictions import Predictions
from medzoo.reports.subject import Subject
from medzoo.reports.wording import read_text


@dataclass(frozen=True, eq=False)
class OpenedData:
    """A run's data set, or the reason why it cannot be had; `note` says how it differs from what the run saw."""

    dataset: Dataset | None
    reason: str = ""
    note: str = ""


def open_own_data(subject: Subject) -> OpenedData:
    """Open the data of a run by its configuration.

    >>> import numpy as np
    >>> rows = Predictions(np.array(["a"]), np.eye(1, 2), np.eye(1, 2), ("no", "yes"), np.array(["test"]))
    >>> open_own_data(Subject(Path("p.csv"), rows)).reason
    'a table of predictions does not say where its images are'
    """
    if not subject.is_run:
        return OpenedData(None, "a table of predictions does not say where its images are")
    section = subject.config.get("data")
    if not isinstance(section, Mapping):
        return OpenedData(None, "config.toml does not say where the images are")
    source = read_text(section, "source")
    reason = _refuse_source(source)
    if reason:
        return OpenedData(None, reason)
    return _open(subject, section, source)


def _refuse_source(source: str) -> str:
    """Say why a source cannot be opened here; "" where it may be."""
    if source.startswith("tfds:"):
        return "its images are read with TensorFlow, which a report does without"
    if source.startswith(MEDMNIST):
        try:
            file = cache_folder() / "medmnist" / name_file(*parse_medmnist(source))
        except MedzooError as error:
            return str(error)
        return (
            "" if file.exists() else f"{file.name} is no longer in the cache, and a report downloads nothing"
        )
    if source and source != "phantom" and not Path(source).exists():
        return f"{source} is no longer there"
    return ""


def _open(subject: Subject, section: Mapping[str, Any], source: str) -> OpenedData:
    """Open a source that is there."""
    from medzoo.training.config import make_config
    from medzoo.training.intake import open_data

    try:
        dataset = open_data(make_config({"data": section}).data)
    except MedzooError as error:
        return OpenedData(None, f"{source} cannot be opened as the run opened it ({error})")
    except OSError as error:
        return OpenedData(None, f"{source} cannot be read ({error.strerror})")
    digest = read_text(subject.environment, "table_digest")
    skipped = read_text(subject.environment, "skipped", "count")
    # What the run left out after decoding every image is left out again by its ids alone.
    if skipped not in ("", "0") and len(dataset.skipped) < int(skipped):
        return OpenedData(dataset, note=f"The run left out {skipped} rows; this reads the table before that.")
    if digest and dataset.digest != digest:
        return OpenedData(
            dataset, note="The data have changed since the run: its ids, splits or labels differ."
        )
    return OpenedData(dataset)


def list_predicted(predictions: Predictions, name: str) -> Listing:
    """Give what predictions say of their images as the listing that an audit takes.

    >>> import numpy as np
    >>> rows = Predictions(np.array(["a"]), np.eye(1, 2), np.eye(1, 2), ("no", "yes"), np.array(["test"]))
    >>> list_predicted(rows, "p.csv").table["label"].tolist()
    ['no']
    """
    import pandas as pd

    known = ~np.isnan(predictions.labels)
    columns: dict[str, Any] = {
        "id": predictions.ids.astype(object),
        "split": predictions.splits.astype(object),
    }
    positive = np.where(known, predictions.labels, 0)
    if predictions.exclusive:
        names = np.array([*predictions.classes, ""], object)
        columns["label"] = names[np.where(known[:, 0], positive.argmax(axis=1), len(predictions.classes))]
    else:
        columns["label"] = ""
    if predictions.patients is not None:
        columns["patient"] = predictions.patients.astype(object)
    columns |= {group: values.astype(object) for group, values in predictions.groups.items()}
    has_gaps = not predictions.exclusive or not known.all()
    listing = Listing(name, pd.DataFrame(columns), (), classes=predictions.classes)
    return replace(listing, marks=predictions.labels.astype(np.float32)) if has_gaps else listing
