"""What the pages print is what the program does: every block is run in order, and its output compared."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import PAGES, ROOT, compare_output, read_blocks, split_console

RUN_LANGUAGES = ("console", "python")
PLAIN_LANGUAGES = ("text", "toml", "csv", "json", "ini", "make")
MUST_RUN = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")


def _capture(action: Callable[[], object]) -> str:
    """Run something and give what it printed to both streams, in order."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        action()
    return printed.getvalue()


def _run_command(command: str) -> str:
    """Run one command line in this process, `cat`, `head` and `ls` by hand; give what it printed."""
    from medzoo.cli import main

    program, *arguments = shlex.split(command)
    if program == "ls":
        return "  ".join(sorted(path.name for path in Path(arguments[0]).iterdir()))
    if program == "cat":
        return Path(arguments[0]).read_text(encoding="utf-8")
    assert program == "medzoo", f"only medzoo, ls and cat are run: {command}"

    def call() -> None:
        with contextlib.suppress(SystemExit):
            main(arguments)

    return _capture(call)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs_and_prints_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    names: dict[str, object] = {"__name__": "page"}
    printed: str | None = None  # by the Python block just above, which a text block may follow
    for block in read_blocks(page):
        place = f"{page.name}, line {block.line}"
        if block.reason:
            continue
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for command, expected in split_console(block.text):
                difference = compare_output(expected, output := _run_command(command), block.varies)
                assert not difference, f"{place}: {command}\n{difference}\n--- all of it:\n{output[:2000]}"
        elif block.language == "python":
            code = compile("\n" * block.line + block.text, str(page), "exec")
            printed = _capture(lambda code=code: exec(code, names))
            continue
        elif block.language == "text" and printed is not None:
            difference = compare_output(block.text.splitlines(), printed, block.varies)
            assert not difference, f"{place}: {difference}\n--- all of it:\n{printed[:2000]}"
        printed = None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in read_blocks(page):
        place = f"{page.name}, line {block.line}"
        known = block.language in (*RUN_LANGUAGES, *PLAIN_LANGUAGES)
        assert known or block.reason, f"{place}: a {block.language!r} block is not run and gives no reason"
        assert not block.note.startswith("not run") or len(block.reason) > 10, f"{place}: give the reason"
        assert block.note == "" or block.reason or block.file or block.varies, f"{place}: {block.note!r}"


@pytest.mark.parametrize("page", MUST_RUN, ids=lambda page: page.name)
def test_the_tour_and_the_tutorial_are_run(page: Path) -> None:
    run = [block for block in read_blocks(page) if block.language in RUN_LANGUAGES and not block.reason]
    assert {block.language for block in run} == set(RUN_LANGUAGES)


def test_the_comparison_sees_a_wrong_page() -> None:
    printed = "tensor  shape\nhead/kernel  256×2\n2 tensors\n"
    assert compare_output(["tensor  shape", "…", "2 tensors"], printed, varies=False) == ""
    assert compare_output(["tensor  shape", "…", "3 tensors"], printed, varies=False)
    assert compare_output(["tensor  shape", "…", "3 tensors"], printed, varies=True) == ""
    assert compare_output(["tensor  shape", "head/bias…", "2 tensors"], printed, varies=True)
    assert compare_output(["tensor  shape"], printed, varies=True)
    assert compare_output(["tensor  shape", "…", "2 tensors", "more"], printed, varies=True)
