"""What people see: JSON, amounts and times, and errors with an exit code each."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import Console

from surge import errors
from surge.cli.outputs import drop_standard_output
from surge.core.text import printable


class SafeConsole(Console):
    """A console on which no text steers the terminal: most of what is shown here was said by a peer, a guest, a node or a file."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich prints; see the class."""
        super().print(*(printable(each) if isinstance(each, str) else each for each in objects), **options)


out = SafeConsole(highlight=False, width=None if sys.stdout.isatty() else 240)
"""Results: standard output; wide where no terminal sets a width, so that what reads it finds a row in a line."""

err = SafeConsole(stderr=True, highlight=False)
"""Progress and explanations: standard error."""

WIDE = 110
"""Columns from which there is room for what would only be nice to see."""

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "the work itself failed: an item raised, trapped or ran out of a limit; a receipt did not verify",
    2: "the command was called wrongly",
    3: "an input is wrong (a file, a function, an address)",
    4: "something is away: no relay, no provider, no ledger; trying again may help",
    5: "the ledger refused a transaction",
    6: "not enough tokens, gas money or budget",
    7: "a peer broke the protocol",
    8: "the job was cancelled, from elsewhere: `surge job cancel`",
    9: "results that were given out were wrong: their device was caught, and the job has them right now",
    70: "a bug, or damaged state on disk",
    130: "interrupted",
    143: "terminated: SIGTERM",
}
"""What each exit code means. `surge run` instead ends with the module's own code when the module ended itself."""

_CODE_OF: Sequence[tuple[type[errors.SurgeError], int]] = (
    (errors.GuestFault, 1),
    (errors.InvalidInput, 3),
    (errors.Unavailable, 4),
    (errors.NotEnough, 6),
    (errors.LedgerError, 5),
    (errors.PeerFault, 7),
    (errors.Cancelled, 8),
    (errors.CorrectedResults, 9),
    (errors.InternalFault, 70),
)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the command tidies up as for Ctrl-C."""


@contextlib.contextmanager
def heeding_sigterm() -> Iterator[None]:
    """SIGTERM raises `Terminated` in the main thread, so that what was begun is put away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code(error: errors.SurgeError) -> int:
    """The exit code of an error, by its place in the tree."""
    return next((code for kind, code in _CODE_OF if isinstance(error, kind)), 70)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error in a task group that says most: ours before others, depth first."""
    flat: list[BaseException] = []
    for member in group.exceptions:
        flat.append(_first_error(member) if isinstance(member, BaseExceptionGroup) else member)
    return next((member for member in flat if isinstance(member, errors.SurgeError)), flat[0])


def left_open(record: logging.LogRecord) -> bool:
    """A filter of the log: connections that a second Ctrl-C left open end with the process, and nobody needs to know."""
    return not record.getMessage().startswith("Unclosed ")


def run_command(command: click.Command, args: Sequence[str] | None = None) -> int:
    """Run a click command and return the process's exit code; every error of ours becomes one line and a code."""
    try:
        result = command.main(args=list(args) if args is not None else None, prog_name="surge", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as wrong:
        wrong.show()
        if isinstance(wrong, click.NoSuchOption) and wrong.ctx is not None and not wrong.option_name.startswith("--"):
            _hint_at_dashes(wrong.ctx)
        return 2
    except (click.Abort, KeyboardInterrupt) as stop:
        terminated = isinstance(stop.__cause__ or stop, Terminated)
        err.print("terminated" if terminated else "interrupted")
        return 143 if terminated else 130
    except BrokenPipeError:
        drop_standard_output()
        return 0
    except BaseExceptionGroup as group:
        return _explain(_first_error(group))
    except errors.SurgeError as error:
        return _explain(error)


def _hint_at_dashes(ctx: click.Context) -> None:
    """An option that there is not may have been meant as a name, where the command takes one."""
    for each in ctx.command.params:
        if isinstance(each, click.Argument):
            said = each.make_metavar(ctx).strip("[]")
            err.print(f"A name that begins with a dash comes after --: `{ctx.command_path} -- {said}`", markup=False, soft_wrap=True)
            return


def _explain(error: BaseException) -> int:
    """Print an error for people and return its exit code; what is not ours is a bug and keeps its traceback."""
    if not isinstance(error, errors.SurgeError):
        raise error
    err.print(f"error: {in_options(in_tokens(str(error)))}", style="red", markup=False, soft_wrap=True)
    return exit_code(error)


def print_json(value: Any) -> None:
    """One JSON document on standard output; bytes are written as 0x-hex."""
    json.dump(value, sys.stdout, default=_plain, indent=2)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)


def local_time(seconds: float) -> str:
    """A time in Unix seconds, as JSON has it, for people: on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def brief_time(seconds: float) -> str:
    """The same for tables: in the short form, without the year, where the terminal is narrow."""
    return local_time(seconds) if out.width >= WIDE else time.strftime("%m-%d %H:%M", time.localtime(seconds))


def tokens(amount: int) -> str:
    """An amount in wei as SURGE, exactly as far as six decimals go."""
    whole, part = divmod(abs(amount), 10**18)
    text = f"{whole:,}.{part // 10**12:06d}".rstrip("0").rstrip(".")
    if part and text.replace(",", "") == str(whole):
        text = f"{whole:,}.{part:018d}".rstrip("0")
    return f"{'-' if amount < 0 else ''}{text} SURGE"


def brief_tokens(amount: int) -> str:
    """The same for people who look, and copy nothing: of amounts too small for six decimals, three digits that count.

    >>> brief_tokens(15 * 10**17), brief_tokens(288 * 10**6)
    ('1.5 SURGE', '2.88e-10 SURGE')
    """
    return tokens(amount) if abs(amount) >= 10**12 or not amount else f"{amount / 10**18:.3g} SURGE"


def in_tokens(text: str) -> str:
    """A message for people: amounts in it that are in wei, as programs have them, in SURGE.

    >>> in_tokens("it holds 1500000000000000000 wei of SURGE")
    'it holds 1.5 SURGE'
    """
    return re.sub(r"\b([0-9]{1,78}) wei\b(?: of SURGE)?", lambda found: tokens(int(found[1])), text)


_OPTIONS = {"output": "max-output", "max_price": "max-price", "packages": "package", "files": "file", "providers": "provider"}
"""Options of the command line that are called otherwise than Python's."""

_PYTHON_OPTION = re.compile(
    r"\b(budget|chunk|deadline|files|fuel|max_price|memory|output|packages|providers|region|seed|timeout)=(?=[\s,.;:)]|$)"
)
"""An option as our messages name it in Python: nothing is assigned to it."""


def in_options(text: str) -> str:
    """A message for people: Python's options in it as the command line calls them.

    >>> in_options("it ran out of fuel: raise fuel=, or ask for less with memory= and output=")
    'it ran out of fuel: raise --fuel, or ask for less with --memory and --max-output'
    """
    return _PYTHON_OPTION.sub(lambda found: "--" + _OPTIONS.get(found[1], found[1]), text)


def parse_tokens(text: str) -> int:
    """An amount in SURGE (`1.5`) or in wei (`1500wei`) as wei, without passing through a float."""
    whole, _, part = text.partition(".")
    try:
        if text.endswith("wei") and text[:-3].isdecimal():
            return int(text[:-3])
        if (whole + part).isdecimal() and len(part) <= 18:
            return int(whole or "0") * 10**18 + int(part.ljust(18, "0"))
    except ValueError as error:  # more digits than Python converts
        raise click.BadParameter(f"{text[:20]}... is no amount") from error
    raise click.BadParameter(f"{text!r} is no amount: write 1.5 (SURGE, at most 18 decimals) or 1500wei")


class Amount(click.ParamType[int]):
    """A click type for amounts of SURGE."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The amount in wei."""
        return value if isinstance(value, int) else parse_tokens(value)


class Fuel(click.ParamType[int]):
    """A click type for fuel: `500M`, `20G`, `1000000`; k, M, G, T are powers of 1000."""

    name = "fuel"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The fuel as a whole number."""
        if isinstance(value, int):
            return value
        scale = {"K": 3, "M": 6, "G": 9, "T": 12}.get(value[-1:].upper(), 0)
        try:
            fuel = int(float(value[:-1]) * 10**scale) if scale else int(value)
        except (ValueError, OverflowError):
            fuel = 0
        if not 0 < fuel < 1 << 63:
            self.fail(f"{value!r} is no fuel: write 500M or 20G", param, ctx)
        return fuel


class Size(click.ParamType[int]):
    """A click type for sizes in bytes: `512M`, `4G`, `1048576`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes; K, M, G are powers of 1024."""
        if isinstance(value, int):
            return value
        text = value.strip().upper().removesuffix("B").removesuffix("I")
        scale = {"K": 10, "M": 20, "G": 30, "T": 40}.get(text[-1:], 0)
        try:
            size = int(float(text[:-1]) * (1 << scale)) if scale else int(text)
        except (ValueError, OverflowError):
            size = -1
        if not 0 <= size < 1 << 63:
            self.fail(f"{value!r} is no size: write 512M or 4G", param, ctx)
        return size
