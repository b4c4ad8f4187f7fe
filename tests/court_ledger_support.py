"""A court on anvil, with everybody whom a case needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ledger_support import COIN, Chain
from surge.core.court import EMBEDDED, Answer, Filing
from surge.core.keccak import keccak256
from surge.core.log import ReceiptLog
from surge.core.pricing import Prices
from surge.core.receipts import Acknowledgement, DeviceConsent, Receipt, Signed, Terms, Voucher
from surge.core.types import ZERO
from surge.wallet import KeySigner

ENGINE = b"\x0e" * 32
LIMIT = 10**11
TRUE = Answer(b"\x01" * 32, 7 * 10**9, b"\x11" * 32)
FALSE = Answer(b"\x02" * 32, 8 * 10**9, b"\x22" * 32)
SECRET = keccak256(b"secret")
SALT = keccak256(b"salt")
PRICE = 10**15


@dataclass
class Dispute:
    """A recorded receipt, its parties, and jurors who sit."""

    chain: Chain
    buyer: KeySigner
    operator: KeySigner
    device: KeySigner
    links: list[bytes]
    signed: Signed
    terms: Terms
    terms_signature: bytes
    path: list[bytes]
    jurors: dict[str, KeySigner]

    async def open(self, jurors: int = 5, **changes: Any) -> int:
        """Open the case that the buyer has."""
        return await self.chain.ledger.court.open(self.buyer, replace(self.filing(jurors), **changes))

    def filing(self, jurors: int = 5) -> Filing:
        """What the buyer opens it with."""
        return Filing(
            signed=self.signed, terms=self.terms, terms_signature=self.terms_signature, path=self.path,
            accepted=True, amount=self.signed.receipt.amount, index=0,
            result=TRUE.result, fuel=TRUE.fuel, memory=1 << 20, fuel_limit=LIMIT,
            jurors=jurors, worth=EMBEDDED.max_worth(LIMIT, jurors), secret=SECRET,
        )  # fmt: skip

    def link(self, ordinal: int) -> bytes:
        """The accused's link of an ordinal."""
        return self.links[-1 - ordinal]


async def wait(chain: Chain, seconds: int) -> None:
    """Let so many seconds go by on the chain."""
    await chain.ledger._endpoints.call("evm_increaseTime", seconds)
    await chain.ledger._endpoints.call("evm_mine")


async def dispute(chain: Chain, jurors: int) -> Dispute:
    """Seat so many jurors, bond an operator, and record a receipt of its device that is wrong."""
    ledger = chain.ledger
    sitting = {}
    for number in range(jurors):
        who = await chain.buyer(tokens=EMBEDDED.seat_stake)
        await ledger.bonds.stake(who, who.address, EMBEDDED.seat_stake)
        await ledger.court.enlist(who, seats=1, engines=[ENGINE], memory=1 << 30, fuel_cap=LIMIT, key=keccak256(b"%d" % number))
        sitting[who.address] = who
    buyer, operator = await chain.buyer(), await chain.buyer()
    device, session = KeySigner.random(), KeySigner.random()
    links = [keccak256(b"chain")]
    for _ in range(4):
        links.append(keccak256(links[-1]))
    await ledger.bonds.stake(operator, operator.address, 20 * COIN)
    await ledger.bonds.set_anchor(operator, links[-1])
    consent = DeviceConsent(operator.address, device.address, 0).digest(chain.network.registry_domain)
    await ledger.register_device(operator, device.address, "", device.sign(consent))
    channel = await ledger.open_channel(
        buyer,
        provider=operator.address,
        device=device.address,
        session_key=session.address,
        amount=COIN,
        floor=0,
        challenge_seconds=60,
    )
    domain = chain.network.channels_domain
    receipt = Receipt(1, device.address, buyer.address, channel, 0, b"a" * 32, FALSE.result, FALSE.fuel, PRICE, 5)
    digest = receipt.digest(domain)
    log = ReceiptLog([Acknowledgement(channel, 0, digest, True, PRICE).digest(domain)])
    voucher = Voucher(channel, PRICE, 1, log.root())
    await ledger.redeem(buyer, [(voucher, session.sign(voucher.digest(domain)))])
    terms = Terms(channel, ZERO, b"\x05" * 32, ENGINE, Prices(1, 1, 1, 1, 10**9), 1, 60, 60)
    signed = Signed(receipt, device.sign(digest))
    return Dispute(chain, buyer, operator, device, links, signed, terms, device.sign(terms.digest(domain)), log.inclusion(0), sitting)
