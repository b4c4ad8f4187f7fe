"""The registry: devices work for who they agreed to work for."""

from __future__ import annotations

import boa
import pytest

from contracts_support import DEVICE, OPERATOR, STRANGER, Place
from surge.core.receipts import DeviceConsent, RelayConsent

RELAY, URL = DEVICE, "nats://relay.example:4222"


def consent(place: Place, operator, nonce: int, device=DEVICE) -> bytes:
    return device.sign(DeviceConsent(operator.address, DEVICE.address, nonce).digest(place.registry_domain))


def register(place: Place, operator, nonce: int = 0, **kwargs) -> None:
    with boa.env.prank(operator.address):
        place.registry.register_device(DEVICE.address, "laptop", consent(place, operator, nonce, **kwargs))


def test_a_device_consents_to_one_operator(place: Place) -> None:
    register(place, OPERATOR)
    assert place.registry.operator_of(DEVICE.address).lower() == OPERATOR.address
    with boa.reverts("registry: device has an operator"):
        register(place, STRANGER, 1)


def test_a_consent_is_used_once(place: Place) -> None:
    register(place, OPERATOR)
    with boa.env.prank(OPERATOR.address):
        place.registry.remove_device(DEVICE.address)
    with boa.reverts("registry: no consent"):
        register(place, OPERATOR, 0)
    register(place, OPERATOR, 2)


def test_nobody_registers_a_device_without_its_consent(place: Place) -> None:
    with boa.reverts("registry: no consent"):
        register(place, STRANGER, device=STRANGER)
    with boa.env.prank(STRANGER.address), boa.reverts("registry: no consent"):
        place.registry.register_device(DEVICE.address, "", consent(place, OPERATOR, 0))
    with boa.env.prank(STRANGER.address), boa.reverts("registry: no device"):
        place.registry.register_device("0x" + "00" * 20, "", b"")


@pytest.mark.parametrize("who", [OPERATOR, DEVICE])
def test_operator_and_device_may_part(place: Place, who) -> None:
    register(place, OPERATOR)
    with boa.env.prank(STRANGER.address), boa.reverts("registry: not yours to remove"):
        place.registry.remove_device(DEVICE.address)
    with boa.env.prank(who.address):
        place.registry.remove_device(DEVICE.address)
        with boa.reverts("registry: no such device"):
            place.registry.remove_device(DEVICE.address)
    assert place.registry.removed_at(DEVICE.address, OPERATOR.address) == boa.env.evm.patch.timestamp
    assert place.registry.removed_at(DEVICE.address, STRANGER.address) == 0


def relay_consent(place: Place, operator, nonce: int, relay=RELAY) -> bytes:
    return relay.sign(RelayConsent(operator.address, RELAY.address, nonce).digest(place.registry_domain))


def name_relay(place: Place, operator, nonce: int = 0, url: str = URL, metadata: str = "", **kwargs) -> None:
    with boa.env.prank(operator.address):
        place.registry.register_relay(RELAY.address, url, metadata, relay_consent(place, operator, nonce, **kwargs))


def test_a_relay_consents_to_one_operator_who_says_where_it_is(place: Place) -> None:
    name_relay(place, OPERATOR, metadata="Reykjavik")
    (event,) = place.registry.get_logs()
    assert (event.operator.lower(), event.relay.lower(), event.url, event.metadata) == (OPERATOR.address, RELAY.address, URL, "Reykjavik")
    assert place.registry.operator_of_relay(RELAY.address).lower() == OPERATOR.address
    assert (place.registry.relay_url(RELAY.address), place.registry.relay_metadata(RELAY.address)) == (URL, "Reykjavik")
    with boa.reverts("registry: relay has an operator"):
        name_relay(place, STRANGER, 1)
    name_relay(place, OPERATOR, 1, url="tls://relay.example:443", metadata="Oslo")
    assert place.registry.relay_url(RELAY.address) == "tls://relay.example:443"
    assert place.registry.relay_metadata(RELAY.address) == "Oslo"
    assert place.registry.operator_of(RELAY.address) == "0x" + "00" * 20, "a relay is no device"


def test_nobody_names_a_relay_without_its_consent(place: Place) -> None:
    with boa.reverts("registry: no consent"):
        name_relay(place, STRANGER, relay=STRANGER)
    with boa.env.prank(STRANGER.address), boa.reverts("registry: no consent"):
        place.registry.register_relay(RELAY.address, URL, "", relay_consent(place, OPERATOR, 0))
    with boa.env.prank(OPERATOR.address), boa.reverts("registry: no consent"):
        place.registry.register_relay(RELAY.address, URL, "", consent(place, OPERATOR, 0))
    with boa.env.prank(STRANGER.address), boa.reverts("registry: no relay"):
        place.registry.register_relay("0x" + "00" * 20, URL, "", b"")
    with boa.reverts("registry: no url"):
        name_relay(place, OPERATOR, url="")


def test_a_relays_consent_is_used_once(place: Place) -> None:
    name_relay(place, OPERATOR)
    with boa.reverts("registry: no consent"):
        name_relay(place, OPERATOR, 0)
    with boa.env.prank(OPERATOR.address):
        place.registry.remove_relay(RELAY.address)
    with boa.reverts("registry: no consent"):
        name_relay(place, OPERATOR, 1)
    name_relay(place, OPERATOR, 2)


@pytest.mark.parametrize("who", [OPERATOR, RELAY])
def test_operator_and_relay_may_part(place: Place, who) -> None:
    name_relay(place, OPERATOR, metadata="Oslo")
    with boa.env.prank(STRANGER.address), boa.reverts("registry: not yours to remove"):
        place.registry.remove_relay(RELAY.address)
    with boa.env.prank(who.address):
        place.registry.remove_relay(RELAY.address)
        (event,) = place.registry.get_logs()
        assert (event.operator.lower(), event.relay.lower()) == (OPERATOR.address, RELAY.address)
        with boa.reverts("registry: no such relay"):
            place.registry.remove_relay(RELAY.address)
    assert (place.registry.relay_url(RELAY.address), place.registry.relay_metadata(RELAY.address)) == ("", "")


def test_an_operator_describes_itself(place: Place) -> None:
    with boa.env.prank(OPERATOR.address):
        place.registry.set_metadata("three laptops in Oslo")
    assert place.registry.operator_metadata(OPERATOR.address) == "three laptops in Oslo"
    assert place.registry.operator_metadata(STRANGER.address) == ""


def test_the_digest_is_that_of_the_core(place: Place) -> None:
    found = DeviceConsent(OPERATOR.address, DEVICE.address, 3).digest(place.registry_domain)
    assert place.registry.consent_digest(OPERATOR.address, DEVICE.address, 3) == found
    found = RelayConsent(OPERATOR.address, RELAY.address, 3).digest(place.registry_domain)
    assert place.registry.relay_consent_digest(OPERATOR.address, RELAY.address, 3) == found
