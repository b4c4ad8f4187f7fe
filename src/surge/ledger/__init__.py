"""Talks to the chain: the only room that knows the encoding of contracts' calls.

Reads come from endpoints that are believed, writes are journalled before they are sent and sent again, at rising prices, until final. This
room knows contracts and transactions; what a voucher means, and when to redeem one, is for others.
"""

from surge.ledger.anvil import EmbeddedLedger, Genesis, find_anvil, load_genesis
from surge.ledger.bonds import Bonds, Pool, Stake, Ticket
from surge.ledger.cases import Ballot, Case, OpenedCase
from surge.ledger.chain import Ledger
from surge.ledger.challenges import Challenge, Challenges
from surge.ledger.court import Court
from surge.ledger.deploy import Deployed, chain_id, deploy, verify_contracts
from surge.ledger.emissions import Emissions
from surge.ledger.histories import Histories, Page
from surge.ledger.members import Member
from surge.ledger.states import ChannelState, Redemption

__all__ = [
    "Ballot",
    "Bonds",
    "Case",
    "Challenge",
    "Challenges",
    "ChannelState",
    "Court",
    "Deployed",
    "EmbeddedLedger",
    "Emissions",
    "Genesis",
    "Histories",
    "Ledger",
    "Member",
    "OpenedCase",
    "Page",
    "Pool",
    "Redemption",
    "Stake",
    "Ticket",
    "chain_id",
    "deploy",
    "find_anvil",
    "load_genesis",
    "verify_contracts",
]
