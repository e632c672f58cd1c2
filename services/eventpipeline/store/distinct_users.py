"""Distinct users by HyperLogLog: a sketch is 4,096 registers of a byte each. Pure.

A user is hashed to 64 bits (by Postgres, with the hash that partitions by hash depend on, so that it stays the same).
The lowest 12 bits choose a register; of the other 52 the register keeps the largest number of leading zeros it has
seen, plus one. To see a user again changes nothing, and the sketch of two sets together is the larger of each register.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

_REGISTER_BITS = 12
_REGISTERS = 1 << _REGISTER_BITS
_REST_BITS = 64 - _REGISTER_BITS

RELATIVE_ERROR = 1.96 * 1.04 / math.sqrt(_REGISTERS)
"""How far from the true number an estimate is, at most, in 95 of 100 cases: 3.2 %."""

PARAMETERS: dict[str, object] = {
    "register_mask": _REGISTERS - 1,
    "register_bits": _REGISTER_BITS,
    "rest_mask": (1 << _REST_BITS) - 1,
}
"""How a statement takes a hash apart."""

EMPTY = bytes(_REGISTERS)
_TOP_BITS = int.from_bytes(b"\x80" * _REGISTERS, "little")


def sketch(registers: Sequence[int], rests: Sequence[int]) -> bytes:
    """The sketch of hashes: of each register that has any, the least of the rests of its hashes."""
    made = bytearray(_REGISTERS)
    for register, rest in zip(registers, rests, strict=True):
        made[register] = _REST_BITS + 1 - rest.bit_length()
    return bytes(made)


def union(sketches: Iterable[bytes]) -> bytes:
    """The sketch of all together.

    A sketch is one long number here, a register seven bits of a byte: four thousand are compared by a subtraction.
    """
    together = 0
    for one in sketches:
        number = int.from_bytes(one, "little")
        is_larger = ((number | _TOP_BITS) - together) & _TOP_BITS  # or as large
        together ^= (together ^ number) & (is_larger - (is_larger >> 7))
    return together.to_bytes(_REGISTERS, "little")


def apart(sketches: bytes) -> Iterator[bytes]:
    """Each of several sketches that stand one behind the other."""
    for start in range(0, len(sketches), _REGISTERS):
        yield sketches[start : start + _REGISTERS]


def estimate(registers: bytes) -> int:
    """How many distinct users a sketch has seen, without bias from none to billions.

    Ertl, New cardinality estimation algorithms for HyperLogLog sketches, 2017, algorithm 6.
    """
    total = _REGISTERS * _tau(1 - registers.count(_REST_BITS + 1) / _REGISTERS)
    for rank in range(_REST_BITS, 0, -1):
        total = (total + registers.count(rank)) / 2
    total += _REGISTERS * _sigma(registers.count(0) / _REGISTERS)
    return round(_REGISTERS**2 / (2 * math.log(2) * total))


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    power, total = 1.0, x
    while True:
        x *= x
        before, total = total, total + x * power
        power *= 2
        if total == before:
            return total


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    power, total = 1.0, 1 - x
    while True:
        x = math.sqrt(x)
        power /= 2
        before, total = total, total - (1 - x) ** 2 * power
        if total == before:
            return total / 3
