"""Lists of shards (`model.safetensors.index.json`): which file beside the list holds each tensor."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor
from medzoo.weights.contents import Contents
from medzoo.weights.formats.torch_state import PREFIXES, remove_prefixes

NAME = "sharded"

#: The largest list read, in bytes; one of a hundred thousand tensors has about 10 MB.
LARGEST_LIST = 2**26


def is_shard_list(content: object) -> bool:
    """Tell whether parsed JSON is such a list; Keras's own `weight_map` gives lists of files, this one texts.

    >>> is_shard_list({"weight_map": {"conv1.weight": "model-00001-of-00002.safetensors"}})
    True
    """
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        return False
    return all(isinstance(shard, str) for shard in places.values())


def read_headers(path: Path, read_shard: Callable[[Path], Contents]) -> Contents:
    """Read the headers of all shards of a list; `read_shard` opens one shard, of any format.

    Shards are plain files beside the list, and nothing else is opened. Tensors come in the list's order, under the
    list's names; what the shards hold beyond it is left out, and said so.

    Raises:
        WeightsError: the list is damaged, a shard is missing, elsewhere or damaged, or lacks a tensor listed.
    """
    content = _read_list(path)
    places: dict[str, str] = content["weight_map"]
    files = {name: find_shard(path, name) for name in dict.fromkeys(places.values())}
    shards = {name: read_shard(file) for name, file in files.items()}
    tensors: dict[str, LazyTensor] = {}
    used: set[tuple[str, str]] = set()
    for name, shard in places.items():
        held = _find_name(name, shards[shard].tensors)
        if held is None:
            raise WeightsError(
                f"{path} lists {name!r} in {shard}, which lacks it",
                "all shards of one model",
                "to copy or download the list and its shards again",
            )
        used.add((shard, held))
        tensors[name] = shards[shard].tensors[held]
    tensors, removed = remove_prefixes(tensors)
    tensors = {name: _rename(tensor, name) for name, tensor in tensors.items()}
    notes = [f"the prefix {prefix!r} was removed from every name" for prefix in removed]
    # A shard's own prefixes are undone by the list's names.
    said = dict.fromkeys(note for shard in shards.values() for note in shard.notes)
    notes += [note for note in said if not note.startswith("the prefix ")]
    extra = [name for key, shard in shards.items() for name in shard.tensors if (key, name) not in used]
    if extra:
        more = f" and {len(extra) - 8} more" if len(extra) > 8 else ""
        notes.append(f"in the shards but not in their list, left out: {', '.join(extra[:8])}{more}")
    return Contents(tensors, tuple(notes), _text_metadata(content, shards), (path, *files.values()))


def _read_list(path: Path) -> dict[str, dict[str, str]]:
    """Read the list.

    Raises:
        WeightsError: it is no such list.
    """
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise WeightsError(f"{path} is larger than {LARGEST_LIST:,} bytes", "a list of shards")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no list of shards ({error})", "a whole .index.json", "to copy it again"
        ) from error
    if not is_shard_list(content):
        raise WeightsError(f"{path} is no list of shards", "an .index.json with a weight_map")
    found: dict[str, dict[str, str]] = content
    return found


def find_shard(path: Path, name: str) -> Path:
    """Find a shard beside its list.

    Raises:
        WeightsError: the name leads out of the list's folder, or there is no such file.
    """
    shard = path.parent / name
    is_plain = bool(name) and Path(name).name == name and not set(name) & set("\\/:\0")
    if not is_plain or shard.resolve().parent != path.parent.resolve():
        raise WeightsError(f"{path} lists a shard {name!r}", "the name of a file beside it")
    if shard.resolve() == path.resolve():
        raise WeightsError(f"{path} lists itself as a shard", "the names of other files beside it")
    if not shard.is_file():
        raise WeightsError(
            f"{path} lists {name!r}, which is missing",
            "all shards beside the list",
            f"to copy or download {name} into {path.parent}",
        )
    return shard


def _find_name(name: str, held: Mapping[str, LazyTensor]) -> str | None:
    """Find a listed tensor in a shard, whose reader may have removed a prefix that all of the shard's names have."""
    while name not in held:
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            return None
        name = name.removeprefix(prefix)
    return name


def _rename(tensor: LazyTensor, name: str) -> LazyTensor:
    """Give a tensor the list's name."""
    return dataclasses.replace(tensor, spec=dataclasses.replace(tensor.spec, name=name))


def _text_metadata(content: Mapping[str, object], shards: Mapping[str, Contents]) -> dict[str, str]:
    """Join the metadata of the list and of its shards; the list's own counts where they differ."""
    found: dict[str, str] = {}
    for shard in shards.values():
        found |= shard.metadata
    own = content.get("metadata")
    if isinstance(own, dict):
        found |= {key: str(value) for key, value in own.items() if isinstance(value, str | int | float)}
    return found
