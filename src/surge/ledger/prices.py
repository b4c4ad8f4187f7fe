"""What is offered for a transaction's gas: at first, and when it waits too long.

A raised price is for the same nonce, so of all copies of a transaction one is mined, and only one.
"""

from __future__ import annotations

from dataclasses import dataclass

TIP = 10**9
"""Wei a gas to the block's producer, at first."""

MAX_TIP = 32 * TIP
"""Wei a gas. From here on only a base fee too high for it raises a price: a node that keeps a transaction to itself gains nothing."""

MAX_FEE = 10**13
"""Wei a gas that is ever offered: a node cannot ask for the whole wallet to be put up."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a transaction offers."""

    fee: int
    """Wei a gas, base fee and tip together, at most (`maxFeePerGas`)."""
    tip: int
    """Wei a gas to the block's producer, at most (`maxPriorityFeePerGas`)."""


def first_price(base: int) -> Price:
    """The price at a base fee, which may double meanwhile (it rises by an eighth a block, EIP-1559)."""
    return Price(min(2 * base + TIP, MAX_FEE), TIP)


def raised(price: Price, base: int, *, passed_over: bool) -> Price | None:
    """What a transaction that waits at `price` gets instead; None while that is enough, or all that it ever gets.

    `passed_over`: blocks were made meanwhile, and it was its turn. Its tip is doubled then, otherwise raised by an eighth, as the whole is
    at least: nodes take no replacement that offers less than a tenth more. The whole is twice what it takes now, so that a base fee has to
    double, again and again, to raise it often.

    >>> raised(Price(3 * 10**9, 10**9), 10**9, passed_over=False)
    >>> raised(Price(3 * 10**9, 10**9), 5 * 10**9, passed_over=False)
    Price(fee=12250000000, tip=1125000000)
    """
    unmineable = base + price.tip > price.fee
    if not unmineable and (price.tip >= MAX_TIP or not (passed_over or first_price(base).fee > price.fee)):
        return None
    tip = 2 * price.tip if passed_over and price.tip < MAX_TIP else _eighth_more(price.tip)
    fee = min(max(2 * (base + tip), _eighth_more(price.fee)), MAX_FEE)
    return Price(fee, tip) if fee >= _eighth_more(price.fee) and tip <= fee else None


def _eighth_more(amount: int) -> int:
    return amount + -(-amount // 8)
