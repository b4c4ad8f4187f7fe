"""The command line: composes the rooms into commands, and has no rules of its own.

Every listing takes `--json`; long work shows its progress on standard error; results go to standard output. A command ends
with one of the codes in `console.EXIT_CODES`. Rooms are imported inside the commands that need them, so that `--help` and shell
completion answer at once.
"""

from __future__ import annotations


def main() -> None:
    """The `surge` command. The only place that ends the process."""
    import logging
    import sys

    from surge.cli.app import surge
    from surge.cli.console import left_open, run_command

    logging.getLogger("asyncio").addFilter(left_open)
    sys.exit(run_command(surge))


__all__ = ["main"]
