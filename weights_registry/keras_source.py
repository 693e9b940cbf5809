"""What the installed Keras says of its weight sets, read from its source as text: Keras is not imported.

A development tool of `generate.py`; no part of the package imports it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class KerasModule:
    """One file of `keras/src/applications`: its name, its text, its tree, and the constants it defines."""

    name: str
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)
    constants: dict[str, Any] = field(repr=False)

    @property
    def place(self) -> str:
        """Where the facts stand, for a card's `sources`."""
        return f"keras/src/applications/{self.name}.py (Keras {'.'.join(version('keras').split('.')[:2])})"


def read_module(name: str) -> KerasModule:
    """Read one file of `keras/src/applications` of the installed Keras, without importing it."""
    spec = find_spec("keras")
    if spec is None or spec.origin is None:
        raise SystemExit("Keras is not installed: its cards are made from its source")
    path = Path(spec.origin).parent / "src" / "applications" / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    constants: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _evaluate(node.value, constants)
            if value is not None:
                constants[node.targets[0].id] = value
    return KerasModule(name, text, tree, constants)


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:
    """Evaluate a literal, a known name, a sum of both or an f-string of both; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.JoinedStr):
        parts = [_evaluate(part, names) for part in node.values]
        return None if None in parts else "".join(parts)
    if isinstance(node, ast.FormattedValue):
        return _evaluate(node.value, names)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _evaluate(node.left, names), _evaluate(node.right, names)
        return None if left is None or right is None else left + right
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _list_calls(module: KerasModule) -> Iterator[tuple[ast.Call, dict[str, ast.expr]]]:
    """List every call with its keyword arguments, in the order of the source."""
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: node.lineno):
        yield call, {word.arg: word.value for word in call.keywords if word.arg}


def list_downloads(module: KerasModule) -> list[tuple[str, str]]:
    """List (address, hash) of every `get_file` call that spells both out.

    A local name stands for the constant that was last assigned to it above the call.
    """
    found = []
    for call, words in _list_calls(module):
        if "file_hash" not in words:
            continue
        names = dict(module.constants)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                value = _evaluate(node.value, module.constants)
                if node.lineno < call.lineno and value is not None:
                    names[node.targets[0].id] = value
        address, digest = _evaluate(call.args[1], names), _evaluate(words["file_hash"], names)
        if isinstance(address, str) and isinstance(digest, str):
            found.append((address, digest))
    return found


def find_mode(module: KerasModule) -> str:
    """Name the preprocessing contract of a module's `preprocess_input`: its mode, or `raw` where it does nothing."""
    for function in module.tree.body:
        if isinstance(function, ast.FunctionDef) and function.name == "preprocess_input":
            last = function.body[-1]
            if isinstance(last, ast.Return) and isinstance(last.value, ast.Name) and last.value.id == "x":
                return "raw"
            if isinstance(last, ast.Return) and isinstance(last.value, ast.Call):
                modes = [word.value for word in last.value.keywords if word.arg == "mode"]
                return str(ast.literal_eval(modes[0]))
    raise SystemExit(f"{module.place} has no preprocess_input that this tool understands")


def find_input_size(module: KerasModule, variant: str = "") -> int:
    """Find the default input size in pixels: the module's only one, or that of the call for `variant`.

    A call is for a variant where its `weights_name` says so, or the function around it is called so.
    """
    sizes = set()
    for function in module.tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            words = {word.arg: word.value for word in call.keywords}
            names = {_evaluate(words["weights_name"], {}) if "weights_name" in words else "", function.name}
            size = words.get("default_size")
            if size is None and "weights_name" in words and len(call.args) > 2:
                size = call.args[2]  # EfficientNet's default size is its third positional argument
            value = _evaluate(size, module.constants) if size is not None else None
            if isinstance(value, int) and (not variant or variant in names):
                sizes.add(value)
    if len(sizes) != 1:
        raise SystemExit(f"{module.place} gives {sorted(sizes)} as input sizes of {variant or 'its network'}")
    return sizes.pop()


def find_choices(module: KerasModule, name: str) -> list[Any]:
    """Find the list that `name` must be in: the longest literal of `name in […]` or `name not in […]`."""
    found: list[Any] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id == name:
            choices = _evaluate(node.comparators[0], {})
            if isinstance(node.ops[0], (ast.In, ast.NotIn)) and isinstance(choices, list):
                found = max(found, choices, key=len)
    return found
