"""Challenges: what may be asked of whom and when, and which answers count."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, replace

import boa
import pytest

from challenges_support import CHALLENGER, ETHER, KEEPER, NUMBERS, OTHER, SHARD, Storage, leaf
from contracts_support import BUYER, DEVICE, OPERATOR, OWNER, STRANGER
from surge.core.storage.pledges import Release
from surge.core.storage.tree import Tree

NOBODY = "0x" + "00" * 20


def test_an_answer_brings_the_operator_the_fee_and_ends_the_challenge(storage: Storage) -> None:
    pledge = storage.pledge()
    before = storage.place.balance(CHALLENGER)
    number = storage.challenge(pledge, 97)
    assert (number, storage.contract.challenge_count()) == (1, 1)
    assert before - storage.place.balance(CHALLENGER) == storage.held() == NUMBERS.fee
    digest = pledge.digest(storage.domain)
    assert tuple(storage.contract.open_challenge(1)) == (
        digest,
        storage.contract.open_challenge(1).challenger,
        97,
        NUMBERS.fee,
        2 * ETHER,
        storage.now + 100,
    )
    assert str(storage.contract.open_challenge(1).challenger).lower() == CHALLENGER.address
    assert storage.reserved() == 2 * ETHER
    storage.wait(99)
    storage.answer(1, pledge, 97)
    assert (storage.owed(OPERATOR), storage.owed(CHALLENGER), storage.reserved()) == (NUMBERS.fee, 0, 0)
    assert tuple(storage.contract.open_challenge(1))[2:] == (0, 0, 0, 0)
    for again in (lambda: storage.answer(1, pledge, 97), lambda: storage.settle(1, pledge), lambda: storage.release(1, pledge)):
        with boa.reverts("challenges: not open"):
            again()
    with boa.reverts("challenges: not open"):
        storage.answer(2, pledge)
    storage.by(OPERATOR, storage.contract, "collect")
    assert storage.held() == 0


@pytest.mark.parametrize("size", [1, 1_024, 1_025, 8 * 1_024, 8 * 1_024 + 1, 64 * 1_024 + 1, 100_000, 513 * 1_024])
def test_every_leaf_of_a_shard_of_any_size_is_an_answer(storage: Storage, size: int) -> None:
    shard = hashlib.shake_128(b"%d" % size).digest(size)
    pledge = storage.pledge(shard=shard)
    last = (size - 1) // 1_024
    for index in sorted({0, last // 3, last - 1 if last else 0, last}):
        number = storage.challenge(pledge, index)
        storage.answer(number, pledge, index, shard)
    with boa.reverts("challenges: no such leaf"):
        storage.challenge(pledge, last + 1)


def test_the_tallest_tree_is_answered_in_a_couple_of_kilobytes(storage: Storage) -> None:
    """Of a shard of 2 GiB, whose tree is made up along one path."""
    data, siblings = b"x" * 1_024, hashlib.shake_128(b"s").digest(7 * 7 * 32)
    node, index = hashlib.sha256(b"\0" + data).digest(), 0
    for height in range(7):
        place, row = (height * 3) % 8, siblings[height * 224 : height * 224 + 224]
        node = hashlib.sha256(b"\1" + row[: place * 32] + node + row[place * 32 :]).digest()
        index += place * 8**height
    pledge = storage.pledge(root=node, size=2**31)
    number = storage.challenge(pledge, index)
    storage.by(OTHER, storage.contract, "answer", number, astuple(pledge), data, siblings)
    assert storage.owed(OPERATOR) == NUMBERS.fee
    assert len(data) + len(siblings) == 2_592


def test_what_is_not_the_leaf_is_no_answer(storage: Storage) -> None:
    pledge = storage.pledge()
    number = storage.challenge(pledge, 9)
    tree = Tree.of(SHARD)
    right, path = leaf(SHARD, 9), tree.proof(9)
    flipped = bytes((right[0] ^ 1,)) + right[1:]
    other = hashlib.shake_128(b"another deal's").digest(len(SHARD))
    node = tree.leaves[8 * 32 : 16 * 32]
    wrong = [
        (flipped, path),
        (right[:-1], path),
        (b"", path),
        (b"", b""),
        (right, path[:-32]),
        (right, path[:-1]),
        (right, path + bytes(32)),
        (right, path + b"\0"),
        (right, b""),
        (right, path[32:] + path[:32]),
        (leaf(SHARD, 8), tree.proof(8)),
        (leaf(SHARD, 8), path),
        (leaf(other, 9), Tree.of(other).proof(9)),
        (node, path[7 * 32 :]),
        (b"\1" + node, path[7 * 32 :]),
    ]
    for data, siblings in wrong:
        with boa.reverts("challenges: not the leaf"):
            storage.by(OTHER, storage.contract, "answer", number, astuple(pledge), data, siblings)
    with boa.reverts("challenges: another pledge"):
        storage.answer(number, replace(pledge, root=Tree.of(other).root), 9, other)
    storage.answer(number, pledge, 9)


def test_an_answer_or_a_release_comes_before_the_deadline(storage: Storage) -> None:
    pledge = storage.pledge()
    number = storage.challenge(pledge)
    storage.wait(99)
    with boa.reverts("challenges: deadline not passed"):
        storage.settle(number, pledge)
    storage.wait(1)
    for late in (storage.answer, storage.release):
        with boa.reverts("challenges: too late"):
            late(number, pledge)
    assert storage.settle(number, pledge) == 2 * ETHER


def test_a_pledge_is_challenged_only_while_it_holds(storage: Storage) -> None:
    for starts, until in ((1, 400), (-800, -1)):
        with boa.reverts("challenges: the pledge does not hold"):
            storage.challenge(storage.pledge(starts=storage.now + starts, until=storage.now + until))
    storage.challenge(storage.pledge(starts=storage.now, until=storage.now))
    storage.challenge(storage.pledge(starts=storage.now, until=storage.now + 1_000))
    with boa.reverts("challenges: the pledge is too long"):
        storage.challenge(storage.pledge(starts=storage.now, until=storage.now + 1_001))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": 0}, "challenges: size out of bounds"),
        ({"size": 2**31 + 1}, "challenges: size out of bounds"),
        ({"penalty": NUMBERS.least_penalty - 1}, "challenges: penalty out of bounds"),
        ({"penalty": NUMBERS.most_penalty + 1}, "challenges: penalty out of bounds"),
        ({"owner": NOBODY}, "challenges: empty address"),
        ({"keeper": NOBODY}, "challenges: empty address"),
        ({"operator": NOBODY}, "challenges: empty address"),
        ({"operator": STRANGER.address}, "challenges: no operator's device"),
        ({"device": STRANGER.address}, "challenges: not the device's pledge"),
    ],
)
def test_a_pledge_out_of_bounds_is_not_challenged(storage: Storage, changes: dict, reason: str) -> None:
    with boa.reverts(reason):
        storage.challenge(storage.pledge(**changes))


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65)], ids=len)
def test_nobody_signs_for_the_empty_address(storage: Storage, signature: bytes) -> None:
    pledge = storage.pledge(device=NOBODY)
    with boa.reverts("challenges: empty address"):
        storage.by(CHALLENGER, storage.contract, "challenge", astuple(pledge), signature, 0)
    pledge = storage.pledge()
    with boa.reverts():
        storage.by(CHALLENGER, storage.contract, "challenge", astuple(pledge), signature, 0)


def test_a_device_that_is_its_own_operator_answers_for_itself(storage: Storage) -> None:
    pledge = storage.pledge(device=STRANGER.address, operator=STRANGER.address)
    storage.answer(storage.challenge(pledge, signer=STRANGER), pledge)
    assert storage.owed(STRANGER) == NUMBERS.fee


def test_an_operator_answers_for_a_device_that_went_while_its_pledge_held(storage: Storage) -> None:
    """Also if it is another operator's by now; and for no pledge that begins later, whatever the device signs."""
    pledge = storage.pledge()
    storage.remove(DEVICE, OPERATOR)
    gone = storage.now
    storage.register(DEVICE, STRANGER)
    storage.wait(50)
    number = storage.challenge(pledge)
    storage.wait()
    assert storage.settle(number, pledge) == 2 * ETHER
    storage.challenge(replace(pledge, starts=gone))
    with boa.reverts("challenges: no operator's device"):
        storage.challenge(replace(pledge, starts=gone + 1))


def test_a_release_ends_the_challenge_and_all_others_of_the_deal(storage: Storage) -> None:
    pledge = storage.pledge()
    renewed = replace(pledge, starts=storage.now)
    one, two, three = storage.challenge(pledge), storage.challenge(pledge, 5, OTHER), storage.challenge(renewed, 7)
    with boa.reverts("challenges: not the keeper's release"):
        storage.release(one, pledge, BUYER)
    with boa.reverts("challenges: not the keeper's release"):
        storage.by(OTHER, storage.contract, "release", one, astuple(pledge), KEEPER.sign(Release(b"\1" * 32).digest(storage.domain)))
    storage.release(one, pledge)
    assert storage.contract.released(KEEPER.address, pledge.deal)
    assert (storage.settle(two, pledge), storage.settle(three, renewed)) == (0, 0)
    assert (storage.owed(OPERATOR), storage.reserved()) == (3 * NUMBERS.fee, 0)
    with boa.reverts("challenges: the deal was released"):
        storage.challenge(renewed)
    storage.challenge(replace(pledge, keeper=OTHER.address))
    storage.challenge(storage.pledge(1))


def test_only_the_owner_sets_the_fee_within_its_bounds_and_for_later_challenges(storage: Storage) -> None:
    pledge = storage.pledge()
    number = storage.challenge(pledge)
    with boa.reverts("ownable: caller is not the owner"):
        storage.by(STRANGER, storage.contract, "set_fee", NUMBERS.fee)
    for fee in (NUMBERS.least_fee - 1, NUMBERS.most_fee + 1):
        with boa.reverts("challenges: fee out of bounds"):
            storage.by(OWNER, storage.contract, "set_fee", fee)
    storage.by(OWNER, storage.contract, "set_fee", NUMBERS.most_fee)
    assert tuple(storage.contract.parameters()) == astuple(replace(NUMBERS, fee=NUMBERS.most_fee))
    storage.answer(number, pledge)
    assert (storage.owed(OPERATOR), storage.held()) == (NUMBERS.fee, NUMBERS.fee)
    storage.answer(storage.challenge(pledge), pledge)
    assert storage.owed(OPERATOR) == NUMBERS.fee + NUMBERS.most_fee


def test_who_has_no_money_for_the_fee_challenges_nobody(storage: Storage) -> None:
    with boa.reverts():
        storage.challenge(storage.pledge(), who=STRANGER)
    assert storage.reserved() == storage.contract.challenge_count() == 0
