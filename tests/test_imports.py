"""The import table of docs/design.md, read from every file; and that light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Part → the parts of medzoo that it may import (itself always). A part is the first name after `medzoo`.
ALLOWED = {
    "errors": set(),
    "outputs": {"errors"},
    "contracts": {"errors"},
    "specs": {"contracts", "errors"},
    "wiring": {"errors"},
    "blocks": set(),
    "moments": {"blocks"},
    "tensors": {"errors", "moments", "wiring"},
    "weights": {
        "blocks",
        "contracts",
        "errors",
        "moments",
        "outputs",
        "specs",
        "tensors",
        "wiring",
        "weights_registry",
    },
    "weights_registry": set(),
    "transplant": {"blocks", "errors", "outputs", "specs", "tensors", "wiring", "weights"},
    "models": {"errors", "outputs", "specs", "tensors", "wiring"},
    "data": {"contracts", "errors", "outputs"},
    "evaluation": {"errors", "outputs"},
    "training": {
        "contracts",
        "errors",
        "outputs",
        "specs",
        "tensors",
        "wiring",
        "weights",
        "transplant",
        "models",
        "data",
        "evaluation",
    },
}
ALLOWED["reports"] = ALLOWED["training"] | {"training"}
ALLOWED["cli"] = set(ALLOWED)

FRAMEWORKS = {"keras", "tensorflow", "tf_keras", "torch", "jax"}
MAY_IMPORT_FRAMEWORKS = {"models", "data", "training"}
#: Within those parts, what must not: it is read by commands that start without a framework.
WITHOUT_FRAMEWORK = {
    f"medzoo/models/{name}.py"
    for name in ("catalog", "cost", "receptive_field", "tables/__init__", "tables/parts")
}

#: The one reader that needs its format's own library.
CHECKPOINTS = "medzoo/weights/formats/tf_checkpoint.py"

FILES = sorted(
    path
    for folder in ("medzoo", "cli", "weights_registry")
    for path in (ROOT / folder).rglob("*.py")
    if path != ROOT / "medzoo" / "__init__.py"
)


def _part(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if relative.parts[0] != "medzoo":
        return relative.parts[0]
    return relative.parts[1].removesuffix(".py")


def _module(path: Path) -> str:
    """Give the installed module's name, `cli` and `weights_registry` under `medzoo`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] != "medzoo":
        parts.insert(0, "medzoo")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> set[str]:
    """List every module that a file imports, inside functions too; relative imports are resolved."""
    module = _module(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name == "medzoo" and alias.asname for alias in node.names), path
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and node.id == "__import__":
            raise AssertionError(f"{path} imports by __import__")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]) if base else ".".join(above)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_the_table_allows(path: Path) -> None:
    part = _part(path)
    assert part in ALLOWED, f"{part} has no row in the import table"
    for name in imported_modules(path):
        if name.startswith("medzoo."):
            other = name.split(".")[1]
            allowed = ALLOWED[part] | {part, "__version__"}
            assert other in allowed, f"{path.name} imports {name}; {part} may import {sorted(ALLOWED[part])}"
        if name == "importlib" or name.startswith("importlib.import_module"):
            # Imports by name are what the lazy command group is for, and hide from this test elsewhere.
            assert path == ROOT / "cli" / "__init__.py" or "import_module" not in path.read_text(), path
        # `import medzoo` alone reads the version; everything else is imported from where it is defined.
        if name == "medzoo":
            text = path.read_text(encoding="utf-8")
            uses = {word for word in _attributes(text, "medzoo") if word != "__version__"}
            assert not uses, f"{path.name} reaches {uses} through the top-level package"


def _attributes(text: str, name: str) -> set[str]:
    """List the attributes read of a name."""
    return {
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_models_data_and_training_import_a_framework(path: Path) -> None:
    frameworks = {name.split(".")[0] for name in imported_modules(path)} & FRAMEWORKS
    relative = str(path.relative_to(ROOT))
    light = relative in WITHOUT_FRAMEWORK or relative.startswith("medzoo/models/rows/")
    may = _part(path) in MAY_IMPORT_FRAMEWORKS and not light
    if relative == CHECKPOINTS:  # inside its functions: the test of what light things load sees the rest
        frameworks -= {"tensorflow"}
    assert may or not frameworks, f"{relative} imports {sorted(frameworks)}"


def test_nothing_imports_the_command_line() -> None:
    for path in FILES:
        if _part(path) != "cli":
            assert not any(name.startswith("medzoo.cli") for name in imported_modules(path)), path


def _loaded(statement: str, unwanted: set[str]) -> set[str]:
    """Run a statement in a fresh interpreter and list which of the unwanted packages it loaded."""
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint('|'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split("|")}
    return modules & unwanted


@pytest.mark.parametrize(
    "statement",
    [
        "import medzoo",
        "from medzoo.cli import main; main(['--help'])",
        "from medzoo.cli import main; main(['train', '--help'])",
        "from medzoo.cli import main; main(['runs', '.'])",
        "from medzoo.cli import main; main(['models'])",
        "from medzoo.cli import main; main(['weights'])",
        "from medzoo.cli import main; main(['transplant', '--src', 'imagenet', '--mode', 'stats', '--dry-run'])",
        "from medzoo.cli import main; main(['transplant', '--src', 'imagenet', '--mode', 'stats'])",
        "from medzoo.cli import main; main(['models', 'show', 'resnet50'])",
        "from medzoo.cli import main; main(['weights', 'inspect', 'mobilenet_075.imagenet'])",
        "from medzoo.cli import main; main(['evaluate', 'predictions.csv'])",
        "from medzoo.cli import main; main(['evaluate', 'predictions.csv', 'predictions.csv'])",
        "from medzoo.cli import main; main(['compare', 'predictions.csv', 'predictions.csv'])",
        "from medzoo.cli import main; main(['report', 'predictions.csv'])",
        "from medzoo import find_model, list_models, describe, open_weights, make_plan, recipes, evaluate",
    ],
)
def test_light_things_load_no_framework(
    statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ["id,label,score_a,score_b", "1,a,.7,.3", "2,b,.4,.6", "3,a,.6,.4", "4,b,.2,.8"]
    (tmp_path / "predictions.csv").write_text("\n".join(rows))
    assert not _loaded(statement, {"keras", "tensorflow", "torch", "jax"})


@pytest.mark.parametrize("statement", ["import medzoo", "from medzoo.cli import main; main(['--help'])"])
def test_help_loads_no_heavy_library(statement: str) -> None:
    assert not _loaded(
        statement, {"numpy", "pandas", "sklearn", "scipy", "h5py", "pydantic", "rich", "pooch"}
    )


def test_the_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = ROOT / "medzoo" / "models" / "graph.py"
    assert "keras" in imported_modules(file)


def test_public_names_resolve_and_are_documented() -> None:
    import medzoo

    for name in medzoo.__all__:
        value = getattr(medzoo, name)
        assert name == "__version__" or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = medzoo.nothing
