"""A training run's directory as a source of weights: the network and the contract are the run's own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from medzoo.errors import WeightsError

#: The weights of a run's best epoch.
BEST = "best.weights.h5"


def is_run(folder: Path) -> bool:
    """Tell whether a folder looks like a training run's, finished or not."""
    return (folder / "config.toml").exists() or (folder / BEST).exists()


def find_best(folder: Path) -> Path:
    """Give the path of a run's best weights.

    Raises:
        WeightsError: the run has none, or the folder is no run.
    """
    path = folder / BEST
    if not path.exists():
        raise WeightsError(f"{folder} holds no {BEST}", "a finished run's directory or a weights file")
    return path


def model_of_run(folder: Path) -> str:
    """Read which network a training run trained, from its config.toml.

    Raises:
        WeightsError: the folder is no run.
    """
    return str(_read(folder)["model"]["name"])


def preprocessing_of_run(folder: Path) -> str:
    """Read the name of the input contract that a run's images were brought to; empty where it says none.

    Raises:
        WeightsError: the folder is no run.
    """
    return str(_read(folder)["data"].get("preprocessing", ""))


def build_of_run(folder: Path) -> tuple[int, str]:
    """Read the input's size and the kind of head that a run's network was built with; 0 and empty where it says none.

    Raises:
        WeightsError: the folder is no run.
    """
    content = _read(folder)
    size, head = content["data"].get("image_size", 0), content["model"].get("head", "")
    return (size if isinstance(size, int) else 0), str(head)


def _read(folder: Path) -> dict[str, Any]:
    """Read a run's resolved configuration."""
    try:
        content = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
        if not isinstance(content["model"]["name"], str) or not isinstance(content.get("data", {}), dict):
            raise TypeError
        return {"data": {}} | content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder} is no training run", f"a folder with config.toml and {BEST}") from error
