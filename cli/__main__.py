"""`python -m medzoo.cli`."""

from . import main

main()
