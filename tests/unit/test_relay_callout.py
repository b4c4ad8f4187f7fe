from __future__ import annotations

import json
from typing import Any

import nkeys
import pytest

from relay_support import DEVICE, OTHER_RELAY, RELAY, STRANGER, Key
from surge.errors import PeerFault
from surge.relay.login import login_digest, token_digest
from surge.relay.server.callout import TOKEN_SECONDS, Callout
from surge.relay.server.config import RelayLimits, Secrets
from surge.relay.server.tokens import decode_token, encode_token

NOW = 1_700_000_000.0
NONCE = "bm9uY2U"


def callout(**limits: Any) -> Callout:
    return Callout(RELAY.address, Secrets().issuer, RelayLimits(**limits))


def info(**changes: Any) -> dict[str, Any]:
    return {"type": "nats", "nonce": NONCE, "host": "192.0.2.1", "id": 7} | changes


def signed(key: Key, *, relay: Key = RELAY, address: str | None = None, nonce: str = NONCE) -> dict[str, Any]:
    named = address if address is not None else key.address
    signature = key.sign(login_digest(relay.address, named, nonce))  # type: ignore[arg-type]
    return {"auth_token": named, "sig": signature.hex()}


def test_a_signed_nonce_lets_its_signer_in() -> None:
    assert callout().authorise(info(), signed(DEVICE), NOW).address == DEVICE.address


@pytest.mark.parametrize(
    "options",
    [
        signed(STRANGER, address=DEVICE.address),
        signed(DEVICE, relay=OTHER_RELAY),
        signed(DEVICE, nonce="b2xk"),
        signed(DEVICE, address="0x*"),
        signed(DEVICE, address=">"),
        signed(DEVICE, address=DEVICE.address.upper()),
        signed(DEVICE, address=DEVICE.address + "\n"),
        signed(DEVICE, address=DEVICE.address + ".x"),
        {"auth_token": DEVICE.address},
        {"auth_token": DEVICE.address, "sig": ""},
        {"auth_token": DEVICE.address, "sig": "zz"},
        {"auth_token": DEVICE.address, "sig": 5},
        {"auth_token": DEVICE.address, "sig": ["a"]},
        {"auth_token": DEVICE.address, "sig": "00" * 64 + "1b"},
        {"auth_token": DEVICE.address, "sig": "ff" * 65},
        {"auth_token": ["0x"], "sig": "00" * 65},
        {"user": "system", "pass": "guess"},
        {},
    ],
)
def test_every_other_login_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PeerFault):
        callout().authorise(info(), options, NOW)


def test_a_connection_without_a_nonce_is_refused() -> None:
    for nonce in (None, ""):
        with pytest.raises(PeerFault, match="not signed"):
            callout().authorise(info(nonce=nonce), signed(DEVICE, nonce=""), NOW)


def test_a_signature_made_malleable_is_refused() -> None:
    """The other of the two signatures over one digest: r, n - s, the other v."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    options = signed(DEVICE)
    signature = bytes.fromhex(options["sig"])
    high = (order - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    options["sig"] = (signature[:32] + high + bytes([55 - signature[64]])).hex()
    with pytest.raises(PeerFault):
        callout().authorise(info(), options, NOW)


def mqtt_options(key: Key, *, issued: float = NOW, relay: Key = RELAY, user: str | None = None) -> dict[str, Any]:
    whose = user if user is not None else key.address
    signature = key.sign(token_digest(relay.address, whose, int(issued)))  # type: ignore[arg-type]
    return {"user": whose, "pass": json.dumps({"issued": int(issued), "signature": signature.hex()})}


def mqtt_info(client_id: str) -> dict[str, Any]:
    return info(type="mqtt", mqtt_id=client_id, nonce=None)


def test_an_mqtt_token_is_good_once_and_for_a_minute() -> None:
    gate, client = callout(), mqtt_info(DEVICE.address + "-sensor")
    assert gate.authorise(client, mqtt_options(DEVICE), NOW).address == DEVICE.address
    with pytest.raises(PeerFault, match="used before"):
        gate.authorise(client, mqtt_options(DEVICE), NOW + 1)
    capitals = mqtt_options(DEVICE)
    capitals["pass"] = capitals["pass"].replace("signature", "SIGNATURE").upper().replace("SIGNATURE", "signature")
    with pytest.raises(PeerFault):
        gate.authorise(client, capitals, NOW + 2)
    gate.authorise(client, mqtt_options(DEVICE, issued=NOW + 3), NOW + 3)
    for off in (-TOKEN_SECONDS - 1, TOKEN_SECONDS + 1):
        with pytest.raises(PeerFault, match="stale"):
            gate.authorise(client, mqtt_options(DEVICE, issued=NOW + off), NOW)


@pytest.mark.parametrize(
    ("client_id", "options"),
    [
        (STRANGER.address, mqtt_options(DEVICE)),
        ("sensor", mqtt_options(DEVICE)),
        (DEVICE.address, mqtt_options(STRANGER, user=DEVICE.address)),
        (DEVICE.address, mqtt_options(DEVICE, relay=OTHER_RELAY)),
        (DEVICE.address, {"user": DEVICE.address, "pass": "not json"}),
        (DEVICE.address, {"user": DEVICE.address, "pass": "[]"}),
        (DEVICE.address, {"user": DEVICE.address, "pass": '{"issued": "x", "signature": "00"}'}),
        (DEVICE.address, {"user": DEVICE.address}),
        (DEVICE.address, {"auth_token": DEVICE.address, "sig": "00"}),
    ],
)
def test_every_other_mqtt_login_is_refused(client_id: str, options: dict[str, Any]) -> None:
    with pytest.raises(PeerFault):
        callout().authorise(mqtt_info(client_id), options, NOW)


def request(options: dict[str, Any], connection: int, host: str = "192.0.2.1") -> tuple[bytes, str]:
    server = nkeys.from_seed(bytearray(nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_SERVER)))
    asked = {"user_nkey": "UABC", "client_info": info(id=connection, host=host), "connect_opts": options}
    return encode_token({"nats": asked}, server, int(NOW)), server.public_key.decode()


def answer_to(gate: Callout, options: dict[str, Any], connection: int, host: str = "192.0.2.1") -> dict[str, Any]:
    token, server = request(options, connection, host)
    claims = decode_token(gate.answer(token, server, NOW), gate._issuer.public_key.decode())
    assert (claims["aud"], claims["sub"]) == (server, "UABC")
    nats = claims["nats"]
    assert isinstance(nats, dict)
    return nats


def test_a_grant_permits_the_address_its_own_subjects_only() -> None:
    gate = callout()
    grant = decode_token(answer_to(gate, signed(DEVICE), 7)["jwt"].encode(), gate._issuer.public_key.decode())
    assert grant["nats"]["sub"] == {"allow": [f"node.{DEVICE.address}.>"]}
    assert grant["nats"]["pub"] == {"allow": [f"node.*.{DEVICE.address}.>", f"board.{DEVICE.address}.>"]}
    assert grant["exp"] == NOW + RelayLimits().login_seconds
    assert grant["aud"] == "SURGE"
    assert gate.logins[7].address == DEVICE.address


def test_a_grant_of_one_that_is_stopped_permits_the_relay_alone() -> None:
    gate = callout()
    gate.stopped[DEVICE.address] = "it owes"
    grant = decode_token(answer_to(gate, signed(DEVICE), 7)["jwt"].encode(), gate._issuer.public_key.decode())
    own, relay = DEVICE.address, gate._relay
    assert grant["nats"]["sub"] == {"allow": [f"node.{own}.{relay}.>", f"node.{own}.{own}.n.>"]}
    assert grant["nats"]["pub"] == {"allow": [f"node.{relay}.{own}.>", f"board.{own}.>"]}


def test_a_refusal_is_an_answer_without_a_grant() -> None:
    gate = callout()
    answer = answer_to(gate, signed(STRANGER, address=DEVICE.address), 7)
    assert "jwt" not in answer
    assert "another key" in answer["error"]
    assert gate.logins == {}


def test_an_address_and_a_host_have_bounded_connections() -> None:
    gate = callout(per_address=2, per_host=3)
    assert "jwt" in answer_to(gate, signed(DEVICE), 1)
    assert "jwt" in answer_to(gate, signed(DEVICE), 2)
    assert "too many connections" in answer_to(gate, signed(DEVICE), 3)["error"]
    assert "jwt" in answer_to(gate, signed(STRANGER), 4)
    assert "host" in answer_to(gate, signed(OTHER_RELAY), 5)["error"]
    assert "jwt" in answer_to(gate, signed(OTHER_RELAY), 6, host="192.0.2.2")
    gate.keep_only({4, 6}, {1, 2, 4})
    assert set(gate.logins) == {4, 6}
    assert "jwt" in answer_to(gate, signed(DEVICE), 8)


def test_a_host_that_tries_too_often_waits() -> None:
    gate = callout(logins_per_second=2.0)
    stranger = signed(STRANGER, address=DEVICE.address)
    refusals = [answer_to(gate, stranger, number)["error"] for number in range(22)]
    assert ["too often" in refusal for refusal in refusals] == [False] * 20 + [True] * 2
    assert "too often" in answer_to(gate, signed(DEVICE), 30)["error"]
    assert "jwt" in answer_to(gate, signed(DEVICE), 31, host="192.0.2.2")
    assert gate.authorise(info(), signed(DEVICE), NOW + 1)


def test_a_flooder_is_refused_for_a_while() -> None:
    gate = callout(refused_seconds=10.0)
    gate.refuse(DEVICE.address, NOW)
    with pytest.raises(PeerFault, match="refused for a while"):
        gate.authorise(info(), signed(DEVICE), NOW + 9)
    gate.authorise(info(), signed(STRANGER), NOW + 9)
    gate.authorise(info(), signed(DEVICE), NOW + 11)


def test_a_request_that_is_not_the_servers_is_not_answered() -> None:
    gate = callout()
    token, server = request(signed(DEVICE), 7)
    other = nkeys.from_seed(bytearray(nkeys.encode_seed(b"\1" * 32, nkeys.PREFIX_BYTE_SERVER))).public_key.decode()
    for wrong in (token[:-4] + b"AAAA", b"", b"a.b.c", b"\xff.\xff.\xff", token + b".x"):
        with pytest.raises(PeerFault):
            gate.answer(wrong, server, NOW)
    with pytest.raises(PeerFault):
        gate.answer(token, other, NOW)
    assert gate.logins == {}
