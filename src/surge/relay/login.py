"""How a client proves its address to a relay, and how subjects are laid out.

The client signs a text (EIP-191) that names the relay, its own address and the nonce the server chose for this
connection; so one relay cannot log in at another with what it was shown.

Subjects are `node.<to>.<from>.<kind>.<id>` between clients and `board.<from>.<operation>` to a relay's offer board.
A client with address A may subscribe to `node.A.>` and publish to `node.*.A.>` and `board.A.>`, nothing else: the
relay itself vouches for `<from>`.

>>> print(login_text(Address("0x" + "22" * 20), Address("0x" + "11" * 20), "abc").decode())
surge relay login 1
relay: 0x2222222222222222222222222222222222222222
address: 0x1111111111111111111111111111111111111111
nonce: abc
"""

from __future__ import annotations

import re

from surge.core.signing import personal_digest
from surge.core.types import Address

PROTOCOL = 1
"""Version of what relays and clients say to each other."""

MAX_PAYLOAD = 1 << 20
"""Bytes of one NATS message; the relay refuses more."""

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def is_address(text: object) -> bool:
    """Whether `text` is a lower-case address. It becomes part of a subject: no dots, no wildcards."""
    return isinstance(text, str) and _ADDRESS.fullmatch(text) is not None


def login_text(relay: Address, address: Address, nonce: str) -> bytes:
    """The text that `address` signs to log in at `relay` on the connection that was given `nonce`."""
    return f"surge relay login {PROTOCOL}\nrelay: {relay}\naddress: {address}\nnonce: {nonce}".encode()


def login_digest(relay: Address, address: Address, nonce: str) -> bytes:
    """The EIP-191 digest of `login_text`: 32 bytes."""
    return personal_digest(login_text(relay, address, nonce))


def token_digest(relay: Address, address: Address, issued: int) -> bytes:
    """The digest an MQTT client signs: MQTT has no server nonce, so the text names the second it was issued instead."""
    text = f"surge relay token {PROTOCOL}\nrelay: {relay}\naddress: {address}\nissued: {issued}"
    return personal_digest(text.encode())


def welcome_digest(relay: Address, address: Address, challenge: bytes) -> bytes:
    """The digest a relay signs to show its identity to the client that sent `challenge` (32 bytes)."""
    text = f"surge relay welcome {PROTOCOL}\nrelay: {relay}\naddress: {address}\nchallenge: {challenge.hex()}"
    return personal_digest(text.encode())


def node_subject(to: Address, sender: Address, kind: str, token: str) -> str:
    """The subject of a message from `sender` to `to`."""
    return f"node.{to}.{sender}.{kind}.{token}"


def board_subject(sender: Address, operation: str) -> str:
    """The subject of a question to the offer board."""
    return f"board.{sender}.{operation}"
