"""What generated events are drawn from: fragments of JSON, made once, so that an event is put together and not encoded.

A pool has 256 or 65,536 entries, and a random byte or two is an index into it: drawing a column of a batch is one call.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import TypeVar

import yaml

SMALL, LARGE = 1 << 8, 1 << 16

Entry = TypeVar("Entry")
Pool = Sequence[bytes]


@dataclass(frozen=True)
class Words:
    """`words.yaml`."""

    first_names: list[str]
    last_names: list[str]
    city_prefixes: list[str]
    city_suffixes: list[str]
    product_looks: list[str]
    product_materials: list[str]
    product_things: list[str]
    countries: list[str]


@dataclass(frozen=True)
class Sales:
    """What depends on the event type at the bottom of the funnel; the entries of one index belong together."""

    event_types: Pool
    amounts: Pool
    """`purchaseAmount` as JSON."""
    items: Pool
    """`purchasedItem` as JSON."""
    cents: Sequence[int]
    """What the event adds to the revenue."""
    with_amount: Sequence[bool]
    """Whether it is a transaction with an amount."""


@dataclass(frozen=True)
class Pools:
    facebook_top_types: Pool
    tiktok_top_types: Pool
    facebook_sales: Sales
    tiktok_sales: Sales
    people: Pool
    """The members name, age and gender of a Facebook user."""
    accounts: Pool
    """The members username and followers of a TikTok user."""
    countries: Pool
    cities: Pool
    referrers: Pool
    placements: Pool
    """The members clickPosition, device and browser."""
    watches: Pool
    """The members watchTime, percentageWatched and device."""
    videos: Pool
    videos_or_null: Pool
    profiles_or_null: Pool


def _filled(entries: Sequence[Entry], size: int) -> tuple[Entry, ...]:
    """`entries` over and over, up to `size`."""
    return tuple(entries[index % len(entries)] for index in range(size))


# Not orjson: what it returns keeps its first buffer of a kilobyte, which is 800 MB over all pools.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _json(value: object) -> bytes:
    return _encode(value).encode()


def _members(value: dict[str, object]) -> bytes:
    """A JSON object without its braces."""
    return _json(value)[1:-1]


def _made(make: Callable[[], Entry], count: int) -> tuple[Entry, ...]:
    return _filled([make() for _ in range(count)], LARGE)


@cache
def pools() -> Pools:
    """The pools: always the same ones, 27 MB, made in a third of a second."""
    rng = random.Random("pools")  # noqa: S311 - repeatable, and nobody's secret
    choose = rng.choice
    words = Words(**yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8")))

    def name() -> str:
        return f"{choose(words.first_names)} {choose(words.last_names)}"

    def person() -> bytes:
        gender = choose(("male", "female", "non-binary"))
        return _members({"name": name(), "age": rng.randint(18, 80), "gender": gender})

    def account() -> bytes:
        handle = name().replace(" ", choose("._")) + str(rng.randint(0, 99))
        return _members({"username": handle, "followers": int(10 ** rng.uniform(0, 7))})

    bases = (*words.first_names, *words.last_names)
    places = [base + suffix for base, suffix in product(bases, words.city_suffixes)]

    def city() -> bytes:
        return _json(choose(places) if rng.random() < 0.4 else f"{choose(words.city_prefixes)} {choose(places)}")

    def watch() -> bytes:
        device = choose(("Android", "iOS", "Desktop"))
        return _members({"watchTime": rng.randint(1, 300), "percentageWatched": rng.randint(0, 100), "device": device})

    def identifier() -> bytes:
        return _json(rng.randbytes(12).hex())

    names = ("clickPosition", "device", "browser")
    placements = product(("top_left", "bottom_right", "center"), ("mobile", "desktop"), ("Chrome", "Firefox", "Safari"))
    videos, profiles = _made(identifier, LARGE), _made(identifier, LARGE)
    return Pools(
        facebook_top_types=_filled((b"ad.view", b"page.like", b"comment", b"video.view"), SMALL),
        tiktok_top_types=_filled((b"video.view", b"like", b"share", b"comment"), SMALL),
        facebook_sales=_sales(rng, words, (b"ad.click", b"form.submission"), b"checkout.complete"),
        tiktok_sales=_sales(rng, words, (b"profile.visit", b"follow"), b"purchase"),
        people=_made(person, 10_000),
        accounts=_made(account, 10_000),
        countries=_filled([_json(country) for country in words.countries], LARGE),
        cities=_made(city, LARGE),
        referrers=_filled((b"newsfeed", b"marketplace", b"groups"), SMALL),
        placements=_filled([_members(dict(zip(names, values, strict=True))) for values in placements], SMALL),
        watches=_made(watch, 5_000),
        videos=videos,
        videos_or_null=_filled((*videos[: LARGE // 2], *[b"null"] * (LARGE // 6)), LARGE),
        profiles_or_null=_filled((*profiles[: LARGE // 2], *[b"null"] * (LARGE // 6)), LARGE),
    )


def _sales(rng: random.Random, words: Words, others: Sequence[bytes], transaction: bytes) -> Sales:
    """A third of the events are transactions, one in sixteen of them without an amount.

    Others carry one now and then, which must not be counted as revenue.
    """

    def sale() -> tuple[bytes, bytes, bytes, int, bool]:
        event_type = rng.choice((*others, transaction))
        is_transaction = event_type == transaction
        cents = rng.randint(100, 99_999) if rng.random() < (15 / 16 if is_transaction else 1 / 16) else None
        amount = b"null" if cents is None else b'"%d.%02d"' % divmod(cents, 100)
        parts = (words.product_looks, words.product_materials, words.product_things)
        item = _json(" ".join(map(rng.choice, parts))) if is_transaction else b"null"
        return event_type, amount, item, (cents or 0) if is_transaction else 0, is_transaction and cents is not None

    event_types, amounts, items, cents, with_amount = zip(*_made(sale, 20_000), strict=True)
    return Sales(event_types, amounts, items, cents, with_amount)
