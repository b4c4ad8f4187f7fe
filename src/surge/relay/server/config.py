"""What a relay is told: its limits, and the nats-server configuration made from them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nkeys

from surge.core.types import Address
from surge.relay.login import MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """What a relay lets its clients use. The defaults suit a machine with some GiB of memory."""

    connections: int = 2048
    """Open connections altogether."""
    per_address: int = 8
    """Open connections of one address: a client uses one, two while it renews."""
    per_host: int = 1024
    """Open connections from one network host: keys cost nothing, hosts cost something."""
    logins_per_second: float = 50.0
    """Attempts to log in per second from one network host, with a burst of ten seconds' worth."""
    subscriptions: int = 16
    """Subscriptions of one connection: a client needs one."""
    messages_per_second: int = 20_000
    """Messages a connection may send, over some seconds; faster ones are cut off."""
    bytes_per_second: int = 256 << 20
    """Bytes a connection may send, over some seconds; faster ones are cut off."""
    burst_seconds: float = 3.0
    """Seconds' worth of messages and bytes that may come at once."""
    refused_seconds: float = 30.0
    """How long an address that was cut off stays refused."""
    login_seconds: int = 3600
    """How long a login lasts before the client must prove itself again."""
    offers: int = 10_000
    """Offers on the board."""
    offers_per_operator: int = 256
    """Offers on the board of one operator."""
    offers_per_host: int = 1024
    """Offers on the board that came from one network host: as many as it may have connections."""
    questions_per_second: float = 20.0
    """Questions to the board of one address."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the relay's certificate and its key lie, both PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Secrets:
    """What lets the supervisor itself log in at its nats-server. Made anew at each start, kept nowhere else."""

    callout: str = field(default_factory=lambda: os.urandom(32).hex())
    board: str = field(default_factory=lambda: os.urandom(32).hex())
    system: str = field(default_factory=lambda: os.urandom(32).hex())
    issuer: bytes = field(default_factory=lambda: nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_ACCOUNT))
    """Seed of the nkey that signs the callout's answers."""


CALLOUT_ACCOUNT, CLIENT_ACCOUNT, SYSTEM_ACCOUNT = "CALLOUT", "SURGE", "SYS"

LOGIN_TIMEOUT_SECONDS = 5
"""How long nats-server waits for the callout's answer: a burst of 1,000 logins takes two seconds."""


def _public(seed: bytes) -> str:
    pair = nkeys.from_seed(bytearray(seed))
    return str(pair.public_key.decode())


def configuration(
    identity: Address,
    data_dir: Path,
    host: str,
    port: int,
    limits: RelayLimits,
    secrets: Secrets,
    *,
    tls: TlsFiles | None = None,
    websocket_port: int | None = None,
    mqtt_port: int | None = None,
) -> str:
    """The text of nats.conf. Its format is a superset of JSON, so nothing needs quoting by hand."""
    # A nonce is offered to everybody as soon as one nkey user exists; nobody holds the key of this one.
    nobody = _public(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    client_account: dict[str, Any] = {"users": [{"user": "board", "password": secrets.board}]}
    settings: dict[str, Any] = {
        "server_name": identity,
        "listen": f"{host}:{port}",
        "pid_file": str(data_dir / "nats.pid"),
        "log_file": str(data_dir / "nats.log"),
        "logfile_size_limit": 8 << 20,
        "logfile_max_num": 2,
        "max_payload": MAX_PAYLOAD,
        "max_connections": limits.connections + 3,
        "max_subscriptions": limits.subscriptions,
        "max_control_line": 4096,
        "max_pending": 64 << 20,
        "write_deadline": "10s",
        "ping_interval": "10s",
        "ping_max": 2,
        "accounts": {
            CALLOUT_ACCOUNT: {"users": [{"user": "callout", "password": secrets.callout}, {"nkey": nobody}]},
            CLIENT_ACCOUNT: client_account,
            SYSTEM_ACCOUNT: {"users": [{"user": "system", "password": secrets.system}]},
        },
        "system_account": SYSTEM_ACCOUNT,
        "authorization": {
            "timeout": LOGIN_TIMEOUT_SECONDS,
            "auth_callout": {
                "issuer": _public(secrets.issuer),
                "account": CALLOUT_ACCOUNT,
                "auth_users": ["callout", "board", "system"],
            },
        },
    }
    if tls is not None:
        settings["tls"] = {"cert_file": str(tls.certificate), "key_file": str(tls.key), "timeout": 5}
    if websocket_port is not None:
        settings["websocket"] = {"listen": f"{host}:{websocket_port}", "compression": False, "handshake_timeout": "3s"}
        settings["websocket"] |= {"tls": settings["tls"]} if tls is not None else {"no_tls": True}
    if mqtt_port is not None:
        settings["mqtt"] = {"listen": f"{host}:{mqtt_port}"} | ({"tls": settings["tls"]} if tls is not None else {})
        settings["jetstream"] = {"store_dir": str(data_dir / "jetstream"), "max_mem": 64 << 20, "max_file": 256 << 20}
        client_account["jetstream"] = {"max_mem": 32 << 20, "max_file": 128 << 20}
    return json.dumps(settings, indent=2)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, in one step."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    beside.replace(path)
