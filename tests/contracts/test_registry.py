"""The registry: devices work for who they agreed to work for."""

from __future__ import annotations

import boa
import pytest

from contracts_support import BUYER, DEVICE, OPERATOR, STRANGER, Place
from surge.core.receipts import DeviceConsent


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


def test_relays_list_themselves(place: Place) -> None:
    with boa.env.prank(BUYER.address):
        with boa.reverts("registry: no url"):
            place.registry.register_relay("")
        with boa.reverts("registry: no such relay"):
            place.registry.remove_relay()
        place.registry.register_relay("nats://relay.example:4222")
        assert place.registry.relay_url(BUYER.address) == "nats://relay.example:4222"
        place.registry.remove_relay()
    assert place.registry.relay_url(BUYER.address) == ""


def test_the_digest_is_that_of_the_core(place: Place) -> None:
    found = DeviceConsent(OPERATOR.address, DEVICE.address, 3).digest(place.registry_domain)
    assert place.registry.consent_digest(OPERATOR.address, DEVICE.address, 3) == found
