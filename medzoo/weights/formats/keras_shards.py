"""Keras's sharded weights: `x.weights.json` lists which `x_00000.weights.h5` hold each layer's variables."""

from __future__ import annotations

import json
from pathlib import Path

from medzoo.errors import WeightsError
from medzoo.weights.contents import Contents
from medzoo.weights.formats import keras_v3
from medzoo.weights.formats.hdf5 import open_hdf5
from medzoo.weights.formats.shards import find_shard

NAME = "keras_shards"

#: The largest list read, in bytes; one of a million layers has about 60 MB.
LARGEST_LIST = 2**26

#: Groups on the way to what is no weight, and is listed all the same.
_NO_WEIGHTS = {"optimizer", "metrics", "generator", "seed_generator", "random_generator"}


def is_shard_list(content: object) -> bool:
    """Tell whether parsed JSON is such a list; Hugging Face's own `weight_map` names other files.

    >>> is_shard_list({"weight_map": {"/layers/dense/vars": ["x_00000.weights.h5"]}})
    True
    """
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        return False
    return all(
        names and all(name.endswith(".h5") for name in names) for names in map(_names, places.values())
    )


def _names(listed: object) -> list[str]:
    """Give the names of one group's shards; Keras writes a single variable's as text, empty for anything else."""
    names = [listed] if isinstance(listed, str) else listed
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def read_headers(path: Path) -> Contents:
    """Read names, shapes and dtypes of the tensors in all shards; the optimiser's state is left out.

    Shards are plain files beside the list, and nothing else is opened.

    Raises:
        WeightsError: the list is damaged, a shard is missing, elsewhere or damaged, or lacks what is listed.
    """
    places = _read_list(path)
    names = dict.fromkeys(name for listed in places.values() for name in listed)
    shards = [find_shard(path, name) for name in names]
    contents = keras_v3.read_parts([(open_hdf5(shard), shard) for shard in shards])
    stored = {place.rpartition("/")[0] for place in contents.storage.values()}
    for place in places:
        group = place.strip("/")
        if group not in stored and not _NO_WEIGHTS & set(group.split("/")):
            raise WeightsError(
                f"{path} lists {group}, which its shards do not hold", "all shards of one model"
            )
    return Contents(
        contents.tensors,
        contents.notes,
        contents.metadata,
        (path, *shards),
        contents.storage,
        contents.numbered,
    )


def _read_list(path: Path) -> dict[str, list[str]]:
    """Read the list's map of groups to shards.

    Raises:
        WeightsError: it is no such list.
    """
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise WeightsError(f"{path} is larger than {LARGEST_LIST:,} bytes", "a list of shards")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no list of shards ({error})", "a whole .weights.json", "to copy it again"
        ) from error
    if not is_shard_list(content):
        raise WeightsError(f"{path} is no list of shards", "a .weights.json as Keras writes it")
    return {place: _names(listed) for place, listed in content["weight_map"].items()}
