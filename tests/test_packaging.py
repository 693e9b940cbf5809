"""setup.cfg names what lies in the tree; the tree holds nothing that the project refuses."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")


def _lines(section: str, option: str) -> list[str]:
    return [line for line in CONFIG[section][option].splitlines() if line]


def test_the_package_list_is_the_tree() -> None:
    tree = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "medzoo").rglob("__init__.py")
    } | {
        "medzoo." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in ("cli", "weights_registry")
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(_lines("options", "packages")) == tree


def test_every_data_file_is_packaged() -> None:
    patterns = dict(line.split(" = ") for line in _lines("options.package_data", "medzoo") if " = " in line)
    patterns |= {key: value.strip() for key, value in CONFIG["options.package_data"].items()}
    for file in [*(ROOT / "medzoo").rglob("*.json"), *(ROOT / "weights_registry").rglob("*.*")]:
        if file.suffix in (".py", ".pyc"):
            continue
        package = ".".join(file.parent.relative_to(ROOT).parts)
        package = package if package.startswith("medzoo") else f"medzoo.{package}"
        assert patterns.get(package, "").endswith(file.suffix), f"{file.name} of {package} is not packaged"


def test_every_dependency_has_its_reason() -> None:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    wanted = _lines("options", "install_requires") + _lines("options.extras_require", "dev")
    for requirement in wanted:
        name = requirement.split(">")[0].split("=")[0].split("<")[0].strip()
        assert f"**{name}**" in design, f"docs/design.md gives no reason for **{name}**"


def test_no_file_is_too_long() -> None:
    for folder in ("medzoo", "cli", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines"


def test_no_drawer_and_no_managers() -> None:
    for folder in ("medzoo", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            assert path.stem not in {"utils", "helpers", "common", "misc"}, path
            text = path.read_text(encoding="utf-8")
            for word in ("Manager", "Handler", "Helper"):
                assert f"class {word}" not in text, path
                assert f"{word}(" not in text, path


def test_no_weights_or_images_are_committed() -> None:
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        assert not name.endswith((".h5", ".npz", ".th", ".dcm", ".jpg", ".png", ".safetensors")), name
