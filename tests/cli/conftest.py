"""A command as a person meets it: exit code, stdout, stderr."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from medzoo.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def medzoo_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Outcome]:
    """Run `medzoo …` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        code = stopped.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def refused(medzoo_command: Callable[..., Outcome]) -> Callable[..., str]:
    """Run a command that must be refused: exit code 1, one line on stderr, nothing on stdout; gives the line."""

    def run(*arguments: object) -> str:
        outcome = medzoo_command(*arguments)
        assert outcome.code == 1, outcome
        assert outcome.out == "", outcome.out
        lines = outcome.err.strip().splitlines()
        assert len(lines) == 1, outcome.err
        assert lines[0].startswith("medzoo: ")
        assert "Traceback" not in lines[0]
        assert "internal error" not in lines[0]
        return lines[0]

    return run


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """24 grey images of two classes, bright or dark, as class folders; no network needs long for them."""
    from PIL import Image

    generator = np.random.default_rng(0)
    root = tmp_path / "images"
    for name, level in (("bright", 150), ("dark", 60)):
        (root / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(generator.normal(level, 20, (32, 32)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root
