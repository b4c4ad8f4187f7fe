"""Holders who put their shards together answer for nobody else: Reed-Solomon lets them, the masks do not."""

from __future__ import annotations

import pytest

from storage_support import MASK_SECRET, Stored, place, stored
from surge.core.storage.layout import PROOF_LEAF
from surge.core.storage.masks import Mask, mask_key
from surge.core.storage.tree import Tree, transfer_leaves, verify
from surge.storage.erasure import code_of

K, N, VICTIM = 20, 30, 25
COLLUDING = range(20)


@pytest.fixture(scope="module")
def segment() -> Stored:
    return stored(3_000_000, K, N)


def put_together(made: Stored, theirs: dict[int, bytes], wanted: int) -> bytes:
    """The shard that twenty holders compute from what each of them keeps, stripe by stripe."""
    code, found = code_of(K, N), []
    for stripe in range(made.layout.stripes):
        at = slice(stripe * 65536, (stripe + 1) * 65536)
        found.append(bytes(code.rebuild({index: data[at] for index, data in theirs.items()}, [wanted])[0]))
    return b"".join(found)


def unmasked(made: Stored, index: int) -> bytes:
    return Mask(mask_key(MASK_SECRET, place(index))).apply(made.shards[index].data)


def test_twenty_holders_of_unmasked_shards_would_answer_every_audit_of_a_twenty_first(segment: Stored) -> None:
    root = Tree.of(unmasked(segment, VICTIM)).root  # what an audit would ask about, were shards kept as they are coded
    made = put_together(segment, {index: unmasked(segment, index) for index in COLLUDING}, VICTIM)
    tree = Tree.of(made)
    assert tree.root == root
    for leaf in range(0, len(made) // PROOF_LEAF, 7):
        assert verify(root, len(made), leaf, made[leaf * PROOF_LEAF : (leaf + 1) * PROOF_LEAF], tree.proof(leaf))


@pytest.mark.parametrize("guess", ["from masked shards", "from masked shards, masked as one of their own", "one of their own"])
def test_twenty_holders_of_masked_shards_answer_no_audit_of_a_twenty_first(segment: Stored, guess: str) -> None:
    theirs = {index: bytes(segment.shards[index].data) for index in COLLUDING}
    made = put_together(segment, theirs, VICTIM) if guess.startswith("from") else theirs[0]
    if guess.endswith("masked as one of their own"):
        # A stream that they could know: what the mask of one of them would be, if they had guessed that holder's plain shard rightly.
        stream = Mask(mask_key(MASK_SECRET, place(0))).apply(bytes(len(made)))
        made = bytes(one ^ other for one, other in zip(made, stream, strict=True))
    victim, tree = segment.shards[VICTIM], Tree.of(made)
    assert len(made) == len(victim.data)
    for leaf in range(-(-len(made) // PROOF_LEAF)):
        answer = made[leaf * PROOF_LEAF : (leaf + 1) * PROOF_LEAF]
        assert answer != bytes(victim.data[leaf * PROOF_LEAF : (leaf + 1) * PROOF_LEAF])
        assert not verify(victim.root, len(made), leaf, answer, tree.proof(leaf))
        assert not verify(victim.root, len(made), leaf, answer, victim.tree.proof(leaf))


def test_the_victim_itself_answers_and_so_does_nobody_with_its_shard_at_another_place(segment: Stored) -> None:
    victim = segment.shards[VICTIM]
    leaf = bytes(victim.data[:PROOF_LEAF])
    assert verify(victim.root, len(victim.data), 0, leaf, victim.tree.proof(0))
    elsewhere = Mask(mask_key(MASK_SECRET, place(VICTIM, turn=1))).apply(unmasked(segment, VICTIM))
    assert not verify(victim.root, len(victim.data), 0, elsewhere[:PROOF_LEAF], Tree.of(elsewhere).proof(0))
    assert transfer_leaves(len(victim.data)) == segment.layout.stripes
