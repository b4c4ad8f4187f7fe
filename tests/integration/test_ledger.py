"""The ledger against a real anvil: contracts, channels, devices, and nonces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ledger_support import COIN, UNJUDGED, Chain, opened
from surge.core.receipts import Close, DeviceConsent, Voucher
from surge.errors import InvalidInput, LedgerError, NotEnough, Unavailable
from surge.ledger import Ledger, chain_id, deploy, verify_contracts
from surge.ledger.journal import Journal
from surge.wallet import KeySigner


async def test_the_shipped_contracts_are_recognised_and_others_are_not(chain: Chain) -> None:
    await verify_contracts(chain.network)
    assert await chain_id([chain.embedded.url]) == chain.network.chain_id
    network = chain.network
    with pytest.raises(InvalidInput, match="not what the network file says"):
        await verify_contracts(replace(network, token=replace(network.token, code_hash=bytes(32))))
    with pytest.raises(InvalidInput, match="not the contract this version"):
        await verify_contracts(replace(network, channels=network.registry))
    with pytest.raises(LedgerError, match="no contract"):
        await verify_contracts(replace(network, token=replace(network.token, address=KeySigner.random().address)))


async def test_contracts_that_rely_on_others_than_the_file_names_are_not_recognised(chain: Chain, tmp_path: Path) -> None:
    """The code is the shipped one: what the contracts were told at their deployment, or since, is not."""
    network = chain.network
    other = await deploy(network.rpc, network.chain_id, chain.treasury, tmp_path / "d.db", embedded=True, parameters=UNJUDGED)
    unjudged = replace(network, **other.contracts)
    await verify_contracts(unjudged)
    for name, named in (("token", "token"), ("registry", "registry"), ("bonds", "bonds"), ("channels", "token")):
        with pytest.raises(InvalidInput, match=f"the {named} of .* is not the {named}"):
            await verify_contracts(replace(network, **{name: getattr(other, name)}))
    for missing, view in (("court", "slasher of bonds"), ("emissions", "minter of token")):
        with pytest.raises(InvalidInput, match=f"the {view} .* is nobody whom the network file names"):
            await verify_contracts(replace(network, **{missing: None}))
        with pytest.raises(InvalidInput, match=f"the {view} .* is not the {missing}"):
            await verify_contracts(replace(unjudged, **{missing: getattr(network, missing)}))


async def test_a_channels_life(chain: Chain) -> None:
    ledger = chain.ledger
    work, operator = await opened(chain)
    state = await ledger.channel(work.channel)
    assert state.exists
    assert (state.buyer, state.provider) == (work.buyer.address, operator.address)
    assert (state.deposit, state.floor, state.redeemed, state.closed) == (10 * COIN, COIN // 100, 0, False)
    await ledger.top_up(work.buyer, work.channel, COIN)
    assert (await ledger.channel(work.channel)).deposit == 11 * COIN
    voucher, signature = work.voucher(5, 10**15)
    (redeemed,) = await ledger.redeem(operator, [(voucher, signature)])
    assert (redeemed.amount, redeemed.count, redeemed.root) == (5 * 10**15, 5, work.log.root())
    assert redeemed.fee == redeemed.amount * await ledger.fee_bps() // 10_000
    assert redeemed.paid == redeemed.amount - redeemed.fee == await ledger.token_balance(operator.address)
    assert await ledger.redemptions(work.channel) == [redeemed]
    for index in range(5):
        for accepted in (True, False):
            path = work.log.inclusion(index)
            proven = await ledger.verify_receipt(work.receipts[index], accepted=accepted, amount=10**15, index=index, path=path)
            assert proven is accepted
    close = Close(work.channel, 2 * COIN, 6, b"\x01" * 32)
    agreed = [each.sign(close.digest(work.domain)) for each in (operator, work.session)]
    before = await ledger.token_balance(work.buyer.address)
    await ledger.close_together(operator, Voucher(close.channel, close.amount, close.count, close.root), *agreed)
    assert (await ledger.channel(work.channel)).closed
    assert await ledger.token_balance(work.buyer.address) == before + 9 * COIN


async def test_many_vouchers_in_one_redemption_skip_what_is_worthless(chain: Chain) -> None:
    one, operator = await opened(chain)
    two, _ = await opened(chain)
    old, new = one.voucher(1, 10**15), one.voucher(2, 10**15)
    await chain.ledger.redeem(operator, [new])
    done = await chain.ledger.redeem(operator, [old, new, two.voucher(3, 10**15)])
    assert [(each.channel, each.amount) for each in done] == [(two.channel, 3 * 10**15)]


async def test_a_provider_gives_a_channel_up_and_is_paid_its_floor(chain: Chain) -> None:
    work, operator = await opened(chain)
    await chain.ledger.close_by_provider(operator, work.channel)
    assert (await chain.ledger.channel(work.channel)).closed
    floor = COIN // 100
    assert await chain.ledger.token_balance(operator.address) == floor - floor * await chain.ledger.fee_bps() // 10_000


async def test_what_was_owed_in_a_channel_that_was_given_up_is_recorded_and_pays_nothing(chain: Chain) -> None:
    work, operator = await opened(chain)
    voucher, signature = work.voucher(3, 10**15)
    with pytest.raises(LedgerError, match="channels: not given up"):
        await chain.ledger.record(work.buyer, voucher, signature)
    await chain.ledger.close_by_provider(operator, work.channel)
    with pytest.raises(LedgerError, match="channels: closed"):
        await chain.ledger.redeem(work.buyer, [(voucher, signature)])
    (recorded,) = await chain.ledger.record(work.buyer, voucher, signature)
    state = await chain.ledger.channel(work.channel)
    assert (recorded.count, recorded.root) == (state.count, state.root) == (voucher.count, voucher.root)
    assert state.redeemed == COIN // 100


async def test_a_one_sided_close_waits_for_its_challenge_period(chain: Chain) -> None:
    ledger = chain.ledger
    work, operator = await opened(chain)
    await ledger.start_close(work.buyer, work.channel)
    assert (await ledger.channel(work.channel)).closing_at > 0
    with pytest.raises(LedgerError, match="channels: "):
        await ledger.finish_close(operator, work.channel)
    with pytest.raises(LedgerError, match="channels: "):
        await ledger.top_up(work.buyer, work.channel, 1)
    await ledger.redeem(operator, [work.voucher(1, COIN)])
    await chain.ledger._endpoints.call("evm_increaseTime", 61)
    await ledger.finish_close(operator, work.channel)
    assert (await ledger.channel(work.channel)).closed
    assert await ledger.token_balance(work.buyer.address) == 99 * COIN


async def test_reverts_carry_the_contracts_reason(chain: Chain) -> None:
    ledger = chain.ledger
    work, operator = await opened(chain)
    voucher, _ = work.voucher(1, 10**15)
    stranger = await chain.buyer()
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: ledger.redeem(operator, [(voucher, stranger.sign(voucher.digest(work.domain)))]),
        lambda: ledger.close_by_provider(stranger, work.channel),
        lambda: ledger.start_close(stranger, work.channel),
        lambda: ledger.top_up(work.buyer, bytes(32), 1),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError, match="channels: ") as caught:
            await attempt()
        assert str(caught.value.details["reason"]).startswith("channels: ")
        assert not isinstance(caught.value, NotEnough)


async def test_too_few_tokens_and_too_little_gas_say_so_before_anything_is_sent(chain: Chain) -> None:
    ledger = chain.ledger
    poor, gasless = await chain.buyer(tokens=COIN), await chain.buyer(native=0)
    to = KeySigner.random().address

    def channel(signer: KeySigner, amount: int) -> Awaitable[bytes]:
        return ledger.open_channel(
            signer, provider=to, device=to, session_key=to, amount=amount, floor=0, challenge_seconds=60, patience=5.0
        )

    with pytest.raises(NotEnough, match="needed") as caught:
        await channel(poor, 2 * COIN)
    assert (caught.value.details["held"], caught.value.details["needed"]) == (COIN, 2 * COIN)
    with pytest.raises(NotEnough, match="holds"):
        await ledger.transfer(poor, to, tokens=2 * COIN)
    attempts: list[Callable[[], Awaitable[object]]] = [lambda: channel(gasless, COIN), lambda: ledger.transfer(gasless, to, tokens=1)]
    for attempt in attempts:
        with pytest.raises(NotEnough, match="gas"):
            await attempt()
    with pytest.raises(NotEnough, match="gas"):
        await ledger.transfer(poor, to, native=5 * COIN)
    assert {each.account for each in ledger._journal.unfinished()} == {chain.treasury.address}
    assert await ledger.token_balance(to) == 0


async def test_devices_are_registered_with_their_consent(chain: Chain) -> None:
    ledger, device = chain.ledger, KeySigner.random()
    operator = await chain.buyer(tokens=0)
    assert await ledger.operator_of(device.address) is None
    consent = DeviceConsent(operator.address, device.address, await ledger.device_nonce(device.address))
    signature = device.sign(consent.digest(chain.network.registry_domain))
    await ledger.register_device(operator, device.address, "laptop", signature)
    assert await ledger.operator_of(device.address) == operator.address
    with pytest.raises(LedgerError, match="registry: "):
        await ledger.register_device(chain.treasury, device.address, "mine", signature)


async def test_two_journals_users_of_one_account_get_nonces_of_their_own(chain: Chain) -> None:
    other = await Ledger.connect(chain.network, chain.embedded.folder / "tx.db")
    try:
        people = [KeySigner.random().address for _ in range(16)]
        await asyncio.gather(
            *((chain.ledger, other)[number % 2].transfer(chain.treasury, to, tokens=number + 1) for number, to in enumerate(people))
        )
        assert [await chain.ledger.token_balance(to) for to in people] == list(range(1, 17))
        nonces = [each.nonce for each in chain.ledger._journal.unfinished()]
        assert nonces == list(range(nonces[0], nonces[0] + 16))
    finally:
        await other.close()


def test_a_nonce_that_was_given_up_is_used_by_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tx.db", 5)
    account = KeySigner.random().address
    sent = [journal.add(account, 3, "test", lambda nonce: (f"0x{nonce}", "0x")) for _ in range(3)]
    assert [each.nonce for each in sent] == [3, 4, 5]
    journal.drop(sent[0])
    assert journal.add(account, 3, "test", lambda nonce: ("again", "0x")).nonce == 3
    assert journal.add(account, 3, "test", lambda nonce: ("next", "0x")).nonce == 6
    assert journal.add(account, 9, "test", lambda nonce: ("later", "0x")).nonce == 9
    other = Journal(tmp_path / "tx.db", 6)
    assert other.add(account, 0, "test", lambda nonce: ("other chain", "0x")).nonce == 0
    for each in (journal, other):
        each.close()


def test_a_journal_that_cannot_be_written_says_so_and_signs_nothing_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tx.db", 5)
    account = KeySigner.random().address
    first = journal.add(account, 0, "test", lambda nonce: ("one", "0x"))
    with pytest.raises(Unavailable, match="cannot be written"):
        journal.add(account, 0, "test", lambda nonce: ("one", "0x"))  # the hash is there already
    with pytest.raises(ZeroDivisionError):
        journal.add(account, 0, "test", lambda nonce: ("", str(1 // 0)))
    journal._db.execute("PRAGMA query_only=1")
    changes: list[Callable[[], None]] = [
        lambda: journal.finished("one"),
        lambda: journal.drop(first),
        lambda: journal.refuse(first),
    ]
    for change in changes:
        with pytest.raises(Unavailable, match="cannot be written"):
            change()
    journal._db.execute("PRAGMA query_only=0")
    assert journal.add(account, 0, "test", lambda nonce: ("two", "0x")).nonce == 1
    assert [each.hash for each in journal.unfinished()] == ["one", "two"]
    journal.close()
