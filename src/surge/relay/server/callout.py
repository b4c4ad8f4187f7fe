"""The auth callout: who may log in at the relay, and what a login permits. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nkeys

from surge.core.signing import recover
from surge.core.stack import parse_json
from surge.core.types import Address
from surge.errors import PeerFault, SurgeError
from surge.relay.login import MAX_PAYLOAD, is_address, login_digest, token_digest
from surge.relay.pace import Paces
from surge.relay.server.config import CLIENT_ACCOUNT, RelayLimits
from surge.relay.server.tokens import decode_token, encode_token

TOKEN_SECONDS = 60
"""How far the clock of an MQTT client may be off, and how long its token is good for, once."""


@dataclass(frozen=True, slots=True)
class Login:
    """A connection that was let in."""

    address: Address
    """Whose it is."""
    host: str
    """The network host it comes from."""


class Callout:
    """Answers nats-server's requests to let a connection in, and remembers the connections it let in."""

    def __init__(self, relay: Address, issuer: bytes, limits: RelayLimits) -> None:
        self._relay = relay
        self._issuer = nkeys.from_seed(bytearray(issuer))
        self._limits = limits
        self._hosts: Paces[str] = Paces(limits.logins_per_second, burst_seconds=10.0)
        self._refused_until: dict[Address, float] = {}
        self._used_tokens: dict[str, float] = {}
        self.stopped: dict[Address, str] = {}
        """For whom nothing is carried but what they say to the relay itself, and why."""
        self.logins: dict[int, Login] = {}
        """The connections now let in, by nats-server's number for them."""

    def answer(self, request: bytes, server: str, now: float) -> bytes:
        """The answer to a request token of the nats-server whose nkey is `server`; `now` in Unix seconds.

        A refusal is an answer too. Raises PeerFault only when the request is not nats-server's.
        """
        claims = decode_token(request, server)
        try:
            asked = claims["nats"]
            user, info, options = asked["user_nkey"], asked["client_info"], asked["connect_opts"]
        except (KeyError, TypeError) as error:
            raise PeerFault("a login request lacks its fields", request=request[:200]) from error
        body: dict[str, Any]
        try:
            login = self.authorise(info, options, now)
        except SurgeError as error:
            body = {"error": error.message}
        else:
            self.logins[int(info["id"])] = login
            body = {"jwt": self._grant(str(user), login.address, int(now)).decode()}
        body |= {"type": "authorization_response", "version": 2}
        return encode_token({"aud": server, "sub": user, "nats": body}, self._issuer, int(now))

    def _grant(self, user: str, address: Address, now: int) -> bytes:
        peers, mailboxes = "*", [f"node.{address}.>"]
        if address in self.stopped:
            peers, mailboxes = self._relay, [f"node.{address}.{self._relay}.>", f"node.{address}.{address}.n.>"]
        permissions = {
            "pub": {"allow": [f"node.{peers}.{address}.>", f"board.{address}.>"]},
            "sub": {"allow": mailboxes},
            "subs": self._limits.subscriptions,
            "payload": MAX_PAYLOAD,
            "data": -1,
            "type": "user",
            "version": 2,
        }
        expires = now + self._limits.login_seconds
        claims = {"aud": CLIENT_ACCOUNT, "sub": user, "name": address, "exp": expires, "nats": permissions}
        return encode_token(claims, self._issuer, now)

    def authorise(self, info: dict[str, Any], options: dict[str, Any], now: float) -> Login:
        """Who the connecting client is. Raises PeerFault saying why it is refused.

        1. its host does not try too often, and the address is well formed: it becomes part of subjects;
        2. the signature over the relay, the address and this connection's nonce is the address's own;
        3. the address is not being refused for flooding, and has not too many connections; nor has its host.
        """
        # 1
        host = str(info.get("host", ""))
        if not self._hosts.take(host, now):
            raise PeerFault("this host tries to log in too often", host=host)
        over_mqtt = info.get("type") == "mqtt"
        address = options.get("user") if over_mqtt else options.get("auth_token")
        if not is_address(address):
            raise PeerFault("the login names no address", address=str(address)[:64])
        assert isinstance(address, str)
        whose = Address(address)
        # 2
        try:
            if over_mqtt:
                self._check_token(whose, info, options, now)
            else:
                self._check_nonce(whose, info, options)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PeerFault("the login is malformed", address=whose) from error
        # 3
        if self._refused_until.get(whose, 0.0) > now:
            raise PeerFault("this address sent too much and is refused for a while", address=whose)
        if sum(login.address == whose for login in self.logins.values()) >= self._limits.per_address:
            raise PeerFault("this address has too many connections", address=whose)
        if sum(login.host == host for login in self.logins.values()) >= self._limits.per_host:
            raise PeerFault("this host has too many connections", host=host)
        return Login(whose, host)

    def _check_nonce(self, address: Address, info: dict[str, Any], options: dict[str, Any]) -> None:
        nonce, signature = info.get("nonce"), options.get("sig")
        if not nonce or not signature:
            raise PeerFault("the login is not signed", address=address)
        if recover(login_digest(self._relay, address, str(nonce)), bytes.fromhex(signature)) != address:
            raise PeerFault("the login is signed by another key, or for another relay", address=address)

    def _check_token(self, address: Address, info: dict[str, Any], options: dict[str, Any], now: float) -> None:
        # All MQTT clients of an account share the space of client ids: a stranger must not be able to use another's.
        if not str(info.get("mqtt_id", "")).startswith(address):
            raise PeerFault("the MQTT client id must start with the address", address=address)
        token = parse_json(options["pass"])
        issued, signature = int(token["issued"]), str(token["signature"]).lower()
        if abs(now - issued) > TOKEN_SECONDS:
            raise PeerFault("the token is stale; is the clock right?", address=address)
        if recover(token_digest(self._relay, address, issued), bytes.fromhex(signature)) != address:
            raise PeerFault("the token is signed by another key, or for another relay", address=address)
        self._used_tokens = {text: until for text, until in self._used_tokens.items() if until > now}
        key = f"{address} {issued}"
        if key in self._used_tokens:
            raise PeerFault("the token was used before", address=address)
        self._used_tokens[key] = now + 2 * TOKEN_SECONDS

    def host_of(self, address: Address) -> str:
        """The network host that an address is logged in from; empty when it is not."""
        return next((login.host for login in self.logins.values() if login.address == address), "")

    def refuse(self, address: Address, now: float) -> None:
        """Lets `address` in no more for `limits.refused_seconds`."""
        self._refused_until = {who: until for who, until in self._refused_until.items() if until > now}
        self._refused_until[address] = now + self._limits.refused_seconds

    def keep_only(self, connections: set[int], granted_before: set[int]) -> None:
        """Forgets connections that ended: those of `granted_before` (a snapshot of `logins`) not in `connections`."""
        for number in granted_before - connections:
            self.logins.pop(number, None)
