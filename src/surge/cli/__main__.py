"""`python -m surge.cli` is the `surge` command."""

from surge.cli import main

main()
