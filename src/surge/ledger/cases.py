"""Cases of the court, as its contract and its events tell them."""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from surge.core.court import Answer
from surge.core.keccak import keccak256
from surge.core.types import Address, address
from surge.errors import Unavailable
from surge.ledger.answers import Log

_OPENED = (
    "bytes32",  # receipt
    "bytes32",  # channel
    "uint8",  # kind
    "bytes32",  # subject
    "bytes32",  # result
    "uint256",  # fuel
    "bytes32",  # claimed result
    "uint256",  # claimed fuel
    "bytes32",  # engine
    "uint256",  # memory
    "uint256",  # fuel limit
    "uint256",  # jurors
    "uint256",  # worth
    "uint256",  # reserved
    "uint256",  # ordinal
    "uint256",  # deadline
)
OPENED = keccak256(f"Opened(uint256,address,address,{','.join(_OPENED)})".encode())
DRAWN = keccak256(b"Drawn(uint256,address,uint256,uint256)")
REVEALED = keccak256(b"Revealed(uint256,address,bytes32,uint256,bytes32)")
"""The events' first topics."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case as the contract keeps it. The order is the contract's."""

    opener: Address
    """The buyer."""
    accused: Address
    """The operator."""
    own: bytes
    """32 bytes: the hash of the accused's result and fuel."""
    claimed: bytes
    """32 bytes: the hash of the opener's."""
    engine: bytes
    """32 bytes."""
    memory: int
    """The unit's memory limit, as the opener says, in bytes."""
    fuel_limit: int
    """The unit's fuel limit, as the opener says."""
    fee: int
    """Wei for each juror."""
    worth: int
    """Wei that the accused may lose beside the costs."""
    bond: int
    """Wei that the opener may lose beside the costs."""
    pot: int
    """Wei that the opener advanced for jurors."""
    reserved: int
    """Wei of the accused's bond."""
    commitment: bytes
    """32 bytes: the hash of the opener's secret for this round."""
    ordinal: int
    """The accused's link for this round."""
    seed: bytes
    """32 bytes: what this round's jury was drawn with; before that the accused's link."""
    opened_at: int
    """Unix seconds."""
    deadline: int
    """Unix seconds: when the phase is over."""
    places: int
    """Seats of the engine when the case was opened."""
    jurors: int
    """Of this round."""
    round: int
    """From 1; 0 for a case that does not exist."""
    first: int
    """The place of this round's first juror among all."""
    committed: int
    """Jurors of this round who committed."""
    revealed: int
    """Jurors of this round who revealed."""
    answers: int
    """Different answers of this round, but for that the inputs did not come."""
    lead: bytes
    """32 bytes: the answer that most gave of the last round that was drawn."""
    lead_votes: int
    """How many gave it."""
    lead_kind: int
    """1: the accused's, 2: the opener's, 3: another one, 4: that the inputs did not come; 0 once that round had no majority."""
    phase: int
    """A `core.court.Phase`."""
    outcome: int
    """A `core.court.Outcome`; 0 while it is open."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a juror committed to and answered."""

    round: int
    """The round it was drawn for; 0: it was not."""
    enlistment: int
    """Its seats."""
    commitment: bytes
    """32 bytes; zero before it committed."""
    answer: bytes
    """32 bytes: the hash of its answer; zero before it revealed."""


@dataclass(frozen=True, slots=True)
class OpenedCase:
    """What a case is about, as its opening told."""

    number: int
    """The case's id."""
    opener: Address
    """The buyer."""
    accused: Address
    """The operator."""
    receipt: bytes
    """32 bytes: the receipt's digest."""
    channel: bytes
    """32 bytes."""
    kind: int
    """A `core.receipts.ReceiptKind`."""
    subject: bytes
    """32 bytes: the unit's id."""
    result: bytes
    """32 bytes: what the accused's device says came out."""
    fuel: int
    """What it says it took."""
    claimed_result: bytes
    """32 bytes: what the opener says came out."""
    claimed_fuel: int
    """What it says it took."""
    engine: bytes
    """32 bytes."""
    memory: int
    """The unit's memory limit in bytes, as the opener says."""
    fuel_limit: int
    """The unit's fuel limit, as the opener says."""
    jurors: int
    """The first jury's size."""
    worth: int
    """Wei that the accused may lose beside the costs."""
    reserved: int
    """Wei of its bond that was reserved."""
    ordinal: int
    """The accused's link of the first round."""
    deadline: int
    """Unix seconds: until when the accused gives it."""


def read_opened(event: Log) -> OpenedCase:
    """What a case's opening told. Raises `Unavailable`."""
    try:
        if len(event.topics) != 4:
            raise ValueError("another number of topics")
        return OpenedCase(
            topic_number(event.topics[1]), topic_address(event.topics[2]), topic_address(event.topics[3]), *abi_decode(_OPENED, event.data)
        )
    except (DecodingError, OverflowError, ValueError) as error:
        raise Unavailable("an event of the court cannot be read") from error


def read_revealed(event: Log) -> tuple[Address, Answer]:
    """A juror, and what it revealed. Raises `Unavailable`."""
    try:
        if len(event.topics) != 3:
            raise ValueError("another number of topics")
        return topic_address(event.topics[2]), Answer(*abi_decode(("bytes32", "uint256", "bytes32"), event.data))
    except (DecodingError, OverflowError, ValueError) as error:
        raise Unavailable("an event of the court cannot be read") from error


def topic_number(topic: bytes) -> int:
    """A topic as a number."""
    return int.from_bytes(topic, "big")


def topic_address(topic: bytes) -> Address:
    """A topic as an address."""
    return address("0x" + topic[-20:].hex())
