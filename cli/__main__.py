"""`python -m medzoo.cli`."""

from medzoo.cli import main

main()
