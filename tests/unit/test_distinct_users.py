"""Sketches of distinct users: how good they are, and that neither order nor repetition matters."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipeline.store.distinct_users import EMPTY, RELATIVE_ERROR, estimate, sketch, union


def sketch_of(hashes: Iterable[int]) -> bytes:
    least: dict[int, int] = {}
    for number in hashes:
        register, rest = number % 4096, number >> 12
        least[register] = min(rest, least.get(register, rest))
    return sketch(list(least), list(least.values()))


hashes = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 2**13))


@given(st.lists(hashes, max_size=5))
def test_the_union_is_the_sketch_of_all(parts: list[list[int]]) -> None:
    together = union([sketch_of(part) for part in parts])
    assert together == sketch_of(number for part in parts for number in part)
    assert together == bytes(max(values) for values in zip(EMPTY, *map(sketch_of, parts), strict=True))


@given(hashes)
def test_order_and_copies_do_not_matter(numbers: list[int]) -> None:
    assert sketch_of([*reversed(numbers), *numbers]) == sketch_of(numbers)


def test_of_nobody_there_is_nobody() -> None:
    assert estimate(EMPTY) == estimate(union([])) == 0
    assert estimate(sketch_of([12345678901234567890])) == 1


@pytest.mark.parametrize("count", [10, 300, 3000, 10_000, 20_000, 100_000])
def test_estimates_are_as_good_as_is_said(count: int) -> None:
    """The standard error of 30 sketches; the bound is of 95 of 100, so two of these."""
    rng = random.Random(count)
    off = [estimate(sketch_of(rng.getrandbits(64) for _ in range(count))) / count - 1 for _ in range(30)]
    assert (sum(error**2 for error in off) / len(off)) ** 0.5 < 1.3 * RELATIVE_ERROR / 1.96
    assert abs(sum(off) / len(off)) < RELATIVE_ERROR / 3


def test_a_sketch_is_as_good_for_billions() -> None:
    """Registers as they are after so many users, drawn from their distribution."""
    count, rng = 5 * 10**9, random.Random(5)
    least = [int(2**52 * (1 - rng.random() ** (4096 / count))) for _ in range(4096)]
    assert abs(estimate(sketch(list(range(4096)), least)) / count - 1) < RELATIVE_ERROR
