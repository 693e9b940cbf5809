"""Where the tensors are in what a PyTorch file holds: a state dictionary, a checkpoint or a whole model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from medzoo.errors import WeightsError
from medzoo.weights.formats.torch_names import Inert
from medzoo.weights.formats.torch_scan import REMEDY
from medzoo.weights.formats.torch_tensors import Tensor, Unreadable

#: Keys under which checkpoints keep the state dictionary, the usual ones first.
KNOWN_KEYS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "params",
    "state_dict_ema",
    "model_ema",
)

#: What wrappers put before every name: parallel ones, and compiled models.
PREFIXES = ("module.", "_orig_mod.")

#: Keys of a training's own state, which holds tensors too.
_TRAINING = re.compile(
    r"optimi[sz]er|optim(_|$)|^opt(_|$)|scheduler|scaler|(^|_)(rng|amp)(_|$)", re.IGNORECASE
)

#: The most dictionaries, modules and tensors visited: shared ones can stand for 2**60 with a few bytes.
MOST_VISITED = 2 * 10**5
DEEPEST = 100

#: The longest name of a tensor: a long one in front of many would be repeated in each.
LONGEST_NAME = 1000

Value = TypeVar("Value")


@dataclass
class State:
    """The tensors found, by name; what was left out, for a person; and the plain values beside them."""

    tensors: dict[str, Tensor | Unreadable] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    visited: int = 0


def find_state(root: Any, path: Path) -> State:
    """Find the state dictionary in an unpickled object, and give its tensors their names.

    Known keys are followed first; without one, the only dictionary with tensors is taken. Dictionaries within the
    state dictionary are joined by dots, and prefixes that every name has are removed.

    Raises:
        WeightsError: there are no tensors, several such dictionaries, or two tensors of one name.
    """
    state = State()
    try:
        found = _descend(root, state, path)
        if isinstance(found, Inert):
            state.notes.append("a whole model was saved: its tensors were taken, its code was left out")
        for name, value in _flatten(found, "", 0, state):
            if name in state.tensors:
                raise WeightsError(f"{path} holds two tensors named {name!r}", "unique names")
            state.tensors[name] = value
    except RecursionError as error:
        raise WeightsError(f"{path} nests dictionaries without end", "a state dictionary") from error
    if not state.tensors:
        raise WeightsError(f"{path} holds no tensors by name", "a PyTorch state dictionary", REMEDY)
    state.tensors, removed = remove_prefixes(state.tensors)
    if state.left_out:
        shown = ", ".join(state.left_out[:8])
        more = len(state.left_out) - 8
        state.notes.append(f"left out: {shown}" + (f" and {more} more" if more > 0 else ""))
    state.notes.extend(f"the prefix {prefix!r} was removed from every name" for prefix in removed)
    return state


def remove_prefixes(tensors: dict[str, Value]) -> tuple[dict[str, Value], list[str]]:
    """Remove the prefixes of wrappers that every name has; give what was removed, too.

    >>> remove_prefixes({"module.conv1.weight": 1, "module.conv1.bias": 2})
    ({'conv1.weight': 1, 'conv1.bias': 2}, ['module.'])
    """
    removed = []
    while prefix := next(
        (p for p in PREFIXES if tensors and all(_begins(name, p) for name in tensors)), None
    ):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        removed.append(prefix)
    return tensors, removed


def _begins(name: str, prefix: str) -> bool:
    """Tell whether a name has a prefix, and something behind it."""
    return name.startswith(prefix) and name != prefix


def _descend(root: Any, state: State, path: Path) -> Any:
    """Follow the keys that lead to the state dictionary, and note what lies beside them."""
    found, is_known = root, False
    holding = _find_holding(root, state)
    for _ in range(DEEPEST):
        if not isinstance(found, dict):
            return found
        holders = [
            key
            for key, value in found.items()
            if isinstance(key, str) and isinstance(value, dict | Inert) and id(value) in holding
        ]
        chosen = next((key for key in KNOWN_KEYS if key in holders), None)
        if is_known and chosen is not None and len(holders) > 1:
            return found  # within the state dictionary these are the model's own parts
        if chosen is None and not any(isinstance(value, Tensor | Unreadable) for value in found.values()):
            holders = [key for key in holders if not _TRAINING.search(key)]
            if len(holders) > 1 and not is_known:
                raise WeightsError(
                    f"{path} holds tensors under {_list(holders)}", f"one of {', '.join(KNOWN_KEYS)}", REMEDY
                )
            chosen = holders[0] if len(holders) == 1 and not is_known else None
        if chosen is None:
            return found
        is_known = is_known or chosen in KNOWN_KEYS
        for key, value in found.items():
            if key == chosen or not _is_key(key):
                continue
            _count_visit(state)
            state.left_out.append(str(key))
            text = _as_text(value)
            if text is not None:
                state.metadata.setdefault(str(key), text)
        found = found[chosen]
    raise WeightsError(f"{path} nests dictionaries without end", "a state dictionary")


def _find_holding(root: Any, state: State) -> set[int]:
    """Give the identities of all dictionaries and modules with a tensor anywhere below, each visited once.

    Raises:
        RecursionError: they name one another too often.
    """
    holders: dict[int, list[Any]] = {}
    waiting, seen, tensors = [root], {id(root)}, []
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor | Unreadable):
            tensors.append(value)
        inner: Iterable[Any] = value.values() if isinstance(value, dict) else ()
        if isinstance(value, Inert):
            inner = [attributes for _, attributes in _parts(value)]
        for item in inner:
            if not isinstance(item, dict | Inert | Tensor | Unreadable):
                continue
            _count_visit(state)
            holders.setdefault(id(item), []).append(value)
            if id(item) not in seen:
                seen.add(id(item))
                waiting.append(item)
    holding: set[int] = set()
    waiting = tensors
    while waiting:
        for holder in holders.get(id(waiting.pop()), ()):
            if id(holder) not in holding:
                holding.add(id(holder))
                waiting.append(holder)
    return holding


def _count_visit(state: State) -> None:
    """Count what is visited.

    Raises:
        RecursionError: it is too much.
    """
    state.visited += 1
    if state.visited > MOST_VISITED:
        raise RecursionError


def _parts(module: Inert) -> list[tuple[str, dict[Any, Any]]]:
    """Give a module's parameters, its buffers and its inner modules, as far as it is a module."""
    attributes = module.__dict__.get("state", {})
    found = [(part, attributes.get(part)) for part in ("_parameters", "_buffers", "_modules")]
    return [(part, value) for part, value in found if isinstance(value, dict)]


def _flatten(value: Any, prefix: str, depth: int, state: State) -> Iterator[tuple[str, Tensor | Unreadable]]:
    """Give every tensor below a dictionary or a module with its name, parts joined by dots."""
    if depth > DEEPEST:
        raise RecursionError
    for key, item in _list_items(value):
        _count_visit(state)
        name = f"{prefix}{key}" if _is_key(key) else None
        if name is None or len(name) > LONGEST_NAME:
            state.left_out.append(f"{prefix}(no name)")
            continue
        if isinstance(item, Tensor | Unreadable):
            yield name, item
        elif isinstance(item, dict | Inert) and not (depth == 0 and _TRAINING.search(name)):
            before = state.visited
            yield from _flatten(item, f"{name}.", depth + 1, state)
            if state.visited == before and not isinstance(value, Inert):
                state.left_out.append(name)  # there is nothing in it
        elif not isinstance(value, Inert):
            state.left_out.append(name)
            text = _as_text(item)
            if text is not None and depth == 0:
                state.metadata.setdefault(name, text)


def _list_items(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give what a dictionary or a module holds by name; buffers that PyTorch would not save are passed over."""
    if isinstance(value, dict):
        yield from value.items()
    if not isinstance(value, Inert):
        return
    passing = value.__dict__.get("state", {}).get("_non_persistent_buffers_set")
    for part, held in _parts(value):
        for key, item in held.items():
            is_passing = part == "_buffers" and isinstance(passing, set) and key in passing
            if item is not None and not is_passing:
                yield key, item


def _is_key(key: object) -> bool:
    """Tell whether a dictionary's key can be part of a name that people read."""
    if isinstance(key, str):
        return len(key) <= LONGEST_NAME and key.isprintable()
    return type(key) is int and abs(key) < 2**64


def _as_text(value: object) -> str | None:
    """Give a plain value as text; None for anything else, and for what is too long or no text to be of use."""
    if isinstance(value, str) and len(value) <= 1000 and value.replace("\n", " ").isprintable():
        return value
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**64):
        return str(value)
    return None


def _list(names: list[str]) -> str:
    """Name a few keys for an error."""
    return ", ".join(repr(name[:60]) for name in names[:8])
