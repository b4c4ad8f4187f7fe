"""The relay's other doors: TLS, WebSocket for browsers, MQTT for sensors."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay_support import BUYER, BUYER_SESSION, DEVICE, NETWORK, STRANGER, Key, echo, endpoint, join, relay_server
from surge.core.network import RelayAddress
from surge.errors import Unavailable
from surge.relay.client import Relays
from surge.relay.login import token_digest
from surge.relay.server import RelayServer, TlsFiles
from surge.relay.server.process import claim_port


def make_certificate(folder: Path) -> TlsFiles:
    """A self-signed certificate for 127.0.0.1."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(folder / "certificate.pem", folder / "key.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


async def test_sessions_over_tls(tmp_path: Path) -> None:
    files = make_certificate(tmp_path / "tls")
    trusting = ssl.create_default_context(cafile=str(files.certificate))
    async with relay_server(tmp_path, tls=files) as relay:
        assert relay.url.startswith("tls://")
        async with (
            await join(DEVICE, relay, tls=trusting) as device,
            await join(BUYER, relay, tls=trusting) as buyer,
        ):
            device.listen(echo, identity=DEVICE)
            session = await buyer.dial(DEVICE.address, identity=BUYER_SESSION)
            for size in (1, 512 << 10):
                message = os.urandom(size)
                await session.send(message)
                assert await session.receive() == message


async def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    files = make_certificate(tmp_path / "tls")
    other = ssl.create_default_context(cafile=str(make_certificate(tmp_path / "other").certificate))
    async with relay_server(tmp_path, tls=files) as relay:
        for context in (None, other):
            with pytest.raises(Unavailable, match=r"its certificate is not trusted .*SSL_CERT_FILE"):
                await join(BUYER, relay, tls=context, timeout=2)
        plain = RelayAddress(relay.url.replace("tls://", "nats://"), relay.identity)
        with pytest.raises(Unavailable, match="tls://"):
            await Relays.connect([plain], BUYER, network=NETWORK, timeout=2)
        assert not relay._callout.logins


async def test_a_missing_certificate_says_so(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"certificate.*none.pem"):
        await relay_server(tmp_path, tls=TlsFiles(tmp_path / "none.pem", tmp_path / "none.key")).start()


async def test_browsers_come_in_by_websocket(tmp_path: Path) -> None:
    port = claim_port("127.0.0.1", 0)
    async with relay_server(tmp_path, websocket_port=port) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in answer
            info = await reader.readuntil(b"}")
        assert relay.identity.encode() in info
        assert b'"nonce"' in info
        writer.close()
        await writer.wait_closed()


def mqtt_text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(2, "big") + data


def mqtt_packet(kind: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (128 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


class Sensor:
    """As much MQTT 3.1.1 as a thermometer speaks."""

    def __init__(self, key: Key, relay: RelayServer) -> None:
        self.key, self.relay = key, relay

    async def connect(self, port: int, client_id: str, password: str) -> int:
        """The return code of CONNACK: 0 is welcome; -1 when the door is shut."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        flags = bytes([4, 0b11000010]) + (20).to_bytes(2, "big")
        body = mqtt_text("MQTT") + flags + mqtt_text(client_id) + mqtt_text(self.key.address) + mqtt_text(password)
        self.writer.write(mqtt_packet(0x10, body))
        answer = await self.packet()
        return answer[1][1] if answer else -1

    def token(self, signer: Key | None = None, issued: int | None = None) -> str:
        when = int(time.time()) if issued is None else issued
        signature = (signer or self.key).sign(token_digest(self.relay.identity, self.key.address, when))
        return json.dumps({"issued": when, "signature": signature.hex()})

    async def packet(self) -> tuple[int, bytes] | None:
        async with asyncio.timeout(5):
            head = await self.reader.read(2)
            if len(head) < 2:
                return None
            return head[0], await self.reader.readexactly(head[1])

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_sensors_come_in_by_mqtt_under_their_own_address_only(tmp_path: Path) -> None:
    port = claim_port("127.0.0.1", 0)
    async with relay_server(tmp_path, mqtt_port=port) as relay, await join(STRANGER, relay) as other:
        sensor = Sensor(DEVICE, relay)
        token = sensor.token()
        assert await sensor.connect(port, DEVICE.address + "-1", token) == 0
        for topic, granted in (
            (f"node/{DEVICE.address}/+/cmd/#", True),
            (f"node/{STRANGER.address}/+/cmd/#", False),
            ("#", False),
        ):
            sensor.writer.write(mqtt_packet(0x82, b"\0\1" + mqtt_text(topic) + b"\0"))
            suback = await sensor.packet()
            assert suback is not None
            assert (suback[0], suback[1][-1] == 0x80) == (0x90, not granted)
        other._links[0].post(f"node.{DEVICE.address}.{STRANGER.address}.cmd.on", b"measure")
        message = await sensor.packet()
        assert message is not None
        assert message[1].endswith(b"measure")
        for signer, client_id, password in (
            (DEVICE, DEVICE.address + "-2", token),  # used before
            (DEVICE, "sensor", sensor.token(issued=int(time.time()) - 5)),
            (DEVICE, DEVICE.address + "-3", sensor.token(signer=STRANGER)),
            (DEVICE, DEVICE.address + "-4", "{}"),
        ):
            thief = Sensor(signer, relay)
            assert await thief.connect(port, client_id, password) != 0
            await thief.close()
        await sensor.close()
        assert endpoint(relay).url == relay.url
