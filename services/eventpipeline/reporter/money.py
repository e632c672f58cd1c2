"""Exact amounts, and how they are written. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

# Sums of amounts of 15 digits before and 6 after the point, over more events than there will be, stay exact.
_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
_HUNDREDTH = Decimal("0.01")


def written(amount: Decimal) -> str:
    """All digits of `amount`, at least two after the point and no further zeros: `0.00`, `12.50`, `0.125`."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def mean(total: Decimal, count: int) -> Decimal | None:
    """`total` over `count` to two digits after the point, half to even; None of nothing."""
    if not count:
        return None
    return _EXACT.divide(total, Decimal(count)).quantize(_HUNDREDTH, context=_EXACT)


def written_mean(total: Decimal, count: int) -> str | None:
    average = mean(total, count)
    return None if average is None else written(average)
