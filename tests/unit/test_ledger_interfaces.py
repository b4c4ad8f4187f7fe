"""What goes to nodes as bytes: calls, addresses and signed transactions, as the standards and eth_account have them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from surge.core.types import address
from surge.errors import InvalidInput
from surge.ledger.interfaces import checksum, function_of
from surge.ledger.prices import Price
from surge.ledger.signed import price_of, same_call, sign, sign_again
from surge.wallet import KeySigner

SECRET = bytes(range(32))
SIGNER = KeySigner(SECRET)
SOMEBODY = "0x" + "b0" * 20

FIELDS: dict[str, Any] = {
    "type": 2,
    "chainId": 1337,
    "nonce": 0,
    "maxFeePerGas": 3 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "gas": 90_000,
    "to": checksum(address(SOMEBODY)),
    "value": 5,
    "data": "0xa9059cbb00",
    "accessList": [],
}


# The test vectors of EIP-55.
@pytest.mark.parametrize(
    "written",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    ],
)
def test_an_address_is_written_with_its_checksum(written: str) -> None:
    assert checksum(address(written)) == written


def test_a_call_is_a_selector_and_the_arguments() -> None:
    asked = function_of("token", "transfer", 2)
    assert asked.inputs == ("address", "uint256")
    assert asked.call([SOMEBODY, 7]) == "0xa9059cbb" + "00" * 12 + "b0" * 20 + f"{7:064x}"
    assert asked.answer(b"\0" * 31 + b"\1") == (True,)


def test_structs_and_lists_of_them_are_written_out() -> None:
    assert function_of("channels", "redeem", 2).inputs[0].startswith("(bytes32,uint")
    assert function_of("channels", "redeem_many", 2).inputs[0].endswith(")[]")


def test_arguments_may_be_left_out_where_the_contract_has_its_own() -> None:
    assert [function_of("bonds", "set_slasher", count).inputs for count in (1, 2)] == [("address",), ("address", "uint256")]
    with pytest.raises(InvalidInput, match="bonds has no set_slasher of 3 arguments"):
        function_of("bonds", "set_slasher", 3)


def test_what_is_no_argument_is_said_to_be_none() -> None:
    asked = function_of("token", "transfer", 2)
    for args in ([SOMEBODY, -1], [SOMEBODY, 2**256], ["somebody", 1]):
        with pytest.raises(InvalidInput, match="transfer cannot be called with this"):
            asked.call(args)


@pytest.mark.parametrize("changes", [{}, {"to": b""}, {"nonce": 200, "value": 10**21}, {"data": "0x" + "ab" * 300}])
def test_a_transaction_is_signed_as_eth_account_signs_it(changes: dict[str, Any]) -> None:
    fields = {**FIELDS, **changes}
    theirs = Account.sign_transaction(fields, SECRET)
    assert sign(SIGNER, fields) == ("0x" + theirs.hash.hex().removeprefix("0x"), "0x" + theirs.raw_transaction.hex().removeprefix("0x"))


def test_a_transaction_signed_again_is_the_same_call_at_another_price() -> None:
    _, raw = sign(SIGNER, FIELDS)
    _, again = sign_again(SIGNER, raw, Price(9 * 10**9, 4 * 10**9))
    assert (price_of(raw), price_of(again)) == (Price(3 * 10**9, 10**9), Price(9 * 10**9, 4 * 10**9))
    assert same_call(raw, again)
    read = TypedTransaction.from_bytes(HexBytes(again)).as_dict()
    assert {name: read[name] for name in ("chainId", "nonce", "gas", "value")} == {"chainId": 1337, "nonce": 0, "gas": 90_000, "value": 5}
    assert not same_call(raw, sign(SIGNER, {**FIELDS, "value": 6})[1])


def test_the_ledger_is_begun_without_loading_what_is_slow() -> None:
    code = "import sys, surge.ledger; slow = {'eth_account', 'py_ecc'} & set(sys.modules); assert not slow, slow"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
