"""Markdown pages as lists of blocks: what is run, what is compared, what is left out and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Every page that a user or a contributor reads.
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

#: A comment in the line above a block: `<!-- file: NAME -->`, `<!-- not run: REASON -->`, `<!-- numbers vary -->`.
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the comment above it, its text and the line that it starts in."""

    language: str
    note: str
    text: str
    line: int

    @property
    def file(self) -> str:
        """The file that the block's text is written to, or an empty string."""
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else ""

    @property
    def reason(self) -> str:
        """Why the block is not run, or an empty string."""
        return self.note.removeprefix("not run:").strip() if self.note.startswith("not run:") else ""

    @property
    def varies(self) -> bool:
        """Whether its numbers depend on the machine; then only the rest is compared."""
        return self.note.startswith("numbers vary")


def read_blocks(page: Path) -> list[Block]:
    """List a page's fenced blocks in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match["language"], match["note"] or "", match["text"], text.count("\n", 0, match.start("text")))
        for match in _BLOCK.finditer(text)
    ]


def split_console(text: str) -> list[tuple[str, list[str]]]:
    """Split a console block into commands and the lines printed for each; `> ` continues a command.

    >>> split_console("$ medzoo models\\nmodel  family\\n")
    [('medzoo models', ['model  family'])]
    """
    commands: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif line.startswith("> ") and commands and not commands[-1][1]:
            commands[-1] = (f"{commands[-1][0].rstrip(chr(92))} {line[2:]}", [])
        else:
            assert commands, f"output before any command: {line!r}"
            commands[-1][1].append(line)
    return commands


def compare_output(expected: list[str], printed: str, varies: bool) -> str:
    """Say how printed text differs from a page's lines; an empty string where it does not.

    `…` alone in a line stands for any number of lines, within a line for any text. Spaces at line ends and
    empty lines at both ends do not count. Where numbers vary, numbers and the widths they cause do not count.

    >>> compare_output(["a", "…", "n 1"], "a\\nb\\nc\\nn 2\\n", varies=True)
    ''
    >>> compare_output(["a", "c"], "a\\nb\\n", varies=False)
    "expected 'c', printed 'b'"
    """
    wanted = [_normalise(line, varies) for line in "\n".join(expected).strip("\n").splitlines()]
    found = [_normalise(line, varies) for line in printed.strip("\n").splitlines()]
    position, skipping = 0, False
    for line in wanted:
        if line == "…":
            skipping = True
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        while skipping and position < len(found) and not pattern.fullmatch(found[position]):
            position += 1
        if position >= len(found) or not pattern.fullmatch(found[position]):
            got = repr(found[position]) if position < len(found) else "nothing more"
            return f"expected {line!r}, printed {got}"
        position, skipping = position + 1, False
    if position < len(found) and not skipping:
        return f"expected nothing more, printed {found[position]!r}"
    return ""


def _normalise(line: str, varies: bool) -> str:
    """Strip a line's end and, where numbers vary, replace them and the widths that they cause."""
    line = line.rstrip()
    if not varies:
        return line
    line = re.sub(r"(\d[\d,]*(\.\d+)?|\.\d+)(e[+-]?\d+)?", "#", line)
    return re.sub(r"([ ━─])\1+", r"\1", line)
