"""Offers: what a provider lends, at which prices, under which conditions; and choosing among them.

An offer is signed by its device over a digest that names the purpose and the network, so that it means nothing anywhere else. Its
bytes are canonical: an offer has one encoding, and its digest identifies it in terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from surge.core import canonical, reach
from surge.core.pricing import MAX_PRICE, TYPICAL_MEMORY, Prices, is_within, typical_amount
from surge.core.signing import SIGNATURE_SIZE, Signer, check_signed, personal_digest
from surge.core.types import Address, address
from surge.errors import InvalidInput, PeerFault

VERSION = 4
"""The version of the offer's format."""

MAX_OFFER = 8 << 10
"""Bytes of a signed offer: relays keep many."""

LIFETIME = 600
"""Seconds an offer may live: a device that vanished is forgotten in this time."""

SKEW = 60
"""Seconds a device's clock may be ahead."""

MAX_WINDOW = 1024
"""Units: the largest window an offer may promise."""

_PURPOSE = b"surge offer\n"


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider's statement."""

    network: bytes
    """32 bytes: the network's id."""
    device: Address
    """Who works, and signs."""
    operator: Address
    """Who is paid. The registry says whether the device is its."""
    sequence: int
    """Rises with every offer of the device, across restarts."""
    issued: int
    """Unix seconds."""
    expires: int
    """Unix seconds; at most `LIFETIME` after `issued`."""
    prices: Prices
    """What things cost."""
    cores: int
    """Units that run at once."""
    memory: int
    """Bytes lent."""
    engine: bytes
    """32 bytes: the engine units run on."""
    engine_label: str
    """The engine's name for people."""
    images: tuple[bytes, ...]
    """Images that are compiled already, 32 bytes each."""
    services: tuple[str, ...]
    """Services hosted."""
    region: str
    """Where the device says it is; empty if it does not say."""
    milliwatts: int
    """Power the device says it draws at work; 0 if it does not say."""
    relays: tuple[str, ...]
    """URLs of relays it is connected to."""
    window: int
    """Units that may be in flight for a buyer it does not know."""
    window_max: int
    """Units that a window grows to."""
    offline_seconds: int
    """It may be away this long: a channel's challenge period is no shorter."""
    audit_seconds: int
    """A receipt unacknowledged for longer counts as refused."""
    opening: int
    """Wei: the least floor of a channel."""
    retainer: int = 0
    """Wei for a core kept free over an hour; 0 if that is not offered."""
    storage: int = 0
    """Wei for a gigabyte kept over 30 days; 0 if that is not offered."""
    room: int = 0
    """Bytes that are free for shards."""
    direct: str = ""
    """Where the device is reached without a relay, as `reach.parse` takes it; empty where it is not."""

    def __post_init__(self) -> None:
        if type(self.issued) is not int or type(self.window) is not int:
            raise InvalidInput("an offer's time of issue and window are integers", field="issued")
        for name, low, high in (
            ("sequence", 0, (1 << 63) - 1),
            ("issued", 0, 1 << 40),
            ("expires", self.issued + 1, self.issued + LIFETIME),
            ("cores", 1, 4096),
            ("memory", 1 << 20, 1 << 50),
            ("milliwatts", 0, 10**9),
            ("window", 1, MAX_WINDOW),
            ("window_max", self.window, MAX_WINDOW),
            ("offline_seconds", 1, 365 * 86400),
            ("audit_seconds", 1, 365 * 86400),
            ("opening", 0, 10**36),
            ("retainer", 0, MAX_PRICE),
            ("storage", 0, MAX_PRICE),
            ("room", 0, 1 << 60),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidInput(f"an offer's {name} is {value!r}, not between {low} and {high}", field=name)
        hashes = (self.network, self.engine, *self.images)
        texts = (self.engine_label, self.region, *self.services, *self.relays)
        if any(type(each) is not bytes or len(each) != 32 for each in hashes) or len(self.images) > 64:
            raise InvalidInput("an offer's network, engine or images are not 32 bytes each, at most 64 images")
        if any(type(each) is not str or len(each) > 256 or not each.isprintable() for each in texts):
            raise InvalidInput("an offer's texts are printable and at most 256 characters long")
        if len(self.services) > 32 or not 1 <= len(self.relays) <= 16:
            raise InvalidInput("an offer names at most 32 services and between 1 and 16 relays")
        if self.direct != "":
            reach.parse(self.direct)

    @property
    def engines(self) -> tuple[bytes, ...]:
        """The engines it has: one, in this version."""
        return (self.engine,)

    def encode(self) -> bytes:
        """Canonical bytes."""
        return canonical.encode(
            [
                VERSION,
                self.network,
                self.device,
                self.operator,
                self.sequence,
                self.issued,
                self.expires,
                self.prices.fields(),
                self.cores,
                self.memory,
                self.engine,
                self.engine_label,
                self.images,
                self.services,
                self.region,
                self.milliwatts,
                self.relays,
                self.window,
                self.window_max,
                self.offline_seconds,
                self.audit_seconds,
                self.opening,
                self.retainer,
                self.storage,
                self.room,
                self.direct,
            ]
        )

    def digest(self) -> bytes:
        """What identifies the offer in terms, and what its device signs: 32 bytes."""
        return personal_digest(_PURPOSE + self.encode())


@dataclass(frozen=True, slots=True)
class SignedOffer:
    """An offer whose device's signature was checked."""

    offer: Offer
    """What is offered."""
    signature: bytes
    """65 bytes over the offer's digest."""

    def encode(self) -> bytes:
        """The bytes that travel: the signature, then the offer's canonical bytes."""
        return self.signature + self.offer.encode()


def sign(offer: Offer, signer: Signer) -> SignedOffer:
    """Sign an offer with its device's key."""
    if signer.address != offer.device:
        raise InvalidInput(f"{signer.address} cannot sign an offer of {offer.device}")
    return SignedOffer(offer, signer.sign(offer.digest()))


def decode(data: bytes, *, now: int | None = None, network: bytes | None = None) -> SignedOffer:
    """The offer in `data`, verified. Raises `PeerFault`.

    1. it is not oversized and its bytes are canonical, of this version and within bounds;
    2. its device signed it;
    3. with `now` (Unix seconds): it has not expired and is not from the future;
    4. with `network`: it is for that network.
    """
    # 1
    if not SIGNATURE_SIZE < len(data) <= MAX_OFFER:
        raise PeerFault(f"an offer of {len(data)} bytes is truncated or oversized", size=len(data))
    body = bytes(data[SIGNATURE_SIZE:])
    try:
        offer = _parse(body)
    except InvalidInput as error:
        raise PeerFault(f"an offer cannot be read: {error}", data=body[:256]) from error
    # 2
    signature = bytes(data[:SIGNATURE_SIZE])
    check_signed(offer.digest(), signature, offer.device, "an offer")
    # 3
    if now is not None and offer.expires <= now:
        raise PeerFault(f"the offer of {offer.device} has expired", expires=offer.expires, now=now)
    if now is not None and offer.issued > now + SKEW:
        raise PeerFault(f"the offer of {offer.device} is from the future", issued=offer.issued, now=now)
    # 4
    if network is not None and offer.network != network:
        raise PeerFault(f"the offer of {offer.device} is for another network", network=offer.network)
    return SignedOffer(offer, signature)


def _parse(body: bytes) -> Offer:
    row = canonical.decode(body)
    if not isinstance(row, list) or not row or type(row[0]) is not int:
        raise InvalidInput("it is no array that begins with a version")
    if row[0] != VERSION:
        raise InvalidInput(f"it is of version {row[0]}; this program knows version {VERSION}")
    if len(row) != 26:
        raise InvalidInput(f"it has {len(row)} fields, not 26")
    prices, images, services, relays = row[7], row[12], row[13], row[16]
    if any(type(each) is not list for each in (prices, images, services, relays)):
        raise InvalidInput("a field that is a list is none")
    if len(prices) != 5 or any(type(each) is not int for each in prices):
        raise InvalidInput("prices are five integers")
    device, operator = address(row[2]), address(row[3])
    if (device, operator) != (row[2], row[3]):
        raise InvalidInput("addresses are in lower case")
    return Offer(
        network=row[1],
        device=device,
        operator=operator,
        sequence=row[4],
        issued=row[5],
        expires=row[6],
        prices=Prices(*prices),
        cores=row[8],
        memory=row[9],
        engine=row[10],
        engine_label=row[11],
        images=tuple(images),
        services=tuple(services),
        region=row[14],
        milliwatts=row[15],
        relays=tuple(relays),
        window=row[17],
        window_max=row[18],
        offline_seconds=row[19],
        audit_seconds=row[20],
        opening=row[21],
        retainer=row[22],
        storage=row[23],
        room=row[24],
        direct=row[25],
    )


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a buyer asks of a provider. None or empty means: no matter."""

    service: str = "compute"
    """The service wanted."""
    max_price: int | None = None
    """Wei for a gigafuel, in a unit of `memory` that costs little more than its fuel (`pricing.is_within`)."""
    region: str | None = None
    """The region as offers state it."""
    providers: frozenset[Address] = frozenset()
    """Only these devices or operators."""
    excluded: frozenset[Address] = frozenset()
    """None of these devices or operators: they broke the protocol before."""
    memory: int = 0
    """Bytes a unit needs."""
    engines: frozenset[bytes] = frozenset()
    """Only these engines."""
    max_opening: int | None = None
    """Wei: the most a channel's floor may be."""
    relays: frozenset[str] = frozenset()
    """Relays the buyer can reach: one must be shared."""

    def tests(self) -> Mapping[str, Callable[[Offer], bool]]:
        """Each constraint's name and what it asks of an offer, in the order they are applied."""
        return {
            "service": lambda offer: self.service in offer.services,
            "providers": lambda offer: not self.providers or bool(self.providers & {offer.device, offer.operator}),
            "excluded": lambda offer: not self.excluded & {offer.device, offer.operator},
            "region": lambda offer: self.region is None or offer.region == self.region,
            "max_price": lambda offer: self.max_price is None or is_within(offer.prices, self.max_price, self.memory or TYPICAL_MEMORY),
            "memory": lambda offer: offer.memory >= self.memory,
            "engines": lambda offer: not self.engines or offer.engine in self.engines,
            "max_opening": lambda offer: self.max_opening is None or offer.opening <= self.max_opening,
            "relays": lambda offer: not self.relays or bool(self.relays & set(offer.relays)),
        }


@dataclass(frozen=True, slots=True)
class Match:
    """Which offers pass, and what excluded the others."""

    chosen: tuple[SignedOffer, ...]
    """Offers that pass every constraint, in the order given."""
    excluded: Mapping[str, int] = field(default_factory=dict)
    """How many offers each constraint excluded; an offer counts for the first that it fails."""

    def explain(self) -> str:
        """What happened, for people."""
        total = len(self.chosen) + sum(self.excluded.values())
        if not total:
            return "no provider offers anything here now"
        reasons = ", ".join(f"{name} excluded {count}" for name, count in self.excluded.items())
        return f"{len(self.chosen)} of {total} offers pass" + (f": {reasons}" if reasons else "")


def excluded_by(offer: Offer, constraints: Constraints) -> str | None:
    """The first constraint that the offer fails; None if it passes them all."""
    return next((name for name, test in constraints.tests().items() if not test(offer)), None)


def match(offers: Iterable[SignedOffer], constraints: Constraints) -> Match:
    """The offers that pass, and how many each constraint excluded."""
    chosen: list[SignedOffer] = []
    excluded: dict[str, int] = {}
    for signed in offers:
        failed = excluded_by(signed.offer, constraints)
        if failed is None:
            chosen.append(signed)
        else:
            excluded[failed] = excluded.get(failed, 0) + 1
    return Match(tuple(chosen), excluded)


def cheapest(offers: Sequence[SignedOffer], memory: int = TYPICAL_MEMORY) -> list[SignedOffer]:
    """Offers by what a typical unit with so much memory costs, then by speed: the order in which a buyer that knows no more tries them."""
    return sorted(offers, key=lambda each: (typical_amount(each.offer.prices, memory), -each.offer.prices.speed, each.offer.device))
