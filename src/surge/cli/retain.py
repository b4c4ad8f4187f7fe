"""`surge retain`: devices held ready."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from surge.cli.console import Amount, err, tokens
from surge.cli.options import as_json, network_option, opened
from surge.cli.tables import show
from surge.core.text import counted
from surge.errors import Unavailable

LOOK_SECONDS = 0.5
"""Between looks at whether it was told to stop."""


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """Set by SIGTERM and Ctrl-C, which end a retainer in order instead of the command at once."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@click.argument("device", metavar="DEVICE")
@click.option("--hours", type=float, required=True, help="For how long at most.")
@click.option("--cores", default=1, show_default=True, type=click.IntRange(1, 4096), help="Cores to keep free.")
@click.option("--max-price", type=Amount(), default=None, help="Most SURGE for a core over an hour.")
@network_option
@as_json
def retain(device: str, hours: float, cores: int, max_price: int | None, network: str | None, json_: bool) -> None:
    """Have DEVICE, or as many devices as this number says, keep cores free for you.

    It is paid minute by minute while it answers, and ends after the hours, or at SIGTERM or Ctrl-C. Jobs go there with
    `--provider DEVICE`.
    """
    wanted: Any = int(device) if device.isdecimal() else device
    with opened(network) as surge, surge.retain(wanted, hours=hours, cores=cores, max_price=max_price) as held, stopping() as stop:
        for each in held.status():
            kept, price = counted(each.cores, "core"), tokens(each.price)
            err.print(f"{each.device} keeps {kept} free, each for {price} an hour", markup=False, soft_wrap=True)
        while not stop.is_set() and not held.wait(LOOK_SECONDS):
            pass
        early = [] if stop.is_set() else held.status()
        held.end()
        rows = [asdict(each) for each in held.status()]
    show(rows, ["device", "cores", "seconds", "paid", "ended"], as_json=json_, empty="nothing was held", money=["paid"])
    lost = [each for each in early if each.ended not in ("its time is over", "it was released")]
    if lost:
        raise Unavailable(f"{lost[0].device} holds its cores no more: {lost[0].ended}", device=lost[0].device)
