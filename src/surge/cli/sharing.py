"""`surge share`, `unshare`, `accept`: stored files for other people."""

from __future__ import annotations

import click

from surge.cli.console import err, out
from surge.cli.options import network_option, opened
from surge.cli.progress import bytes_progress


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("address", metavar="[ADDRESS]", default=None, required=False)
@click.option("--to-key", default=None, metavar="KEY", help="The key that they handed over, instead of the one they published.")
@network_option
def share(name: str, address: str | None, to_key: str | None, network: str | None) -> None:
    """Give a person, by its wallet's ADDRESS, the key of something stored; prints the link by which it takes it.

    The link is no secret: it opens nothing without their wallet. What gets the name later is theirs to read too, until `surge unshare`.
    """
    if address is None and to_key is None:
        raise click.UsageError("say with whom: an ADDRESS, or --to-key KEY")
    with opened(network) as surge:
        link = surge.files.share(name, address, key=to_key)
    out.print(link, markup=False, soft_wrap=True)
    err.print("they take it with `surge accept LINK`", markup=False, soft_wrap=True)


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("address", metavar="ADDRESS")
@network_option
def unshare(name: str, address: str, network: str | None) -> None:
    """Leave a person out of something stored from now on.

    It is put anew under fresh keys, which those who are still let in are told; the old shards are dropped. This costs what a put costs.
    """
    with opened(network) as surge:
        size = surge.files.stat(name).size
        with bytes_progress(name, size) as told:
            stored = surge.files.unshare(name, address, told=told)
    err.print(f"{stored.name} has fresh keys, and {address} does not get them", markup=False, soft_wrap=True)
    err.print(
        "what they read or copied before, they have: nobody can take that back; nor the old shards of a holder that works with them",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )


@click.command()
@click.argument("link", metavar="[LINK]", default=None, required=False)
@click.argument("name", metavar="[NAME]", default=None, required=False)
@click.option("--publish", is_flag=True, help="Publish the key that others seal for, so that your address is enough.")
@click.option("--key", is_flag=True, help="Print that key, for somebody's `surge share --to-key`.")
@network_option
def accept(link: str | None, name: str | None, publish: bool, key: bool, network: str | None) -> None:
    """Take what somebody shared with you, by the LINK they sent; it gets NAME, or is called as they call it.

    Others can share with you once your wallet's key for that is known: --publish it, or hand over what --key prints. The first
    `surge put` publishes it too.
    """
    if not (link or publish or key):
        raise click.UsageError("say a LINK, or --publish, or --key")
    with opened(network, offline=not (link or publish)) as surge:
        if publish:
            surge.files.publish()
            err.print("published: others share with your wallet's address now", markup=False, soft_wrap=True)
        if key:
            out.print(surge.files.key(), markup=False, soft_wrap=True)
        if link:
            given = surge.files.accept(link, name)
            err.print(f"it is {given} here; `surge get` brings it", markup=False, soft_wrap=True)
