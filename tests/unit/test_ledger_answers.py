"""What a node answers is read strictly; whatever else it says, it is as good as away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core.types import address
from surge.errors import Unavailable
from surge.ledger import answers

WORD, ADDRESS = "0x" + "ab" * 32, "0x" + "Cd" * 20
LOG = {"address": ADDRESS, "topics": [WORD], "data": "0x00ff", "transactionHash": WORD}
RECEIPT = {
    "transactionHash": WORD,
    "blockNumber": "0x10",
    "status": "0x1",
    "gasUsed": "0x5208",
    "logs": [LOG],
    "contractAddress": None,
}
BLOCK = {"number": "0x10", "timestamp": "0x20", "baseFeePerGas": "0x30"}
READERS: list[Callable[[Any], Any]] = [answers.quantity, answers.data, answers.block, answers.logs, answers.mined]


def test_good_answers_are_read() -> None:
    assert answers.quantity("0x1F") == 31
    assert answers.data("0x00ff") == b"\0\xff"
    assert answers.block(BLOCK) == answers.Block(16, 32, 48)
    assert answers.block({"number": "0x1", "timestamp": "0x2"}).base_fee == 0
    event = answers.Log(address(ADDRESS), (b"\xab" * 32,), b"\0\xff", WORD)
    assert answers.mined(RECEIPT) == answers.Mined(WORD, 16, True, 21000, (event,), None)
    failed = answers.mined({**RECEIPT, "status": "0x0", "contractAddress": ADDRESS})
    assert failed is not None
    assert (failed.succeeded, failed.contract) == (False, "0x" + "cd" * 20)
    assert answers.mined(None) is None
    assert answers.mined({**RECEIPT, "blockNumber": None}) is None


@pytest.mark.parametrize("odd", [None, 5, True, "", "x", "0x", "0xzz", "0x" + "f" * 65, "-0x1", " 0x1", "0x1\n", [], {}, [None], [{}]])
def test_odd_numbers_are_refused(odd: Any) -> None:
    with pytest.raises(Unavailable, match="where a number should be"):
        answers.quantity(odd)


@pytest.mark.parametrize("name", RECEIPT)
@pytest.mark.parametrize(
    "odd", [5, "x", "0x", {}, [{}], [LOG, None], [{**LOG, "topics": None}], [{**LOG, "topics": ["0x12"]}], [{**LOG, "address": WORD}]]
)
def test_a_receipt_with_an_odd_field_is_refused(name: str, odd: Any) -> None:
    with pytest.raises(Unavailable, match="the node answers"):
        answers.mined({**RECEIPT, name: odd})


@given(
    found=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([WORD, ADDRESS, "0x1"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RECEIPT, *LOG, *BLOCK]), inner, max_size=6),
    )
)
def test_no_answer_does_worse_than_being_refused(found: Any) -> None:
    for read in READERS:
        with contextlib.suppress(Unavailable):
            read(found)
