"""A court under test: a fresh set of contracts with jurors, an accused, and receipts to dispute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from contracts_support import BUYER, DEVICE, OPERATOR, OWNER, SESSION, Place, boa, key, rich
from surge.core import court as rules
from surge.core.court import UNAVAILABLE as UNAVAILABLE
from surge.core.court import Answer, CourtParameters, Enlistment
from surge.core.keccak import keccak256
from surge.core.log import ReceiptLog
from surge.core.pricing import Prices
from surge.core.receipts import Acknowledgement, DeviceConsent, Receipt, Terms, Voucher
from surge.core.types import ZERO, address
from surge.wallet import KeySigner

ETHER = 10**18
GIGA = 10**9

PARAMETERS = CourtParameters(
    answer_seconds=100,
    draw_seconds=110,
    commit_seconds=120,
    reveal_seconds=130,
    extend_seconds=140,
    max_claim_age=1_000,
    fuel_per_second=10 * GIGA,
    max_fuel=500 * GIGA,
    opener_bond=ETHER,
    seat_stake=10 * ETHER,
    base_fee=ETHER // 10,
    gigafuel_fee=ETHER // 1_000,
)

ENGINE = b"\x0e" * 32
LIMIT = 100 * GIGA
FEE = PARAMETERS.fee(LIMIT)
SECRET, OTHER_SECRET, LAST_SECRET = (keccak256(name) for name in (b"secret", b"other secret", b"last secret"))
TRUE = Answer(b"\x01" * 32, 7 * GIGA, b"\x11" * 32)
FALSE = Answer(b"\x02" * 32, 8 * GIGA, b"\x22" * 32)
THIRD = Answer(b"\x03" * 32, 9 * GIGA, b"\x33" * 32)
LINKS = 120
JURORS = [key(1_000 + number) for number in range(80)]
PRICES = Prices(gigafuel=1, memory=1, transfer=1, compile=1, speed=GIGA)


@dataclass(frozen=True)
class Disputed:
    """A recorded receipt with its proof."""

    receipt: Receipt
    signature: bytes
    terms: Terms
    terms_signature: bytes
    accepted: bool
    index: int
    path: tuple[bytes, ...]

    def arguments(self, claim: tuple[Any, ...]) -> tuple[Any, ...]:
        """What `open` takes."""
        return (
            astuple(self.receipt),
            self.signature,
            terms_row(self.terms),
            self.terms_signature,
            self.accepted,
            self.receipt.amount if self.accepted else 0,
            self.index,
            list(self.path),
            claim,
        )


def terms_row(terms: Terms) -> tuple[Any, ...]:
    """Terms as the contract takes them."""
    return (
        terms.channel,
        terms.job,
        terms.offer,
        terms.engine,
        *terms.prices.fields(),
        terms.window,
        terms.audit_seconds,
        terms.offline_seconds,
    )


def claim(
    answer: Answer = TRUE,
    *,
    jurors: int = 5,
    worth: int = 2 * ETHER // 10,
    secret: bytes = SECRET,
    memory: int = 1 << 20,
    fuel_limit: int = LIMIT,
) -> tuple[Any, ...]:
    """What an opener claims."""
    return (answer.result, answer.fuel, memory, fuel_limit, jurors, worth, rules.secret_commitment(secret))


@dataclass
class Courthouse:
    """Contracts with a court."""

    place: Place
    court: Any
    links: list[bytes] = field(default_factory=list)
    log: ReceiptLog = field(default_factory=ReceiptLog)
    channel: bytes = b""
    redeemed: int = 0

    equivocations: Any = None

    @property
    def token(self) -> Any:
        return self.place.token

    @property
    def bonds(self) -> Any:
        return self.place.bonds

    def link(self, ordinal: int) -> bytes:
        """The accused's link of an ordinal."""
        return self.links[len(self.links) - 1 - ordinal]

    def bond(self, who: KeySigner, amount: int) -> None:
        """Stake behind oneself."""
        rich(self.place, who, tokens=amount)
        with boa.env.prank(who.address):
            self.bonds.stake(who.address, amount)

    def enlist(self, who: KeySigner, seats: int = 1, *, memory: int = 1 << 30, fuel_cap: int = LIMIT, engines: Any = (ENGINE,)) -> int:
        """Take seats, with the stake for them, and more where they cover no fine for so much fuel."""
        while PARAMETERS.covered(seats) < min(fuel_cap, PARAMETERS.max_fuel):
            seats += 1
        self.bond(who, seats * PARAMETERS.seat_stake)
        with boa.env.prank(who.address):
            return int(self.court.enlist(seats, list(engines), memory, fuel_cap, keccak256(who.address.encode())))

    def seat(self, count: int = 12) -> list[KeySigner]:
        """So many jurors, a seat each; some time passes."""
        for who in JURORS[:count]:
            self.enlist(who)
        boa.env.time_travel(seconds=10)
        return JURORS[:count]

    def accuse(self, bond: int = 20 * ETHER) -> None:
        """Have an operator with a bond, a device, a hash chain, and a channel."""
        self.links = [keccak256(b"chain")]
        for _ in range(LINKS):
            self.links.append(keccak256(self.links[-1]))
        if bond:
            self.bond(OPERATOR, bond)
        consent = DeviceConsent(OPERATOR.address, DEVICE.address, 0).digest(self.place.registry_domain)
        with boa.env.prank(OPERATOR.address):
            self.bonds.set_anchor(self.links[-1])
            self.place.registry.register_device(DEVICE.address, "", DEVICE.sign(consent))
        self.open_channel()
        with boa.env.prank(BUYER.address):
            self.token.approve(self.court.address, 2**256 - 1)

    def open_channel(self, salt: bytes = ZERO, *, device: KeySigner = DEVICE, provider: KeySigner = OPERATOR) -> None:
        """Open the buyer's channel."""
        with boa.env.prank(BUYER.address):
            self.channel = self.place.channels.open(provider.address, device.address, SESSION.address, 10 * ETHER, 0, 60, salt)
        self.log, self.redeemed = ReceiptLog(), 0

    def receipt(self, answer: Answer = FALSE, **changes: Any) -> Receipt:
        """A receipt of the accused's device."""
        number = self.log.size
        made = Receipt(
            1, DEVICE.address, BUYER.address, self.channel, number, keccak256(b"unit%d" % number), answer.result, answer.fuel, 100, 5
        )
        return replace(made, **changes)

    def record(
        self, receipt: Receipt, *, accepted: bool = True, signer: KeySigner = DEVICE, before: Callable[[], None] | None = None
    ) -> Disputed:
        """Put a receipt into the log and redeem it; or record it, if the channel was given up before."""
        digest = receipt.digest(self.place.domain)
        index = self.log.size
        row = Acknowledgement(receipt.channel, index, digest, accepted, receipt.amount if accepted else 0)
        self.log.append(row.digest(self.place.domain))
        self.redeemed += 1
        voucher = Voucher(receipt.channel, self.redeemed, self.log.size, self.log.root())
        if before:
            before()
        call = self.place.channels.record if before else self.place.channels.redeem
        call((voucher.channel, voucher.amount, voucher.count, voucher.root), SESSION.sign(voucher.digest(self.place.domain)))
        terms = Terms(receipt.channel, ZERO, b"\x05" * 32, ENGINE, PRICES, 1, 60, 60)
        return Disputed(
            receipt,
            signer.sign(digest),
            terms,
            signer.sign(terms.digest(self.place.domain)),
            accepted,
            index,
            tuple(self.log.inclusion(index)),
        )

    def disputed(self, answer: Answer = FALSE, *, accepted: bool = True) -> Disputed:
        """A recorded receipt."""
        return self.record(self.receipt(answer), accepted=accepted)

    def open(self, disputed: Disputed | None = None, **claims: Any) -> int:
        """Open a case as the buyer."""
        with boa.env.prank(BUYER.address):
            return int(self.court.open(*(disputed or self.disputed()).arguments(claim(**claims))))

    def drawn(self, case: int, secret: bytes = SECRET) -> list[KeySigner]:
        """Answer and draw; this round's jurors."""
        self.court.answer(case, self.link(self.state(case).ordinal))
        assert self.court.draw(case, secret)
        return self.jury(case)

    def jury(self, case: int) -> list[KeySigner]:
        """This round's jurors."""
        known = {each.address: each for each in JURORS}
        return [known[address(each)] for each in self.court.jurors(case)[self.state(case).first :]]

    def state(self, case: int) -> Any:
        return self.court.case(case)

    def commit(self, case: int, who: KeySigner, answer: Answer) -> None:
        with boa.env.prank(who.address):
            self.court.commit(case, rules.commitment(case, who.address, salt(who), answer))

    def reveal(self, case: int, who: KeySigner, answer: Answer) -> None:
        with boa.env.prank(who.address):
            self.court.reveal(case, salt(who), answer.result, answer.fuel, answer.witness)

    def vote(self, case: int, jury: Sequence[KeySigner], answers: Sequence[Answer | None]) -> None:
        """Each juror commits and reveals its answer; None sleeps."""
        pairs = list(zip(jury, answers, strict=True))
        for who, answer in pairs:
            if answer is not None:
                self.commit(case, who, answer)
        if any(answer is None for answer in answers):
            self.pass_deadline(case)
        for who, answer in pairs:
            if answer is not None:
                self.reveal(case, who, answer)

    def decide(self, case: int, answers: Sequence[Answer | None], secret: bytes = SECRET) -> list[KeySigner]:
        """From a case's opening to the end of a round."""
        jury = self.drawn(case, secret)
        self.vote(case, jury, answers)
        self.court.advance(case)
        return jury

    def extend(self, case: int, secret: bytes) -> None:
        """Call a larger jury as the buyer."""
        with boa.env.prank(BUYER.address):
            self.court.extend(case, rules.secret_commitment(secret))

    def let_stand(self, case: int) -> None:
        """Call no larger jury until it is too late."""
        self.pass_deadline(case)
        self.court.advance(case)

    def pass_deadline(self, case: int) -> None:
        """Wait until the phase is over."""
        self.wait_until(self.state(case).deadline)

    def wait_until(self, moment: int) -> None:
        now = boa.env.evm.patch.timestamp
        if moment > now:
            boa.env.time_travel(seconds=moment - now)

    def owed(self, who: Any) -> int:
        return int(self.court.owed(getattr(who, "address", who)))

    def enlistments(self) -> dict[int, Enlistment]:
        """All enlistments, as the mirror takes them."""
        found = {}
        for number in range(1, self.court.enlistments() + 1):
            row = tuple(self.court.enlistment(number))
            found[number] = Enlistment(address(row[0]), *row[1:])
        return found

    def seats(self, engine: bytes = ENGINE) -> list[int]:
        return [self.court.seat(engine, place) for place in range(self.court.places(engine))]


def found_court(place: Place, deployers: dict[str, Any], parameters: CourtParameters = PARAMETERS) -> Courthouse:
    """A court that may slash."""
    with boa.env.prank(OWNER.address):
        court = deployers["court"].deploy(
            place.token.address, place.registry.address, place.bonds.address, place.channels.address, astuple(parameters)
        )
        place.bonds.set_slasher(court.address)
        equivocations = deployers["equivocations"].deploy(court.address)
        place.bonds.set_slasher(equivocations.address, 2)
    return Courthouse(place, court, equivocations=equivocations)


def salt(who: KeySigner) -> bytes:
    """A juror's salt."""
    return keccak256(b"salt" + who.address.encode())
