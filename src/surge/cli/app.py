"""The `surge` command and its groups; each subcommand's module is imported only when it is called."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

import click

from surge.cli.console import EXIT_CODES

COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("surge.cli.up:up", "Start a whole network on this machine: ledger, relays, providers, jurors."),
    "demo": ("surge.cli.demo:demo", "Start a network, run a real job on it, and check a receipt."),
    "map": ("surge.cli.jobs:map_", "Run FILE.py:FUNCTION over the lines of a JSONL file."),
    "check": ("surge.cli.check:check", "Run FILE.py:FUNCTION on one item here, for nothing; say what it would cost."),
    "run": ("surge.cli.jobs:run", "Run a WASI command module: stdin in, stdout out."),
    "job": ("surge.cli.jobs:job", "List, show, resume, cancel jobs; read their logs."),
    "audit": ("surge.cli.audits:audit", "What was checked of a job's results, and what came of it."),
    "retain": ("surge.cli.retain:retain", "Have a device keep cores free for you."),
    "put": ("surge.cli.files:put", "Store a file or a folder, sealed, on devices that nobody has to trust."),
    "get": ("surge.cli.files:get", "Get a stored file or folder."),
    "ls": ("surge.cli.files:ls", "List what is stored."),
    "stat": ("surge.cli.files:stat", "What a name stands for, where it is, what it costs."),
    "mv": ("surge.cli.files:mv", "Give something stored another name."),
    "rm": ("surge.cli.files:rm", "Remove something stored: destroy its key, have its shards dropped."),
    "share": ("surge.cli.sharing:share", "Give a person the key of something stored."),
    "unshare": ("surge.cli.sharing:unshare", "Leave a person out of something stored from now on."),
    "accept": ("surge.cli.sharing:accept", "Take what somebody shared with you."),
    "storage": ("surge.cli.keeping:storage", "How what you stored is kept: audits, pay, repairs, who else does it."),
    "provide": ("surge.cli.roles:provide", "Lend this device and earn."),
    "provider": ("surge.cli.providers:provider", "Who lends, for how much, how each stands with you, and why."),
    "relay": ("surge.cli.roles:relay", "Let devices behind NAT be reached."),
    "ledger": ("surge.cli.roles:ledger", "Run the embedded ledger (anvil) for one machine."),
    "wallet": ("surge.cli.money:wallet", "Make keys, see balances, send tokens."),
    "channel": ("surge.cli.money:channel", "List, open and close payment channels."),
    "earnings": ("surge.cli.money:earnings", "What a provider has earned, and why it waits."),
    "stake": ("surge.cli.staking:stake", "Stake as an operator, or see what you have staked."),
    "unstake": ("surge.cli.staking:unstake", "Begin to take stake out."),
    "delegate": ("surge.cli.staking:delegate", "Stake behind an operator: share its pay and its slashes."),
    "claim": ("surge.cli.staking:claim", "Take what stake earned, and what has left and is ready."),
    "receipt": ("surge.cli.receipts:receipt", "List, show, export, verify and replay receipts."),
    "dispute": ("surge.cli.disputes:dispute", "Dispute receipts before the court."),
    "network": ("surge.cli.networks:network", "Deploy a network's contracts, look at one and its offers, trust one."),
    "simulate": ("surge.cli.simulations:simulate", "Simulate the network's economy and storage over years."),
    "doctor": ("surge.cli.doctor:doctor", "What this machine lacks, and the command that mends it."),
    "completion": ("surge.cli.doctor:completion", "Print the line that switches on completion in your shell."),
}
"""Every command: where it is written, and what it does."""


class Lazy(click.Group):
    """A group whose commands are imported when they are called or completed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


_CODES = "Exit codes:\n\n\b\n" + "\n".join(f"  {code:>3}  {text}" for code, text in EXIT_CODES.items())


@click.command(cls=Lazy, epilog=_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="depin-surge", prog_name="surge")
@click.option("--no-direct", is_flag=True, help="Reach devices through relays only: they do not see this machine's address.")
def surge(no_direct: bool) -> None:
    """Run your Python over your data on devices that nobody has to trust, or lend a device and earn."""
    if no_direct:
        os.environ["SURGE_DIRECT"] = "no"
