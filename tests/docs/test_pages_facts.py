"""Tables and lists in the pages against the code they describe."""

from __future__ import annotations

import ast
import configparser
import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from pages import PAGES, ROOT

import medzoo

DOCS = ROOT / "docs"


def _read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def read_tables(text: str) -> list[list[list[str]]]:
    """List the tables of a page as rows of cells, heads first; back-quotes are kept.

    >>> read_tables("| a | b |\\n|---|--:|\\n| `1` | x\\\\|y |\\n")
    [[['a', 'b'], ['`1`', 'x|y']]]
    """
    tables: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not inside:
            tables.append([])
        inside = True
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            tables[-1].append(cells)
    return tables


def find_table(text: str, *head: str) -> list[list[str]]:
    """Give the rows below a table's head, which must start with these words."""
    for table in read_tables(text):
        if tuple(table[0][: len(head)]) == head:
            return table[1:]
    raise AssertionError(f"no table starts with {head}")


def _names(cell: str) -> list[str]:
    """List the back-quoted words of a cell or a text, fenced blocks left out."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", cell, flags=re.MULTILINE | re.DOTALL))


def test_config_keys_and_defaults() -> None:
    from medzoo.training.settings import TrainConfig

    defaults = {
        f"{section}.{key}": value
        for section, values in TrainConfig().model_dump(mode="json").items()
        for key, value in values.items()
    }
    written = {}
    for key, value, *_ in find_table(_read("training.md"), "key", "default"):
        literal = _names(value)
        written[_names(key)[0]] = tomllib.loads(f"value = {literal[0]}")["value"] if literal else None
    assert written == defaults


def test_run_files() -> None:
    from medzoo.training.rundir import FILES

    written = [_names(row[0])[0] for row in find_table(_read("training.md"), "file", "holds")]
    assert sorted(written) == sorted(FILES)


def test_catalogue_rows() -> None:
    from medzoo.models.tables.parts import find_totals
    from medzoo.weights.cards import list_card_names

    cards = list_card_names()
    rows = [
        (_names(row[0])[0], *row[1:4], _names(row[4])[0], row[5].replace(",", ""), row[6], row[9] != "—")
        for row in find_table(_read("zoo.md"), "model", "family")
    ]
    wanted = [
        (
            spec.name,
            spec.family,
            str(spec.input_size),
            str(spec.smallest_input),
            spec.preprocessing.name,
            str(find_totals(spec).parameters),
            f"{find_totals(spec).macs / 1e9:.3g}",
            any(card.startswith(f"{spec.name}.") for card in cards),
        )
        for spec in medzoo.list_models()
    ]
    assert rows == wanted


def test_options_that_may_be_changed() -> None:
    from medzoo.models.catalog import FAMILIES

    written = {
        family: set(_names(options))
        for families, options in find_table(_read("models.md"), "families", "options")
        for family in families.split(", ")
    }
    assert written == {module.__name__.rpartition(".")[2]: set(module.CHANGES) for module in FAMILIES}


def test_stages_of_every_family() -> None:
    text = _read("models.md")
    for spec in medzoo.list_models():
        for stage in (spec.stages[0], spec.stages[-2], spec.stages[-1]):
            assert stage.name in text, f"{spec.name}: {stage.name}"
            assert stage.output in text, f"{spec.name}: {stage.output}"


def test_modes_methods_and_roles() -> None:
    from medzoo.tensors import Role
    from medzoo.transplant.methods import METHODS
    from medzoo.transplant.modes import MODES

    text = _read("transplant.md")
    rows = find_table(text, "mode")
    assert [_names(row[0])[0] for row in rows] == list(MODES)
    options = {_names(row[0])[0]: [name.removeprefix("--") for name in _names(row[2])] for row in rows}
    options["wt-st"] = options["wt-st"][:1] + options["stats"]  # the page says "and those of `stats`"
    options["truncate"] = []  # --at goes with every mode
    assert {mode: tuple(taken) for mode, taken in options.items()} == MODES
    written = {_names(row[0])[0]: _names(row[2])[0] for row in find_table(text, "method")}
    assert written == {name: method.needs for name, method in METHODS.items()}
    assert {role.value for role in Role} <= set(_names(text))


def test_options_of_statistics_and_rules() -> None:
    from medzoo.transplant.modes import MODES
    from medzoo.transplant.recipes import BIASES, NORMS, SAMPLERS, TOKENS

    text = _read("transplant.md")
    rows = {_names(row[0])[0].removeprefix("--"): row[2] for row in find_table(text, "option", "default")}
    assert tuple(rows) == MODES["stats"]
    for option, words in (("norm", NORMS), ("bias", BIASES), ("sampler", SAMPLERS), ("tokens", TOKENS)):
        unnamed = {"normal"}  # the default, which needs no explanation
        assert set(words) - unnamed <= set(_names(rows[option])), option
    assert [_names(row[0])[0] for row in find_table(_read("transplant-plans.md"), "key of a rule")] == [
        "match",
        "method",
        "roles",
        "options",
    ]


def test_units_of_wt_st() -> None:
    from medzoo.transplant.units import NOTHING, list_units

    for row in find_table(_read("transplant.md"), "family", "−2"):
        last, name = re.fullmatch(r"(\d+) in `(\w+)`", row[-1]).groups()  # type: ignore[union-attr]
        spec = medzoo.find_model(name)
        assert row[0] in (spec.family, "others")
        assert int(last) == len(list_units(spec)) + NOTHING


def test_options_of_shapes() -> None:
    from medzoo.transplant.adaptations import HEAD_WAYS, INTERPOLATIONS, PLAIN, Adaptations
    from medzoo.transplant.channels import PICKS
    from medzoo.transplant.inflation import WAYS
    from medzoo.transplant.input_channels import HOWS
    from medzoo.transplant.modes import read_recipe

    text = _read("transplant-shapes.md")
    rows = {_names(row[0])[0]: row for row in find_table(text, "key of `[adapt]`")}
    assert set(rows) == {field.name for field in fields(Adaptations)}
    words = {"channels": HOWS, "interpolation": INTERPOLATIONS, "pick": PICKS}
    words |= {"inflate": WAYS, "head": HEAD_WAYS}
    for key, allowed in words.items():
        assert set(allowed) <= set(_names(rows[key][3])), key
    for key, row in rows.items():
        value = getattr(PLAIN, key)
        default = {True: "on", "": row[2]}.get(value, f"`{value:g}`" if key == "noise" else f"`{value}`")
        assert row[2] == default, key
        option = _names(row[1])[0].removeprefix("--").replace("-", "_")
        given: object = {"noise": 0.5, "fold": False, "antialias": False, "classes": "0:1"}.get(key, "")
        given = given if given != "" else words[key][-1]
        # `widen` is its own mode's way to pick, and noise is for it alone.
        mode = "widen" if given == "widen" or key == "noise" else "copy"
        recipe = read_recipe({option: given, "mode": mode})
        assert getattr(recipe.adaptations, key) == given
    for head, allowed in (
        ("`--channel-mode`", HOWS),
        ("`--pick`", PICKS),
        ("`--inflate`", WAYS),
    ):
        assert {_names(row[0])[0] for row in find_table(text, head)} == set(allowed)


def test_plan_fields_of_the_record(tmp_path: Path) -> None:
    from medzoo.transplant import recipes
    from medzoo.transplant.record import format_record

    source = medzoo.source_from_arrays({})
    plan = medzoo.make_plan(source, medzoo.describe("cbr_tiny", 2, 1), recipes.random())
    record = json.loads(format_record(plan, {}))
    rows = find_table(_read("transplant-plans.md"), "field of `plan.json`")
    assert sorted(name for row in rows for name in _names(row[0])) == sorted(record)


def test_formats_and_card_fields() -> None:
    from medzoo.weights.cards import WeightCard
    from medzoo.weights.dialects.table import DIALECTS
    from medzoo.weights.writers import SUFFIXES

    text = _read("weights.md")
    modules = (ROOT / "medzoo" / "weights" / "formats").glob("*.py")
    formats = {
        node.value.value
        for path in modules
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        and any(isinstance(name, ast.Name) and name.id == "NAME" for name in node.targets)
        and isinstance(node.value, ast.Constant)
    }
    assert {_names(row[1])[0] for row in find_table(text, "file", "format")} == formats
    assert {_names(row[0])[0] for row in find_table(text, "field", "holds")} == {
        field.name for field in fields(WeightCard)
    }
    dialects = {_names(row[0])[0]: row[2] for row in find_table(text, "dialect", "files")}
    assert dialects == {
        dialect.name: "yes" if all(entry.is_invertible for entry in dialect.entries) else "no"
        for dialect in DIALECTS
    }
    assert all(f"`{suffix}`" in text for suffix in SUFFIXES)


def test_recognised_columns() -> None:
    from medzoo.data.splitting.splits import ALIASES
    from medzoo.data.tables.manifest import COMMON_NAMES

    text = _read("data.md")
    written = {row[0]: set(_names(row[1])) for row in find_table(text, "column of the", "recognised names")}
    assert written == {role: set(names) for role, names in COMMON_NAMES.items()}
    spelt = {_names(row[0])[0]: set(_names(row[1])) for row in find_table(text, "split", "spellings")}
    assert spelt == {
        split: {name for name in ALIASES if ALIASES[name] == split} for split in ALIASES.values()
    }


def test_preprocessing_contracts() -> None:
    from medzoo.specs import PREPROCESSINGS

    written = {_names(row[0])[0] for row in find_table(_read("data-images.md"), "contract")}
    assert written == set(PREPROCESSINGS)


def test_public_names() -> None:
    written = {name for row in find_table(_read("index.md"), "name", "is") for name in _names(row[0])}
    assert written == {name for name in medzoo.__all__ if name != "__version__"}


def test_errors() -> None:
    import medzoo.errors

    tree = ast.parse(Path(medzoo.errors.__file__).read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert classes <= set(_names(_read("design.md")))


def test_import_table() -> None:
    tree = ast.parse((ROOT / "tests" / "test_imports.py").read_text(encoding="utf-8"))
    enforced = next(
        ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ALLOWED"
    )
    allowed = eval(enforced, {"set": set})
    allowed["reports"] = allowed["training"] | {"training"}
    written = {
        _names(part)[0]: set(_names(others))
        for part, others in find_table(_read("design.md"), "part", "may import")
    }
    written.pop("cli")
    assert written == allowed


def test_every_dependency_has_a_reason_and_every_reason_a_dependency() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = "\n".join([config["options"]["install_requires"], *config["options.extras_require"].values()])
    wanted = {re.split(r"[><=\[]", line)[0].strip() for line in lines.splitlines() if line.strip()}
    section = _read("design.md").partition("## Dependencies")[2].partition("\n## ")[0]
    rows = {row[0].strip("*"): row[1] for row in find_table(section, "package", "why")}
    rows |= {row[0].strip("*"): row[1] for row in find_table(section, "development package", "why")}
    rows |= {row[0].strip("*"): row[1] for row in find_table(section, "optional package", "why")}
    assert set(rows) == wanted
    assert all(len(reason.split()) >= 3 for reason in rows.values())


def test_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets is not None
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    written = {_names(row[0])[0].removeprefix("make ") for row in find_table(text, "command", "does")}
    assert written == set(targets[1].split())


def test_environment_variables() -> None:
    files = [path for folder in ("medzoo", "cli") for path in (ROOT / folder).rglob("*.py")]
    used = {name for path in files for name in re.findall(r"MEDZOO_[A-Z]+", path.read_text(encoding="utf-8"))}
    written = {name for page in PAGES for name in re.findall(r"MEDZOO_[A-Z_]+", page.read_text("utf-8"))}
    assert used <= written
    assert written <= used | {"MEDZOO_TEST_DATA"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        assert ROOT in (target, *target.parents), f"{page.name} links out of the project: {link}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page.name} links to {link}, which has {sorted(slugs)}"


def test_every_page_is_in_the_index() -> None:
    links = set(re.findall(r"\]\(([\w./-]+\.md)\)", _read("index.md")))
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= {Path(link).name for link in links}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").partition("## Agreed, not built yet")[0]
    for name in set(re.findall(r"`((?:medzoo|cli|tests|docs|weights_registry)/[\w./]+)`", text)):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\] - (\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)
    assert newest is not None
    assert newest[1] == medzoo.__version__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_stay_readable(page: Path) -> None:
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        assert len(line) <= 120 or line.startswith(("|", "$")) or "://" in line, f"{page.name}:{number}"
        assert "\t" not in line, f"{page.name}:{number}: a tab"
        assert line == line.rstrip(), f"{page.name}:{number}: spaces at the end"


def test_tables_are_read(tmp_path: Path) -> None:
    text = "text\n| a | b |\n|---|--:|\n| `x` | 1 |\n\n| c |\n|---|\n"
    assert read_tables(text) == [[["a", "b"], ["`x`", "1"]], [["c"]]]
    with pytest.raises(AssertionError, match="no table"):
        find_table(text, "b")
