"""`surge audit`: what was checked."""

from __future__ import annotations

from dataclasses import asdict

import click

from surge.cli.console import err, local_time, out, print_json
from surge.cli.options import as_json, network_option, opened
from surge.cli.tables import show
from surge.core.text import counted


@click.group()
def audit() -> None:
    """What was checked of a job's results, and what came of it."""


@audit.command(name="show")
@click.argument("job_id", metavar="JOB")
@network_option
@as_json
def show_(job_id: str, network: str | None, json_: bool) -> None:
    """Who worked on a job, how many of its results were checked and why, and which were wrong.

    A check runs the unit again, here or on a device of another operator, and compares result and fuel. Newcomers are always checked, proven
    devices seldom, nobody never; a job's --certainty says how often that is.
    """
    with opened(network, offline=True) as surge:
        found = surge.audits(job_id)
    if json_:
        print_json(asdict(found))
        return
    rows = [
        {**each, "next": f"{each['chance']:.2%}", "doubt": f"{each['wrong_at_most']:.3%}", "provider": each["provider"][:12]}
        for each in found.devices
    ]
    out.print(f"certainty asked for: {found.certainty:.6g}", markup=False)
    show(rows, ["provider", "units", "checked", "wrong", "unsure", "next", "doubt"], as_json=False, empty="no units yet")
    for each in found.devices:
        out.print(f"{each['provider'][:12]}  {each['why']}", markup=False, soft_wrap=True)
    for each in found.wrong:
        items = "its setup" if not each["count"] else f"{counted(each['count'], 'item')} from {each['first']} on"
        what = "fuel" if each["claimed_result"] == each["found_result"] else "result"
        text = f"{local_time(each['time'])}  {each['provider'][:12]} gave a wrong {what} for {items}, found {each['how']}"
        out.print(f"{text}; receipt {each['receipt'][:12]}", style="red", markup=False, soft_wrap=True)
    if found.wrong:
        err.print("`surge dispute open RECEIPT` takes a wrong result to the court", style="dim", markup=False)
