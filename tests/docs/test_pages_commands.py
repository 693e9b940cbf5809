"""Every command has a current help text with an example that parses, and a place in the pages."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from types import ModuleType

import click
import pytest
from medzoo.cli import group
from pages import PAGES, ROOT, read_blocks, split_console

COMMANDS_PAGE = ROOT / "docs" / "commands.md"
WRITTEN_BY_HAND = [page for page in PAGES if page != COMMANDS_PAGE]


def _load_generator() -> ModuleType:
    path = ROOT / "docs" / "generate_commands.py"
    spec = importlib.util.spec_from_file_location("generate_commands", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _load_generator()
COMMANDS = list(GENERATOR.walk_commands())
LEAVES = [(path, command) for path, command in COMMANDS if not isinstance(command, click.Group)]


def _examples(command: click.Command) -> list[str]:
    """List the example lines of a help text."""
    _, _, after = (command.help or "").partition("Example")
    return [line.strip() for line in after.splitlines() if line.strip().startswith("medzoo ")]


def _parse(line: str) -> tuple[str, ...]:
    """Parse a command line as click would, without running it; give the path of the command it names."""
    arguments = shlex.split(line.split(" > ")[0])
    name: str | None = arguments.pop(0)
    command: click.Command | None = group
    context: click.Context | None = None
    path: list[str] = []
    while True:
        assert name is not None
        assert command is not None
        context = command.make_context(name, arguments, parent=context)
        path.append(name)
        if not isinstance(command, click.Group):
            return tuple(path)
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


def _written_commands() -> Iterator[tuple[str, str]]:
    """Yield every `medzoo …` line of the hand-written pages' blocks, with its place."""
    for page in WRITTEN_BY_HAND:
        for block in read_blocks(page):
            if block.language == "console":
                for command, _ in split_console(block.text):
                    yield command, f"{page.name}, line {block.line}"
            elif block.language == "sh":
                for line in block.text.replace("\\\n", " ").splitlines():
                    yield line, f"{page.name}, line {block.line}"


def test_the_generated_page_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert GENERATOR.main(["--check"]) == 0, "try python docs/generate_commands.py"


def test_the_check_sees_a_stale_page(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(GENERATOR, "PAGE", tmp_path / "commands.md")
    assert GENERATOR.main(["--check"]) == 1
    assert GENERATOR.main([]) == 0
    assert GENERATOR.main(["--check"]) == 0
    GENERATOR.PAGE.write_text(GENERATOR.PAGE.read_text(encoding="utf-8") + "edited\n", encoding="utf-8")
    assert GENERATOR.main(["--check"]) == 1
    assert GENERATOR.main(["--nothing"]) == 2


@pytest.mark.parametrize(
    ("path", "command"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_and_option_has_help(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help, path
    assert len(command.help.splitlines()[0]) > 20, path
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or option.show_default, f"{' '.join(path)} {option.opts[0]} has no help"


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=" ".join)
def test_every_command_has_an_example_that_parses(path: tuple[str, ...]) -> None:
    helps = [command for above, command in COMMANDS if path[: len(above)] == above and len(above) > 1]
    examples = [line for command in helps for line in _examples(command)]
    assert path in {_parse(line) for line in examples}, f"no help text shows {' '.join(path)}"


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=" ".join)
def test_every_command_is_shown_in_the_pages(path: tuple[str, ...]) -> None:
    shown = {_parse(line) for line, _ in _written_commands() if line.startswith("medzoo ")}
    assert path in shown, f"no page shows {' '.join(path)} in a block"


def test_every_command_line_of_the_pages_parses() -> None:
    for line, place in _written_commands():
        if line.startswith("medzoo "):
            try:
                _parse(line)
            except click.ClickException as error:
                pytest.fail(f"{place}: {line}: {error.message}")


def test_parsing_sees_a_wrong_example() -> None:
    with pytest.raises(click.ClickException):
        _parse("medzoo train --epoch-count 3")
    with pytest.raises(click.ClickException):
        _parse("medzoo nothing")
    assert _parse("medzoo models 'mobilenet*'") == ("medzoo", "models", "list")


def test_options_written_in_prose_exist() -> None:
    options = [option for _, command in COMMANDS for option in command.params]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    known |= {"--help", "--version", "--check"}
    for page in WRITTEN_BY_HAND:
        text = page.read_text(encoding="utf-8")
        if page.name == "design.md":
            text = text.partition("## Agreed, not built yet")[0]
        for option in set(re.findall(r"`(--[a-z][a-z-]+)", text)):
            assert option in known, f"{page.name} names {option}, which no command takes"
