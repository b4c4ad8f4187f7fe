"""How two devices agree on the keys of a session. Pure: bytes in, verified values out; no I/O, no clock.

Three messages. The caller sends *hello*: its identity, an X25519 key made for this session, 32 random bytes and the
context (whatever the caller wants known before anything else), signed. The listener sends *answer*: its own key and
random bytes, signed over all of both messages, and a confirmation that it has the keys. The caller's first frame
confirms the keys in turn; until it arrives the listener holds a half-open handshake only, so a hello that is sent
again by somebody else opens nothing.

Signatures are EIP-191 over a purpose, the network, the way, the device and the hash of the messages, so none can be
used on another network, between other parties, by another way, or for another purpose. Keys come from HKDF-SHA256 (RFC 5869) of the
X25519 secret (RFC 7748), salted with the hash of the transcript: one per direction, one for the confirmation.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from surge.core import canonical
from surge.core.signing import Signer, personal_digest, recover
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault
from surge.relay.login import is_address

VERSION = 1
MAX_CONTEXT = 16 << 10
"""Bytes of context in a hello: enough for terms and their signatures, and a stranger sends no more."""
MAX_HANDSHAKE = MAX_CONTEXT + 1024
"""Bytes of a whole hello or answer."""

HELLO_PURPOSE = b"surge session 1 hello"
ANSWER_PURPOSE = b"surge session 1 answer"


class _Hello(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    network: bytes
    caller: str
    key: bytes
    nonce: bytes
    context: bytes
    signature: bytes


class _Answer(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    key: bytes
    nonce: bytes
    signature: bytes
    confirmation: bytes


@dataclass(frozen=True, slots=True)
class Parties:
    """Between whom a handshake runs, and by which way, as both sides know it from what carries the handshake."""

    network: bytes
    """32 bytes that name the network."""
    way: Address | bytes
    """Through a relay, the address the caller is logged in with, which the relay vouches for; on a direct connection the 32 random
    bytes with which the device greeted it. So what is signed for one way, or for one direct connection, is good nowhere else."""
    listener: Address
    """The device that is called: its login and its identity."""


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What the handshake gives."""

    to_listener: bytes
    to_caller: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """A verified hello."""

    caller: Address
    """The caller's identity: it signed this."""
    key: bytes
    nonce: bytes
    context: bytes
    wire: bytes


def _signed(purpose: bytes, parties: Parties, transcript: bytes) -> bytes:
    fields = [parties.network, parties.way, parties.listener, transcript]
    return personal_digest(purpose + b"\n" + hashlib.sha256(canonical.encode(fields)).digest())


def _hello_transcript(caller: str, key: bytes, nonce: bytes, context: bytes) -> bytes:
    return hashlib.sha256(canonical.encode([VERSION, caller, key, nonce, context])).digest()


def _body(wire: bytes, what: str) -> bytes:
    if len(wire) > MAX_HANDSHAKE:
        raise PeerFault(f"a session's {what} is larger than {MAX_HANDSHAKE} bytes", size=len(wire))
    if not wire or wire[0] != VERSION:
        spoken = wire[0] if wire else None
        raise PeerFault(f"a session's {what} is of version {spoken}; this side speaks {VERSION}", version=spoken)
    return wire[1:]


def _check_sizes(what: str, key: bytes, nonce: bytes, signature: bytes) -> None:
    if len(key) != 32 or len(nonce) != 32 or len(signature) != 65:
        raise PeerFault(f"a session's {what} has fields of the wrong size")


def _agree(own: X25519PrivateKey, peer: bytes, salt: bytes) -> tuple[SessionKeys, bytes]:
    """The session's keys and the confirmation (32 bytes)."""
    try:
        secret = own.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError as error:  # a point of small order gives an all-zero secret
        raise PeerFault("a session's key is not a usable X25519 key", key=peer) from error
    material = HKDF(SHA256(), 96, salt=salt, info=b"surge session 1 keys").derive(secret)
    confirmation = hmac.digest(material[64:], b"surge session 1 confirmation", "sha256")
    return SessionKeys(to_listener=material[:32], to_caller=material[32:64]), confirmation


class Caller:
    """The caller's side: `hello` is to be sent, `finish` takes the answer."""

    def __init__(self, parties: Parties, identity: Signer, context: bytes) -> None:
        if len(context) > MAX_CONTEXT:
            raise InvalidInput(f"a session's context may be {MAX_CONTEXT} bytes, not {len(context)}", size=len(context))
        self._parties = parties
        self._key = X25519PrivateKey.generate()
        self.nonce = os.urandom(32)
        public = self._key.public_key().public_bytes_raw()
        transcript = _hello_transcript(identity.address, public, self.nonce, context)
        signature = identity.sign(_signed(HELLO_PURPOSE, parties, transcript))
        hello = _Hello(parties.network, identity.address, public, self.nonce, context, signature)
        self.hello = bytes([VERSION]) + msgspec.msgpack.encode(hello)

    def finish(self, wire: bytes) -> SessionKeys:
        """The keys, given the listener's answer.

        Raises PeerFault unless (1) it is well formed, (2) the device that was called signed it over this hello, and
        (3) it confirms the same keys.
        """
        # 1
        try:
            answer = msgspec.msgpack.decode(_body(wire, "answer"), type=_Answer)
        except msgspec.MsgspecError as error:
            raise PeerFault("a session's answer is malformed", device=self._parties.listener) from error
        _check_sizes("answer", answer.key, answer.nonce, answer.signature)
        # 2
        transcript = _answer_transcript(self.hello, answer.key, answer.nonce)
        try:
            signer = recover(_signed(ANSWER_PURPOSE, self._parties, transcript), answer.signature)
        except ValueError as error:
            raise PeerFault("a session's answer has a malformed signature", device=self._parties.listener) from error
        if signer != self._parties.listener:
            raise PeerFault("a session was answered by another key than the device's", device=self._parties.listener, signer=signer)
        # 3
        keys, confirmation = _agree(self._key, answer.key, transcript)
        if not hmac.compare_digest(confirmation, answer.confirmation):
            raise PeerFault("a session's answer does not confirm its keys", device=self._parties.listener)
        return keys


def _answer_transcript(hello: bytes, key: bytes, nonce: bytes) -> bytes:
    return hashlib.sha256(canonical.encode([hashlib.sha256(hello).digest(), key, nonce])).digest()


def read_hello(wire: bytes, parties: Parties) -> Hello:
    """A verified hello to the listener of `parties`.

    Raises PeerFault unless (1) it is well formed and of a version spoken here, (2) it names this network, and (3) the
    identity it names signed it for these parties.
    """
    # 1
    try:
        hello = msgspec.msgpack.decode(_body(wire, "hello"), type=_Hello)
    except msgspec.MsgspecError as error:
        raise PeerFault("a session's hello is malformed", way=parties.way) from error
    _check_sizes("hello", hello.key, hello.nonce, hello.signature)
    if not is_address(hello.caller) or len(hello.context) > MAX_CONTEXT:
        raise PeerFault("a session's hello is malformed", way=parties.way)
    # 2
    if hello.network != parties.network:
        raise PeerFault("a session's hello is for another network", network=hello.network)
    # 3
    transcript = _hello_transcript(hello.caller, hello.key, hello.nonce, hello.context)
    try:
        signer = recover(_signed(HELLO_PURPOSE, parties, transcript), hello.signature)
    except ValueError as error:
        raise PeerFault("a session's hello has a malformed signature", caller=hello.caller) from error
    if signer != hello.caller:
        raise PeerFault("a session's hello is signed by another key than it names", caller=hello.caller, signer=signer)
    return Hello(Address(hello.caller), hello.key, hello.nonce, hello.context, wire)


def answer_hello(hello: Hello, parties: Parties, identity: Signer) -> tuple[bytes, SessionKeys]:
    """The answer to send, and the session's keys. Raises PeerFault when the caller's key is not usable."""
    own = X25519PrivateKey.generate()
    public, nonce = own.public_key().public_bytes_raw(), os.urandom(32)
    transcript = _answer_transcript(hello.wire, public, nonce)
    keys, confirmation = _agree(own, hello.key, transcript)
    signature = identity.sign(_signed(ANSWER_PURPOSE, parties, transcript))
    return bytes([VERSION]) + msgspec.msgpack.encode(_Answer(public, nonce, signature, confirmation)), keys
