"""Write docs/commands.md from the help texts of the command line; `--check` only compares.

Run from anywhere: `python docs/generate_commands.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from medzoo.cli import group

PAGE = Path(__file__).with_name("commands.md")
WIDTH = 100

HEAD = """\
# Commands

This page is generated from the help texts by `python docs/generate_commands.py`; do not edit it.

Results go to standard output, notes and progress to standard error. Every command that reports takes `--json`.
The exit code is 0 when the work is done, 1 for a refusal with its reason in one line, 2 for wrong usage.
`MEDZOO_TRACEBACK=1` shows where an internal error came from.
"""


def walk_commands(
    command: click.Command = group, path: tuple[str, ...] = ("medzoo",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path, a group before its members."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from walk_commands(member, (*path, name))


def format_help(path: tuple[str, ...], command: click.Command) -> str:
    """Give a command's help text as `--help` prints it, at a fixed width."""
    context = None
    for name in path[:-1]:
        context = click.Context(group, info_name=name, parent=context)
    settings = dict(group.context_settings)
    settings |= {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=path[-1], parent=context, **settings)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def format_page() -> str:
    """Give the whole page."""
    sections = [HEAD]
    for path, command in walk_commands():
        level = "#" * (len(path) + 1)
        sections.append(f"{level} `{' '.join(path)}`\n\n```text\n{format_help(path, command)}\n```\n")
    return "\n".join(sections)


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` tell whether it is current."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate_commands.py [--check]", file=sys.stderr)
        return 2
    page = format_page()
    if not arguments:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} is not current; try python docs/generate_commands.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
