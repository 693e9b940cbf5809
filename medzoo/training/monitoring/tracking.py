"""MLflow: a run's settings and scores on a tracking server, or in a folder or database of this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medzoo.errors import ConfigError
from medzoo.training.monitoring.history import read_history
from medzoo.training.monitoring.watch import Progress

EXPERIMENT = "medzoo"

#: The tags that name a run's folder: for people, and as a digest, by which a resumed run finds what it began.
_TAG, _KEY = "medzoo.run", "medzoo.key"

#: MLflow's limits of one call.
_MOST_PARAMETERS = 100
_LONGEST = 500

#: MLflow's own switches, where the user has set none. A run tells nobody that it runs, and a server that is gone
#: costs seconds: MLflow itself would try for many minutes, while the training waits.
_SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

_EXPECTED = "a folder, sqlite:///FILE or the http address of a server that answers"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class Tracking:
    """Watches a run for MLflow: its settings as parameters, each validation's row as metrics.

    `address` is a server's (http, https), a folder's (written offline; MLflow calls this form maintained, not
    developed) or a database's (sqlite:///FILE; needs the whole of mlflow, not mlflow-skinny). A resumed run goes on
    under its MLflow run. `config` holds the settings by section.

    Raises:
        ConfigError: MLflow is not installed, or the address cannot be used; nothing has been trained by then.
    """

    def __init__(
        self, address: str, run: str | os.PathLike[str], config: Mapping[str, Any] | None = None
    ) -> None:
        self.run, self.config = Path(run), config or {}
        self.client, self.experiment = _connect(address)
        self.run_id = ""
        self._progress = Progress(0, 1, 1)

    def begin(self, progress: Progress) -> None:
        """Begin an MLflow run with the settings, or find the one that is resumed."""
        self._progress = progress
        earlier = _find_run(self.client, self.experiment, self.run) if progress.step else None
        if earlier is not None:
            self.run_id = earlier
            self.client.update_run(earlier, status="RUNNING")
            return
        tags = {_TAG: str(self.run.resolve()), _KEY: _digest(self.run)}
        self.run_id = self.client.create_run(self.experiment, tags=tags, run_name=self.run.name).info.run_id
        from mlflow.entities import Param

        settings = [Param(name, text[:_LONGEST]) for name, text in _flatten(self.config)]
        for start in range(0, len(settings), _MOST_PARAMETERS):
            self.client.log_batch(self.run_id, params=settings[start : start + _MOST_PARAMETERS])

    def stepped(self, progress: Progress, loss: float) -> None:
        """Note where the run is; a call a step would wait for the server."""
        del loss
        self._progress = progress

    def validated(self, progress: Progress, row: Mapping[str, float], is_best: bool) -> None:
        """Send a validation's row; what is undefined is left out."""
        del is_best
        self._progress = progress
        values = {name: value for name, value in row.items() if name != "step"}
        _send(self.client, self.run_id, values, progress.step)

    def end(self) -> None:
        """Say whether the run came to its end; `record_results` adds what it scored."""
        if self.run_id:
            is_done = self._progress.step >= self._progress.steps
            self.client.set_terminated(self.run_id, "FINISHED" if is_done else "KILLED")


def record_results(
    address: str, run: str | os.PathLike[str], report: Callable[[str], None] | None = None
) -> None:
    """Send a finished run's test metrics, read from its folder, under the MLflow run that it began.

    The run has its results by now, so a failure is told to `report` in one line and is no error.
    """
    try:
        client, experiment = _connect(address)
        run_id = _find_run(client, experiment, Path(run))
        if run_id is None:
            return
        entries = json.loads((Path(run) / "metrics.json").read_text(encoding="utf-8")).get("test", {})
        values = {
            f"test_{metric}{ending}": entry[key]
            for metric, entry in entries.items()
            for key, ending in (("value", ""), ("low", "_low"), ("high", "_high"))
            if entry.get(key) is not None
        }
        rows = read_history(run)
        _send(client, run_id, values, int(rows[-1]["step"]) if rows else 0)
        client.set_terminated(run_id, "FINISHED")
    except Exception as error:  # noqa: BLE001 - servers, databases and folders: anything may come
        if report:
            report(f"note: MLflow has no test metrics of {run}: {' '.join(str(error).split())[:200]}")


def _send(client: Any, run_id: str, values: Mapping[str, float], step: int) -> None:
    """Send numbers of one step in one call; those that are undefined are left out."""
    from mlflow.entities import Metric

    now = round(time.time() * 1000)
    metrics = [
        Metric(name, float(value), now, step) for name, value in values.items() if not math.isnan(value)
    ]
    client.log_batch(run_id, metrics=metrics)


def require_mlflow() -> None:
    """Refuse to track where MLflow is not installed.

    Raises:
        ConfigError: it is not installed.
    """
    _switch()
    try:
        import mlflow.tracking  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "run.mlflow needs MLflow, which is not installed",
            "it, or a run without run.mlflow",
            "pip install 'medzoo[mlflow]'",
        ) from error


def _switch() -> None:
    """Set MLflow's switches before it is imported, which is when it reads them."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)


def _connect(address: str) -> tuple[Any, str]:
    """Open an address and give a client and the experiment's id there."""
    require_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # which tells of each table that it makes
    scheme = address.partition("://")[0].partition("+")[0] if "://" in address else ""
    if scheme not in ("", "file", "http", "https", *_DATABASES):
        raise ConfigError(f"run.mlflow = {address!r}", _EXPECTED)
    if scheme in ("", "file"):
        # The folder is the user's explicit choice; MLflow asks to be told so, since it prefers a database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = address if scheme else str(Path(address).expanduser().resolve())
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        return client, found.experiment_id if found else client.create_experiment(EXPERIMENT)
    except (MlflowException, OSError, ImportError) as error:
        if scheme in _DATABASES and not _has_sqlalchemy():
            raise ConfigError(
                f"run.mlflow = {address!r}: mlflow-skinny opens no databases",
                "a folder or a server's address",
                "pip install mlflow, which does",
            ) from error
        reason = " ".join(str(error).split())[:120]
        if scheme in ("http", "https") and "Max retries" in str(error):
            reason = "it does not answer"
        raise ConfigError(f"run.mlflow = {address!r} cannot be used ({reason})", _EXPECTED) from error


def _has_sqlalchemy() -> bool:
    """Tell whether the library is there with which MLflow opens databases."""
    try:
        import sqlalchemy  # noqa: F401
    except ImportError:
        return False
    return True


def _find_run(client: Any, experiment: str, run: Path) -> str | None:
    """Find the last MLflow run that a folder began."""
    # A digest: MLflow's filters have no way to write a path with both kinds of quotation marks.
    wanted = f"tags.`{_KEY}` = '{_digest(run)}'"
    found = client.search_runs([experiment], wanted, max_results=1, order_by=["attributes.start_time DESC"])
    return str(found[0].info.run_id) if found else None


def _digest(run: Path) -> str:
    """Give a digest of a folder's place."""
    return hashlib.sha256(str(run.resolve()).encode()).hexdigest()


def _flatten(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give settings as section.key and text; None is left out."""
    for section, settings in config.items():
        if isinstance(settings, Mapping):
            for name, value in settings.items():
                if value is not None:
                    yield f"{section}.{name}", str(value)
