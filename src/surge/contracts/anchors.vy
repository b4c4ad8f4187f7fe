# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Anchors: operators' hash chains, and the ordinals of cases
@license GNU Affero General Public License v3.0 only
@author Surge
@notice An operator draws a secret, hashes it many times with
        keccak-256, and registers the last hash: its anchor. Each
        case against it gets the next ordinal, and with it the one
        link that many hashes before the anchor.
@custom:security Invariants: an ordinal is given out once, and names
                 one link of one chain, whatever the operator
                 registers afterwards; nobody but the operator can
                 know a link before it is shown or a later one is.
"""


# @dev We use the `slashers` module.
import slashers
uses: slashers


# @dev Hashes between a link and the anchor that one call looks at.
MAX_SKIP: constant(uint256) = 1_024


struct Chain:
    anchor: bytes32
    links_used: uint256


struct Ordinal:
    issuer: address
    chain: uint256


# @dev The chains of each operator, by number from 1. Ordinals that
# were given out before the first belong to number 0, which has no
# anchor and never gets one: a chain that is registered later would
# be chosen in sight of their cases.
_chains: HashMap[address, HashMap[uint256, Chain]]


# @dev The number of the chain that new ordinals belong to.
_newest: HashMap[address, uint256]


# @dev The last ordinal that was given out.
ordinals: public(HashMap[address, uint256])


# @dev Who took an ordinal, and the chain it belongs to.
_ordinals: HashMap[address, HashMap[uint256, Ordinal]]


event AnchorSet:
    operator: indexed(address)
    anchor: bytes32
    ordinal: uint256


event OrdinalTaken:
    operator: indexed(address)
    ordinal: uint256


event LinkUsed:
    operator: indexed(address)
    ordinal: uint256
    link: bytes32


@external
def set_anchor(anchor: bytes32):
    """
    @dev Begins a new chain of the caller's. Ordinals that were
         given out stay with the chain they belong to.
    @param anchor The last hash of the chain: the link of ordinal
           n is the one that hashed n times gives the anchor,
           counted from the ordinals given out before.
    """
    assert anchor != empty(bytes32), "bonds: no anchor"
    newest: uint256 = self._newest[msg.sender] + 1
    ordinal: uint256 = self.ordinals[msg.sender]
    self._newest[msg.sender] = newest
    self._chains[msg.sender][newest] = Chain(anchor=anchor, links_used=ordinal)
    log AnchorSet(operator=msg.sender, anchor=anchor, ordinal=ordinal)


@external
def next_ordinal(operator: address) -> uint256:
    """
    @dev Numbers a case against an operator. Only a slasher may.
    @param operator The operator.
    @return uint256 The ordinal, from 1.
    """
    slashers._check_slasher()
    ordinal: uint256 = self.ordinals[operator] + 1
    self.ordinals[operator] = ordinal
    self._ordinals[operator][ordinal] = Ordinal(issuer=msg.sender, chain=self._newest[operator])
    log OrdinalTaken(operator=operator, ordinal=ordinal)
    return ordinal


@external
def use_link(operator: address, ordinal: uint256, link: bytes32) -> bool:
    """
    @dev Checks the link that belongs to an ordinal. Only who took
         the ordinal may. One beyond all that were shown becomes
         the anchor of those after it.
    @param operator The operator.
    @param ordinal The ordinal.
    @param link The link that was shown.
    @return bool Whether it is the one.
    """
    taken: Ordinal = self._ordinals[operator][ordinal]
    assert taken.issuer == msg.sender, "bonds: not your ordinal"
    found: Chain = self._chains[operator][taken.chain]
    if found.anchor == empty(bytes32):
        return False
    ahead: bool = ordinal > found.links_used
    distance: uint256 = ordinal - found.links_used if ahead else found.links_used - ordinal
    if distance > MAX_SKIP:
        return False
    hashed: bytes32 = link if ahead else found.anchor
    for _: uint256 in range(distance, bound=MAX_SKIP):
        hashed = keccak256(hashed)
    if hashed != (found.anchor if ahead else link):
        return False
    if ahead:
        self._chains[operator][taken.chain] = Chain(anchor=link, links_used=ordinal)
    log LinkUsed(operator=operator, ordinal=ordinal, link=link)
    return True


@internal
@view
def _chain(operator: address) -> Chain:
    """
    @dev The chain that new ordinals belong to.
    """
    return self._chains[operator][self._newest[operator]]
