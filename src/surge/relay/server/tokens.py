"""The JSON Web Tokens that nats-server and its auth callout exchange (NATS ADR-26), made with nkeys alone."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

import nkeys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from surge.core.stack import parse_json
from surge.errors import PeerFault


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode_token(claims: dict[str, Any], issuer: nkeys.KeyPair, now: int) -> bytes:
    """A token with these claims, signed by `issuer` at `now` (Unix seconds)."""
    claims = {**claims, "iss": issuer.public_key.decode(), "iat": now}
    identifier = hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).digest()
    claims["jti"] = base64.b32encode(identifier).rstrip(b"=").decode()
    head = _encode(b'{"typ":"JWT","alg":"ed25519-nkey"}')
    body = _encode(json.dumps(claims, separators=(",", ":")).encode())
    return f"{head}.{body}.{_encode(issuer.sign(f'{head}.{body}'.encode()))}".encode()


def decode_token(token: bytes, issuer: str) -> dict[str, Any]:
    """The claims of a token signed by the nkey `issuer`. Raises PeerFault when it is not."""
    try:
        head, body, signature = token.decode("ascii").split(".")
        key = base64.b32decode(issuer + "=" * (-len(issuer) % 8))[1:33]  # prefix byte, key, CRC-16
        Ed25519PublicKey.from_public_bytes(key).verify(_decode(signature), f"{head}.{body}".encode())
        claims = parse_json(_decode(body))
    except (ValueError, binascii.Error, InvalidSignature) as error:
        raise PeerFault("a login request is not signed by this relay's nats-server", token=token[:200]) from error
    if not isinstance(claims, dict) or claims.get("iss") != issuer:
        raise PeerFault("a login request names another issuer", token=token[:200])
    return claims
