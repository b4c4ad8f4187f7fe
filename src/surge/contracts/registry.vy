# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Registry: operators, their devices, and relays
@license GNU Affero General Public License v3.0 only
@author Surge
@notice An operator names the devices that work for it, and the
        relays that it runs; each of them consents with a
        signature.
@custom:security Invariants: a device, and a relay, has at most
                 one operator, and only with its own signed
                 consent; a consent is used once, because the
                 nonce of who gave it moves with every change;
                 nobody but the operator or the device or relay
                 itself removes it. The contract holds no money.
"""


# @dev We import and initialise the `eip712_domain_separator` module.
from snekmate.utils import eip712_domain_separator as eip712
initializes: eip712


# @dev We import the `ecdsa` module.
from snekmate.utils import ecdsa


exports: eip712.eip712Domain


# @dev The EIP-712 type of a device's consent.
CONSENT_TYPE: constant(bytes32) = keccak256("DeviceConsent(address operator,address device,uint256 nonce)")


# @dev The EIP-712 type of a relay's consent.
RELAY_CONSENT_TYPE: constant(bytes32) = keccak256("RelayConsent(address operator,address relay,uint256 nonce)")


# @dev The operator of each device; empty if it has none.
operator_of: public(HashMap[address, address])


# @dev When an operator's device was removed last, in Unix seconds;
# 0 if it was not. An operator answers for a device a while longer.
removed_at: public(HashMap[address, HashMap[address, uint256]])


# @dev Counts a device's changes, so that no consent is used twice.
device_nonce: public(HashMap[address, uint256])


# @dev What an operator says of a device: up to 256 characters.
device_metadata: public(HashMap[address, String[256]])


# @dev What an operator says of itself.
operator_metadata: public(HashMap[address, String[256]])


# @dev The operator of each relay; empty if it has none.
operator_of_relay: public(HashMap[address, address])


# @dev Counts a relay's changes, so that no consent is used twice.
relay_nonce: public(HashMap[address, uint256])


# @dev Where each relay is reached, by the relay's own identity.
relay_url: public(HashMap[address, String[256]])


# @dev What an operator says of a relay.
relay_metadata: public(HashMap[address, String[256]])


event DeviceRegistered:
    operator: indexed(address)
    device: indexed(address)
    metadata: String[256]


event DeviceRemoved:
    operator: indexed(address)
    device: indexed(address)


event OperatorDescribed:
    operator: indexed(address)
    metadata: String[256]


event RelayRegistered:
    operator: indexed(address)
    relay: indexed(address)
    url: String[256]
    metadata: String[256]


event RelayRemoved:
    operator: indexed(address)
    relay: indexed(address)


@deploy
def __init__():
    """
    @dev Sets the domain of consents.
    """
    eip712.__init__("Surge registry", "1")


@external
def register_device(device: address, metadata: String[256], consent: Bytes[65]):
    """
    @dev Names a device of the caller's, or describes it anew.
    @param device The device's address.
    @param metadata What the operator says of it.
    @param consent The device's signature over
           DeviceConsent(caller, device, the device's nonce).
    """
    assert device != empty(address), "registry: no device"
    assert self.operator_of[device] in [empty(address), msg.sender], "registry: device has an operator"
    nonce: uint256 = self.device_nonce[device]
    digest: bytes32 = eip712._hash_typed_data_v4(keccak256(abi_encode(CONSENT_TYPE, msg.sender, device, nonce)))
    assert ecdsa._recover_sig(digest, consent) == device, "registry: no consent"
    self.device_nonce[device] = nonce + 1
    self.operator_of[device] = msg.sender
    self.device_metadata[device] = metadata
    log DeviceRegistered(operator=msg.sender, device=device, metadata=metadata)


@external
def remove_device(device: address):
    """
    @dev Ends a device's work for its operator.
    @param device The device's address.
    """
    operator: address = self.operator_of[device]
    assert operator != empty(address), "registry: no such device"
    assert msg.sender in [operator, device], "registry: not yours to remove"
    self.device_nonce[device] += 1
    self.operator_of[device] = empty(address)
    self.removed_at[device][operator] = block.timestamp
    self.device_metadata[device] = ""
    log DeviceRemoved(operator=operator, device=device)


@external
def set_metadata(metadata: String[256]):
    """
    @dev Says something of the calling operator.
    @param metadata What it says of itself.
    """
    self.operator_metadata[msg.sender] = metadata
    log OperatorDescribed(operator=msg.sender, metadata=metadata)


@external
def register_relay(relay: address, url: String[256], metadata: String[256], consent: Bytes[65]):
    """
    @dev Names a relay of the caller's, or describes it anew.
    @param relay The relay's address: the identity that logins name.
    @param url Where it is reached.
    @param metadata What the operator says of it.
    @param consent The relay's signature over
           RelayConsent(caller, relay, the relay's nonce).
    """
    assert relay != empty(address), "registry: no relay"
    assert len(url) > 0, "registry: no url"
    assert self.operator_of_relay[relay] in [empty(address), msg.sender], "registry: relay has an operator"
    nonce: uint256 = self.relay_nonce[relay]
    digest: bytes32 = eip712._hash_typed_data_v4(keccak256(abi_encode(RELAY_CONSENT_TYPE, msg.sender, relay, nonce)))
    assert ecdsa._recover_sig(digest, consent) == relay, "registry: no consent"
    self.relay_nonce[relay] = nonce + 1
    self.operator_of_relay[relay] = msg.sender
    self.relay_url[relay] = url
    self.relay_metadata[relay] = metadata
    log RelayRegistered(operator=msg.sender, relay=relay, url=url, metadata=metadata)


@external
def remove_relay(relay: address):
    """
    @dev Takes a relay off the list.
    @param relay The relay's address.
    """
    operator: address = self.operator_of_relay[relay]
    assert operator != empty(address), "registry: no such relay"
    assert msg.sender in [operator, relay], "registry: not yours to remove"
    self.relay_nonce[relay] += 1
    self.operator_of_relay[relay] = empty(address)
    self.relay_url[relay] = ""
    self.relay_metadata[relay] = ""
    log RelayRemoved(operator=operator, relay=relay)


@external
@view
def consent_digest(operator: address, device: address, nonce: uint256) -> bytes32:
    """
    @dev What a device signs to consent.
    @param operator Who will be its operator.
    @param device The device.
    @param nonce Its nonce.
    @return bytes32 The EIP-712 digest.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(CONSENT_TYPE, operator, device, nonce)))


@external
@view
def relay_consent_digest(operator: address, relay: address, nonce: uint256) -> bytes32:
    """
    @dev What a relay signs to consent.
    @param operator Who will be its operator.
    @param relay The relay.
    @param nonce Its nonce.
    @return bytes32 The EIP-712 digest.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(RELAY_CONSENT_TYPE, operator, relay, nonce)))
