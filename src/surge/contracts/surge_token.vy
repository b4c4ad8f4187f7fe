# pragma version ~=0.4.3
# pragma evm-version cancun
# pragma nonreentrancy off
"""
@title Surge: the network's token
@license GNU Affero General Public License v3.0 only
@author Surge
@notice An ERC-20 token with EIP-2612 permits, 18 decimals. The
        whole supply is minted to the deployer at deployment.
@custom:security Invariants: the supply is fixed at deployment,
                 because no minting function is exported;
                 balances sum to the supply. Everything else is
                 snekmate's ERC-20.
"""


# @dev We import and initialise the `ownable` module.
from snekmate.auth import ownable
initializes: ownable


# @dev We import and initialise the `erc20` module.
from snekmate.tokens import erc20
initializes: erc20[ownable := ownable]


# @dev Minting, burning rights and ownership are not exported:
# nobody holds them after deployment.
exports: (
    erc20.name,
    erc20.symbol,
    erc20.decimals,
    erc20.totalSupply,
    erc20.balanceOf,
    erc20.allowance,
    erc20.transfer,
    erc20.transferFrom,
    erc20.approve,
    erc20.permit,
    erc20.nonces,
    erc20.DOMAIN_SEPARATOR,
    erc20.eip712Domain,
)


@deploy
def __init__(supply: uint256):
    """
    @dev Mints the supply to the deployer. No function that mints
         or burns is exported.
    @param supply The supply in wei.
    """
    ownable.__init__()
    erc20.__init__("Surge", "SURGE", 18, "Surge", "1")
    erc20._mint(msg.sender, supply)
