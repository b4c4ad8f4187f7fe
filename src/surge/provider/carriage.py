"""The relay's service: it is paid by the byte for what it carries, by the devices that it serves.

A device calls `settle` with its own, signed count; the receipt bills what `core.carriage` makes of it and of the relay's. Whoever owes
more than its window is carried no further until it has paid, and is told why. How devices stand is on disk, so that a restart forgives
nothing; what was carried in the last seconds before a kill is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from surge.core import canonical
from surge.core import carriage as rules
from surge.core.carriage import Owing
from surge.core.messages import Settled, decode_settle, encode_body
from surge.core.pricing import transfer_amount
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.signing import check_signed
from surge.core.types import MEGA, ZERO, Address
from surge.errors import Unavailable
from surge.provider.service import Claim, Context, Description, Order, Refused, Reply, Weight
from surge.store import Database

log = logging.getLogger("surge.provider")

SERVICE = "relay"
"""What offers of relays, and calls to them, name the service by."""

ENGINE = canonical.digest(["surge relay", 1])
"""Stands in offers and terms where others name what units run on: a relay runs none."""

LOOK_SECONDS = 1.0
"""Between looks at what was carried."""

KEPT_SECONDS = 7 * 86400
"""What a device owes that never paid is forgotten after so long: it is less than a free window."""

SCHEMA = (
    """
    CREATE TABLE devices (
        address TEXT PRIMARY KEY, carried INTEGER NOT NULL, owed INTEGER NOT NULL, paid INTEGER NOT NULL, host TEXT NOT NULL,
        seen INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE channels (id BLOB PRIMARY KEY, device TEXT NOT NULL) WITHOUT ROWID;
    """,
)


class Relay(Protocol):
    """The relay that carries, as `surge.relay.server.RelayServer` is one."""

    @property
    def identity(self) -> Address:
        """Its address, and the key that signs its receipts."""
        ...

    async def count(self) -> None:
        """Read the counters now. Raises `Unavailable`."""
        ...

    def take_carried(self) -> Mapping[Address, int]:
        """Bytes carried for each device since the last time."""
        ...

    def host_of(self, address: Address) -> str:
        """The network host that an address is logged in from."""
        ...

    async def stop_carrying(self, address: Address, why: str) -> None:
        """Carry nothing for it but what goes to the relay itself."""
        ...

    async def carry_again(self, address: Address) -> None:
        """Carry everything again."""
        ...


@dataclass(slots=True)
class _Device:
    owing: Owing
    host: str
    seen: int


class Carriage:
    """The service. It looks at the relay from `start` to `close`.

    Args:
        relay: what carries.
        data: the file of how devices stand.
        price: wei for 10^9 bytes, as the offer says; for what devices are told.
    """

    name = SERVICE

    def __init__(self, relay: Relay, data: Path, price: int) -> None:
        self.stopped: dict[Address, str] = {}
        """For whom nothing is carried now, and why."""
        self._relay = relay
        self._price = price
        self._db = Database(data, SCHEMA, exclusive=True)
        self._devices: dict[Address, _Device] = {}
        self._channels: dict[bytes, Address] = {}
        self._claims: dict[bytes, tuple[Claim, Settled]] = {}
        """What was billed and not answered, by subject: asked again, it is billed the same."""
        self._changed: set[Address] = set()
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    # Life

    async def start(self) -> None:
        """See `Service`."""
        before = int(time.time()) - KEPT_SECONDS
        await self._db.write(lambda c: c.execute("DELETE FROM devices WHERE paid = 0 AND seen < ?", (before,)))
        for address, carried, owed, paid, host, seen in await self._db.read(lambda c: c.execute("SELECT * FROM devices").fetchall()):
            self._devices[Address(address)] = _Device(Owing(carried, owed, paid), host, seen)
        self._channels = dict(await self._db.read(lambda c: c.execute("SELECT id, device FROM channels").fetchall()))
        await self.look()
        self._looking = asyncio.create_task(self._run(), name="looking at what is carried")

    async def close(self) -> None:
        """See `Service`."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            await self.look()
        await asyncio.to_thread(self._db.close)

    def describe(self) -> Description:
        """See `Service`."""
        return Description(engine=ENGINE, engine_label=SERVICE, speed=1)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            self._news.clear()
            try:
                await self.look()
            except Unavailable as error:
                log.warning("how devices stand cannot be written: %s", error)

    # How devices stand

    def owing(self, device: Address) -> Owing:
        """How a device stands."""
        known = self._devices.get(device)
        return Owing() if known is None else known.owing

    def _set(self, device: Address, owing: Owing) -> None:
        known = self._devices.setdefault(device, _Device(Owing(), "", 0))
        known.owing, known.seen = owing, int(time.time())
        known.host = self._relay.host_of(device) or known.host
        self._changed.add(device)

    async def look(self) -> None:
        """Count what was carried, stop carrying for who owes too much, carry again for who has paid; all of it on disk."""
        self._count()
        full = self._full_hosts()
        for device, known in list(self._devices.items()):
            why = self._why_stopped(known, full)
            if why and device not in self.stopped:
                log.warning("nothing more is carried for %s: %s", device, why)
                self.stopped[device] = why
                await self._relay.stop_carrying(device, why)
            elif not why and self.stopped.pop(device, ""):
                log.info("%s has paid, and is carried again", device)
                await self._relay.carry_again(device)
        changed, self._changed = self._changed, set()
        rows = [(device, *_row(self._devices[device])) for device in changed]
        if rows:
            await self._db.write(lambda c: c.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?)", rows))

    def _count(self) -> None:
        for device, size in self._relay.take_carried().items():
            self._set(device, rules.carried(self.owing(device), size))

    def _full_hosts(self) -> set[str]:
        hosts: dict[str, list[Owing]] = {}
        for known in self._devices.values():
            hosts.setdefault(known.host, []).append(known.owing)
        return {host for host, owings in hosts.items() if rules.host_is_full(owings)}

    def _why_stopped(self, known: _Device, full: set[str]) -> str:
        """In words for the device's owner; empty where there is no reason."""
        owing = known.owing
        if owing.over:
            unpaid, window = f"{owing.unpaid / MEGA:.1f} MB", f"{owing.window / MEGA:.1f} MB"
            price = f"a gigabyte costs {self._price} wei of SURGE"
            return (
                f"it carried {unpaid} for this device that are not paid, and carries {window} unpaid; {price}. It goes on once that is paid"
            )
        if known.host in full and not owing.paid:
            return f"many devices at {known.host or 'your address'} owe it and never paid; it carries for this one once it has paid"
        return ""

    # Settling

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        """See `Service`. A statement is its device's; a channel pays for one device."""
        if method != "settle":
            raise Refused("unknown", f"a relay has no method {method!r}: it has settle")
        settle = decode_settle(body)
        device = Address(settle.device)
        about = rules.subject(self._relay.identity, device, context.channel, settle.period)
        check_signed(rules.statement_digest(about, settle.claim), settle.signature, device, "a statement of what was carried")
        if self._channels.setdefault(context.channel, device) != device:
            raise Refused("invalid", f"the channel pays for {self._channels[context.channel]}, not for {device}")
        return _Settle(self, device, about, settle.claim, context)

    async def settle(self, device: Address, about: bytes, claim: int, context: Context) -> Reply:
        """Bill a period, once."""
        if about not in self._claims:
            await self._relay.count()
            self._count()
            counted_here = self.owing(device).carried
            owing, billed = rules.stated(self.owing(device), claim)
            self._set(device, owing)
            amount = transfer_amount(context.prices(ZERO), billed)
            said = Settled(counted_here, owing.unpaid, owing.window)
            self._claims[about] = Claim(ReceiptKind.RELAY, about, rules.result(about, counted_here), billed, amount), said
            row, channel = _row(self._devices[device]), (context.channel, device)

            def keep(c: sqlite3.Connection) -> None:
                c.execute("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?)", (device, *row))
                c.execute("INSERT OR IGNORE INTO channels VALUES (?, ?)", channel)

            await self._db.write(keep)
        billing, said = self._claims[about]
        return Reply(encode_body(said), billing)

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        """See `Service`."""
        self._claims.pop(receipt.subject, None)
        device = self._channels.get(receipt.channel)
        if receipt.kind == ReceiptKind.RELAY and device is not None:
            self._set(device, rules.answered(self.owing(device), receipt.quantity, accepted=accepted))
            self._news.set()


class _Settle:
    """An order to settle. See `Order`."""

    weight = Weight.UNIT
    job = ZERO
    begun = True
    lasting = False

    def __init__(self, carriage: Carriage, device: Address, about: bytes, claim: int, context: Context) -> None:
        self.subject: bytes | None = about
        self._carriage = carriage
        self._asked = device, about, claim, context

    async def run(self) -> Reply:
        """See `Order`."""
        device, about, claim, context = self._asked
        try:
            return await self._carriage.settle(device, about, claim, context)
        except Unavailable as error:
            raise Refused("storage", error.message) from error


def _row(known: _Device) -> tuple[int, int, int, str, int]:
    owing = known.owing
    return owing.carried, owing.owed, owing.paid, known.host, known.seen
