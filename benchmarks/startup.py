"""`medzoo --help` against `python -c "import click, rich"`: `python benchmarks/startup.py`."""

from __future__ import annotations

import sys

from processes import interleave, medzoo_command, print_table

ROUNDS = 15


def main() -> None:
    sides = {
        "python -c 'import click, rich'": [sys.executable, "-c", "import click, rich"],
        "medzoo --help": medzoo_command("--help"),
        "medzoo train --help": medzoo_command("train", "--help"),
        "python -c 'import medzoo'": [sys.executable, "-c", "import medzoo"],
    }
    print_table("Start-up", interleave(sides, ROUNDS), next(iter(sides)), ROUNDS)


if __name__ == "__main__":
    main()
